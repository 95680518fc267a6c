"""Charts of intensity, training, scores and label frequencies, drawn with matplotlib.

Figures are made without pyplot, so no global state changes and several threads may draw at once. Every
function returns an RGB Pillow image with more pixels than a screen shows (``DPI``).
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from PIL import Image

from maeface import facts, metrics

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C5E00", "#56B4E9", "#332288")
"""Colours of Okabe and Ito (2008) without yellow, which is too pale on white; orange is darkened to brown."""

DASHES = ("-", "--", "-.", ":")
DPI = 160


def intensity_curve(
    time_s: ArrayLike,
    truth: ArrayLike | None,
    predicted: ArrayLike | Mapping[str, ArrayLike],
    au: int,
    along: str = "time (s)",
) -> Image.Image:
    """Draw the labelled and predicted intensity of an action unit over a clip (the paper's Fig. 6).

    Args:
        time_s: (T,) seconds.
        truth: (T,) intensity 0..5, NaN where unknown; None without labels.
        predicted: (T,) intensity 0..5, NaN in frames without a face; or name of a model -> such an array.
        au: number of the action unit.
        along: label of the x axis, if ``time_s`` is not in seconds.
    """
    time = np.asarray(time_s, dtype=float)
    curves = predicted if isinstance(predicted, Mapping) else {"predicted": predicted}
    figure, axes = _figure(7.2, 2.7)
    if truth is not None:
        labels = np.asarray(truth, dtype=float)
        axes.fill_between(time, labels, color="0.85", linewidth=0)
        axes.plot(time, labels, color="0.25", linewidth=1.2, label="labels")
    for k, (name, values) in enumerate(curves.items()):
        curve = np.asarray(values, dtype=float)
        label = f"{name}{_agreement(truth, curve)}"
        axes.plot(time, curve, DASHES[k % 4], color=COLOURS[k % len(COLOURS)], linewidth=1.8, label=label)
    axes.set(title=facts.au_title(au), xlabel=along, ylabel="intensity (0 to 5)")
    axes.set_ylim(-0.1, facts.INTENSITY_MAX + 0.1)
    axes.margins(x=0)
    if truth is not None or len(curves) > 1:
        _legend(axes)
    return _image(figure)


def training_curves(rows: Sequence[Mapping[str, float]], x: str = "epoch") -> Image.Image:
    """Draw the logged quantities of a training: all losses in one panel, each other quantity in its own.

    Args:
        rows: rows of the log; a row may lack any quantity. Values that are not numbers are left out.
        x: the quantity along the x axis.
    """
    panels: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for row in rows for name in row if name not in (x, "step")):
        if any(_is_number(row.get(name)) for row in rows):
            panels.setdefault("loss" if "loss" in name else name, []).append(name)
    figure = Figure(figsize=(4.2 * max(1, min(3, len(panels))), 2.8 * max(1, -(-len(panels) // 3))))
    for place, (title, names) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(-(-len(panels) // 3), min(3, len(panels)), place)
        _style(axes)
        for k, name in enumerate(names):
            points = [(row[x], row[name]) for row in rows if _is_number(row.get(name)) and x in row]
            along, values = np.array(points, dtype=float).reshape(-1, 2).T
            (curve,) = axes.plot(along, values, DASHES[k % 4], color=COLOURS[k % len(COLOURS)])
            curve.set(linewidth=1.8, marker="o" if len(points) <= 25 else "", markersize=3)
            curve.set_label(name.replace("_", " "))
        axes.set(title=title.replace("_", " "), xlabel=x)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if len(names) > 1:
            _legend(axes)
    return _image(figure)


def comparison_bars(table: pd.DataFrame, score: str) -> Image.Image:
    """Draw the scores of models side by side, for each action unit and the mean.

    Args:
        table: a row an action unit (index: its number), a column a model; NaN where undefined.
        score: name of the score, for the axis ("F1").
    """
    models = list(table.columns)
    aus = [int(number) for number in table.index]
    figure, axes = _figure(max(5.0, 1.6 + 0.5 * len(aus) * max(1, len(models) / 2)), 3.2)
    place = np.append(np.arange(len(aus)), len(aus) + 0.5)
    wide = 0.8 / max(1, len(models))
    for k, model in enumerate(models):
        values = table[model].to_numpy(dtype=float)
        average = metrics.mean(values)
        heights = np.append(values, average)
        offset = (k - (len(models) - 1) / 2) * wide
        bars = axes.bar(place + offset, np.nan_to_num(heights), wide * 0.92, color=COLOURS[k % len(COLOURS)])
        bars.set_label(f"{model} (mean {average:.3f})")
        for at in place[np.isnan(heights)]:
            axes.text(at + offset, 0.01, "n/a", ha="center", va="bottom", color="0.3", fontsize=7)
    axes.axvline(len(aus) - 0.25, color="0.7", linewidth=0.8)
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set_xticks(place, [*(facts.au_name(number) for number in aus), "mean"], rotation=45 * (len(aus) > 9))
    axes.set_ylabel(score)
    axes.set_title(f"{score} by action unit")
    axes.set_xlim(-0.6, len(aus) + 1.1)
    _legend(axes)
    return _image(figure)


def against_methods(
    ours: pd.DataFrame,
    methods: pd.DataFrame,
    score: str,
    low: pd.DataFrame | None = None,
    high: pd.DataFrame | None = None,
    paper: str = "",
) -> Image.Image:
    """Draw our scores as bars for each action unit, with a dot for each published method.

    The dots are grey, because there are too many methods for colours; the reproduced one is a black diamond.

    Args:
        ours: a row an action unit or "avg" (the index, in order), a column a model; NaN where undefined.
        methods: the same rows, a column a published method; no columns if there are none.
        score: name of the score, for the axis ("F1 (%)").
        low: lower ends of the confidence intervals, shaped as ``ours``.
        high: upper ends.
        paper: the column of ``methods`` that is reproduced.
    """
    names, models = list(ours.index), list(ours.columns)
    figure, axes = _figure(max(6.2, 1.4 + len(names) * (0.45 + 0.17 * len(models))), 3.5)
    place = np.arange(len(names)) + 0.35 * np.array([name == "avg" for name in names])
    room = 0.6 if len(methods.columns) else 0.8  # width of the bars; the dots are to their right
    wide = room / max(1, len(models))
    for k, model in enumerate(models):
        at = place - 0.4 + (k + 0.5) * wide
        values = ours[model].to_numpy(dtype=float)
        axes.bar(at, np.nan_to_num(values), wide * 0.9, color=_lighter(k), label=model)
        if low is not None and high is not None:
            ends = low[model].to_numpy(dtype=float), high[model].to_numpy(dtype=float)
            axes.vlines(at, ends[0], ends[1], color=COLOURS[k % len(COLOURS)], linewidth=1.8)
        for x in at[np.isnan(values)]:
            axes.text(x, 0, "n/a", ha="center", va="bottom", color="0.3", fontsize=7)
    dots = [name for name in methods.columns if name != paper]
    for k, name in enumerate(dots):
        # Each method has its own small shift, so that equal values do not hide each other.
        shift = 0.33 + 0.16 * (k / max(1, len(dots) - 1) - 0.5)
        label = None if k else "a published method" if len(dots) == 1 else f"{len(dots)} published methods"
        axes.plot(place + shift, methods[name], "o", color="0.35", alpha=0.6, ms=3, mew=0, label=label)
    if paper in methods:
        (mark,) = axes.plot(place + 0.33, methods[paper], "D", color="black", ms=4.5, mfc="white", mew=1.2)
        mark.set_label(f"{paper} in the paper")
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set_xticks(place, ["mean" if name == "avg" else str(name) for name in names])
    if len(names) > 9:
        axes.tick_params(axis="x", labelrotation=45)
    axes.set(ylabel=score, title=f"{score} by action unit")
    axes.margins(x=0.02)
    axes.grid(axis="x", visible=False)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda k: labels[k] not in models)  # ours first
    _legend(axes, [handles[k] for k in order])
    return _image(figure)


def class_distribution(
    prevalence: pd.DataFrame, scores: Mapping[str, pd.DataFrame] | None = None
) -> Image.Image:
    """Draw how often each action unit is present, a panel a dataset (Fig. 4; with scores, Fig. 3).

    Args:
        prevalence: a row an action unit (index "AU12"), a column a dataset; per cent of the labelled faces in
            which it is present, NaN where it has no labels.
        scores: dataset -> F1 in per cent: a row an action unit, a column a method, drawn as lines.
    """
    panels = list(prevalence.columns)
    counts = [int(prevalence[name].notna().sum()) for name in panels]
    figure = Figure(figsize=(max(4.0, 0.42 * sum(counts) + 0.9 * len(panels)), 3.5))
    grid = figure.add_gridspec(1, max(1, len(panels)), width_ratios=[max(3, n) for n in counts] or None)
    for k, name in enumerate(panels):
        axes = figure.add_subplot(grid[0, k])
        _style(axes)
        present = prevalence[name].dropna()
        place = np.arange(len(present))
        label = "faces in which it is present"
        axes.bar(place, present, 0.72, color="0.82" if scores else COLOURS[0], label=label)
        lines = pd.DataFrame(index=present.index) if scores is None else scores.get(name, pd.DataFrame())
        for m, method in enumerate(lines.columns):
            values = lines[method].reindex(present.index).to_numpy(dtype=float)
            colour = COLOURS[m % len(COLOURS)]
            axes.plot(place, values, DASHES[m % 4], color=colour, marker="o", ms=3, lw=1.5, label=method)
        axes.set_xticks(place, [str(au).removeprefix("AU") for au in present.index])
        axes.set(title=name, xlabel="action unit", ylim=(0, 100))
        if k == 0:
            axes.set_ylabel("per cent" if scores else "faces in which it is present (%)")
        if scores:
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2, frameon=False, fontsize=8)
    return _image(figure)


def fraction_curve(curves: Mapping[str, pd.DataFrame], score: str) -> Image.Image:
    """Draw a score over the fraction of the training data, on a logarithmic axis (the paper's Fig. 7).

    Args:
        curves: name -> table with the columns ``fraction`` (of the training data, above 0, at most 1) and
            ``value``; the columns ``low`` and ``high`` are the ends of the interval, if there is one.
        score: name of the score, for the axis ("mean F1 (%)").
    """
    figure, axes = _figure(6.0, 3.4)
    ticks: set[float] = set()
    for k, (name, table) in enumerate(curves.items()):
        rows = table.sort_values("fraction")
        per_cent, colour = rows["fraction"].to_numpy(dtype=float) * 100, COLOURS[k % len(COLOURS)]
        ticks |= set(per_cent)
        axes.plot(per_cent, rows["value"], DASHES[k % 4], color=colour, marker="o", ms=4, lw=1.8, label=name)
        if {"low", "high"} <= set(rows.columns):
            axes.fill_between(per_cent, rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks(sorted(ticks), [f"{tick:g}" for tick in sorted(ticks)])
    axes.minorticks_off()
    axes.set(xlabel="fraction of the training faces (%)", ylabel=score)
    _legend(axes)
    return _image(figure)


def _lighter(k: int) -> tuple[float, float, float]:
    """Return the colour of model ``k`` mixed with white, so that dots and intervals on it are visible."""
    colour = COLOURS[k % len(COLOURS)]
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return (0.45 + 0.55 * red, 0.45 + 0.55 * green, 0.45 + 0.55 * blue)


def _agreement(truth: ArrayLike | None, curve: np.ndarray) -> str:
    """Return ICC and MAE of a curve against its labels as text; empty without labels."""
    if truth is None:
        return ""
    labels = np.asarray(truth, dtype=float)
    both = ~np.isnan(labels) & ~np.isnan(curve)
    if both.sum() < 2:
        return ""
    pair = np.stack([labels[both], curve[both]], axis=1)
    return f" (ICC {metrics.icc(pair):.2f}, MAE {np.abs(np.diff(pair)).mean():.2f})"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.title.set_fontsize(11)


def _legend(axes: Axes, handles: Sequence[Artist] | None = None) -> None:
    if handles is None:
        handles = axes.get_legend_handles_labels()[0]
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0, -0.24), ncols=3, frameon=False, fontsize=9
    )


def _image(figure: Figure) -> Image.Image:
    figure.set_layout_engine("constrained")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.08)
    return Image.open(buffer).convert("RGB")
