"""How many threads a loop may use: what the machine, its affinity mask and its cgroup really give."""

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def effective_threads(n_threads: int = 0) -> int:
    """`n_threads` if positive; else OMP_NUM_THREADS, the affinity mask and the cgroup's quota, whichever is least."""
    if n_threads < 0:
        raise ValueError(f"n_threads must be 0 (automatic) or positive, not {n_threads}")
    if n_threads > 0:
        return n_threads
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    limits = [_processors(), cgroup_processors(_CGROUPS, _MEMBERSHIP)]
    if asked.isdecimal() and int(asked) > 0:
        limits.append(int(asked))
    return max(1, min(limits))


def cgroup_processors(cgroups: Path, membership: Path) -> int:
    """Whole processors under the tightest quota (cgroup v2 or v1) of this process's group and those above it."""
    limits = [1 << 16]
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controllers and "cpu" not in names:
            continue
        root = cgroups / "cpu" if controllers else cgroups
        own = root / path.lstrip("/")
        # Inside a container the path may be the host's; what is not there reads as no limit.
        limits += [_quota(group) for group in (own, *own.parents) if group.is_relative_to(root)]
    return min(limits)


def _quota(group: Path) -> int:
    """Rounded down, but at least one: threads beyond the quota are stopped in turns, all waiting for the last."""
    written = _read(group / "cpu.max") or f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"
    numbers = written.split()
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers) or int(numbers[1]) == 0:
        return 1 << 16  # "max", -1, or no such file
    return max(1, int(numbers[0]) // int(numbers[1]))


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
