"""A table that says of some samples what they show: CSV or Parquet with the columns path, label and, if wished, split.

It is read once, when the dataset is listed, and kept beside the snapshot. Labels explain a selection; they never change
it.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from winnow.datasets.atomic import aside
from winnow.errors import InvalidLabels
from winnow.results import Labels

_MAX_BYTES: Final = 1 << 30
_MAX_LETTERS: Final = 200  # of a label
_MAX_PATH_LETTERS: Final = 4096
_SCHEMA: Final = pa.schema([("path", pa.string()), ("label", pa.string()), ("split", pa.string())])
_AMONG: Final = 5  # without a split every fifth labelled sample, in canonical order, is a test


def read_labels(path: Path, max_rows: int) -> pa.Table:
    """Three columns of text, checked; a split that is not given is ''."""
    try:
        if not path.is_file():
            raise InvalidLabels("the table of labels is not a file, or is gone")
        if path.stat().st_size > _MAX_BYTES:
            raise InvalidLabels(f"the table of labels is larger than {_MAX_BYTES} bytes")
        table = _parquet(path, max_rows) if _is_parquet(path) else _csv(path)
    except OSError as error:
        raise InvalidLabels("the table of labels cannot be read") from error
    except pa.ArrowException as error:
        raise InvalidLabels("the table of labels is neither CSV (UTF-8) nor Parquet, or damaged") from error
    if len(table) > max_rows:
        raise InvalidLabels(f"the table of labels has more than {max_rows} rows")
    return _checked(table)


def fitting(table: pa.Table, paths: list[str]) -> pa.Table:
    """The table itself, if it names any of these samples."""
    known = pc.is_in(table["path"], pa.array(paths, pa.string()))
    if not pc.any(known).as_py():
        raise InvalidLabels("the table of labels names no sample of the dataset: is `path` relative to its root?")
    return table.filter(known)


def save(table: pa.Table, path: Path) -> None:
    """Unless labels are there already: whoever lists a second time changes nothing."""
    with aside(path.parent) as (file, name), suppress(FileExistsError):
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
        path.hardlink_to(name)


def load(path: Path) -> dict[str, tuple[str, str]]:
    """Label and split of each path."""
    columns = pq.read_table(path, schema=_SCHEMA).to_pydict()
    return {name: said for name, *said in zip(*columns.values(), strict=True)}  # type: ignore[misc]


def labels_of(
    paths: list[str], said: Mapping[str, tuple[str, str]], duplicates: Mapping[str, str] | None = None
) -> Labels | None:
    """What is said of these samples, or of the first labelled of their exact duplicates; None where nothing is."""
    of_copies = {first: said[path] for path, first in sorted((duplicates or {}).items(), reverse=True) if path in said}
    known = [said.get(path) or of_copies.get(path) or ("", "") for path in paths]
    values = [value for value, _ in known]
    if not any(values):
        return None
    tests = np.array([split == "test" for _, split in known], bool)
    if not any(split for _, split in known):
        labelled = np.array([bool(value) for value in values])
        tests = labelled & (np.cumsum(labelled) % _AMONG == 1)
    return Labels(values, tests)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet(path: Path, max_rows: int) -> pa.Table:
    """Words are read once each and not once a row: a page of one long word may stand for millions of rows."""
    there = [name for name in _SCHEMA.names if name in pq.read_schema(path).names]
    with pq.ParquetFile(path, read_dictionary=there) as file:
        if file.metadata.num_rows > max_rows:
            raise InvalidLabels(f"the table of labels has more than {max_rows} rows")
        unpacked = sum(file.metadata.row_group(at).total_byte_size for at in range(file.metadata.num_row_groups))
        if unpacked > _MAX_BYTES:
            raise InvalidLabels(f"the table of labels unpacks to more than {_MAX_BYTES} bytes")
        return file.read(columns=there)


def _csv(path: Path) -> pa.Table:
    kinds = {name: pa.string() for name in _SCHEMA.names}
    convert = csv.ConvertOptions(column_types=kinds, strings_can_be_null=False)
    table = csv.read_csv(path, convert_options=convert, parse_options=csv.ParseOptions(newlines_in_values=True))
    return table.select([at for at, name in enumerate(table.column_names) if name in _SCHEMA.names])


def _checked(table: pa.Table) -> pa.Table:
    twice = [name for name in _SCHEMA.names if table.column_names.count(name) > 1]
    if twice:
        raise InvalidLabels(f"the table of labels has more than one column {twice[0]}")
    missing = [name for name in ("path", "label") if name not in table.column_names]
    if missing:
        raise InvalidLabels(f"the table of labels needs a column {missing[0]}")
    columns = [_text(table, name) for name in _SCHEMA.names]
    if int(pc.count_distinct(columns[0]).as_py() or 0) < len(table):
        raise InvalidLabels("the table of labels names a path twice")
    return pa.table(columns, schema=_SCHEMA)


def _text(table: pa.Table, name: str) -> Any:
    if name not in table.column_names:
        return pa.array([""] * len(table), pa.string())
    try:
        _check_words(table[name], name)
        return table[name].cast(pa.string()).combine_chunks().fill_null("")
    except pa.ArrowException as error:
        raise InvalidLabels(f"the column {name} of the table of labels must be text") from error


def _check_words(column: Any, name: str) -> None:
    """Before each is written out for every row that says it."""
    most = _MAX_PATH_LETTERS if name == "path" else _MAX_LETTERS
    for chunk in column.chunks:
        words = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
        if len(words) and (pc.max(pc.utf8_length(words.cast(pa.string()))).as_py() or 0) > most:
            raise InvalidLabels(f"a {name} has more than {most} letters")
        if name == "path" and words is not chunk and len(words) + chunk.null_count < len(chunk):
            raise InvalidLabels("the table of labels names a path twice")
