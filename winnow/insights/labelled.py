"""What labels say of a selection, where a dataset has some: balance, the worth of the vectors, the worth of the choice.

Labels are looked at only here, after the fact; no selection has seen them.
"""

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from winnow.insights.sampling import evenly
from winnow.results import Embedded, Labels, Selection

if TYPE_CHECKING:
    from winnow.quality import Compared

_CLASSES: Final = 100  # shown by name; the others together
_SAMPLES: Final = 20_000  # labelled ones looked at where there are more
_MEASURABLE: Final = 40  # labelled samples, at least


def balance(_embedded: Embedded, selection: Selection, labels: Labels) -> dict[str, Any]:
    """How many of each label there were, and how many were kept."""
    everyone = Counter(labels.values)
    kept = Counter(labels.values[position] for position in selection.positions)
    unlabelled = everyone.pop("", 0), kept.pop("", 0)
    named = sorted(everyone, key=lambda label: (-everyone[label], label))
    rows = [{"label": label, "samples": everyone[label], "kept": kept[label]} for label in named[:_CLASSES]]
    rest = named[_CLASSES:]
    return {
        "classes": rows,
        "other_classes": len(rest),
        "other_samples": sum(everyone[label] for label in rest),
        "other_kept": sum(kept[label] for label in rest),
        "unlabelled_samples": unlabelled[0],
        "unlabelled_kept": unlabelled[1],
        "classes_without_any_kept": sum(not kept[label] for label in named),
    }


def encoder(embedded: Embedded, _selection: Selection, labels: Labels) -> dict[str, Any]:
    """What the vectors know of the labels: neighbours, a linear probe, few labels."""
    from winnow import quality  # noqa: PLC0415 - takes a second to load, and most datasets have no labels

    rows = _labelled(labels)
    if not _measurable(labels, rows):
        return {"measured": None, "reason": _TOO_FEW}
    found = quality.measure(embedded.vectors[rows], [labels.values[row] for row in rows], labels.tests[rows])
    return {"measured": asdict(found), "samples": len(rows)}


def backtest(embedded: Embedded, selection: Selection, labels: Labels) -> dict[str, Any]:
    """A classifier on the first so many kept samples, against one on as many random ones; both tested on the same."""
    from winnow import quality  # noqa: PLC0415 - likewise

    rows = _labelled(labels, always=selection.positions)
    if not _measurable(labels, rows):
        return {"budgets": [], "reason": _TOO_FEW}
    place = np.full(len(labels.values), -1, np.int64)
    place[rows] = np.arange(len(rows))
    ranked = place[selection.positions]
    budgets = quality.compare(
        embedded.vectors[rows], [labels.values[row] for row in rows], labels.tests[rows], ranked[ranked >= 0]
    )
    return {"budgets": [asdict(budget) for budget in budgets], "verdict": _verdict(budgets), "samples": len(rows)}


_TOO_FEW: Final = (
    f"there must be {_MEASURABLE} labelled samples or more, of two classes, some to learn from, some to test"
)


def _labelled(labels: Labels, always: Any = ()) -> Any:
    """Positions with a label: all, or an even part of them and those that must be among them."""
    known = np.flatnonzero([bool(value) for value in labels.values])
    some = known[evenly(len(known), _SAMPLES)]
    return np.union1d(some, np.intersect1d(known, np.asarray(always[:_SAMPLES], np.int64)))


def _measurable(labels: Labels, rows: Any) -> bool:
    tests = labels.tests[rows]
    learnt = {labels.values[row] for row in rows[~tests]}
    return len(rows) >= _MEASURABLE and bool(tests.any()) and len(learnt) > 1


def _verdict(budgets: "list[Compared]") -> str:
    """No gain is claimed that the intervals do not show."""
    if not budgets:
        return "too few kept samples have a label to train on"
    signs = [np.sign(one.gain.value) if abs(one.gain.value) > one.gain.within else 0 for one in budgets]
    better, worse, shown = signs.count(1), signs.count(-1), len(budgets)
    if better and not worse:
        return f"better than random at {better} of {shown} budgets, no worse at the others"
    if worse and not better:
        return f"no gain here: worse than random at {worse} of {shown} budgets"
    if better:
        return f"mixed: better than random at {better} of {shown} budgets, worse at {worse}"
    return "no gain shown: no different from random within the intervals"
