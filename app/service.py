"""The verbs: each one transaction, and only after its commit the doorbell."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from sqlalchemy import Connection

from app.deps import Parts
from app.estimates import stages_of
from app.schemas import EmbedRequest, JobRequest, dataset_json, job_json, upload_json
from winnow.datasets.allowed import allowed_path, check_source
from winnow.errors import (
    Conflict,
    InvalidRequest,
    JobFinished,
    NotFound,
    OutputExists,
    OutputNotAllowed,
    QuotaExceeded,
    RequestInFlight,
    SourceNotAllowed,
    StorageFull,
    Unavailable,
)
from winnow.spec import OF_LABELS, DatasetSpec, SelectionSpec, Source, Table, UrlsSource
from winnow.store import datasets, idempotency, jobs, keys, uploads
from winnow.store.artifacts import written
from winnow.store.ids import new_id

_NO_DATASET: Final = "ds_" + "0" * 32  # stands in a plan for a dataset that is not stored yet
_MAX_NAME_BYTES: Final = 150  # leaves room for the name the worker copies under before it renames

Lists = dict[str, bytes]  # by upload id: lists of URLs to write once nothing can refuse the request any more
Act = Callable[[Connection, Lists], tuple[int, dict[str, Any]]]
Request = JobRequest | EmbedRequest


@dataclass(frozen=True)
class Said:
    """An answer, and whether it was given before."""

    status: int
    body: dict[str, Any]
    replayed: bool = False


# --- the verbs --------------------------------------------------------------------------------------


def open_upload(parts: Parts, caller: keys.Caller, key: str | None) -> Said:
    def act(connection: Connection, _lists: Lists) -> tuple[int, dict[str, Any]]:
        return 201, upload_json(uploads.create(connection, tenant_id=caller.tenant_id))

    return _once(parts, caller, key, ["upload"], act)


def find_upload(parts: Parts, caller: keys.Caller, upload_id: str) -> Any:
    with parts.database.read() as connection:
        row = uploads.get(connection, caller.tenant_id, upload_id)
    if row is None:
        raise NotFound("there is no such upload")
    return row


def storage_left(parts: Parts, caller: keys.Caller) -> int:
    with parts.database.read() as connection:
        return caller.max_bytes - uploads.stored_bytes(connection, caller.tenant_id)


def seal_upload(parts: Parts, caller: keys.Caller, upload_id: str, aside: Path, size: int, sha256: str) -> Any:
    """Whoever seals the row first puts its bytes in place; a later twin finds it sealed and touches nothing."""
    with parts.database.begin() as connection:
        if not uploads.complete(connection, upload_id, size_bytes=size, sha256=sha256):
            raise Conflict("another request has completed this upload")
        if uploads.stored_bytes(connection, caller.tenant_id) > caller.max_bytes:
            raise storage_exceeded()
        aside.replace(parts.artifacts.upload(upload_id))
        return uploads.get(connection, caller.tenant_id, upload_id)


def storage_exceeded() -> QuotaExceeded:
    return QuotaExceeded("this upload does not fit into the tenant's storage; delete uploads that are no longer needed")


def register_dataset(parts: Parts, caller: keys.Caller, key: str | None, spec: DatasetSpec) -> Said:
    """Name a source and queue its listing."""

    def act(connection: Connection, lists: Lists) -> tuple[int, dict[str, Any]]:
        row = _insert_dataset(connection, caller, spec, lists)
        listing = _queue(parts, connection, caller, kind="list", dataset_id=row.id, spec={})
        return 202, dataset_json(row, listing.id)

    request = ["dataset", spec.model_dump(mode="json")]
    said = _once(parts, caller, key, request, act, check=lambda: _check_dataset(parts, caller, spec))
    parts.doorbell.ring(said.body["job_id"])
    return said


def submit_job(parts: Parts, caller: keys.Caller, key: str | None, request: JobRequest | EmbedRequest) -> Said:
    def act(connection: Connection, lists: Lists) -> tuple[int, dict[str, Any]]:
        dataset = _dataset_of(connection, caller, request, lists)
        _check_kind(request, dataset.source["type"])
        fitting = _with_insights_that_fit(request, has_labels=dataset.labels is not None)
        spec = fitting.spec_for(dataset.id, dataset.source["type"]).model_dump(mode="json")
        return 202, job_json(_queue(parts, connection, caller, kind=request.kind, dataset_id=dataset.id, spec=spec))

    fingerprint = ["job" if request.kind == "filter" else request.kind, request.model_dump(mode="json")]
    said = _once(parts, caller, key, fingerprint, act, check=lambda: _check_job(parts, caller, request))
    parts.doorbell.ring(said.body["id"])
    return said


def plan_job(parts: Parts, caller: keys.Caller, request: JobRequest | EmbedRequest) -> dict[str, Any]:
    """What the job would do and cost; stores nothing."""
    _check_job(parts, caller, request)
    counts: dict[str, Any] | None = None
    with parts.database.read() as connection:
        if request.dataset is not None:
            _check_upload(connection, caller, request.dataset.source, "/dataset/source")
            _check_upload(connection, caller, request.dataset.labels, "/dataset/labels")
            source_type, has_labels = request.dataset.source.type, request.dataset.labels is not None
        else:
            row = _dataset_row(connection, caller, request.dataset_id)
            counts, source_type, has_labels = row.counts, row.source["type"], row.labels is not None
    _check_kind(request, source_type)
    request = _with_insights_that_fit(request, has_labels=has_labels)
    spec = request.spec_for(request.dataset_id or _NO_DATASET, source_type).model_dump(mode="json")
    if request.dataset_id is None:
        spec["dataset_id"] = None
    stages = None
    if counts is not None:
        copies = isinstance(request, JobRequest) and request.output is not None
        stages = stages_of(_selection(request), counts, source_type, request.encoder, copies=copies)
    detail = None if counts is not None else "the dataset has not been listed yet; register it first for an estimate"
    return {"valid": True, "request": spec, "counts": counts, "stages": stages, "detail": detail}


def is_gone(parts: Parts, caller: keys.Caller, job_id: str) -> bool:
    """Deleted since its first answer, which a repeat is given all the same."""
    with parts.database.read() as connection:
        return jobs.get(connection, caller.tenant_id, job_id) is None


def cancel_job(parts: Parts, caller: keys.Caller, job_id: str) -> dict[str, Any]:
    with parts.database.begin() as connection:
        state = jobs.request_cancel(connection, caller.tenant_id, job_id)
        row = jobs.get(connection, caller.tenant_id, job_id)
    if row is None:
        raise NotFound("there is no such job")
    if state is None:
        raise JobFinished(f"the job has already {row.state}" if row.state != "cancelled" else "the job is cancelled")
    return job_json(row)


def delete_job(parts: Parts, caller: keys.Caller, job_id: str) -> None:
    _forget(parts, caller, jobs, job_id, "there is no such job", "the job has not ended; cancel it first")
    parts.artifacts.delete_job(job_id)


def delete_dataset(parts: Parts, caller: keys.Caller, dataset_id: str) -> None:
    in_use = "jobs name this dataset; delete them first"
    _forget(parts, caller, datasets, dataset_id, "there is no such dataset", in_use)
    parts.artifacts.delete_dataset(dataset_id)
    own_list = uploads.own_list(dataset_id)
    with parts.database.read() as connection:
        still_read = uploads.get(connection, caller.tenant_id, own_list) is not None  # by another dataset
    if not still_read:
        parts.artifacts.delete_upload(own_list)


def delete_upload(parts: Parts, caller: keys.Caller, upload_id: str) -> None:
    in_use = "a dataset reads this upload; delete the dataset first"
    _forget(parts, caller, uploads, upload_id, "there is no such upload", in_use)
    parts.artifacts.delete_upload(upload_id)


def _forget(parts: Parts, caller: keys.Caller, table: ModuleType, row_id: str, missing: str, in_use: str) -> None:
    """The row first: files without a row are garbage, a row without files would be a lie."""
    with parts.database.begin() as connection:
        if table.remove(connection, caller.tenant_id, row_id):
            return
        known = table.get(connection, caller.tenant_id, row_id) is not None
    raise Conflict(in_use) if known else NotFound(missing)


# --- once -------------------------------------------------------------------------------------------


def _once(
    parts: Parts,
    caller: keys.Caller,
    key: str | None,
    request: Any,
    act: Act,
    check: Callable[[], None] = lambda: None,
) -> Said:
    """Act in one transaction; with a key, act at most once and give the first answer again.

    `check` looks at the disk, so it runs outside the transaction, and not at all for a replay.
    """
    fingerprint = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    with parts.database.read() as connection:
        said = _first_answer(connection, caller, key, fingerprint)
    if said is not None:
        return said
    check()
    try:
        return _act_once(parts, caller, key, fingerprint, act)
    except RequestInFlight:  # the twin has most likely been served by now
        return _act_once(parts, caller, key, fingerprint, act)


def _act_once(parts: Parts, caller: keys.Caller, key: str | None, fingerprint: str, act: Act) -> Said:
    lists: Lists = {}
    with _taken_back(parts, lists), parts.database.begin() as connection:
        said = _first_answer(connection, caller, key, fingerprint)
        if said is not None:
            return said
        status, body = act(connection, lists)
        if key is not None and not idempotency.remember(connection, caller.tenant_id, key, fingerprint, status, body):
            # A twin committed while we worked; leaving by an error takes our own work back.
            raise RequestInFlight("the first request with this Idempotency-Key has just been served; ask again")
        _write(parts, lists)
    return Said(status, body)


@contextmanager
def _taken_back(parts: Parts, lists: Lists) -> Iterator[None]:
    """A file goes with its row."""
    try:
        yield
    except Unavailable:  # the commit may have come through all the same; the reconciler sweeps what has no row
        raise
    except BaseException:
        for upload_id in lists:
            parts.artifacts.delete_upload(upload_id)
        raise


def _write(parts: Parts, lists: Lists) -> None:
    try:
        for upload_id, content in lists.items():
            with written(parts.artifacts.upload(upload_id)) as file:
                file.write(content)
    except OSError as error:
        raise StorageFull("the list could not be stored; free some space and send it again") from error


def _first_answer(connection: Connection, caller: keys.Caller, key: str | None, fingerprint: str) -> Said | None:
    first = idempotency.find(connection, caller.tenant_id, key, fingerprint) if key is not None else None
    return Said(first.status, first.body, replayed=True) if first is not None else None


# --- parts of the verbs -----------------------------------------------------------------------------


def _queue(parts: Parts, connection: Connection, caller: keys.Caller, **facts: Any) -> Any:
    if jobs.queued_count(connection, caller.tenant_id) >= caller.max_queued:
        raise QuotaExceeded(f"{caller.max_queued} jobs are waiting already; wait for some to run")
    return jobs.submit(connection, tenant_id=caller.tenant_id, run_limit_s=parts.settings.run_limit_s, **facts)


def _dataset_of(connection: Connection, caller: keys.Caller, request: JobRequest | EmbedRequest, lists: Lists) -> Any:
    if request.dataset is not None:
        return _insert_dataset(connection, caller, request.dataset, lists, "/dataset")
    return _dataset_row(connection, caller, request.dataset_id)


def _dataset_row(connection: Connection, caller: keys.Caller, dataset_id: str | None) -> Any:
    row = datasets.get(connection, caller.tenant_id, str(dataset_id))
    if row is None:
        raise NotFound("there is no such dataset")
    return row


def _insert_dataset(
    connection: Connection, caller: keys.Caller, spec: DatasetSpec, lists: Lists, place: str = ""
) -> Any:
    _check_upload(connection, caller, spec.source, f"{place}/source")
    _check_upload(connection, caller, spec.labels, f"{place}/labels")
    dataset_id, source = new_id("ds"), spec.source
    if isinstance(source, UrlsSource) and source.urls is not None:
        upload_id = uploads.own_list(dataset_id)
        lists[upload_id] = _put_aside(connection, caller, upload_id, source.urls)
        source = UrlsSource(type="urls", upload_id=upload_id)
    return datasets.create(
        connection,
        dataset_id=dataset_id,
        tenant_id=caller.tenant_id,
        name=spec.name,
        source=source.model_dump(mode="json"),
        labels=spec.labels.model_dump(mode="json") if spec.labels is not None else None,
    )


def _put_aside(connection: Connection, caller: keys.Caller, upload_id: str, urls: tuple[str, ...]) -> bytes:
    """A list given inline becomes an upload of the caller's: rows stay small, and signed URLs out of every answer."""
    uploads.create(connection, tenant_id=caller.tenant_id, upload_id=upload_id)
    content = "\n".join(urls).encode()
    uploads.complete(connection, upload_id, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    if uploads.stored_bytes(connection, caller.tenant_id) > caller.max_bytes:
        raise storage_exceeded()
    return content


def _selection(request: JobRequest | EmbedRequest) -> SelectionSpec | None:
    return request.selection if isinstance(request, JobRequest) else None


def _check_job(parts: Parts, caller: keys.Caller, request: JobRequest | EmbedRequest) -> None:
    if request.dataset is not None:
        _check_dataset(parts, caller, request.dataset, "/dataset")
    if isinstance(request, JobRequest) and request.output is not None:
        _check_output(parts, request.output.path)


def _check_dataset(parts: Parts, caller: keys.Caller, spec: DatasetSpec, place: str = "") -> None:
    try:
        check_source(spec.source, parts.settings.allow_roots, replace(parts.remote, tenant=caller.tenant_name))
        if spec.labels is not None and spec.labels.path is not None:
            allowed_path(spec.labels.path, parts.settings.allow_roots, "/labels/path")
    except SourceNotAllowed as error:
        fields = tuple((place + pointer, text) for pointer, text in error.fields)
        raise type(error)(error.detail, fields=fields) from error


def _check_upload(connection: Connection, caller: keys.Caller, source: Source | Table | None, place: str) -> None:
    upload_id = getattr(source, "upload_id", None)
    if upload_id is None:
        return
    upload = uploads.get(connection, caller.tenant_id, upload_id)
    if upload is None or upload.completed_at is None:
        fields = ((f"{place}/upload_id", "not complete"),)
        raise InvalidRequest("there is no complete upload of this id", fields=fields)


def _check_kind(request: JobRequest | EmbedRequest, source_type: str) -> None:
    """Vectors are given, not made, and have no file to copy; pictures need an encoder that makes them."""
    has_vectors, encoder = source_type == "vectors", request.encoder.name if request.encoder else None
    if encoder is not None and (encoder == "given") != has_vectors:
        holds = (
            "vectors: name the encoder `given`, or none" if has_vectors else "pictures: name an encoder that reads them"
        )
        fields = (("/encoder/name", "does not fit the dataset"),)
        raise InvalidRequest(f"the dataset holds {holds}", fields=fields)
    if has_vectors and isinstance(request, JobRequest) and request.output is not None:
        fields = (("/output", "a dataset of vectors has no files to copy"),)
        raise InvalidRequest("a dataset of vectors has no files to copy; download the list", fields=fields)


def _with_insights_that_fit(request: Request, *, has_labels: bool) -> Request:
    """All insights are the default, and of these a dataset without labels gets those that need none."""
    if has_labels or not isinstance(request, JobRequest):
        return request
    asked = [name for name in request.insights if name in OF_LABELS]
    if asked and "insights" in request.model_fields_set:
        fields = (("/insights", f"{asked[0]} needs labels"),)
        raise InvalidRequest(
            "the dataset has no labels; give it a table of them, or leave this insight out", fields=fields
        )
    return request.model_copy(update={"insights": tuple(name for name in request.insights if name not in OF_LABELS)})


def _check_output(parts: Parts, text: str) -> None:
    """The folder must not exist, and its parent must really lie below an allowed root; the worker checks again."""
    fields = (("/output/path", "not a new folder below an allowed output root"),)
    path = Path(text)
    try:
        target = allowed_path(str(path.parent), parts.settings.output_roots) / path.name
        fit, linked, taken = _is_fit(target, text), target.is_symlink(), target.exists()
    except SourceNotAllowed as error:
        detail = "the output folder must lie below a folder the operator has allowed (--output-root)"
        raise OutputNotAllowed(detail, fields=fields) from error
    except OSError as error:  # a part of the path is too long, or closed to us
        raise OutputNotAllowed("the output folder's place cannot be used", fields=fields) from error
    if not fit:
        raise OutputNotAllowed("the output folder needs a short name and an existing parent", fields=fields)
    if linked:
        raise OutputNotAllowed("the output folder must not be a link", fields=fields)
    if taken:
        raise OutputExists("the output folder exists; name a new one")


def _is_fit(target: Path, text: str) -> bool:
    named = target.name not in {"", ".", ".."} and not text.endswith(("/", "/."))
    short = len(target.name.encode("utf-8", "replace")) <= _MAX_NAME_BYTES
    return named and short and target.parent.is_dir()
