"""The contact sheet: each kept sample at the left, the removed samples it stands for beside it."""

import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from winnow.plots.style import FAINT, KEPT, Thumbnails, shortened

_COLUMNS = 7
_CELL_INCHES = 1.35


def draw_sheet(figure: Figure, data: dict[str, Any], thumbnails: Thumbnails) -> None:
    rows = data["rows"]
    figure.set_size_inches(_COLUMNS * _CELL_INCHES, max(1, len(rows)) * _CELL_INCHES * 1.12 + 0.5)
    cells = figure.subplots(max(1, len(rows)), _COLUMNS, squeeze=False)
    for line, axes_row in zip(rows, cells, strict=False):
        captions = [f"kept #{line['rank'] + 1}, for {line['stands_for']}"]
        captions += [f"{other['distance']:.3g}" for other in line["removed"]]
        for axes, sample, caption in zip(axes_row, [line, *line["removed"]], captions, strict=False):
            _show(axes, sample, thumbnails, caption, kept=sample is line)
    for axes in cells.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        if not axes.has_data():
            axes.set_axis_off()
    figure.suptitle("Kept (left) and the nearest removed samples, with their distance", x=0.01, ha="left", fontsize=12)


def _show(axes: Any, sample: dict[str, Any], thumbnails: Thumbnails, caption: str, *, kept: bool) -> None:
    jpeg = thumbnails(sample["path"])
    axes.imshow(_square(jpeg))
    if jpeg is None:
        axes.text(96, 96, shortened(sample["path"], 15), ha="center", va="center", fontsize=6)
    axes.set_title(caption, fontsize=7, fontweight="bold" if kept else "normal", loc="center", pad=2)
    for spine in axes.spines.values():
        spine.set(visible=True, color=KEPT if kept else FAINT, linewidth=2.5 if kept else 0.5)


def _square(jpeg: bytes | None) -> Any:
    """192 x 192 with the picture in the middle, so that all cells are equal."""
    canvas = Image.new("RGB", (192, 192), (240, 244, 248))
    if jpeg is not None:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as picture:
            canvas.paste(picture, ((192 - picture.width) // 2, (192 - picture.height) // 2))
    return np.asarray(canvas)
