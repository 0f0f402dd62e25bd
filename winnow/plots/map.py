"""The map of the dataset: removed samples as a pale cloud, kept ones on top, the earliest largest."""

from typing import Any

from matplotlib.figure import Figure

from winnow.plots.style import KEPT, REMOVED, Thumbnails


def draw_map(figure: Figure, data: dict[str, Any], _thumbnails: Thumbnails) -> None:
    axes = figure.add_subplot()
    removed = [point for point in data["points"] if point["rank"] is None]
    kept = sorted((point for point in data["points"] if point["rank"] is not None), key=lambda point: -point["rank"])
    _dots(axes, removed, [9.0] * len(removed), REMOVED, 0.7, f"removed ({data['samples'] - len(kept)})")
    count = max(1, len(kept))
    sizes = [14.0 + 46.0 * (1 - point["rank"] / count) for point in kept]
    _dots(axes, kept, sizes, KEPT, 0.9, f"kept ({len(kept)}), larger = earlier")
    first, second = data["variance_share"]
    axes.set_xlabel(f"first principal axis ({first:.0%} of the variance)")
    axes.set_ylabel(f"second principal axis ({second:.0%})")
    axes.set_title("The dataset on its two widest axes")
    axes.legend(frameon=False, loc="best")
    axes.set_aspect("equal", adjustable="datalim")


def _dots(axes: Any, points: list[dict[str, Any]], sizes: list[float], colour: str, alpha: float, label: str) -> None:
    across, up = [point["x"] for point in points], [point["y"] for point in points]
    # Thousands of vector dots would make an SVG nobody can open; the text stays text.
    axes.scatter(
        across, up, sizes, colour, alpha=alpha, edgecolors="white", linewidths=0.4, label=label, rasterized=True
    )
