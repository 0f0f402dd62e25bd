"""What there is to see in a selection, as data: each insight is one function in one table."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from winnow.insights.curve import curve
from winnow.insights.histograms import histograms
from winnow.insights.neighbours import neighbours
from winnow.insights.projection import projection
from winnow.results import Embedded, Insight, Report, Selection


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


def inspect(names: Iterable[str], embedded: Embedded, selection: Selection, *, report: Report) -> list[Insight]:
    """The insights asked for, in the order they were asked for."""
    wanted = list(dict.fromkeys(names))
    found = []
    for done, name in enumerate(wanted, 1):
        inspector = INSPECTORS[name]
        found.append(Insight(name, inspector.title, inspector.find(embedded, selection)))
        report("inspecting", done, len(wanted))
    return found
