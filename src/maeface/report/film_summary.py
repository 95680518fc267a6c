"""What was found in a film, in a line and in a few lines of text."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pandas as pd

from maeface import console, facts
from maeface.report.lines import describe_absence, percent, person_title

MOST_ACTIVE = 3
"""Action units that are named in the line about a film."""
EVEN = 0.05
"""Difference of the sides of a face, in intensity, below which none is called stronger."""
PEOPLE = 4
"""People who have a column; of a film with more, those who are seen longest."""


def film_line(summary: pd.DataFrame, aus: Collection[int], table: str) -> str:
    """Return one line: who is seen, the action units that are present most of the time, and the table.

    ``a.mp4: 2 people, seen up to 98% of the film; AU25 72% of the time, AU12 41%; films.aus/a.mp4.csv``

    Args:
        summary: the rows of one film, as ``analysis.summary.summarize`` returns them.
        aus: action units that may be named. The time is that of all people in which they are seen.
        table: the path of the table.
    """
    name, table = console.escape(str(summary["input"].iloc[0])), console.escape(table)
    seen = summary.drop_duplicates("track")
    if not seen["valid_frames"].any():
        return f"{name}: no face was measured; {table}"
    people = int(seen["track"].count())
    who = "faces" if not people else "1 person" if people == 1 else f"{people} people"
    most = "up to " if people > 1 else ""
    shares = {au: _mean_of_people(summary, au, "share") for au in sorted(aus)}
    first = sorted((au for au in shares if shares[au] > 0), key=lambda au: -shares[au])[:MOST_ACTIVE]
    active = [
        f"{facts.au_name(au)} {percent(shares[au])}{' of the time' * (k == 0)}{_in_brackets(summary, au)}"
        for k, au in enumerate(first)
    ]
    what = [", ".join(active)] if active else [describe_absence(aus)] if aus else []
    seen_for = f"{who}, seen {most}{percent(seen['valid_share'].max())} of the film"
    return f"{name}: {'; '.join([seen_for, *what, table])}"


def _mean_of_people(summary: pd.DataFrame, au: int, column: str) -> float:
    """Return the mean over the time in which people are seen; NaN if there is no value."""
    rows = summary[(summary["au"] == facts.au_name(au)) & summary[column].notna()]
    weights = rows["valid_s"].to_numpy(float) if rows["valid_s"].sum() > 0 else rows["valid_frames"]
    return float(np.average(rows[column], weights=weights)) if len(rows) else float("nan")


def _in_brackets(summary: pd.DataFrame, au: int) -> str:
    sides = _describe_sides(_mean_of_people(summary, au, "asymmetry")) if "asymmetry" in summary else ""
    return f" ({sides})" if sides else ""


def _describe_sides(asymmetry: float) -> str:
    """Return which side of the face is stronger on average, and by how much; "" if it is not known."""
    if pd.isna(asymmetry):
        return ""
    if abs(asymmetry) < EVEN:
        return "sides alike"
    return f"{'left' if asymmetry > 0 else 'right'} stronger by {abs(asymmetry):.1f}"


def describe_film(summary: pd.DataFrame, aus: Collection[int]) -> Iterator[str]:
    """Yield lines about a film: how long each person is seen, and what is seen of each action unit.

    Of action units with left and right, they say which side is stronger on average.

    Args:
        summary: the rows of one film, as ``analysis.summary.summarize`` returns them.
        aus: action units to show.
    """
    seen = summary.drop_duplicates("track").sort_values("valid_s", ascending=False, kind="stable")
    tracks = seen["track"].head(PEOPLE).tolist()
    by_track: list[pd.DataFrame] = [
        summary[summary["track"].isna() if pd.isna(track) else summary["track"].eq(track).fillna(False)]
        for track in tracks
    ]
    heads = [_head(track, rows) for track, rows in zip(tracks, by_track, strict=True)]
    rows = [["seen", *(f"{percent(rows['valid_share'].iloc[0])} of the film" for rows in by_track)]]
    for au in sorted(aus):
        cells = [_cell(rows[rows["au"] == facts.au_name(au)]) for rows in by_track]
        rows.append([facts.au_title(au), *cells])
    widths = [max(len(line[k]) for line in (["", *heads], *rows)) for k in range(len(heads) + 1)]
    for line in (["", *heads], *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    if len(seen) > PEOPLE:
        yield f"and {len(seen) - PEOPLE} further people, who are seen for less time"


def _head(track: Any, rows: pd.DataFrame) -> str:  # noqa: ANN401 - a number or NA
    """Return the head of a column; without tracks, a film of one person has events."""
    if pd.isna(track):
        return "the person" if rows["events"].notna().any() else "all faces"
    return person_title(track)


def _cell(row: pd.DataFrame) -> str:
    """Return ``31% of the time, 14 x, up to 3.8, left stronger by 0.3``."""
    if row.empty:
        return ""
    one: Any = row.iloc[0]
    if pd.isna(one["share"]):
        return "not seen"
    text = f"{percent(one['share'])} of the time"
    if pd.isna(one["events"]):  # faces whose people are not known
        return text
    text = f"{text}, {one['events']:.0f} x"
    if pd.notna(one["peak_i"]) and one["events"]:
        text = f"{text}, up to {one['peak_i']:.1f}"
    sides = _describe_sides(one.get("asymmetry")) if one["share"] else ""
    return f"{text}, {sides}" if sides else text
