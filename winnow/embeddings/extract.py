"""From a listing to vectors: distinct samples in canonical order, shard by shard, each shard at most once.

A shard is keyed by its inputs, so a job that is killed finds what it had finished, and no table has to remember it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from winnow.datasets.base import Reader
from winnow.datasets.decode import Picture
from winnow.datasets.decoders import DecoderPool
from winnow.embeddings.base import Encoder
from winnow.embeddings.cache import Arrays, ShardCache
from winnow.errors import DatasetEmpty, InvalidRequest, InvalidVectors, ItemError, SourceGone, TooManyItemErrors
from winnow.results import Embedded, ItemFailure, Listing, Positions, Report, Vectors
from winnow.spec import OnError

SHARD: Final = 1024  # samples: what a kill can cost at most
_BATCH: Final = 64  # pictures an encoder sees at a time
# These say something about the bytes, and will be said again; any other failure may be gone the next time.
_LASTING: Final = frozenset({"", "UNSUPPORTED_FORMAT", "IMAGE_TOO_LARGE", "DECODE_FAILED"})


@dataclass
class _Shard:
    """What is known of some consecutive distinct samples; `codes` is empty where all went well."""

    vectors: Vectors
    shapes: np.ndarray[tuple[int, ...], np.dtype[np.int32]]
    codes: list[str]
    details: list[str] = field(default_factory=list)


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
    """Every distinct sample's vector, and a word about each that has none."""
    first = _first_of_each(listing)
    if reader.kind == "vectors":
        if encoder.name != "given":
            raise InvalidVectors("this dataset brings its own vectors: leave out `encoder`, or ask for `given`")
        report("embedding", len(first), len(first))
        return _collected(listing, first, [_given(listing, reader, first)], on_error)
    if encoder.name == "given" or pool is None:
        raise InvalidRequest("this dataset holds pictures: `given` is for datasets of vectors")
    shards: list[_Shard] = []
    skipped = 0
    for begin in range(0, len(first), SHARD):
        positions = first[begin : begin + SHARD]
        shards.append(_shard(listing, positions, reader, encoder, cache, pool))
        skipped += sum(map(bool, shards[-1].codes))
        _stop_early(on_error, skipped + len(listing.failures), len(listing) + len(listing.failures))
        report("embedding", begin + len(positions), len(first), skipped)
    return _collected(listing, first, shards, on_error)


def _first_of_each(listing: Listing) -> Positions:
    """Positions where a new sample id begins; the listing is sorted by id."""
    new = np.ones(len(listing), bool)
    new[1:] = (listing.ids[1:] != listing.ids[:-1]).any(axis=1)
    return np.flatnonzero(new)


def _given(listing: Listing, reader: Reader, first: Positions) -> _Shard:
    """The dataset's own rows, if they are still those that were listed."""
    ids, everyone = reader.vectors()
    if not np.array_equal(ids, listing.ids):
        raise SourceGone("the file of vectors has changed since the dataset was made; make a new dataset of it")
    vectors = everyone[first]
    return _Shard(vectors, np.zeros((len(vectors), 2), np.int32), [""] * len(vectors), [""] * len(vectors))


def _shard(
    listing: Listing,
    positions: Positions,
    reader: Reader,
    encoder: Encoder,
    cache: ShardCache,
    pool: DecoderPool,
) -> _Shard:
    key = _key(encoder, listing.ids[positions].tobytes())
    cached = cache.get(key)
    if cached is not None:
        return _unpacked(cached)
    shard = _computed(listing, positions, reader, encoder, pool)
    if _LASTING.issuperset(shard.codes):
        cache.put(key, _packed(shard))
    return shard


def _key(encoder: Encoder, ids: bytes) -> str:
    return hashlib.sha256(f"{encoder.name}/{encoder.version}/".encode() + ids).hexdigest()


def _computed(
    listing: Listing,
    positions: Positions,
    reader: Reader,
    encoder: Encoder,
    pool: DecoderPool,
) -> _Shard:
    failed: dict[str, ItemError] = {}
    pictures: dict[str, Picture] = {}
    for path, answer in pool.decode(_contents(listing, positions, reader, failed)):
        if isinstance(answer, ItemError):
            failed[path] = answer
        else:
            pictures[path] = answer
    vectors = np.zeros((len(positions), encoder.dimension), np.float32)
    shapes = np.zeros((len(positions), 2), np.int32)
    paths = [listing.paths[position] for position in positions]
    good = [row for row, path in enumerate(paths) if path in pictures]
    for begin in range(0, len(good), _BATCH):
        rows = good[begin : begin + _BATCH]
        vectors[rows] = encoder.embed([pictures[paths[row]].pixels for row in rows])
        shapes[rows] = [(pictures[paths[row]].width, pictures[paths[row]].height) for row in rows]
    codes = [failed[path].code if path in failed else "" for path in paths]
    details = [failed[path].detail if path in failed else "" for path in paths]
    return _Shard(vectors, shapes, codes, details)


def _contents(
    listing: Listing,
    positions: Positions,
    reader: Reader,
    failed: dict[str, ItemError],
) -> Iterator[tuple[str, bytes]]:
    """The bytes of each sample, if they are still those that were listed."""
    for position in positions:
        path, sample_id = listing.paths[position], listing.ids[position].tobytes()
        try:
            yield path, read_unchanged(reader, path, sample_id)
        except ItemError as error:
            failed[path] = error


def read_unchanged(reader: Reader, path: str, sample_id: bytes) -> bytes:
    """A sample's bytes, held against its id: a dataset is a snapshot, whatever happens to the folder."""
    content = reader.read(path)
    if hashlib.sha256(content).digest() != sample_id:
        raise ItemError("CONTENT_CHANGED", "not the bytes that were listed")
    return content


def _collected(
    listing: Listing,
    first: Positions,
    shards: list[_Shard],
    on_error: OnError,
) -> Embedded:
    codes = [code for shard in shards for code in shard.codes]
    details = [detail for shard in shards for detail in shard.details]
    good = np.array([not code for code in codes], bool)
    failures, duplicates = _copies(listing, first, codes, details)
    _judge(on_error, len(failures), len(listing) + len(listing.failures))
    if not good.any():
        raise DatasetEmpty("no sample of the dataset could be used; see its quarantine list")
    kept = first[good]
    return Embedded(
        ids=np.ascontiguousarray(listing.ids[kept]),
        paths=[listing.paths[position] for position in kept],
        sizes=listing.sizes[kept],
        vectors=np.ascontiguousarray(np.concatenate([shard.vectors for shard in shards])[good]),
        shapes=np.concatenate([shard.shapes for shard in shards])[good],
        failures=failures,
        duplicates=duplicates,
    )


def _copies(
    listing: Listing, first: Positions, codes: list[str], details: list[str]
) -> tuple[list[ItemFailure], dict[str, str]]:
    """Every copy shares the fate of its first: quarantined with it, or its exact duplicate."""
    failures = list(listing.failures)
    duplicates: dict[str, str] = {}
    ends = np.append(first[1:], len(listing))
    for begin, end, code, detail in zip(first, ends, codes, details, strict=True):
        if code:
            failures += [ItemFailure(path, code, detail) for path in listing.paths[begin:end]]
        else:
            duplicates |= dict.fromkeys(listing.paths[begin + 1 : end], listing.paths[begin])
    return failures, duplicates


def _stop_early(on_error: OnError, failed: int, total: int) -> None:
    """Do not embed a million samples of a job that is lost already."""
    if failed:
        _judge(on_error, failed, total)


def _judge(on_error: OnError, failed: int, total: int) -> None:
    allowed = 0 if on_error.policy == "fail" else int(on_error.max_fraction * total)
    if failed > allowed:
        raise TooManyItemErrors(f"{failed} of {total} items cannot be used; `on_error` allows {allowed}")


def _packed(shard: _Shard) -> Arrays:
    return {
        "vectors": shard.vectors,
        "shapes": shard.shapes,
        "codes": np.array(shard.codes, np.str_),
        "details": np.array(shard.details, np.str_),
    }


def _unpacked(arrays: Arrays) -> _Shard:
    return _Shard(
        np.asarray(arrays["vectors"], np.float32),
        np.asarray(arrays["shapes"], np.int32),
        [str(code) for code in arrays["codes"]],
        [str(detail) for detail in arrays["details"]],
    )
