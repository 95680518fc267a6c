"""The time-line of one person in a film, for print: a panel an action unit, on one axis of time."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image

from maeface import facts, files
from maeface.analysis.timeline import au_names, frame_spans, person_numbers
from maeface.errors import ConfigError, DataError
from maeface.report.film_data import STATUSES, frame_status, has_tracks
from maeface.report.lines import person_title

SUFFIXES = (".png", ".pdf")
WIDTH_IN, PANEL_IN, PICTURES_IN, MARGIN_IN = 7.2, 0.82, 0.95, 0.75
DPI = 200
LEGEND = "bar: event, triangle: its apex; grey and crossed: person not found; hatched: low quality"
LINE, FILL, PALE_LINE, PALE_FILL = "#0b5cad", "#bcd5ee", "#8d939b", "#dde8f4"
"""A curve and the area under it; pale: of an AU that is in doubt."""
FIRST = 6
"""AUs of a time-line without a choice, where nothing is known about which are checked."""


def draw(
    table: pd.DataFrame,
    aus: Sequence[str] | None = None,
    *,
    person: int | None = None,
    events: pd.DataFrame | None = None,
    trust: Mapping[str, Mapping[str, Any]] | None = None,
    pictures: Sequence[tuple[float, Image.Image]] = (),
    title: str = "",
) -> Figure:
    """Draw the intensity of action units over a film, or their probability where there is no intensity.

    Grey and crossed: the person was not found; hatched: low quality. A bar above a curve is an event, the
    triangle its apex. Action units that are not checked on real people are pale. Nothing depends on colour.

    Args:
        table: rows of one film, as ``maeface predict`` writes them.
        aus: names such as "AU12", in the order of the panels; None: those whose ``use`` in ``trust`` is true,
            without ``trust`` the first six.
        person: number of the person; None: the one with the most frames.
        events: columns track, au, onset_s, apex_s, offset_s; those without a track are of every person.
        trust: "AU12" -> where it was checked, as in the record of a table.
        pictures: time in s and picture of a face, drawn above the panels.
        title: above the figure; in a film of several people, the person follows.

    Raises:
        ConfigError: an AU or person that the table does not have.
        DataError: the film shows no face.
    """
    names = _choose(table, aus, trust)
    frames = table.drop_duplicates("frame").sort_values("frame", kind="stable")
    number = frames["frame"].to_numpy(dtype=np.int64)
    rows, person = _rows(table, person)
    at = np.searchsorted(number, rows["frame"].to_numpy(dtype=np.int64))
    time = frames["time_s"].to_numpy(dtype=float)
    status = frame_status(table, number)
    status[at] = (rows["status"].astype(str) == "low_quality").to_numpy()
    height = MARGIN_IN + PANEL_IN * len(names) + PICTURES_IN * bool(pictures)
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    top = [PICTURES_IN] if pictures else []
    grid = figure.add_gridspec(len(names) + len(top), 1, height_ratios=[*top, *[PANEL_IN] * len(names)])
    panels: list[Axes] = []
    for k, name in enumerate(names):
        axes = figure.add_subplot(grid[k + len(top)], sharex=panels[0] if panels else None)
        panels.append(axes)
        curve = np.full(len(number), np.nan)
        column, limit = (f"{name}_i", facts.INTENSITY_MAX) if f"{name}_i" in rows else (f"{name}_p", 1.0)
        curve[at] = rows[column].to_numpy(dtype=float, na_value=np.nan)
        _panel(axes, name, time, curve, limit, _doubt(name, trust))
        _mark_status(axes, time, status)
        if events is not None:
            mine = events["track"].isna() | events["track"].eq(person).fillna(False)
            _mark_events(axes, events[mine & (events["au"] == name)], limit)
        axes.tick_params(labelbottom=k == len(names) - 1)
    if (end := (time + frame_spans(time)[0])[-1]) > time[0]:
        panels[0].set_xlim(time[0], end)
    _time_axis(panels[-1], time)
    kind = "intensity (0 to 5)" if f"{names[0]}_i" in rows else "probability"
    figure.supylabel(kind, fontsize=8.5)
    if pictures:
        _show_pictures(figure.add_subplot(grid[0], sharex=panels[0]), pictures)
    if heading := _heading(table, person, title):
        figure.suptitle(heading, fontsize=11, x=0.01, ha="left")
    return figure


def write(path: Path, table: pd.DataFrame, aus: Sequence[str] | None = None, **content: Any) -> None:  # noqa: ANN401 - as of draw
    """Write the time-line to ``path``, a PNG or PDF by its suffix; the other arguments are those of ``draw``.

    Raises:
        ConfigError: another suffix, or as ``draw``.
        DataError: as ``draw``.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path.name}: expected a name that ends with {' or '.join(SUFFIXES)}")
    kind = path.suffix.lower()[1:]
    buffer = io.BytesIO()
    metadata = {"CreationDate": None} if kind == "pdf" else None  # equal bytes for equal input
    draw(table, aus, **content).savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    files.write_bytes(path, buffer.getvalue())


def _heading(table: pd.DataFrame, person: int, title: str) -> str:
    """Return the title, and who is shown if there are several."""
    several = len(np.unique(person_numbers(table[table["face"] >= 0]))) > 1
    return ", ".join(filter(None, (title, person_title(person, has_tracks(table)) if several else "")))


def _choose(
    table: pd.DataFrame, aus: Sequence[str] | None, trust: Mapping[str, Mapping[str, Any]] | None
) -> list[str]:
    known = au_names(table)
    if aus is None:
        checked = [name for name in known if trust and trust.get(name, {}).get("use")]
        return checked or known[:FIRST]
    if missing := [name for name in aus if name not in known]:
        raise ConfigError(f"the table has no values of {missing[0]}; it has {', '.join(known)}")
    if not aus:
        raise ConfigError("no action unit is chosen; name at least one, such as AU12")
    return list(aus)


def _rows(table: pd.DataFrame, person: int | None) -> tuple[pd.DataFrame, int]:
    """Return the rows of a person, one a frame, and the person's number."""
    faces = table[table["face"] >= 0]
    people = person_numbers(faces).astype(np.int64)
    if not len(people):
        raise DataError("the film shows no face, so there is no time-line")
    known, counts = np.unique(people, return_counts=True)
    person = int(known[counts.argmax()]) if person is None else person
    if person not in known:
        raise ConfigError(f"no person {person} in the table; there are {', '.join(map(str, known))}")
    return faces[people == person].drop_duplicates("frame"), person


def _doubt(name: str, trust: Mapping[str, Mapping[str, Any]] | None) -> str:
    """Return why an action unit is pale; empty if it is checked on real people, or nothing is known."""
    entry = {} if trust is None else trust.get(name, {})
    if trust is None or entry.get("use"):
        return ""
    return "not reliable" if entry.get("checked") == "real" else "not checked on real people"


def _panel(axes: Axes, name: str, time: np.ndarray, curve: np.ndarray, limit: float, doubt: str) -> None:
    line, area, ink = (PALE_LINE, PALE_FILL, "0.45") if doubt else (LINE, FILL, "black")
    axes.fill_between(time, 0, curve, color=area, linewidth=0, zorder=2)
    axes.plot(time, curve, color=line, linewidth=0.9, zorder=3)
    alone = (
        np.isfinite(curve) & ~np.isfinite(np.r_[np.nan, curve[:-1]]) & ~np.isfinite(np.r_[curve[1:], np.nan])
    )
    axes.plot(time[alone], curve[alone], ".", color=line, markersize=2.5, zorder=3)
    axes.set_ylim(0, 1.28 * limit)  # room above for events
    axes.set_yticks([0, limit / 2, limit] if limit == 1 else [0, 1, 3, 5])
    axes.tick_params(labelsize=7, length=2.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)
    label = facts.au_title(int(name[2:])) + (f" ({doubt})" if doubt else "")
    axes.set_title(label, fontsize=8.5, loc="left", pad=2, color=ink)


def _mark_status(axes: Axes, time: np.ndarray, status: np.ndarray) -> None:
    """Shade where there are no values, or values of low quality."""
    ends = np.append(time[1:], (time + frame_spans(time)[0])[-1])
    starts = np.concatenate([[0], np.flatnonzero(np.diff(status)) + 1])
    stops = np.append(starts[1:], len(status)) - 1
    for first, last in zip(starts, stops, strict=True):
        if status[first] == STATUSES.index("low_quality"):
            style: dict[str, Any] = {
                "facecolor": "none",
                "edgecolor": "0.75",
                "hatch": "////",
                "linewidth": 0,
                "zorder": 2.5,
            }
        elif status[first]:
            style = {"facecolor": "0.92", "edgecolor": "0.8", "hatch": "xxx", "linewidth": 0, "zorder": 1}
        else:
            continue
        axes.axvspan(time[first], ends[last], **style)


def _mark_events(axes: Axes, events: pd.DataFrame, limit: float) -> None:
    height = 1.14 * limit
    axes.hlines(
        [height] * len(events), events["onset_s"], events["offset_s"], color="black", lw=2.2, zorder=4
    )
    axes.plot(events["apex_s"], [1.21 * limit] * len(events), "v", color="black", ms=3.2, mew=0, zorder=4)


def _time_axis(axes: Axes, time: np.ndarray) -> None:
    if len(time) and time[-1] - time[0] >= 120:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{int(t) // 60}:{int(t) % 60:02d}"))
        axes.set_xlabel("time (min:s)", fontsize=8.5, loc="left")
    else:
        axes.set_xlabel("time (s)", fontsize=8.5, loc="left")
    axes.annotate(LEGEND, (1, 0), (0, -19), "axes fraction", "offset points", ha="right", va="top", size=6.5)


def _show_pictures(axes: Axes, pictures: Sequence[tuple[float, Image.Image]]) -> None:
    """Draw pictures in a row, in the order of time, each with a line to its time below."""
    axes.set_axis_off()
    axes.set_ylim(0, 1)
    wide = min(0.12, 1 / len(pictures))
    low, high = axes.get_xlim()
    free = [(time - low) / (high - low) - wide / 2 for time, _ in sorted(pictures, key=lambda one: one[0])]
    for k in range(len(free)):  # push to the right where they overlap, then back to the left at the end
        free[k] = max(free[k], free[k - 1] + wide if k else 0.0)
    for k in reversed(range(len(free))):
        free[k] = min(free[k], free[k + 1] - wide if k + 1 < len(free) else 1 - wide)
    for left, (time, image) in zip(free, sorted(pictures, key=lambda one: one[0]), strict=True):
        inset = axes.inset_axes((left + 0.04 * wide, 0.2, 0.92 * wide, 0.8))
        inset.imshow(np.asarray(image.convert("RGB")))
        inset.set_axis_off()
        axes.plot(
            [low + (left + wide / 2) * (high - low), time], [0.19, 0], color="0.4", lw=0.7, clip_on=False
        )
