"""Hostile words about places on the network: object stores (P5, P6, P7) and URLs (S), one test an attack."""

import gzip
import itertools
import socket
import ssl
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpcore
import pytest
from site_server import Site

from winnow.connections import load_connections
from winnow.datasets.addresses import UrlRules
from winnow.datasets.allowed import Remote, check_source
from winnow.datasets.fetch import Fetcher
from winnow.errors import ConnectionBroken, ItemError, UrlNotAllowed
from winnow.spec import UrlsSource

RULES = UrlRules(own_names=frozenset({"winnow.example.com"}), own_addresses=frozenset({"8.8.4.4"}))
DAY = timedelta(days=1)
PUBLIC = "93.184.216.34"


# --- P: object stores ------------------------------------------------------------------------------


@pytest.fixture
def stores(make_api, tmp_path):
    """An API with two connections, one of them another tenant's."""
    file = tmp_path / "connections.toml"
    file.write_text(
        '[lake]\nprotocol = "s3"\nbucket = "pictures"\n'
        '[theirs]\nprotocol = "s3"\nbucket = "secret-bucket"\ntenants = ["stranger"]\n'
    )
    return make_api(connections=file)


def posted(api, **source):
    return api.http.post("/v1/datasets", json={"source": source})


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param("file:///etc", id="P5-file"),
        pytest.param("local:///etc", id="P5-local"),
        pytest.param("/etc/passwd", id="P5-bare-path"),
        pytest.param("simplecache::file:///etc", id="P5-simplecache"),
        pytest.param("zip://x.png::file:///a.zip", id="P5-zip"),
        pytest.param("memory://x", id="P5-memory"),
        pytest.param("s3://b/../../x", id="P5-s3-up"),
        pytest.param("../other", id="P5-up"),
        pytest.param("yard/../../x", id="P5-up-later"),
        pytest.param("yard/..", id="P5-up-last"),
        pytest.param("~root", id="P5-home"),
        pytest.param("a\\..\\b", id="P5-backslash"),
        pytest.param("a\r\nb", id="P5-line-break"),
        pytest.param("a\0b", id="P5-nul"),
    ],
)
def test_a_prefix_is_the_beginning_of_a_key_and_nothing_else(stores, prefix):
    answer = posted(stores, type="object_store", connection="lake", prefix=prefix)
    assert (answer.status_code, answer.json()["code"]) == (422, "SOURCE_NOT_ALLOWED")
    assert answer.json()["errors"][0]["pointer"] == "/source/prefix"


@pytest.mark.parametrize("connection", ["file:///etc", "s3://bucket", "../lake", "LAKE", "lake:x", "", "l" * 64])
def test_p5_a_connection_is_a_name(stores, connection):
    assert posted(stores, type="object_store", connection=connection).status_code == 422


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("endpoint_url", "http://169.254.169.254", id="P6-endpoint"),
        pytest.param("storage_options", {"anon": True}, id="P6-storage-options"),
        pytest.param("profile", "admin", id="P6-profile"),
        pytest.param("bucket", "other", id="P6-bucket"),
        pytest.param("path", "/etc", id="P6-path"),
        pytest.param("key", "AKIA", id="P6-key"),
    ],
)
def test_nothing_but_a_name_and_a_prefix_is_taken(stores, name, value):
    answer = posted(stores, type="object_store", connection="lake", **{name: value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/source/{name}"


def test_p7_a_connection_of_another_tenant_looks_like_none(stores):
    theirs = posted(stores, type="object_store", connection="theirs")
    none = posted(stores, type="object_store", connection="nowhere")
    bodies = [
        {name: value for name, value in answer.json().items() if name != "request_id"} for answer in (theirs, none)
    ]
    assert theirs.status_code == none.status_code == 422
    assert bodies[0] == bodies[1]
    assert "secret-bucket" not in theirs.text


def test_p7_a_connection_with_tenants_serves_them_alone(stores):
    stores.http.headers.update(stores.key("stranger", "read", "write"))
    assert posted(stores, type="object_store", connection="theirs").status_code == 202


def test_p6_an_answer_tells_of_a_connection_what_the_caller_said(stores):
    answer = posted(stores, type="object_store", connection="lake", prefix="yard/")
    assert answer.status_code == 202
    assert answer.json()["source"] == {"type": "object_store", "connection": "lake", "prefix": "yard/"}
    assert "pictures" not in answer.text


@pytest.mark.parametrize(
    "text",
    [
        '[lake]\nprotocol = "file"\nbucket = "x-x"\n',
        '[lake]\nprotocol = "s3"\nbucket = "x-x"\nsecret = "canary-1"\n',
        '[lake]\nprotocol = "s3"\nbucket = "x-x"\nendpoint_url = "http://user:canary-1@host"\n',
        '[lake]\nprotocol = "s3"\nbucket = "../x"\n',
        '[lake]\nprotocol = "s3"\nbucket = "x-x"\nanonymous = true\ncredentials_env = "LAKE"\n',
        '["a b"]\nprotocol = "s3"\nbucket = "x-x"\n',
        "[lake\ncanary-1",
    ],
)
def test_p6_a_list_of_connections_that_makes_no_sense_is_refused_without_its_secrets(tmp_path, text):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConnectionBroken, match="WINNOW_CONNECTIONS") as refusal:
        load_connections(tmp_path / "c.toml")
    assert "canary-1" not in str(refusal.value)


# --- S1: where a URL may lead ----------------------------------------------------------------------

INWARDS = [
    "127.0.0.1", "2130706433", "0x7f000001", "017700000001", "127.1", "0", "[::1]", "[::ffff:7f00:1]",
    "[::ffff:127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b::7f00:1]", "[::127.0.0.1]", "[2002:7f00:1::]", "[fec0::1]",
    "[fe80::1]", "[fe80::1%25lo]", "[fe80::1%1]", "169.254.169.254", "[fd00:ec2::254]", "168.63.129.16", "192.0.0.192",
    "100.100.100.200", "10.0.0.1", "172.16.0.1", "192.168.1.1", "224.0.0.1", "239.255.255.255", "255.255.255.255",
    "[ff02::1]", "[::]", "0.0.0.0", "localhost", "LOCALHOST", "localhost.", "x.localhost", "metadata.google.internal",
    "printer.local", "winnow.example.com", "8.8.4.4", "192.0.2.1", "198.18.0.1", "203.0.113.9", "[2001:db8::1]",
    "[2001::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", [pytest.param(host, id=f"S1-{host}") for host in INWARDS])
def test_a_url_that_leads_inwards_is_refused_when_it_is_given(host):
    source = UrlsSource(type="urls", urls=(f"https://{PUBLIC}/ok.png", f"http://{host}/x.png"))
    with pytest.raises(UrlNotAllowed) as refusal:
        check_source(source, (), Remote(urls=RULES))
    assert refusal.value.fields[0][0] == "/source/urls/1"
    assert host.strip("[]") not in refusal.value.detail


@pytest.mark.parametrize("host", [PUBLIC, "example.com", "[2606:2800:220:1:248:1893:25c8:1946]", "a-b.example.co.uk"])
def test_s1_a_url_on_the_public_internet_passes(host):
    check_source(UrlsSource(type="urls", urls=(f"https://{host}/x.png?y=1",)), (), Remote(urls=RULES))


@pytest.fixture
def resolver(monkeypatch):
    """Name servers that say what the test wants, and a network that only notes who was called."""
    said, called = {}, []
    honest = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, flags=0, **more):
        if flags & socket.AI_NUMERICHOST or host not in said:
            return honest(host, port, *arguments, flags=flags, **more)
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in place], socket.SOCK_STREAM, 6, "", (place, port)) for place in next(said[host])]

    def connect_tcp(self, host, port, *arguments, **more):
        called.append(host)
        raise httpcore.ConnectError

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect_tcp)
    return said, called


def code_of(url, rules=RULES, **more):
    with closing(Fetcher(rules, max_bytes=1 << 20, **more)) as fetcher, pytest.raises(ItemError) as refusal:
        list(fetcher.fetch(url))
    return refusal.value.code


@pytest.mark.parametrize(
    "host", [pytest.param(host, id=f"S1-{host}") for host in INWARDS if "::" in host or host[0].isdigit()]
)
def test_a_name_that_leads_inwards_is_refused_when_it_is_connected_to(resolver, host):
    said, called = resolver
    try:
        place = socket.getaddrinfo(host.strip("[]").replace("%25", "%"), None, flags=socket.AI_NUMERICHOST)[0][4][0]
    except OSError:
        pytest.skip("no such interface here")
    said["pictures.example.com"] = itertools.repeat([place])
    assert code_of("http://pictures.example.com/x.png") == "URL_NOT_ALLOWED"
    assert called == []


def test_s2_one_private_answer_among_public_ones_refuses_the_name(resolver):
    said, called = resolver
    said["pictures.example.com"] = itertools.repeat([PUBLIC, "10.0.0.1"])
    assert code_of("http://pictures.example.com/x.png") == "URL_NOT_ALLOWED"
    assert called == []


def test_s2_the_address_that_was_checked_is_the_one_connected_to(resolver):
    """The name server says a public address first and this machine ever after."""
    said, called = resolver
    said["pictures.example.com"] = itertools.chain([[PUBLIC]], itertools.repeat(["127.0.0.1"]))
    assert code_of("http://pictures.example.com/x.png") in {"FETCH_FAILED", "URL_NOT_ALLOWED"}
    assert called == [PUBLIC]


# --- S3: redirects ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "code"),
    [
        pytest.param("http://169.254.169.254/latest/meta-data/", "URL_NOT_ALLOWED", id="S3-metadata"),
        pytest.param("http://127.0.0.1:6379/", "URL_NOT_ALLOWED", id="S3-redis"),
        pytest.param("//[::1]/", "URL_NOT_ALLOWED", id="S3-scheme-relative"),
        pytest.param("file:///etc/passwd", "URL_NOT_ALLOWED", id="S3-file"),
        pytest.param("http://user:pw@93.184.216.34/", "URL_NOT_ALLOWED", id="S3-password"),
        pytest.param("http://93.184.216.34:22/", "URL_NOT_ALLOWED", id="S3-port"),
        pytest.param("/hop.png", "FETCH_FAILED", id="S3-ring"),
    ],
)
def test_every_hop_of_a_redirect_is_judged(site, target, code):
    site.pages = {"/hop.png": target}
    assert code_of(f"{site.url}/hop.png", site.rules) == code
    assert site.asked["/hop.png"] <= 4


def test_s3_three_redirects_are_followed_and_no_more(site):
    site.pages = {f"/{n}": f"/{n + 1}" for n in range(4)} | {"/4": b"x"}
    with closing(Fetcher(site.rules, max_bytes=10)) as fetcher:
        assert list(fetcher.fetch(f"{site.url}/1")) == [b"x"]
    assert code_of(f"{site.url}/0", site.rules) == "FETCH_FAILED"


# --- S4: what is no web page -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://example.com:22/x", id="S4-ssh"),
        pytest.param("http://example.com:6379/x", id="S4-redis"),
        pytest.param("http://example.com:5432/x", id="S4-postgres"),
        pytest.param("http://example.com:0/x", id="S4-port-0"),
        pytest.param("http://example.com:99999/x", id="S4-port-too-large"),
        pytest.param("gopher://example.com/x", id="S4-gopher"),
        pytest.param("ftp://example.com/x", id="S4-ftp"),
        pytest.param("file:///etc/passwd", id="S4-file"),
        pytest.param("data:image/png;base64,AAAA", id="S4-data"),
        pytest.param("//example.com/x", id="S4-no-scheme"),
        pytest.param("example.com/x.png", id="S4-no-url"),
        pytest.param("http://user:pw@example.com/x", id="S4-password"),
        pytest.param("http://user@example.com/x", id="S4-user"),
        pytest.param("http://example.com@127.0.0.1/x", id="S4-user-that-looks-like-a-host"),
        pytest.param("http://127.0.0.1\\@example.com/x", id="S4-backslash"),
        pytest.param("http://example.com/x\r\nHost: y", id="S4-line-break"),
        pytest.param("http://exam\tple.com/x", id="S4-tab"),
        pytest.param(" http://example.com/x", id="S4-space"),
        pytest.param("http:///x", id="S4-no-host"),
        pytest.param("http://exa_mple..com/", id="S4-dots"),
        pytest.param("http://127。0。0。1/x", id="S4-wide-dots"),
        pytest.param("http://\uff11\uff12\uff17.0.0.1/x", id="S4-wide-digits"),
        pytest.param("http://[::1/x", id="S4-open-bracket"),
        pytest.param("http://example.com/" + "x" * 2048, id="S4-too-long"),
    ],
)
def test_what_is_no_plain_url_is_refused_when_it_is_given_and_when_it_is_fetched(url):
    with pytest.raises(UrlNotAllowed):
        check_source(UrlsSource.model_construct(type="urls", urls=(url,), upload_id=None), (), Remote(urls=RULES))
    assert code_of(url) == "URL_NOT_ALLOWED"


def endless_headers(request):
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        request.wfile.write(b"X-More: " + b"x" * 8000 + b"\r\n")


def slow_headers(request):
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        request.wfile.write(b"X: y\r\n")
        time.sleep(0.2)


def endless_body(request):
    request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        request.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def dripping_body(request):
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        request.wfile.write(b"x")
        request.wfile.flush()
        time.sleep(0.1)


def silence(request):
    time.sleep(5)


def bomb(request):
    packed = gzip.compress(bytes(50 << 20))
    request.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    )


def ten_gigabytes(request):
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")


def cut_short(request):
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nxxx")


def no_http(request):
    request.wfile.write(b"220 mail.example.com ESMTP\r\n")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(endless_headers, "FETCH_FAILED", id="S4-endless-headers"),
        pytest.param(slow_headers, "FETCH_FAILED", id="S4-slow-headers"),
        pytest.param(endless_body, "FILE_TOO_LARGE", id="S4-endless-body"),
        pytest.param(dripping_body, "FETCH_FAILED", id="S4-a-byte-at-a-time"),
        pytest.param(silence, "FETCH_FAILED", id="S4-silence"),
        pytest.param(bomb, "FETCH_FAILED", id="S4-gzip-bomb"),
        pytest.param(ten_gigabytes, "FILE_TOO_LARGE", id="S4-ten-gigabytes"),
        pytest.param(cut_short, "FETCH_FAILED", id="S4-cut-short"),
        pytest.param(no_http, "FETCH_FAILED", id="S4-no-http"),
    ],
)
def test_an_answer_without_end_costs_one_item_and_bounded_time(site, answer, code):
    site.pages = {"/x.png": answer}
    began = time.monotonic()
    assert code_of(f"{site.url}/x.png", site.rules, item_limit_s=1.0) == code
    assert time.monotonic() - began < 3


def test_s4_lists_of_urls_are_off_unless_the_operator_says_so(make_api):
    answer = posted(make_api(), type="urls", urls=["https://example.com/x.png"])
    assert (answer.status_code, answer.json()["code"]) == (422, "SOURCE_NOT_ALLOWED")


def test_s1_the_refusal_over_http_says_which_url(make_api):
    answer = posted(make_api(allow_urls=True), type="urls", urls=["https://example.com/x.png", "http://127.0.0.1/"])
    assert (answer.status_code, answer.json()["code"]) == (422, "URL_NOT_ALLOWED")
    assert answer.json()["errors"][0]["pointer"] == "/source/urls/1"
    assert "127.0.0.1" not in answer.text


def test_s4_ten_thousand_urls_at_most_are_taken_inline(make_api):
    api = make_api(allow_urls=True)
    assert posted(api, type="urls", urls=["https://e.com/"] * 10_000).status_code == 202
    assert posted(api, type="urls", urls=["https://e.com/"] * 10_001).status_code == 400
    assert posted(api, type="urls", urls=[]).status_code == 422
    assert posted(api, type="urls", urls=["https://e.com/"], upload_id="up_" + "0" * 32).status_code == 422


def test_a_list_given_inline_becomes_an_upload_and_is_in_no_answer(make_api):
    api = make_api(allow_urls=True)
    made = posted(api, type="urls", urls=["https://example.com/x.png?signature=canary"] * 3)
    upload_id = made.json()["source"]["upload_id"]
    listed, upload = api.http.get("/v1/datasets"), api.http.get(f"/v1/uploads/{upload_id}")
    assert upload.json()["state"] == "complete"
    assert api.http.delete(f"/v1/uploads/{upload_id}").status_code == 409
    assert not [answer for answer in (made, listed, upload) if "canary" in answer.text]


@pytest.fixture
def secure_site(tmp_path, monkeypatch):
    """A site with a certificate for pictures.example.com, which lies here whatever the name."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("pictures.example.com")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + DAY)
    certificate = builder.add_extension(names, critical=True).sign(key, hashes.SHA256())
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none)
    (tmp_path / "site.pem").write_bytes(private + certificate.public_bytes(pem))
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(tmp_path / "site.pem")
    site = Site(tls=theirs)
    honest = socket.getaddrinfo

    def here(host, *arguments, **more):
        return honest("127.0.0.1" if str(host).endswith("example.com") else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    yield site, ssl.create_default_context(cafile=tmp_path / "site.pem")
    site.remove()


@pytest.mark.parametrize(
    ("host", "knows_it", "expected"),
    [
        pytest.param("pictures.example.com", True, b"x", id="S2-the-right-name"),
        pytest.param("other.example.com", True, "FETCH_FAILED", id="S2-a-certificate-of-another"),
        pytest.param("pictures.example.com", False, "FETCH_FAILED", id="S2-a-certificate-nobody-vouches-for"),
    ],
)
def test_a_certificate_is_held_against_the_url_s_name_not_the_address(secure_site, host, knows_it, expected):
    site, ours = secure_site
    site.pages = {"/x.png": b"x"}
    rules = UrlRules(private=frozenset({(host, site.port)}))
    with closing(Fetcher(rules, max_bytes=10, tls=ours if knows_it else None)) as fetcher:
        try:
            told = b"".join(fetcher.fetch(f"https://{host}:{site.port}/x.png"))
        except ItemError as error:
            told = error.code
    assert told == expected
