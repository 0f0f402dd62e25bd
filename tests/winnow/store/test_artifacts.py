"""A file is there whole or not at all."""

import pytest

from winnow.errors import WorkerStorageFull
from winnow.store.artifacts import Artifacts, written


def test_a_failed_write_leaves_neither_the_file_nor_a_remnant(tmp_path):
    def write_and_fail():
        with written(tmp_path / "list.txt") as file:
            file.write(b"half")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_a_rewrite_replaces_the_whole_file(tmp_path):
    for content in (b"a longer first text", b"short"):
        with written(tmp_path / "deep" / "list.txt") as file:
            file.write(content)
    assert (tmp_path / "deep" / "list.txt").read_bytes() == b"short"


def test_a_job_that_needs_more_than_the_disk_has_is_told_so(tmp_path):
    with pytest.raises(WorkerStorageFull):
        Artifacts(tmp_path).require_space(1 << 60)
    Artifacts(tmp_path).require_space(0)
