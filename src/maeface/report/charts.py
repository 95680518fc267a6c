"""Charts: intensity over time, training curves, bars that compare models; drawn by matplotlib's Agg.

Figures are made without pyplot, so nothing global changes and threads may draw at once. Every function
gives a Pillow image, RGB, at twice the size that it is shown in.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from PIL import Image

from maeface import facts, metrics

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C5E00", "#56B4E9", "#332288")
"""Okabe and Ito's, without yellow (too pale on white); their orange darkened to brown."""

DASHES = ("-", "--", "-.", ":")
DPI = 160


def intensity_curve(
    time_s: ArrayLike,
    truth: ArrayLike | None,
    predicted: ArrayLike | Mapping[str, ArrayLike],
    au: int,
) -> Image.Image:
    """One action unit's intensity over a clip, coded and predicted, as the paper's Fig. 6.

    Args:
        time_s: (T,) seconds.
        truth: (T,) intensity 0..5, NaN where not coded; None where there are no labels.
        predicted: (T,) intensity 0..5, NaN where no face was found; or several, by the model's name.
        au: the action unit's number.
    """
    time = np.asarray(time_s, dtype=float)
    curves = predicted if isinstance(predicted, Mapping) else {"predicted": predicted}
    figure, axes = _figure(7.2, 2.7)
    if truth is not None:
        coded = np.asarray(truth, dtype=float)
        axes.fill_between(time, coded, color="0.85", linewidth=0)
        axes.plot(time, coded, color="0.25", linewidth=1.2, label="labels")
    for k, (name, values) in enumerate(curves.items()):
        curve = np.asarray(values, dtype=float)
        label = f"{name}{_agreement(truth, curve)}"
        axes.plot(time, curve, DASHES[k % 4], color=COLOURS[k % len(COLOURS)], linewidth=1.8, label=label)
    axes.set(title=facts.au_title(au), xlabel="time (s)", ylabel="intensity (0 to 5)")
    axes.set_ylim(-0.1, facts.INTENSITY_MAX + 0.1)
    axes.margins(x=0)
    if truth is not None or len(curves) > 1:
        _legend(axes)
    return _image(figure)


def training_curves(rows: Sequence[Mapping[str, float]], x: str = "epoch") -> Image.Image:
    """What a run logged, over its course: the losses together, every other quantity in its own panel.

    Args:
        rows: as logged; a row may lack any quantity, and what is not a number is left out.
        x: the quantity along the x axis.
    """
    panels: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for row in rows for name in row if name not in (x, "step")):
        if any(_is_number(row.get(name)) for row in rows):
            panels.setdefault("loss" if "loss" in name else name, []).append(name)
    figure = Figure(figsize=(4.2 * max(1, min(3, len(panels))), 2.8 * max(1, -(-len(panels) // 3))))
    for place, (title, names) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(-(-len(panels) // 3), min(3, len(panels)), place)
        _plain(axes)
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
    """Two or more models side by side for each action unit, and in the mean.

    Args:
        table: one row an action unit (index: its number), one column a model; NaN where undefined.
        score: what is compared, for the axis ("F1").
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


def _agreement(truth: ArrayLike | None, curve: np.ndarray) -> str:
    if truth is None:
        return ""
    coded = np.asarray(truth, dtype=float)
    both = ~np.isnan(coded) & ~np.isnan(curve)
    if both.sum() < 2:
        return ""
    pair = np.stack([coded[both], curve[both]], axis=1)
    return f" (ICC {metrics.icc(pair):.2f}, MAE {np.abs(np.diff(pair)).mean():.2f})"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.title.set_fontsize(11)


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.24), ncols=3, frameon=False, fontsize=9)


def _image(figure: Figure) -> Image.Image:
    figure.set_layout_engine("constrained")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.08)
    return Image.open(buffer).convert("RGB")
