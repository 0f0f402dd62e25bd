"""The selection in four spellings; each writer takes rows in rank order and an open binary file."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.exports.rows import Row

_BATCH = 65_536  # rows a Parquet group: a prefix of the ranking can be read without the rest
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Format:
    """One way to write a selection."""

    file_name: str
    media_type: str
    write: Callable[[Iterable[Row], BinaryIO], None]


def write_txt(rows: Iterable[Row], file: BinaryIO) -> None:
    """One path a line. A line that begins with a backslash is escaped, as by sha256sum: `\\n`, `\\r`, `\\\\` within."""
    for row in rows:
        file.write(f"{_one_line(row['path'])}\n".encode())


def write_jsonl(rows: Iterable[Row], file: BinaryIO) -> None:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def write_csv(rows: Iterable[Row], file: BinaryIO) -> None:
    """For spreadsheets: a path that a spreadsheet would run as a formula gets a leading apostrophe."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, fieldnames=_SCHEMA.names)
    writer.writeheader()
    writer.writerows({**row, "path": _inert(row["path"]), "video": _inert(row.get("video"))} for row in rows)
    text.flush()
    text.detach()


def write_parquet(rows: Iterable[Row], file: BinaryIO) -> None:
    with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        for batch in _batches(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=_SCHEMA))


_SCHEMA = pa.schema(
    [
        ("rank", pa.int64()),
        ("sample_id", pa.string()),
        ("path", pa.string()),
        ("insertion_distance", pa.float32()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("video", pa.string()),
        ("frame", pa.int64()),
        ("pts", pa.int64()),
        ("time_s", pa.float64()),
    ]
)

FORMATS: dict[str, Format] = {
    "txt": Format("selection.txt", "text/plain; charset=utf-8", write_txt),
    "jsonl": Format("selection.jsonl", "application/x-ndjson", write_jsonl),
    "csv": Format("selection.csv", "text/csv; charset=utf-8", write_csv),
    "parquet": Format("selection.parquet", "application/vnd.apache.parquet", write_parquet),
}


def _batches(rows: Iterable[Row]) -> Iterator[list[dict[str, Any]]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, _BATCH)):
        yield batch


def _one_line(path: str) -> str:
    if not path.startswith("\\") and "\n" not in path and "\r" not in path:
        return path
    return "\\" + path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _inert(path: str | None) -> str | None:
    return f"'{path}" if path is not None and path.startswith(_FORMULA_STARTS) else path
