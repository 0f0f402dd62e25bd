"""The buckets pick what the twin picks, to the bit, on every instruction set; and a run can be cut anywhere."""

import re
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from drawn import matrices
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from kernels import _farthest, farthest, instructions, reference
from kernels.farthest import CoresetRun, Picked

LEVELS = [name for name, level in instructions.LEVELS.items() if level <= _farthest.widest()]


@pytest.fixture(params=LEVELS)
def isa(request, monkeypatch):
    monkeypatch.setenv("WINNOW_KERNELS_ISA", request.param)
    return request.param


def clusters(n, width, seed=0):
    rng = np.random.default_rng(seed)
    middles = rng.normal(size=(12, width)) * 3
    return (middles[rng.integers(0, 12, n)] + rng.normal(size=(n, width))).astype(np.float32)


def with_twins(n, width):
    vectors = clusters(n, width)
    vectors[::7] = vectors[3]
    return vectors


SETS = {
    "clusters": clusters(9000, 64),
    "narrow": clusters(9000, 3),
    "a line": clusters(9000, 1),
    "odd width": clusters(5000, 77),
    "wide": clusters(4500, 700),
    "twins": with_twins(6000, 20),
    "ties": np.random.default_rng(1).integers(-2, 3, (6000, 6)).astype(np.float32),
    "far more ties than a round picks among": np.random.default_rng(2).integers(0, 2, (9000, 13)).astype(np.float32),
    "one point": np.ones((5000, 8), np.float32),
    "far from zero": clusters(5000, 16) + np.float32(1e6),
    "tiny": clusters(5000, 16) * np.float32(1e-22),
    "tinier than squares can be": clusters(5000, 16) * np.float32(1e-30),
    "large": clusters(5000, 16) * np.float32(1e13),
    "one far away": np.concatenate([clusters(5000, 16), np.full((1, 16), 1e7, np.float32)]),
    "zeros among others": np.concatenate([np.zeros((3000, 9), np.float32), clusters(3000, 9)]),
}


def same(left, right):
    for name, mine, truth in zip(left._fields, left, right, strict=True):
        np.testing.assert_array_equal(mine, truth, err_msg=name)
        assert mine.dtype == truth.dtype


def plain(vectors, count, **options):
    run = CoresetRun(vectors, plain=True, **options)
    run.run(count)
    return run.cover()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("threads", [1, 3])
def test_buckets_pick_what_looking_at_everything_picks(isa, name, threads):
    vectors = SETS[name]
    count = len(vectors) if name in {"a line", "one point"} else 900
    run = CoresetRun(vectors, n_threads=threads)
    run.run(count)
    same(run.cover(), plain(vectors, count))


@given(
    matrices(max_rows=60),
    st.integers(0, 65),
    st.none() | matrices(max_rows=6),
    st.none() | st.integers(0, 60),
    st.sampled_from([0.0, 1.0, 2.5, 1e10]),
    st.sampled_from(LEVELS),
    st.sampled_from([1, 2]),
)
@settings(max_examples=250, deadline=None)
def test_small_sets_pools_starts_and_radii(vectors, count, pool, start, min_radius, level, threads):
    vectors = np.clip(vectors, -1e15, 1e15)
    options = {
        "pool": None if pool is None else np.clip(np.resize(pool, (len(pool), vectors.shape[1])), -1e15, 1e15),
        "start": start if start is None else start % len(vectors),
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("WINNOW_KERNELS_ISA", level)
        run = CoresetRun(vectors, n_threads=threads, **options)
        assert isinstance(run._engine, _farthest.Farthest)
        run.run(count, min_radius=min_radius)
        found = run.cover()
    positions, insertion = reference.coreset(vectors, count, min_radius=min_radius, **options)
    np.testing.assert_array_equal(found.positions, positions)
    np.testing.assert_array_equal(found.insertion, insertion)
    if len(positions) and pool is None:
        nearest, distance, covered_at = reference.cover(vectors, positions)
        np.testing.assert_array_equal(found.distance, distance)
        np.testing.assert_array_equal(found.covered_at, covered_at)
        np.testing.assert_array_equal(found.nearest, nearest)


def test_the_plain_functions_take_whichever_is_faster_and_say_the_same():
    vectors = SETS["twins"]
    for count in (0, 1, 31, 32, 500, 6000, 9999):
        same(kernels.coreset_with_cover(vectors, count), plain(vectors, count))
        positions, insertion = kernels.coreset(vectors, count, pool=vectors[5:9].copy(), start=7)
        np.testing.assert_array_equal(positions, plain(vectors, count, pool=vectors[5:9].copy(), start=7).positions)
        assert len(insertion) == min(count, 6000)


@pytest.mark.parametrize("as_plain", [False, True])
def test_more_picks_go_on_where_the_first_ended(as_plain):
    vectors = SETS["clusters"]
    whole = CoresetRun(vectors, plain=as_plain)
    whole.run(700)
    parts = CoresetRun(vectors, plain=as_plain)
    for count in (1, 2, 60, 61, 400, 300, 700):
        parts.run(count)
    same(parts.cover(), whole.cover())


def test_looking_at_the_cover_does_not_change_what_comes_next():
    vectors = SETS["clusters"]
    looked = CoresetRun(vectors)
    for count in (10, 200, 700):
        looked.run(count)
        same(looked.cover(), plain(vectors, count))


@pytest.mark.parametrize("as_plain", [False, True])
def test_a_run_is_taken_up_in_another_process_from_its_picks_alone(as_plain):
    vectors, pool = SETS["clusters"], SETS["clusters"][:40] + np.float32(0.5)
    first = CoresetRun(vectors, pool=pool, plain=as_plain)
    first.run(150)
    second = CoresetRun(vectors, pool=pool, picked=first.picked, plain=as_plain)
    second.run(400)
    first.run(400)
    same(second.cover(), first.cover())
    np.testing.assert_array_equal(second.insertion, first.insertion)


def test_work_can_be_cut_between_slices_and_goes_on(monkeypatch):
    monkeypatch.setattr(farthest, "_SLICE_S", 0.0)  # as short as slices can be
    vectors, seen = SETS["clusters"], []

    class Enough(Exception):
        pass

    def cut(done, total):
        assert total == 300
        seen.append(done)
        np.testing.assert_array_equal(run.positions, wanted.positions[:done])  # picks can be read while it runs
        if len(seen) % 3 == 0:
            raise Enough

    wanted = plain(vectors, 300)
    run = CoresetRun(vectors, n_threads=2)
    while len(run.positions) < 300:
        try:
            run.run(300, on_progress=cut)
        except Enough:
            continue
    assert len(seen) > 5
    assert seen == sorted(seen)
    same(run.cover(), wanted)


def test_input_may_be_read_only_or_a_file(tmp_path):
    vectors = SETS["clusters"]
    wanted = plain(vectors, 300)
    locked = vectors.copy()
    locked.flags.writeable = False
    np.save(tmp_path / "v.npy", vectors)
    for given_ in (locked, np.load(tmp_path / "v.npy", mmap_mode="r")):
        run = CoresetRun(given_)
        run.run(300)
        same(run.cover(), wanted)


def test_numbers_beyond_the_bounds_are_looked_at_one_by_one():
    vectors = np.array([[3e18], [-3e18], [0.0], [1.0]] * 2000, np.float32)
    run = CoresetRun(vectors)
    run.run(4)
    same(run.cover(), plain(vectors, 4))


def test_the_buckets_take_no_more_room_than_they_may():
    vectors = clusters(60_000, 64)
    run = CoresetRun(vectors)
    run.run(6000)
    assert run._engine.bytes() <= 1.6 * vectors.nbytes


def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv("WINNOW_KERNELS_ISA", "mmx")
    with pytest.raises(ValueError, match="baseline"):
        CoresetRun(SETS["clusters"])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_map_of_a_file_gives_the_picks_of_the_array(dtype, tmp_path):
    vectors = clusters(9000, 20).astype(dtype)
    np.save(tmp_path / "vectors.npy", vectors)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run = CoresetRun(np.load(tmp_path / "vectors.npy", mmap_mode="r"), scratch=scratch)
    assert not [*scratch.iterdir()], "what is kept aside has a name"
    run.run(600)
    same(run.cover(), plain(vectors.astype(np.float32), 600))


def test_what_is_kept_aside_is_not_in_memory(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(300_000, 64)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    del vectors
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    before = anonymous_bytes()
    run = CoresetRun(mapped, scratch=tmp_path)
    run.run(100)
    assert anonymous_bytes() - before < 0.6 * mapped.nbytes


def anonymous_bytes():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) << 10


def test_a_scratch_that_is_full_is_a_memory_error_and_not_a_crash(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises((MemoryError, OSError)):
            CoresetRun(clusters(9000, 20), scratch=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize(
    "picked",
    [Picked(np.array([0, 9000]), np.ones(2)), Picked(np.array([-1]), np.ones(1)), Picked(np.array([3, 3]), np.ones(2))],
)
def test_picks_that_cannot_be_are_refused(picked):
    with pytest.raises(kernels.KernelError):
        CoresetRun(clusters(9000, 5), picked=picked)


def test_a_lower_bound_needs_a_cover_by_picks_alone():
    vectors = clusters(200, 5)
    with pytest.raises(kernels.KernelError, match="pool"):
        kernels.lower_bound(vectors, kernels.coreset_with_cover(vectors, 5, pool=vectors[:3] + np.float32(0.01)))
