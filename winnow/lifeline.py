"""A child that ends with its parent, however the parent ends: the kernel sees to it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Called in the child, before or after its program is loaded. It dies with the *thread* that started it."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def exit_if_orphaned() -> None:
    """For a parent that died before the child could ask."""
    if os.getppid() == 1:
        sys.exit(1)
