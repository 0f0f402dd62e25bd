"""winnow-64: a row depends on its own picture alone, and knows what a picture shows."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (the extra `torch`)")
from winnow.embeddings import ENCODERS, Runtime, forward, get_encoder, student, winnow_64  # noqa: E402 - they need torch
from winnow.embeddings.winnow_64 import WEIGHTS, Winnow64  # noqa: E402
from winnow.errors import WeightsMissing  # noqa: E402

ENCODER = get_encoder("winnow-64")


def pictures(count):
    return list(np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3), np.uint8))


def test_a_row_does_not_depend_on_its_company_or_on_threads():
    some = pictures(70)
    together = ENCODER.embed(some)
    assert (together.shape, together.dtype) == ((70, 64), np.float32)
    np.testing.assert_array_equal(ENCODER.embed(some[::-1])[::-1], together)
    np.testing.assert_array_equal(np.concatenate([ENCODER.embed([one]) for one in some[:5]]), together[:5])
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        np.testing.assert_array_equal(ENCODER.embed(some), together)
    torch.set_num_threads(before)
    assert ENCODER.embed([]).shape == (0, 64)


def test_the_weights_are_small_and_damage_is_noticed(tmp_path, monkeypatch):
    assert WEIGHTS.stat().st_size <= 8 << 20
    damaged = bytearray(WEIGHTS.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "weights").write_bytes(damaged)
    monkeypatch.setattr(winnow_64, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(WeightsMissing, match="damaged"):
        Winnow64(ENCODERS["winnow-64"], Runtime()).embed(pictures(1))


def test_folding_changes_nothing_but_rounding():
    torch.manual_seed(0)
    network = student.Student()
    batch = student.as_input(np.stack(pictures(8)))
    network.train()(batch)  # moves the statistics away from where they start
    with torch.inference_mode():
        before = network.eval()(batch)
        after = forward.fused(network)(batch)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
