"""What was found in a film, in a few lines of text."""

from collections.abc import Collection, Iterator
from typing import Any

import pandas as pd

from maeface import facts
from maeface.report.lines import percent, person_title

PEOPLE = 4
"""People who have a column; of a film with more, those who are seen longest."""


def describe_film(summary: pd.DataFrame, aus: Collection[int]) -> Iterator[str]:
    """Yield lines about a film: how long each person is seen, and what is seen of each action unit.

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
    """Return ``31 % of the time, 14 x, up to 3.8``."""
    if row.empty:
        return ""
    one: Any = row.iloc[0]
    if pd.isna(one["share"]):
        return "not seen"
    text = f"{percent(one['share'])} of the time"
    if pd.isna(one["events"]):  # faces whose people are not known
        return text
    text = f"{text}, {one['events']:.0f} x"
    return text if pd.isna(one["peak_i"]) or not one["events"] else f"{text}, up to {one['peak_i']:.1f}"
