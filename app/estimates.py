"""What a job will roughly cost, stage by stage: a hint from measured rates, not a promise."""

from collections.abc import Mapping
from typing import Any, Final

from winnow.spec import SelectionSpec

# Seconds an item, measured on two small cores.
_SECONDS_EACH: Final = {"reading": 2e-4, "embedding": 1.5e-3, "inspecting": 1e-4, "writing": 5e-5}
_SECONDS_A_PAIR: Final = 2e-8  # one distance of 64 numbers
_BASE_BYTES: Final = 200 << 20  # the interpreter and its libraries
# Bytes an item held at once: names and ids, then a vector, then the explanations.
_BYTES_EACH: Final = {"reading": 400, "embedding": 700, "selecting": 800, "inspecting": 1500, "writing": 2000}


_STAGES_OF_AN_EMBEDDING: Final = ("reading", "embedding", "writing")


def stages_of(selection: SelectionSpec | None, counts: Mapping[str, Any], source_type: str) -> list[dict[str, Any]]:
    """Seconds and peak memory of each stage for a dataset of known size; without a selection those of an embedding."""
    n = int(counts["items"])
    seconds = {name: each * n for name, each in _SECONDS_EACH.items()}
    if selection is not None:
        seconds["selecting"] = _pairs(selection, n) * _SECONDS_A_PAIR
    if source_type == "vectors":
        seconds["embedding"] = 0.0
    return [
        {
            "name": name,
            "estimated_seconds": round(seconds[name], 2),
            "peak_memory_bytes": _BASE_BYTES + n * each,
        }
        for name, each in _BYTES_EACH.items()
        if selection is not None or name in _STAGES_OF_AN_EMBEDDING
    ]


def _pairs(selection: SelectionSpec, n: int) -> int:
    if selection.method == "random":
        return n
    return n * n if selection.method == "adjacency" else n * selection.target.budget(n)
