"""Places where a test may kill the process: `WINNOW_CRASH_AT=name:n` dies of SIGKILL at the n-th pass of `name`."""

import os
import signal
from collections import Counter

_passes: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Does nothing unless the environment names this point."""
    wanted, _, count = os.environ.get("WINNOW_CRASH_AT", "").partition(":")
    if wanted == name:
        _passes[name] += 1
        if _passes[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
