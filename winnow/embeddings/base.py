"""What an encoder is, and what it may use of the machine it runs on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from winnow.datasets.decode import Crop
from winnow.encoders import Entry
from winnow.results import Vectors

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Runtime:
    """What the operator lets encoders use; settings of the same names say more."""

    device: str = "auto"  # cpu, cuda, cuda:1 ...
    precision: Precision = "auto"
    weights_dir: Path | None = None
    allow_downloads: bool = False

    @classmethod
    def of(cls, settings: object) -> "Runtime":
        """Settings have fields of the same names."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


class Encoder(Protocol):
    """Pictures of `size` x `size` in, rows of `dimension` numbers out; a row depends on its own picture alone."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...  # rises with any change of bits; part of every cache key and digest
    @property
    def dimension(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def crop(self) -> Crop | None: ...  # None: the whole picture, squeezed

    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors: ...


class OfTheTable:
    """What an encoder says of itself comes from its row of the table."""

    def __init__(self, entry: Entry, runtime: Runtime) -> None:
        self.entry, self.runtime = entry, runtime

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def version(self) -> str:
        return self.entry.version

    @property
    def dimension(self) -> int:
        return self.entry.width

    @property
    def size(self) -> int:
        return self.entry.size

    @property
    def crop(self) -> Crop | None:
        return Crop(self.entry.shorter, self.entry.resample) if self.entry.shorter else None
