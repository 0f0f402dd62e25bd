"""Shards: what went in comes out, or nothing does."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnow.embeddings import cache as shards
from winnow.embeddings.cache import ShardCache
from winnow.errors import WorkerStorageFull

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


def test_room_for_a_large_dataset_is_a_file_without_a_name_and_a_full_disk_is_said(tmp_path, monkeypatch):
    keeper = ShardCache(tmp_path / "cache")
    small = keeper.room(10, 4)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(shards, "_IN_MEMORY_BYTES", 100)
    large = keeper.room(10, 4)
    assert (small.shape, small.dtype) == (large.shape, large.dtype) == ((10, 4), np.float32)
    large[:] = np.arange(40).reshape(10, 4)
    assert large.sum() == 780
    assert [*(tmp_path / "cache").iterdir()] == []
    with pytest.raises(WorkerStorageFull):
        keeper.room(1 << 40, 2048)
