"""One look for every picture: quiet axes, two colours that a colour-blind eye tells apart, names made harmless."""

from collections.abc import Callable
from typing import Any, Final

Thumbnails = Callable[[str], bytes | None]

KEPT: Final = "#d1495b"
REMOVED: Final = "#9fb3c8"
AFTER: Final = "#00798c"
INK: Final = "#243b53"
FAINT: Final = "#829ab1"

RC: Final[Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a file name with dollar signs is a file name
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "winnow",
    "svg.fonttype": "path",
}


def shortened(name: str, limit: int = 22) -> str:
    """A file name that fits, its middle left out, with nothing in it that could move or hide letters."""
    safe = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    safe = safe.encode("ascii", "replace").decode()  # fonts differ in what else they can draw
    if len(safe) <= limit:
        return safe
    half = (limit - 3) // 2
    return f"{safe[:half]}...{safe[-half:]}"
