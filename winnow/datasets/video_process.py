"""One guarded process that decodes videos: an open file comes in over a socket, frames go out, nothing else is allowed.

It is meant to die: of its limits, of a flaw in a decoder, of its parent's end. The parent starts another. Once it
listens it can open no file and no connection any more: it has room for the one descriptor that it is handed.
"""

import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from av.video.reformatter import VideoReformatter
from PIL import Image

from winnow.datasets.base import VideoLimits
from winnow.datasets.video_frames import Shot, Video, sampled
from winnow.datasets.video_protocol import ANSWER, DONE, FAILED, PROGRESS, READY, REQUEST, SAMPLE
from winnow.errors import ItemError
from winnow.lifeline import die_with_parent

_ADDRESS_SPACE_BYTES: Final = 3 << 30
_FRAME_CPU_S: Final = 15  # a decoder that works longer without a frame ends
_PROGRESS_S: Final = 0.2
_REQUEST_BYTES: Final = 64 << 10

Say = Callable[..., None]


def main() -> None:
    connection = socket.socket(fileno=os.dup(0))
    _lock_up()
    with connection, connection.makefile("wb") as answers:
        answers.write(READY)
        answers.flush()
        while (request := _received(connection)) is not None:
            _answer(answers, *request)


def _received(connection: socket.socket) -> tuple[dict[str, Any], BinaryIO] | None:
    """The next request, and the file it is about."""
    head, descriptors, _, _ = socket.recv_fds(connection, REQUEST.size, 1)
    if not head:
        return None
    (length,) = REQUEST.unpack(head)
    return json.loads(connection.recv(length, socket.MSG_WAITALL)), open(descriptors[0], "rb", buffering=0)


def _answer(answers: BinaryIO, request: dict[str, Any], file: BinaryIO) -> None:
    def say(kind: bytes, picture: bytes = b"", **facts: Any) -> None:
        body = json.dumps(facts).encode()
        answers.write(ANSWER.pack(kind, len(body), len(picture)) + body + picture)
        answers.flush()

    _limit_cpu()
    limits = VideoLimits(**request["limits"])
    with file:
        try:
            if request["wanted"] is None:
                _sample(file, request, limits, say)
            else:
                say(DONE, _found(file, request["wanted"], limits).png())
        except ItemError as error:
            say(FAILED, code=error.code, detail=error.detail)


def _sample(file: BinaryIO, request: dict[str, Any], limits: VideoLimits, say: Say) -> None:
    """Every frame is decoded, the wanted ones are answered."""
    video, scaler, said_at, seen = Video(file, limits), VideoReformatter(), time.monotonic(), 0
    for shot, wanted in sampled(video.shots(), request["rule"], request["value"]):
        _limit_cpu()
        seen += 1
        if wanted:
            say(SAMPLE, shot.picture(scaler), **_facts(shot))
        if time.monotonic() - said_at > _PROGRESS_S:
            said_at = time.monotonic()
            say(PROGRESS, share=min(1.0, float(shot.seconds) / video.seconds) if video.seconds else 0.0)
    video.close()
    if not seen:
        raise ItemError("VIDEO_UNREADABLE")
    say(DONE, damaged=video.damaged)


def _facts(shot: Shot) -> dict[str, Any]:
    width, height = shot.size
    time_s = float(shot.seconds) if shot.pts is not None else None
    place = {"frame": shot.number, "pts": shot.pts, "time_s": time_s, "width": width, "height": height}
    return {"sample_id": shot.digest.hex(), **place}


def _found(file: BinaryIO, wanted: dict[str, Any], limits: VideoLimits) -> Shot:
    """The frame with this digest: by a jump to its time, and where that fails by counting from the front."""
    digest = bytes.fromhex(wanted["sample_id"])
    video = Video(file, limits)
    if wanted["pts"] is not None:
        for frame in video.near(wanted["pts"]):
            _limit_cpu()
            shot = video.shot(wanted["frame"], frame)
            if shot.digest == digest:
                return shot
    video.close()
    file.seek(0)
    for shot in Video(file, limits).shots():
        _limit_cpu()
        if shot.number == wanted["frame"]:
            if shot.digest == digest:
                return shot
            break
    raise ItemError("CONTENT_CHANGED", "not the frame that was listed")


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
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
