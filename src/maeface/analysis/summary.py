"""Summaries of a table of predictions: one row for each person and AU, and which AUs come together.

Shares are shares of time in films, so that uneven frame rates do not distort them, and shares of faces in
photos.
"""

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from maeface.analysis.events import BLINK, LIDS, find_events, mean_over_time
from maeface.analysis.timeline import (
    THRESHOLD,
    Floats,
    Person,
    Thresholds,
    au_names,
    people,
    presence,
    rounded,
    share_seen,
)

BLINK_STEP_S = 0.1
"""Largest usual distance of frames in s at which blinks are counted; a blink takes 0.1 to 0.5 s."""

TYPES = {
    "input": "object",
    "track": "Int64",
    "au": "object",
    **dict.fromkeys(("frames", "valid_frames"), "int64"),
    **dict.fromkeys(
        (
            *("seconds", "valid_s", "valid_share", "share", "mean_p", "mean_i", "peak_p", "peak_i", "mean_d"),
            *("events", "events_per_min", "mean_duration_s", "blinks_per_min"),
        ),
        "float64",
    ),
}
"""The columns of a summary and their types."""
SIDES = dict.fromkeys(("mean_L", "mean_R", "asymmetry"), "float64")
"""More columns of the summary of a table with the sides of the face."""
PAIR_TYPES = {
    "input": "object",
    "track": "Int64",
    "au_1": "object",
    "au_2": "object",
    **dict.fromkeys(("share_1", "share_2", "share_both", "expected_both", "jaccard", "phi"), "float64"),
}
"""The columns of a table of pairs and their types."""


def summarize(
    table: pd.DataFrame,
    events: pd.DataFrame | None = None,
    thresholds: Thresholds = THRESHOLD,
    persons: Iterable[Person] | None = None,
) -> pd.DataFrame:
    """Return one row for each input, track and AU; one for each input and AU where there are no tracks.

    Args:
        table: the table of ``maeface predict``.
        events: what ``find_events`` returns for this table; None: found with the default rules.
        thresholds: probability from which an AU is present; used where the table has no column ``AU12``.
        persons: what ``timeline.people`` yields for this table; None: it is called here.

    Returns:
        ``input``, ``track``, ``au``; ``frames`` (of the film; faces or rows without a face of a photo),
        ``valid_frames`` (with values of this person); ``seconds`` (length of the film), ``valid_s`` and
        ``valid_share`` (time with values); ``share`` (of the time with values in which the AU is present, 0
        to 1); ``mean_p``, ``mean_i``, ``mean_d`` (over the time with values, present or not), ``peak_p``,
        ``peak_i``; ``events``, ``events_per_min`` (of the time with values), ``mean_duration_s`` (of the
        events; NaN without any); ``blinks_per_min`` (AU43 and AU45 only; NaN if frames are usually more than
        0.1 s apart). If the table has sides (``AU12_L``, ``AU12_R``), also ``mean_L``, ``mean_R`` and
        ``asymmetry``, the mean of left minus right (-5 to 5); NaN for AUs without sides. Photos have shares
        of faces, and NaN for seconds and all that is of events. Seconds are rounded to 1 ms, other numbers to
        six decimals.

    Raises:
        DataError: the table is not one of predictions.
    """
    events = find_events(table, thresholds=thresholds) if events is None else events
    found = zip(events["input"], _numbers(events["track"]), events["au"], strict=True)
    places: dict[tuple[str, int | None, str], list[int]] = {}
    for place, key in enumerate(found):
        places.setdefault(key, []).append(place)
    aus = au_names(table)
    rows = [
        _row(person, au, events.iloc[places.get((person.input, person.track, au), [])], thresholds)
        for person in (people(table) if persons is None else persons)
        for au in aus
    ]
    types = TYPES | (SIDES if any(re.fullmatch(r"AU\d\d_L", str(name)) for name in table) else {})
    return rounded(pd.DataFrame(rows, columns=list(types)).astype(types))


def co_occurrence(
    table: pd.DataFrame, thresholds: Thresholds = THRESHOLD, persons: Iterable[Person] | None = None
) -> pd.DataFrame:
    """Return how often two AUs are present together: one row for each input, track and pair of AUs.

    Args:
        table: the table of ``maeface predict``.
        thresholds: as for ``summarize``.
        persons: as for ``summarize``.

    Returns:
        ``input``, ``track``, ``au_1``, ``au_2`` (in the order of the columns), of the time (of the faces of a
        photo) in which both are known: ``share_1``, ``share_2``, ``share_both``; ``expected_both`` (the
        product of the first two: what independent AUs would have); ``jaccard`` (time with both by time with
        one or both; NaN if neither is ever present); ``phi`` (correlation of presence, -1 to 1; NaN if one
        of them is always or never present). Numbers are rounded to six decimals.

    Raises:
        DataError: the table is not one of predictions.
    """
    aus = au_names(table)
    first, second = np.triu_indices(len(aus), 1)
    names = np.array(aus, dtype=object)
    parts = [
        pd.DataFrame(
            {"input": person.input, "track": pd.array([person.track] * len(first), "Int64")}
            | {"au_1": names[first], "au_2": names[second]}
            | {name: values[first, second] for name, values in _pairs(person, aus, thresholds).items()}
        )
        for person in (people(table) if persons is None else persons)
    ]
    if not parts or not len(first):
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in PAIR_TYPES.items()})
    return rounded(pd.concat(parts, ignore_index=True).astype(PAIR_TYPES))


def _numbers(tracks: pd.Series) -> list[int | None]:
    return [None if pd.isna(track) else int(track) for track in tracks]


def _weights(person: Person) -> Floats:
    """Return what each row counts: its seconds in a film, 1 in a photo and in a film of a single frame."""
    known = person.is_film and person.spans.sum() > 0
    return np.where(person.valid, person.spans if known else 1.0, 0.0)


def _row(person: Person, au: str, events: pd.DataFrame, thresholds: Thresholds) -> dict[str, object]:
    weights, nothing = _weights(person), float("nan")
    film = person.is_film
    length = float(person.times[-1] + person.spans[-1] - person.times[0]) if film else nothing
    valid_s = float(person.spans[person.valid].sum()) if film else nothing
    columns = {kind: person.column(f"{au}_{kind}") for kind in "pidLR"}
    minutes = valid_s / 60 if film and valid_s > 0 else nothing
    timed = au in LIDS and film and 0 < person.step_s <= BLINK_STEP_S + 1e-9
    return {
        "input": person.input,
        "track": person.track,
        "au": au,
        "frames": len(person.frames),
        "valid_frames": int(person.valid.sum()),
        "seconds": length,
        "valid_s": valid_s,
        "valid_share": share_seen(person.times, person.spans, person.valid)
        if film
        else float(person.valid.mean()),
        "share": mean_over_time(presence(person, au, thresholds), weights),
        **{f"mean_{kind}": mean_over_time(values, weights) for kind, values in columns.items()},
        **{
            f"peak_{kind}": float(np.nanmax(columns[kind])) if not np.isnan(columns[kind]).all() else nothing
            for kind in "pi"
        },
        "asymmetry": mean_over_time(columns["L"] - columns["R"], weights),
        "events": float(len(events)) if film else nothing,
        "events_per_min": len(events) / minutes if film else nothing,
        "mean_duration_s": float(events["duration_s"].mean()) if len(events) else nothing,
        "blinks_per_min": float((events["kind"] == BLINK).sum()) / minutes if timed else nothing,
    }


def _pairs(person: Person, aus: list[str], thresholds: Thresholds) -> dict[str, Floats]:
    """Return what ``co_occurrence`` tells of each pair, (A, A) each, first AU in rows."""
    present = np.stack([presence(person, au, thresholds) for au in aus], axis=1)  # (N, A)
    known = ~np.isnan(present)
    present = np.nan_to_num(present)
    weights = _weights(person)[:, None]
    time = (known * weights).T @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        first = (present * weights).T @ known / time
        second, both = first.T, (present * weights).T @ present / time
        either = first + second - both
        spread = first * (1 - first) * second * (1 - second)
        return {
            "share_1": first,
            "share_2": second,
            "share_both": both,
            "expected_both": first * second,
            "jaccard": np.where(either > 1e-12, both / either, np.nan),
            "phi": np.where(spread > 1e-12, (both - first * second) / np.sqrt(spread), np.nan),
        }
