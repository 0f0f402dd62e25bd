"""One record a sample: what the service says about each kept, each removed and each unusable one."""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from winnow.errors import ITEM_CODES
from winnow.results import NO_PTS, Embedded, Frames, Listing, Reason, Selection

Row = dict[str, Any]


def kept_rows(embedded: Embedded, selection: Selection) -> Iterator[Row]:
    """The selection in rank order."""
    for rank, (position, insertion) in enumerate(zip(selection.positions, selection.insertion, strict=True)):
        width, height = (int(side) or None for side in embedded.shapes[position])
        yield {
            "rank": rank,
            "sample_id": embedded.ids[position].tobytes().hex(),
            "path": embedded.paths[position],
            "insertion_distance": _number(insertion),
            "bytes": int(embedded.sizes[position]),
            "width": width,
            "height": height,
            **_frame(embedded.frames, int(position)),
        }


def removed_rows(embedded: Embedded, selection: Selection, listing: Listing | None = None) -> Iterator[Row]:
    """Every usable sample that was not kept, by sample id, then path; exact duplicates follow their first copy.

    Where a duplicate stands in a video only the listing knows.
    """
    kept = np.zeros(len(embedded.paths), dtype=bool)
    kept[selection.positions] = True
    spacing = _spacing(selection)
    twins, listed = _twins(embedded), _rows_of_twins(embedded, listing)
    for position, path in enumerate(embedded.paths):
        copies = twins.get(path, ())
        if kept[position] and not copies:
            continue
        facts = _facts(embedded, selection, position)
        if not kept[position]:
            close = float(selection.distance[position]) <= spacing
            reason = Reason.COVERED_BY_KEPT if close else Reason.OVER_BUDGET
            yield {**facts, "path": path, "reason": reason.value, **_frame(embedded.frames, position)}
        for copy in copies:
            # A second copy adds nothing at any budget.
            twin = {"path": copy, "reason": Reason.EXACT_DUPLICATE.value, "kept_at_budget": None}
            yield {**facts, **twin, **_frame(listing.frames if listing else None, listed.get(copy))}


def quarantine_rows(embedded: Embedded) -> Iterator[Row]:
    """The items that could not be used, each with its code."""
    for failure in sorted(embedded.failures, key=lambda failure: (failure.path, failure.code)):
        yield {"path": failure.path, "code": failure.code, "detail": failure.detail or ITEM_CODES[failure.code]}


def _facts(embedded: Embedded, selection: Selection, position: int) -> Row:
    nearest = int(selection.nearest[position])
    budget = -1 if selection.full_rank is None else int(selection.full_rank[position])
    return {
        "sample_id": embedded.ids[position].tobytes().hex(),
        "path": "",
        "reason": "",
        "nearest_kept_id": embedded.ids[nearest].tobytes().hex(),
        "nearest_kept_path": embedded.paths[nearest],
        "nearest_kept_distance": _number(selection.distance[position]),
        "covered_at_rank": int(selection.covered_at[position]),
        "kept_at_budget": budget if budget > 0 else None,
    }


def _frame(frames: Frames | None, row: int | None) -> Row:
    """Where the sample stands in its video; null where it comes from none."""
    if frames is None or row is None:
        return {"video": None, "frame": None, "pts": None, "time_s": None}
    pts, time_s = int(frames.pts[row]), float(frames.times_s[row])
    return {
        "video": frames.videos[row],
        "frame": int(frames.numbers[row]),
        "pts": None if pts == NO_PTS else pts,
        "time_s": None if math.isnan(time_s) else time_s,
    }


def _spacing(selection: Selection) -> float:
    """The least distance at which a kept sample entered. Closer than that to a kept one is redundant; farther is
    something the selection would still have taken, had the budget allowed."""
    finite = selection.insertion[np.isfinite(selection.insertion)]
    return float(finite.min()) if finite.size else math.inf


def _twins(embedded: Embedded) -> dict[str, list[str]]:
    twins: defaultdict[str, list[str]] = defaultdict(list)
    for copy, first in embedded.duplicates.items():
        twins[first].append(copy)
    return {first: sorted(copies) for first, copies in twins.items()}


def _rows_of_twins(embedded: Embedded, listing: Listing | None) -> dict[str, int]:
    if listing is None or listing.frames is None:
        return {}
    return {path: row for row, path in enumerate(listing.paths) if path in embedded.duplicates}


def _number(value: Any) -> float | None:
    """The shortest decimal that reads back as the same float32; JSON has no infinity."""
    return float(str(np.float32(value))) if np.isfinite(value) else None
