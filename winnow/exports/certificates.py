"""How good a selection is, in words and numbers that anybody can check against the vectors."""

from typing import Any

from winnow.results import Embedded, Selection


def certificate(embedded: Embedded, selection: Selection) -> dict[str, Any]:
    """The radius, and, where the method proves one, what no other selection of as many samples can beat."""
    proof, count = selection.proof, len(selection.positions)
    # Distances are float32: so much longer than was measured, and the radius holds in exact arithmetic too.
    radius = selection.radius * (1 + 2.4e-7 * (embedded.vectors.shape[1] + 64))
    claim = f"Every sample lies within {radius:.6g} of one of the {count} kept."
    facts: dict[str, Any] = {"metric": selection.notes["metric"], "count": count, "radius": radius}
    nothing: dict[str, Any] = {"each": None, "next_picks": [], "witness": None}
    if radius == 0:
        return {"claim": claim, **facts, "lower_bound": 0.0, "ratio": 1.0, **nothing}
    if proof is None or proof.lower_bound == 0:
        return {"claim": claim, **facts, "lower_bound": None, "ratio": None, **nothing}
    ratio = radius / proof.lower_bound
    claim += f" No {count} samples could do better than {proof.lower_bound:.6g}: {ratio:.2f} times better at most."
    return {
        "claim": claim,
        **facts,
        "lower_bound": proof.lower_bound,
        "ratio": ratio,
        "each": proof.each,
        "next_picks": [embedded.ids[pick].tobytes().hex() for pick in proof.next_picks],
        "witness": embedded.ids[proof.witness].tobytes().hex(),
    }
