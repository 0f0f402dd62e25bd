"""A video becomes frames, decoded from the front or near a time stamp; only the guarded process loads this.

The container is told by its first bytes and named to FFmpeg, so that nothing guesses: a playlist is no container, and
no demuxer that opens further files or addresses is ever asked.
"""

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, BinaryIO, Final

import av
import av.subtitles.codeccontext
import av.subtitles.stream  # which av would load itself, later, when no file can be opened any more
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from winnow.datasets.base import VideoLimits
from winnow.errors import ItemError

VERSION: Final = "winnow frame 2"  # rises when the same frame gets another picture to look at

_SHORTER_SIDE: Final = 256  # of a picture: as much as encoders look at
_LONGER_SIDE: Final = 1024  # where a frame is a mere strip
_PICTURE_QUALITY: Final = 95
_HEAD_BYTES: Final = 400  # shows the marks of two packets of a transport stream
_READ_BYTES: Final = 256 << 10
_NEAR: Final = 3  # frames beside the time stamp: some containers number them differently after a jump
_EARLIER_S: Final = 10  # where a jump lands too late, jump this much farther back
_GUESSED_FPS: Final = 25  # where neither the frames nor the container speak of time
_EXACTLY: Final = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT  # on every processor
_TURNS: Final = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_CODECS: Final = (
    "av1", "dnxhd", "dvvideo", "ffv1", "h263", "h264", "hevc", "huffyuv", "libdav1d", "mjpeg", "mpeg1video",
    "mpeg2video", "mpeg4", "msmpeg4", "msmpeg4v2", "prores", "rawvideo", "vc1", "vp8", "vp9",
)  # fmt: skip


@dataclass(frozen=True)
class Shot:
    """One frame, its place, and what can be made of it."""

    number: int
    frame: av.VideoFrame
    seconds: Fraction  # in the container's own count

    @property
    def pts(self) -> int | None:
        return self.frame.pts

    @property
    def quarter_turns(self) -> int:
        """Counter-clockwise, as the camera noted them."""
        return round(self.frame.rotation / 90) % 4

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, upright."""
        width, height = self.frame.width, self.frame.height
        return (height, width) if self.quarter_turns % 2 else (width, height)

    @cached_property
    def digest(self) -> bytes:
        """What the frame is: format, size, turn, colours and every pixel."""
        frame = self.frame
        kind = (frame.format.name, frame.width, frame.height, self.quarter_turns, frame.colorspace, frame.color_range)
        digest = hashlib.sha256(f"{VERSION} {kind}".encode())
        digest.update(_pixels(frame).data)
        return digest.digest()

    def picture(self, scaler: VideoReformatter) -> bytes:
        """A small JPEG to look at and to embed."""
        width, height = self.frame.width, self.frame.height
        shrink = min(1.0, _SHORTER_SIDE / min(width, height), _LONGER_SIDE / max(width, height))
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        small = scaler.reformat(self.frame, *size, format="rgb24", interpolation=_EXACTLY, threads=1)
        return self._upright(small, "JPEG", quality=_PICTURE_QUALITY, subsampling=0)

    def png(self) -> bytes:
        """Every pixel, as RGB."""
        return self._upright(self.frame.reformat(format="rgb24", threads=1), "PNG", compress_level=1)

    def _upright(self, rgb: av.VideoFrame, kind: str, **options: Any) -> bytes:
        image = Image.fromarray(rgb.to_ndarray())
        if self.quarter_turns:
            image = image.transpose(_TURNS[90 * self.quarter_turns])
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()


class Positioned:
    """A file read by position: the offset of a descriptor is shared with whoever handed it over."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self._at = descriptor, 0

    def read(self, size: int) -> bytes:
        content = os.pread(self.descriptor, size, self._at)
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(self.descriptor).st_size}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        os.close(self.descriptor)


class Video:
    """One stream of pictures in an open file, which it keeps. Every flaw of it is an ItemError.

    `alive` is called after every frame, wanted or not.
    """

    def __init__(self, file: Positioned, limits: VideoLimits, alive: Callable[[], None]) -> None:
        self._limits, self._alive = limits, alive
        self._running: Iterator[av.VideoFrame] = iter(())
        self._last_pts: int | None = None  # of what runs
        with _told_by_code():
            self._container = _opened(file)
            self._stream = self._chosen()
            self._check_header()
        self.damaged = 0  # packets and frames that could not be decoded as they were meant

    @property
    def seconds(self) -> float:
        """How long it says it is; 0 where it does not say."""
        return max(0.0, (self._container.duration or 0) / av.time_base)

    def shots(self) -> Iterator[Shot]:
        """All frames in presentation order, from the front."""
        elapsed, before = Fraction(0), None
        deadline = time.process_time() + self._limits.max_decode_s
        for number, frame in enumerate(self._frames()):
            shot = self.shot(number, frame)
            elapsed += max(Fraction(0), shot.seconds - before) if before is not None else 0  # time may begin anew
            before = shot.seconds
            self._check(shot, elapsed, deadline)
            yield shot

    def near(self, pts: int) -> Iterator[av.VideoFrame]:
        """The frames around a time stamp, reached by going on or by a jump: a few too many, or none where it failed."""
        if self._lies_ahead(pts):
            yield from self._around(pts)
        for earlier_s in (0, _EARLIER_S):
            with suppress(FFmpegError, ValueError, OverflowError):  # what this reads then, is not the frame in question
                self._container.seek(pts - int(earlier_s / self._tick), stream=self._stream)
            self._running = self._frames()
            yield from self._around(pts)

    def _around(self, pts: int) -> Iterator[av.VideoFrame]:
        beside = _NEAR * int(1 / (self._fps * self._tick)) + 1
        for frame in self._running:
            self._last_pts = frame.pts
            if frame.pts is None or frame.pts > pts + beside:
                return
            if frame.pts >= pts - beside:
                yield frame

    def _lies_ahead(self, pts: int) -> bool:
        """Whether going on is shorter than a jump: no keyframe lies between; where none is known of, it is not far."""
        if self._last_pts is None or self._last_pts >= pts:
            return False
        known = self._stream.index_entries
        keyframe = known.search_timestamp(pts) if len(known) else None
        if keyframe is None or keyframe < 0:
            return pts - self._last_pts <= _EARLIER_S / self._tick
        return known[keyframe].timestamp <= self._last_pts

    @property
    def _tick(self) -> Fraction:
        return self._stream.time_base or Fraction(1, av.time_base)

    def _frames(self) -> Iterator[av.VideoFrame]:
        """Whatever can be decoded: a bad packet costs itself, a broken container what follows."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
            except MemoryError as error:
                raise ItemError("VIDEO_TOO_LARGE", "out of memory") from error
            except (FFmpegError, ValueError):
                self.damaged += 1
                return
            self.damaged += packet.is_corrupt
            for frame in self._decoded(packet):
                self.damaged += frame.is_corrupt
                self._alive()
                yield frame

    def _decoded(self, packet: "av.Packet[Any]") -> list[av.VideoFrame]:
        try:
            return [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
        except MemoryError as error:
            raise ItemError("VIDEO_TOO_LARGE", "out of memory") from error
        except (FFmpegError, ValueError):
            self.damaged += 1
            return []

    def _chosen(self) -> av.VideoStream:
        """The stream of pictures a player would show; covers and thumbnails are none."""
        if len(self._container.streams) > self._limits.max_streams:
            raise ItemError("VIDEO_TOO_LARGE", f"{len(self._container.streams)} streams")
        stream = self._container.streams.best("video")
        if not isinstance(stream, av.VideoStream) or stream.codec_context.name not in _CODECS:
            raise ItemError("UNSUPPORTED_FORMAT")
        stream.thread_count = 1  # the same frames every time, of damaged videos too
        stream.codec_context.options = {"max_pixels": str(self._limits.max_pixels)}
        return stream

    def _check_header(self) -> None:
        context = self._stream.codec_context
        if context.width * context.height > self._limits.max_pixels:
            raise ItemError("VIDEO_TOO_LARGE", f"{context.width}x{context.height}")
        if self.seconds > self._limits.max_seconds:
            raise ItemError("VIDEO_TOO_LARGE", f"{self.seconds / 3600:.1f} h")

    def _check(self, shot: Shot, elapsed: Fraction, deadline: float) -> None:
        limits, pixels = self._limits, shot.frame.width * shot.frame.height
        if pixels > limits.max_pixels:
            raise ItemError("VIDEO_TOO_LARGE", f"{shot.frame.width}x{shot.frame.height}")
        if shot.number >= limits.max_frames or elapsed > limits.max_seconds:
            raise ItemError("VIDEO_TOO_LARGE", f"more than {shot.number} frames, {float(elapsed):.0f} s")
        if shot.number > limits.max_fps * (elapsed + 1):
            raise ItemError("VIDEO_TOO_LARGE", f"more than {limits.max_fps} frames a second")
        if time.process_time() > deadline:
            raise ItemError("VIDEO_TOO_LARGE", f"more than {limits.max_decode_s} s to decode")

    def shot(self, number: int, frame: av.VideoFrame) -> Shot:
        if frame.pts is None or frame.time_base is None:
            return Shot(number, frame, number / self._fps)
        return Shot(number, frame, frame.pts * frame.time_base)

    @cached_property
    def _fps(self) -> Fraction:
        return Fraction(self._stream.average_rate or self._stream.base_rate or _GUESSED_FPS)


def sampled(shots: Iterator[Shot], rule: str, value: float) -> Iterator[tuple[Shot, bool]]:
    """Each frame, and whether it becomes a sample."""
    wanted = _RULES[rule](value)
    return ((shot, wanted(shot)) for shot in shots)


def _by_rate(fps: float) -> Callable[[Shot], bool]:
    """The first frame of every interval of 1/fps seconds, counted from the first frame of all."""
    rate, first, before, last = Fraction(str(fps)), None, None, -1

    def wanted(shot: Shot) -> bool:
        nonlocal first, before, last
        if first is None or shot.seconds < before:  # recordings may be stitched together: time begins anew
            first, last = shot.seconds, -1
        before = shot.seconds
        interval = int((shot.seconds - first) * rate)
        if interval <= last:
            return False
        last = interval
        return True

    return wanted


def _by_number(every: float) -> Callable[[Shot], bool]:
    return lambda shot: shot.number % int(every) == 0


def _by_keyframe(_: float) -> Callable[[Shot], bool]:
    return lambda shot: shot.frame.key_frame


def _by_change(threshold: float) -> Callable[[Shot], bool]:
    """FFmpeg's score: how much more the picture changed than it had changed before, in grey and small."""
    scaler, before, change = VideoReformatter(), None, 0.0

    def wanted(shot: Shot) -> bool:
        nonlocal before, change
        grey = scaler.reformat(shot.frame, 64, 64, format="gray", interpolation=_EXACTLY, threads=1)
        now = grey.to_ndarray().astype(np.int16)
        if before is None:
            before = now
            return True
        changed, earlier = float(np.abs(now - before).mean()), change
        before, change = now, changed
        return min(changed, abs(changed - earlier)) / 100 >= threshold

    return wanted


_RULES: Final = {"fps": _by_rate, "every_nth": _by_number, "keyframes": _by_keyframe, "scene_change": _by_change}


def _opened(file: Positioned) -> av.container.InputContainer:
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    kind = _container_of(head)
    if kind is None:
        raise ItemError("UNSUPPORTED_FORMAT" if head else "VIDEO_UNREADABLE")
    options = {"protocol_whitelist": "none", "enable_drefs": "0", "codec_whitelist": ",".join(_CODECS)}
    return av.open(file, "r", format=kind, options=options, buffer_size=_READ_BYTES, io_open=_refused)


def _refused(*_: object) -> BinaryIO:
    raise PermissionError("a video opens nothing but itself")


def _container_of(head: bytes) -> str | None:
    if head[4:8] in _BOXES:
        return "mov"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith(b"\0\0\1\xba"):
        return "mpeg"
    # A packet every 188 bytes, or every 192 with a time stamp of 4 bytes before each.
    if head[0::188][:3] == b"GGG" or head[4::192][:3] == b"GGG":
        return "mpegts"
    return None


def _pixels(frame: av.VideoFrame) -> NDArray[Any]:
    """Every plane without its padding; what numpy has no shape for, as half a sample of colour, as RGB."""
    try:
        planes = frame.to_ndarray()
    except (AssertionError, ValueError):
        planes = frame.reformat(format="rgb24", interpolation=_EXACTLY, threads=1).to_ndarray()
    return np.ascontiguousarray(planes)


@contextmanager
def _told_by_code() -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ItemError("VIDEO_TOO_LARGE", "out of memory") from error
    except (FFmpegError, ValueError, OverflowError) as error:
        raise ItemError("VIDEO_UNREADABLE") from error
