"""Uploads and datasets."""

from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from app import examples, files, service
from app.deps import DatasetIdPath, DatasetRow, PartsDep, Reader, UploadIdPath, Writer
from app.paging import PageSize, PageToken, capped, page_of
from app.routers.answers import IdempotencyKey, respond
from app.schemas import dataset_json, upload_json
from app.strict_json import StrictRoute
from app.uploads import received
from winnow.errors import Conflict, DatasetNotReady, InvalidRequest
from winnow.spec import DatasetSpec
from winnow.store import datasets

router = APIRouter(prefix="/v1", tags=["datasets"], route_class=StrictRoute, responses=examples.REFUSALS)


async def _says_nothing(request: Request) -> None:
    """What somebody sends here would be lost: the bytes belong into the PUT."""
    if (await request.body()).strip() not in {b"", b"{}"}:
        raise InvalidRequest("this call takes no body; PUT the bytes to the upload it names")


@router.post("/uploads", status_code=201, responses=examples.UPLOAD, dependencies=[Depends(_says_nothing)])
def open_upload(
    parts: PartsDep, caller: Writer, response: Response, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """A place for the bytes of an archive or a file of embeddings; PUT them next."""
    return respond(response, service.open_upload(parts, caller, idempotency_key), "uploads")


@router.get("/uploads/{upload_id}")
def get_upload(parts: PartsDep, caller: Reader, upload_id: UploadIdPath) -> dict[str, Any]:
    return upload_json(service.find_upload(parts, caller, upload_id))


_BYTES: Final = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


@router.put("/uploads/{upload_id}", openapi_extra={"requestBody": {"required": True, **_BYTES}})
async def put_upload(parts: PartsDep, caller: Writer, upload_id: UploadIdPath, request: Request) -> dict[str, Any]:
    """The bytes, streamed to disk as they come; a broken upload can simply be sent again."""
    if "content-range" in request.headers:
        raise InvalidRequest("an upload is sent whole, without Content-Range")
    row = await run_in_threadpool(service.find_upload, parts, caller, upload_id)
    if row.completed_at is not None:
        raise Conflict("this upload is complete; open another one")
    room = await run_in_threadpool(service.storage_left, parts, caller)
    target = parts.artifacts.upload(upload_id)
    async with received(request, parts.artifacts, target, room) as (aside, size, sha256):
        if not size:
            raise InvalidRequest("the upload is empty; send the bytes as the body")
        sealed = await run_in_threadpool(service.seal_upload, parts, caller, upload_id, aside, size, sha256)
    return upload_json(sealed)


@router.delete("/uploads/{upload_id}", status_code=204)
def delete_upload(parts: PartsDep, caller: Writer, upload_id: UploadIdPath) -> None:
    """Free its room; refused while a dataset reads it."""
    service.delete_upload(parts, caller, upload_id)


@router.post("/datasets", status_code=202, responses=examples.DATASET_QUEUED)
def create_dataset(
    parts: PartsDep, caller: Writer, spec: DatasetSpec, response: Response, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """An immutable snapshot of a source; it is listed by a job."""
    return respond(response, service.register_dataset(parts, caller, idempotency_key, spec), "datasets")


@router.get("/datasets")
def list_datasets(
    parts: PartsDep, caller: Reader, page_size: PageSize = 50, page_token: PageToken = None
) -> dict[str, Any]:
    """Newest first."""
    purpose, size = f"datasets {caller.tenant_id}", capped(page_size)
    after = tuple(parts.tokens.read(purpose, page_token)) if page_token else None
    with parts.database.read() as connection:
        rows = datasets.page(connection, caller.tenant_id, size=size + 1, after=after)
    return page_of(parts.tokens, purpose, rows, size, dataset_json)


@router.get("/datasets/{dataset_id}", responses=examples.DATASET)
def get_dataset(row: DatasetRow) -> dict[str, Any]:
    return dataset_json(row)


@router.delete("/datasets/{dataset_id}", status_code=204)
def delete_dataset(parts: PartsDep, caller: Writer, dataset_id: DatasetIdPath) -> None:
    """Forget the dataset; its pictures are not touched. Refused while jobs name it."""
    service.delete_dataset(parts, caller, dataset_id)


@router.get("/datasets/{dataset_id}/samples")
def list_samples(
    parts: PartsDep, row: DatasetRow, page_size: PageSize = 100, page_token: PageToken = None
) -> dict[str, Any]:
    """The listing in canonical order; items that could not be read come last, with a code."""
    if row.state != "ready":
        raise DatasetNotReady("the dataset has not been listed yet")
    purpose = f"samples {row.id}"
    offset = parts.tokens.read(purpose, page_token) if page_token else 0
    path = parts.artifacts.dataset(row.id) / row.snapshot
    items, following = files.snapshot_page(path, offset, capped(page_size))
    token = parts.tokens.sign(purpose, following) if following is not None else None
    return {"items": items, "next_page_token": token}
