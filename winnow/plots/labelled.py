"""What labels say, as pictures: balance, the worth of the vectors, kept against random."""

from typing import Any, Final

from matplotlib.figure import Figure

from winnow.plots.style import AFTER, FAINT, KEPT, REMOVED, Thumbnails, shortened

_ROWS: Final = 24  # labels drawn


def draw_balance(figure: Figure, data: dict[str, Any], _thumbnails: Thumbnails) -> None:
    """Shares, not numbers: a bar that is longer below than above is a label the selection favours."""
    rows = data["classes"][:_ROWS]
    figure.set_size_inches(9, 1.6 + 0.34 * max(4, len(rows)))
    axes = figure.add_subplot()
    all_samples = sum(row["samples"] for row in data["classes"]) + data["other_samples"] or 1
    all_kept = sum(row["kept"] for row in data["classes"]) + data["other_kept"] or 1
    places = range(len(rows))
    before = [row["samples"] / all_samples for row in rows]
    after = [row["kept"] / all_kept for row in rows]
    axes.barh([place - 0.2 for place in places], before, 0.38, color=REMOVED, label="of all samples")
    axes.barh([place + 0.2 for place in places], after, 0.38, color=KEPT, label="of the kept")
    for place, row in zip(places, rows, strict=True):
        longest = max(before[place], after[place])
        axes.annotate(
            f"{row['kept']} of {row['samples']}",
            (longest, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=FAINT,
        )
    axes.set_yticks(list(places), [shortened(row["label"]) for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    others = data["other_classes"] + len(data["classes"]) - len(rows)
    axes.set_title("Share of each label" + (f" ({others} rarer ones not shown)" if others else ""))


def draw_encoder(figure: Figure, data: dict[str, Any], _thumbnails: Thumbnails) -> None:
    axes = figure.add_subplot()
    measured = data["measured"]
    if measured is None:
        _say(axes, data["reason"])
        return
    bars = [
        ("10 neighbours vote", measured["knn_accuracy"]),
        ("linear probe, all labels", measured["probe_accuracy"]),
        *((f"linear probe, {budget} labels", figure_) for budget, figure_ in measured["low_shot"].items()),
        ("edges inside a class", measured["intra_class_edges"]),
    ]
    places = range(len(bars))
    axes.barh(
        places, [bar["value"] for _, bar in bars], xerr=[bar["within"] for _, bar in bars], color=AFTER, ecolor=FAINT
    )
    for place, (_, bar) in zip(places, bars, strict=True):
        axes.annotate(f"{bar['value']:.3f}", (0, place), (6, 0), textcoords="offset points", va="center", color="white")
    axes.set_yticks(list(places), [name for name, _ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_title("What the vectors know of the labels, with 95 % intervals")


def draw_backtest(figure: Figure, data: dict[str, Any], _thumbnails: Thumbnails) -> None:
    axes = figure.add_subplot()
    budgets = data["budgets"]
    if not budgets:
        _say(axes, data.get("reason") or data["verdict"])
        return
    across = [row["budget"] for row in budgets]
    lines = (
        ("random", "random: where nineteen of twenty draws lie", REMOVED),
        ("ranked", "kept, in order of rank", KEPT),
    )
    for name, label, colour in lines:
        value, within = ([row[name][part] for row in budgets] for part in ("value", "within"))
        axes.errorbar(
            across, value, within, color=colour, linewidth=2, marker="o", markersize=4, capsize=3, label=label
        )
    axes.set_xscale("log")
    axes.set_xticks(across, [str(budget) for budget in across])
    axes.minorticks_off()
    axes.set_xlabel("labelled samples to train on")
    axes.set_ylabel("accuracy on samples held back")
    axes.set_ylim(max(0.0, axes.get_ylim()[0]), min(1.0, axes.get_ylim()[1]))
    axes.legend(frameon=False, loc="lower right")
    axes.set_title(data["verdict"][:1].upper() + data["verdict"][1:])


def _say(axes: Any, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", wrap=True, transform=axes.transAxes)
