"""What there is to see in a selection, as data: each insight is one function in one table."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from winnow.insights.curve import curve
from winnow.insights.histograms import histograms
from winnow.insights.labelled import backtest, balance, encoder
from winnow.insights.neighbours import neighbours
from winnow.insights.projection import projection
from winnow.results import Embedded, Insight, Labels, Report, Selection


@dataclass(frozen=True)
class Inspector:
    """A title for people, and the function that finds the data."""

    title: str
    find: Callable[[Embedded, Selection], dict[str, Any]]


INSPECTORS: Final[dict[str, Inspector]] = {
    "curve": Inspector("How far the farthest sample is from a kept one, as the budget grows", curve),
    "histograms": Inspector("Distances between neighbours, before and after", histograms),
    "map": Inspector("The dataset on its two widest axes, kept and removed", projection),
    "neighbours": Inspector("Kept samples, each with the removed samples it stands for", neighbours),
}


@dataclass(frozen=True)
class OfLabels:
    """The same for datasets that have labels."""

    title: str
    find: Callable[[Embedded, Selection, Labels], dict[str, Any]]


OF_LABELS: Final[dict[str, OfLabels]] = {
    "balance": OfLabels("Samples of each label, all and kept", balance),
    "encoder": OfLabels("What the vectors know of the labels", encoder),
    "backtest": OfLabels("Training on the kept samples against training on random ones", backtest),
}


def inspect(
    names: Iterable[str], embedded: Embedded, selection: Selection, *, labels: Labels | None = None, report: Report
) -> list[Insight]:
    """The insights asked for, in the order they were asked for; without labels, those that need none."""
    wanted = [name for name in dict.fromkeys(names) if labels is not None or name not in OF_LABELS]
    found = []
    for done, name in enumerate(wanted, 1):
        if labels is not None and name in OF_LABELS:
            found.append(Insight(name, OF_LABELS[name].title, OF_LABELS[name].find(embedded, selection, labels)))
        else:
            found.append(Insight(name, INSPECTORS[name].title, INSPECTORS[name].find(embedded, selection)))
        report("inspecting", done, len(wanted))
    return found
