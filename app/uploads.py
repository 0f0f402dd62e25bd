"""Bytes a caller sends, on their way to the disk: counted and hashed as they come, never all in memory."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.service import storage_exceeded
from winnow.errors import Conflict, StorageFull, WorkerStorageFull
from winnow.store.artifacts import Artifacts

_PIECE_BYTES: Final = 1 << 20
_DEAD_AFTER_S: Final = 600.0  # a live upload writes far more often, or is cut off
_PREFIX: Final = ".tmp.upload."


@asynccontextmanager
async def received(
    request: Request, artifacts: Artifacts, target: Path, room: int
) -> AsyncIterator[tuple[Path, int, str]]:
    """The body in a file beside `target`, its size and its hash; gone with the block, unless it was moved away."""
    if int(request.headers.get("content-length", "0")) > room:
        raise storage_exceeded()
    aside = target.with_name(f"{_PREFIX}{os.urandom(8).hex()}.{target.name}")
    try:
        size, sha256 = await _stored(request, artifacts, aside, room)
        yield aside, size, sha256
    except (OSError, WorkerStorageFull) as error:
        raise StorageFull("the upload could not be stored; free some space and send it again") from error
    finally:
        await asyncio.to_thread(aside.unlink, missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what uploads left that died with their process."""
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _DEAD_AFTER_S:
                path.unlink()


async def _stored(request: Request, artifacts: Artifacts, aside: Path, room: int) -> tuple[int, str]:
    """Others write at the same time, so the disk is looked at before every piece."""
    aside.parent.mkdir(parents=True, exist_ok=True)
    digest, size, waiting = hashlib.sha256(), 0, bytearray()
    with aside.open("xb") as file:
        try:
            async for piece in request.stream():
                size += len(piece)
                if size > room:
                    raise storage_exceeded()
                waiting += piece
                if len(waiting) >= _PIECE_BYTES:
                    await run_in_threadpool(artifacts.require_space, len(waiting))
                    await run_in_threadpool(_put, file, digest, bytes(waiting))
                    waiting.clear()
        except ClientDisconnect as error:
            raise Conflict("the client went away before the upload was complete") from error
        await run_in_threadpool(artifacts.require_space, len(waiting))
        await run_in_threadpool(_put, file, digest, bytes(waiting))
        await run_in_threadpool(_sync, file)
    return size, digest.hexdigest()


def _put(file: BinaryIO, digest: "hashlib._Hash", piece: bytes) -> None:
    digest.update(piece)
    file.write(piece)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
