"""The teacher: a MobileNetV2 that others trained, read from plain arrays. Only training sees it; it never ships."""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

SIDE: Final = 160
WIDTH: Final = 1280
_STRIDES: Final = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


class Teacher:
    """Pictures (n, 3, 160, 160), from -1 to 1, to vectors (n, 1280)."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self._weights = [torch.from_numpy(arrays[f"w{i:02}"].astype(np.float32)) for i in range(52)]
            self._biases = [torch.from_numpy(arrays[f"b{i:02}"]) for i in range(52)]

    @torch.inference_mode()
    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self._layer(pictures.contiguous(memory_format=torch.channels_last), 0, stride=2)
        at = 1
        for number, stride in enumerate(_STRIDES):
            x, at = self._block(x, at, stride, expands=number > 0)
        return self._layer(x, at).mean((2, 3))

    def _block(self, x: torch.Tensor, at: int, stride: int, *, expands: bool) -> tuple[torch.Tensor, int]:
        inside = self._layer(x, at) if expands else x
        at += expands
        inside = self._layer(inside, at, stride=stride, groups=inside.shape[1])
        out = self._layer(inside, at + 1, activate=False)
        return (x + out if stride == 1 and x.shape == out.shape else out), at + 2

    def _layer(
        self, x: torch.Tensor, at: int, *, stride: int = 1, groups: int = 1, activate: bool = True
    ) -> torch.Tensor:
        weight, padding = self._weights[at], self._weights[at].shape[2] // 2
        if stride == 2 and padding:  # as TensorFlow pads: right and bottom only
            x, padding = F.pad(x, (0, 1, 0, 1)), 0
        x = F.conv2d(x, weight, self._biases[at], stride, padding, groups=groups)
        return x.clamp_(0, 6) if activate else x
