"""A long listing on disk, page by page, so that whoever is killed in the middle goes on where it was.

Each page is a file named by the place it begins at, and says where the next one begins: whatever two attempts write at
one time, a chain of pages leaves nothing out and holds nothing twice.
"""

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from winnow.datasets import snapshot
from winnow.datasets.atomic import appearing
from winnow.results import Listing

_STALE_S: Final = 24 * 3600.0  # what was begun yesterday is begun again: it would no longer be a snapshot
_NEXT: Final = b"winnow.next"


@dataclass(frozen=True)
class Page:
    """Some items in the store's own order, and where the next page begins; None at the end."""

    listing: Listing
    next: str | None


class Pages:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if self._is_stale():
            self.clear()

    def get(self, begin: str) -> Page | None:
        try:
            table = pq.read_table(self._path(begin))
        except OSError:
            return None
        following = (table.schema.metadata or {}).get(_NEXT)
        return Page(snapshot.from_table(table), following.decode() if following is not None else None)

    def put(self, begin: str, page: Page) -> None:
        metadata = {_NEXT: page.next.encode()} if page.next is not None else {}
        with appearing(self._path(begin)) as file:
            pq.write_table(snapshot.to_table(page.listing).replace_schema_metadata(metadata), file, compression="zstd")

    def clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, begin: str) -> Path:
        return self._folder / f"{hashlib.sha256(begin.encode()).hexdigest()[:32]}.parquet"

    def _is_stale(self) -> bool:
        try:
            return time.time() - self._path("").stat().st_mtime > _STALE_S
        except OSError:
            return False
