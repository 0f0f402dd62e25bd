"""Reads what a finished job left on disk, a part at a time: prefixes of lists, pages of lines, one line by its id."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from sqlalchemy import Row

from app.deps import Parts
from winnow.errors import NotFound

_CHUNK_LINES: Final = 2000


def entries(row: Row[Any]) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = (row.result_files or {}).get("files", [])
    return files


def find(parts: Parts, row: Row[Any], name: str) -> tuple[Path, dict[str, Any]]:
    """A file of the job's result by its name; only names the worker wrote down can be asked for."""
    for entry in entries(row):
        path: Path = parts.artifacts.job(row.id) / row.result_files["folder"] / entry["name"]
        if entry["name"] == name and path.is_file():
            return path, entry
    raise NotFound("the job has no such file")


def text_prefix(path: Path, limit: int) -> Iterator[bytes]:
    """The first lines, in pieces."""
    with path.open("rb") as file:
        lines = islice(file, limit)
        while piece := b"".join(islice(lines, _CHUNK_LINES)):
            yield piece


def csv_prefix(path: Path, limit: int) -> Iterator[bytes]:
    """The header and the first rows; a row may hold line breaks."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = islice(csv.reader(file), limit + 1)
        while piece := list(islice(rows, _CHUNK_LINES)):
            out = io.StringIO(newline="")
            csv.writer(out).writerows(piece)
            yield out.getvalue().encode()


def parquet_prefix(path: Path, limit: int) -> Iterator[bytes]:
    """A table of the first rows, written group by group."""
    source, out = pq.ParquetFile(path), io.BytesIO()
    left = limit
    with pq.ParquetWriter(out, source.schema_arrow, compression="zstd") as writer:
        for batch in source.iter_batches() if left else ():
            writer.write_batch(batch.slice(0, min(left, batch.num_rows)))
            left -= min(left, batch.num_rows)
            if not left:
                break
    yield out.getvalue()


PREFIXES: Final[dict[str, Callable[[Path, int], Iterator[bytes]]]] = {
    "txt": text_prefix,
    "jsonl": text_prefix,
    "csv": csv_prefix,
    "parquet": parquet_prefix,
}


def lines_from(path: Path, offset: int, size: int) -> tuple[list[Any], int | None]:
    """`size` JSON lines from a byte offset, and where the next page begins."""
    with path.open("rb") as file:
        file.seek(offset)
        items = [json.loads(line) for line in islice(file, size)]
        following = file.tell()
        more = bool(file.read(1))
    return items, following if more else None


def line_by_id(path: Path, sample_id: str) -> Any | None:
    """The first line of this sample in a file sorted by `sample_id`: a bisection over bytes."""
    with path.open("rb") as file:
        low, high = 0, path.stat().st_size
        while low < high:
            middle = (low + high) // 2
            file.seek(max(0, middle - 1))
            if middle:
                file.readline()  # to the start of the next line, or of this one
            line = file.readline()
            if line and json.loads(line)["sample_id"] < sample_id:
                low = middle + 1
            else:
                high = middle
        file.seek(max(0, low - 1))
        if low:
            file.readline()
        line = file.readline()
    found = json.loads(line) if line else None
    return found if found is not None and found["sample_id"] == sample_id else None


def line_with_id(path: Path, sample_id: str) -> Any | None:
    """The line of this sample in a file of any order."""
    wanted = sample_id.encode()
    with path.open("rb") as file:
        for line in file:
            if wanted in line and (found := json.loads(line))["sample_id"] == sample_id:
                return found
    return None


def snapshot_page(path: Path, offset: int, size: int) -> tuple[list[dict[str, Any]], int | None]:
    """Rows of a dataset's listing, reading only the groups they lie in."""
    file = pq.ParquetFile(path)
    items: list[dict[str, Any]] = []
    begin = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if begin + rows > offset and len(items) < size:
            table = file.read_row_group(group).slice(max(0, offset - begin), size - len(items))
            items += [_sample(row) for row in table.to_pylist()]
        begin += rows
    following = offset + len(items)
    return items, following if following < begin else None


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    known = row.pop("sample_id")
    return {"sample_id": known.hex() if known is not None else None, **row}
