"""One guarded process that decodes videos: an open file comes in over a socket, frames go out, nothing else is allowed.

It is meant to die: of its limits, of a flaw in a decoder, of its parent's end. The parent starts another. While it
decodes it has no room for another descriptor: whatever a video makes FFmpeg want to open, file or connection, fails.
"""

import json
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from av.video.reformatter import VideoReformatter
from PIL import Image

from winnow.datasets.base import VideoLimits
from winnow.datasets.video_frames import Positioned, Shot, Video, sampled
from winnow.datasets.video_protocol import ANSWER, DONE, FAILED, PROGRESS, READY, REQUEST, SAMPLE
from winnow.errors import ItemError
from winnow.lifeline import die_with_parent

_ADDRESS_SPACE_BYTES: Final = 3 << 30
_FRAME_CPU_S: Final = 15  # a decoder that works longer without a frame ends
_PROGRESS_S: Final = 0.2


def main() -> None:
    connection = socket.socket(fileno=os.dup(0))
    _lock_up()
    with connection, connection.makefile("wb") as answers:
        answers.write(READY)
        answers.flush()
        desk = _Desk(answers)
        while (request := _received(connection)) is not None:
            desk.answer(*request)


def _received(connection: socket.socket) -> tuple[dict[str, Any], Positioned] | None:
    """The next request, and the file it is about."""
    head, descriptors, _, _ = socket.recv_fds(connection, REQUEST.size, 1)
    if not head:
        return None
    (length,) = REQUEST.unpack(head)
    return json.loads(connection.recv(length, socket.MSG_WAITALL)), Positioned(descriptors[0])


@dataclass
class _Kept:
    """A video where the last frame left it."""

    identity: tuple[int, ...]
    file: Positioned
    video: Video


class _Desk:
    """Answers one request after the other, with a sign of life while a frame is long in coming."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers, self._said_at = answers, 0.0
        self._kept: _Kept | None = None  # the next frame may lie a little farther on in the last video

    def answer(self, request: dict[str, Any], file: Positioned) -> None:
        limits = VideoLimits(**request["limits"])
        self._alive()
        with _walled_in():
            try:
                if request["wanted"] is None:
                    self._forget()
                    self._sample(Video(file, limits, self._alive), request["rule"], request["value"])
                else:
                    self._say(DONE, self._found(file, request["wanted"], limits).png())
            except ItemError as error:
                self._say(FAILED, code=error.code, detail=error.detail)
        if self._kept is None or self._kept.file is not file:
            file.close()

    def _sample(self, video: Video, rule: str, value: float) -> None:
        """Every frame is decoded, the wanted ones are answered."""
        scaler, first, seen = VideoReformatter(), None, 0
        for shot, wanted in sampled(video.shots(), rule, value):
            seen += 1
            first = shot.seconds if first is None else first
            if wanted:
                share = float(shot.seconds - first) / video.seconds if video.seconds else 0.0
                self._say(SAMPLE, shot.picture(scaler), share=share, **_facts(shot))
        if not seen:
            raise ItemError("VIDEO_UNREADABLE")
        self._say(DONE, damaged=video.damaged)

    def _found(self, file: Positioned, wanted: dict[str, Any], limits: VideoLimits) -> Shot:
        """The frame with this digest: near its time, and where that fails by counting from the front."""
        digest = bytes.fromhex(wanted["sample_id"])
        if wanted["pts"] is not None:
            video = self._opened(file, limits)
            for frame in video.near(wanted["pts"]):
                shot = video.shot(wanted["frame"], frame)
                if shot.digest == digest:
                    return shot
        self._forget(but=file)
        file.seek(0)
        for shot in Video(file, limits, self._alive).shots():
            if shot.number == wanted["frame"] and shot.digest == digest:
                return shot
        raise ItemError("CONTENT_CHANGED", "not the frame that was listed")

    def _opened(self, file: Positioned, limits: VideoLimits) -> Video:
        """The video as it was left, if it is the same file."""
        status = os.fstat(file.descriptor)
        identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        if self._kept is None or self._kept.identity != identity:
            self._forget()
            self._kept = _Kept(identity, file, Video(file, limits, self._alive))
        return self._kept.video

    def _forget(self, but: Positioned | None = None) -> None:
        if self._kept is not None and self._kept.file is not but:
            self._kept.file.close()
        self._kept = None

    def _alive(self) -> None:
        """Called after every frame."""
        _limit_cpu()
        if time.monotonic() - self._said_at > _PROGRESS_S:
            self._say(PROGRESS)

    def _say(self, kind: bytes, picture: bytes = b"", **facts: Any) -> None:
        self._said_at = time.monotonic()
        body = json.dumps(facts).encode()
        self._answers.write(ANSWER.pack(kind, len(body), len(picture)) + body + picture)
        self._answers.flush()


def _facts(shot: Shot) -> dict[str, Any]:
    width, height = shot.size
    time_s = float(shot.seconds) if shot.pts is not None else None
    place = {"frame": shot.number, "pts": shot.pts, "time_s": time_s, "width": width, "height": height}
    return {"sample_id": shot.digest.hex(), **place}


@contextmanager
def _walled_in() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _limit_cpu() -> None:
    """Room for one more frame: the limit moves along with what has been used."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + _FRAME_CPU_S, hard))


def _lock_up() -> None:
    """Little memory, no file but the one it is given and none to write, no core dump, no life after the parent's."""
    Image.preinit()  # while its modules can still be loaded
    if sys.platform == "linux":
        die_with_parent()
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, free + 2))  # the video that is kept, and another one
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
