"""A list of URLs, each fetched once as the dataset is listed, and kept: what the web says later changes nothing.

What has been fetched stands in a journal, so a listing that is killed goes on from there.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from winnow.datasets.addresses import UrlRules
from winnow.datasets.base import Limits, canonical
from winnow.datasets.blobs import BlobReader, Names
from winnow.datasets.fetch import ITEM_LIMIT_S, Fetcher
from winnow.errors import (
    DatasetEmpty,
    ItemError,
    SourceGone,
    SourceTooLarge,
    TooManyItems,
    TransientJobError,
    WinnowError,
)
from winnow.results import ItemFailure, Listing, Report

_AT_ONCE: Final = 16  # fetches: the far end's time, not ours
_LOOK_UP_S: Final = 0.5  # so often somebody may ask for an end
_MAX_LINE_BYTES: Final = 8192
_MAX_NAME: Final = 120  # letters of one part of a path
_UNSAFE: Final = re.compile(r"[^\w.+=~-]+", re.ASCII)

Kept = tuple[bytes, int]  # digest and size of a blob
Outcome = Kept | ItemError


class UrlsReader(BlobReader):
    """Of an uploaded text file with a URL a line; empty lines count for nothing."""

    def __init__(
        self,
        upload: Path | None,
        folder: Path,
        rules: UrlRules,
        limits: Limits,
        *,
        item_limit_s: float = ITEM_LIMIT_S,
    ) -> None:
        """`upload` may be gone (None) once the dataset has been listed."""
        super().__init__(folder)
        self._upload, self._rules, self._limits = upload, rules, limits
        self._item_limit_s = item_limit_s
        self._journal = _Journal(folder / "fetched.jsonl")

    def list(self, report: Report) -> Listing:
        try:
            urls = self._given()
            fetched = self._fetched(tuple(dict.fromkeys(urls)), report)
        except TransientJobError:
            raise  # the next attempt goes on with what is here
        except WinnowError:
            self._blobs.clear()
            self._journal.clear()
            raise
        self._blobs.make_safe()
        return _named(urls, fetched)

    def _given(self) -> Sequence[str]:
        urls = []
        for url in _lines(self._upload):
            urls.append(url)
            if len(urls) > self._limits.max_items:
                raise TooManyItems(f"the list holds more than {self._limits.max_items} URLs")
        if not urls:
            raise DatasetEmpty("the list holds no URL")
        return urls

    def _fetched(self, urls: Sequence[str], report: Report) -> "dict[str, Outcome]":
        before = {url: kept for url, kept in self._journal.read(urls).items() if self._blobs.holds(*kept)}
        done: dict[str, Outcome] = dict(before)
        room, failed = self._limits.max_archive_bytes - sum(size for _, size in before.values()), 0
        report("reading", len(done), len(urls))
        for batch in self._batches([url for url in urls if url not in before]):
            done |= batch
            failed += sum(isinstance(outcome, ItemError) for outcome in batch.values())
            room -= sum(outcome[1] for outcome in batch.values() if not isinstance(outcome, ItemError))
            if room < 0:
                raise SourceTooLarge("the URLs hold more bytes than one dataset may have")
            report("reading", len(done), len(urls), failed)
        return done

    def _batches(self, urls: Iterable[str]) -> "Iterator[dict[str, Outcome]]":
        """What became of each URL, as it is known; now and then nothing, so that the caller may want an end."""
        waiting: dict[Future[Outcome], str] = {}
        rest = iter(urls)
        with _Crew(self._rules, self._limits.max_item_bytes, self._item_limit_s) as crew:
            while True:
                for url in islice(rest, 2 * _AT_ONCE - len(waiting)):
                    waiting[crew.submit(self._keep, crew, url)] = url
                if not waiting:
                    return
                ready, _ = wait(waiting, _LOOK_UP_S, FIRST_COMPLETED)
                yield {waiting.pop(future): future.result() for future in ready}

    def _keep(self, crew: "_Crew", url: str) -> Outcome:
        try:
            kept = self._blobs.keep(crew.fetcher.fetch(url), durable=True)
        except ItemError as error:
            return error
        self._journal.add(url, kept)
        return kept


class _Crew(ThreadPoolExecutor):
    """Threads, each with a fetcher of its own."""

    def __init__(self, rules: UrlRules, max_bytes: int, item_limit_s: float) -> None:
        super().__init__(_AT_ONCE, thread_name_prefix="fetch")
        self._rules, self._max_bytes, self._item_limit_s = rules, max_bytes, item_limit_s
        self._own = threading.local()
        self._fetchers: list[Fetcher] = []
        self._resolver = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="resolve")

    @property
    def fetcher(self) -> Fetcher:
        if not hasattr(self._own, "fetcher"):
            self._own.fetcher = Fetcher(
                self._rules, max_bytes=self._max_bytes, item_limit_s=self._item_limit_s, resolver=self._resolver
            )
            self._fetchers.append(self._own.fetcher)
        found: Fetcher = self._own.fetcher
        return found

    def __exit__(self, *_: object) -> None:
        """Whoever wants an end gets it within one URL's time."""
        self.shutdown(cancel_futures=True)
        self._resolver.shutdown(wait=False, cancel_futures=True)
        for fetcher in self._fetchers:
            fetcher.close()


class _Journal:
    """What has been fetched, a line each; a line cut off by a kill says nothing, and its URL is fetched again.

    URLs stand in it as hashes: theirs may be the only secret that guards a picture.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def add(self, url: str, kept: Kept) -> None:
        line = json.dumps({"url": _hashed(url), "sha256": kept[0].hex(), "bytes": kept[1]})
        with self._lock, self._path.open("a") as file:
            file.write(f"{line}\n")

    def read(self, urls: Iterable[str]) -> dict[str, Kept]:
        try:
            lines = self._path.read_text().splitlines()
        except OSError:
            return {}
        said = dict(kept for kept in map(_kept, lines) if kept is not None)
        return {url: said[mark] for url in urls if (mark := _hashed(url)) in said}

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _kept(line: str) -> tuple[str, Kept] | None:
    try:
        said = json.loads(line)
        return str(said["url"]), (bytes.fromhex(said["sha256"]), int(said["bytes"]))
    except (ValueError, KeyError, TypeError):
        return None


def _lines(upload: Path | None) -> Iterator[str]:
    """Of a text file that may be anything; a line too long for a URL is cut, and refused as one later."""
    if upload is None or not upload.is_file():
        raise SourceGone("the upload is not there; upload the list again and make a new dataset of it")
    with upload.open("rb") as file:
        while line := file.readline(_MAX_LINE_BYTES):
            text = line.decode("utf-8", "replace").strip().removeprefix("\ufeff")
            if text:
                yield text


def _named(urls: Iterable[str], fetched: dict[str, Outcome]) -> Listing:
    """Names follow the order of the list alone, whichever fetches went well."""
    found: list[tuple[str, bytes, int]] = []
    failures: list[ItemFailure] = []
    names = Names()
    for url in urls:
        path, outcome = names.unique(_path_of(url)), fetched[url]
        if isinstance(outcome, ItemError):
            failures.append(ItemFailure(path, outcome.code, outcome.detail))
        else:
            found.append((path, *outcome))
    return canonical(found, failures)


def _path_of(url: str) -> str:
    """`<host>/<path>` as a harmless relative path. Never the query, which may hold a signature."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "unknown"
    except ValueError:
        return "unknown/item"
    names = [_safe(part) for part in (host, *unquote(parts.path, errors="replace").split("/"))]
    folder, *rest = [name for name in names if name] or ["unknown"]
    return "/".join([folder, *(rest or ["item"])])


def _safe(part: str) -> str:
    """Long names keep their end, where the suffix is, and a hash of all of it."""
    name = _UNSAFE.sub("_", part).lstrip(".")
    if len(name) <= _MAX_NAME:
        return name
    return f"{_hashed(part)[:16]}-{name[-_MAX_NAME // 2 :]}"
