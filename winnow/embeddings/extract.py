"""From a listing to vectors: distinct samples in canonical order, and none twice that some job has embedded before.

What is not in the cache is embedded shard by shard, and kept shard by shard: a job that is killed goes on where it was,
and of two jobs that want the same samples at the same time each embeds what the other has not begun.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from winnow.datasets import decode
from winnow.datasets.ahead import read_ahead
from winnow.datasets.base import Reader
from winnow.datasets.decoders import Decoded, DecoderPool
from winnow.embeddings.base import Encoder
from winnow.embeddings.cache import SHARD, ShardCache, Shelf
from winnow.errors import DatasetEmpty, InvalidVectors, ItemError, SourceGone, TooManyItemErrors
from winnow.results import Embedded, Frames, ItemFailure, Listing, Report
from winnow.spec import OnError

_BATCH: Final = 64  # pictures an encoder sees at a time
# These say something about the bytes, and will be said again; any other failure may be gone the next time.
_LASTING: Final = ("UNSUPPORTED_FORMAT", "DECODE_FAILED")

_PAUSE_S: Final = 0.2
_PATIENCE_S: Final = 10.0  # with a job that embeds all that this one lacks: it may be frozen, and costs a shard if not

Rows = NDArray[np.int64]


def extract(
    listing: Listing,
    reader: Reader,
    encoder: Encoder,
    cache: ShardCache,
    pool: DecoderPool | None,
    report: Report,
    *,
    on_error: OnError,
) -> Embedded:
    """Every distinct sample's vector, and a word about each that has none.

    A dataset of vectors needs no pool, no cache and no encoder: what it brings is taken as it is.
    """
    judge = _Judge(on_error, len(listing) + len(listing.failures))
    judge(len(listing.failures))
    first = _first_of_each(listing)
    if reader.kind == "vectors":
        found = _given(listing, reader, first)
        report("embedding", len(first), len(first), len(listing.failures))
    else:
        pool = _needed(pool, encoder)
        shelf = cache.shelf(f"{encoder.name}@{encoder.version}+{decode.VERSION}", _row_type(encoder))
        room = cache.room(len(first), encoder.dimension)
        found = _Extraction(listing, first, reader, encoder, shelf, room, pool, report, judge).run()
    return _collected(listing, first, found, judge)


def without_zeros(embedded: Embedded, total: int, on_error: OnError) -> Embedded:
    """Set aside what has no direction to compare, for metrics that compare directions; `total` items were listed."""
    keep = embedded.vectors.any(axis=1)
    if keep.all():
        return embedded
    gone = {embedded.paths[position] for position in np.flatnonzero(~keep)}
    copies = [path for path, first in embedded.duplicates.items() if first in gone]
    failures = [*embedded.failures, *(ItemFailure(path, "ZERO_VECTOR") for path in sorted([*gone, *copies]))]
    _Judge(on_error, total)(len(failures))
    if not keep.any():
        raise DatasetEmpty("every vector of the dataset is zero: there is no direction to compare")
    rows = np.flatnonzero(keep)
    return Embedded(
        ids=np.ascontiguousarray(embedded.ids[rows]),
        paths=[embedded.paths[row] for row in rows],
        sizes=embedded.sizes[rows],
        vectors=np.ascontiguousarray(embedded.vectors[rows]),
        shapes=np.ascontiguousarray(embedded.shapes[rows]),
        failures=failures,
        duplicates={path: first for path, first in embedded.duplicates.items() if first not in gone},
        frames=embedded.frames.take(rows) if embedded.frames is not None else None,
    )


def examples(failures: Sequence[ItemFailure]) -> str:
    """Some of what failed, as the end of a sentence: a job that ends without a result has no quarantine list."""
    return f"; for example {', '.join(map(str, failures[:3]))}" if failures else ""


def _first_of_each(listing: Listing) -> Rows:
    """Positions where a new sample id begins; the listing is sorted by id."""
    new = np.ones(len(listing), bool)
    new[1:] = (listing.ids[1:] != listing.ids[:-1]).any(axis=1)
    return np.flatnonzero(new)


def _given(listing: Listing, reader: Reader, first: Rows) -> "_Found":
    ids, vectors = reader.vectors()
    if not np.array_equal(ids, listing.ids):
        raise SourceGone("the file of vectors has changed since the dataset was made; make a new dataset of it")
    chosen = vectors if len(first) == len(vectors) else vectors[first]
    return _Found(chosen, np.zeros((len(first), 2), np.int32))


def _needed(pool: DecoderPool | None, encoder: Encoder) -> DecoderPool:
    if pool is None or encoder.dimension == 0:
        raise InvalidVectors(f"this dataset holds pictures: the encoder {encoder.name!r} does not read them")
    return pool


@dataclass
class _Found:
    """What became of the distinct samples, row by row."""

    vectors: NDArray[np.float32]
    shapes: NDArray[np.int32]
    failed: dict[int, tuple[str, str]] = field(default_factory=dict)  # row -> code, detail


def _row_type(encoder: Encoder) -> np.dtype[Any]:
    """Of a row in the cache: a vector and a shape, or what is wrong with the sample for good."""
    dimension = (encoder.dimension,)
    return np.dtype([("vector", "<f4", dimension), ("shape", "<i4", (2,)), ("code", "S24"), ("detail", "S64")])


@dataclass
class _Judge:
    """Ends the job as soon as it is certain that more items fail than the caller allows."""

    on_error: OnError
    total: int

    def __call__(self, failed: int) -> None:
        allowed = 0.0 if self.on_error.policy == "fail" else self.on_error.max_fraction
        if failed and failed / self.total > allowed:
            raise TooManyItemErrors(f"{failed} of {self.total} items cannot be used; `on_error` allows {allowed:.1%}")


@dataclass
class _Extraction:
    """One pass over the distinct samples of a dataset of pictures; a row is a place among them."""

    listing: Listing
    first: Rows  # where in the listing each is
    reader: Reader
    encoder: Encoder
    shelf: Shelf
    room: NDArray[np.float32]  # for the vectors
    pool: DecoderPool
    report: Report
    judge: Callable[[int], None]
    done: int = 0

    def __post_init__(self) -> None:
        self.ids = self.listing.ids[self.first]
        self.found = _Found(self.room, np.zeros((len(self.first), 2), np.int32))

    def run(self) -> _Found:
        self._count(0)
        rest = self._remembered(np.arange(len(self.first)))
        patient_until = time.monotonic() + _PATIENCE_S
        while len(rest):
            courteous = time.monotonic() < patient_until
            shards = [rest[begin : begin + SHARD] for begin in range(0, len(rest), SHARD)]
            left = np.concatenate([self._left_of(shard, courteous) for shard in shards])
            if len(left) < len(rest):
                patient_until = time.monotonic() + _PATIENCE_S
            else:
                self._count(0)  # other jobs have all of them in hand
                time.sleep(_PAUSE_S)
            rest = left
        return self.found

    def _left_of(self, rows: Rows, courteous: bool) -> Rows:
        """Embed what nobody has embedded by now; the rows that somebody else is at."""
        with self.shelf.claimed(self.ids[rows]) as mine:
            if not courteous:
                mine[:] = True
            lacking = self._remembered(rows[mine]) if mine.any() else rows[:0]
            if len(lacking):
                self._embed(lacking)
        left: Rows = rows[~mine]
        return left

    def _remembered(self, rows: Rows) -> Rows:
        """Take what the cache has; the rows it does not have."""
        missing = np.ones(len(rows), bool)
        for places, kept in self.shelf.find(self.ids[rows]):
            missing[places] = False
            at = rows[places]
            self.found.vectors[at], self.found.shapes[at] = kept["vector"], kept["shape"]
            for place in np.flatnonzero(kept["code"] != b""):
                self.found.failed[int(at[place])] = kept["code"][place].decode(), kept["detail"][place].decode()
            self._count(len(at))
        return rows[missing]

    def _embed(self, rows: Rows) -> None:
        """Decode and embed these rows, a batch at a time, and keep what will be the same the next time."""
        row_of = {self.listing.paths[self.first[row]]: int(row) for row in rows}
        answers = self.pool.decode(self._contents(rows))
        while batch := [*islice(answers, _BATCH)]:
            self._place(row_of, batch)
        self._keep(rows)

    def _contents(self, rows: Rows) -> Iterator[tuple[str, bytes]]:
        """The bytes of each sample, if they are still those that were listed; a word at once where they are not."""
        listing, first = self.listing, self.first
        contents = read_ahead(
            lambda row: self.reader.read(listing.paths[first[row]], self.ids[row].tobytes()),
            rows.tolist(),
            at_once=self.reader.reads_at_once,
            size_of=lambda row: int(listing.sizes[first[row]]),
        )
        for row, content in contents:
            if isinstance(content, ItemError):
                self._fail(row, content)
                self._count(1)
            else:
                yield listing.paths[first[row]], content

    def _place(self, row_of: dict[str, int], batch: list[Decoded]) -> None:
        """Write down what became of each sample of the batch."""
        good = [(row_of[path], answer) for path, answer in batch if not isinstance(answer, ItemError)]
        if good:
            rows = [row for row, _ in good]
            vectors = self.encoder.embed([picture.pixels for _, picture in good])
            self.found.vectors[rows] = vectors
            self.found.shapes[rows] = [(picture.width, picture.height) for _, picture in good]
            for place in np.flatnonzero(~np.isfinite(vectors).all(axis=1)):  # few bits overflow
                self._fail(rows[place], ItemError("NOT_FINITE", "the encoder gave no finite vector"))
        for path, answer in batch:
            if isinstance(answer, ItemError):
                self._fail(row_of[path], answer)
        self._count(len(batch))

    def _fail(self, row: int, error: ItemError) -> None:
        self.found.failed[row] = error.code, error.detail.encode("ascii", "replace")[:64].decode()

    def _keep(self, rows: Rows) -> None:
        failed = self.found.failed
        lasting = np.array([row for row in rows if int(row) not in failed or failed[int(row)][0] in _LASTING], np.int64)
        kept = np.zeros(len(lasting), self.shelf.row_type)
        kept["vector"], kept["shape"] = self.found.vectors[lasting], self.found.shapes[lasting]
        for place, row in enumerate(lasting.tolist()):
            if row in failed:
                kept["code"][place], kept["detail"][place] = (text.encode() for text in failed[row])
        self.shelf.put(self.ids[lasting], kept)

    def _count(self, done: int) -> None:
        self.done += done
        self.judge(len(self.found.failed) + len(self.listing.failures))
        self.report("embedding", self.done, len(self.first), len(self.found.failed))


def _collected(listing: Listing, first: Rows, found: _Found, judge: Callable[[int], None]) -> Embedded:
    good = np.ones(len(first), bool)
    good[[*found.failed]] = False
    failures, duplicates = _copies(listing, first, found)
    judge(len(failures))
    if not good.any():
        raise DatasetEmpty(f"no sample of the dataset could be used{examples(failures)}")
    kept = first[good]
    frames = listing.frames.take(kept) if listing.frames is not None else None
    return Embedded(
        ids=np.ascontiguousarray(listing.ids[kept]),
        paths=[listing.paths[position] for position in kept],
        sizes=listing.sizes[kept],
        vectors=np.ascontiguousarray(found.vectors if good.all() else _moved_up(found.vectors, good), np.float32),
        shapes=_shapes(found.shapes[good], frames),
        failures=failures,
        duplicates=duplicates,
        frames=frames,
    )


def _moved_up(vectors: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The good rows, in the room they have already: there may be no room for them twice."""
    if not vectors.flags.writeable:
        return vectors[good]
    kept = 0
    for begin in range(0, len(vectors), SHARD):
        block = vectors[begin : begin + SHARD][good[begin : begin + SHARD]]
        vectors[kept : kept + len(block)] = block
        kept += len(block)
    return vectors[:kept]


def _shapes(decoded: NDArray[np.int32], frames: Frames | None) -> NDArray[np.int32]:
    """A frame may have been decoded from a smaller picture of it."""
    if frames is None:
        return np.ascontiguousarray(decoded)
    return np.where(frames.shapes > 0, frames.shapes, decoded).astype(np.int32)


def _copies(listing: Listing, first: Rows, found: _Found) -> tuple[list[ItemFailure], dict[str, str]]:
    """Every copy shares the fate of its first: quarantined with it, or its exact duplicate."""
    failures = list(listing.failures)
    duplicates: dict[str, str] = {}
    ends = np.append(first[1:], len(listing))
    several = np.flatnonzero(ends - first > 1).tolist()
    for row in sorted({*several, *found.failed}):
        begin, end = int(first[row]), int(ends[row])
        if row in found.failed:
            failures += [ItemFailure(path, *found.failed[row]) for path in listing.paths[begin:end]]
        else:
            duplicates |= dict.fromkeys(listing.paths[begin + 1 : end], listing.paths[begin])
    return failures, duplicates
