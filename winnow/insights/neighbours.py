"""Kept samples beside the removed samples they stand for: the quickest way to see whether a selection is right."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from winnow.results import Embedded, Selection

_ROWS: Final = 12  # kept samples shown
_BESIDE: Final = 6  # removed samples beside each


def neighbours(embedded: Embedded, selection: Selection) -> dict[str, Any]:
    """The first picks, then those that stand for most; of each, the nearest of the removed samples it covers."""
    covered = np.bincount(selection.covered_at, minlength=len(selection.positions)) - 1
    first = np.arange(min(_ROWS // 2, len(covered)))
    crowded = np.argsort(-covered, kind="stable")
    rows = list(dict.fromkeys([*first.tolist(), *crowded.tolist()]))[:_ROWS]
    return {"rows": list(_rows(embedded, selection, rows, covered))}


def _rows(embedded: Embedded, selection: Selection, ranks: list[int], covered: Any) -> Iterator[dict[str, Any]]:
    for rank in ranks:
        kept = int(selection.positions[rank])
        others = np.flatnonzero(selection.covered_at == rank)
        others = others[others != kept]
        nearest = others[np.argsort(selection.distance[others], kind="stable")[:_BESIDE]]
        yield {
            **_sample(embedded, kept),
            "rank": rank,
            "stands_for": int(covered[rank]),
            "removed": [
                {**_sample(embedded, int(other)), "distance": round(float(selection.distance[other]), 5)}
                for other in nearest
            ],
        }


def _sample(embedded: Embedded, position: int) -> dict[str, str]:
    return {"path": embedded.paths[position], "sample_id": embedded.ids[position].tobytes().hex()}
