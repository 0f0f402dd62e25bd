"""Lists of URLs: fetched once, kept, named harmlessly, resumed after a kill; each URL meets its own fate."""

import hashlib
import time

import pytest

from winnow.datasets import Limits
from winnow.datasets.urls import UrlsReader
from winnow.errors import DatasetEmpty, JobCancelled, SourceGone, SourceTooLarge, TooManyItems
from winnow.results import silent

DEFAULTS = Limits()


@pytest.fixture
def make_reader(site, tmp_path):
    def make(paths, *, limits=DEFAULTS, **more):
        (tmp_path / "up").write_text("\n".join(site.url + path for path in paths))
        return UrlsReader(tmp_path / "up", tmp_path / "ds", site.rules, limits, **more)

    return make


def test_a_url_is_fetched_once_and_later_changes_are_not_seen(site, make_reader, picture):
    site.pages = {"/a.png": picture(1), "/b.png": picture(1)}
    listing = make_reader(["/a.png", "/b.png", "/a.png"]).list(silent)
    assert listing.paths == ["127.0.0.1/a.png", "127.0.0.1/a~2.png", "127.0.0.1/b.png"]
    assert {row.tobytes() for row in listing.ids} == {hashlib.sha256(picture(1)).digest()}
    assert site.asked == {"/a.png": 1, "/b.png": 1}
    site.pages["/a.png"] = picture(2)
    reader = make_reader(["/a.png", "/b.png", "/a.png"])
    assert reader.read("127.0.0.1/a.png", listing.ids[0].tobytes()) == picture(1)
    assert site.asked["/a.png"] == 1


def test_each_url_meets_its_own_fate(site, make_reader):
    site.pages = {
        "/ok.png": b"x", "/moved.png": "/ok.png", "/ring.png": "/ring.png", "/gone.png": 404, "/closed.png": 403,
        "/broken.png": 500, "/large.png": bytes(2000),
    }  # fmt: skip
    listing = make_reader([*site.pages, "/"], limits=Limits(max_item_bytes=1000)).list(silent)
    assert listing.paths == ["127.0.0.1/moved.png", "127.0.0.1/ok.png"]
    assert {failure.path.removeprefix("127.0.0.1/"): failure.code for failure in listing.failures} == {
        "ring.png": "FETCH_FAILED", "gone.png": "FETCH_FAILED", "closed.png": "FORBIDDEN",
        "broken.png": "FETCH_FAILED", "large.png": "FILE_TOO_LARGE", "item": "FETCH_FAILED",
    }  # fmt: skip
    assert site.asked["/broken.png"] == 3
    assert site.asked["/gone.png"] == 1


def test_a_site_that_is_busy_is_asked_again(site, make_reader):
    def busy_once(request):
        request.send_response(503 if site.asked["/a.png"] == 1 else 200)
        request.end_headers()
        request.wfile.write(b"x")

    site.pages = {"/a.png": busy_once}
    assert make_reader(["/a.png"]).list(silent).paths == ["127.0.0.1/a.png"]


def test_what_was_fetched_before_a_kill_is_not_fetched_again(site, make_reader):
    site.pages = {f"/{number}.png": b"%d" % number for number in range(100)}

    def stop(stage, done, total, skipped=0):
        if done >= 40:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        make_reader(site.pages).list(stop)
    assert 40 <= sum(site.asked.values()) < 100
    seen = []
    listing = make_reader(site.pages).list(lambda *said: seen.append(said))
    assert len(listing) == 100
    assert max(site.asked.values()) == 1
    assert seen[0][1] >= 40


def test_a_journal_cut_in_the_middle_of_a_line_and_a_lost_blob_cost_their_urls_alone(site, make_reader, tmp_path):
    site.pages = {f"/{number}.png": b"%d" % number for number in range(9)}
    make_reader(site.pages).list(silent)
    journal = tmp_path / "ds" / "fetched.jsonl"
    journal.write_text(journal.read_text()[:-20])
    lost = hashlib.sha256(b"4").hexdigest()
    (tmp_path / "ds" / "blobs" / lost[:2] / lost).write_bytes(b"")
    listing = make_reader(site.pages).list(silent)
    assert len(listing) == 9
    assert listing.failures == []
    assert 10 <= sum(site.asked.values()) <= 11


def test_fetches_overlap(site, make_reader):
    def slow(request):
        time.sleep(0.2)
        request.send_response(200)
        request.end_headers()
        request.wfile.write(request.path.encode())

    site.pages = {f"/{number}.png": slow for number in range(32)}
    began = time.monotonic()
    assert len(make_reader(site.pages).list(silent)) == 32
    assert time.monotonic() - began < 32 * 0.2 / 2


def test_names_are_harmless_and_never_tell_a_query(site, make_reader, tmp_path):
    paths = [
        "/a%2F..%2F..%2Fetc/x.png",
        "/../../up.png",
        "/b/%00%0A%3Ci%3E.png",
        "/" + "n" * 300 + ".png",
        "/p.png?sig=canary",
    ]
    site.pages = {path: path.encode() for path in paths}
    listing = make_reader(paths).list(silent)
    assert listing.failures == []
    for path in listing.paths:
        assert path.startswith("127.0.0.1/")
        assert not {"..", "."} & set(path.split("/"))
        assert all(letter.isalnum() or letter in "._~=+-/" for letter in path)
        assert len(path) < 200
    assert "127.0.0.1/p.png" in listing.paths
    assert b"canary" not in (tmp_path / "ds" / "fetched.jsonl").read_bytes()


def test_a_second_listing_that_finds_less_takes_nothing_from_the_first(site, make_reader, tmp_path):
    site.pages = {"/a.png": b"a", "/b.png": b"b"}
    first = make_reader(["/a.png", "/b.png"]).list(silent)
    (tmp_path / "ds" / "fetched.jsonl").unlink()  # as if both had begun at one time
    site.pages = {"/a.png": b"another", "/b.png": 404}
    second = make_reader(["/a.png", "/b.png"])
    assert len(second.list(silent)) == 1
    found = [second.read(*sample) for sample in zip(first.paths, map(bytes, first.ids), strict=True)]
    assert sorted(found) == [b"a", b"b"]


def test_an_uploaded_list_may_have_empty_lines_and_any_line_ends(site, tmp_path):
    site.pages = {"/a.png": b"a", "/b.png": b"b"}
    (tmp_path / "up").write_bytes(b"\xef\xbb\xbf" + f"{site.url}/a.png\r\n\n  {site.url}/b.png".encode())
    listing = UrlsReader(tmp_path / "up", tmp_path / "ds", site.rules, DEFAULTS).list(silent)
    assert sorted(listing.paths) == ["127.0.0.1/a.png", "127.0.0.1/b.png"]


def test_an_uploaded_file_that_is_no_list_fails_line_by_line(site, tmp_path):
    (tmp_path / "up").write_bytes(bytes(range(256)) * 200)
    listing = UrlsReader(tmp_path / "up", tmp_path / "ds", site.rules, DEFAULTS).list(silent)
    assert not listing.paths
    assert {failure.code for failure in listing.failures} == {"URL_NOT_ALLOWED"}


def test_an_upload_that_is_gone_is_said_to_be_gone(site, tmp_path):
    with pytest.raises(SourceGone):
        UrlsReader(None, tmp_path / "ds", site.rules, DEFAULTS).list(silent)


def test_bounds_hold_for_the_whole_list(site, make_reader, tmp_path):
    site.pages = {f"/{number}.png": bytes([number]) * 1000 for number in range(5)}
    with pytest.raises(TooManyItems):
        make_reader(site.pages, limits=Limits(max_items=4)).list(silent)
    with pytest.raises(SourceTooLarge):
        make_reader(site.pages, limits=Limits(max_archive_bytes=3000)).list(silent)
    assert not list((tmp_path / "ds").glob("blobs/*/*"))
    with pytest.raises(DatasetEmpty):
        make_reader([]).list(silent)


def test_a_connection_that_breaks_before_the_first_byte_is_tried_again_and_after_it_is_not(site, make_reader):
    def broken(request):
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")

    def broken_once(request):
        if site.asked["/a.png"] > 1:
            request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")

    site.pages = {"/a.png": broken_once, "/b.png": broken}
    listing = make_reader(site.pages).list(silent)
    assert listing.paths == ["127.0.0.1/a.png"]
    assert [failure.code for failure in listing.failures] == ["FETCH_FAILED"]
    assert site.asked == {"/a.png": 2, "/b.png": 1}


def test_a_name_that_leads_nowhere_is_a_failed_fetch(site, tmp_path):
    (tmp_path / "up").write_text("http://no-such-host.invalid/x.png")
    listing = UrlsReader(tmp_path / "up", tmp_path / "ds", site.rules, DEFAULTS).list(silent)
    assert [failure.code for failure in listing.failures] == ["FETCH_FAILED"]
