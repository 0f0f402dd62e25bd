"""Fewer numbers a sample: principal components, fitted on the dataset's own samples and kept with the job.

The same samples in the same order give the same bits: float64 sums over blocks in a fixed order, rows chosen by place,
signs by rule. What is left to the linear algebra library is the same for as long as it runs one thread, which the
worker tells it to.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from numpy.typing import NDArray

from winnow.errors import InvalidVectors
from winnow.results import Head, Vectors
from winnow.spec import EncoderSpec

_BLOCK: Final = 1024  # rows, or columns, at a time
_MOST_ROWS: Final = 100_000  # to fit on: what bounds the time
_WIDE: Final = 4096  # numbers a row, beyond which a covariance is too large ...
_MOST_WIDE_ROWS: Final = 4096  # ... and the products of so many rows take its place
_NOTHING: Final = 1e-12  # of the largest variance: less has no direction worth the name ...
_ROUNDING: Final = 1e-20  # ... nor has less than this share of the mean's square, which float32 cannot even express

Doubles = NDArray[np.float64]
Alive = Callable[[], None]  # called between blocks; may raise JobCancelled


def _quietly() -> None:
    """An `Alive` for callers that do not watch."""


def headed(asked: EncoderSpec, vectors: Vectors, alive: Alive = _quietly) -> tuple[Vectors, Head | None]:
    """The vectors a job selects by, and the head they went through, where there is one."""
    width = vectors.shape[1]
    kind, dimension = asked.wanted(width)
    if dimension > width:
        raise InvalidVectors(f"the vectors are {width} wide; a dimension of {dimension} cannot be had of them")
    head = None
    if kind != "none":
        head = fit(vectors, kind, dimension, alive)
        vectors = apply(head, vectors, alive)
    return (_normalized(vectors) if asked.normalize else vectors), head


def fit(vectors: Vectors, kind: Literal["pca", "pca-whitening"], dimension: int, alive: Alive = _quietly) -> Head:
    """Directions that do not exist, where samples are few or alike, become columns of zeros."""
    at = _evenly(vectors)
    mean = _sum(vectors, at) / len(at)
    if len(at) < len(mean):
        values, directions = _by_products(vectors[at], mean, dimension)
    else:
        values, directions = _by_covariance(vectors, at, mean, alive)
    total = float(values.sum())
    values = values[:dimension]
    real = int((values > max(float(values.max()) * _NOTHING, float(mean @ mean) * _ROUNDING)).sum())
    matrix, explained = np.zeros((len(mean), dimension)), np.zeros(dimension)
    matrix[:, :real] = _turned(directions[:, :real])
    if kind == "pca-whitening":
        matrix[:, :real] /= np.sqrt(values[:real])
    explained[:real] = values[:real] / (total or 1.0)
    return Head(kind, mean, matrix, explained, len(at))


def apply(head: Head, vectors: Vectors, alive: Alive = _quietly) -> Vectors:
    """(n, d) to (n, k), a block at a time."""
    out = np.empty((len(vectors), head.matrix.shape[1]), np.float32)
    for begin in range(0, len(vectors), _BLOCK):
        block = vectors[begin : begin + _BLOCK]
        out[begin : begin + _BLOCK] = (block.astype(np.float64) - head.mean) @ head.matrix
        alive()
    return out


def facts(head: Head) -> dict[str, Any]:
    """What the manifest says of it."""
    return {
        "kind": head.kind,
        "components": int(head.matrix.shape[1]),
        "of": len(head.mean),
        "fitted_on": head.rows,
        "explained_variance": round(float(head.explained.sum()), 6),
        "digest": _digest(head),
    }


def write(head: Head, file: BinaryIO) -> None:
    """As arrays `mean`, `matrix` and `explained`, to be read with numpy."""
    np.savez(file, mean=head.mean, matrix=head.matrix, explained=head.explained)


def _digest(head: Head) -> str:
    digest = hashlib.sha256(f"{head.kind} {head.matrix.shape}".encode())
    for part in (head.mean, head.matrix):
        digest.update(np.ascontiguousarray(part, "<f8").tobytes())
    return f"sha256:{digest.hexdigest()}"


def _evenly(vectors: Vectors) -> NDArray[np.int64]:
    """All rows, or as many as are allowed, evenly spaced: their order is that of their hashes, and knows no pattern."""
    most = _MOST_ROWS if vectors.shape[1] <= _WIDE else _MOST_WIDE_ROWS
    count = min(most, len(vectors))
    return np.arange(count) * len(vectors) // count


def _sum(vectors: Vectors, at: NDArray[np.int64]) -> Doubles:
    total = np.zeros(vectors.shape[1])
    for begin in range(0, len(at), _BLOCK):
        total += vectors[at[begin : begin + _BLOCK]].sum(axis=0, dtype=np.float64)
    return total


def _by_covariance(vectors: Vectors, at: NDArray[np.int64], mean: Doubles, alive: Alive) -> tuple[Doubles, Doubles]:
    """Variances, largest first, and their directions as columns."""
    covariance = np.zeros((len(mean), len(mean)))
    for begin in range(0, len(at), _BLOCK):
        block = vectors[at[begin : begin + _BLOCK]] - mean
        covariance += block.T @ block
        alive()
    values, directions = np.linalg.eigh(covariance / len(at))
    return np.maximum(values[::-1], 0.0), directions[:, ::-1]


def _by_products(rows: Vectors, mean: Doubles, dimension: int) -> tuple[Doubles, Doubles]:
    """The same from the rows' products with each other: less, where they are fewer than the numbers in each.

    Of directions, only as many as are wanted.
    """
    products = np.zeros((len(rows), len(rows)))
    for block in _columns(rows, mean):
        products += block @ block.T
    values, weights = np.linalg.eigh(products / len(rows))
    values, weights = np.maximum(values[::-1], 0.0), weights[:, ::-1][:, :dimension]
    lengths = np.sqrt(np.where(values > 0, values, 1.0) * len(rows))[:dimension]
    return values, np.concatenate([block.T @ weights for block in _columns(rows, mean)]) / lengths


def _columns(rows: Vectors, mean: Doubles) -> Iterator[Doubles]:
    for begin in range(0, rows.shape[1], _BLOCK):
        yield rows[:, begin : begin + _BLOCK] - mean[begin : begin + _BLOCK]


def _turned(directions: Doubles) -> Doubles:
    """A direction and its opposite are one: the entry of the largest size is made positive."""
    largest = np.abs(directions).argmax(axis=0)
    signs = np.where(directions[largest, np.arange(directions.shape[1])] < 0, -1.0, 1.0)
    return np.asarray(directions * signs, np.float64)


def _normalized(vectors: Vectors) -> Vectors:
    """A row of zeros has no direction and stays."""
    out = np.empty_like(vectors)
    for begin in range(0, len(vectors), _BLOCK):
        block = vectors[begin : begin + _BLOCK].astype(np.float64)
        lengths = np.sqrt(np.square(block).sum(axis=1, keepdims=True))
        out[begin : begin + _BLOCK] = block / np.where(lengths > 0, lengths, 1.0)
    return out
