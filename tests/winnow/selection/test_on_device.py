"""The picks of a device are the kernels' picks to the last bit; torch's CPU stands in where there is no GPU."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")
from winnow.selection import on_device  # noqa: E402 - it needs torch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def assert_equal(one, other):
    for name, left, right in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(
            left.view(np.int32) if left.dtype == np.float32 else left,
            right.view(np.int32) if right.dtype == np.float32 else right,
            err_msg=name,
        )


def clustered(n, d, seed):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(20, d))[rng.integers(0, 20, n)] * 3 + rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "d", "count"), [(30_000, 64, 3000), (20_000, 3, 20_000), (9000, 200, 500)])
def test_large_sets_are_picked_alike(device, n, d, count):
    vectors = clustered(n, d, n)
    vectors[::17] = vectors[1]  # twins in numbers
    assert_equal(on_device.coreset_on_device(vectors, count, device), kernels.coreset_with_cover(vectors, count))


@pytest.mark.parametrize("device", DEVICES)
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_set_is_picked_alike(device, data):
    n, d = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scale, offset = data.draw(st.sampled_from([(1, 0), (1e-30, 0), (1e-3, 1e4), (1e15, 0), (0, 5)]))
    grid = data.draw(st.booleans())  # equal distances in numbers
    drawn = rng.integers(-2, 3, (n, d)) if grid else rng.normal(size=(n, d))
    vectors = (drawn * scale + offset).astype(np.float32)
    pool = data.draw(st.sampled_from([None, vectors[: n // 3].copy()]))
    start = data.draw(st.sampled_from([None, n // 2]))
    count, radius = data.draw(st.integers(0, n + 2)), data.draw(st.sampled_from([0.0, 1.0, 3.0])) * scale
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(on_device, "_FARTHEST", data.draw(st.sampled_from([1, 2, 7, 4096])))
        patched.setattr(on_device, "_PAIRS", data.draw(st.sampled_from([64, 1 << 20])))
        found = on_device.coreset_on_device(vectors, count, device, pool=pool, start=start, min_radius=radius)
    assert_equal(found, kernels.coreset_with_cover(vectors, count, pool=pool, start=start, min_radius=radius))


def test_a_lower_precision_of_products_is_refused():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(RuntimeError, match="precision"):
            on_device.coreset_on_device(np.ones((2, 2), np.float32), 1, "cpu")
    finally:
        torch.set_float32_matmul_precision(before)


def test_progress_is_told_and_can_end_the_work():
    class Enough(Exception):
        pass

    def tell(done, total):
        assert 0 < done <= total == 5000
        raise Enough

    with pytest.raises(Enough):
        on_device.coreset_on_device(clustered(20_000, 16, 0), 5000, "cpu", tell=tell)
