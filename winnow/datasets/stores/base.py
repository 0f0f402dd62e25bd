"""What an object store is to its reader: pages of keys, bytes of one object, and the ways to fail."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Final, Protocol

from winnow.errors import ConnectionBroken, ItemError, JobError, StoreDriverMissing

PAGE: Final = 1000  # keys: what the stores give at most
CALL_LIMIT_S: Final = 120.0  # for one answer, with all its bytes
CONNECT_S, READ_S = 5, 20
CONNECTIONS: Final = 64


@dataclass(frozen=True)
class Stamp:
    """What a store says of an object's content without handing it out."""

    size: int
    content: str | None  # the same for the same bytes at one place; what it is made of is the store's affair
    version: str  # changes with every writing; means nothing at another place
    sha256: bytes | None = None  # of the content, where the store keeps it
    md5: bytes | None = None

    def proved(self, content: bytes) -> "Stamp":
        """The same with digests of what really came, instead of those the store says it has."""
        return replace(
            self,
            size=len(content),
            sha256=hashlib.sha256(content).digest() if self.sha256 is not None else None,
            md5=hashlib.md5(content, usedforsecurity=False).digest() if self.md5 is not None else None,
        )


@dataclass(frozen=True)
class Found:
    key: str
    stamp: Stamp


class Missing(Exception):
    """There is no such object."""


class Denied(Exception):
    """The store does not hand this out to us."""


class Odd(Exception):
    """The store makes nothing of what it was asked."""


class Passing(Exception):
    """Another try may go better."""


class Store(Protocol):
    """One bucket. Every call may raise Missing, Denied, Odd, Passing or a JobError, and is safe from any thread."""

    def page(self, prefix: str, after: str) -> tuple[list[Found], str | None]:
        """Up to a page of what begins with `prefix`, from the place `after` on ("": the start); the next place."""
        ...

    def read(self, key: str, is_wanted: Callable[[Stamp], bool], max_bytes: int) -> bytes:
        """The object's bytes, if the very version they are of is wanted; ItemError where it is not, or too large."""
        ...


def driver(module: str, extra: str) -> Any:
    """An optional part of the installation, so it is looked for when it is needed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise StoreDriverMissing(f"reading from {extra} needs {error.name}: pip install 'winnow[{extra}]'") from error


@contextmanager
def connecting() -> Iterator[None]:
    """Whatever a driver raises as it is set up, it is the connection that makes no sense to it."""
    try:
        yield
    except JobError:
        raise
    except Exception as error:
        raise ConnectionBroken("the connection's credentials make no sense; ask the administrator") from error


def check(stamp: Stamp, is_wanted: Callable[[Stamp], bool], max_bytes: int) -> None:
    if not is_wanted(stamp):
        raise ItemError("CONTENT_CHANGED", "the object has been overwritten since it was listed")
    if stamp.size > max_bytes:
        raise ItemError("FILE_TOO_LARGE", f"{stamp.size} bytes")
