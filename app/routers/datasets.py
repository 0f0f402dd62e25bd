"""Uploads and datasets."""

import hashlib
import os
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app import files, service
from app.deps import DatasetRow, Parts, PartsDep, Reader, UploadIdPath, Writer
from app.schemas import dataset_json, upload_json
from app.strict_json import StrictRoute
from winnow.errors import Conflict, JobNotFinished, NotFound, QuotaExceeded, StorageFull
from winnow.spec import DatasetSpec
from winnow.store import datasets, keys, uploads

router = APIRouter(prefix="/v1", tags=["datasets"], route_class=StrictRoute)

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]
PageSize = Annotated[int, Query(ge=1, le=1000)]
PageToken = Annotated[str | None, Query(max_length=1000)]


def respond(response: Response, said: service.Said, place: str) -> dict[str, Any]:
    response.status_code = said.status
    response.headers["Location"] = f"/v1/{place}/{said.body['id']}"
    if said.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return said.body


@router.post("/uploads", status_code=201)
def open_upload(
    parts: PartsDep, caller: Writer, response: Response, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """A place for the bytes of an archive or a file of embeddings; PUT them next."""
    return respond(response, service.open_upload(parts, caller, idempotency_key), "uploads")


@router.get("/uploads/{upload_id}")
def get_upload(parts: PartsDep, caller: Reader, upload_id: UploadIdPath) -> dict[str, Any]:
    return upload_json(_upload(parts, caller, upload_id))


@router.put("/uploads/{upload_id}")
async def put_upload(parts: PartsDep, caller: Writer, upload_id: UploadIdPath, request: Request) -> dict[str, Any]:
    """The bytes, streamed to disk as they come; a broken upload can simply be sent again."""
    row = await run_in_threadpool(_upload, parts, caller, upload_id)
    if row.completed_at is not None:
        raise Conflict("this upload is complete; open another one")
    size, sha256 = await _received(parts, caller, upload_id, request)
    await run_in_threadpool(_seal, parts, upload_id, size, sha256)
    return upload_json(await run_in_threadpool(_upload, parts, caller, upload_id))


@router.post("/datasets", status_code=202)
def create_dataset(
    parts: PartsDep, caller: Writer, spec: DatasetSpec, response: Response, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """An immutable snapshot of a source; it is listed by a job."""
    return respond(response, service.register_dataset(parts, caller, idempotency_key, spec), "datasets")


@router.get("/datasets")
def list_datasets(
    parts: PartsDep, caller: Reader, page_size: PageSize = 50, page_token: PageToken = None
) -> dict[str, Any]:
    after = tuple(parts.tokens.read("datasets", page_token)) if page_token else None
    with parts.database.read() as connection:
        rows = datasets.page(connection, caller.tenant_id, size=page_size + 1, after=after)
    return page_of(parts, "datasets", rows, page_size, dataset_json)


@router.get("/datasets/{dataset_id}")
def get_dataset(row: DatasetRow) -> dict[str, Any]:
    return dataset_json(row)


@router.get("/datasets/{dataset_id}/samples")
def list_samples(
    parts: PartsDep, row: DatasetRow, page_size: PageSize = 100, page_token: PageToken = None
) -> dict[str, Any]:
    """The listing in canonical order; items that could not be read come last, with a code."""
    if row.state != "ready":
        raise JobNotFinished("the dataset has not been listed yet")
    offset = parts.tokens.read(f"samples {row.id}", page_token) if page_token else 0
    items, following = files.snapshot_page(parts.artifacts.dataset(row.id) / row.snapshot, offset, page_size)
    token = parts.tokens.sign(f"samples {row.id}", following) if following is not None else None
    return {"items": items, "next_page_token": token}


def page_of(parts: Parts, purpose: str, rows: list[Any], size: int, as_json: Any) -> dict[str, Any]:
    """One page; a row more than asked for says that there is another."""
    last = rows[size - 1] if len(rows) > size else None
    token = parts.tokens.sign(purpose, [last.created_at, last.id]) if last is not None else None
    return {"items": [as_json(row) for row in rows[:size]], "next_page_token": token}


def _upload(parts: Parts, caller: keys.Caller, upload_id: str) -> Any:
    with parts.database.read() as connection:
        row = uploads.get(connection, caller.tenant_id, upload_id)
    if row is None:
        raise NotFound("there is no such upload")
    return row


def _seal(parts: Parts, upload_id: str, size: int, sha256: str) -> None:
    with parts.database.begin() as connection:
        if not uploads.complete(connection, upload_id, size_bytes=size, sha256=sha256):
            raise Conflict("another request has completed this upload")


async def _received(parts: Parts, caller: keys.Caller, upload_id: str, request: Request) -> tuple[int, str]:
    """Size and hash of the body, which now lies at the upload's path."""
    target = parts.artifacts.upload(upload_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".tmp.{request.state.request_id}.{upload_id}")
    room = await run_in_threadpool(_room, parts, caller)
    digest, size = hashlib.sha256(), 0
    try:
        with aside.open("xb") as file:
            async for piece in request.stream():
                size += len(piece)
                if size > room:
                    raise QuotaExceeded("this upload does not fit into the tenant's storage; delete something first")
                digest.update(piece)
                await run_in_threadpool(file.write, piece)
            file.flush()
            await run_in_threadpool(os.fsync, file.fileno())
        aside.replace(target)
    except ClientDisconnect as error:
        raise Conflict("the client went away before the upload was complete") from error
    except OSError as error:
        raise StorageFull("the upload could not be stored; free some space and send it again") from error
    finally:
        aside.unlink(missing_ok=True)
    return size, digest.hexdigest()


def _room(parts: Parts, caller: keys.Caller) -> int:
    with parts.database.read() as connection:
        return caller.max_bytes - uploads.stored_bytes(connection, caller.tenant_id)
