"""uvicorn's HTTP/1.1 with a clock on the headers: a connection that does not say what it wants is closed."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """`header_s` is set on a subclass, since uvicorn makes the instances."""

    header_s = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._headers_due: Any = asyncio.get_running_loop().call_later(self.header_s, self._close_silent)

    def _close_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def timed(seconds: float) -> type[TimedProtocol]:
    return type("Timed", (TimedProtocol,), {"header_s": seconds})
