"""What the API takes beyond the job spec, and what it answers."""

from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from sqlalchemy import Row

from app.errors import job_problem
from winnow.queues import JobKind
from winnow.spec import (
    ALL_INSIGHTS,
    SPEC_VERSION,
    DatasetId,
    DatasetSpec,
    EmbedSpec,
    EncoderSpec,
    InsightName,
    JobSpec,
    OnError,
    Output,
    SelectionSpec,
    Spec,
)

JOB_REQUEST: Final[dict[str, Any]] = {
    "dataset": {"name": "yard", "source": {"type": "folder", "path": "/data/yard"}},
    "selection": {"method": "coreset", "target": {"fraction": 0.1}},
}
EMBED_REQUEST: Final[dict[str, Any]] = {"dataset": JOB_REQUEST["dataset"], "encoder": {"name": "descriptor-64"}}
_COUNTS: Final = dict.fromkeys(("input", "valid", "exact_duplicates", "selected", "quarantined"))
_DIGESTS: Final = dict.fromkeys(("input", "embedding", "selection"))
_NO_PROGRESS: Final[dict[str, Any]] = {"fraction": 0.0, "eta_s": None, "stages": []}


class _WorkRequest(Spec):
    """Work on a dataset, which may be given inline; the encoder may be left to the kind of dataset."""

    kind: ClassVar[JobKind]
    spec: ClassVar[type[JobSpec | EmbedSpec]]

    dataset_id: DatasetId | None = None
    dataset: DatasetSpec | None = None
    encoder: EncoderSpec | None = None
    on_error: OnError = OnError(policy="skip", max_fraction=1.0)
    spec_version: Literal[1] = SPEC_VERSION

    @model_validator(mode="after")
    def _one_dataset(self) -> Self:
        if (self.dataset_id is None) == (self.dataset is None):
            raise ValueError("give exactly one of dataset_id, dataset")
        return self

    def spec_for(self, dataset_id: str, source_type: str) -> JobSpec | EmbedSpec:
        default = EncoderSpec(name="given") if source_type == "vectors" else EncoderSpec()
        asked = {name: getattr(self, name) for name in type(self).model_fields if name != "dataset"}
        return self.spec(**asked | {"dataset_id": dataset_id, "encoder": self.encoder or default})


class JobRequest(_WorkRequest):
    """A job spec whose dataset may be given inline, and whose encoder may be left to the kind of dataset."""

    model_config = ConfigDict(json_schema_extra={"examples": [JOB_REQUEST]})
    kind = "filter"
    spec = JobSpec

    selection: SelectionSpec
    insights: tuple[InsightName, ...] = Field(ALL_INSIGHTS, strict=False, max_length=16)
    output: Output | None = None
    keep_vectors: bool | None = Field(
        None, description="For download under /embeddings; where it is not said, up to 64 MiB of vectors are kept"
    )
    seed: int = Field(0, ge=0, lt=2**63)


class EmbedRequest(_WorkRequest):
    """An embed spec whose dataset may be given inline, and whose encoder may be left to the kind of dataset."""

    model_config = ConfigDict(json_schema_extra={"examples": [EMBED_REQUEST]})
    kind = "embed"
    spec = EmbedSpec


def moment(seconds: float | None) -> str | None:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z") if seconds is not None else None


def job_json(row: Row[Any]) -> dict[str, Any]:
    """The job object: the same fields in every state, null where nothing is known yet."""
    cancelling = row.state == "running" and row.cancel_requested_at is not None
    return {
        "id": row.id,
        "kind": row.kind,
        "state": "cancelling" if cancelling else row.state,
        "stage": row.stage,
        "progress": row.progress or _NO_PROGRESS,
        "dataset_id": row.dataset_id,
        "request": row.spec,
        "attempt": row.attempt,
        "counts": _COUNTS | (getattr(row, "result_counts", None) or {}),
        "digests": _DIGESTS | (getattr(row, "result_digests", None) or {}),
        "error": job_problem(row.error_code, row.error) if row.error_code else None,
        "created_at": moment(row.created_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at),
        "links": _links(row.id),
    }


def _links(job_id: str) -> dict[str, str]:
    here = f"/v1/jobs/{job_id}"
    parts = (
        "events",
        "selection",
        "removed",
        "quarantine",
        "insights",
        "artifacts",
        "manifest",
        "certificate",
        "embeddings",
    )
    return {"self": here, **{part: f"{here}/{part}" for part in parts}, "cancel": f"{here}:cancel"}


def dataset_json(row: Row[Any], job_id: str | None = None) -> dict[str, Any]:
    error = row.error or {}
    body = {
        "id": row.id,
        "name": row.name,
        "source": row.source,
        "labels": row.labels,
        "state": row.state,
        "counts": row.counts,
        "fingerprint": row.fingerprint,
        "error": job_problem(error.get("code", "INTERNAL"), error) if row.error else None,
        "created_at": moment(row.created_at),
        "listed_at": moment(row.listed_at),
        "links": {"self": f"/v1/datasets/{row.id}", "samples": f"/v1/datasets/{row.id}/samples"},
    }
    return body | ({"job_id": job_id} if job_id else {})


def upload_json(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": "complete" if row.completed_at is not None else "open",
        "bytes": row.bytes,
        "sha256": row.sha256,
        "created_at": moment(row.created_at),
        "links": {"self": f"/v1/uploads/{row.id}"},
    }
