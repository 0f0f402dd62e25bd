"""Which instructions the loops use: the widest there are, or what WINNOW_KERNELS_ISA allows; the bits are the same."""

import os
from typing import Final

from kernels import _farthest  # type: ignore[attr-defined]

LEVELS: Final = {"baseline": 0, "avx2": 1, "avx512": 2}
_ALLOWED: Final = "WINNOW_KERNELS_ISA"


def level() -> int:
    asked = os.environ.get(_ALLOWED, "")
    if asked and asked not in LEVELS:
        raise ValueError(f"{_ALLOWED} must be one of {', '.join(LEVELS)}, not {asked!r}")
    widest: int = _farthest.widest()
    return min(widest, LEVELS.get(asked, widest))
