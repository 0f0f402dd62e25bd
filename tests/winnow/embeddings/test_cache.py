"""Rows by sample: what went in comes out, or nothing does; bounded, merged, and never waited for."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import winnow.embeddings.cache as module
from winnow.embeddings.cache import ShardCache
from winnow.errors import WorkerStorageFull

ROW = np.dtype([("vector", "<f4", (4,)), ("code", "S8")])
MADE_BY = "encoder@1+1"


def ids_of(*numbers):
    """In rising order, spread as hashes are."""
    ids = np.random.default_rng(7).integers(0, 256, (1 + max(numbers), 32), np.uint8)
    return ids[sorted(numbers, key=lambda number: ids[number].tobytes())]


def rows_of(ids):
    rows = np.zeros(len(ids), ROW)
    rows["vector"] = ids[:, :16].copy().view("<u4").astype(np.float32)
    rows["code"][0] = b"BAD"
    return rows


def shelf_of(folder):
    return ShardCache(folder).shelf(MADE_BY, ROW)


def found(shelf, ids):
    """Place -> row, each place once."""
    pairs = [pair for places, rows in shelf.find(ids) for pair in zip(places.tolist(), rows, strict=True)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def files(folder):
    return [path for path in folder.rglob("*") if path.suffix == ".rows"]


def test_what_is_put_is_found_by_its_sample_in_any_company(tmp_path):
    ids = ids_of(*range(30))
    for part in (slice(0, 30, 3), slice(1, 30, 3)):
        shelf_of(tmp_path).put(ids[part], rows_of(ids[part]))
    got = found(shelf_of(tmp_path), ids)
    assert sorted(got) == [place for place in range(30) if place % 3 != 2]
    for part in (slice(0, 30, 3), slice(1, 30, 3)):
        expected = rows_of(ids[part])
        assert [got[place].tobytes() for place in range(part.start, 30, 3)] == [row.tobytes() for row in expected]
    assert found(shelf_of(tmp_path), ids_of(30, 31)) == {}


def test_an_unknown_shelf_is_empty(tmp_path):
    assert found(shelf_of(tmp_path / "never"), ids_of(1, 2)) == {}


def test_encoders_do_not_see_each_others_rows(tmp_path):
    ids = ids_of(1, 2)
    folder = tmp_path / "below" / "cache"
    for name in ("encoder@1+1", "encoder@2+1", "encoder@1+2", "../encoder@1+1", ".."):
        shelf = ShardCache(folder).shelf(name, ROW)
        assert found(shelf, ids) == {}
        shelf.put(ids, rows_of(ids))
    assert {path.parent.parent for path in files(tmp_path)} == {folder}


def test_a_few_samples_open_only_the_shards_that_can_hold_them(tmp_path, monkeypatch):
    ids = ids_of(*range(1000))
    for begin in range(0, 1000, 100):
        shelf_of(tmp_path).put(ids[begin : begin + 100], rows_of(ids[begin : begin + 100]))
    opened = []
    read = module._Shard.read
    monkeypatch.setattr(module._Shard, "read", lambda shard, *rest: opened.append(shard) or read(shard, *rest))
    assert sorted(found(shelf_of(tmp_path), ids[[5, 305]])) == [0, 1]
    assert len(opened) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_miss(tmp_path, data):
    ids = ids_of(*range(5))
    shelf_of(tmp_path).put(ids, rows_of(ids))
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert found(shelf_of(tmp_path), ids) == {}


CLAIM = """
import sys
from pathlib import Path
import numpy as np
from winnow.embeddings.cache import ShardCache
ids = np.repeat(np.uint8([[int(number)] for number in sys.argv[2:]]), 32, axis=1)
with ShardCache(Path(sys.argv[1])).shelf("encoder@1+1", np.dtype("<f4")).claimed(ids) as mine:
    print(mine.tolist(), flush=True)
    sys.stdin.readline()
"""


def claim(folder, *numbers):
    command = [sys.executable, "-c", CLAIM, str(folder), *map(str, numbers)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, json.loads(process.stdout.readline().lower())


def test_a_claim_is_for_its_own_samples_and_ends_with_its_process(tmp_path):
    holder, mine = claim(tmp_path, 5, 50, 100)
    beside, others = claim(tmp_path, 4, 6, 50, 99, 100, 101)
    try:
        assert mine == [True] * 3
        assert others == [True, True, False, True, False, True]
    finally:
        holder.kill()
        for process in (holder, beside):
            process.communicate("\n")
    after, mine = claim(tmp_path, 4, 5, 50, 100)
    after.communicate("\n")
    assert mine == [True] * 4


def test_where_a_disk_knows_no_locks_everything_is_ones_own(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with shelf_of(tmp_path).claimed(ids_of(1, 2)) as mine:
        assert mine.all()


def test_what_was_of_no_use_for_the_longest_goes_first(tmp_path):
    cache, now = ShardCache(tmp_path), time.time()
    for number in range(4):
        shelf_of(tmp_path).put(ids_of(number), rows_of(ids_of(number)))
        newest = max(files(tmp_path), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (now - 100 + number,) * 2)
    found(shelf_of(tmp_path), ids_of(0))  # the oldest is of use again
    each = cache.total_bytes() // 4
    assert cache.prune(2 * each, spare_since=now + 60) == 2 * each
    left = [number for number in range(4) if found(shelf_of(tmp_path), ids_of(number))]
    assert left == [0, 3]


def test_what_a_running_job_uses_stays_whatever_the_bound(tmp_path):
    shelf_of(tmp_path).put(ids_of(1), rows_of(ids_of(1)))
    assert ShardCache(tmp_path).prune(0, spare_since=time.time() - 60) == 0
    assert found(shelf_of(tmp_path), ids_of(1))


def test_the_usage_says_what_is_there(tmp_path):
    for name, count in (("a@1+1", 3), ("b@1+1", 5)):
        ids = ids_of(*range(count))
        ShardCache(tmp_path).shelf(name, ROW).put(ids, rows_of(ids))
    a, b = ShardCache(tmp_path).usage()
    assert [(a.made_by, a.rows), (b.made_by, b.rows)] == [("a@1+1", 3), ("b@1+1", 5)]
    assert a.bytes + b.bytes == ShardCache(tmp_path).total_bytes()
    assert ShardCache(tmp_path / "never").usage() == []


def test_many_small_shards_become_few_and_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD", 50)
    ids = ids_of(*range(130))
    for place in range(130):
        shelf_of(tmp_path).put(ids[[place]], rows_of(ids[[place]]))
    before = {place: row.tobytes() for place, row in found(shelf_of(tmp_path), ids).items()}
    files(tmp_path)[0].write_bytes(b"damaged")
    assert ShardCache(tmp_path).merge() == 130
    after = {place: row.tobytes() for place, row in found(shelf_of(tmp_path), ids).items()}
    assert len(files(tmp_path)) == 3
    assert len(after) == 129
    assert after.items() <= before.items()
    assert ShardCache(tmp_path).merge() == 0


@pytest.mark.parametrize("name", ["notes.txt", "0-1-2-3.rows", f"{'f' * 16}-{'f' * 16}-0-{'f' * 16}.rows"])
def test_what_is_no_shard_is_passed_over(tmp_path, name):
    ids = ids_of(1)
    shelf_of(tmp_path).put(ids, rows_of(ids))
    (files(tmp_path)[0].parent / name).write_bytes(b"?")
    assert sorted(found(shelf_of(tmp_path), ids)) == [0]


def test_room_for_a_large_dataset_is_a_file_without_a_name_and_a_full_disk_is_said(tmp_path, monkeypatch):
    keeper = ShardCache(tmp_path / "cache")
    small = keeper.room(10, 4)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(module, "_IN_MEMORY_BYTES", 100)
    large = keeper.room(10, 4)
    assert (small.shape, small.dtype) == (large.shape, large.dtype) == ((10, 4), np.float32)
    large[:] = np.arange(40).reshape(10, 4)
    assert large.sum() == 780
    assert [*(tmp_path / "cache").iterdir()] == []
    with pytest.raises(WorkerStorageFull):
        keeper.room(1 << 40, 2048)


def test_a_merger_while_somebody_looks_hides_nothing(tmp_path, monkeypatch):
    ids = ids_of(*range(70))
    for place in range(70):
        shelf_of(tmp_path).put(ids[[place]], rows_of(ids[[place]]))
    looked, shards = [], module._shards

    def merged_behind_our_back(folder):
        listed = shards(folder)
        looked.append(folder)
        if len(looked) == 1:
            ShardCache(tmp_path).merge()
        return listed

    monkeypatch.setattr(module, "_shards", merged_behind_our_back)
    assert sorted(found(shelf_of(tmp_path), ids)) == list(range(70))
    assert len(files(tmp_path)) == 1
