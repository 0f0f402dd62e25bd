"""A listing survives the disk, and its fingerprint covers all that counts."""

import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.datasets import snapshot
from winnow.datasets.atomic import appearing
from winnow.datasets.base import canonical
from winnow.errors import WorkerStorageFull
from winnow.results import ItemFailure

ROWS = [("a.png", b"\x01" * 32, 3), ("b\N{SYMBOL FOR NULL}\r\n\N{RIGHT-TO-LEFT OVERRIDE}.png", b"\x00" * 32, 4)]


def test_what_is_saved_is_what_is_loaded(tmp_path):
    listing = canonical(ROWS, [ItemFailure("c.png", "UNREADABLE", "no"), ItemFailure("d.png", "NOT_A_REGULAR_FILE")])
    snapshot.save(listing, tmp_path / "deep" / "s.parquet")
    loaded = snapshot.load(tmp_path / "deep" / "s.parquet")
    assert loaded.ids.tobytes() == listing.ids.tobytes()
    assert (loaded.paths, loaded.failures) == (listing.paths, listing.failures)
    assert loaded.sizes.tolist() == listing.sizes.tolist()
    assert loaded.sizes.dtype == np.int64
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["s.parquet"]


def test_a_listing_of_failures_alone_survives(tmp_path):
    snapshot.save(canonical([], [ItemFailure("c.png", "UNREADABLE")]), tmp_path / "s.parquet")
    loaded = snapshot.load(tmp_path / "s.parquet")
    assert loaded.ids.shape == (0, 32)
    assert loaded.failures == [ItemFailure("c.png", "UNREADABLE")]


@given(
    st.lists(st.tuples(st.text(max_size=3), st.binary(min_size=32, max_size=32)), max_size=6, unique_by=lambda x: x[0])
)
def test_the_fingerprint_tells_listings_apart(found):
    rows = [(path, digest, 1) for path, digest in found]
    one = snapshot.fingerprint(canonical(rows))
    assert one == snapshot.fingerprint(canonical(rows[::-1]))
    assert one.startswith("sha256:")
    for position, (path, digest, size) in enumerate(rows):
        others = rows[:position] + rows[position + 1 :]
        assert snapshot.fingerprint(canonical(others)) != one
        assert snapshot.fingerprint(canonical([*others, (path + "x", digest, size)])) != one
        flipped = bytes([digest[0] ^ 1]) + digest[1:]
        assert snapshot.fingerprint(canonical([*others, (path, flipped, size)])) != one


def test_the_fingerprint_knows_where_one_name_ends():
    same = b"\x07" * 32
    one = canonical([("a\0b", same, 1), ("c", same, 1)])
    two = canonical([("a", same, 1), ("b\0c", same, 1)])
    assert snapshot.fingerprint(one) != snapshot.fingerprint(two)


def test_a_write_that_fails_leaves_the_old_file_and_no_trace(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(TypeError), appearing(tmp_path / "f") as file:
        file.writelines([b"half", None])
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("f", b"old")]


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs /dev/full")
def test_a_full_disk_is_a_reason_to_try_again(tmp_path):
    with pytest.raises(WorkerStorageFull), appearing(tmp_path / "f"), open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_listing_without_frames_has_the_columns_it_always_had(tmp_path):
    """So that what other releases wrote is read, and what this one writes is read by them."""
    snapshot.save(canonical(ROWS), tmp_path / "s.parquet")
    assert pq.read_schema(tmp_path / "s.parquet").names == ["sample_id", "path", "bytes", "code", "detail"]
    assert snapshot.load(tmp_path / "s.parquet").frames is None
