"""Shards: what went in comes out, or nothing does."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnow.embeddings.cache import ShardCache

KEY = "ab" * 32


def test_what_is_put_is_got(tmp_path):
    cache = ShardCache(tmp_path)
    rows = np.zeros(3, [("vector", "<f4", (4,)), ("code", "S8")])
    rows["vector"][1], rows["code"][2] = 0.5, b"BAD"
    for array in (np.arange(6, dtype=np.float32).reshape(2, 3), rows):
        cache.put(KEY, array)
        got = cache.get(KEY)
        assert got.dtype == array.dtype
        assert got.tobytes() == array.tobytes()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{KEY}.npy"]


def test_an_unknown_key_is_a_miss(tmp_path):
    assert ShardCache(tmp_path / "never").get(KEY) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_miss(tmp_path, data):
    cache = ShardCache(tmp_path)
    cache.put(KEY, np.arange(20, dtype=np.float32))
    path = tmp_path / "ab" / f"{KEY}.npy"
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert cache.get(KEY) is None
