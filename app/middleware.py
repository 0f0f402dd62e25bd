"""The guard at the door, before any parsing: who may knock, how much they may say, how long they may take."""

import asyncio
import logging
import re
import time
import uuid
from typing import Any, Final

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import problem, unexpected
from app.metrics import Metrics
from winnow.settings import Settings

_MAX_HEADER_BYTES: Final = 32 << 10
_MAX_HEADERS: Final = 100
_MAX_PATH_BYTES: Final = 8 << 10
_UPLOAD_LIMIT_S: Final = 24 * 3600.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_UPLOAD: Final = re.compile(r"^/v1/uploads/[^/]+$")
_PORT: Final = re.compile(r":\d{1,5}$")
_SAID_ONCE: Final = frozenset(
    {b"host", b"origin", b"authorization", b"content-type", b"content-encoding", b"idempotency-key"}
)
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_REQUEST_ID: Final = re.compile(rb"^[A-Za-z0-9._-]{1,64}\Z")
_SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
        b" base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)

access = structlog.wrap_logger(
    logging.getLogger("winnow.access"),
    wrapper_class=structlog.stdlib.BoundLogger,
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
)

Refusal = tuple[int, str, str]


class Guard:
    """Pure ASGI: refuses early, limits the body, marks and logs every answer."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = _Visit(self._settings, scope, receive, send)
        scope = _as_get(scope)
        try:
            refusal = self._refusal(scope, visit)
            if refusal is not None:
                await refusal(scope, receive, visit.send)
            else:
                await self._app(scope, visit.receive, visit.send)
        except Exception as error:
            if visit.status is not None:
                raise  # half an answer is out: only cutting the connection tells the caller
            await unexpected(visit.request_id, scope["path"][:200], error)(scope, receive, visit.send)
        finally:
            self._note(scope, visit)

    def _refusal(self, scope: Scope, visit: "_Visit") -> Response | None:
        reason = self._reason(scope, visit)
        if reason is None:
            return None
        status, code, detail = reason
        title = "The request is not one the service takes"
        headers = {"Connection": "close"}
        place = scope["path"][:200]
        return problem(status, code, title, detail, request_id=visit.request_id, instance=place, headers=headers)

    def _reason(self, scope: Scope, visit: "_Visit") -> Refusal | None:
        headers = visit.headers
        if _contradicts_itself(scope):
            return 400, "MALFORMED_REQUEST", "a header that may stand once stands twice"
        if not self._known_host(headers):
            return 403, "HOST_NOT_ALLOWED", "the Host header is not a name of this service (WINNOW_ALLOWED_HOSTS)"
        if scope["method"] in _CHANGING and not _same_origin(headers):
            return 403, "ORIGIN_NOT_ALLOWED", "another site's page may not do this"
        return _oversized(scope) or _unfit_body(scope, visit)

    def _known_host(self, headers: dict[bytes, bytes]) -> bool:
        """On loopback a page that rebinds its name to 127.0.0.1 shows itself by its Host header.

        The port is not compared: through a tunnel it may be another, and a rebound name is refused with any.
        """
        if not self._settings.is_loopback and not self._settings.allowed_hosts:
            return True
        name = _PORT.sub("", headers.get(b"host", b"").decode("latin-1").lower())
        return name in _LOOPBACK or name in self._settings.allowed_hosts

    def _note(self, scope: Scope, visit: "_Visit") -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        status, seconds = visit.status or 499, time.perf_counter() - visit.began  # 499: gone before the answer
        self._metrics.note(visit.method, route, status, seconds, visit.taken, visit.given)
        access.info(
            "request",
            method=visit.method,
            path=scope["path"][:200],
            status=status,
            milliseconds=round(seconds * 1e3, 1),
            bytes_in=visit.taken,
            bytes_out=visit.given,
            request_id=visit.request_id,
        )


class _Visit:
    """One request on its way: its body cut off when it grows too large, pauses too long, or drips past its time."""

    def __init__(self, settings: Settings, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = _request_id(self.headers)
        scope.setdefault("state", {})["request_id"] = self.request_id
        self.uploading = _UPLOAD.match(scope["path"]) is not None
        self.limit = settings.max_upload_bytes if self.uploading else settings.max_json_bytes
        self.began = time.perf_counter()
        self.status: int | None = None  # None: nothing has been answered
        self.taken = self.given = 0
        self._receive, self._send = receive, send
        self._idle_s = settings.body_idle_s
        self._deadline = time.monotonic() + (_UPLOAD_LIMIT_S if self.uploading else settings.body_total_s)
        self._complete = not self.has_body
        self.method: str = scope["method"]

    @property
    def has_body(self) -> bool:
        return b"transfer-encoding" in self.headers or self.headers.get(b"content-length", b"0") != b"0"

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        left_s = max(0.0, min(self._idle_s, self._deadline - time.monotonic()))
        try:
            async with asyncio.timeout(left_s):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, "the body did not arrive in time") from error
        self.taken += len(message.get("body", b""))
        self._complete = message["type"] != "http.request" or not message.get("more_body", False)
        if self.taken > self.limit:
            raise HTTPException(413, f"the body is larger than {self.limit} bytes")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), *_SECURITY, (b"x-request-id", self.request_id.encode())]
            if not self._complete and (b"connection", b"close") not in headers:
                headers.append((b"connection", b"close"))  # nobody will read the rest of the body
            message["headers"] = headers
        elif self.method == "HEAD":
            return  # the answer ended with its head
        self.given += len(message.get("body", b""))
        await self._send(message)
        if self.method == "HEAD":
            await self._send({"type": "http.response.body"})


def _as_get(scope: Scope) -> Scope:
    """HEAD is a GET whose body is kept back; the server below still sees what was asked."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def _contradicts_itself(scope: Scope) -> bool:
    """Two values of one header: which of them counts would be another answer here than behind us."""
    names = [name for name, _ in scope["headers"] if name in _SAID_ONCE]
    return len(names) != len(set(names))


def _oversized(scope: Scope) -> Refusal | None:
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _MAX_PATH_BYTES:
        return 414, "URI_TOO_LONG", "the path and query are longer than 8 KiB"
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size > _MAX_HEADER_BYTES or len(scope["headers"]) > _MAX_HEADERS:
        return 431, "HEADERS_TOO_LARGE", "the headers are larger than 32 KiB or more than 100"
    return None


def _unfit_body(scope: Scope, visit: _Visit) -> Refusal | None:
    headers = visit.headers
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return 415, "UNSUPPORTED_MEDIA_TYPE", "send the body as it is, without Content-Encoding"
    if b"content-length" in headers and b"transfer-encoding" in headers:
        return 400, "MALFORMED_REQUEST", "the body has two lengths"
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 18 or int(length) > visit.limit:
        return 413, "TOO_LARGE", f"the body is larger than {visit.limit} bytes"
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if scope["method"] in _CHANGING and visit.has_body and not visit.uploading and kind != b"application/json":
        return 415, "UNSUPPORTED_MEDIA_TYPE", "send the body as application/json"
    return None


def _same_origin(headers: dict[bytes, bytes]) -> bool:
    origin: Any = headers.get(b"origin")
    return origin is None or origin.split(b"://", 1)[-1] == headers.get(b"host", b"")


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.match(given) else uuid.uuid4().hex
