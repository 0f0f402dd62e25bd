"""What a finished job has to say: the selection, the removed, the proof, the pictures."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from app import examples, files
from app.deps import FilteredJob, FinishedJob, Parts, PartsDep
from app.downloads import is_known, saved_as, send
from app.paging import PageSize, PageToken, capped
from winnow.errors import EmbeddingsNotKept, NotFound

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"], responses=examples.REFUSALS)

SampleId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Path(pattern=r"^[a-z0-9_-]{1,60}$")]
_DUPLICATE = "EXACT_DUPLICATE"


@router.get("/selection", response_class=FileResponse, responses=examples.SELECTION)
def get_selection(
    parts: PartsDep,
    job: FilteredJob,
    request: Request,
    format: Literal["txt", "jsonl", "csv", "parquet"] = "txt",  # noqa: A002 - the name callers use
    limit: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> Response:
    """The ranked list; the first `limit` of it are themselves a selection."""
    path, entry = files.find(parts, job, f"selection.{format}")
    named = saved_as(f"{job.id}-selection.{format}")
    if limit is None or limit >= job.result_counts["selected"]:
        etag = f'"{job.result_digests["selection"]}-{format}"'
        return send(path, entry["media_type"], etag, request.headers, named)
    headers = {"ETag": f'"{job.result_digests["selection"]}-{format}-{limit}"', **named}
    if is_known(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    pieces = files.begun(files.PREFIXES[format](path, limit))
    return StreamingResponse(pieces, media_type=entry["media_type"], headers=headers)


@router.get("/removed", responses=examples.REMOVED)
def list_removed(
    parts: PartsDep, job: FilteredJob, page_size: PageSize = 100, page_token: PageToken = None
) -> dict[str, Any]:
    """Every usable sample that was not kept, by sample id, with the reason."""
    return _lines(parts, job, "removed", page_size, page_token)


@router.get("/quarantine")
def list_quarantine(
    parts: PartsDep, job: FinishedJob, page_size: PageSize = 100, page_token: PageToken = None
) -> dict[str, Any]:
    """Every item that could not be used, with its code."""
    return _lines(parts, job, "quarantine", page_size, page_token)


@router.get("/samples/{sample_id}", responses=examples.SAMPLE)
def explain_sample(parts: PartsDep, job: FilteredJob, sample_id: SampleId) -> dict[str, Any]:
    """Why one sample was kept or removed; `duplicates` are the exact copies of it that were removed."""
    removed = files.lines_by_id(files.find(parts, job, "removed.jsonl")[0], sample_id)
    others = [row for row in removed if row["reason"] != _DUPLICATE]
    duplicates = [row["path"] for row in removed if row["reason"] == _DUPLICATE]
    if others:
        return {"kept": False, **others[0], "duplicates": duplicates}
    kept = files.line_with_id(files.find(parts, job, "selection.jsonl")[0], sample_id)
    if kept is None:
        raise NotFound("the job knows no such sample; unusable items are listed in its quarantine")
    return {"kept": True, **kept, "duplicates": duplicates}


VectorFormat = Literal["npy", "parquet", "ids"]


@router.get("/embeddings", response_class=FileResponse, responses=examples.EMBEDDINGS)
def get_embeddings(
    parts: PartsDep,
    job: FinishedJob,
    request: Request,
    format: VectorFormat = "npy",  # noqa: A002 - the name callers use
) -> Response:
    """The vectors, one row a distinct sample, by sample id. Parquet says whose each is; `ids` does so for `npy`."""
    return _vectors(parts, job, request, format)


@router.get("/embeddings.{format}", response_class=FileResponse, responses=examples.EMBEDDINGS)
def get_embeddings_file(
    parts: PartsDep,
    job: FinishedJob,
    request: Request,
    format: VectorFormat,  # noqa: A002 - the name callers use
) -> Response:
    """The same under a name of its own."""
    return _vectors(parts, job, request, format)


@router.get("/manifest", response_class=FileResponse)
def get_manifest(parts: PartsDep, job: FinishedJob, request: Request) -> Response:
    """Everything needed to reproduce the answer."""
    return _file(parts, job, request, "manifest.json")


@router.get("/certificate", response_class=FileResponse)
def get_certificate(parts: PartsDep, job: FilteredJob, request: Request) -> Response:
    """How far any sample is from a kept one, how much nearer the best selection could be, and how to check it."""
    return _file(parts, job, request, "certificate.json")


@router.get("/curve", response_class=FileResponse)
def get_curve(parts: PartsDep, job: FilteredJob, request: Request) -> Response:
    """The budget curve: radius and mean distance against the number kept."""
    return _file(parts, job, request, "insights/curve.json")


@router.get("/insights")
def list_insights(job: FinishedJob) -> dict[str, Any]:
    """Which findings there are, and where their data and pictures lie."""
    names = [entry["name"] for entry in files.entries(job)]
    found = [name.removeprefix("insights/").removesuffix(".json") for name in names if name.startswith("insights/")]
    here = f"/v1/jobs/{job.id}"
    return {
        "items": [
            {
                "name": name,
                "data": f"{here}/insights/{name}",
                "plots": [f"{here}/plots/{name}.{k}" for k in ("png", "svg") if f"plots/{name}.{k}" in names],
            }
            for name in found
        ]
    }


@router.get("/insights/{name}", response_class=FileResponse)
def get_insight(parts: PartsDep, job: FinishedJob, name: Name, request: Request) -> Response:
    """The data behind one picture."""
    return _file(parts, job, request, f"insights/{name}.json")


@router.get("/plots/{name}.{kind}", response_class=FileResponse)
def get_plot(parts: PartsDep, job: FinishedJob, name: Name, kind: Literal["png", "svg"], request: Request) -> Response:
    """One picture."""
    return _file(parts, job, request, f"plots/{name}.{kind}")


@router.get("/thumbnails/{sample_id}", response_class=FileResponse)
def get_thumbnail(parts: PartsDep, job: FinishedJob, sample_id: SampleId, request: Request) -> Response:
    """A small JPEG of a sample the job shows: the first picks and the nearest removed."""
    return _file(parts, job, request, f"thumbnails/{sample_id}.jpg")


@router.get("/artifacts")
def list_artifacts(job: FinishedJob) -> dict[str, Any]:
    """Every file of the result with its size and hash."""
    here = f"/v1/jobs/{job.id}/artifacts"
    return {"items": [{**entry, "link": f"{here}/{entry['name']}"} for entry in files.entries(job)]}


@router.get("/artifacts/{name:path}", response_class=FileResponse)
def get_artifact(
    parts: PartsDep, job: FinishedJob, name: Annotated[str, Path(max_length=200)], request: Request
) -> Response:
    """One file of the result, to be saved."""
    return _file(parts, job, request, name, saved_as(name.rsplit("/", 1)[-1]))


def _vectors(parts: Parts, job: Any, request: Request, kind: str) -> Response:
    if not any(entry["name"] == f"embeddings.{kind}" for entry in files.entries(job)):
        raise EmbeddingsNotKept(
            "the job kept no vectors; ask for them with keep_vectors in POST /v1/jobs, or POST /v1/embeddings with the "
            "same dataset and encoder: what is still in the cache is not computed again"
        )
    path, entry = files.find(parts, job, f"embeddings.{kind}")
    etag = f'"{job.result_digests["embedding"]}-{kind}"'
    return send(path, entry["media_type"], etag, request.headers, saved_as(f"{job.id}-embeddings.{kind}"))


def _lines(parts: Parts, job: Any, name: str, page_size: int, token: str | None) -> dict[str, Any]:
    path, _ = files.find(parts, job, f"{name}.jsonl")
    purpose = f"{name} {job.id}"
    offset = parts.tokens.read(purpose, token) if token else 0
    items, following = files.lines_from(path, offset, capped(page_size))
    return {"items": items, "next_page_token": parts.tokens.sign(purpose, following) if following else None}


def _file(parts: Parts, job: Any, request: Request, name: str, more: dict[str, str] | None = None) -> Response:
    path, entry = files.find(parts, job, name)
    return send(path, entry["media_type"], f'"{entry["sha256"]}"', request.headers, more)
