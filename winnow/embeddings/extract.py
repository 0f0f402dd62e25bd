"""From a listing to vectors: distinct samples in canonical order, shard by shard, each shard at most once.

A shard is keyed by its inputs, so a job that is killed finds what it had finished, and no table has to remember it.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from winnow.datasets import decode
from winnow.datasets.ahead import read_ahead
from winnow.datasets.base import Reader
from winnow.datasets.decoders import Decoded, DecoderPool
from winnow.embeddings.base import Encoder
from winnow.embeddings.cache import ShardCache
from winnow.errors import DatasetEmpty, InvalidVectors, ItemError, SourceGone, TooManyItemErrors
from winnow.results import Embedded, Frames, ItemFailure, Listing, Report
from winnow.spec import OnError

SHARD: Final = 1024  # samples: what a kill can cost at most
_BATCH: Final = 64  # pictures an encoder sees at a time
# These say something about the bytes, and will be said again; any other failure may be gone the next time.
_LASTING: Final = (b"UNSUPPORTED_FORMAT", b"DECODE_FAILED")

Rows = NDArray[np.int64]
Shard = NDArray[Any]  # of `_Extraction._row_type`: a vector, a shape, and a code where it failed, for each sample


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
        shard = _given(listing, reader, first)
        report("embedding", len(first), len(first), len(listing.failures))
    else:
        shard = _Extraction(listing, reader, encoder, cache, _needed(pool, encoder), report, judge).run(first)
    return _collected(listing, first, shard, judge)


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


def _given(listing: Listing, reader: Reader, first: Rows) -> "_Columns":
    ids, vectors = reader.vectors()
    if not np.array_equal(ids, listing.ids):
        raise SourceGone("the file of vectors has changed since the dataset was made; make a new dataset of it")
    chosen = vectors if len(first) == len(vectors) else vectors[first]
    return _Columns(chosen, np.zeros((len(first), 2), np.int32), [""] * len(first), [""] * len(first))


def _needed(pool: DecoderPool | None, encoder: Encoder) -> DecoderPool:
    if pool is None or encoder.dimension == 0:
        raise InvalidVectors(f"this dataset holds pictures: the encoder {encoder.name!r} does not read them")
    return pool


@dataclass(frozen=True)
class _Columns:
    """What became of the distinct samples; a code is empty where all went well."""

    vectors: NDArray[np.float32]
    shapes: NDArray[np.int32]
    codes: list[str]
    details: list[str]


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
    """One pass over the distinct samples of a dataset of pictures."""

    listing: Listing
    reader: Reader
    encoder: Encoder
    cache: ShardCache
    pool: DecoderPool
    report: Report
    judge: Callable[[int], None]
    done: int = 0
    failed: int = 0

    def run(self, first: Rows) -> _Columns:
        total = len(first)
        vectors = self.cache.room(total, self.encoder.dimension)
        said = np.zeros(total, self._row_type[["shape", "code", "detail"]])
        for begin in range(0, total, SHARD):
            shard = self._shard(first[begin : begin + SHARD], total)
            vectors[begin : begin + SHARD] = shard["vector"]
            said[begin : begin + SHARD] = shard[["shape", "code", "detail"]]
        return _Columns(vectors, said["shape"], _texts(said["code"]), _texts(said["detail"]))

    @property
    def _row_type(self) -> np.dtype[Any]:
        dimension = (self.encoder.dimension,)
        return np.dtype([("vector", "<f4", dimension), ("shape", "<i4", (2,)), ("code", "S24"), ("detail", "S64")])

    def _shard(self, positions: Rows, total: int) -> Shard:
        """From the cache where it is there; what failed for a passing reason is tried again."""
        key = self._key(positions)
        shard, again = self.cache.get(key), np.arange(len(positions))
        if shard is None:
            shard = np.zeros(len(positions), self._row_type)
        else:
            again = np.flatnonzero((shard["code"] != b"") & ~np.isin(shard["code"], _LASTING))
        self._count(len(positions) - len(again), int(np.isin(shard["code"], _LASTING).sum()), total)
        self._fill(shard, positions, again, total)
        if len(again):
            self.cache.put(key, shard)
        return shard

    def _key(self, positions: Rows) -> str:
        made_by = f"{self.encoder.name}/{self.encoder.version}/{decode.VERSION}/"
        return hashlib.sha256(made_by.encode() + self.listing.ids[positions].tobytes()).hexdigest()

    def _fill(self, shard: Shard, positions: Rows, rows: Rows, total: int) -> None:
        """Decode and embed these rows of the shard, a batch at a time."""
        row_of = {self.listing.paths[positions[row]]: row for row in rows}
        unread: list[tuple[str, ItemError]] = []
        answers = self.pool.decode(self._contents(positions[rows], unread))
        while batch := [*islice(answers, _BATCH)]:
            failed = _place(shard, row_of, batch, self.encoder)
            self._count(len(batch), failed, total)
        _place(shard, row_of, unread, self.encoder)
        self._count(len(unread), len(unread), total)

    def _contents(self, positions: Rows, unread: list[tuple[str, ItemError]]) -> Iterator[tuple[str, bytes]]:
        """The bytes of each sample, if they are still those that were listed."""
        listing, read = self.listing, self.reader.read
        contents = read_ahead(
            lambda position: read(listing.paths[position], listing.ids[position].tobytes()),
            positions.tolist(),
            at_once=self.reader.reads_at_once,
            size_of=lambda position: int(listing.sizes[position]),
        )
        for position, content in contents:
            if isinstance(content, ItemError):
                unread.append((listing.paths[position], content))
            else:
                yield listing.paths[position], content

    def _count(self, done: int, failed: int, total: int) -> None:
        self.done += done
        self.failed += failed
        self.judge(self.failed + len(self.listing.failures))
        self.report("embedding", self.done, total, self.failed)


def _texts(column: NDArray[np.bytes_]) -> list[str]:
    return [text.decode() for text in column.tolist()]


def _place(
    shard: Shard, row_of: dict[str, int], batch: "list[Decoded] | list[tuple[str, ItemError]]", encoder: Encoder
) -> int:
    """Write what became of each sample of the batch into its row; how many failed."""
    good = [(row_of[path], answer) for path, answer in batch if not isinstance(answer, ItemError)]
    if good:
        rows = [row for row, _ in good]
        shard["vector"][rows] = encoder.embed([picture.pixels for _, picture in good])
        shard["shape"][rows] = [(picture.width, picture.height) for _, picture in good]
        shard["code"][rows] = shard["detail"][rows] = b""
    for path, answer in batch:
        if isinstance(answer, ItemError):
            shard["code"][row_of[path]] = answer.code.encode()
            shard["detail"][row_of[path]] = answer.detail.encode("ascii", "replace")
    return len(batch) - len(good)


def _collected(listing: Listing, first: Rows, found: _Columns, judge: Callable[[int], None]) -> Embedded:
    good = np.array([not code for code in found.codes], bool)
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


def _copies(listing: Listing, first: Rows, found: _Columns) -> tuple[list[ItemFailure], dict[str, str]]:
    """Every copy shares the fate of its first: quarantined with it, or its exact duplicate."""
    failures = list(listing.failures)
    duplicates: dict[str, str] = {}
    ends = np.append(first[1:], len(listing))
    for begin, end, code, detail in zip(first, ends, found.codes, found.details, strict=True):
        if code:
            failures += [ItemFailure(path, code, detail) for path in listing.paths[begin:end]]
        elif end - begin > 1:
            duplicates |= dict.fromkeys(listing.paths[begin + 1 : end], listing.paths[begin])
    return failures, duplicates
