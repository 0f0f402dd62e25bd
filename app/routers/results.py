"""What a finished job has to say: the selection, the removed, the proof, the pictures."""

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse, Response, StreamingResponse

from app import files
from app.deps import FinishedJob, PartsDep
from app.routers.datasets import PageSize, PageToken
from winnow.errors import NotFound

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])

SampleId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Path(pattern=r"^[a-z0-9_-]{1,60}$")]


@router.get("/selection", response_class=Response)
def get_selection(
    parts: PartsDep,
    job: FinishedJob,
    format: Literal["txt", "jsonl", "csv", "parquet"] = "txt",  # noqa: A002 - the name callers use
    limit: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> Response:
    """The ranked list; the first `limit` of it are themselves a selection."""
    path, entry = files.find(parts, job, f"selection.{format}")
    headers = {
        "ETag": f'"{job.result_digests["selection"]}-{format}{"" if limit is None else f"-{limit}"}"',
        "Content-Disposition": _attachment(f"selection.{format}"),
    }
    if limit is None or limit >= job.result_counts["selected"]:
        return FileResponse(path, media_type=entry["media_type"], headers=headers)
    return StreamingResponse(files.PREFIXES[format](path, limit), media_type=entry["media_type"], headers=headers)


@router.get("/removed")
def list_removed(
    parts: PartsDep, job: FinishedJob, page_size: PageSize = 100, page_token: PageToken = None
) -> dict[str, Any]:
    """Every usable sample that was not kept, by sample id, with the reason."""
    return _lines(parts, job, "removed", page_size, page_token)


@router.get("/quarantine")
def list_quarantine(
    parts: PartsDep, job: FinishedJob, page_size: PageSize = 100, page_token: PageToken = None
) -> dict[str, Any]:
    """Every item that could not be used, with its code."""
    return _lines(parts, job, "quarantine", page_size, page_token)


@router.get("/samples/{sample_id}")
def explain_sample(parts: PartsDep, job: FinishedJob, sample_id: SampleId) -> dict[str, Any]:
    """Why one sample was kept or removed."""
    kept = files.line_with_id(files.find(parts, job, "selection.jsonl")[0], sample_id)
    if kept is not None:
        return {"kept": True, **kept}
    removed = files.line_by_id(files.find(parts, job, "removed.jsonl")[0], sample_id)
    if removed is None:
        raise NotFound("the job knows no such sample; unusable items are listed in its quarantine")
    return {"kept": False, **removed}


@router.get("/manifest", response_class=Response)
def get_manifest(parts: PartsDep, job: FinishedJob) -> Response:
    """Everything needed to reproduce the answer."""
    return _file(parts, job, "manifest.json")


@router.get("/curve", response_class=Response)
def get_curve(parts: PartsDep, job: FinishedJob) -> Response:
    """The budget curve: radius and mean distance against the number kept."""
    return _file(parts, job, "insights/curve.json")


@router.get("/insights")
def list_insights(job: FinishedJob) -> dict[str, Any]:
    names = [entry["name"] for entry in files.entries(job)]
    found = [name.removeprefix("insights/").removesuffix(".json") for name in names if name.startswith("insights/")]
    here = f"/v1/jobs/{job.id}"
    return {
        "items": [
            {
                "name": name,
                "data": f"{here}/insights/{name}",
                "plots": [f"{here}/plots/{name}.{k}" for k in ("png", "svg")],
            }
            for name in found
        ]
    }


@router.get("/insights/{name}", response_class=Response)
def get_insight(parts: PartsDep, job: FinishedJob, name: Name) -> Response:
    return _file(parts, job, f"insights/{name}.json")


@router.get("/plots/{name}.{kind}", response_class=Response)
def get_plot(parts: PartsDep, job: FinishedJob, name: Name, kind: Literal["png", "svg"]) -> Response:
    return _file(parts, job, f"plots/{name}.{kind}")


@router.get("/thumbnails/{sample_id}", response_class=Response)
def get_thumbnail(parts: PartsDep, job: FinishedJob, sample_id: SampleId) -> Response:
    """A small JPEG of a sample the job shows: the first picks and the nearest removed."""
    return _file(parts, job, f"thumbnails/{sample_id}.jpg")


@router.get("/artifacts")
def list_artifacts(job: FinishedJob) -> dict[str, Any]:
    here = f"/v1/jobs/{job.id}/artifacts"
    return {"items": [{**entry, "link": f"{here}/{quote(entry['name'])}"} for entry in files.entries(job)]}


@router.get("/artifacts/{name:path}", response_class=Response)
def get_artifact(parts: PartsDep, job: FinishedJob, name: Annotated[str, Path(max_length=200)]) -> Response:
    return _file(parts, job, name)


def _lines(parts: Any, job: Any, name: str, size: int, token: str | None) -> dict[str, Any]:
    path, _ = files.find(parts, job, f"{name}.jsonl")
    purpose = f"{name} {job.id}"
    items, following = files.lines_from(path, parts.tokens.read(purpose, token) if token else 0, size)
    return {"items": items, "next_page_token": parts.tokens.sign(purpose, following) if following else None}


def _file(parts: Any, job: Any, name: str) -> Response:
    path, entry = files.find(parts, job, name)
    headers = {"ETag": f'"{entry["sha256"]}"', "Cache-Control": "private, max-age=3600"}
    return FileResponse(path, media_type=entry["media_type"], headers=headers)


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name)}"
