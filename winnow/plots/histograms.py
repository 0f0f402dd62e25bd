"""Neighbour distances before and after, one above the other on the same axis."""

from typing import Any

from matplotlib.figure import Figure

from winnow.plots.style import AFTER, INK, KEPT, REMOVED, Thumbnails

_PANELS = (
    ("before", "all samples: distance to the nearest other sample", REMOVED),
    ("after", "kept samples: distance to the nearest other kept sample", KEPT),
    ("to_nearest_kept", "all samples: distance to the nearest kept sample", AFTER),
)


def draw_histograms(figure: Figure, data: dict[str, Any], _thumbnails: Thumbnails) -> None:
    panels = figure.subplots(3, 1, sharex=True)
    edges = data["edges"]
    for axes, (name, label, colour) in zip(panels, _PANELS, strict=True):
        axes.bar(edges[:-1], data["counts"][name], width=edges[1] - edges[0], align="edge", color=colour)
        median = data["median"][name]
        if median is not None:
            axes.axvline(median, color=INK, linewidth=1, linestyle="--")
        middle = "" if median is None else f" (median {median:.3g})"
        axes.set_title(label + middle, fontsize=10, fontweight="normal")
        axes.set_ylabel("samples")
    panels[-1].set_xlabel("distance")
