"""Object stores, against a real S3 server: what a listing costs, what outlives a kill, what happens to each object."""

import hashlib
import os
import shutil
import time

import pytest

from winnow.connections import Connection
from winnow.datasets import Limits
from winnow.datasets.ahead import read_ahead
from winnow.datasets.objects import ObjectsReader
from winnow.datasets.stores import base as stores
from winnow.datasets.stores import s3
from winnow.datasets.stores.base import Found, Stamp
from winnow.errors import (
    ConnectionBroken,
    ItemError,
    JobCancelled,
    SourceGone,
    StoreDriverMissing,
    StoreRefused,
    StoreUnreachable,
    TooManyItems,
)
from winnow.results import silent

DEFAULTS = Limits()


@pytest.fixture
def make_reader(bucket, tmp_path):
    def make(below="yard/", *, limits=DEFAULTS, patience_s=10.0, **changes):
        connection = Connection.model_validate(bucket.table(**changes))
        return ObjectsReader(connection, below, tmp_path / "ds", limits, patience_s=patience_s)

    return make


def code_of(reader, path, sample_id):
    with pytest.raises(ItemError) as refusal:
        reader.read(path, sample_id)
    return refusal.value.code


def ids(listing):
    return {path: row.tobytes() for path, row in zip(listing.paths, listing.ids, strict=True)}


def test_a_listing_reads_no_picture_and_equal_pictures_have_one_id(bucket, make_reader, picture):
    bucket.put({"yard/a.png": picture(1), "yard/sub/b.png": picture(1), "yard/c.png": picture(2), "else/d.png": b"x"})
    bucket.server.trouble()
    found = ids(make_reader().list(silent))
    assert bucket.server.calls() == {"list": 1}
    assert found.keys() == {"a.png", "sub/b.png", "c.png"}
    assert found["a.png"] == found["sub/b.png"] != found["c.png"]


def test_where_the_store_keeps_a_sha256_it_is_the_id_as_in_a_folder(bucket, make_reader, picture):
    bucket.put({"yard/a.png": picture()}, ChecksumAlgorithm="SHA256")
    reader = make_reader()
    found = ids(reader.list(silent))
    assert found == {"a.png": hashlib.sha256(picture()).digest()}
    assert reader.read("a.png", found["a.png"]) == picture()


class Liar:
    """A store that claims another's digest of what it holds."""

    def __init__(self, claimed: bytes, content: bytes) -> None:
        digests = {"sha256": hashlib.sha256(claimed).digest(), "md5": hashlib.md5(claimed).digest()}
        self.stamps = {f"yard/{kind}.png": Stamp(4, None, "1", **{kind: digests[kind]}) for kind in digests}
        self.content = content

    def page(self, prefix, after):
        return [Found(key, stamp) for key, stamp in self.stamps.items()], None

    def read(self, key, is_wanted, max_bytes):
        stores.check(self.stamps[key], is_wanted, max_bytes)
        return self.content


@pytest.mark.parametrize("name", ["sha256.png", "md5.png"])
def test_a_store_that_lies_about_its_digests_gives_nothing_under_anothers_id(tmp_path, name):
    table = {"protocol": "s3", "bucket": "pictures", "endpoint_url": "http://127.0.0.1:1", "anonymous": True}
    connection = Connection.model_validate(table)

    def make(content):
        return ObjectsReader(connection, "yard/", tmp_path / "ds", DEFAULTS, store=Liar(b"true", content))

    found = ids(make(b"true").list(silent))
    assert make(b"true").read(name, found[name]) == b"true"
    assert code_of(make(b"lies"), name, found[name]) == "CONTENT_CHANGED"


def test_an_etag_means_nothing_in_another_bucket_and_a_sha256_everywhere(bucket, make_reader, tmp_path):
    other = f"{bucket.name}-other"
    bucket.server.client.create_bucket(Bucket=other)
    listed = []
    for name in (bucket.name, other):
        bucket.server.put(name, {"yard/tag.png": b"x"})
        bucket.server.put(name, {"yard/sha256.png": b"y"}, ChecksumAlgorithm="SHA256")
        listed.append(ids(make_reader(bucket=name).list(silent)))
        shutil.rmtree(tmp_path / "ds")
    here, there = listed
    assert here["tag.png"] != there["tag.png"]
    assert here["sha256.png"] == there["sha256.png"]


def test_2500_objects_come_in_three_pages(bucket, make_reader):
    bucket.put({f"yard/{number:05d}.png": b"%d" % number for number in range(2500)} | {"yard/notes.txt": b"x"})
    bucket.server.trouble()
    seen = []
    listing = make_reader().list(lambda stage, done, total, skipped=0: seen.append((stage, done, total)))
    assert sorted(listing.paths) == [f"{number:05d}.png" for number in range(2500)]
    assert bucket.server.calls() == {"list": 3}
    assert seen == [("reading", 1000, 0), ("reading", 2000, 0), ("reading", 2500, 0), ("reading", 2500, 2500)]


def test_a_listing_that_is_stopped_goes_on_where_it_was(bucket, make_reader, monkeypatch):
    monkeypatch.setattr(s3, "PAGE", 10)
    bucket.put({f"yard/{number:05d}.png": b"%d" % number for number in range(25)})
    bucket.server.trouble()

    def stop(stage, done, total, skipped=0):
        if done == 20:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        make_reader().list(stop)
    assert bucket.server.calls() == {"list": 2}
    bucket.server.trouble()
    listing = make_reader().list(silent)
    assert bucket.server.calls() == {"list": 1}
    assert len(set(listing.paths)) == 25


def test_what_was_listed_a_day_ago_is_listed_anew(bucket, make_reader, tmp_path):
    bucket.put({"yard/a.png": b"x"})
    make_reader().list(silent)
    bucket.put({"yard/b.png": b"x"})
    assert make_reader().list(silent).paths == ["a.png"]
    for page in (tmp_path / "ds" / "pages").iterdir():
        os.utime(page, (0, 0))
    assert make_reader().list(silent).paths == ["a.png", "b.png"]


def test_an_object_with_a_sha256_that_may_not_be_looked_at_is_listed_all_the_same(bucket, make_reader):
    bucket.put({"yard/a.png": b"x", "yard/b.png": b"y"}, ChecksumAlgorithm="SHA256")
    bucket.server.trouble(heads={"yard/a.png": "AccessDenied"})
    found = ids(make_reader().list(silent))
    assert found["b.png"] == hashlib.sha256(b"y").digest()
    assert found["a.png"] != hashlib.sha256(b"x").digest()
    assert make_reader().read("a.png", found["a.png"]) == b"x"


def test_a_listing_that_was_refused_begins_anew(bucket, make_reader):
    bucket.put({f"yard/{number}.png": b"x" for number in range(5)})
    with pytest.raises(TooManyItems):
        make_reader(limits=Limits(max_items=4)).list(silent)
    bucket.delete("yard/0.png")
    assert sorted(make_reader().list(silent).paths) == ["1.png", "2.png", "3.png", "4.png"]


def test_each_object_meets_its_own_fate(bucket, make_reader, picture):
    names = ["good", "overwritten", "deleted", "forbidden", "failing", "sealed"]
    bucket.put({f"yard/{name}.png": picture(number) for number, name in enumerate(names)})
    reader = make_reader(patience_s=0.5)
    found = ids(reader.list(silent))
    bucket.put({"yard/overwritten.png": picture(77)})
    bucket.delete("yard/deleted.png")
    bucket.server.trouble(
        objects={
            "yard/forbidden.png": "AccessDenied",
            "yard/failing.png": "InternalError",
            "yard/sealed.png": "InvalidRequest",
        }
    )
    assert reader.read("good.png", found["good.png"]) == picture(0)
    expected = {
        "overwritten": "CONTENT_CHANGED",
        "deleted": "UNREADABLE",
        "forbidden": "FORBIDDEN",
        "failing": "UNREADABLE",
        "sealed": "UNREADABLE",  # with a key of its own, which we do not have
    }
    assert {name: code_of(reader, f"{name}.png", found[f"{name}.png"]) for name in expected} == expected


def test_an_object_written_in_parts_is_read_and_noticed_when_overwritten(bucket, make_reader, picture):
    client, place = bucket.server.client, {"Bucket": bucket.name, "Key": "yard/big.png"}
    upload = client.create_multipart_upload(**place)["UploadId"]
    parts = [picture(1).ljust(5 << 20, b"\0"), b"tail"]
    tags = [
        client.upload_part(**place, UploadId=upload, PartNumber=number, Body=part)["ETag"]
        for number, part in enumerate(parts, 1)
    ]
    told = {"Parts": [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]}
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=told)
    reader = make_reader()
    found = ids(reader.list(silent))
    assert reader.read("big.png", found["big.png"]) == b"".join(parts)
    bucket.put({"yard/big.png": picture(2)})
    assert code_of(reader, "big.png", found["big.png"]) == "CONTENT_CHANGED"


def test_what_is_too_large_or_no_path_is_set_aside_as_it_is_listed(bucket, make_reader):
    bucket.put({"yard/big.png": bytes(2000), "yard/ok.png": b"x", "yard//up.png": b"x"})
    listing = make_reader(limits=Limits(max_item_bytes=1000)).list(silent)
    assert listing.paths == ["ok.png"]
    codes = {failure.path: failure.code for failure in listing.failures}
    assert codes == {
        "big.png": "FILE_TOO_LARGE",
        "/up.png": "NAME_NOT_A_PATH",
    }


def test_an_object_that_grew_is_not_read(bucket, make_reader, monkeypatch):
    bucket.put({"yard/a.png": b"x"})
    reader = make_reader(limits=Limits(max_item_bytes=1000))
    sample_id = ids(reader.list(silent))["a.png"]
    bucket.put({"yard/a.png": bytes(2000)})
    assert code_of(reader, "a.png", sample_id) == "CONTENT_CHANGED"


@pytest.mark.parametrize(
    ("root", "prefix", "expected"),
    [
        ("", "yard/2026/", ["a.png", "sub/b.png"]),
        ("", "yard/20", ["2026/a.png", "2026/sub/b.png"]),
        ("", "", ["yard-2/c.png", "yard/2026/a.png", "yard/2026/sub/b.png"]),
        ("yard", "", ["2026/a.png", "2026/sub/b.png"]),
        ("yard/", "2026/s", ["sub/b.png"]),
    ],
)
def test_paths_begin_behind_the_last_whole_folder_of_the_prefix(bucket, make_reader, root, prefix, expected):
    bucket.put(dict.fromkeys(("yard/2026/a.png", "yard/2026/sub/b.png", "yard-2/c.png"), b"x"))
    reader = make_reader(prefix, prefix=root)
    found = ids(reader.list(silent))
    assert sorted(found) == expected
    assert all(reader.read(path, sample_id) == b"x" for path, sample_id in found.items())


def test_a_store_that_throttles_is_waited_for(bucket, make_reader):
    bucket.put({"yard/a.png": b"x"})
    bucket.server.trouble(failing=3)
    reader = make_reader()
    found = ids(reader.list(silent))
    bucket.server.trouble(failing=3)
    assert reader.read("a.png", found["a.png"]) == b"x"


def test_a_store_that_keeps_failing_is_given_up_in_the_time_it_was_given(bucket, make_reader, tmp_path):
    bucket.put({"yard/a.png": b"x"})
    reader = make_reader(patience_s=1.0)
    found = ids(reader.list(silent))
    shutil.rmtree(tmp_path / "ds")  # or the listing would be there already
    bucket.server.trouble(failing=10**6)
    began = time.monotonic()
    for call in (lambda: reader.list(silent), lambda: reader.read("a.png", found["a.png"])):
        with pytest.raises(StoreUnreachable) as refusal:
            call()
        assert refusal.value.transient
    assert time.monotonic() - began < 8


def test_a_store_that_is_not_there_is_tried_again_later(make_reader):
    with pytest.raises(StoreUnreachable):
        make_reader(patience_s=0.5, endpoint_url="http://127.0.0.1:1").list(silent)


@pytest.mark.parametrize("answer", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"])
def test_credentials_the_store_refuses_end_the_listing(bucket, make_reader, answer):
    bucket.server.trouble(all=answer)
    with pytest.raises(StoreRefused):
        make_reader().list(silent)


def test_credentials_that_are_taken_back_end_the_job_not_the_items(bucket, make_reader):
    bucket.put({"yard/a.png": b"x"})
    reader = make_reader()
    found = ids(reader.list(silent))
    bucket.server.trouble(all="InvalidAccessKeyId")
    with pytest.raises(StoreRefused):
        reader.read("a.png", found["a.png"])


def test_a_bucket_that_is_not_there_is_said_to_be_missing(make_reader):
    with pytest.raises(SourceGone):
        make_reader(bucket="no-such-bucket").list(silent)


def test_reads_overlap_and_keep_their_order(bucket, make_reader, picture):
    bucket.put({f"yard/{number:03d}.png": picture(number) for number in range(48)})
    reader = make_reader()
    found = ids(reader.list(silent))
    bucket.server.trouble(delay_s=0.1)
    began = time.monotonic()
    answers = list(read_ahead(lambda path: reader.read(path, found[path]), sorted(found), at_once=reader.reads_at_once))
    assert time.monotonic() - began < 48 * 0.1 / 2
    assert [path for path, _ in answers] == sorted(found)
    assert [content for _, content in answers] == [picture(number) for number in range(48)]


def test_no_secret_is_in_what_a_refusal_says(bucket, make_reader):
    bucket.server.trouble(all="SignatureDoesNotMatch")
    with pytest.raises(StoreRefused) as refusal:
        make_reader().list(silent)
    told = str(refusal.value) + repr(refusal.value)
    assert bucket.server.SECRET not in told
    assert bucket.server.KEY not in told


def test_a_driver_that_is_not_installed_is_named(bucket, make_reader, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(stores, "import_module", absent)
    with pytest.raises(StoreDriverMissing, match=r"pip install 'winnow\[s3\]'"):
        make_reader()


def test_credentials_that_cannot_be_read_are_said_to_be_missing(make_reader, tmp_path):
    for text in ("{}", "[1]", "not json", '{"key": "only"}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ConnectionBroken) as refusal:
            make_reader(credentials_file=str(tmp_path / "bad.json"))
        assert str(tmp_path) not in refusal.value.detail
    with pytest.raises(ConnectionBroken):
        make_reader(credentials_file=str(tmp_path / "none.json"))
