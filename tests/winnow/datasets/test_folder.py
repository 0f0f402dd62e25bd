"""Folders: what is followed, what is passed over, what is quarantined."""

import os

import pytest

from winnow.datasets import Limits
from winnow.datasets.folder import FolderReader
from winnow.errors import ItemError, SourceGone
from winnow.results import silent


@pytest.fixture
def root(tmp_path, picture):
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.png").write_bytes(picture(1))
    return folder


def listed(root, **limits):
    listing = FolderReader(root, Limits(**limits)).list(silent)
    return sorted(listing.paths), {failure.path: failure.code for failure in listing.failures}


def test_links_within_the_root_are_followed(root):
    (root / "relative.png").symlink_to("sub/a.png")
    (root / "absolute.png").symlink_to(root / "sub" / "a.png")
    (root / "sub" / "up.png").symlink_to("../sub/a.png")
    paths, failures = listed(root)
    assert paths == ["absolute.png", "relative.png", "sub/a.png", "sub/up.png"]
    assert failures == {}
    assert FolderReader(root, Limits()).content("absolute.png") == (root / "sub" / "a.png").read_bytes()


def test_a_linked_folder_within_the_root_is_not_listed_twice(root):
    (root / "again").symlink_to("sub")
    (root / "again.png").symlink_to("sub")
    assert listed(root) == (["sub/a.png"], {})


def test_a_broken_link_is_a_failure_only_if_it_looks_like_a_picture(root):
    (root / "gone.png").symlink_to("nowhere")
    (root / "gone.txt").symlink_to("nowhere")
    assert listed(root)[1] == {"gone.png": "UNREADABLE"}


def test_a_name_that_is_not_utf8_is_shown_with_replacements(root, picture):
    (root / os.fsdecode(b"caf\xe9.png")).write_bytes(picture(2))
    assert listed(root) == (["sub/a.png"], {"caf\N{REPLACEMENT CHARACTER}.png": "NAME_NOT_UTF8"})


def test_a_file_above_the_limit_is_not_read(root):
    (root / "big.png").write_bytes(b"x" * 5000)
    assert listed(root, max_item_bytes=4000)[1] == {"big.png": "FILE_TOO_LARGE"}
    with pytest.raises(ItemError, match="FILE_TOO_LARGE"):
        FolderReader(root, Limits(max_item_bytes=4000)).content("big.png")


def test_a_folder_that_is_gone_ends_the_job(tmp_path):
    with pytest.raises(SourceGone):
        FolderReader(tmp_path / "never", Limits()).list(silent)


def test_moving_the_root_changes_nothing(root, tmp_path):
    before = FolderReader(root, Limits()).list(silent)
    after = FolderReader(root.rename(tmp_path / "elsewhere"), Limits()).list(silent)
    assert before.paths == after.paths
    assert before.ids.tobytes() == after.ids.tobytes()


def test_no_descriptor_is_left_open(root):
    reader = FolderReader(root, Limits())
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        reader.list(silent)
        reader.content("sub/a.png")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_pictures_of_each_folder_can_be_a_sequence_in_the_order_people_count(tmp_path, picture):
    names = [
        "b/frame9.png",
        "b/frame10.png",
        "b/frame2.png",
        "a/take1_9.png",
        "a/take1_10.png",
        "a/take02_1.png",
        "x.png",
    ]
    for number, name in enumerate(names):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(picture(number))
    listing = FolderReader(tmp_path / "root", Limits(), sequences=True).list(silent)
    rows = zip(listing.frames.videos, listing.frames.numbers.tolist(), listing.paths, strict=True)
    assert sorted(rows) == [
        (".", 0, "x.png"),
        ("a", 0, "a/take1_9.png"),
        ("a", 1, "a/take1_10.png"),
        ("a", 2, "a/take02_1.png"),
        ("b", 0, "b/frame2.png"),
        ("b", 1, "b/frame9.png"),
        ("b", 2, "b/frame10.png"),
    ]
    assert FolderReader(tmp_path / "root", Limits()).list(silent).frames is None


@pytest.mark.parametrize(
    "name", ["9" * 190 + ".png", "\N{SUPERSCRIPT TWO}.png", "\N{ARABIC-INDIC DIGIT TWO}.png", "-.png"]
)
def test_strange_numbers_in_names_are_put_in_some_order(tmp_path, picture, name):
    for other in (name, "1.png", "a.png"):
        (tmp_path / other).write_bytes(picture())
    listing = FolderReader(tmp_path, Limits(), sequences=True).list(silent)
    assert sorted(listing.frames.numbers.tolist()) == [0, 1, 2]
