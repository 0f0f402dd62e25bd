"""Crops of the training pictures, and what the teacher makes of each: made once, then read every epoch."""

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from winnow.embeddings import student
from winnow.embeddings.training import teacher

_BATCH: Final = 128
_SMALLEST: Final = 0.25  # of the picture's area that a crop shows


@dataclass(frozen=True)
class Share:
    """What is taken of one archive: every `step`-th training picture, so many crops of each."""

    archive: str
    step: int
    crops: int


# Training pictures only: what its table calls `test`, `val` or `validation` is kept for measuring.
SHARES: Final = (
    Share("clothing10", 1, 5),
    Share("trash6", 1, 5),
    Share("gtsrb_tracks", 3, 3),
    Share("tinyin17k", 1, 4),
    Share("inet1k256", 1, 12),
    Share("bursts", 12, 4),
)


@dataclass(frozen=True)
class Crops:
    """Memory-mapped: a picture as the student sees it, and the teacher's vector of it."""

    pictures: NDArray[np.uint8]  # (n, 112, 112, 3)
    vectors: NDArray[np.float16]  # (n, 1280)


def crops_of(data: Path, folder: Path, weights: Path, seed: int) -> Crops:
    """The crops, made if they are not there yet."""
    pictures, vectors = folder / "pictures.npy", folder / "vectors.npy"
    if not vectors.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(data, pictures, vectors, weights, seed)
    return Crops(np.load(pictures, mmap_mode="r"), np.load(vectors, mmap_mode="r"))


def _make(data: Path, pictures: Path, vectors: Path, weights: Path, seed: int) -> None:
    names = list(_names(data))
    teach = teacher.Teacher(weights)
    shape = (len(names), student.SIDE, student.SIDE, 3)
    seen = np.lib.format.open_memmap(pictures, "w+", np.uint8, shape)
    told = np.lib.format.open_memmap(vectors.with_suffix(".part"), "w+", np.float16, (len(names), teacher.WIDTH))
    for begin in range(0, len(names), _BATCH):
        batch = [_crop(seed, number, *names[number]) for number in range(begin, min(begin + _BATCH, len(names)))]
        large, small = (np.stack(side) for side in zip(*batch, strict=True))
        seen[begin : begin + len(batch)] = small
        told[begin : begin + len(batch)] = teach(student.as_input(large)).numpy()
        print(f"crops {begin + len(batch)} of {len(names)}", flush=True)
    seen.flush()
    told.flush()
    vectors.with_suffix(".part").rename(vectors)


def _names(data: Path) -> Iterator[tuple[Path, str]]:
    for share in SHARES:
        path = data / f"{share.archive}.zip"
        with zipfile.ZipFile(path) as archive, archive.open(f"{share.archive}/labels.csv") as table:
            rows = list(csv.DictReader(io.TextIOWrapper(table, "utf-8")))
        names = [f"{share.archive}/{row['path']}" for row in rows if row.get("split", "train") == "train"]
        for name in names[:: share.step]:
            yield from [(path, name)] * share.crops


@cache
def _opened(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _crop(seed: int, number: int, archive: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A random part of the picture, mirrored half the time; large for the teacher, small for the student."""
    rng = np.random.default_rng([seed, number])
    picture = Image.open(io.BytesIO(_opened(archive).read(name))).convert("RGB")
    box = _box(rng, *picture.size)
    large = picture.resize((teacher.SIDE, teacher.SIDE), Image.Resampling.BICUBIC, box=box)
    if rng.random() < 0.5:
        large = large.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    small = large.resize((student.SIDE, student.SIDE), Image.Resampling.BOX)
    return np.asarray(large), np.asarray(small)


def _box(rng: np.random.Generator, width: int, height: int) -> tuple[float, float, float, float]:
    area, ratio = rng.uniform(_SMALLEST, 1.0), np.exp(rng.uniform(-0.29, 0.29))  # 3:4 to 4:3
    wide = min(width, np.sqrt(area * width * height * ratio))
    high = min(height, np.sqrt(area * width * height / ratio))
    left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
    return left, top, left + wide, top + high
