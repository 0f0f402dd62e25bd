"""One guarded process that decodes: pictures come in on stdin, pixels go out on stdout, nothing else is allowed.

It is meant to die: of its limits, of a flaw in a decoder, of its parent's end. The parent starts another.
"""

import json
import resource
import struct
import sys
import time
from typing import BinaryIO, Final

from winnow.datasets.decode import Crop, decode
from winnow.encoders import Resample
from winnow.errors import ItemError
from winnow.lifeline import die_with_parent

REQUEST: Final = struct.Struct("<QQIIB")  # bytes, max_pixels, size, shorter side (0: squeezed), resampling
ANSWER: Final = struct.Struct("<cIII")  # b'P' width height bytes | b'E' 0 0 bytes

_RESAMPLES: Final[tuple[Resample, ...]] = ("box", "bilinear", "bicubic")
_ADDRESS_SPACE_BYTES: Final = 2 << 30
_OPEN_FILES: Final = 32
_ITEM_CPU_S: Final = 15  # above the parent's patience; ends a decoder whose parent no longer watches


def request(length: int, max_pixels: int, size: int, crop: Crop | None) -> bytes:
    """The header of a request; the picture's bytes follow it."""
    shorter, resample = (crop.shorter, _RESAMPLES.index(crop.resample)) if crop else (0, 0)
    return REQUEST.pack(length, max_pixels, size, shorter, resample)


def main() -> None:
    _lock_up()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while len(header := requests.read(REQUEST.size)) == REQUEST.size:
        length, max_pixels, size, shorter, resample = REQUEST.unpack(header)
        content = requests.read(length)
        _limit_cpu()
        crop = Crop(shorter, _RESAMPLES[resample]) if shorter else None
        _answer(answers, content, max_pixels, size, crop)


def _answer(answers: BinaryIO, content: bytes, max_pixels: int, size: int, crop: Crop | None) -> None:
    try:
        picture = decode(content, max_pixels, size, crop)
    except ItemError as error:
        body = json.dumps([error.code, error.detail]).encode()
        answers.write(ANSWER.pack(b"E", 0, 0, len(body)) + body)
    else:
        pixels = picture.pixels.tobytes()
        answers.write(ANSWER.pack(b"P", picture.width, picture.height, len(pixels)) + pixels)
    answers.flush()


def _limit_cpu() -> None:
    """Room for one more picture: the limit moves along with what has been used."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + _ITEM_CPU_S, hard))


def _lock_up() -> None:
    """Little memory, few files and none to write, no core dump, no life after the parent's."""
    if sys.platform == "linux":
        die_with_parent()
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
