"""Places where a test may kill the process: `WINNOW_CRASH_AT=name:n` dies of SIGKILL at the n-th pass of `name`.

With `name:n:path` it happens once: whoever makes that file dies, and the attempts after it live.
"""

import os
import signal
from collections import Counter
from pathlib import Path

_passes: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Does nothing unless the environment names this point."""
    wanted, _, rest = os.environ.get("WINNOW_CRASH_AT", "").partition(":")
    if wanted != name:
        return
    count, _, mark = rest.partition(":")
    _passes[name] += 1
    if _passes[name] == int(count or 1) and _is_first(mark):
        os.kill(os.getpid(), signal.SIGKILL)


def _is_first(mark: str) -> bool:
    try:
        if mark:
            Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
