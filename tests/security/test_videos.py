"""Hostile videos (I6): too much of anything, playlists in disguise, plain nonsense; every file is made here."""

import itertools
import os
import random
import struct
import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import clips
import numpy as np
import psutil
import pytest

from winnow.datasets import Limits, open_source
from winnow.datasets.base import VideoLimits
from winnow.datasets.video import VideosReader
from winnow.errors import DatasetEmpty, SourceNotAllowed
from winnow.results import silent
from winnow.spec import Sampling, VideosSource

GREY = np.full((16, 16, 3), 128, np.uint8)


@pytest.fixture
def root(tmp_path):
    """One good video, which must be listed whatever lies beside it."""
    clips.make(tmp_path / "in" / "good.mp4", 3)
    return tmp_path / "in"


def listed(root, sampling=None, **limits):
    reader = VideosReader(root, sampling or Sampling(fps=1), root.parent / "ds", Limits(**limits), processes=2)
    listing = reader.list(silent)
    assert "good.mp4" in listing.frames.videos
    return listing


def failures(root, **limits):
    return {failure.path: failure.code for failure in listed(root, **limits).failures}


# --- too much ---------------------------------------------------------------------------------------


def test_a_million_frames_a_second_end_at_the_limit(root):
    clips.make(root / "x.mp4", itertools.repeat(GREY, 3000), codec="mjpeg", pixel_format="yuvj420p", fps=1_000_000)
    assert failures(root) == {"x.mp4": "VIDEO_TOO_LARGE"}


def test_a_day_is_refused_from_its_header(root):
    clips.make(root / "x.mkv", [GREY, GREY], pts=lambda number: number * 86_400_000)
    assert failures(root) == {"x.mkv": "VIDEO_TOO_LARGE"}


def test_a_day_that_no_header_tells_is_refused_when_it_shows(root):
    clips.make(root / "x.ts", [GREY] * 40, pts=lambda number: number * 1_800_000)
    assert failures(root) == {"x.ts": "VIDEO_TOO_LARGE"}


@pytest.mark.parametrize("name", ["x.mkv", "x.mp4", "x.avi"])
def test_frames_of_16k_are_refused_before_one_is_decoded(root, name):
    make_huge(root / name, 15_360, 8_640)
    assert failures(root) == {name: "VIDEO_TOO_LARGE"}


def test_frames_that_grow_later_are_refused_when_they_do(root):
    """Small pictures, and then a huge one in a stream that was announced small."""
    make_huge(root.parent / "huge.avi", 15_360, 8_640)
    with av.open(str(root.parent / "huge.avi")) as huge:
        content = next(bytes(packet) for packet in huge.demux(video=0))
    with av.open(str(root / "x.avi"), "w") as out:
        stream = mjpeg(out, 16, 16)
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(GREY, format="rgb24")))
        packet = av.Packet(content)
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 3, 3, Fraction(1, 1)
        out.mux(packet)
    assert failures(root) == {"x.avi": "VIDEO_DAMAGED"}


def make_huge(path, width, height):
    """One flat frame: a few hundred kilobytes that say they are that many pixels."""
    with av.open(str(path), "w") as out:
        stream = mjpeg(out, width, height)
        out.mux(stream.encode(av.VideoFrame(width, height, "yuvj420p")))
        out.mux(stream.encode())


def mjpeg(out, width, height):
    stream = out.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
    return stream


def test_a_thousand_streams_are_refused(root):
    with av.open(str(root / "x.mkv"), "w") as out:
        streams = [mjpeg(out, 16, 16) for _ in range(1000)]
        for stream in streams[:3]:
            out.mux(stream.encode(av.VideoFrame(16, 16, "yuvj420p")))
    assert failures(root) == {"x.mkv": "VIDEO_TOO_LARGE"}


def test_more_frames_than_the_limit_are_not_decoded(root):
    clips.make(root / "x.mp4", 200)
    assert failures(root, video=VideoLimits(max_frames=100)) == {"x.mp4": "VIDEO_TOO_LARGE"}


def test_a_table_of_samples_that_lies_about_its_size_costs_little(root):
    """A movie whose header announces four thousand million samples."""
    content = bytearray((root / "good.mp4").read_bytes())
    struct.pack_into(">I", content, content.index(b"stsz") + 12, 2**32 - 1)
    (root / "x.mp4").write_bytes(content)
    began, before = time.monotonic(), psutil.Process().memory_info().rss
    assert failures(root).keys() <= {"x.mp4"}
    assert time.monotonic() - began < 60
    assert psutil.Process().memory_info().rss - before < 200 << 20


# --- elsewhere --------------------------------------------------------------------------------------


@pytest.fixture
def listener():
    """A server on this machine that remembers who came."""
    asked = []

    class Remembering(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Remembering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}/leak.ts\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{secret}'\nfile '{url}/leak.mp4'\n",
    "dash": '<?xml version="1.0"?><MPD type="static"><Period><BaseURL>{url}/</BaseURL></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "image2": "{secret}%03d.png\n",
    "subfile": "subfile,,start,0,end,100,,:{secret}\n",
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "mpg"])
def test_a_playlist_is_no_video_whatever_it_is_called(root, listener, suffix):
    url, asked = listener
    secret = clips.make(root.parent / "secret.mp4", 2)
    for name, text in PLAYLISTS.items():
        (root / f"{name}.{suffix}").write_text(text.replace("{url}", url).replace("{secret}", str(secret)))
    assert failures(root) == {f"{name}.{suffix}": "UNSUPPORTED_FORMAT" for name in PLAYLISTS}
    assert asked == []


@pytest.mark.parametrize(
    "mark", [b"\0\0\0\x18ftypisom\0\0\0\0isommp42", b"\x1aE\xdf\xa3", b"RIFF\xff\0\0\0AVI ", b"\0\0\1\xba"]
)
def test_a_playlist_behind_the_mark_of_a_video_opens_nothing(root, listener, mark):
    url, asked = listener
    secret = clips.make(root.parent / "secret.mp4", 2)
    text = PLAYLISTS["hls"].replace("{url}", url).replace("{secret}", str(secret))
    (root / "x.mp4").write_bytes(mark + b"\n" + text.encode())
    assert failures(root)["x.mp4"] in {"VIDEO_UNREADABLE", "UNSUPPORTED_FORMAT"}
    assert asked == []


def test_a_path_outside_the_roots_is_no_source(root, tmp_path):
    source = VideosSource(type="videos", path=str(tmp_path))
    with pytest.raises(SourceNotAllowed):
        open_source(source, folder=tmp_path / "ds", roots=(root,), upload=None, limits=Limits())


# --- nonsense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi", "v.ts", "v.mpg"])
def test_flipped_and_cut_videos_never_end_the_listing(root, name):
    codec = {"v.avi": "mpeg4", "v.mpg": "mpeg2video"}.get(name, "libx264")
    original = clips.make(root.parent / name, 20, codec=codec).read_bytes()
    rng = random.Random(0)
    for number in range(12):
        content = bytearray(original)
        for _ in range(1 + number):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (root / f"flipped-{number}-{name}").write_bytes(content)
        (root / f"cut-{number}-{name}").write_bytes(original[: len(original) * number // 12])
    began = time.monotonic()
    listing = listed(root)
    assert time.monotonic() - began < 60
    assert {failure.code for failure in listing.failures} <= {
        "VIDEO_UNREADABLE", "VIDEO_DAMAGED", "VIDEO_TOO_LARGE", "UNSUPPORTED_FORMAT", "ITEM_CRASHED_DECODER",
    }  # fmt: skip


def test_devices_and_pipes_are_not_opened(root):
    os.mkfifo(root / "pipe.mp4")
    assert failures(root) == {"pipe.mp4": "NOT_A_REGULAR_FILE"}


def test_a_folder_of_nothing_but_hidden_videos_is_empty(tmp_path):
    clips.make(tmp_path / "in" / ".x.mp4", 1)
    with pytest.raises(DatasetEmpty):
        VideosReader(tmp_path / "in", Sampling(fps=1), tmp_path / "ds", Limits()).list(silent)
