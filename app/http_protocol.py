"""uvicorn's HTTP/1.1 with a clock on the headers and a scale on all that is no body: who tells nothing is cut off."""

import asyncio
import json
import uuid
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import MEDIA_TYPE, problem_body

MAX_HEAD_BYTES: Final = 64 << 10
MAX_URL_BYTES: Final = 16 << 10  # the guard's limit is lower; this one bounds what is kept before it is asked
_MAX_HEADERS: Final = 200

Refusal = tuple[int, str, str]
_MALFORMED: Final[Refusal] = (400, "MALFORMED_REQUEST", "this is not HTTP as the service takes it")


class _Refused(Exception):
    """Thrown through the parser, which then stops."""


class GuardedProtocol(HttpToolsProtocol):
    """`header_s` is set on a subclass, since uvicorn makes the instances."""

    header_s = 10.0
    _head_due: asyncio.TimerHandle | None = None
    _idle_bytes = 0  # since the last piece of body: headers, trailers, what else surrounds chunks
    _in_head = False
    _refusal = _MALFORMED

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._idle_bytes += len(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        super().data_received(data)
        if self._idle_bytes > MAX_HEAD_BYTES:
            self._cut(431, "HEADERS_TOO_LARGE", "the headers or trailers are larger than the limit")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._idle_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(414, "URI_TOO_LONG", "the path and query are longer than the limit")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: it comes after every check of the headers, so it must not become one
        super().on_header(name, value)
        if len(self.headers) > _MAX_HEADERS:
            self._refuse(431, "HEADERS_TOO_LARGE", f"there are more than {_MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_arrived()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._idle_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the words of the parser help nobody
        self._cut(*self._refusal)

    def _await_head(self) -> None:
        if self._head_due is None:
            self._head_due = self.loop.call_later(self.header_s, self._head_overdue)

    def _head_arrived(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _head_overdue(self) -> None:
        self._head_due = None
        if self._in_head:
            self._cut(408, "TIMEOUT", "the headers did not arrive in time")
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: int, code: str, detail: str) -> None:
        self._refusal = (status, code, detail)
        raise _Refused(code)

    def _cut(self, status: int, code: str, detail: str) -> None:
        """A last word, and the end: what follows on this connection could be anything."""
        if self.transport.is_closing():
            return
        if self._is_mid_answer():
            self.transport.close()  # a last word would be taken for a part of that answer
            return
        phrase, request_id = HTTPStatus(status).phrase, uuid.uuid4().hex
        body = json.dumps(problem_body(status, code, phrase, detail, request_id=request_id, instance="")).encode()
        head = (
            f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _is_mid_answer(self) -> bool:
        begun = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        return begun or bool(self.pipeline)


def guarded(header_s: float) -> type[GuardedProtocol]:
    attributes: dict[str, Any] = {"header_s": header_s}
    return type("Guarded", (GuardedProtocol,), attributes)
