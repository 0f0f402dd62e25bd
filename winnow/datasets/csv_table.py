"""A CSV of numbers, read a block at a time: what its first line is, where its ids are, and which row is wrong.

The first line is a header where it names a column `id` or `path`, holds no number, or counts its columns from 0.
Otherwise it is a row already; a first cell that is no number is the id of that row, and then every row begins with one.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from winnow.errors import InvalidVectors, UnsupportedArtifact

_LINE_BYTES: Final = 4 << 20  # of the first line
_BLOCK_BYTES: Final = (1 << 20, 16 << 20)  # at least and at most; no row is longer, and some blocks are read ahead
_BLOCK_LINES: Final = 256
_MAX_COLUMNS: Final = 16_384  # a column costs some ten kilobytes, however few rows there are
_SNIFFED: Final = 4096  # bytes
_NO_TEXT: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_WRONG_CELL: Final = re.compile(r"In CSV column #(\d+): Row #(\d+): CSV conversion error to (\w+)")


@dataclass(frozen=True)
class CsvTable:
    """What the first line tells of a file."""

    path: Path
    width: int  # columns of numbers
    id_at: int | None  # the column of the ids
    has_header: bool
    line_bytes: int  # of the first line

    @classmethod
    def opened(cls, path: Path) -> "CsvTable | None":
        """None where the file is no text at all."""
        with path.open("rb") as file:
            start = file.read(_LINE_BYTES)
        if not start or _NO_TEXT.search(start[:_SNIFFED]):
            return None
        try:
            text = codecs.getincrementaldecoder("utf-8-sig")().decode(start)
            first = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
        except UnicodeDecodeError:
            return None
        except csv.Error as error:
            raise UnsupportedArtifact("the first line of the CSV is no line of cells") from error
        if len(start) == _LINE_BYTES and b"\n" not in start and b"\r" not in start:
            raise UnsupportedArtifact(f"the first line of the CSV is longer than {_LINE_BYTES} bytes")
        if len(first) > _MAX_COLUMNS:
            raise UnsupportedArtifact(f"a CSV may have {_MAX_COLUMNS} columns; send wider vectors as .npy or Parquet")
        has_header, id_at = _layout(first)
        line_bytes = len(",".join(first).encode())
        return cls(path, len(first) - (id_at is not None), id_at, has_header, line_bytes)

    def blocks(self) -> Iterator[tuple[pa.Array | None, NDArray[np.float64]]]:
        """Ids, where there are any, and numbers of some rows after another."""
        ragged: list[Any] = []
        names = [str(column) for column in range(self.width + (self.id_at is not None))]
        row = 0
        try:
            with self._reader(names, ragged) as reader:
                for batch in reader:
                    row += len(batch)
                    yield self._split(batch)
        except pa.ArrowInvalid as error:
            raise self._explained(str(error), ragged, row) from error

    def _reader(self, names: list[str], ragged: list[Any]) -> Any:

        def refused(found: Any) -> str:
            ragged.append(found)
            return "error"

        least, most = _BLOCK_BYTES
        types = {name: pa.string() if at == self.id_at else pa.float64() for at, name in enumerate(names)}
        return pacsv.open_csv(
            self.path,
            pacsv.ReadOptions(
                use_threads=False,
                block_size=min(max(least, _BLOCK_LINES * self.line_bytes), most),
                skip_rows=int(self.has_header),
                column_names=names,
            ),
            # A line break within a quoted id stays within it, and is found there.
            pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=refused),
            pacsv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
        )

    def _split(self, batch: Any) -> tuple[pa.Array | None, NDArray[np.float64]]:
        columns = [column for at, column in enumerate(batch.columns) if at != self.id_at]
        numbers = np.empty((len(batch), self.width))
        for at, column in enumerate(columns):
            numbers[:, at] = column.to_numpy(zero_copy_only=False)
        return None if self.id_at is None else batch.column(self.id_at), numbers

    def _explained(self, message: str, ragged: list[Any], row: int) -> InvalidVectors | UnsupportedArtifact:
        """Arrow's words, with the row's number counted from 0 as everywhere, and without the caller's cells."""
        if ragged and ragged[0].number is not None:
            at, cells = ragged[0].number - 1 - self.has_header, ragged[0].actual_columns
            extra = int(self.id_at is not None)
            return InvalidVectors(
                f"every vector must be equally wide; row {at} is {cells - extra} wide, not {self.width}"
            )
        wrong = _WRONG_CELL.search(message)
        if wrong:
            at, expected = int(wrong[2]) - 1 - self.has_header, "UTF-8" if wrong[3] == "string" else "a number"
            return InvalidVectors(f"column {wrong[1]} of row {at} is not {expected}")
        return UnsupportedArtifact(f"the CSV is damaged, or a line is too long, some rows after row {row}")


def _layout(first: list[str]) -> tuple[bool, int | None]:
    """Whether these cells are a header, and which column holds the ids."""
    for name in ("id", "path"):
        if name in first:
            if first.count(name) > 1:
                raise UnsupportedArtifact(f"the CSV holds more than one column `{name}`")
            return True, first.index(name)
    numbers = [_is_number(cell) for cell in first]
    counted = [str(column) for column in range(len(first))]
    if len(first) > 2 and first in (counted, ["", *counted[:-1]]):  # how data frames name columns without names
        return True, 0 if first[0] == "" else None
    if not any(numbers):
        return True, None
    if all(numbers[1:]):
        return False, None if numbers[0] else 0
    raise UnsupportedArtifact("the first line of the CSV is neither a header nor a row of numbers")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
