"""The order of the stages, and nothing else: read, embed, select, inspect."""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

import winnow
from winnow.datasets.base import Reader
from winnow.datasets.decoders import DecoderPool
from winnow.datasets.labels import labels_of
from winnow.datasets.snapshot import fingerprint
from winnow.embeddings import Encoder
from winnow.embeddings.cache import ShardCache
from winnow.embeddings.extract import examples, extract, without_zeros
from winnow.embeddings.head import headed
from winnow.errors import DatasetEmpty
from winnow.insights import inspect
from winnow.results import Embedded, Embedding, Head, Listing, Outcome, Report, Selection
from winnow.selection import compared_by, select
from winnow.spec import EmbedSpec, JobSpec


def run(
    spec: JobSpec,
    reader: Reader,
    listing: Listing,
    encoder: Encoder,
    cache: ShardCache,
    pool: DecoderPool | None,
    report: Report,
    *,
    n_threads: int = 0,
    device: str = "cpu",
    labels: Mapping[str, tuple[str, str]] | None = None,
) -> Outcome:
    """One filter job from a snapshot to an outcome; the same spec and vectors give the same selection anywhere."""
    timings: dict[str, float] = {}
    with _timed(timings, "embedding"):
        embedded, head = _embedded(spec, reader, listing, encoder, cache, pool, report)
        if spec.selection.metric == "cosine":
            embedded = without_zeros(embedded, len(listing) + len(listing.failures), spec.on_error)
    with _timed(timings, "selecting"):
        selection = select(
            spec.selection, embedded.vectors, seed=spec.seed, n_threads=n_threads, device=device, report=report
        )
    with _timed(timings, "inspecting"):
        compared = replace(embedded, vectors=compared_by(spec.selection.metric, embedded.vectors))
        known = labels_of(embedded.paths, labels, embedded.duplicates) if labels else None
        insights = inspect(spec.insights, compared, selection, labels=known, report=report)
    return Outcome(
        listing=listing,
        embedded=embedded,
        selection=selection,
        insights=insights,
        digests=digests(spec, listing, embedded, selection, encoder.version),
        versions=_versions(encoder),
        timings_s=timings,
        head=head,
    )


def embed(
    spec: EmbedSpec,
    reader: Reader,
    listing: Listing,
    encoder: Encoder,
    cache: ShardCache,
    pool: DecoderPool | None,
    report: Report,
) -> Embedding:
    """One embedding job: as far as the vectors, and no further."""
    timings: dict[str, float] = {}
    with _timed(timings, "embedding"):
        embedded, head = _embedded(spec, reader, listing, encoder, cache, pool, report)
    return Embedding(
        listing=listing,
        embedded=embedded,
        digests={"input": fingerprint(listing), "embedding": _embedding_digest(embedded)},
        versions=_versions(encoder),
        timings_s=timings,
        head=head,
    )


def _embedded(
    spec: JobSpec | EmbedSpec,
    reader: Reader,
    listing: Listing,
    encoder: Encoder,
    cache: ShardCache,
    pool: DecoderPool | None,
    report: Report,
) -> tuple[Embedded, Head | None]:
    if len(listing) == 0:
        raise DatasetEmpty(f"the dataset holds nothing that could be read{examples(listing.failures)}")
    embedded = extract(listing, reader, encoder, cache, pool, report, on_error=spec.on_error)
    done, skipped = len(embedded.vectors), len(embedded.failures)
    vectors, head = headed(spec.encoder, embedded.vectors, lambda: report("embedding", done, done, skipped))
    return replace(embedded, vectors=vectors), head


def _versions(encoder: Encoder) -> dict[str, str]:
    return {"winnow": winnow.__version__, "encoder": f"{encoder.name}/{encoder.version}"}


def digests(
    spec: JobSpec, listing: Listing, embedded: Embedded, selection: Selection, encoder_version: str
) -> dict[str, str]:
    """What went in, what it became, what came out. Only content counts: no path of this machine, no time, no thread."""
    ranked = embedded.ids[selection.positions].tobytes()
    asked = canonical_json({"spec": spec.answer_fields(), "encoder_version": encoder_version})
    embedding = _embedding_digest(embedded)
    return {"input": fingerprint(listing), "embedding": embedding, "selection": _sha256([asked, ranked])}


def _embedding_digest(embedded: Embedded) -> str:
    return _sha256([embedded.ids.tobytes(), str(embedded.vectors.shape).encode(), _bytes_of(embedded.vectors)])


def canonical_json(value: Any) -> bytes:
    """One spelling of a value: sorted keys, no spaces, shortest numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _bytes_of(vectors: np.ndarray[Any, Any]) -> memoryview:
    """The rows' little-endian bytes without a copy where they already lie so in memory."""
    return np.ascontiguousarray(vectors, dtype="<f4").reshape(-1).view(np.uint8).data


def _sha256(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    timings[stage] = round(time.perf_counter() - began, 3)
