"""What a computation is held to have taken of the machine."""

import mmap
import tempfile

import numpy as np
import psutil

from worker.runner import unshared_bytes

SIZE = 64 << 20


def test_memory_is_what_a_process_filled_and_not_a_file_it_looks_at():
    process = psutil.Process()
    before = unshared_bytes(process)
    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE)
        with mmap.mmap(file.fileno(), SIZE) as lent:
            for page in range(0, SIZE, mmap.PAGESIZE):
                lent[page] = 1
            looked_at = unshared_bytes(process) - before
    filled = np.ones(SIZE, np.uint8)
    assert looked_at < SIZE / 4
    assert unshared_bytes(process) - before > SIZE * 3 / 4
    del filled
