"""Small JPEGs of chosen samples, at their own aspect ratio; a sample that cannot be decoded has none."""

import io
from collections.abc import Callable, Iterator

from PIL import Image

from winnow.datasets.decoders import DecoderPool
from winnow.errors import ItemError

_SIDE = 192  # pixels of the longer side


def render_thumbnails(read: Callable[[str], bytes], paths: list[str], *, max_pixels: int) -> dict[str, bytes]:
    """Path to JPEG. Decoding happens in the same guarded processes as embedding."""
    with DecoderPool(1, max_pixels, _SIDE) as pool:
        return {
            path: _jpeg(Image.fromarray(picture.pixels), picture.width, picture.height)
            for path, picture in pool.decode(_readable(read, paths))
            if not isinstance(picture, ItemError)
        }


def _readable(read: Callable[[str], bytes], paths: list[str]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        try:
            yield path, read(path)
        except ItemError:
            continue


def _jpeg(square: Image.Image, width: int, height: int) -> bytes:
    """The decoder hands out squares; give the picture its shape back."""
    scale = _SIDE / max(width, height, 1)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    out = io.BytesIO()
    square.resize(shape, Image.Resampling.BICUBIC).save(out, "JPEG", quality=82)
    return out.getvalue()
