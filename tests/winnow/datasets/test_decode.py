"""Bytes to pixels: every mode and format, upright, first frame, and no crash whatever comes."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from winnow.datasets.decode import Crop, decode
from winnow.errors import ItemError

MAX = 10_000_000


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def quarters(mode="RGB"):
    """White, red / green, blue."""
    image = Image.new("RGB", (64, 32), "white")
    image.paste("red", (32, 0, 64, 16))
    image.paste("green", (0, 16, 32, 32))
    image.paste("blue", (32, 16, 64, 32))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGB", "WEBP"), ("P", "GIF"), ("RGB", "BMP"), ("RGB", "TIFF"),
     ("CMYK", "TIFF"), ("RGBA", "PNG"), ("P", "PNG"), ("RGBA", "WEBP")],
)  # fmt: skip
def test_every_format_and_colour_mode_shows_the_same_picture(mode, kind):
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    picture = decode(saved(quarters(mode), kind, **options), MAX, 4)
    assert (picture.width, picture.height) == (64, 32)
    assert picture.pixels.shape == (4, 4, 3)
    assert picture.pixels.dtype == np.uint8
    corners = picture.pixels[[0, 0, 3, 3], [0, 3, 0, 3]].astype(int)
    assert np.abs(corners - [[255] * 3, [255, 0, 0], [0, 128, 0], [0, 0, 255]]).max() <= 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(orientation):
    upright = np.asarray(quarters())
    turns = {  # how a camera stores what it says is at this orientation
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, 3),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(saved(Image.fromarray(turns[orientation]), "PNG", exif=exif), MAX, 8)
    assert (picture.width, picture.height) == (64, 32)
    np.testing.assert_array_equal(picture.pixels, decode(saved(quarters(), "PNG"), MAX, 8).pixels)


def test_sixteen_bits_are_scaled_not_cut_off():
    ramp = Image.fromarray(np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64))
    pixels = decode(saved(ramp, "PNG"), MAX, 8).pixels
    assert pixels[0].max() < 35
    assert pixels[-1].min() > 220


def test_a_dark_sixteen_bit_picture_stays_dark():
    assert decode(saved(Image.fromarray(np.full((9, 9), 200, np.uint16)), "PNG"), MAX, 2).pixels.max() == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(mode):
    image = Image.new(mode, (9, 9), (0,) * len(mode))
    assert decode(saved(image, "PNG"), MAX, 2).pixels.min() == 255


def test_a_transparent_palette_colour_is_white():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert decode(saved(image, "PNG", transparency=1), MAX, 2).pixels.min() == 255


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_many_frames_the_first_counts(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert decode(content, MAX, 1).pixels[0, 0, 1:].max() < 5


def test_the_content_decides_not_the_name():
    with pytest.raises(ItemError, match="UNSUPPORTED_FORMAT"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", MAX, 8)


def test_a_broken_note_about_a_picture_does_not_lose_the_picture():
    content = saved(quarters(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert decode(content, MAX, 8).width == 64


def test_a_large_jpeg_is_decoded_reduced_and_reported_whole(picture):
    decoded = decode(picture(3, size=(3000, 2000), kind="JPEG"), MAX, 64)
    assert (decoded.width, decoded.height) == (3000, 2000)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_an_item_error_or_a_picture_and_never_a_warning(picture, data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"]))
    content = bytearray(picture(1, kind=kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert outcome(bytes(content)) in {(8, 8, 3), "DECODE_FAILED", "UNSUPPORTED_FORMAT", "IMAGE_TOO_LARGE"}
    assert caught == []


def outcome(content):
    try:
        return decode(content, MAX, 8).pixels.shape
    except ItemError as error:
        return error.code


def striped(width, height):
    """Red, then a square of blue in the middle, then green, along the longer side."""
    image = Image.new("RGB", (width, height), "blue")
    side = (max(width, height) - min(width, height)) // 2
    tall = height > width
    image.paste("red", (0, 0, width, side) if tall else (0, 0, side, height))
    image.paste("green", (0, height - side, width, height) if tall else (width - side, 0, width, height))
    return image


@pytest.mark.parametrize("size", [(600, 200), (200, 600), (901, 303), (40, 20)])
@pytest.mark.parametrize("resample", ["box", "bilinear", "bicubic"])
def test_a_crop_shows_the_middle_and_squeezes_nothing(size, resample):
    content = saved(striped(*size), "PNG")
    picture = decode(content, MAX, 56, Crop(64, resample))
    assert picture.pixels.shape == (56, 56, 3)
    assert (picture.width, picture.height) == size
    assert (picture.pixels == [0, 0, 255]).all()
    assert (decode(content, MAX, 56).pixels[:, :, 2] < 128).any()


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_a_crop_is_what_resizing_all_and_cutting_gives(resample):
    """As torchvision and timm do it; up to where halves of a pixel go."""
    whole = Image.linear_gradient("L").resize((400, 300), Image.Resampling.BICUBIC)
    image = Image.merge("RGB", [whole, whole.rotate(180), whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    resized = image.resize((341, 256), Image.Resampling[resample.upper()])
    left, top = round((341 - 224) / 2), (256 - 224) // 2
    expected = np.asarray(resized.crop((left, top, left + 224, top + 224)), int)
    seen = decode(saved(image, "PNG"), MAX, 224, Crop(256, resample)).pixels.astype(int)
    assert np.abs(seen - expected).max() <= 3


def test_a_crop_of_a_picture_without_end_costs_no_more_than_its_square():
    picture = decode(saved(Image.new("RGB", (1_000_000, 2), "red"), "PNG"), MAX, 224, Crop(256, "bicubic"))
    assert picture.pixels.shape == (224, 224, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_is_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = decode(saved(striped(90, 30), "PNG", exif=exif), MAX, 28, Crop(32, "bicubic"))
    assert (seen.pixels == [0, 0, 255]).all()
    assert (seen.width, seen.height) == ((90, 30) if orientation < 5 else (30, 90))
