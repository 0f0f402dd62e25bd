"""Bytes of a picture become a small square of RGB pixels, or an ItemError that says why not."""

import io
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from winnow.encoders import Resample
from winnow.errors import ItemError

VERSION: Final = "1"  # rises when the same bytes give other pixels

# What is sniffed from the content; anything else (EPS would start Ghostscript) is not even looked at.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_STARTS: Final = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE: Final = frozenset({5, 6, 7, 8})
_ALPHA: Final = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})


_RESAMPLE: Final = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class Crop:
    """The square is cut from the middle, as if the shorter side had first been brought to `shorter` pixels."""

    shorter: int
    resample: Resample


@dataclass(frozen=True)
class Picture:
    """A decoded sample."""

    pixels: NDArray[np.uint8]  # (size, size, 3)
    width: int  # of the original, turned upright
    height: int


def decode(content: bytes, max_pixels: int, size: int, crop: Crop | None = None) -> Picture:
    """The first frame, upright, over white, as size x size: squeezed, or the middle of it.

    The header is judged before a pixel is decoded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning of Pillow's is no answer; what it warns of is judged here
        try:
            with _opened(content) as image:
                return _decoded(image, max_pixels, size, crop)
        except ItemError:
            raise
        except Image.DecompressionBombError as error:
            raise ItemError("IMAGE_TOO_LARGE") from error
        except MemoryError as error:
            raise ItemError("IMAGE_TOO_LARGE", "out of memory") from error
        except Exception as error:  # a hostile file may make Pillow raise anything; none of it ends the job
            raise ItemError("DECODE_FAILED") from error


def _opened(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        damaged = not content or content.startswith(_STARTS) or content[8:12] == b"WEBP"
        raise ItemError("DECODE_FAILED" if damaged else "UNSUPPORTED_FORMAT") from error


def _decoded(image: Image.Image, max_pixels: int, size: int, crop: Crop | None) -> Picture:
    width, height = image.size
    if width * height > max_pixels:
        raise ItemError("IMAGE_TOO_LARGE", f"{width}x{height}")
    room = 2 * max(size, crop.shorter if crop else 0)
    image.draft("RGB", (room, room))  # JPEG decodes at 1/2, 1/4, 1/8 for free; others take no notice
    orientation = _orientation(image)
    small = _reduced(image, size, crop)
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    if orientation in _ON_ITS_SIDE:
        width, height = height, width
    return Picture(np.asarray(small, np.uint8), width, height)


def _orientation(image: Image.Image) -> int:
    """1 where nothing, or nothing legible, is said: a picture is not lost for a broken note about it."""
    try:
        said = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # as for decoding, what a hostile block raises is not listed anywhere
        return 1
    return said if isinstance(said, int) else 1


def _reduced(image: Image.Image, size: int, crop: Crop | None) -> Image.Image:
    """Any mode as a small RGB square: 16 bits scaled rather than cut off, transparency laid over white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    transparent = image.mode in _ALPHA or "transparency" in image.info
    small = _squared(image.convert("RGBA" if transparent else "RGB"), size, crop)
    if transparent:
        small = Image.alpha_composite(Image.new("RGBA", small.size, (255, 255, 255, 255)), small).convert("RGB")
    return small


def _squared(image: Image.Image, size: int, crop: Crop | None) -> Image.Image:
    """Only what is kept is resized: the other side of a picture may be of any length."""
    if crop is None:
        return image.resize((size, size), Image.Resampling.BOX, reducing_gap=2.0)
    width, height = image.size
    half = min(width, height) * size / crop.shorter / 2
    middle = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
    return image.resize((size, size), _RESAMPLE[crop.resample], box=middle, reducing_gap=3.0)


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Integers above 8 bits are taken for 16; floats for 0 to 1."""
    if values.dtype.kind == "f":
        return np.asarray(np.clip(np.nan_to_num(values), 0, 1) * 255, np.uint8)
    shift = 8 if values.dtype.itemsize == 2 or (values.size and values.max() > 255) else 0
    return np.asarray(np.clip(values >> shift, 0, 255), np.uint8)
