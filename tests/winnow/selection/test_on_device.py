"""The picks of a device are the kernels' picks to the last bit; torch's CPU stands in where there is no GPU."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")
from winnow.selection import on_device, select  # noqa: E402 - it needs torch
from winnow.selection.on_device import DeviceRun  # noqa: E402
from winnow.spec import CoresetSelection, Target  # noqa: E402

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def assert_equal(one, other):
    for name, left, right in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(
            left.view(np.int32) if left.dtype == np.float32 else left,
            right.view(np.int32) if right.dtype == np.float32 else right,
            err_msg=name,
        )


def on(device, vectors, count, *, min_radius=0.0, **given):
    run = on_device.DeviceRun(vectors, device, **given)
    run.run(count, min_radius=min_radius)
    return run.cover()


def clustered(n, d, seed):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(20, d))[rng.integers(0, 20, n)] * 3 + rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "d", "count"), [(30_000, 64, 3000), (20_000, 3, 20_000), (9000, 200, 500)])
def test_large_sets_are_picked_alike(device, n, d, count):
    vectors = clustered(n, d, n)
    vectors[::17] = vectors[1]  # twins in numbers
    assert_equal(on(device, vectors, count), kernels.coreset_with_cover(vectors, count))


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
        found = on(device, vectors, count, pool=pool, start=start, min_radius=radius)
    assert_equal(found, kernels.coreset_with_cover(vectors, count, pool=pool, start=start, min_radius=radius))


def test_a_lower_precision_of_products_is_refused():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(RuntimeError, match="precision"):
            on_device.DeviceRun(np.ones((2, 2), np.float32), "cpu")
    finally:
        torch.set_float32_matmul_precision(before)


def test_progress_is_told_and_can_end_the_work():
    class Enough(Exception):
        pass

    def tell(done, total):
        assert 0 < done <= total == 5000
        raise Enough

    with pytest.raises(Enough):
        on_device.DeviceRun(clustered(20_000, 16, 0), "cpu").run(5000, on_progress=tell)


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_goes_on_where_it_stopped_and_is_not_changed_by_a_look(device):
    vectors = clustered(3000, 16, 4)
    run = on_device.DeviceRun(vectors, device)
    for count in (10, 400, 900):
        run.run(count)
        assert_equal(run.cover(), kernels.coreset_with_cover(vectors, count))


def asked(count):
    return CoresetSelection(method="coreset", target=Target(count=count))


def test_a_selection_on_a_device_is_the_one_without_it_to_the_proof(monkeypatch):
    monkeypatch.setattr(sys.modules["winnow.selection.coreset"], "_WORTH_A_DEVICE", 1)
    vectors, made = clustered(3000, 16, 4), []
    monkeypatch.setattr(on_device, "DeviceRun", lambda *given: made.append(given) or DeviceRun(*given))
    one, other = (select(asked(100), vectors, seed=0, device=device) for device in ("cpu:0", "cpu"))
    assert len(made) == 1
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.full_rank, other.full_rank)
    assert (one.radius, one.proof.lower_bound) == (other.radius, other.proof.lower_bound)


def test_a_device_that_is_too_small_is_done_without(monkeypatch):
    monkeypatch.setattr(sys.modules["winnow.selection.coreset"], "_WORTH_A_DEVICE", 1)

    def full(*_given):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(on_device, "DeviceRun", full)
    vectors = clustered(500, 4, 1)
    found = select(asked(20), vectors, seed=0, device="cpu:0")
    np.testing.assert_array_equal(found.positions, select(asked(20), vectors, seed=0).positions)
