"""The vectors as files: the same rows in each, and never a second copy of them in memory."""

import io
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.exports import VECTOR_FILES
from winnow.results import Embedded

ABOUT = {"winnow.encoder": "descriptor-64/1"}


def embedded(count, width=64, paths=None):
    rng = np.random.default_rng(0)
    return Embedded(
        ids=rng.integers(0, 256, (count, 32), np.uint8),
        paths=paths or [f"{row:07d}.png" for row in range(count)],
        sizes=np.ones(count, np.int64),
        vectors=rng.random((count, width), np.float32),
        shapes=np.zeros((count, 2), np.int32),
        failures=[],
        duplicates={},
    )


def written(kind, found):
    out = io.BytesIO()
    VECTOR_FILES[kind].write(found, ABOUT, out)
    return out.getvalue()


@pytest.mark.parametrize("count", [1, 20_000])
def test_each_file_holds_every_row_in_order(count):
    found = embedded(count, 3)
    assert np.load(io.BytesIO(written("npy", found))).tobytes() == found.vectors.tobytes()
    table = pq.read_table(io.BytesIO(written("parquet", found)))
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 3)
    assert np.array(table["vector"].to_pylist(), np.float32).tobytes() == found.vectors.tobytes()
    assert table["path"].to_pylist() == found.paths
    assert table["sample_id"].to_pylist() == [row.tobytes().hex() for row in found.ids]
    assert table.schema.metadata[b"winnow.encoder"] == b"descriptor-64/1"
    assert len(written("ids", found).splitlines()) == count


def test_a_name_that_would_break_its_line_is_escaped_as_sha256sum_does():
    found = embedded(3, 1, ["plain.png", "a\nb.png", "c\\d.png"])
    ids = [row.tobytes().hex() for row in found.ids]
    expected = [f"{ids[0]}  plain.png", f"\\{ids[1]}  a\\nb.png", f"\\{ids[2]}  c\\\\d.png", ""]
    assert written("ids", found).decode() == "\n".join(expected)


class Sink(io.RawIOBase):
    """Forgets what is written, and remembers how much memory Arrow held at most."""

    held = 0

    def writable(self):
        return True

    def write(self, piece):
        self.held = max(self.held, pa.total_allocated_bytes())
        return len(piece)


@pytest.mark.parametrize("kind", VECTOR_FILES)
def test_writing_takes_little_memory_however_many_rows(kind):
    found, sink = embedded(300_000), Sink()
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    VECTOR_FILES[kind].write(found, ABOUT, sink)
    peak = tracemalloc.get_traced_memory()[1] + sink.held - before
    tracemalloc.stop()
    assert peak < found.vectors.nbytes / 4
