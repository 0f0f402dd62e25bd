"""A network put to work: folded, laid out for its device, fed in batches of one size, halved where memory ends."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from winnow.errors import MemoryLimit
from winnow.results import Vectors

logger = logging.getLogger(__name__)


def fused(network: nn.Module) -> nn.Module:
    """The same function with each normalisation folded into the convolution registered just before it.

    Subclasses of either are left alone: they do more than their parents say.
    """
    before: tuple[str, nn.Module] | None = None
    for name, child in [*network.named_children()]:
        if before and type(before[1]) is nn.Conv2d and type(child) is nn.BatchNorm2d:
            setattr(network, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(network, name, nn.Identity())
        fused(child)
        before = (name, child)
    return network


@dataclass
class Forward:
    """Pictures in, rows out.

    A batch always holds as many: one of another size is computed in another order, and rounds differently.
    """

    network: nn.Module  # in evaluation mode
    as_input: Callable[[torch.Tensor], torch.Tensor]  # (n, side, side, 3) bytes to what the network takes
    side: int
    width: int
    device: torch.device
    dtype: torch.dtype  # of the arithmetic; the weights stay as they are
    batch: int

    def __post_init__(self) -> None:
        self.network = self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors:
        rows = [np.empty((0, self.width), np.float32)]
        done = 0
        while done < len(pictures):
            try:
                rows.append(self._one_batch(pictures[done : done + self.batch]))
            except torch.OutOfMemoryError as error:
                self._halve(error)
                continue
            done += self.batch
        return np.concatenate(rows)

    @torch.inference_mode()
    def _one_batch(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors:
        """A short batch is filled up with black, so that a row never depends on how many came with it."""
        filled = np.zeros((self.batch, self.side, self.side, 3), np.uint8)
        filled[: len(pictures)] = pictures
        there = self.as_input(torch.from_numpy(filled).to(self.device))
        with _repeatable(), torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            answer = self.network(there)
        rows: Vectors = answer[: len(pictures)].float().cpu().numpy()
        return rows

    def _halve(self, error: torch.OutOfMemoryError) -> None:
        """For good: what did not fit once will not fit again."""
        if self.batch == 1:
            raise MemoryLimit(f"one picture does not fit into the memory of {self.device}") from error
        self.batch //= 2
        logger.warning("out of memory on %s; %d pictures at a time from now on", self.device, self.batch)
        torch.cuda.empty_cache()


def _repeatable() -> AbstractContextManager[None]:
    """On CUDA: no algorithm chosen by a race, and float32 is not quietly rounded to ten bits."""
    strict: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return strict


def in_colours(mean: Sequence[float], std: Sequence[float]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Bytes to (n, 3, side, side) of this mean and spread; in memory the channels stay last."""
    scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
    shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)

    def as_input(pictures: torch.Tensor) -> torch.Tensor:
        on = pictures.device
        rows = pictures.float().mul_(scale.float().to(on)).add_(shift.float().to(on))
        return rows.permute(0, 3, 1, 2)

    return as_input
