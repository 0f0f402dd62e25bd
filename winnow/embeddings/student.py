"""The network behind `winnow-64`: small enough for a processor, 64 numbers out."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

SIDE: Final = 112  # pixels of the square it looks at
DIMENSION: Final = 64
_WIDE: Final = 512  # channels that are averaged over the picture

# Dense convolutions while the picture is large and thin, depthwise ones where it is small and deep: on a processor a
# dense convolution does three times the arithmetic in the same time. One row a block: channels, expansion, stride.
_DENSE: Final = ((24, 3, 2),)
_DEPTHWISE: Final = (
    *((48, 4, 2), (48, 3, 1), (48, 3, 1)),
    *((96, 4, 2), (96, 3, 1), (96, 3, 1), (96, 3, 1)),
    *((160, 5, 2), (160, 3, 1), (160, 3, 1)),
)


class Student(nn.Module):
    """Pictures (n, 3, 112, 112), from -1 to 1, to vectors (n, 64)."""

    def __init__(self) -> None:
        super().__init__()
        channels = 16
        blocks: list[nn.Module] = [_convolution(3, 16, 3, 2)]
        for rows, kind in ((_DENSE, _Dense), (_DEPTHWISE, _Depthwise)):
            for out, expansion, stride in rows:
                blocks.append(kind(channels, out, expansion, stride))
                channels = out
        self.body = nn.Sequential(*blocks, _convolution(channels, _WIDE, 1, 1))
        self.head = nn.Linear(_WIDE, DIMENSION)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.head(self.pooled(pictures))
        return vectors

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, 512) before the last layer."""
        seen: torch.Tensor = self.body(pictures)
        return seen.mean((2, 3))


class _Dense(nn.Module):
    """Expand and look around in one dense convolution, then project."""

    def __init__(self, channels: int, out: int, expansion: int, stride: int) -> None:
        super().__init__()
        inside = channels * expansion
        self.way = nn.Sequential(
            _convolution(channels, inside, 3, stride), _convolution(inside, out, 1, 1, activate=False)
        )
        self.residual = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen: torch.Tensor = self.way(x)
        return x + seen if self.residual else seen


class _Depthwise(nn.Module):
    """Expand, look around channel by channel, weigh the channels, project."""

    def __init__(self, channels: int, out: int, expansion: int, stride: int) -> None:
        super().__init__()
        inside = channels * expansion
        self.before = nn.Sequential(
            _convolution(channels, inside, 1, 1), _convolution(inside, inside, 3, stride, groups=inside)
        )
        self.weigh = nn.Sequential(
            nn.Conv2d(inside, inside // 8, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inside // 8, inside, 1),
            nn.Hardsigmoid(),
        )
        self.after = _convolution(inside, out, 1, 1, activate=False)
        self.residual = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.before(x)
        seen: torch.Tensor = self.after(inside * self.weigh(inside.mean((2, 3), keepdim=True)))
        return x + seen if self.residual else seen


def as_input(pictures: NDArray[np.uint8]) -> torch.Tensor:
    return scaled(torch.from_numpy(pictures))


def scaled(pictures: torch.Tensor) -> torch.Tensor:
    """(n, side, side, 3) bytes to (n, 3, side, side) from -1 to 1; in memory the channels stay last."""
    return pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _convolution(
    channels: int, out: int, side: int, stride: int, *, groups: int = 1, activate: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, out, side, stride, side // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if activate else []))
