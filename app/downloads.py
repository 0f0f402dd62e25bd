"""A file as an answer: its tag, a part of it where a part was asked for, and a name to save it under."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi.responses import Response, StreamingResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from app import files

_BYTES: Final = re.compile(r"^bytes=(\d{0,18})-(\d{0,18})$")


def send(path: Path, media_type: str, etag: str, request: Headers, more: Mapping[str, str] | None = None) -> Response:
    """The whole file, 206 with one part of it, 304 where the caller has it, 416 where there is no such part."""
    size = path.stat().st_size
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=3600", **(more or {})}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    span = _span(request, etag, size)
    if span is None:
        headers["Content-Length"] = str(size)
        return StreamingResponse(files.begun(files.slice_of(path, 0, size)), headers=headers, media_type=media_type)
    begin, end = span
    headers |= {"Content-Length": str(end - begin), "Content-Range": f"bytes {begin}-{end - 1}/{size}"}
    return StreamingResponse(files.begun(files.slice_of(path, begin, end)), 206, headers, media_type)


def is_known(request: Headers, etag: str) -> bool:
    """Whether `If-None-Match` names what we would send."""
    given = [tag.strip().removeprefix("W/") for tag in request.get("if-none-match", "").split(",")]
    return etag in given or "*" in given


def saved_as(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


def _span(request: Headers, etag: str, size: int) -> tuple[int, int] | None:
    """Where the asked part begins and ends; None for all of it. One part only: lists of parts are an old attack."""
    text = request.get("range", "")
    if not text.startswith("bytes=") or request.get("if-range", etag) != etag:
        return None
    match = _BYTES.match(text.replace(" ", ""))
    first, last = match.groups() if match else ("", "")
    if first:
        begin, end = int(first), min(size, int(last) + 1 if last else size)
    else:
        begin, end = size - min(size, int(last or 0)), size  # `bytes=-5`: the last five
    if begin >= end:
        headers = {"Content-Range": f"bytes */{size}"}
        raise HTTPException(416, "ask for one range that lies inside the file", headers)
    return begin, end
