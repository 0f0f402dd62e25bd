"""Reads what a finished job left on disk, a part at a time: prefixes of lists, pages of lines, one line by its id."""

import csv
import io
import json
import threading
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Row

from app.deps import Parts
from winnow.errors import NotFound

_CHUNK_BYTES: Final = 256 << 10
_BATCH_ROWS: Final = 16_384
_BATCH_BYTES: Final = 16 << 20
_LOOK_ROWS: Final = 256  # of a listing at a time: names may be 64 KiB each
_CONVERTING: Final = threading.BoundedSemaphore(2)  # groups at a time, tens of megabytes each
_PAGE_BYTES: Final = 4 << 20  # a page ends here, however many items were asked for


def entries(row: Row[Any]) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = (row.result_files or {}).get("files", [])
    return files


def find(parts: Parts, row: Row[Any], name: str) -> tuple[Path, dict[str, Any]]:
    """A file of the job's result by its name; only names the worker wrote down can be asked for."""
    entry = next((entry for entry in entries(row) if entry["name"] == name), None)
    if entry is not None:
        path: Path = parts.artifacts.job(row.id) / row.result_files["folder"] / entry["name"]
        if path.is_file():
            return path, entry
    raise NotFound("the job has no such file")


def slice_of(path: Path, begin: int, end: int) -> Iterator[bytes]:
    """The bytes from `begin` to before `end`, in pieces."""
    with path.open("rb") as file:
        file.seek(begin)
        left = end - begin
        while left > 0 and (piece := file.read(min(_CHUNK_BYTES, left))):
            left -= len(piece)
            yield piece


def begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The first piece already read: a file that has just been deleted says so before the answer begins."""
    return chain([next(pieces, b"")], pieces)


# --- prefixes ---------------------------------------------------------------------------------------


def text_prefix(path: Path, limit: int) -> Iterator[bytes]:
    """The first lines, in pieces."""
    with path.open("rb") as file:
        piece = bytearray()
        for line in islice(file, limit):
            piece += line
            if len(piece) >= _CHUNK_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)


def csv_prefix(path: Path, limit: int) -> Iterator[bytes]:
    """The header and the first rows; a row may hold line breaks."""
    with path.open(encoding="utf-8", newline="") as file:
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        for row in islice(csv.reader(file), limit + 1):
            writer.writerow(row)
            if out.tell() >= _CHUNK_BYTES:
                yield out.getvalue().encode()
                out.seek(0)
                out.truncate()
        yield out.getvalue().encode()


def parquet_prefix(path: Path, limit: int) -> Iterator[bytes]:
    """A table of the first rows, handed on group by group: between two of them next to nothing is held."""
    source, out = pq.ParquetFile(path, memory_map=True), _Handover()
    with pq.ParquetWriter(out, source.schema_arrow, compression="zstd") as writer:
        for group in range(source.num_row_groups):
            if not limit:
                break
            with _CONVERTING:
                limit -= _copied(source, group, limit, writer)
            yield out.taken()
    yield out.taken()


def _copied(source: pq.ParquetFile, group: int, limit: int, writer: pq.ParquetWriter) -> int:
    """How many rows of a group were written: all of them, or the `limit` that were wanted."""
    copied = 0
    for batch in source.iter_batches(_rows_a_batch(source.metadata), row_groups=[group]):
        wanted = batch.slice(0, limit - copied)
        writer.write_batch(wanted)
        copied += len(wanted)
        if copied == limit:
            break
    return copied


def _rows_a_batch(metadata: Any) -> int:
    """As many as fit in memory where names are long."""
    size: int = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    rows: int = metadata.num_rows
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * rows // max(1, size)))


class _Handover(io.RawIOBase):
    """A file that is read while it is written: what has been taken is kept nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self._position += len(self._pieces[-1])
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


PREFIXES: Final[dict[str, Callable[[Path, int], Iterator[bytes]]]] = {
    "txt": text_prefix,
    "jsonl": text_prefix,
    "csv": csv_prefix,
    "parquet": parquet_prefix,
}


# --- lines ------------------------------------------------------------------------------------------


def lines_from(path: Path, offset: int, size: int) -> tuple[list[Any], int | None]:
    """`size` JSON lines from a byte offset, fewer where they are long, and where the next page begins."""
    items: list[Any] = []
    following = offset
    with path.open("rb") as file:
        file.seek(offset)
        while len(items) < size and following < offset + _PAGE_BYTES and (line := file.readline()):
            items.append(json.loads(line))
            following += len(line)
        more = bool(file.read(1))
    return items, following if more else None


def lines_by_id(path: Path, sample_id: str) -> list[Any]:
    """The lines of this sample in a file sorted by `sample_id`: a bisection over bytes."""
    with path.open("rb") as file:
        low, high = 0, path.stat().st_size
        while low < high:  # the first wanted line begins at or after `low`, and at or before the line at `high`
            middle = (low + high) // 2
            line = _line_at_or_after(file, middle)
            if line and json.loads(line)["sample_id"] < sample_id:
                low = middle + 1
            else:
                high = middle
        line, found = _line_at_or_after(file, low), []
        while line and (row := json.loads(line))["sample_id"] == sample_id:
            found.append(row)
            line = file.readline()
    return found


def _line_at_or_after(file: BinaryIO, offset: int) -> bytes:
    """The first line that begins at `offset` or later."""
    file.seek(max(0, offset - 1))
    if offset:
        file.readline()
    return file.readline()


def line_with_id(path: Path, sample_id: str) -> Any | None:
    """The line of this sample in a file of any order; big pieces are searched, and only a hit is parsed."""
    wanted = sample_id.encode()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES) + file.readline():
            if wanted in piece:
                for line in piece.splitlines():
                    if wanted in line and (row := json.loads(line))["sample_id"] == sample_id:
                        return row
    return None


def snapshot_page(path: Path, offset: int, size: int) -> tuple[list[dict[str, Any]], int | None]:
    """Rows of a dataset's listing, fewer where their names are long, reading only the groups they lie in."""
    file = pq.ParquetFile(path)
    items: list[dict[str, Any]] = []
    left = _PAGE_BYTES
    for batch in _batches_from(file, offset):
        items += [_sample(row) for row in batch.slice(0, size - len(items)).to_pylist()]
        left -= batch.nbytes
        if len(items) >= size or left <= 0:
            break
    following = offset + len(items)
    return items, following if following < file.metadata.num_rows else None


def _batches_from(file: pq.ParquetFile, offset: int) -> Iterator[pa.RecordBatch]:
    """Small batches of rows, the first of them beginning at `offset`."""
    begin = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if begin + rows <= offset:
            begin += rows
            continue
        for batch in file.iter_batches(_LOOK_ROWS, row_groups=[group]):
            if begin + len(batch) > offset:
                yield batch.slice(max(0, offset - begin))
            begin += len(batch)


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    known = row.pop("sample_id")
    return {"sample_id": known.hex() if known is not None else None, **row}
