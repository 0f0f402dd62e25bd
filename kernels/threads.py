"""How many threads a loop may use: what the machine, its affinity mask and its cgroup really give."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def effective_threads(n_threads: int = 0) -> int:
    """`n_threads` if positive; else OMP_NUM_THREADS, the affinity mask and the cgroup's quota, whichever is least."""
    if n_threads < 0:
        raise ValueError(f"n_threads must be 0 (automatic) or positive, not {n_threads}")
    if n_threads > 0:
        return n_threads
    limits = [len(os.sched_getaffinity(0)), _cgroup_cpus(_CGROUP)]
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        limits.append(int(asked))
    return max(1, min(limits))


def _cgroup_cpus(root: Path) -> int:
    """Whole processors under the quota of cgroup v2, else v1, else no limit."""
    quota, period = _read(root / "cpu.max", "max 100000").split()
    if quota == "max":
        quota = _read(root / "cpu" / "cpu.cfs_quota_us", "-1")
        period = _read(root / "cpu" / "cpu.cfs_period_us", "100000")
    return max(1, int(quota) // int(period)) if int(quota) > 0 else 1 << 16


def _read(path: Path, otherwise: str) -> str:
    try:
        return path.read_text().strip() or otherwise
    except OSError:
        return otherwise
