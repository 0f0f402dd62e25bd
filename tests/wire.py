"""A wire between two processes that a test can cut or hold: a TCP proxy in a thread."""

import asyncio
import socket
import struct
import threading
from contextlib import suppress

from servers import free_port

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Wire:
    """Whoever connects to `port` talks to `target` on this machine."""

    def __init__(self, target: int) -> None:
        self.port, self._target = free_port(), target
        self._loop = asyncio.new_event_loop()
        self._ends: set[asyncio.StreamWriter] = set()
        self._is_cut, self._flows = False, asyncio.Event()
        self._flows.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        opening = asyncio.start_server(self._join, "127.0.0.1", self.port)
        self._door = asyncio.run_coroutine_threadsafe(opening, self._loop).result()

    def cut(self) -> None:
        """Every connection is reset, and so is every new one, until `mend`."""
        self._loop.call_soon_threadsafe(self._reset_all)

    def hold(self) -> None:
        """Connections stay, and nothing arrives any more, until `mend`."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._set_whole)

    def remove(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._door.close()
        self._reset_all()
        self._flows.set()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
        await asyncio.sleep(0)  # for what a closed connection leaves to the next round

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if not self._is_cut:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
                self._ends |= {writer, far_writer}
                await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        _reset(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(piece)
                await writer.drain()
        self._ends.discard(writer)
        writer.close()

    def _reset_all(self) -> None:
        self._is_cut = True
        while self._ends:
            _reset(self._ends.pop())

    def _set_whole(self) -> None:
        self._is_cut = False
        self._flows.set()


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
