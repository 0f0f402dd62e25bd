"""The guard at the door, before any parsing: who may knock, how much they may say, how long they may take."""

import asyncio
import logging
import re
import time
import uuid
from typing import Final

from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import problem
from winnow.settings import Settings

_MAX_HEADER_BYTES: Final = 32 << 10
_MAX_HEADERS: Final = 100
_MAX_PATH_BYTES: Final = 8 << 10
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "testserver"})
_UPLOAD: Final = re.compile(r"^/v1/uploads/[^/]+$")
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_REQUEST_ID: Final = re.compile(rb"^[A-Za-z0-9._-]{1,64}$")
_SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
        b" base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)

access = logging.getLogger("winnow.access")


class Guard:
    """Pure ASGI: refuses early, limits the body, marks and logs every answer."""

    def __init__(self, app: ASGIApp, settings: Settings, requests: Counter, seconds: Histogram) -> None:
        self._app, self._settings = app, settings
        self._requests, self._seconds = requests, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        began, status = time.perf_counter(), 500

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_SECURITY, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            refusal = self._refusal(scope, headers, request_id)
            if refusal is not None:
                await refusal(scope, receive, marked)
            else:
                await self._app(scope, self._limited(scope, receive), marked)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes], request_id: str) -> Response | None:
        reason = self._reason(scope, headers)
        if reason is None:
            return None
        status, code, detail = reason
        title = "The request is not one the service takes"
        answer = problem(status, code, title, detail, request_id=request_id, instance=scope["path"][:200])
        answer.headers["Connection"] = "close"
        return answer

    def _reason(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str, str] | None:  # noqa: PLR0911 - a list of reasons
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _MAX_PATH_BYTES:
            return 414, "URI_TOO_LONG", "the path and query are longer than 8 KiB"
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size > _MAX_HEADER_BYTES or len(scope["headers"]) > _MAX_HEADERS:
            return 431, "HEADERS_TOO_LARGE", "the headers are larger than 32 KiB or more than 100"
        if not self._known_host(headers):
            return 403, "HOST_NOT_ALLOWED", "the Host header is not a name of this service (WINNOW_ALLOWED_HOSTS)"
        if scope["method"] in _CHANGING and not self._same_origin(headers):
            return 403, "ORIGIN_NOT_ALLOWED", "another site's page may not do this"
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            return 415, "UNSUPPORTED_MEDIA_TYPE", "send the body as it is, without Content-Encoding"
        if b"content-length" in headers and b"transfer-encoding" in headers:
            return 400, "MALFORMED_REQUEST", "the body has two lengths"
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit(scope):
            return 413, "TOO_LARGE", f"the body is larger than {self._limit(scope)} bytes"
        return None

    def _known_host(self, headers: dict[bytes, bytes]) -> bool:
        """On loopback a page that rebinds its name to 127.0.0.1 shows itself by its Host header."""
        if not self._settings.is_loopback and not self._settings.allowed_hosts:
            return True
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rsplit(":", 1)[0] if re.search(r":\d+$", host) else host
        return name in _LOOPBACK or name in self._settings.allowed_hosts

    @staticmethod
    def _same_origin(headers: dict[bytes, bytes]) -> bool:
        origin = headers.get(b"origin")
        return origin is None or origin.split(b"://", 1)[-1] == headers.get(b"host", b"")

    def _limit(self, scope: Scope) -> int:
        return self._settings.max_upload_bytes if _UPLOAD.match(scope["path"]) else self._settings.max_json_bytes

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """The body, cut off when it grows too large, pauses too long, or drips past its time."""
        limit, uploading = self._limit(scope), bool(_UPLOAD.match(scope["path"]))
        deadline = time.monotonic() + (86_400.0 if uploading else self._settings.body_total_s)
        taken, complete = 0, False

        async def limited() -> Message:
            nonlocal taken, complete
            if complete:
                return await receive()
            wait_s = min(self._settings.body_idle_s, deadline - time.monotonic())
            try:
                message = await asyncio.wait_for(receive(), max(0.0, wait_s))
            except TimeoutError as error:
                raise HTTPException(408, "the body did not arrive in time") from error
            taken += len(message.get("body", b""))
            complete = message["type"] != "http.request" or not message.get("more_body", False)
            if taken > limit:
                raise HTTPException(413, f"the body is larger than {limit} bytes")
            return message

        return limited

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._requests.labels(scope["method"] if len(scope["method"]) < 8 else "OTHER", route, str(status)).inc()
        self._seconds.labels(route).observe(took_s)
        request_id = scope["state"]["request_id"]
        access.info("%s %s %s %.1f ms %s", scope["method"], scope["path"][:200], status, took_s * 1e3, request_id)


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.match(given) else uuid.uuid4().hex
