"""The data of a film's page: the table of predictions, small enough for a browser.

Curves with more points than ``POINTS`` allows are thinned with largest-triangle-three-buckets (Steinarsson,
2013), which keeps peaks. Numbers are written as small integers, because they are shorter as JSON:

    k    rows of a curve: the first index into the list of frames, then steps; a negative step is a gap
    v    its values, times the factor of its column
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tsdownsample import LTTBDownsampler

from maeface import facts
from maeface.analysis.timeline import (
    THRESHOLD,
    Thresholds,
    au_names,
    frame_spans,
    person_numbers,
    presence,
    share_seen,
)
from maeface.errors import DataError
from maeface.report.lines import percent, person_title

POINTS = 1_000_000
"""Points of all curves of a page together; about 6 bytes each."""
FEWEST = 300
"""Points that a curve keeps at least."""
CELLS = 8000
"""Steps of time in which status, presence and boxes of a film are written at most."""
PEOPLE = 40
"""People on the page, those with the most rows: false detections make many short tracks."""
MEASURES = ("i", "p", "d")
QUALITY = ("score", "yaw", "sharpness", "unlike")
FACTORS = {"i": 100.0, "p": 1000.0, "d": 100.0, "score": 1000.0, "yaw": 10.0}
STATUSES = ("ok", "low_quality", "absent", "no_face", "damaged")
"""Codes of the status of a person in a frame, from good to bad. Any other of the table is "damaged"."""
EVENT = ("track", "au", "onset_s", "apex_s", "offset_s", "duration_s", "peak_i")

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def film_data(
    table: pd.DataFrame,
    events: pd.DataFrame | None = None,
    summary: pd.DataFrame | None = None,
    trust: Mapping[str, Mapping[str, Any]] | None = None,
    thresholds: Thresholds = THRESHOLD,
) -> dict[str, Any]:
    """Return the data of a film's page, ready for JSON.

    Args:
        table: rows of one film, as ``maeface predict`` writes them.
        events: columns of ``EVENT``; times in s, ``peak_i`` an intensity 0..5.
        summary: any columns; rows can be filtered on the page by the columns ``track`` and ``au``.
        trust: "AU12" -> where it was checked, as in the record of a table.
        thresholds: probability from which an AU is present; used where the table has no column ``AU12``.

    Raises:
        DataError: the table is empty, is not of one film, or lacks a column.
    """
    table = _checked(table)
    frames = table.drop_duplicates("frame").sort_values("frame", kind="stable")
    number = frames["frame"].to_numpy(dtype=np.int64)
    time = np.maximum.accumulate(frames["time_s"].to_numpy(dtype=float, na_value=0.0))
    aus = au_names(table)
    measures = [m for m in MEASURES if any(f"{au}_{m}" in table for au in aus)]
    quality = [name for name in QUALITY if name in table and table[name].notna().any()]
    columns = [f"{au}_{m}" for au in aus for m in measures if f"{au}_{m}" in table] + quality
    factors = {name: FACTORS.get(name.split("_")[-1]) or _factor(table[name]) for name in columns}
    without = frame_status(table, number)
    faces = table[table["face"] >= 0]
    faces = faces.assign(person=person_numbers(faces).astype(np.int64))
    kept = faces["person"].value_counts().head(PEOPLE).index.sort_values()
    tracked = has_tracks(table)
    spans = frame_spans(time)[0]
    film = _Film(time, spans, number, without, factors, aus, len(faces), thresholds, tracked)
    people = [_person(int(p), faces[faces["person"] == p], film) for p in kept]
    thinned = max((len(s["v"]) for p in people for s in p["series"].values() if s["k"]), default=0)
    return {
        "frames": len(number),
        "number": _sequence(number),
        "ms": _sequence(np.round(time * 1000).astype(np.int64)),
        "end_ms": round((time[-1] + spans[-1]) * 1000),
        "aus": {au: _au(au, (trust or {}).get(au)) for au in aus},
        "trust_known": bool(trust),
        "measures": measures,
        "quality": quality,
        "factors": factors,
        "tracked": tracked,
        "people": people,
        "people_left_out": int(faces["person"].nunique()) - len(people),
        "thinned": thinned,
        "events": None if events is None else _events(events),
        "summary": None if summary is None else _rows(summary.drop(columns="input", errors="ignore")),
    }


def has_tracks(table: pd.DataFrame) -> bool:
    """Return whether the people of a film have numbers; else only the faces of each frame have."""
    return "track" in table and bool(table["track"].notna().any())


def frame_status(table: pd.DataFrame, number: Integers) -> Integers:
    """Return the code in ``STATUSES`` of a person who has no row, in each frame (N,) of ``number``."""
    status = np.full(len(number), STATUSES.index("absent"), dtype=np.int64)
    empty = table[table["face"] < 0]
    codes = empty["status"].astype(str).map({name: k for k, name in enumerate(STATUSES)}.get)
    at = np.searchsorted(number, empty["frame"].to_numpy(dtype=np.int64))
    np.maximum.at(status, at, codes.fillna(len(STATUSES) - 1).to_numpy(dtype=np.int64))
    return status


def thin(along: Floats, values: Floats, count: int) -> Integers:
    """Return the positions (ascending) of at most ``count`` points that keep the look of a curve.

    Args:
        along: (N,) not descending.
        values: (N,) finite.
        count: number of points to keep, 3 or more; all are kept if there are no more.
    """
    if len(values) <= count:
        return np.arange(len(values))
    downsampler: Any = LTTBDownsampler  # has no types
    return np.unique(downsampler().downsample(along, values, n_out=count).astype(np.int64))


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    needed = ("input", "frame", "time_s", "face", "status")
    if missing := [name for name in needed if name not in table]:
        raise DataError(f"the table has no column {missing[0]!r}; expected a table of maeface predict")
    if table["input"].nunique() != 1:
        raise DataError(f"expected the rows of one film, got {table['input'].nunique()} inputs; select one")
    if not au_names(table):
        raise DataError("the table has no action units: expected columns such as AU12_p or AU12_i")
    return table


class _Film(NamedTuple):
    """What the curves of all people of a film share.

    Attributes:
        time: of the frames, in s, (N,).
        spans: seconds for which each frame stands, (N,).
        number: of the frames, (N,).
        without: the code of the status of a person who has no row, (N,).
        factors: {column: factor of its values}.
        aus: the names of the action units.
        faces: number of rows with a face.
        thresholds: probability from which an AU is present.
        tracked: whether people have numbers; else faces have.
    """

    time: Floats
    spans: Floats
    number: Integers
    without: Integers
    factors: Mapping[str, float]
    aus: list[str]
    faces: int
    thresholds: Thresholds
    tracked: bool


def _person(name: int, rows: pd.DataFrame, film: _Film) -> dict[str, Any]:
    """Return the data of one person."""
    number, factors = film.number, film.factors
    rows = rows.sort_values(["frame", "face"], kind="stable").drop_duplicates("frame")
    k = np.searchsorted(number, rows["frame"].to_numpy(dtype=np.int64))
    count = max(FEWEST, POINTS * len(rows) // max(1, film.faces * len(factors)))
    longest_step = max(1, -(-len(number) // count)) if len(k) > count else 1
    status = film.without.copy()
    status[k] = (rows["status"].astype(str) == "low_quality").to_numpy() * STATUSES.index("low_quality")
    present = {au: np.zeros(len(number), dtype=np.int64) for au in film.aus}
    for au in film.aus:
        present[au][k] = np.nan_to_num(presence(rows, au, film.thresholds))
    boxes = np.arange(0, len(rows), max(1, -(-len(rows) // CELLS)))
    box = rows.reindex(columns=["x1", "y1", "x2", "y2"]).to_numpy(dtype=float)[boxes]
    return {
        "track": name,
        "title": person_title(name, film.tracked),
        "seen": percent(share_seen(film.time, film.spans, np.isin(np.arange(len(number)), k))),
        "rows": len(rows),
        "k": _steps(k, longest_step),
        "series": {
            column: _curve(k, rows[column].to_numpy(dtype=float, na_value=np.nan), factor, count)
            for column, factor in factors.items()
        },
        "status": _runs(status),
        "present": {au: _runs(mask) for au, mask in present.items() if mask.any()},
        "box_k": _steps(k[boxes], longest_step * max(1, -(-len(rows) // CELLS))),
        "box": [] if np.isnan(box).all() else np.nan_to_num(np.round(box)).astype(int).ravel().tolist(),
    }


def _curve(k: Integers, values: Floats, factor: float, count: int) -> dict[str, Any]:
    """Return a curve of at most about ``count`` points; "k" is None if its rows are those of the person."""
    valid = np.isfinite(values)
    if valid.all() and len(values) <= count:
        return {"k": None, "v": np.round(values * factor).astype(int).tolist()}
    k, values = k[valid], values[valid]
    if not len(k):
        return {"k": [], "v": []}
    # Gaps shorter than the distance of the points of a thinned curve are closed; the ends of others are kept.
    longest = 1 if len(k) <= count else max(1, -(-int(k[-1] - k[0] + 1) // count))
    before = np.flatnonzero(np.diff(k) > longest)
    keep = np.union1d(thin(k.astype(float), values, count), np.concatenate([before, before + 1]))
    steps = np.diff(k[keep], prepend=0)
    steps[1:][np.isin(keep[1:] - 1, before)] *= -1
    return {"k": steps.tolist(), "v": np.round(values[keep] * factor).astype(int).tolist()}


def _sequence(values: Integers) -> list[int] | dict[str, int]:
    """Return the first value and the steps to the next ones; as three numbers if all steps are equal."""
    steps = np.diff(values, prepend=0)
    if len(values) > 3 and (steps[1:] == steps[1]).all():
        return {"first": int(values[0]), "step": int(steps[1]), "count": len(values)}
    return list(steps.tolist())


def _steps(k: Integers, longest: int) -> list[int]:
    """Return the first row and the steps to the next ones; those longer than ``longest`` are negative."""
    steps = np.diff(k, prepend=0)
    steps[1:] = np.where(steps[1:] > longest, -steps[1:], steps[1:])
    return list(steps.tolist())


def _runs(codes: Integers) -> list[int]:
    """Return [length, code, length, code, ...]; in long films the highest code of several frames counts."""
    step = -(-len(codes) // CELLS)
    padded = np.pad(codes, (0, -len(codes) % step), mode="edge")
    codes = padded.reshape(-1, step).max(axis=1).repeat(step)[: len(codes)]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1])
    lengths = np.diff(starts, append=len(codes))
    return [int(x) for pair in zip(lengths, codes[starts], strict=True) for x in pair]


def _factor(values: pd.Series) -> float:
    """Return the power of ten that leaves four digits of the largest value."""
    largest = float(np.nanmax(np.abs(values.to_numpy(dtype=float, na_value=np.nan)), initial=0.0))
    return float(10.0 ** (3 - np.floor(np.log10(largest)))) if largest > 0 else 1.0


def _au(name: str, trust: Mapping[str, Any] | None) -> dict[str, Any]:
    entry = {key: _plain(value) for key, value in (trust or {}).items()}
    return {"title": facts.au_title(int(name[2:])).removeprefix(name).strip(), **entry}


def _events(events: pd.DataFrame) -> list[list[Any]]:
    """Return rows of ``EVENT`` in the order of time."""
    if missing := [name for name in EVENT if name not in events]:
        raise DataError(f"the table of events has no column {missing[0]!r}; it needs {', '.join(EVENT)}")
    return list(_rows(events.sort_values("onset_s", kind="stable")[list(EVENT)])["rows"])


def _rows(table: pd.DataFrame) -> dict[str, Any]:
    rows = [[_plain(value) for value in row] for row in table.itertuples(index=False, name=None)]
    return {"columns": [str(name) for name in table.columns], "rows": rows}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a cell of any table
    """Return a value that JSON can hold, rounded; None for a missing one."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), 3) if np.isfinite(value) else None
    return str(value)
