"""Copies land whole in a new folder, over nothing and through no link."""

import json

import pytest

from winnow.errors import ItemError, OutputFailed
from winnow.exports import copy_selected
from winnow.results import silent


def copy(target, paths=("a.jpg", "deep/b.jpg"), job_id="job_1"):
    roots = (target.parent,)
    return copy_selected(lambda path: path.encode(), list(paths), target, roots=roots, job_id=job_id, report=silent)


def test_the_selected_files_are_there_with_their_bytes(tmp_path):
    assert copy(tmp_path / "out") == 2
    assert (tmp_path / "out" / "deep" / "b.jpg").read_bytes() == b"deep/b.jpg"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_second_attempt_of_the_same_job_is_content_and_another_job_is_refused(tmp_path):
    copy(tmp_path / "out")
    assert copy(tmp_path / "out") == 2
    with pytest.raises(OutputFailed):
        copy(tmp_path / "out", job_id="job_2")


def test_what_stands_at_the_target_is_never_touched(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(elsewhere)
    (tmp_path / "file").write_text("mine")
    for name in ("link", "file", "elsewhere"):
        with pytest.raises(OutputFailed):
            copy(tmp_path / name)
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("path", ["../out.jpg", "/etc/x", "a/../../b", ".winnow.json"])
def test_a_path_that_is_no_plain_name_below_the_folder_is_refused_whole(tmp_path, path):
    with pytest.raises(OutputFailed):
        copy(tmp_path / "out", ["a.jpg", path])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_read_leaves_nothing_behind(tmp_path):
    def read(path):
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputFailed):
        copy_selected(read, ["a.jpg"], tmp_path / "out", roots=(tmp_path,), job_id="job_1", report=silent)
    assert list(tmp_path.iterdir()) == []


def test_names_that_cannot_stand_side_by_side_are_changed_and_told(tmp_path):
    names = ["a", "a/b.jpg", "n" * 300 + ".jpg", "n" * 300]
    assert copy(tmp_path / "out", names) == 4
    renamed = json.loads((tmp_path / "out" / ".winnow.json").read_text())["renamed"]
    for name in names:
        assert (tmp_path / "out" / renamed.get(name, name)).read_text() == name


def test_a_link_put_in_the_place_of_the_parent_is_not_followed(tmp_path):
    allowed, elsewhere = tmp_path / "allowed", tmp_path / "elsewhere"
    (allowed / "parent").mkdir(parents=True)
    elsewhere.mkdir()
    target = allowed / "parent" / "out"

    def swap(path):
        if not (allowed / "parent").is_symlink():
            (allowed / "parent").rename(allowed / "moved")
            (allowed / "parent").symlink_to(elsewhere)
        return b""

    def copy_to(read):
        return copy_selected(read, ["a.jpg"], target, roots=(allowed,), job_id="job_1", report=silent)

    copy_to(swap)
    assert (allowed / "moved" / "out" / "a.jpg").exists()
    with pytest.raises(OutputFailed, match="allowed"):
        copy_to(swap)
    assert not [*elsewhere.iterdir()]


def test_a_picture_that_changed_meanwhile_is_named(tmp_path):
    def read(path):
        raise ItemError("CONTENT_CHANGED")

    with pytest.raises(OutputFailed, match=r"a\.jpg.*CONTENT_CHANGED"):
        copy_selected(read, ["a.jpg"], tmp_path / "out", roots=(tmp_path,), job_id="job_1", report=silent)
