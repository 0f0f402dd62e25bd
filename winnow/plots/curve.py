"""The budget curve as a line with its knee."""

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from winnow.plots.style import AFTER, FAINT, KEPT, Thumbnails


def draw_curve(figure: Figure, data: dict[str, Any], _thumbnails: Thumbnails) -> None:
    axes = figure.add_subplot()
    budget, radius, mean = data["budget"], data["radius"], data["mean_distance"]
    axes.plot(budget, radius, color=KEPT, linewidth=2, marker="o", markersize=3)
    axes.plot(budget, mean, color=AFTER, linewidth=2, marker="o", markersize=3)
    axes.annotate("farthest sample", (budget[-1], radius[-1]), (6, 6), textcoords="offset points", color=KEPT)
    axes.annotate("average sample", (budget[-1], mean[-1]), (6, -12), textcoords="offset points", color=AFTER)
    axes.axvline(data["knee"], color=FAINT, linestyle=":", linewidth=1)
    axes.annotate(
        f"knee: {data['knee']}", (data["knee"], max(radius)), (5, -4), textcoords="offset points", color=FAINT
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.16)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("samples kept (log scale)")
    axes.set_ylabel("distance to the nearest kept sample")
    axes.set_title("What each further sample buys")
