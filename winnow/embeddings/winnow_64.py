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
from winnow.embeddings.base import OfTheTable
from winnow.embeddings.device import chosen_device
from winnow.embeddings.forward import Forward, fused
from winnow.errors import WeightsMissing
from winnow.results import Vectors

WEIGHTS: Final = Path(__file__).with_name("winnow-64.safetensors")
_SHA256: Final = "9fd2031a35dc236397f43f76bd5a7fd0e77b1739ae6bd4fc672a5bf7f9ec45a7"
_BATCH: Final = 64


class Winnow64(OfTheTable):
    """Always in float32: it is fast enough, and its bits are then those of one kind of device."""

    @property
    def version(self) -> str:
        device = chosen_device(self.runtime.device).type
        return self.entry.version if device == "cpu" else f"{self.entry.version}-{device}"

    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors:
        return self._forward(pictures)

    @cached_property
    def _forward(self) -> Forward:
        device = chosen_device(self.runtime.device)
        return Forward(_network(), student.scaled, self.size, self.dimension, device, torch.float32, _BATCH)


def _network() -> torch.nn.Module:
    content = WEIGHTS.read_bytes()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise WeightsMissing("the weights of winnow-64 are damaged; install the package again")
    network = fused(student.Student().eval())
    halves = safetensors.torch.load(content)
    network.load_state_dict({name: tensor.float() for name, tensor in halves.items()})
    return network
