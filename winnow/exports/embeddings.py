"""The vectors of a job as files: `.npy`, Parquet, and the ids of the rows; all three in the order of the samples.

Each is written a block at a time, straight from the matrix: a million rows need no second copy.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy
from numpy.typing import NDArray

from winnow.results import Embedded

_ROWS: Final = 16_384  # a block, and a group of the Parquet table


@dataclass(frozen=True)
class VectorFile:
    """One way to write the vectors; `about` is what the file says of itself where its kind can."""

    file_name: str
    media_type: str
    write: Callable[[Embedded, Mapping[str, str], BinaryIO], None]


def write_npy(embedded: Embedded, _about: Mapping[str, str], file: BinaryIO) -> None:
    """A C-ordered little-endian float32 matrix, one row a distinct sample."""
    header = {"descr": "<f4", "fortran_order": False, "shape": embedded.vectors.shape}
    npy.write_array_header_1_0(file, header)
    for rows in _blocks(embedded):
        file.write(np.ascontiguousarray(embedded.vectors[rows], "<f4").data)


def write_ids(embedded: Embedded, _about: Mapping[str, str], file: BinaryIO) -> None:
    """Sample id and path, a row a line, as `sha256sum` writes them: of a folder's samples it can check them too."""
    for rows in _blocks(embedded):
        lines = map(_checksum_line, embedded.ids[rows], embedded.paths[rows])
        file.write("".join(lines).encode())


def write_table(embedded: Embedded, about: Mapping[str, str], file: BinaryIO) -> None:
    """Columns sample_id, path and vector; it can be sent back as a dataset of vectors."""
    width = embedded.vectors.shape[1]
    columns = [("sample_id", pa.string()), ("path", pa.string()), ("vector", pa.list_(pa.float32(), width))]
    schema = pa.schema(columns, metadata=dict(about))
    # Neither a dictionary nor packing makes numbers like these smaller; both cost time.
    packing: dict[str, Any] = {"compression": {"path": "zstd", "sample_id": "zstd"}, "use_dictionary": False}
    with pq.ParquetWriter(file, schema, **packing) as writer:
        for rows in _blocks(embedded):
            values = pa.array(np.ascontiguousarray(embedded.vectors[rows], np.float32).reshape(-1))
            ids = [row.tobytes().hex() for row in embedded.ids[rows]]
            vectors = pa.FixedSizeListArray.from_arrays(values, width)
            writer.write_table(pa.table([ids, embedded.paths[rows], vectors], schema=schema))


VECTOR_FILES: Final[dict[str, VectorFile]] = {
    "npy": VectorFile("embeddings.npy", "application/octet-stream", write_npy),
    "parquet": VectorFile("embeddings.parquet", "application/vnd.apache.parquet", write_table),
    "ids": VectorFile("embeddings.ids", "text/plain; charset=utf-8", write_ids),
}


def _checksum_line(sample_id: NDArray[np.uint8], path: str) -> str:
    """A name that would break its line is escaped, and the line begins with a backslash."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == path else chr(92)}{sample_id.tobytes().hex()}  {escaped}\n"


def _blocks(embedded: Embedded) -> Iterator[slice]:
    return (slice(begin, begin + _ROWS) for begin in range(0, len(embedded.paths), _ROWS))
