"""What every kernel asks of its arguments, and how its work is cut into slices that can be told of and ended."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernels.threads import effective_threads

Float = NDArray[np.float32]
Positions = NDArray[np.int64]
OnProgress = Callable[[int, int], None]

SLICE_TERMS: Final = 40_000_000  # squared differences one thread sums between two calls of on_progress: 10-20 ms
_THREAD_TERMS: Final = 1 << 16  # fewer than this are done sooner than a second thread wakes up


class KernelError(ValueError):
    """An argument a kernel refuses, and why."""


def check_vectors(vectors: Float, *, width: int | None = None, name: str = "vectors") -> Float:
    """The vectors themselves, if every kernel can take them: finite, C-contiguous float32 `(n, d)`, d > 0."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2:
        raise KernelError(f"{name} must be a two-dimensional float32 array")
    if not vectors.flags.c_contiguous or not vectors.flags.aligned or not vectors.dtype.isnative:
        raise KernelError(f"{name} must be C-contiguous in native byte order; pass numpy.ascontiguousarray({name})")
    if vectors.shape[1] == 0 or (width is not None and vectors.shape[1] != width):
        raise KernelError(f"{name} must be {width or 'at least 1'} wide, not {vectors.shape[1]}")
    if len(vectors) >= 2**31:
        raise KernelError(f"{name} must have fewer than {2**31} rows")
    _check_finite(vectors, name)
    return vectors


def threads_for(vectors: Float, n_threads: int) -> int:
    if n_threads < 0:
        raise KernelError(f"n_threads must be 0 (automatic) or positive, not {n_threads}")
    return effective_threads(n_threads) if vectors.size >= _THREAD_TERMS else 1


def rows_a_slice(vectors: Float, threads: int) -> int:
    """How many vectors may meet all the others in one slice of work."""
    return max(1, threads * SLICE_TERMS // max(1, vectors.size))


def slices(total: int, step: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, total, step):
        yield begin, min(begin + step, total)


def tell(on_progress: OnProgress | None, done: int, total: int) -> None:
    if on_progress is not None:
        on_progress(done, total)


def part(on_progress: OnProgress | None, before: int, total: int) -> OnProgress | None:
    """What a part of the work may call: its steps count on from those done before it."""
    return None if on_progress is None else lambda done, _: on_progress(before + done, total)


def check_count(count: int) -> int:
    if count < 0:
        raise KernelError(f"a count must be 0 or more, not {count}")
    return count


def check_centres(centres: Positions, n: int) -> Positions:
    checked = np.asarray(centres)
    if checked.ndim != 1 or (len(checked) and not np.issubdtype(checked.dtype, np.integer)):
        raise KernelError("centres must be a one-dimensional array of positions")
    checked = np.ascontiguousarray(checked, np.int64)
    if len(checked) and (checked.min() < 0 or checked.max() >= n):
        raise KernelError(f"centres must be positions from 0 to {n - 1}")
    if len(np.unique(checked)) < len(checked):
        raise KernelError("centres must not repeat")
    return checked


def _check_finite(vectors: Float, name: str) -> None:
    bad: list[int] = []
    for begin, end in slices(len(vectors), max(1, (1 << 22) // vectors.shape[1])):
        rows = vectors[begin:end]
        if not np.isfinite(rows).all():
            bad += (begin + np.flatnonzero(~np.isfinite(rows).all(axis=1))).tolist()
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise KernelError(f"{name} must be finite; rows {', '.join(map(str, bad[:5]))}{more} are not")
