"""Videos made on the spot, and what a plain decode says is in them."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def scene(number: int, size: tuple[int, int] = (96, 64)) -> Pixels:
    """A soft landscape in which a bright block moves; no two of the first thousands are equal."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.sin(columns / 9 + number / 5) + np.cos(rows / 7 - number / 11)
    pixels = np.stack([128 + 60 * waves, 90 + rows, 200 - columns], axis=2).clip(0, 255).astype(np.uint8)
    left = (number * 5) % max(1, width - 8)
    pixels[8:16, left : left + 8] = 255
    return pixels


def make(
    path: Path,
    pictures: Iterable[Pixels] | int = 40,
    *,
    codec: str = "libx264",
    fps: int = 30,
    pts: Callable[[int], int] | None = None,
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    form: str | None = None,
) -> Path:
    """`pts` counts milliseconds, where the distances between frames are to vary."""
    if isinstance(pictures, int):
        pictures = map(scene, range(pictures))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _as_urgent_as_before(), av.open(str(path), "w", format=form, options=container or {}) as out:
        stream: Any = None
        for number, pixels in enumerate(pictures):
            if stream is None:
                stream = out.add_stream(codec, rate=1000 if pts else fps, options=options or {})
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt, stream.codec_context.thread_count = pixel_format, 1
                unit = Fraction(1, 1000 if pts else fps)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = pts(number) if pts else number, unit
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


@contextmanager
def _as_urgent_as_before() -> Iterator[None]:
    """An encoder of AV1 that runs as root makes its process a real-time one, and all that is started from it."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def by_hand(path: Path) -> list[tuple[int | None, Pixels]]:
    """Time stamp and pixels of each frame, as anybody would decode them from the front."""
    with av.open(str(path)) as video:
        return [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in video.decode(video=0)]
