"""Where memory is short a kernel says so; it does not end the process."""

import subprocess
import sys

import pytest

LIMITED = """
import resource, sys
import numpy as np
import kernels

rng = np.random.default_rng(0)
vectors = rng.normal(size=(30_000, 64)).astype(np.float32)
WORK = {
    "coreset": lambda v: kernels.coreset(v, len(v) // 2, n_threads=2),
    "adjacency": lambda v: kernels.adjacency(v, len(v) // 2, n_threads=2),
    "neighbours": lambda v: kernels.knn(v, 10, n_threads=2),
    "paths": lambda v: kernels.geodesic_coreset(kernels.neighbor_graph(v, 10, n_threads=2), 100),
}
work = WORK[sys.argv[1]]
work(vectors[:3000].copy())  # the threads are there, and what is loaded late
pages = int(open("/proc/self/statm").read().split()[0])
room = pages * resource.getpagesize() + (int(sys.argv[2]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    work(vectors)
except MemoryError:
    print("MemoryError")
else:
    print("enough")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's here")
@pytest.mark.parametrize("work", ["coreset", "adjacency", "neighbours", "paths"])
@pytest.mark.parametrize("room_mib", [1, 3, 6, 9, 12])
def test_too_little_memory_is_an_error_of_its_own(work, room_mib):
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, work, str(room_mib)], capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.stdout.strip() in {"MemoryError", "enough"}, (ended.returncode, ended.stderr[-500:])
    assert ended.returncode == 0
    if room_mib == 1:
        assert ended.stdout.strip() == "MemoryError"
