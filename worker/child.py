"""One attempt at one job, in a process that may be killed at any moment: no database, only files and a pipe.

It reads its task as one JSON object from stdin and writes JSON lines to what was stdout: `report`, `listed`, and at
the end one of `done`, `failed`, `cancelled`. SIGTERM asks it to stop at the next report.
"""

import errno
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from pydantic import TypeAdapter

import kernels
from winnow import log, pipeline
from winnow.connections import load_connections
from winnow.datasets import labels, snapshot
from winnow.datasets.ahead import read_ahead
from winnow.datasets.allowed import Remote, allowed_path, remote_for
from winnow.datasets.base import Limits, Reader
from winnow.datasets.decoders import DecoderPool
from winnow.datasets.sources import open_source
from winnow.embeddings import Encoder, Runtime, encoder_for
from winnow.embeddings.cache import ShardCache
from winnow.errors import ConnectionBroken, JobCancelled, JobError, MemoryLimit, WinnowError, WorkerStorageFull
from winnow.lifeline import die_with_parent, exit_if_orphaned
from winnow.results import Embedding, Listing
from winnow.settings import Settings
from winnow.spec import EmbedSpec, EncoderSpec, JobSpec, ObjectStoreSource, Source, Table
from winnow.store.artifacts import Artifacts
from worker import outputs
from worker.failpoints import failpoint

_REPORTS_PER_S = 5.0
_DRIVER = Path("/proc/driver/nvidia")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What the supervisor hands over."""

    job_id: str
    attempt: int
    kind: str
    spec: dict[str, Any]
    tenant: str  # by name, as connections speak of it
    dataset_id: str
    source: dict[str, Any]
    labels: dict[str, Any] | None
    snapshot: str | None
    max_items: int  # of a dataset: the service's limit or the tenant's, whichever is less


def main() -> None:
    die_with_parent()
    exit_if_orphaned()
    # Whatever a library prints goes to the log; the pipe belongs to the protocol alone.
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    task = Task(**json.loads(sys.stdin.readline()))
    settings = Settings()
    log.configure(settings.log_level)
    say = partial(_say, pipe)
    say(_verdict(lambda: _run(task, settings, _Reporter(say), say)))


def _run(task: Task, settings: Settings, report: "_Reporter", say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    artifacts = Artifacts(settings.data_dir)
    artifacts.require_space(0)
    reader = _opened(task, settings, artifacts, report.alive)
    listing = _listed(task, settings, artifacts, reader, report, say)
    if task.kind == "list":
        counts = {"input": len(listing) + len(listing.failures), "quarantined": len(listing.failures)}
        return {"counts": counts, "digests": {"input": snapshot.fingerprint(listing)}, "files": {}}
    work = _embed if task.kind == "embed" else _filter
    return work(task, settings, artifacts, reader, listing, report)


def _opened(task: Task, settings: Settings, artifacts: Artifacts, alive: Callable[[], None]) -> Reader:
    source: Source = TypeAdapter(Source).validate_python(task.source)
    upload_id = getattr(source, "upload_id", None)
    return open_source(
        source,
        folder=artifacts.dataset(task.dataset_id),
        roots=settings.allow_roots,
        upload=artifacts.upload(upload_id) if upload_id else None,
        limits=Limits(max_items=task.max_items, max_item_bytes=settings.max_item_bytes),
        processes=settings.decoders or kernels.effective_threads(settings.threads),
        remote=_remote(task, settings, source),
        alive=alive,
    )


def _remote(task: Task, settings: Settings, source: Source) -> Remote:
    """A list of connections that is broken is the trouble of those who name one."""
    try:
        connections = load_connections(settings.connections) if isinstance(source, ObjectStoreSource) else {}
    except ConnectionBroken as error:
        logger.warning("%s", error.detail)  # for whoever runs the worker; the caller is told less
        raise ConnectionBroken("the list of connections cannot be read; ask the administrator") from error
    return remote_for(
        connections,
        allow_urls=settings.allow_urls,
        private=settings.private_places,
        own_names=settings.allowed_hosts,
        tenant=task.tenant,
    )


def _read_labels(task: Task, settings: Settings, artifacts: Artifacts) -> Any:
    if task.labels is None:
        return None
    table = Table.model_validate(task.labels)
    path = allowed_path(table.path, settings.allow_roots) if table.path else artifacts.upload(str(table.upload_id))
    return labels.read_labels(path, task.max_items)


def _snapshot_name(listing: Listing) -> str:
    return f"listing-{snapshot.fingerprint(listing).removeprefix('sha256:')[:16]}.parquet"


def _beside(listing: Path) -> Path:
    """Where the labels of a snapshot are kept."""
    return listing.with_suffix(".labels.parquet")


def _listed(
    task: Task,
    settings: Settings,
    artifacts: Artifacts,
    reader: Reader,
    report: "_Reporter",
    say: Callable[[dict[str, Any]], None],
) -> Listing:
    """The dataset's snapshot: the one that is there, or a new one, which the supervisor makes known."""
    folder = artifacts.dataset(task.dataset_id)
    if task.snapshot is not None:
        return snapshot.load(folder / task.snapshot)
    said = _read_labels(task, settings, artifacts)
    listing = reader.list(report)
    fingerprint, name = snapshot.fingerprint(listing), _snapshot_name(listing)
    snapshot.save(listing, folder / name)
    if said is not None:
        labels.save(labels.fitting(said, listing.paths), _beside(folder / name))
    counts = {
        "items": len(listing) + len(listing.failures),
        "bytes": int(listing.sizes.sum()),
        "quarantined": len(listing.failures),
    }
    say({"listed": {"counts": counts, "fingerprint": fingerprint, "snapshot": name}})
    return listing


def _embed(
    task: Task, settings: Settings, artifacts: Artifacts, reader: Reader, listing: Listing, report: "_Reporter"
) -> dict[str, Any]:
    spec = EmbedSpec.model_validate(task.spec, strict=False)
    cache = ShardCache(artifacts.cache)
    with _embedder(spec.encoder, settings, reader) as (encoder, pool, _):
        embedding = pipeline.embed(spec, reader, listing, encoder, cache, pool, report)
    folder = artifacts.attempt(task.job_id, task.attempt)
    files = outputs.write_embedding(embedding, spec, folder, report=report)
    return _done(embedding, folder, files)


@contextmanager
def _embedder(spec: EncoderSpec, settings: Settings, reader: Reader) -> Iterator[tuple[Encoder, DecoderPool, int]]:
    """The encoder, the processes that feed it, and how many threads both may use."""
    threads = kernels.effective_threads(settings.threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # a framework that the encoder brings looks here as it is loaded
    encoder = encoder_for(reader.kind, spec.name, Runtime.of(settings))
    with DecoderPool(settings.decoders or threads, settings.max_pixels, encoder.size, crop=encoder.crop) as pool:
        yield encoder, pool, threads


def _filter(
    task: Task, settings: Settings, artifacts: Artifacts, reader: Reader, listing: Listing, report: "_Reporter"
) -> dict[str, Any]:
    spec = JobSpec.model_validate(task.spec, strict=False)
    cache, known = ShardCache(artifacts.cache), _labels(task, artifacts, listing)
    device = _device(settings.device)
    with _embedder(spec.encoder, settings, reader) as (encoder, pool, threads):
        outcome = pipeline.run(
            spec, reader, listing, encoder, cache, pool, report, n_threads=threads, device=device, labels=known
        )
    pictures = _pictures(reader, listing, settings.max_pixels)
    folder = artifacts.attempt(task.job_id, task.attempt)
    roots = settings.output_roots
    files = outputs.write(
        outcome, spec, folder, job_id=task.job_id, pictures=pictures, output_roots=roots, report=report
    )
    return _done(outcome, folder, files)


def _done(embedding: Embedding, folder: Path, files: list[dict[str, Any]]) -> dict[str, Any]:
    failpoint("before-finish")
    result = {"folder": folder.name, "files": files}
    return {"counts": outputs.counts(embedding), "digests": embedding.digests, "files": result}


def _device(wish: str) -> str:
    """Where a selection may run. Torch, which takes a second to load, is asked only where there is a driver."""
    if wish == "cpu" or (wish == "auto" and not (_DRIVER.exists() and find_spec("torch"))):
        return "cpu"
    from winnow.embeddings.device import chosen_device  # noqa: PLC0415 - torch

    return str(chosen_device(wish))


def _labels(task: Task, artifacts: Artifacts, listing: Listing) -> dict[str, tuple[str, str]] | None:
    """As they were when the dataset was listed."""
    if task.labels is None:
        return None
    return labels.load(_beside(artifacts.dataset(task.dataset_id) / _snapshot_name(listing)))


def _pictures(reader: Reader, listing: Listing, max_pixels: int) -> outputs.Pictures | None:
    if reader.kind == "vectors":
        return None
    ids = dict(zip(listing.paths, listing.ids, strict=True))
    sizes = dict(zip(listing.paths, listing.sizes.tolist(), strict=True))
    return outputs.Pictures(
        read=lambda path: reader.read(path, ids[path].tobytes()),
        original=lambda path: reader.original(path, ids[path].tobytes()),
        max_pixels=max_pixels,
        ahead=partial(read_ahead, at_once=reader.reads_at_once, size_of=sizes.__getitem__),
    )


class _Reporter:
    """Forwards progress a few times a second, and turns SIGTERM into JobCancelled at the next safe point."""

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        self._say, self._said_at, self._asked = say, 0.0, False
        self._last: tuple[str, int, int, int] = ("reading", 0, 0, 0)
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True

    def __call__(self, stage: str, done: int, total: int, skipped: int = 0) -> None:
        failpoint(stage)
        self._last = stage, done, total, skipped
        if done >= total:
            self._said_at = 0.0
        self.alive()

    def alive(self) -> None:
        """The last report once more, where the next is long in coming: what works does not stand still."""
        if self._asked:
            raise JobCancelled
        now = time.monotonic()
        if now - self._said_at >= 1 / _REPORTS_PER_S:
            self._said_at = now
            self._say({"report": self._last})


def _verdict(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:  # noqa: PLR0911 - one return an ending
    """How the attempt ended, whatever happened in it."""
    try:
        return {"done": run()}
    except JobCancelled:
        return {"cancelled": True}
    except JobError as error:
        return _failed(error, transient=error.transient)
    except WinnowError as error:
        return _failed(error, transient=False)
    except MemoryError:
        return _failed(MemoryLimit("the job needs more memory than the worker has; filter a part of the dataset"))
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            full = WorkerStorageFull("the worker's disk is full; the job is tried again later")
            return _failed(full, transient=True)
        logger.exception("the job failed on an I/O error")
        return _failed(WinnowError("an I/O error on the worker; its log says more"))
    except Exception:
        logger.exception("the job failed on something nobody expected")
        return _failed(WinnowError("the worker met something nobody expected; its log says more"))


def _failed(error: WinnowError, *, transient: bool = False) -> dict[str, Any]:
    return {"failed": {"code": error.code, "title": error.title, "detail": error.detail, "transient": transient}}


def _say(pipe: TextIO, message: dict[str, Any]) -> None:
    try:
        pipe.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        sys.exit(1)  # nobody listens any more


if __name__ == "__main__":
    main()
