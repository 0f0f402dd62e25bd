"""Our side of the guarded process that decodes videos: started when first asked, and again after each death."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from winnow.datasets.base import VideoLimits
from winnow.datasets.video_protocol import ANSWER, DONE, FAILED, READY, REQUEST
from winnow.errors import ItemError, VideoSupportMissing

_START_S: Final = 60.0  # to load its libraries
_SILENCE_S: Final = 20.0  # a decoder says something several times a second
_STRIKES: Final = 2  # it may die of something else once; twice on one video is the video's fault
_MAX_ANSWER_BYTES: Final = 1 << 30
_HOME: Final = str(Path(__file__).parents[2])  # the folder that holds the package, wherever the service was started
_COMMAND: Final = (sys.executable, "-P", "-m", "winnow.datasets.video_process")

Answer = tuple[bytes, dict[str, Any], bytes]  # kind, facts, picture
T = TypeVar("T")


class DecoderGone(Exception):
    """It died, or is silent; `code` is what that means for the video if it happens again."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class VideoDecoder:
    """One guarded process. Two threads must not ask it at a time, and it ends with the thread that first asked it."""

    def __init__(
        self, limits: VideoLimits, *, command: Sequence[str] = _COMMAND, silence_s: float = _SILENCE_S
    ) -> None:
        self._limits, self._command, self._silence_s = asdict(limits), command, silence_s
        self._running: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._answers: BinaryIO | None = None
        self._busy = False  # with answers nobody waits for any more

    def samples(self, file: int, rule: str, value: float) -> Iterator[Answer]:
        """The chosen frames of an open video, among signs of life; the last answer is DONE."""
        return self._asked(file, {"wanted": None, "rule": rule, "value": value})

    def frame(self, file: int, number: int, pts: int | None, sample_id: bytes, alive: Callable[[], None]) -> bytes:
        """One frame as a PNG of its full size; CONTENT_CHANGED where the video does not hold it any more.

        It may be far from where a jump leads to: `alive` is called several times a second until it is found.
        """
        wanted = {"frame": number, "pts": pts, "sample_id": sample_id.hex()}
        answers = self._asked(file, {"wanted": wanted})
        while (answer := next(answers))[0] != DONE:
            alive()
        return answer[2]

    def twice(self, attempt: Callable[[], T]) -> T:
        """What the attempt gives; ItemError where a fresh decoder is lost in it, too."""
        lost = DecoderGone("ITEM_CRASHED_DECODER")
        for _ in range(_STRIKES):
            try:
                return attempt()
            except DecoderGone as gone:
                self.end()
                lost = gone
        raise ItemError(lost.code)

    def end(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.wait()
        for end in (self._answers, self._connection):
            if end is not None:
                end.close()
        self._running = self._connection = self._answers = None
        self._busy = False

    def _asked(self, file: int, request: dict[str, Any]) -> Iterator[Answer]:
        if self._busy:
            self.end()
        try:
            connection, answers = self._started()
            self._busy = True
            body = json.dumps(request | {"limits": self._limits}).encode()
            socket.send_fds(connection, [REQUEST.pack(len(body)) + body], [file])
            while True:
                answer = _next(answers)
                self._busy = answer[0] not in {DONE, FAILED}
                if answer[0] == FAILED:
                    raise ItemError(**answer[1])
                yield answer
                if not self._busy:
                    return
        except TimeoutError as error:
            raise DecoderGone("ITEM_TIMEOUT") from error
        except (OSError, EOFError) as error:
            raise DecoderGone("ITEM_CRASHED_DECODER") from error

    def _started(self) -> tuple[socket.socket, BinaryIO]:
        """Of this process's environment, which may hold secrets, a decoder gets nothing."""
        if self._connection is None or self._answers is None:
            self._connection, theirs = socket.socketpair()
            self._connection.settimeout(_START_S)
            self._answers = self._connection.makefile("rb")
            with theirs:
                self._running = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    self._command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={"PATH": os.defpath, "PYTHONPATH": _HOME, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )
            with suppress(TimeoutError):
                if self._answers.read(1) == READY:
                    self._connection.settimeout(self._silence_s)
                    return self._connection, self._answers
            self.end()  # no video has been looked at yet: none is at fault
            raise VideoSupportMissing("the decoder of videos does not start; see whether PyAV can be loaded")
        return self._connection, self._answers


def require_video_support() -> None:
    """Asked by name, not by import: the decoder alone loads the library."""
    if find_spec("av") is None:
        raise VideoSupportMissing("videos need PyAV on the worker; install winnow[video]")


def _next(answers: BinaryIO) -> Answer:
    kind, facts, picture = ANSWER.unpack(_exactly(answers, ANSWER.size))
    if facts + picture > _MAX_ANSWER_BYTES:
        raise EOFError
    return kind, json.loads(_exactly(answers, facts)), _exactly(answers, picture)


def _exactly(answers: BinaryIO, size: int) -> bytes:
    content = answers.read(size)
    if len(content) < size:
        raise EOFError
    return content
