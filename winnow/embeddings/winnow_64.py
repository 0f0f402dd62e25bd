"""winnow-64: a small network whose weights ship with the package; 64 numbers a picture, no download."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from winnow.embeddings import student
from winnow.errors import WeightsMissing
from winnow.results import Vectors

WEIGHTS: Final = Path(__file__).with_name("winnow-64.safetensors")
_SHA256: Final = "9fd2031a35dc236397f43f76bd5a7fd0e77b1739ae6bd4fc672a5bf7f9ec45a7"
_BATCH: Final = 64  # always: a batch of another size is computed in another order, and rounds differently


class Winnow64:
    name = "winnow-64"
    version = "1"
    dimension = student.DIMENSION
    size = student.SIDE
    licence = "Apache-2.0"
    summary = "A small network that knows what pictures show; its weights ship with the package."

    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors:
        rows = [self._embed_batch(pictures[begin : begin + _BATCH]) for begin in range(0, len(pictures), _BATCH)]
        return np.concatenate([np.empty((0, self.dimension), np.float32), *rows])

    @torch.inference_mode()
    def _embed_batch(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors:
        """A short batch is filled up with black, so that a row never depends on how many came with it."""
        batch = np.zeros((_BATCH, self.size, self.size, 3), np.uint8)
        batch[: len(pictures)] = pictures
        rows: Vectors = self._network(student.as_input(batch))[: len(pictures)].numpy()
        return rows

    @cached_property
    def _network(self) -> torch.nn.Module:
        content = WEIGHTS.read_bytes()
        if hashlib.sha256(content).hexdigest() != _SHA256:
            raise WeightsMissing("the weights of winnow-64 are damaged; install the package again")
        network = student.fused(student.Student().eval())
        halves = safetensors.torch.load(content)
        network.load_state_dict({name: tensor.float() for name, tensor in halves.items()})
        laid_out: torch.nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return laid_out
