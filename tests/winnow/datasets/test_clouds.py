"""Google's and Azure's stores, through their real drivers, against a server that speaks as much of them as is used.

Skipped where the drivers are not installed: `pip install -e '.[gcs,azure]'`.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from winnow.connections import Connection
from winnow.datasets import Limits
from winnow.datasets.objects import ObjectsReader
from winnow.datasets.stores import azure, gcs
from winnow.errors import ConnectionBroken, ItemError, SourceGone, StoreRefused
from winnow.results import silent

PAGE = 2


class Cloud:
    """Objects by key, each writing a new version; `refused` maps a key, or "" for all, to a status."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.refused: dict[str, int] = {}
        self.asked: list[str] = []
        self._version = 1000
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                answer = outer.google if parts.path.startswith("/storage/v1/") else outer.azure
                status, headers, body = answer(parts.path, query, self.headers)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def put(self, **objects: bytes) -> None:
        for name, content in objects.items():
            self._version += 1
            self.objects[f"yard/{name}.png"] = (content, self._version)

    def remove(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def google(self, path, query, _headers):
        key = unquote(path.partition("/o/")[2])
        status = self.refused.get(key, self.refused.get("", 200))
        if status == 200 and (path.split("/")[4] != "pictures" or (key and key not in self.objects)):
            status = 404
        if status != 200:
            return status, {}, json.dumps({"error": {"code": status, "message": "no"}}).encode()
        if not key:
            return 200, {}, self._google_page(query)
        if query.get("alt") == "media":
            content, version = self.objects[key]
            return (200, {}, content) if query["ifGenerationMatch"] == str(version) else (412, {}, b"")
        return 200, {}, json.dumps(self._google_item(key)).encode()

    def _google_page(self, query) -> bytes:
        keys = sorted(
            key for key in self.objects if key.startswith(query["prefix"]) and key >= query.get("startOffset", "")
        )
        more = {"nextPageToken": "x"} if len(keys) > PAGE else {}
        return json.dumps({"items": [self._google_item(key) for key in keys[:PAGE]]} | more).encode()

    def _google_item(self, key):
        content, version = self.objects[key]
        md5 = {} if "composed" in key else {"md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode()}
        if "packed" in key:  # by its writer, and unpacked by Google's client: the MD5 is of what is stored
            md5 = {"md5Hash": base64.b64encode(bytes(16)).decode(), "contentEncoding": "gzip"}
        return {"name": key, "size": str(len(content)), "generation": str(version), **md5}

    def azure(self, path, query, headers):
        key = unquote(path).split("/", 3)[3] if path.count("/") > 2 else ""
        status = self.refused.get(key, self.refused.get("", 200))
        if path.split("/")[2] != "pictures":
            return self._azure_error(404, "ContainerNotFound")
        if status != 200:
            return self._azure_error(status, "AuthenticationFailed" if not key else "AuthorizationFailure")
        if not key:
            return 200, {"Content-Type": "application/xml"}, self._azure_page(query)
        if key not in self.objects:
            return self._azure_error(404, "BlobNotFound")
        content, version = self.objects[key]
        size = len(content)
        tags = {"ETag": f'"0x{version}"', "Content-Range": f"bytes 0-{size - 1}/{size}", "x-ms-blob-type": "BlockBlob"}
        return 206, tags | {"Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT"}, content

    def _azure_error(self, status, code):
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        return status, {"x-ms-error-code": code, "Content-Type": "application/xml"}, body

    def _azure_page(self, query) -> bytes:
        keys = sorted(key for key in self.objects if key.startswith(query.get("prefix", "")))
        begin = int(query.get("marker", 0))
        blobs = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties><Etag>0x{self.objects[key][1]}</Etag>"
            f"<Content-Length>{len(self.objects[key][0])}</Content-Length><BlobType>BlockBlob</BlobType>"
            "<Last-Modified>Sat, 21 Nov 2026 10:00:00 GMT</Last-Modified></Properties></Blob>"
            for key in keys[begin : begin + PAGE]
        )
        marker = str(begin + PAGE) if begin + PAGE < len(keys) else ""
        return (
            "<?xml version='1.0' encoding='utf-8'?><EnumerationResults ServiceEndpoint='x' ContainerName='pictures'>"
            f"<Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
        ).encode()


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.remove()


@pytest.fixture(params=["gcs", "azure"])
def make_reader(request, cloud, tmp_path, monkeypatch):
    driver = {"gcs": "gcsfs", "azure": "adlfs"}[request.param]
    pytest.importorskip(driver, reason=f"{driver} is not installed: pip install winnow[{request.param}]")
    monkeypatch.setattr({"gcs": gcs, "azure": azure}[request.param], "PAGE", PAGE)
    (tmp_path / "key.json").write_text(json.dumps({"account_key": base64.b64encode(b"canary").decode()}))
    own = {"gcs": {"anonymous": True}, "azure": {"account": "yard", "credentials_file": str(tmp_path / "key.json")}}
    endpoint = {"gcs": cloud.url, "azure": f"{cloud.url}/yard"}

    def make(bucket="pictures"):
        table = {"protocol": request.param, "bucket": bucket, "endpoint_url": endpoint[request.param]}
        connection = Connection.model_validate(table | own[request.param])
        return ObjectsReader(connection, "yard/", tmp_path / "ds", Limits(max_item_bytes=1000), patience_s=0.5)

    make.protocol = request.param
    return make


def ids(listing):
    return {path: row.tobytes() for path, row in zip(listing.paths, listing.ids, strict=True)}


def test_a_prefix_is_listed_page_by_page_and_read_back(cloud, make_reader):
    cloud.put(a=b"1", b=b"22", c=b"1", d=b"4", composed=b"1", packed=b"1", large=bytes(2000))
    cloud.objects["else/x.png"] = (b"x", 1)
    reader = make_reader()
    listing = reader.list(silent)
    found = ids(listing)
    assert sorted(found) == ["a.png", "b.png", "c.png", "composed.png", "d.png", "packed.png"]
    assert [(failure.path, failure.code) for failure in listing.failures] == [("large.png", "FILE_TOO_LARGE")]
    assert {path: reader.read(path, found[path]) for path in found} == {
        "a.png": b"1", "b.png": b"22", "c.png": b"1", "composed.png": b"1", "d.png": b"4", "packed.png": b"1",
    }  # fmt: skip
    assert (found["a.png"] == found["c.png"]) is (make_reader.protocol == "gcs")
    assert found["a.png"] != found["composed.png"]


def test_each_object_meets_its_own_fate(cloud, make_reader):
    cloud.put(good=b"1", overwritten=b"2", deleted=b"3", forbidden=b"4")
    reader = make_reader()
    found = ids(reader.list(silent))
    cloud.put(overwritten=b"9")
    del cloud.objects["yard/deleted.png"]
    cloud.refused["yard/forbidden.png"] = 403
    codes = {}
    for name in ("overwritten", "deleted", "forbidden"):
        with pytest.raises(ItemError) as refusal:
            reader.read(f"{name}.png", found[f"{name}.png"])
        codes[name] = refusal.value.code
    assert codes == {"overwritten": "CONTENT_CHANGED", "deleted": "UNREADABLE", "forbidden": "FORBIDDEN"}
    assert reader.read("good.png", found["good.png"]) == b"1"


def test_refused_credentials_and_a_missing_bucket_end_the_listing(cloud, make_reader):
    with pytest.raises(SourceGone):
        make_reader("elsewhere").list(silent)
    cloud.refused[""] = 403
    with pytest.raises(StoreRefused):
        make_reader().list(silent)


def test_credentials_that_make_no_sense_are_said_to(make_reader, tmp_path):
    table = {"protocol": make_reader.protocol, "bucket": "pictures", "account": "yard"}
    (tmp_path / "bad.json").write_text('{"connection_string": "nonsense", "type": "nonsense"}')
    with pytest.raises(ConnectionBroken) as refusal:
        ObjectsReader(
            Connection.model_validate(table | {"credentials_file": str(tmp_path / "bad.json")}),
            "",
            tmp_path / "ds",
            Limits(),
        )
    assert "nonsense" not in refusal.value.detail
