"""What the API's description shows beside its main calls: one answer each, and the shape of every refusal."""

from typing import Any, Final

from app.errors import MEDIA_TYPE, problem_body
from app.schemas import EMBED_REQUEST, JOB_REQUEST

_DATASET_ID: Final = "ds_019a9d3c5f2e7c41b6a0d1e2f3a4b5c6"
_JOB_ID: Final = "job_019a9d3c60117d52a7b1c2d3e4f50617"
_UPLOAD_ID: Final = "up_019a9d3c5e0a7b30a5c6d7e8f9a0b1c2"
_DIGEST: Final = "sha256:9f2feb0f1ef425b292f2f94bc8482494df43ea9aa5d09a97f93e5d1c8e4b7a60"

_PROBLEM: Final = problem_body(
    422,
    "INVALID_REQUEST",
    "The request does not fit the schema",
    "/selection/target/count: Input should be greater than or equal to 1",
    request_id="5f0c2f6f6c3b4a2e9d1f0a7b8c9d0e1f",
    instance="/v1/jobs",
    fields=[("/selection/target/count", "Input should be greater than or equal to 1")],
)
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"description": "A refusal; `code` is stable", "content": {MEDIA_TYPE: {"example": _PROBLEM}}},
    "5XX": {"description": "Not the caller's fault; `Retry-After` says when to ask again"},
}

_JOB: Final = {
    "id": _JOB_ID,
    "kind": "filter",
    "state": "succeeded",
    "stage": "done",
    "progress": {
        "fraction": 1.0,
        "eta_s": None,
        "stages": [{"name": "embedding", "done": 100000, "total": 100000, "skipped": 3, "rate_per_s": 2210.0}],
    },
    "dataset_id": _DATASET_ID,
    "request": {"dataset_id": _DATASET_ID, "encoder": {"name": "descriptor-64"}, "selection": JOB_REQUEST["selection"]},
    "attempt": 1,
    "counts": {"input": 100003, "valid": 100000, "exact_duplicates": 812, "selected": 10000, "quarantined": 3},
    "digests": {"input": _DIGEST, "embedding": _DIGEST, "selection": _DIGEST},
    "error": None,
    "created_at": "2026-11-20T09:00:00Z",
    "started_at": "2026-11-20T09:00:01Z",
    "finished_at": "2026-11-20T09:01:12Z",
    "links": {"self": f"/v1/jobs/{_JOB_ID}", "selection": f"/v1/jobs/{_JOB_ID}/selection"},
}
_EMBED: Final = {
    "kind": "embed",
    "state": "queued",
    "stage": None,
    "request": {"dataset_id": _DATASET_ID, "encoder": EMBED_REQUEST["encoder"]},
}
_DATASET: Final = {
    "id": _DATASET_ID,
    "name": "yard",
    "source": {"type": "folder", "path": "/data/yard"},
    "state": "ready",
    "counts": {"items": 100003, "bytes": 41000000000, "quarantined": 3},
    "fingerprint": _DIGEST,
    "error": None,
    "created_at": "2026-11-20T09:00:00Z",
    "listed_at": "2026-11-20T09:00:09Z",
    "links": {"self": f"/v1/datasets/{_DATASET_ID}", "samples": f"/v1/datasets/{_DATASET_ID}/samples"},
}
_SELECTED: Final = "camera-0/000017.jpg\ncamera-2/004211.jpg\ncamera-1/000903.jpg\n"
_REMOVED: Final = {
    "sample_id": "ab" * 32,
    "path": "camera-0/000018.jpg",
    "reason": "COVERED_BY_KEPT",
    "nearest_kept_id": "cd" * 32,
    "nearest_kept_path": "camera-0/000017.jpg",
    "nearest_kept_distance": 0.031,
    "covered_at_rank": 0,
    "kept_at_budget": 41822,
    "video": None,
    "frame": None,
    "pts": None,
    "time_s": None,
}

Responses = dict[int | str, dict[str, Any]]


def _shown(status: int, description: str, example: Any, media_type: str = "application/json") -> Responses:
    return {status: {"description": description, "content": {media_type: {"example": example}}}}


JOB_QUEUED: Final = _shown(202, "Queued; `Location` says where to look", _JOB | {"state": "queued", "stage": None})
EMBED_QUEUED: Final = _shown(202, "Queued; `Location` says where to look", _JOB | _EMBED)
JOB: Final = _shown(200, "The job", _JOB)
JOBS: Final = _shown(200, "A page of jobs", {"items": [_JOB], "next_page_token": None})
DATASET_QUEUED: Final = _shown(202, "Being listed", _DATASET | {"state": "pending", "counts": None, "job_id": _JOB_ID})
DATASET: Final = _shown(200, "The dataset", _DATASET)
UPLOAD: Final = _shown(201, "Open for bytes", {"id": _UPLOAD_ID, "state": "open", "bytes": None, "sha256": None})
SELECTION: Final = _shown(200, "One relative path a line, in rank order", _SELECTED, "text/plain; charset=utf-8")
EMBEDDINGS: Final[Responses] = {
    200: {
        "description": "A float32 matrix; or a table of sample_id, path and vector; or ids and paths, a line each",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
            "text/plain; charset=utf-8": {"example": f"{'ab' * 32}\n{'cd' * 32}\n"},
        },
    }
}
REMOVED: Final = _shown(200, "A page of removed samples", {"items": [_REMOVED], "next_page_token": None})
SAMPLE: Final = _shown(200, "Why it was removed", {"kept": False, **_REMOVED, "duplicates": []})
EVENTS: Final = _shown(
    200,
    "Events as they happen",
    'id: 7\nevent: stage\ndata: {"stage": "started", "attempt": 1, "at": "2026-11-20T09:00:01Z"}\n\n',
    "text/event-stream",
)
