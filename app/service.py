"""The verbs: each one transaction, and only after its commit the doorbell."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from app.deps import Parts
from app.schemas import JobRequest, dataset_json, job_json, upload_json
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
)
from winnow.spec import DatasetSpec, Source
from winnow.store import datasets, idempotency, jobs, keys, uploads


@dataclass(frozen=True)
class Said:
    """An answer, and whether it was given before."""

    status: int
    body: dict[str, Any]
    replayed: bool = False


def once(
    parts: Parts,
    caller: keys.Caller,
    key: str | None,
    request: Any,
    act: Callable[[Connection], tuple[int, dict[str, Any]]],
) -> Said:
    """Act in one transaction; with a key, act at most once and give the first answer again."""
    fingerprint = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    with parts.database.begin() as connection:
        if key is not None:
            first = idempotency.find(connection, caller.tenant_id, key, fingerprint)
            if first is not None:
                return Said(first.status, first.body, replayed=True)
        status, body = act(connection)
        if key is not None and not idempotency.remember(connection, caller.tenant_id, key, fingerprint, status, body):
            # A twin committed while we worked; leaving by an error takes our own work back.
            raise RequestInFlight("the first request with this Idempotency-Key has just been served; ask again")
    return Said(status, body)


def open_upload(parts: Parts, caller: keys.Caller, key: str | None) -> Said:
    def act(connection: Connection) -> tuple[int, dict[str, Any]]:
        return 201, upload_json(uploads.create(connection, tenant_id=caller.tenant_id))

    return once(parts, caller, key, ["upload"], act)


def register_dataset(parts: Parts, caller: keys.Caller, key: str | None, spec: DatasetSpec) -> Said:
    """Name a source and queue its listing."""

    def act(connection: Connection) -> tuple[int, dict[str, Any]]:
        row = _insert_dataset(parts, connection, caller, spec)
        listing = _queue(parts, connection, caller, kind="list", dataset_id=row.id, spec={})
        return 202, dataset_json(row, listing.id)

    said = once(parts, caller, key, ["dataset", spec.model_dump(mode="json")], act)
    parts.doorbell.ring(said.body["job_id"])
    return said


def submit_job(parts: Parts, caller: keys.Caller, key: str | None, request: JobRequest) -> Said:
    def act(connection: Connection) -> tuple[int, dict[str, Any]]:
        dataset_id, source_type = _dataset_of(parts, connection, caller, request)
        spec = request.spec_for(dataset_id, source_type).model_dump(mode="json")
        return 202, job_json(_queue(parts, connection, caller, kind="filter", dataset_id=dataset_id, spec=spec))

    _check_output(parts, request)
    said = once(parts, caller, key, ["job", request.model_dump(mode="json")], act)
    parts.doorbell.ring(said.body["id"])
    return said


def plan_job(parts: Parts, caller: keys.Caller, request: JobRequest) -> dict[str, Any]:
    """What the job would do and cost; stores nothing."""
    _check_output(parts, request)
    counts: dict[str, Any] | None = None
    if request.dataset is not None:
        _check_dataset(parts, caller, request.dataset.source)
        source_type = request.dataset.source.type
    else:
        with parts.database.read() as connection:
            row = _dataset_row(connection, caller, request.dataset_id)
        counts, source_type = row.counts, row.source["type"]
    spec = request.spec_for(request.dataset_id or "ds_" + "0" * 32, source_type).model_dump(mode="json")
    return {"valid": True, "request": spec, "counts": counts, "estimate": _estimate(request, counts, source_type)}


def cancel_job(parts: Parts, caller: keys.Caller, job_id: str) -> dict[str, Any]:
    with parts.database.begin() as connection:
        state = jobs.request_cancel(connection, caller.tenant_id, job_id)
        row = jobs.get(connection, caller.tenant_id, job_id)
    if row is None:
        raise NotFound("there is no such job")
    if state is None:
        raise JobFinished(f"the job has already {row.state}")
    return job_json(row)


def delete_job(parts: Parts, caller: keys.Caller, job_id: str) -> None:
    """The row first: files without a row are garbage, a row without files would be a lie."""
    with parts.database.begin() as connection:
        removed = jobs.remove(connection, caller.tenant_id, job_id)
        row = None if removed else jobs.get(connection, caller.tenant_id, job_id)
    if removed:
        parts.artifacts.delete_job(job_id)
    elif row is None:
        raise NotFound("there is no such job")
    else:
        raise Conflict("the job has not ended; cancel it first")


def _queue(parts: Parts, connection: Connection, caller: keys.Caller, **facts: Any) -> Any:
    if jobs.queued_count(connection, caller.tenant_id) >= caller.max_queued:
        raise QuotaExceeded(f"{caller.max_queued} jobs are waiting already; wait for some to run")
    return jobs.submit(connection, tenant_id=caller.tenant_id, run_limit_s=parts.settings.run_limit_s, **facts)


def _dataset_of(parts: Parts, connection: Connection, caller: keys.Caller, request: JobRequest) -> tuple[str, str]:
    if request.dataset is not None:
        row = _insert_dataset(parts, connection, caller, request.dataset)
    else:
        row = _dataset_row(connection, caller, request.dataset_id)
    return row.id, row.source["type"]


def _dataset_row(connection: Connection, caller: keys.Caller, dataset_id: str | None) -> Any:
    row = datasets.get(connection, caller.tenant_id, str(dataset_id))
    if row is None:
        raise NotFound("there is no such dataset")
    return row


def _insert_dataset(parts: Parts, connection: Connection, caller: keys.Caller, spec: DatasetSpec) -> Any:
    _check_dataset(parts, caller, spec.source, connection)
    source = spec.source.model_dump(mode="json")
    return datasets.create(connection, tenant_id=caller.tenant_id, name=spec.name, source=source)


def _check_dataset(parts: Parts, caller: keys.Caller, source: Source, connection: Connection | None = None) -> None:
    check_source(source, parts.settings.allow_roots)
    upload_id = getattr(source, "upload_id", None)
    if upload_id is None:
        return
    if connection is None:
        with parts.database.read() as reading:
            upload = uploads.get(reading, caller.tenant_id, upload_id)
    else:
        upload = uploads.get(connection, caller.tenant_id, upload_id)
    if upload is None or upload.completed_at is None:
        raise InvalidRequest("there is no complete upload of this id", fields=(("/source/upload_id", "not complete"),))


def _check_output(parts: Parts, request: JobRequest) -> None:
    """The folder must not exist, and its parent must lie below an allowed root; links do not help."""
    if request.output is None:
        return
    field = (("/output/path", "not a new folder below an allowed output root"),)
    path = Path(request.output.path)
    try:
        allowed_path(str(path.parent), parts.settings.output_roots)
    except SourceNotAllowed as error:
        detail = "the output folder must lie below a folder the operator has allowed (--output-root)"
        raise OutputNotAllowed(detail, fields=field) from error
    if path.name in {"", ".", ".."} or len(path.name.encode("utf-8", "replace")) > 150 or not path.parent.is_dir():
        raise OutputNotAllowed("the output folder needs a short name and an existing parent", fields=field)
    if path.is_symlink() or path.exists():
        raise OutputExists("the output folder exists; name a new one")


# Measured on two small cores (benchmarks/README.md); a plan is a hint, not a promise.
_SECONDS_EACH = {"reading": 2e-4, "embedding": 1.5e-3, "writing": 5e-5}
_BYTES_EACH = 2_000  # listing, vector, explanations
_BASE_BYTES = 300 << 20


def _estimate(request: JobRequest, counts: dict[str, Any] | None, source_type: str) -> dict[str, Any] | None:
    """Seconds a stage and peak memory, where the dataset has been listed."""
    if counts is None:
        return None
    n = counts["items"]
    budget = request.selection.target.budget(n)
    pairs = n * n if request.selection.method == "adjacency" else n * budget
    seconds = {name: round(each * n, 2) for name, each in _SECONDS_EACH.items()}
    if source_type == "vectors":
        seconds["embedding"] = 0.0
    return {
        "items": n,
        "bytes": counts["bytes"],
        "selected": budget,
        "seconds": {**seconds, "selecting": round(pairs * 2e-8, 2)},
        "peak_memory_bytes": _BASE_BYTES + n * _BYTES_EACH,
    }
