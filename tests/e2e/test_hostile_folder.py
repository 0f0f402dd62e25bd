"""Five hundred hostile files among five thousand: each is listed with its code, and the rest is selected."""

import os
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

GOOD, OF_EACH = 4500, 50


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge(number):
    head = struct.pack(">IIBBBBB", 60_000 + number, 65_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


CONTENTS = {
    "nothing but a start": (lambda n: b"\xff\xd8\xff" + n, "DECODE_FAILED"),
    "noise in png's clothes": (lambda n: b"\x89PNG\r\n\x1a\n" + n * 200, "DECODE_FAILED"),
    "words": (lambda n: b"not a picture " + n, "UNSUPPORTED_FORMAT"),
    "svg": (lambda n: b"<svg><image href='file:///etc/passwd'/></svg>" + n, "UNSUPPORTED_FORMAT"),
    "eps": (lambda n: b"%!PS-Adobe-3.0 EPSF-3.0\n(%stdout) (w) file\n" + n, "UNSUPPORTED_FORMAT"),
    "bomb": (lambda n: huge(int(n)), "IMAGE_TOO_LARGE"),
}


def cut_off(number):
    pixels = np.random.default_rng([7, number]).integers(0, 255, (40, 40, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path):
    """What is hostile, by its code; everything else is a picture of its own."""
    folder = tmp_path / "pictures"
    (tmp_path / "secret.png").write_bytes(b"secret")
    folder.mkdir()
    for number in range(GOOD):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"good-{number:04d}.png")
    for number in range(OF_EACH):
        for kind, (content, _) in CONTENTS.items():
            (folder / f"{kind} {number}.png").write_bytes(content(b"%d" % number))
        cut_off(number).save(folder / f"cut {number}.png")
        os.truncate(folder / f"cut {number}.png", 900)
        (folder / f"link {number}.png").symlink_to(tmp_path / "secret.png")
        os.mkfifo(folder / f"pipe {number}.png")
        (folder / os.fsdecode(b"\xff%d.png" % number)).write_bytes(b"x")
    return folder


def test_every_hostile_file_is_named_and_the_rest_is_selected(service, folder):
    job = service.http.post(
        "/v1/jobs",
        json={
            "dataset": {"source": {"type": "folder", "path": str(folder)}},
            "encoder": {"name": "descriptor-64"},
            "selection": {"method": "coreset", "target": {"fraction": 0.1}},
        },
    ).json()
    job = service.wait(job["id"], limit_s=240)
    assert (job["state"], job["attempt"]) == ("succeeded", 1), job
    assert job["counts"] == {
        "input": GOOD + 10 * OF_EACH,
        "valid": GOOD,
        "exact_duplicates": 0,
        "selected": GOOD // 10,
        "quarantined": 10 * OF_EACH,
    }
    listed, token = [], None
    while True:
        query = {"page_size": 1000} | ({"page_token": token} if token else {})
        page = service.http.get(f"/v1/jobs/{job['id']}/quarantine", params=query).json()
        listed += page["items"]
        token = page.get("next_page_token")
        if not token:
            break
    codes = Counter({"DECODE_FAILED": OF_EACH, "LINK_ESCAPES_ROOT": OF_EACH, "NOT_A_REGULAR_FILE": OF_EACH})
    codes["NAME_NOT_UTF8"] = OF_EACH
    for _, code in CONTENTS.values():
        codes[code] += OF_EACH
    assert Counter(item["code"] for item in listed) == codes
    assert all(path.startswith("good-") for path in service.paths(job, limit=100_000))
