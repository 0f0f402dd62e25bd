"""Frames are chosen by the rules, are fetched again bit for bit, and one bad video is no harm to another."""

import io
import random
import shutil
import struct
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import av
import clips
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from winnow.datasets import Limits, snapshot, video_decoder
from winnow.datasets.base import VIDEO_SUFFIXES, VideoLimits
from winnow.datasets.video import VideosReader, frame_path
from winnow.datasets.video_decoder import VideoDecoder
from winnow.datasets.video_protocol import SAMPLE
from winnow.errors import DatasetEmpty, ItemError, JobCancelled, SourceGone, TooManyItems, VideoSupportMissing
from winnow.results import NO_PTS, silent
from winnow.spec import Sampling

ALL = Sampling(every_nth=1)
OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0"}


def uneven(number):
    """Milliseconds: now close, now far apart, as a phone films."""
    return number * 33 + (number % 5) * 7 + (number // 10) * 400


@pytest.fixture
def reader(tmp_path):
    def make(path, sampling=ALL, **limits) -> VideosReader:
        return VideosReader(path, sampling, tmp_path / "ds", Limits(**limits))

    return make


def in_order(listing):
    """(number, pts, path, id) of each frame, as they follow in the video."""
    frames = listing.frames
    rows = zip(frames.videos, frames.numbers, frames.pts, listing.paths, listing.ids, strict=True)
    return [
        (int(number), int(pts), path, row.tobytes()) for _, number, pts, path, row in sorted(rows, key=lambda r: r[:2])
    ]


def numbers(listing):
    return sorted(listing.frames.numbers.tolist())


def pixels_of(picture):
    return np.asarray(Image.open(io.BytesIO(picture)))


KINDS = {
    "b-frames.mp4": {"options": {"bf": "3", "g": "24"}},
    "open-gop.mp4": {"options": OPEN_GOP},
    "open-gop.ts": {"options": OPEN_GOP},
    "uneven.mkv": {"pts": uneven, "options": {"g": "12"}},
    "uneven.mp4": {"pts": uneven, "options": OPEN_GOP},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "open-gop=1:keyint=12:log-level=none"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "auto-alt-ref": "1", "lag-in-frames": "8"}},
    "av1.mkv": {"codec": "libsvtav1", "options": {"preset": "12", "g": "12"}},
    "old.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "older.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "pictures.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "ten-bits.mkv": {"pixel_format": "yuv420p10le", "options": {"g": "12"}},
    "colours.mkv": {"codec": "ffv1", "pixel_format": "bgr0"},
    "fragments.mp4": {"options": {"g": "12"}, "container": {"movflags": "frag_keyframe+empty_moov"}},
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_the_one_a_plain_decode_gives(tmp_path, reader, name):
    hand = clips.by_hand(clips.make(tmp_path / "in" / name, 41, **KINDS[name]))
    before = {child.pid for child in children()}
    videos = reader(tmp_path / "in")
    listed = in_order(videos.list(silent))
    assert [(number, pts) for number, pts, _, _ in listed] == [(n, pts) for n, (pts, _) in enumerate(hand)]
    asked = [*listed[::-1], *listed, *listed[::7], *random.Random(0).sample(listed, 20)]
    decoders = set()
    for number, _, path, sample_id in asked:
        assert np.array_equal(pixels_of(videos.original(path, sample_id)), hand[number][1])
        decoders |= {child.pid for child in children()} - before
    assert len(decoders) == 1  # it lived through all of them


def test_frames_are_fetched_from_several_videos_in_turns(tmp_path, reader):
    hand = {name: clips.by_hand(clips.make(tmp_path / "in" / name, 30)) for name in ("a.mp4", "b.mkv", "c.ts")}
    videos = reader(tmp_path / "in")
    listing = videos.list(silent)  # by id: as good as shuffled
    for path, sample_id, name, number in zip(
        listing.paths, listing.ids, listing.frames.videos, listing.frames.numbers, strict=True
    ):
        assert np.array_equal(pixels_of(videos.original(path, sample_id.tobytes())), hand[name][number][1])


def test_of_stitched_recordings_whose_time_begins_anew_both_are_seen(tmp_path, reader):
    parts = [clips.make(tmp_path / f"{n}.ts", [clips.scene(100 * n + i) for i in range(45)]) for n in (1, 2)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    hand = clips.by_hand(tmp_path / "in" / "both.ts")
    videos = reader(tmp_path / "in", Sampling(fps=2))
    listed = in_order(videos.list(silent))
    assert sum(number < 45 for number, *_ in listed) == sum(number >= 45 for number, *_ in listed) == 3
    for number, _, path, sample_id in listed:
        assert np.array_equal(pixels_of(videos.original(path, sample_id)), hand[number][1])


@pytest.mark.parametrize(
    ("size", "small"),
    [((1, 1), (1, 1)), ((5, 64), (5, 64)), ((641, 359), (457, 256)), ((32, 2048), (16, 1024))],
    ids=str,
)
def test_odd_sizes_come_out_as_they_are_and_small_pictures_large_enough_for_encoders(tmp_path, reader, size, small):
    scenes = [clips.scene(number, size) for number in range(3)]
    hand = clips.by_hand(clips.make(tmp_path / "in" / "odd.mkv", scenes, codec="ffv1", pixel_format="yuv420p"))
    videos = reader(tmp_path / "in")
    listing = videos.list(silent)
    for number, _, path, sample_id in in_order(listing):
        assert np.array_equal(pixels_of(videos.original(path, sample_id)), hand[number][1])
        assert Image.open(io.BytesIO(videos.read(path, sample_id))).size == small
    assert listing.frames.shapes.tolist() == [[*size]] * 3


# --- which frames -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(fps=2), [0, 15, 30, 45, 60]),
        (Sampling(fps=30), range(61)),
        (Sampling(fps=1000), range(61)),
        (Sampling(fps=0.1), [0]),
        (Sampling(fps=7.5), range(0, 61, 4)),
        (Sampling(every_nth=20), [0, 20, 40, 60]),
        (Sampling(keyframes=True), [0, 24, 48]),
    ],
    ids=str,
)
def test_a_rule_chooses_its_frames(tmp_path, reader, sampling, expected):
    clips.make(tmp_path / "in" / "a.mp4", 61, options={"g": "24", "sc_threshold": "0"})
    assert numbers(reader(tmp_path / "in", sampling).list(silent)) == [*expected]


def test_a_rate_goes_by_time_stamps_where_frames_come_unevenly(tmp_path, reader):
    """From each half second the first frame that there is; a long pause gives none."""
    hand = clips.by_hand(clips.make(tmp_path / "in" / "a.mkv", 80, pts=uneven))
    expected, taken = [], set()
    for number, (pts, _) in enumerate(hand):
        if pts // 500 not in taken:
            taken.add(pts // 500)
            expected.append(number)
    listing = reader(tmp_path / "in", Sampling(fps=2)).list(silent)
    assert numbers(listing) == expected
    assert len({b - a for a, b in pairwise(expected)}) > 1
    assert listing.frames.times_s.tolist() == [pts / 1000 for pts in listing.frames.pts.tolist()]


def test_a_change_of_scene_is_found_and_motion_is_none(tmp_path, reader):
    scenes = [clips.scene(number) // 4 + 190 * (15 <= number < 32) * np.uint8(1) for number in range(45)]
    clips.make(tmp_path / "in" / "a.mp4", scenes)
    assert numbers(reader(tmp_path / "in", Sampling(scene_change=0.3)).list(silent)) == [0, 15, 32]


@pytest.mark.parametrize(
    ("clockwise", "matrix", "turn"),
    [
        (90, (0, 1, -1, 0), Image.Transpose.ROTATE_270),
        (180, (-1, 0, 0, -1), Image.Transpose.ROTATE_180),
        (270, (0, -1, 1, 0), Image.Transpose.ROTATE_90),
    ],
)
def test_a_video_filmed_upright_comes_out_upright(tmp_path, reader, clockwise, matrix, turn):
    video = clips.make(tmp_path / "in" / "phone.mp4", 5)
    content = bytearray(video.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", content, content.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    video.write_bytes(content)
    videos = reader(tmp_path / "in")
    listing = videos.list(silent)
    for number, _, path, sample_id in in_order(listing):
        raw = Image.fromarray(clips.by_hand(video)[number][1])
        assert np.array_equal(pixels_of(videos.original(path, sample_id)), np.asarray(raw.transpose(turn)))
        assert Image.open(io.BytesIO(videos.read(path, sample_id))).size == raw.transpose(turn).size
    assert listing.frames.shapes[0].tolist() == [*raw.transpose(turn).size]


# --- what they are called ---------------------------------------------------------------------------


def test_a_frame_is_named_after_its_video_in_its_folder(tmp_path, reader):
    clips.make(tmp_path / "in" / "yard" / "gate.v2.mp4", 2)
    shutil.copy(tmp_path / "in" / "yard" / "gate.v2.mp4", tmp_path / "in" / "gate.MP4")
    listing = reader(tmp_path / "in").list(silent)
    assert sorted(listing.paths) == [
        "gate-0000000-MP4.png",
        "gate-0000001-MP4.png",
        "yard/gate.v2-0000000-mp4.png",
        "yard/gate.v2-0000001-mp4.png",
    ]
    assert sorted(set(listing.frames.videos)) == ["gate.MP4", "yard/gate.v2.mp4"]
    assert len({row.tobytes() for row in listing.ids}) == 2  # equal frames are exact duplicates, in whatever video


names = st.builds(
    lambda stem, end: stem + end, st.text("ab-.01", min_size=1), st.sampled_from([*VIDEO_SUFFIXES, ".MP4"])
)


@given(names, names, st.integers(0, 3_000_000), st.integers(0, 3_000_000))
def test_no_two_frames_share_a_path(one, two, first, second):
    assert (frame_path(one, first) == frame_path(two, second)) is ((one, first) == (two, second))


def test_one_file_is_a_source_as_well(tmp_path, reader):
    clips.make(tmp_path / "in" / "a.mp4", 3)
    clips.make(tmp_path / "in" / "b.mp4", 3)
    assert set(reader(tmp_path / "in" / "a.mp4").list(silent).frames.videos) == {"a.mp4"}


def test_a_listing_of_frames_survives_the_disk(tmp_path, reader):
    clips.make(tmp_path / "in" / "a.mkv", 4, pts=uneven)
    (tmp_path / "in" / "bad.mp4").write_bytes(b"")
    listing = reader(tmp_path / "in").list(silent)
    listing.frames.pts[1], listing.frames.times_s[1] = NO_PTS, np.nan  # as of a container that says nothing
    snapshot.save(listing, tmp_path / "s.parquet")
    loaded = snapshot.load(tmp_path / "s.parquet")
    assert loaded.frames.videos == listing.frames.videos
    for name in ("numbers", "pts", "times_s", "shapes"):
        assert np.array_equal(getattr(loaded.frames, name), getattr(listing.frames, name), equal_nan=name == "times_s")
    assert loaded.failures == listing.failures


# --- what is bad ------------------------------------------------------------------------------------


def failures(listing):
    return {failure.path: failure.code for failure in listing.failures}


def sound(path):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())


def test_a_bad_video_is_told_by_its_code_and_the_others_are_listed(tmp_path, reader):
    folder = tmp_path / "in"
    good = clips.make(folder / "good.mp4", 3)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "words.mkv").write_text("not a video")
    (folder / "half.mp4").write_bytes(good.read_bytes()[:900])
    (folder / "away.mp4").symlink_to("/nowhere.mp4")
    (folder / "picture.avi").write_bytes(b"GIF89a" + bytes(500))
    sound(folder / "sound.mp4")
    listing = reader(folder).list(silent)
    assert set(listing.frames.videos) == {"good.mp4"}
    assert failures(listing) == {
        "away.mp4": "UNREADABLE",
        "empty.mp4": "VIDEO_UNREADABLE",
        "half.mp4": "VIDEO_UNREADABLE",
        "picture.avi": "UNSUPPORTED_FORMAT",
        "sound.mp4": "UNSUPPORTED_FORMAT",
        "words.mkv": "UNSUPPORTED_FORMAT",
    }


@pytest.mark.parametrize(
    ("name", "hurt"), [("a.ts", "overwritten"), ("a.mp4", "overwritten"), ("a.mkv", "overwritten"), ("a.mp4", "cut")]
)
def test_of_a_damaged_video_the_good_frames_are_in_and_the_damage_is_told(tmp_path, reader, name, hurt):
    container = {"movflags": "faststart"} if name == "a.mp4" else {}
    video = clips.make(tmp_path / "in" / name, 60, options={"g": "10"}, container=container)
    content = bytearray(video.read_bytes())
    half = len(content) * 6 // 10
    content[half : half + 4000] = bytes(4000)
    video.write_bytes(content if hurt == "overwritten" else content[: half + 77])
    videos = reader(tmp_path / "in")
    listing = videos.list(silent)
    assert failures(listing) == {name: "VIDEO_DAMAGED"}
    assert 10 <= len(listing) < 60
    for path, sample_id in zip(listing.paths, listing.ids, strict=True):
        videos.original(path, sample_id.tobytes())
    assert videos.list(silent).failures == listing.failures  # from the index, too


def test_a_video_that_has_changed_is_noticed(tmp_path, reader):
    video = clips.make(tmp_path / "in" / "a.mp4", 20)
    videos = reader(tmp_path / "in")
    _, _, path, sample_id = in_order(videos.list(silent))[10]
    clips.make(video, [clips.scene(number + 1) for number in range(20)])
    assert videos.read(path, sample_id)  # a dataset is a snapshot
    with pytest.raises(ItemError, match="CONTENT_CHANGED"):
        videos.original(path, sample_id)
    video.unlink()
    with pytest.raises(ItemError, match="UNREADABLE"):
        videos.original(path, sample_id)


def test_pictures_that_were_kept_are_held_against_their_hash(tmp_path, reader):
    clips.make(tmp_path / "in" / "a.mp4", 2)
    videos = reader(tmp_path / "in")
    listing = videos.list(silent)
    (pack,) = (tmp_path / "ds" / "videos").glob("*.pack")
    pack.write_bytes(bytes(pack.stat().st_size))
    with pytest.raises(ItemError, match="CONTENT_CHANGED"):
        videos.read(listing.paths[0], listing.ids[0].tobytes())
    pack.unlink()
    with pytest.raises(ItemError, match="UNREADABLE"):
        videos.read(listing.paths[0], listing.ids[0].tobytes())


def test_a_later_process_reads_what_was_listed(tmp_path, reader):
    clips.make(tmp_path / "in" / "a.mp4", 2)
    with pytest.raises(SourceGone):
        reader(tmp_path / "in").read("a-0000000-mp4.png", bytes(32))
    listing = reader(tmp_path / "in").list(silent)
    assert reader(tmp_path / "in").read(listing.paths[0], listing.ids[0].tobytes())


def test_a_folder_that_is_gone_ends_the_listing(tmp_path, reader):
    with pytest.raises(SourceGone):
        reader(tmp_path / "nowhere").list(silent)


def test_a_folder_of_other_things_is_empty(tmp_path, reader):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    with pytest.raises(DatasetEmpty):
        reader(tmp_path / "in").list(silent)


# --- the processes ----------------------------------------------------------------------------------


@pytest.fixture
def decoder(request):
    made = VideoDecoder(VideoLimits(), silence_s=5)
    yield made
    made.end()


def children():
    return psutil.Process().children(recursive=True)


def test_a_decoder_has_none_of_our_environment_and_can_open_nothing(tmp_path, decoder, monkeypatch):
    monkeypatch.setenv("WINNOW_DATABASE_URL", "postgresql://secret")
    before = {child.pid for child in children()}
    with clips.make(tmp_path / "a.mp4", 3).open("rb") as video:
        kinds = [kind for kind, _, _ in decoder.samples(video.fileno(), "every_nth", 1)]
    assert kinds.count(SAMPLE) == 3
    (process,) = (child for child in children() if child.pid not in before)
    assert set(process.environ()) <= {"PATH", "PYTHONPATH", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "LC_CTYPE"}
    assert process.rlimit(psutil.RLIMIT_NOFILE)[1] <= process.num_fds() + 2
    assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert process.rlimit(psutil.RLIMIT_AS)[0] <= 4 << 30
    assert 0 < process.rlimit(psutil.RLIMIT_CPU)[0] < 60


@pytest.mark.parametrize("attempt", ["open('/etc/passwd')", "socket.socket()", "open('/dev/full', 'w')"])
def test_a_decoder_that_is_taken_over_reaches_nothing(tmp_path, reader, monkeypatch, attempt):
    """It tries at the third frame, and lives on only where it was refused."""
    dying(monkeypatch, f"refused(lambda: {attempt}) or os.abort()")
    clips.make(tmp_path / "in" / "a.mp4", 5)
    assert len(reader(tmp_path / "in").list(silent)) == 5


DYING = """
import os, socket, sys, time
from winnow.datasets import video_frames, video_process
def refused(call):
    try:
        call()
    except OSError:
        return True
honest = video_frames.Video.shots
def shots(video):
    for shot in honest(video):
        yield shot
        if shot.frame.width == 96 and shot.number == 2:
            {end}
video_frames.Video.shots = shots
video_process.main()
"""


SLOW = """
import time
from winnow.datasets import video_frames, video_process
honest = video_frames.Video._decoded
def decoded(video, packet):
    time.sleep(0.1)
    return honest(video, packet)
video_frames.Video._decoded = decoded
video_process.main()
"""


def dying(monkeypatch, end, **options):
    """Decoders that end so at the third frame of any video 96 wide."""
    command = (sys.executable, "-P", "-c", DYING.format(end=end))
    for name, value in {"command": command, **options}.items():
        monkeypatch.setitem(VideoDecoder.__init__.__kwdefaults__, name, value)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("os.abort()", "ITEM_CRASHED_DECODER"),
        ("os._exit(0)", "ITEM_CRASHED_DECODER"),
        ("os.kill(os.getpid(), 9)", "ITEM_CRASHED_DECODER"),
        ("time.sleep(60)", "ITEM_TIMEOUT"),
    ],
)
def test_a_decoder_that_dies_costs_its_video_and_no_other(tmp_path, reader, monkeypatch, end, code):
    dying(monkeypatch, end, silence_s=4)
    clips.make(tmp_path / "in" / "bad.mp4", 5)
    for name in ("a.mp4", "z.mp4"):
        clips.make(tmp_path / "in" / name, [clips.scene(number, (64, 48)) for number in range(5)])
    listing = reader(tmp_path / "in").list(silent)
    assert failures(listing) == {"bad.mp4": code}
    assert len(listing) == 10
    assert not [*(tmp_path / "ds").rglob(".tmp.*")]


def test_a_decoder_that_is_long_in_finding_a_frame_is_waited_for(tmp_path, reader, monkeypatch):
    """It says that it lives: the last of 60 frames without a keyframe takes three times as long as silence may."""
    dying(monkeypatch, "0", silence_s=2.0)
    clips.make(tmp_path / "in" / "slow.mp4", 60)
    videos = reader(tmp_path / "in")
    *_, (_, _, path, sample_id) = in_order(videos.list(silent))
    command = VideoDecoder.__init__.__kwdefaults__["command"]
    slow = (*command[:-1], SLOW)
    monkeypatch.setitem(VideoDecoder.__init__.__kwdefaults__, "command", slow)
    assert reader(tmp_path / "in").original(path, sample_id)


def test_whoever_waits_for_a_frame_may_end_the_search(tmp_path, reader):
    clips.make(tmp_path / "in" / "a.mp4", 3)
    _, _, path, sample_id = in_order(reader(tmp_path / "in").list(silent))[2]

    def enough():
        if not before:
            before.append(None)
            raise JobCancelled

    before = []
    videos = VideosReader(tmp_path / "in", ALL, tmp_path / "ds", Limits(), alive=enough)
    with pytest.raises(JobCancelled):
        videos.original(path, sample_id)
    assert pixels_of(videos.original(path, sample_id)).shape == (64, 96, 3)  # the decoder is fit for the next


def test_a_decoder_that_dies_once_is_forgiven(tmp_path, reader, monkeypatch):
    """The first to unlink the file dies of it."""
    (tmp_path / "once").touch()
    dying(
        monkeypatch,
        f"os.path.lexists({str(tmp_path / 'once')!r}) and (os.unlink({str(tmp_path / 'once')!r}), os.abort())",
    )
    clips.make(tmp_path / "in" / "bad.mp4", 5)
    assert len(reader(tmp_path / "in").list(silent)) == 5
    assert not (tmp_path / "once").exists()


def test_a_library_that_is_not_there_or_does_not_load_is_named(tmp_path, reader, monkeypatch):
    clips.make(tmp_path / "in" / "a.mp4", 2)
    monkeypatch.setitem(VideoDecoder.__init__.__kwdefaults__, "command", (sys.executable, "-c", "raise ImportError"))
    with pytest.raises(VideoSupportMissing, match="PyAV"):
        reader(tmp_path / "in").list(silent)
    monkeypatch.setattr(video_decoder, "find_spec", lambda _: None)
    with pytest.raises(VideoSupportMissing, match=r"winnow\[video\]"):
        reader(tmp_path / "in").list(silent)


def test_nothing_runs_after_the_listing_and_after_the_reader(tmp_path, reader):
    clips.make(tmp_path / "in" / "a.mp4", 2)
    before = {child.pid for child in children()}
    videos = reader(tmp_path / "in")
    listing = videos.list(silent)
    assert {child.pid for child in children()} == before
    videos.original(listing.paths[0], listing.ids[0].tobytes())
    assert {child.pid for child in children()} > before
    del videos
    assert {child.pid for child in children()} == before


# --- resumed ----------------------------------------------------------------------------------------


def test_a_listing_that_was_ended_goes_on_where_it_was(tmp_path, reader, monkeypatch):
    for number in range(4):
        clips.make(tmp_path / "in" / f"{number}.mp4", [clips.scene(100 * number + n) for n in range(30)])

    def until_the_second(stage, done, total, skipped=0):
        if len([*(tmp_path / "ds").rglob("*.parquet")]) >= 2:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        reader(tmp_path / "in").list(until_the_second)
    there = len([*(tmp_path / "ds").rglob("*.parquet")])
    decoded = []
    honest = VideoDecoder.samples
    monkeypatch.setattr(VideoDecoder, "samples", lambda *asked: decoded.append(asked) or honest(*asked))
    listing = reader(tmp_path / "in").list(silent)
    assert len(listing) == 120
    assert len(decoded) == 4 - there < 4
    clips.make(tmp_path / "in" / "0.mp4", 30)
    reader(tmp_path / "in").list(silent)
    assert len(decoded) == 5 - there  # the one that is another now


LISTING = """
import sys
from pathlib import Path
from winnow.datasets import Limits
from winnow.datasets.video import VideosReader
from winnow.results import silent
from winnow.spec import Sampling
VideosReader(Path(sys.argv[1]), Sampling(every_nth=1), Path(sys.argv[2]), Limits(), processes=2).list(silent)
"""


def test_a_listing_that_is_killed_leaves_no_process_and_its_finished_videos(tmp_path, reader):
    for number in range(6):
        clips.make(tmp_path / "in" / f"{number}.mp4", [clips.scene(100 * number + n) for n in range(60)])
    command = [sys.executable, "-c", LISTING, str(tmp_path / "in"), str(tmp_path / "ds")]
    killed = subprocess.Popen(command, cwd=Path(__file__).parents[3])
    while not [*(tmp_path / "ds").rglob("*.parquet")] and killed.poll() is None:
        time.sleep(0.02)
    decoders = psutil.Process(killed.pid).children()
    killed.kill()
    killed.wait()
    assert psutil.wait_procs(decoders, timeout=20)[1] == []
    videos = reader(tmp_path / "in")
    listing = videos.list(silent)
    whole = VideosReader(tmp_path / "in", ALL, tmp_path / "other", Limits()).list(silent)
    assert snapshot.fingerprint(listing) == snapshot.fingerprint(whole)
    for path, sample_id in zip(listing.paths, listing.ids, strict=True):
        assert videos.read(path, sample_id.tobytes())


def test_a_second_listing_that_finds_others_takes_nothing_from_the_first(tmp_path, reader):
    clips.make(tmp_path / "in" / "a.mp4", 3)
    clips.make(tmp_path / "in" / "b.mp4", [clips.scene(50 + number) for number in range(3)])
    first = reader(tmp_path / "in").list(silent)
    clips.make(tmp_path / "in" / "a.mp4", [clips.scene(90 + number) for number in range(2)])
    (tmp_path / "in" / "b.mp4").unlink()
    second = reader(tmp_path / "in").list(silent)
    videos = reader(tmp_path / "in")
    for listing in (first, second):
        for path, sample_id in zip(listing.paths, listing.ids, strict=True):
            assert videos.read(path, sample_id.tobytes())
    with pytest.raises(ItemError, match="CONTENT_CHANGED"):
        videos.read(first.paths[0], bytes(32))


def test_more_frames_than_the_limit_end_the_listing_before_the_video_does(tmp_path, reader):
    clips.make(tmp_path / "in" / "a.mp4", 400)
    with pytest.raises(TooManyItems):
        reader(tmp_path / "in", max_items=50).list(silent)


def test_the_answer_does_not_depend_on_how_many_decode_at_a_time(tmp_path):
    for number in range(5):
        clips.make(tmp_path / "in" / f"{number}.mp4", [clips.scene(100 * number + n) for n in range(9)])
    listings = [
        VideosReader(tmp_path / "in", ALL, tmp_path / f"ds{processes}", Limits(), processes=processes).list(silent)
        for processes in (1, 4)
    ]
    one, many = (snapshot.fingerprint(listing) for listing in listings)
    assert one == many
    packs = [sorted(pack.read_bytes() for pack in Path(tmp_path / f"ds{n}").rglob("*.pack")) for n in (1, 4)]
    assert packs[0] == packs[1]
