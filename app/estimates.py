"""What a job will roughly cost, stage by stage: a hint from measured rates, not a promise."""

from collections.abc import Mapping
from typing import Any, Final

from winnow.datasets.ahead import AHEAD_BYTES
from winnow.encoders import ENCODERS, OUT
from winnow.spec import EncoderSpec, SelectionSpec

# Seconds an item, measured on two small cores.
_SECONDS_EACH: Final = {"reading": 2e-4, "embedding": 1.5e-3, "inspecting": 1e-4, "writing": 5e-5}
_WAITING_EACH: Final = {"object_store": 3e-3}  # more: an answer takes a tenth of a second, 32 are under way at once
_SECONDS_A_GMAC: Final = 1e-2  # of a backbone
_SECONDS_A_FRAME: Final = 0.1  # to copy one out: a jump, and decoding up to it
_SECONDS_A_PAIR: Final = 2e-8  # one distance of 64 numbers
_BASE_BYTES: Final = 200 << 20  # the interpreter and its libraries
# Bytes an item held at once: names and ids, then a vector, then the explanations.
_BYTES_EACH: Final = {"reading": 400, "embedding": 700, "selecting": 800, "inspecting": 1500, "writing": 2000}


_SELECTING_A_NUMBER: Final = 11  # bytes: the vectors, and what the kernels make of them
_STAGES_OF_AN_EMBEDDING: Final = ("reading", "embedding", "writing")


def stages_of(
    selection: SelectionSpec | None,
    counts: Mapping[str, Any],
    source_type: str,
    encoder: EncoderSpec | None,
    *,
    copies: bool = False,
) -> list[dict[str, Any]]:
    """Seconds and peak memory of each stage for a dataset of known size; without a selection those of an embedding."""
    n = int(counts["items"])
    network = ENCODERS[(encoder or EncoderSpec()).name]
    numbers = (encoder or EncoderSpec()).wanted(network.width)[1] if network.width else OUT
    held = _BYTES_EACH | {
        "embedding": _BYTES_EACH["embedding"] + 4 * max(0, network.width - OUT),
        "selecting": _BYTES_EACH["selecting"] + _SELECTING_A_NUMBER * max(0, numbers - OUT),
    }
    seconds = {name: each * n for name, each in _SECONDS_EACH.items()}
    seconds["embedding"] += n * network.gmacs * _SECONDS_A_GMAC + _WAITING_EACH.get(source_type, 0.0) * n
    if selection is not None:
        seconds["selecting"] = _pairs(selection, n) * _SECONDS_A_PAIR * max(1.0, numbers / OUT)
    if source_type == "vectors":
        seconds["embedding"] = 0.0
    if source_type == "videos" and copies and selection is not None:
        seconds["writing"] += selection.target.budget(n) * _SECONDS_A_FRAME
    ahead = {"embedding": min(AHEAD_BYTES, int(counts["bytes"]))} if source_type == "object_store" else {}
    return [
        {
            "name": name,
            "estimated_seconds": round(seconds[name], 2),
            "peak_memory_bytes": _BASE_BYTES + n * each + ahead.get(name, 0),
        }
        for name, each in held.items()
        if selection is not None or name in _STAGES_OF_AN_EMBEDDING
    ]


def _pairs(selection: SelectionSpec, n: int) -> int:
    if selection.method == "random":
        return n
    return n * n if selection.method == "adjacency" else n * selection.target.budget(n)
