"""Greedy k-center as a run that can be watched, stopped and asked for more; the plain functions stand on it."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from kernels import _coreset, _farthest  # type: ignore[attr-defined]
from kernels.checks import (
    SLICE_TERMS,
    Float,
    KernelError,
    OnProgress,
    Positions,
    check_centres,
    check_count,
    check_vectors,
    rows_a_slice,
    slices,
    tell,
    threads_for,
)
from kernels.instructions import level

_BLOCK: Final = 4096  # rows a block, as in _coreset.pyx
_POOL_ROWS: Final = 1024  # that meet the buckets together
_SLICE_S: Final = 0.01  # between two looks at whether to go on
# Buckets pay for themselves from about so many samples and picks on (docs/kernels.md); below, every sample is looked
# at for every pick. Beyond these widths and sizes of numbers the bounds of the buckets are not proven.
_FEW_SAMPLES: Final = 4096
_FEW_PICKS: Final = 32
_WIDEST: Final = 8192
_LARGEST: Final = 1e15


class Coreset(NamedTuple):
    """The picks, and what covers every sample; -1 where a vector of the pool is nearest."""

    positions: Positions  # (k,) in order of picking
    insertion: Float  # (k,) distance to everything picked before and to the pool; inf for the first without a pool
    nearest: Positions  # (n,) position of the nearest pick
    distance: Float  # (n,) to it; inf where there is neither pick nor pool
    covered_at: Positions  # (n,) its rank


class Picked(NamedTuple):
    """All that a run needs to go on in another process: the picks so far."""

    positions: Positions
    squared: Float  # their insertion distances


class _Engine(Protocol):
    """What picks: `buckets` leave most samples alone, `plain` looks at all of them."""

    def add_pool(self, rows: Float) -> None: ...
    def pick(self, position: int, squared: float) -> None: ...
    def run(self, count: int, stop_at: float, seconds: float) -> bool: ...
    def finish(self, seconds: float) -> bool: ...
    def made(self) -> int: ...
    def positions(self) -> Positions: ...
    def insertion(self) -> Float: ...
    def squared_of(self, position: int) -> float: ...
    def cover(self) -> tuple[Float, Positions]: ...


class CoresetRun:
    """Picks so far, and the way to more: `run(10)` and then `run(20)` give what `run(20)` gives, bit for bit.

    Between slices of about ten milliseconds `on_progress` is called and may look at `positions`; whatever it raises
    ends the work, and a later `run` goes on from there. Making a run prepares the data, and is watched likewise.

    With `scratch`, a folder, the vectors may be a memory map of float32 or float16 that is larger than memory: what is
    made of them goes to a nameless file there, of four bytes a number (twice that for float16), and about one and a
    half bytes a number stay in memory. The picks are the same; how long they take is up to the disk.
    """

    def __init__(
        self,
        vectors: Float,
        *,
        pool: Float | None = None,
        start: int | None = None,
        picked: Picked | None = None,
        n_threads: int = 0,
        plain: bool = False,
        scratch: Path | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        if scratch is not None:
            vectors = _widened(vectors, scratch, on_progress)
        threads = threads_for(check_vectors(vectors), n_threads)
        self._vectors, self._threads = vectors, threads
        self._start = _checked_start(vectors, start)
        self._has_pool = pool is not None and len(check_vectors(pool, width=vectors.shape[1], name="pool")) > 0
        fitting = not plain and _fits_buckets(vectors) and (pool is None or _fits_buckets(pool))
        self._engine: _Engine = (
            _buckets(vectors, threads, scratch, on_progress) if fitting else _Plain(vectors, threads)
        )
        if pool is not None and self._has_pool:
            self._meet_pool(pool, on_progress)
        if picked is not None:
            self._go_on_from(picked, on_progress)

    def _meet_pool(self, pool: Float, on_progress: OnProgress | None) -> None:
        plain = isinstance(self._engine, _Plain)
        step = rows_a_slice(self._vectors, self._threads) if plain else _POOL_ROWS
        for begin, end in slices(len(pool), step):
            self._engine.add_pool(pool[begin:end])
            while not self._engine.finish(_SLICE_S):
                tell(on_progress, 0, len(self._vectors))
            tell(on_progress, 0, len(self._vectors))

    def _go_on_from(self, picked: Picked, on_progress: OnProgress | None) -> None:
        positions = check_centres(picked.positions, len(self._vectors))
        if len(picked.squared) != len(positions):
            raise KernelError("picked must have one squared distance for each position")
        for begin, end in slices(len(positions), _POOL_ROWS):  # all at once would wait in every bucket's list
            for at in range(begin, end):
                self._engine.pick(int(positions[at]), float(picked.squared[at]))
            while not self._engine.finish(_SLICE_S):
                tell(on_progress, 0, len(self._vectors))

    @property
    def positions(self) -> Positions:
        """(k,) in order of picking."""
        return self._engine.positions()

    @property
    def insertion(self) -> Float:
        """(k,) distance to everything picked before, and to the pool."""
        return np.sqrt(self._engine.insertion())

    @property
    def picked(self) -> Picked:
        """What another `CoresetRun` over the same vectors and pool needs to go on from here."""
        return Picked(self._engine.positions(), self._engine.insertion())

    def run(self, count: int, *, min_radius: float = 0.0, on_progress: OnProgress | None = None) -> None:
        """Until there are `count` picks, or everything lies within `min_radius` (0: never)."""
        count = min(check_count(count), len(self._vectors))
        if not min_radius >= 0:
            raise KernelError(f"min_radius must be 0 or more, not {min_radius}")
        stop_at = min_radius or -1.0
        if count and not self._engine.made() and not self._first(stop_at, count, on_progress):
            return
        while not self._engine.run(count, stop_at, _SLICE_S):
            tell(on_progress, self._engine.made(), count)
        tell(on_progress, self._engine.made(), count)

    def cover(self, *, on_progress: OnProgress | None = None) -> Coreset:
        """The picks with what covers every sample; the distances that were left open are looked at now."""
        made = self._engine.made()
        while not self._engine.finish(_SLICE_S):
            tell(on_progress, made, made)
        squared, rank = self._engine.cover()
        positions = self.positions
        nearest = np.where(rank >= 0, positions[np.maximum(rank, 0)], -1) if made else rank.copy()
        return Coreset(positions, self.insertion, nearest, np.sqrt(squared), rank)

    def _first(self, stop_at: float, count: int, on_progress: OnProgress | None) -> bool:
        """Make the first pick, unless the pool says which; False where it is covered already."""
        if self._has_pool and self._start is None:
            return True
        squared = np.float32(np.inf)
        first = _central(self._vectors, self._threads) if self._start is None else self._start
        if self._has_pool:
            while not self._engine.finish(_SLICE_S):
                tell(on_progress, 0, count)
            squared = np.float32(self._engine.squared_of(first))
        if np.sqrt(squared) <= stop_at:
            return False
        self._engine.pick(first, float(squared))
        return True


def coreset(
    vectors: Float,
    count: int,
    *,
    pool: Float | None = None,
    start: int | None = None,
    min_radius: float = 0.0,
    n_threads: int = 0,
    on_progress: OnProgress | None = None,
) -> tuple[Positions, Float]:
    """Greedy k-center: positions in order of picking, and each pick's distance to everything before it.

    The first pick is `start`, or the farthest from the pool, or the sample nearest to the mean. Stops at `count`, or
    when everything lies within `min_radius` (0: never, so that duplicates get their rank). Ties go to the lowest
    position.
    """
    run = coreset_run(vectors, count, pool=pool, start=start, n_threads=n_threads, on_progress=on_progress)
    run.run(count, min_radius=min_radius, on_progress=on_progress)
    return run.positions, run.insertion


def coreset_with_cover(
    vectors: Float,
    count: int,
    *,
    pool: Float | None = None,
    start: int | None = None,
    min_radius: float = 0.0,
    n_threads: int = 0,
    on_progress: OnProgress | None = None,
) -> Coreset:
    """`coreset`, with what `cover` would say of its picks: the same pass over the data knows both."""
    run = coreset_run(vectors, count, pool=pool, start=start, n_threads=n_threads, on_progress=on_progress)
    run.run(count, min_radius=min_radius, on_progress=on_progress)
    return run.cover(on_progress=on_progress)


def pick_among(vectors: Float, squared: Float, count: int, stop_at: float) -> tuple[Positions, Float]:
    """Greedy k-center among a few samples whose squared distance to earlier picks is known; picks and insertions.

    Ends at `count`, or when no sample is farther than `stop_at` from all picks. `squared` is not changed.
    """
    if len(squared) != len(check_vectors(vectors)):
        raise KernelError("there must be one squared distance for each vector")
    plain = _Plain(vectors, 1, np.array(squared, np.float32))
    plain.run(min(check_count(count), len(vectors)), stop_at, np.inf)
    return plain.positions(), np.sqrt(plain.insertion())


def central(vectors: Float, *, n_threads: int = 0) -> int:
    """The sample nearest to the mean, which is summed in float64 in the order of the rows, then rounded to float32."""
    threads = threads_for(check_vectors(vectors), n_threads)
    if not len(vectors):
        raise KernelError("an empty set has no centre")
    return _central(vectors, threads)


def _central(vectors: Float, threads: int) -> int:
    total = np.zeros(vectors.shape[1], np.float64)
    for begin, end in slices(len(vectors), max(1, SLICE_TERMS // vectors.shape[1])):
        _coreset.add_rows(vectors, begin, end, total)
    mean = (total / len(vectors)).astype(np.float32)
    squared = np.empty(len(vectors), np.float32)
    _coreset.squared_to(vectors, mean, squared, threads)
    return int(squared.argmin())


def coreset_run(
    vectors: Float,
    count: int,
    *,
    pool: Float | None = None,
    start: int | None = None,
    n_threads: int = 0,
    on_progress: OnProgress | None = None,
) -> CoresetRun:
    """The run that suits so many picks."""
    small = getattr(vectors, "shape", ())[:1] < (_FEW_SAMPLES,) or count < _FEW_PICKS
    told = None if on_progress is None else lambda _done, _total: on_progress(0, count)
    return CoresetRun(vectors, pool=pool, start=start, n_threads=n_threads, plain=small, on_progress=told)


def _buckets(vectors: Float, threads: int, scratch: Path | None, on_progress: OnProgress | None) -> Any:
    with ExitStack() as stack:
        file = stack.enter_context(TemporaryFile(dir=scratch)).fileno() if scratch is not None else -1
        return _farthest.Farthest(vectors, level(), threads, lambda: tell(on_progress, 0, len(vectors)), file)


def _widened(vectors: Any, scratch: Path, on_progress: OnProgress | None) -> Float:
    """float16 as float32, in a nameless file that lasts as long as the array."""
    if getattr(vectors, "dtype", None) != np.float16 or vectors.ndim != 2 or not vectors.size:
        return vectors  # type: ignore[no-any-return]
    with TemporaryFile(dir=scratch) as file:
        wide: Float = np.memmap(file, np.float32, "w+", shape=vectors.shape)
    for begin, end in slices(len(vectors), max(1, (1 << 22) // vectors.shape[1])):
        wide[begin:end] = vectors[begin:end]
        tell(on_progress, 0, len(vectors))
    return wide


def _fits_buckets(vectors: Float) -> bool:
    """Whether the buckets' bounds are proven for these numbers."""
    if not len(vectors) or vectors.shape[1] > _WIDEST:
        return False
    return float(max(-vectors.min(), vectors.max())) <= _LARGEST


def _checked_start(vectors: Float, start: int | None) -> int | None:
    if start is not None and not 0 <= start < len(vectors):
        raise KernelError(f"start must be a position from 0 to {len(vectors) - 1}, not {start}")
    return start


class _Plain:
    """Every pick looks at every sample: best for few samples or few picks, and needs next to no memory."""

    def __init__(self, vectors: Float, threads: int, squared: Float | None = None) -> None:
        n = len(vectors)
        self._vectors, self._threads = vectors, threads
        self._squared = np.full(n, np.inf, np.float32) if squared is None else squared
        self._rank = np.full(n, -1, np.int64)
        self._positions, self._insertion = np.empty(0, np.int64), np.empty(0, np.float32)
        self._made = 0
        blocks = -(-n // _BLOCK)
        self._work: tuple[Any, Any] = np.empty(blocks, np.float32), np.empty(blocks, np.int64)

    def add_pool(self, rows: Float) -> None:
        _coreset.lower(self._vectors, rows, self._squared, self._threads)

    def pick(self, position: int, squared: float) -> None:
        self._squared[position] = squared
        self._pick(position, self._made + 1, -1.0)

    def run(self, count: int, stop_at: float, seconds: float) -> bool:
        first = int(self._squared.argmax()) if count > self._made and len(self._squared) else -1
        if first >= 0 and self._squared[first] < 0:
            first = -1
        step = count if seconds == np.inf else rows_a_slice(self._vectors, self._threads)
        end = min(count, self._made + step)
        self._pick(first, end, stop_at)
        return self._made < end or end == count

    def _pick(self, first: int, end: int, stop_at: float) -> None:
        self._reserve(end)
        self._made, _ = _coreset.pick(
            self._vectors,
            self._squared,
            self._rank,
            first,
            self._made,
            end,
            stop_at,
            self._positions,
            self._insertion,
            *self._work,
            self._threads,
        )

    def _reserve(self, count: int) -> None:
        if len(self._positions) < count:
            room = max(count, 2 * len(self._positions)) - len(self._positions)
            self._positions = np.concatenate([self._positions, np.empty(room, np.int64)])
            self._insertion = np.concatenate([self._insertion, np.empty(room, np.float32)])

    def finish(self, seconds: float) -> bool:  # noqa: ARG002 - nothing was left open
        return True

    def made(self) -> int:
        return self._made

    def positions(self) -> Positions:
        return self._positions[: self._made].copy()

    def insertion(self) -> Float:
        return self._insertion[: self._made].copy()

    def squared_of(self, position: int) -> float:
        return float(self._squared[position])

    def cover(self) -> tuple[Float, Positions]:
        return np.maximum(self._squared, np.float32(0)), self._rank.copy()
