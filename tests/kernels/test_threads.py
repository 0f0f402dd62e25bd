"""How many threads a loop takes: the least of what affinity, the cgroup and the environment give."""

import os

import pytest

from kernels.threads import cgroup_processors, effective_threads


def group(root, **files):
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("_", ".", 1)).write_text(text)


def member(tmp_path, text):
    (tmp_path / "membership").write_text(text)
    return cgroup_processors(tmp_path / "fs", tmp_path / "membership")


def test_a_number_asked_for_is_taken():
    assert effective_threads(3) == 3


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="n_threads"):
        effective_threads(-1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_the_affinity_mask_is_honoured(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert effective_threads() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("asked", "most"), [("1", 1), ("1,4", 1), ("none", 1 << 16), ("", 1 << 16), ("0", 1 << 16)])
def test_the_environment_can_only_lower_it(monkeypatch, asked, most):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert 1 <= effective_threads() <= min(most, os.cpu_count())


@pytest.mark.parametrize(
    ("quota", "processors"),
    [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 1 << 16), ("nonsense", 1 << 16), ("1 0", 1 << 16)],
)
def test_a_quota_of_cgroup_v2(tmp_path, quota, processors):
    group(tmp_path / "fs", cpu_max=quota)
    assert member(tmp_path, "0::/\n") == processors


def test_the_tightest_group_above_counts(tmp_path):
    group(tmp_path / "fs" / "a" / "b", cpu_max="800000 100000")
    group(tmp_path / "fs" / "a", cpu_max="300000 100000")
    assert member(tmp_path, "0::/a/b\n") == 3


@pytest.mark.parametrize(("quota", "processors"), [("400000", 4), ("-1", 1 << 16)])
def test_a_quota_of_cgroup_v1(tmp_path, quota, processors):
    group(tmp_path / "fs" / "cpu" / "mine", cpu_cfs_quota_us=quota, cpu_cfs_period_us="100000")
    assert member(tmp_path, "3:cpuset:/mine\n2:cpuacct,cpu:/mine\n") == processors


def test_no_cgroup_is_no_limit(tmp_path):
    assert cgroup_processors(tmp_path, tmp_path / "missing") == 1 << 16
