"""What downloads hold in memory while their readers take their time."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from app import files
from winnow.exports import FORMATS

_ROWS = 140_000  # three groups


def test_slow_readers_of_converted_tables_hold_next_to_nothing(tmp_path):
    path = tmp_path / "selection.parquet"
    with path.open("wb") as file:
        FORMATS["parquet"].write((row(rank) for rank in range(_ROWS)), file)
    before = pa.total_allocated_bytes()
    readers = [files.parquet_prefix(path, _ROWS - 1) for _ in range(20)]
    begun = [next(reader) for reader in readers]
    assert (pa.total_allocated_bytes() - before) / len(readers) < 2 << 20
    table = pq.read_table(io.BytesIO(begun[0] + b"".join(readers[0])))
    assert table["rank"].to_pylist() == list(range(_ROWS - 1))


def row(rank: int) -> dict:
    known = {"rank": rank, "sample_id": f"{rank * 2654435761 % 2**32:064x}", "path": f"camera/{rank}.jpg"}
    return {**known, "insertion_distance": 1.0, "bytes": 1, "width": 1, "height": 1}
