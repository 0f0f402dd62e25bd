"""Ready embeddings: a `.npy` matrix, a Parquet table or a CSV, checked before a byte of them is believed.

A sample's id is the hash of its row as little-endian float32; its path is its `id`, or `row-<number>`.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.lib import format as npy
from numpy.typing import NDArray

from winnow.datasets import csv_table
from winnow.datasets.base import Kind, Limits, canonical_order, in_order
from winnow.errors import (
    DatasetEmpty,
    InvalidVectors,
    ItemError,
    SourceGone,
    TooManyItems,
    UnsupportedArtifact,
)
from winnow.results import Ids, ItemFailure, Listing, Report, Vectors, silent

_BLOCK_BYTES: Final = 16 << 20  # of float32, checked and hashed at a time
_MAX_WIDTH: Final = 65_536
_MAX_NAME_BYTES: Final = 4096  # as a path
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_HEADER_LIMIT: Final = 10_000  # characters; a header is some hundred
_HEADERS: Final[dict[tuple[int, int], Callable[..., Any]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


class VectorsReader:
    kind: Kind = "vectors"
    reads_at_once = 1

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits

    def list(self, report: Report) -> Listing:
        matrix, names = _opened(self._path, self._limits)
        ids, rows, failed = _hashed(matrix, report)
        paths = [_name(names, row) for row in rows]
        if not len(matrix):
            raise DatasetEmpty("the file of vectors holds no row")
        order = canonical_order(ids, paths)
        return Listing(
            ids=np.ascontiguousarray(ids[order]),
            paths=[paths[position] for position in order],
            sizes=np.full(len(rows), 4 * matrix.shape[1], np.int64),
            failures=in_order(ItemFailure(_name(names, row), "NOT_FINITE") for row in failed),
        )

    def read(self, path: str, sample_id: bytes) -> bytes:  # noqa: ARG002 - the contract's
        raise ItemError("UNSUPPORTED_FORMAT", f"{path!r} is a row of numbers, not a picture")

    original = read

    def vectors(self) -> tuple[Ids, Vectors]:
        """Hashed again, so that the caller can tell whether the file is still the one that was listed."""
        matrix, names = _opened(self._path, self._limits)
        ids, rows, _ = _hashed(matrix, silent)
        order = canonical_order(ids, [_name(names, row) for row in rows])
        vectors = np.empty((len(rows), matrix.shape[1]), np.float32)
        for block in _blocks(len(rows), matrix.shape[1]):
            vectors[block] = _float32(matrix[rows[order[block]]])
        return np.ascontiguousarray(ids[order]), vectors


def _hashed(matrix: Any, report: Report) -> tuple[Ids, NDArray[np.int64], NDArray[np.int64]]:
    """Ids of the finite rows, the numbers of those rows, and the numbers of the others."""
    digests = bytearray()
    finite = np.ones(len(matrix), bool)
    for rows in _blocks(*matrix.shape):
        block = _float32(matrix[rows])
        finite[rows] = np.isfinite(block).all(axis=1)
        for values in block[finite[rows]]:
            digests += hashlib.sha256(values.data).digest()
        report("reading", rows.start + len(block), len(matrix), int((~finite[: rows.stop]).sum()))
    ids = np.frombuffer(bytes(digests), np.uint8).reshape(-1, 32)
    return ids, np.flatnonzero(finite), np.flatnonzero(~finite)


def _blocks(rows: int, width: int) -> Iterator[slice]:
    size = max(1, _BLOCK_BYTES // (4 * max(1, width)))
    return (slice(begin, begin + size) for begin in range(0, rows, size))


def _name(names: "list[str] | None", row: int) -> str:
    return names[row] if names is not None else f"row-{row:07d}"


def _float32(rows: Any) -> Vectors:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is set aside as such
        return np.ascontiguousarray(rows, "<f4")


def _opened(path: Path, limits: Limits) -> tuple[Any, list[str] | None]:
    """A matrix and its names, by what the file is, whatever it is called."""
    try:
        if not path.is_file():
            raise UnsupportedArtifact("the path of a dataset of vectors must be a file")
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise SourceGone(f"the file of vectors cannot be read: {error.strerror}") from error
    if start == npy.MAGIC_PREFIX:
        return _npy(path, limits.max_items), None
    if start.startswith(b"PAR1"):
        return _parquet(path, limits)
    table = csv_table.CsvTable.opened(path)
    if table is not None:
        return _csv(table, limits.max_items)
    raise UnsupportedArtifact("embeddings are read from .npy matrices, Parquet tables and CSV, and from nothing else")


def _check_shape(rows: int, width: int, max_items: int) -> None:
    if rows > max_items:
        raise TooManyItems(f"the file holds {rows} rows; the limit is {max_items}")
    if rows and not 1 <= width <= _MAX_WIDTH:
        raise UnsupportedArtifact(f"vectors must be 1 to {_MAX_WIDTH} wide, not {width}")


# --- .npy ------------------------------------------------------------------------------------------


def _npy(path: Path, max_items: int) -> Any:
    """A memory map, once the header has been found to tell the truth about the file."""
    shape, column_order, dtype, offset = _npy_header(path)
    if dtype.hasobject or dtype.kind not in "fiu" or dtype.itemsize > 8 or len(shape) != 2 or min(shape) < 0:
        raise UnsupportedArtifact("the .npy file must hold a two-dimensional array of numbers")
    if offset + math.prod(shape) * dtype.itemsize != path.stat().st_size:
        raise UnsupportedArtifact("the .npy header does not fit the size of the file")
    _check_shape(*shape, max_items)
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape, "F" if column_order else "C")


def _npy_header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    with path.open("rb") as file:
        try:
            shape, column_order, dtype = _HEADERS[npy.read_magic(file)](file, max_header_size=_HEADER_LIMIT)
        except Exception as error:  # a header is a Python literal: what parsing a hostile one raises is not listed
            raise UnsupportedArtifact("the .npy header is damaged") from error
        return shape, column_order, dtype, file.tell()


# --- Parquet ---------------------------------------------------------------------------------------


def _parquet(path: Path, limits: Limits) -> tuple[Any, list[str] | None]:
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            _check_schema(file.schema_arrow)
            _check_shape(file.metadata.num_rows, 1, limits.max_items)
            names = _name_column(file.schema_arrow)
            _check_room(file.metadata, names, limits.archive_ratio * path.stat().st_size + limits.archive_slack_bytes)
        # As a dictionary, a long name that stands a million times is kept once, and found too long.
        with pq.ParquetFile(path, memory_map=True, read_dictionary=names) as file:
            table = file.read(columns=["vector", *names])
        table.validate(full=True)  # what a damaged file claims of itself would be believed below
    except (pa.ArrowException, OSError, ValueError, IndexError) as error:
        raise UnsupportedArtifact("the Parquet file is damaged or of an unknown kind") from error
    return _matrix(table["vector"], limits.max_items), _names(table[names[0]], names[0]) if names else None


def _check_room(metadata: Any, named_by: list[str], room_bytes: int) -> None:
    """Kilobytes can stand for gigabytes of one value, so it is the values that count, not their pages."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    chunks = [group.column(number) for group in groups for number in range(metadata.num_columns)]
    vectors = 8 * sum(chunk.num_values for chunk in chunks if chunk.path_in_schema.startswith("vector."))
    names = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in named_by)
    if vectors > room_bytes or names > room_bytes:
        raise UnsupportedArtifact("the Parquet table unpacks to far more than its size; the limit is passed")


def _name_column(schema: Any) -> list[str]:
    """`id` where there is one, else the `path` of a table that came from here."""
    return [name for name in ("id", "path") if name in schema.names][:1]


def _check_schema(schema: Any) -> None:
    for name in ("vector", *_name_column(schema)):
        if schema.names.count(name) > 1:
            raise UnsupportedArtifact(f"the Parquet table holds more than one column `{name}`")
    if "vector" not in schema.names or not _is_numbers(schema.field("vector").type):
        raise UnsupportedArtifact("the Parquet table needs a column `vector` of lists of numbers")
    for name in _name_column(schema):
        if not _is_name(schema.field(name).type):
            raise UnsupportedArtifact(f"the column `{name}` must hold strings or whole numbers")


def _is_numbers(kind: Any) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)))


def _is_name(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind))


def _matrix(column: Any, max_items: int) -> Any:
    """A list column whose rows are equally wide, as one matrix."""
    if not len(column):
        return np.empty((0, 1), np.float32)
    _check_nulls(column, "vector")
    width = len(column[0].values)
    _check_shape(len(column), width, max_items)
    blocks, row = [], 0
    for chunk in column.chunks:
        blocks.append(_block(chunk, width, row))
        row += len(chunk)
    return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]


def _block(chunk: Any, width: int, row: int) -> Any:
    odd = np.flatnonzero(chunk.value_lengths().to_numpy(zero_copy_only=False) != width)
    if len(odd):
        got = len(chunk[int(odd[0])].values)
        raise InvalidVectors(f"every vector must be equally wide; row {row + odd[0]} is {got} wide, not {width}")
    values = chunk.flatten()
    if values.null_count:
        null = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) // width
        raise InvalidVectors(f"the vector of row {row + null} holds a null")
    return values.to_numpy(zero_copy_only=False).reshape(len(chunk), width)


def _names(column: Any, called: str) -> list[str]:
    _check_nulls(column, called)
    for chunk in column.chunks:
        _check_lengths(chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk, called)
    names = [str(name) for name in column.to_pylist()]
    odd = next((row for row, name in enumerate(names) if not name or _CONTROL.search(name)), None)
    if odd is not None:
        raise InvalidVectors(f"the column `{called}` must name every row in one line of text; row {odd} has none")
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if first.setdefault(name, row) != row:
            raise InvalidVectors(
                f"the column `{called}` must name every row once; rows {first[name]} and {row} share one"
            )
    return names


def _check_lengths(words: Any, called: str) -> None:
    if not pa.types.is_integer(words.type) and (pc.max(pc.binary_length(words)).as_py() or 0) > _MAX_NAME_BYTES:
        raise InvalidVectors(f"the column `{called}` must hold names of at most {_MAX_NAME_BYTES} bytes")


def _check_nulls(column: Any, name: str) -> None:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise InvalidVectors(f"the column `{name}` is null in row {row}")


# --- CSV -------------------------------------------------------------------------------------------


def _csv(table: csv_table.CsvTable, max_items: int) -> tuple[Any, list[str] | None]:
    """Block after block, so that next to nothing but the numbers themselves is held."""
    _check_shape(1, table.width, max_items)
    values, names = bytearray(), []
    for ids, block in table.blocks():
        values += _float32(block).data.cast("B")
        _check_shape(len(values) // (4 * table.width), table.width, max_items)
        if ids is not None:
            _check_lengths(ids, "id")
            names.append(ids)
    matrix = np.frombuffer(values, "<f4").reshape(-1, table.width)
    return matrix, None if table.id_at is None else _names(pa.chunked_array(names, pa.string()), "id")
