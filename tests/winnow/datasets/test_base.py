"""The contract every reader of pictures keeps, and the canonical order."""

import hashlib
import io
import random
import shutil
from urllib.parse import quote

import clips
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from winnow.connections import Connection
from winnow.datasets import Limits, Reader
from winnow.datasets.archive import ArchiveReader
from winnow.datasets.base import canonical, is_picture
from winnow.datasets.blobs import BlobReader
from winnow.datasets.folder import FolderReader
from winnow.datasets.objects import ObjectsReader
from winnow.datasets.urls import UrlsReader
from winnow.datasets.video import VideosReader, frame_path
from winnow.errors import DatasetEmpty, InvalidVectors, ItemError, JobCancelled, TooManyItems, WorkerStorageFull
from winnow.results import silent
from winnow.spec import Sampling

DEFAULTS = Limits()
NAMES = ["b/two.png", "a/one.PNG", "twin of one.png", "c/d/e/three.png"]


def videos_reader(folder, names, limits):
    """A video of one frame for each name, a note, and a hidden video; the twin is a copy."""
    (folder / "root").mkdir()
    for number, name in enumerate(names):
        video = folder / "root" / name.lower().replace(".png", ".mp4")
        clips.make(video, [clips.scene(1 if name.startswith("twin") else number)])
    (folder / "root" / "labels.csv").write_text("a,b")
    clips.make(folder / "root" / ".hidden" / "x.mp4", 1)
    return VideosReader(folder / "root", Sampling(every_nth=1), folder / "ds", limits)


@pytest.fixture(
    params=["folder", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "videos", "object_store", "urls"],
)
def make_reader(request, tmp_path, picture, zipped, tarred):  # noqa: C901 - one branch a kind
    """A reader of any kind over the same four pictures, a note, and a hidden file."""

    def make(names=tuple(NAMES), limits=DEFAULTS) -> Reader:
        if request.param == "videos":
            return videos_reader(tmp_path, names, limits)
        contents = {name: picture(sum(map(ord, name))) for name in names}
        if "twin of one.png" in contents:
            contents["twin of one.png"] = contents["a/one.PNG"]
        entries = [*contents.items(), ("labels.csv", b"a,b"), (".hidden/x.png", picture(99)), ("__MACOSX/._x.png", b"")]
        if request.param == "folder":
            for name, content in entries:
                (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "root" / name).write_bytes(content)
            return FolderReader(tmp_path / "root", limits)
        if request.param == "object_store":
            bucket = request.getfixturevalue("bucket")
            bucket.put({f"yard/{name}": content for name, content in entries}, ChecksumAlgorithm="SHA256")
            return ObjectsReader(Connection.model_validate(bucket.table()), "yard/", tmp_path / "ds", limits)
        if request.param == "urls":
            site = request.getfixturevalue("site")
            site.pages = {f"/{quote(name)}": content for name, content in contents.items()}
            (tmp_path / "up").write_text("\n".join(site.url + path for path in site.pages))
            return UrlsReader(tmp_path / "up", tmp_path / "ds", site.rules, limits)
        if request.param == "zip":
            return ArchiveReader(zipped(*entries), tmp_path / "ds", limits)
        mode = "w" + request.param.removeprefix("tar").replace(".", ":")
        return ArchiveReader(tarred(*entries, mode=mode), tmp_path / "ds", limits)

    make.names = NAMES
    if request.param == "urls":
        make.names = [f"127.0.0.1/{name.replace(' ', '_')}" for name in NAMES]
    if request.param == "videos":
        make.names = [frame_path(name.lower().replace(".png", ".mp4"), 0) for name in NAMES]
    return make


def test_every_picture_is_listed_and_nothing_else(make_reader):
    reader = make_reader()
    listing = reader.list(silent)
    assert reader.kind == "images"
    assert sorted(listing.paths) == sorted(make_reader.names)
    assert listing.failures == []
    for path, sample_id, size in zip(listing.paths, listing.ids, listing.sizes, strict=True):
        content = reader.read(path, sample_id.tobytes())
        assert len(content) == size
        assert (
            Image.open(io.BytesIO(content)).size
            == Image.open(io.BytesIO(reader.original(path, sample_id.tobytes()))).size
        )


def test_equal_pictures_have_one_id_and_others_have_others(make_reader):
    listing = make_reader().list(silent)
    ids = {path: row.tobytes() for path, row in zip(listing.paths, listing.ids, strict=True)}
    two, one, twin, three = (ids[path] for path in make_reader.names)
    assert one == twin
    assert len({one, two, three}) == 3


@pytest.mark.parametrize("make_reader", ["folder", "zip", "tar.gz"], indirect=True)
def test_a_file_is_named_by_the_hash_of_its_bytes_and_copied_as_it_is(make_reader):
    reader = make_reader()
    listing = reader.list(silent)
    for path, sample_id in zip(listing.paths, listing.ids, strict=True):
        content = reader.read(path, sample_id.tobytes())
        assert hashlib.sha256(content).digest() == sample_id.tobytes()
        assert reader.original(path, sample_id.tobytes()) == content


def test_the_order_is_by_content_hash_then_path(make_reader):
    listing = make_reader().list(silent)
    keys = [(row.tobytes(), path) for row, path in zip(listing.ids, listing.paths, strict=True)]
    assert keys == sorted(keys)


def test_a_sample_that_is_no_longer_the_one_that_was_listed_is_refused(make_reader):
    reader = make_reader()
    path = reader.list(silent).paths[0]
    found_by_id = isinstance(reader, BlobReader)  # and under this one nothing is kept
    for read in (reader.read, reader.original):
        with pytest.raises(ItemError, match="UNREADABLE" if found_by_id else "CONTENT_CHANGED"):
            read(path, bytes(32))


def test_an_unknown_path_is_an_item_error(make_reader):
    reader = make_reader()
    reader.list(silent)
    with pytest.raises(ItemError):
        reader.read("no/such.png", bytes(32))


def test_more_items_than_the_limit_end_the_listing(make_reader):
    with pytest.raises(TooManyItems):
        make_reader(limits=Limits(max_items=3)).list(silent)


def test_a_source_without_pictures_is_empty(make_reader):
    with pytest.raises(DatasetEmpty):
        make_reader(names=()).list(silent)


def test_pictures_have_no_vectors(make_reader):
    with pytest.raises(InvalidVectors):
        make_reader().vectors()


def test_a_caller_who_wants_an_end_gets_it(make_reader):
    def cancel(stage: str, done: int, total: int, skipped: int = 0) -> None:
        assert stage == "reading"
        raise JobCancelled

    with pytest.raises(JobCancelled):
        make_reader().list(cancel)


def test_progress_ends_at_the_number_of_items(make_reader):
    seen = []
    make_reader().list(lambda stage, done, total, skipped=0: seen.append((stage, done, total)))
    assert seen[-1] == ("reading", len(NAMES), len(NAMES))


def test_an_archive_is_read_from_its_blobs_by_a_later_process(zipped, picture, tmp_path):
    archive = zipped(("a.png", picture()))
    ArchiveReader(archive, tmp_path / "ds", Limits()).list(silent)
    archive.unlink()
    assert ArchiveReader(None, tmp_path / "ds", Limits()).read("a.png", hashlib.sha256(picture()).digest()) == picture()
    shutil.rmtree(tmp_path / "ds" / "blobs")
    with pytest.raises(ItemError, match="UNREADABLE"):
        ArchiveReader(None, tmp_path / "ds", Limits()).read("a.png", hashlib.sha256(picture()).digest())


def test_a_blob_that_was_altered_is_not_the_sample_that_was_listed(zipped, picture, tmp_path):
    reader = ArchiveReader(zipped(("a.png", picture())), tmp_path / "ds", Limits())
    sample_id = reader.list(silent).ids[0].tobytes()
    (blob,) = (tmp_path / "ds" / "blobs").glob("*/*")
    blob.write_bytes(picture(1))
    with pytest.raises(ItemError, match="CONTENT_CHANGED"):
        reader.read("a.png", sample_id)


def test_a_full_disk_at_a_second_unpacking_takes_nothing_from_the_first(zipped, picture, tmp_path):
    archive = zipped(("a.png", picture()))
    sample_id = ArchiveReader(archive, tmp_path / "ds", Limits()).list(silent).ids[0].tobytes()
    second = ArchiveReader(archive, tmp_path / "ds", Limits())

    def full(*_progress, **_more):
        raise WorkerStorageFull("no room")

    with pytest.raises(WorkerStorageFull):
        second.list(full)
    assert second.read("a.png", sample_id) == picture()


@given(
    st.lists(st.tuples(st.text(max_size=5), st.binary(min_size=32, max_size=32)), max_size=30, unique_by=lambda x: x[0])
)
def test_the_listing_does_not_depend_on_the_order_of_finding(found):
    rows = [(path, digest, len(path)) for path, digest in found]
    shuffled = random.Random(0).sample(rows, len(rows))
    one, two = canonical(rows), canonical(shuffled)
    expected = sorted(rows, key=lambda row: (row[1], row[0]))
    assert one.paths == two.paths == [row[0] for row in expected]
    assert one.ids.tobytes() == two.ids.tobytes() == b"".join(row[1] for row in expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", True), ("a.JPEG", True), ("x/y.tiff", True), ("./a.gif", True), ("a.txt", False), ("jpg", False),
        (".a.jpg", False), (".git/a.jpg", False), ("a/.b/c.png", False), ("__MACOSX/a.png", False), ("a.svg", False),
    ],
)  # fmt: skip
def test_items_are_chosen_by_name(name, expected):
    assert is_picture(name) is expected


def test_the_package_hands_out_its_contract_and_nothing_more():
    import winnow.datasets

    for name in winnow.datasets.__all__:
        assert getattr(winnow.datasets, name).__name__ == name
    with pytest.raises(AttributeError):
        winnow.datasets.no_such_thing  # noqa: B018
