"""Insight data as pictures, PNG and SVG: the only door to matplotlib. The same data gives the same bytes."""

import io
from collections.abc import Callable
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from winnow.plots.curve import draw_curve
from winnow.plots.histograms import draw_histograms
from winnow.plots.labelled import draw_backtest, draw_balance, draw_encoder
from winnow.plots.map import draw_map
from winnow.plots.sheet import draw_sheet
from winnow.plots.style import RC, Thumbnails
from winnow.results import Insight

PICTURES: Final[dict[str, Callable[[Figure, dict[str, Any], Thumbnails], None]]] = {
    "curve": draw_curve,
    "histograms": draw_histograms,
    "map": draw_map,
    "neighbours": draw_sheet,
    "balance": draw_balance,
    "encoder": draw_encoder,
    "backtest": draw_backtest,
}


def draw(insight: Insight, *, thumbnails: Thumbnails = lambda _path: None) -> dict[str, bytes]:
    """`thumbnails` gives a small JPEG for a sample's path, or None."""
    with rc_context(RC):
        figure = Figure(figsize=(9, 5.4), layout="constrained")
        FigureCanvasAgg(figure)
        PICTURES[insight.name](figure, insight.data, thumbnails)
        # Without a date and a maker's name in it, equal data is equal bytes.
        return {
            "png": _saved(figure, "png", {"Software": None}),
            "svg": _saved(figure, "svg", {"Date": None, "Creator": None}),
        }


def _saved(figure: Figure, kind: str, metadata: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format=kind, metadata=metadata, dpi=110)
    return out.getvalue()
