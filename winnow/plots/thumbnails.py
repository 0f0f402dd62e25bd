"""Small JPEGs of chosen samples, at their own aspect ratio; a sample that cannot be decoded has none."""

import io

from PIL import Image

from winnow.datasets.ahead import Ahead, Read, one_by_one
from winnow.datasets.decoders import DecoderPool
from winnow.errors import ItemError

_SIDE = 192  # pixels of the longer side


def render_thumbnails(read: Read, paths: list[str], *, max_pixels: int, ahead: Ahead = one_by_one) -> dict[str, bytes]:
    """Path to JPEG. Decoding happens in the same guarded processes as embedding."""
    readable = ((path, content) for path, content in ahead(read, paths) if not isinstance(content, ItemError))
    with DecoderPool(1, max_pixels, _SIDE) as pool:
        return {
            path: _jpeg(Image.fromarray(picture.pixels), picture.width, picture.height)
            for path, picture in pool.decode(readable)
            if not isinstance(picture, ItemError)
        }


def _jpeg(square: Image.Image, width: int, height: int) -> bytes:
    """The decoder hands out squares; give the picture its shape back."""
    scale = _SIDE / max(width, height, 1)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    out = io.BytesIO()
    square.resize(shape, Image.Resampling.BICUBIC).save(out, "JPEG", quality=82)
    return out.getvalue()
