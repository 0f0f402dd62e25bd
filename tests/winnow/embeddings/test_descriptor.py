"""descriptor-64: the same bits everywhere, and near where pictures are near."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.embeddings import encoder_for, get_encoder

ENCODER = get_encoder("descriptor-64")


def pictures(count, seed=0):
    """Smooth random pictures, made of integers alone."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 9, 9, 3))
    fine = coarse.repeat(8, 1).repeat(8, 2)
    return [((fine[i, :64, :64] + fine[i, 4:68, 4:68]) // 2).astype(np.uint8) for i in range(count)]


def test_the_bits_are_those_that_were_written_down():
    # This digest is part of the promise: a machine or a library that gives another one must not go unnoticed.
    digest = hashlib.sha256(ENCODER.embed(pictures(32)).tobytes()).hexdigest()
    assert digest == "30eae541d9521b12ca272b85ffbad2176e0d967ecd0b26859619334db5b39b0d"


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.integers(1, 12))
def test_a_row_depends_on_its_own_picture_alone(order, batch):
    all_pictures = pictures(12)
    alone = np.concatenate([ENCODER.embed([picture]) for picture in all_pictures])
    shuffled = [all_pictures[position] for position in order]
    rows = np.concatenate([ENCODER.embed(shuffled[begin : begin + batch]) for begin in range(0, 12, batch)])
    assert rows.tobytes() == alone[list(order)].tobytes()


def test_shape_type_and_scale():
    rows = ENCODER.embed(pictures(5))
    assert rows.shape == (5, ENCODER.dimension) == (5, 64)
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    assert np.isfinite(rows).all()
    assert np.abs(rows).max() <= 1.0
    assert ENCODER.embed([]).shape == (0, 64)


def test_colour_layout_and_edges_each_do_their_part():
    flat = np.full((64, 64, 3), 100, np.uint8)
    reddish = flat.copy()
    reddish[..., 0] = 180
    half = flat.copy()
    half[32:] = 180
    stripes = [np.where(np.indices((64, 64))[axis] // 4 % 2, 160, 40)[..., None].repeat(3, 2) for axis in (0, 1)]
    rows = ENCODER.embed([flat, reddish, half, *[stripe.astype(np.uint8) for stripe in stripes]])
    difference = rows - rows[0]
    assert np.abs(difference[1, 24:36]).max() > 0.05  # another hue moves Cb and Cr
    assert np.abs(difference[2, 1:24]).max() > 0.05  # another layout moves the low frequencies of Y
    across, down = rows[3, 36:], rows[4, 36:]  # equal layouts, edges at a right angle
    assert np.abs(across - down).max() > 0.1


def test_a_noisy_picture_is_found_again_among_others():
    originals = pictures(40, 0)
    noise = np.random.default_rng(0).integers(-4, 5, (40, *originals[0].shape))
    noisy = [np.clip(one + added, 0, 255).astype(np.uint8) for one, added in zip(originals, noise, strict=True)]
    rows, seen = ENCODER.embed(originals), ENCODER.embed(noisy)
    nearest = np.linalg.norm(seen[:, None] - rows[None], axis=2).argmin(axis=1)
    assert (nearest == np.arange(40)).mean() > 0.95


def test_a_dataset_of_vectors_brings_its_own():
    assert encoder_for("vectors", "descriptor-64").name == "given"
    assert encoder_for("images", "descriptor-64").name == "descriptor-64"


def test_given_never_sees_a_picture():
    with pytest.raises(TypeError):
        get_encoder("given").embed(pictures(1))
