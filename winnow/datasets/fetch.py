"""Fetches one URL after the other, over connections that lead where they were checked to lead, each in bounded time."""

import random
import ssl
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urljoin

import httpcore

from winnow.datasets.addresses import Url, UrlRules, addresses_of, parsed
from winnow.errors import ItemError, UrlNotAllowed

ITEM_LIMIT_S: Final = 30.0  # for one URL, with its redirects and its second tries
_STEP_S: Final = 10.0  # for a connect, or between two bytes
_HOPS: Final = 3
_TRIES: Final = 3
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_IDENTITY: Final = frozenset({b"", b"identity"})
# Never unpacked: a bomb cannot go off, and pictures do not get smaller.
_HEADERS: Final = [("User-Agent", "winnow"), ("Accept", "image/*,*/*;q=0.5"), ("Accept-Encoding", "identity")]


class _Passing(Exception):
    """What another try may mend."""


class Fetcher:
    """For one thread. Keeps its connections while the same hosts are asked."""

    def __init__(
        self,
        rules: UrlRules,
        *,
        max_bytes: int,
        item_limit_s: float = ITEM_LIMIT_S,
        tls: ssl.SSLContext | None = None,
        resolver: Executor | None = None,
    ) -> None:
        self._rules, self._max_bytes, self._item_limit_s = rules, max_bytes, item_limit_s
        self._clock = _Clock()
        self._resolver: Executor = resolver or ThreadPoolExecutor(1)
        self._owns_resolver = resolver is None
        backend = _CheckedBackend(rules, self._clock, self._resolver)
        self._pool = httpcore.ConnectionPool(ssl_context=tls, max_connections=2, network_backend=backend)

    def close(self) -> None:
        self._pool.close()
        if self._owns_resolver:
            self._resolver.shutdown(wait=False)

    def fetch(self, text: str) -> Iterator[bytes]:
        """The bytes behind a URL, as they come; ItemError where they do not come, also half way."""
        self._clock.begin(self._item_limit_s)
        with _told_as_item_error():
            for trial in range(_TRIES):
                begun = False
                try:
                    with self._answered(parsed(text, self._rules)) as answer:
                        for chunk in self._body(answer):
                            begun = True
                            yield chunk
                        return
                except (_Passing, httpcore.NetworkError, httpcore.RemoteProtocolError):
                    if begun or trial == _TRIES - 1:
                        raise
                self._clock.sleep(0.5 * 2**trial * random.uniform(0.5, 1.5))  # noqa: S311 - not a secret

    @contextmanager
    def _answered(self, url: Url) -> Iterator[httpcore.Response]:
        """The answer at the end of at most three redirects, each of them judged like the first URL."""
        for _ in range(_HOPS + 1):
            with self._pool.stream("GET", _wire(url), headers=_HEADERS, extensions={"timeout": _TIMEOUTS}) as answer:
                if answer.status not in _MOVED:
                    _check_status(answer.status)
                    yield answer
                    return
                url = parsed(urljoin(str(url), _header(answer, b"location").decode("latin-1")), self._rules)
        raise ItemError("FETCH_FAILED", f"more than {_HOPS} redirects")

    def _body(self, answer: httpcore.Response) -> Iterator[bytes]:
        if _header(answer, b"content-encoding").strip().lower() not in _IDENTITY:
            raise ItemError("FETCH_FAILED", "the answer is packed although that was not asked for")
        length = _header(answer, b"content-length")
        left = self._max_bytes
        if length.isdigit() and int(length[:20]) > left:
            raise ItemError("FILE_TOO_LARGE")
        for chunk in answer.iter_stream():
            left -= len(chunk)
            if left < 0:
                raise ItemError("FILE_TOO_LARGE")
            yield chunk


_TIMEOUTS: Final = dict.fromkeys(("connect", "read", "write", "pool"), _STEP_S)


def _wire(url: Url) -> httpcore.URL:
    """Taken apart already: no second parser reads the text, and none can read it differently."""
    return httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)


def _header(answer: httpcore.Response, name: bytes) -> bytes:
    return next((bytes(value) for key, value in answer.headers if key.lower() == name), b"")


def _check_status(status: int) -> None:
    if status in _PASSING:
        raise _Passing(f"status {status}")
    if status != 200:
        raise ItemError("FORBIDDEN" if status in {401, 403} else "FETCH_FAILED", f"status {status}")


@contextmanager
def _told_as_item_error() -> Iterator[None]:
    """No host's address and no library's words get into what is told: a caller could map our network with them."""
    try:
        yield
    except UrlNotAllowed as error:
        raise ItemError("URL_NOT_ALLOWED", error.detail) from error
    except _Passing as error:
        raise ItemError("FETCH_FAILED", str(error)) from error
    except (httpcore.TimeoutException, TimeoutError) as error:
        raise ItemError("FETCH_FAILED", "it took too long") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, ValueError) as error:
        raise ItemError("FETCH_FAILED", "the connection failed") from error


class _Clock:
    """How long the URL in hand may still take."""

    def __init__(self) -> None:
        self._deadline = 0.0

    def begin(self, limit_s: float) -> None:
        self._deadline = time.monotonic() + limit_s

    def left(self, timeout_s: float | None) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left if timeout_s is None else min(timeout_s, left)

    def sleep(self, seconds: float) -> None:
        if seconds >= self.left(None):
            raise TimeoutError
        time.sleep(seconds)


class _CheckedBackend(httpcore.NetworkBackend):
    """Resolves, checks, and connects to the very address it checked; nobody asks the resolver a second time."""

    def __init__(self, rules: UrlRules, clock: _Clock, resolver: Executor) -> None:
        self._rules, self._clock, self._resolver = rules, clock, resolver
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port, self._clock.left(timeout))
        for number, address in enumerate(addresses):
            try:
                stream = self._plain.connect_tcp(
                    address, port, self._clock.left(timeout), local_address, socket_options or ()
                )
                return _TimedStream(stream, self._clock)
            except httpcore.ConnectError:
                if number == len(addresses) - 1:
                    raise
        raise httpcore.ConnectError

    def _addresses(self, host: str, port: int, timeout_s: float) -> list[str]:
        """A name server may take its time, which no timeout of the resolver's own bounds."""
        asked = self._resolver.submit(addresses_of, host, port, self._rules)
        try:
            return asked.result(timeout_s)
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError from error

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise httpcore.ConnectError


class _TimedStream(httpcore.NetworkStream):
    """A byte a second does not stretch the time a URL has."""

    def __init__(self, stream: httpcore.NetworkStream, clock: _Clock) -> None:
        self._stream, self._clock = stream, clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._clock.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._clock.left(timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(
            self._stream.start_tls(ssl_context, server_hostname, self._clock.left(timeout)), self._clock
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()
