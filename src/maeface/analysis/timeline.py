"""The frames of one person of a film, with their spans in seconds, from a table of predictions."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import files
from maeface.errors import ConfigError, DataError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

VALID = ("ok", "low_quality")
"""Statuses of rows with values."""
HOLD_S = 1.0
"""Longest time in s for which the values of a frame stand, unless frames are usually further apart."""
INTENSITY_PRESENT = 1.0
"""Lowest intensity of an AU that is present: FACS A."""
THRESHOLD = 0.5
NEEDED = ("input", "frame", "time_s", "face", "track", "status")

TIME_DIGITS, DIGITS = 3, 6
"""Decimals of times (1 ms) and of all other numbers in the tables that are made from one of predictions."""

Thresholds = float | Mapping[str, float]
"""Probability from which an AU is present: one number, or one for each AU by name (``{"AU12": 0.5}``)."""


@dataclass(frozen=True)
class Person:
    """One track of a film, or all faces of an input without tracks.

    Attributes:
        input: name of the film or photo.
        track: number of the person; None without tracks.
        is_film: False for a photo. An input without tracks whose frames have several faces is not a film of
            one person, so it is no film here either.
        table: the table that the person is in.
        frames: of a film each of its N frames, in the order of time, also those without this person; else the
            frame of each of the N rows of the input.
        times: presentation times in s, (N,), not decreasing.
        spans: seconds for which each frame stands, (N,); NaN if it is no film.
        valid: whether there are values of this person, (N,).
        places: the positions of the rows in the table, (N,); -1 for a frame without this person.
        step_s: usual distance of two frames, the median, in s; NaN if it is no film.
    """

    input: str
    track: int | None
    is_film: bool
    table: pd.DataFrame
    frames: NDArray[np.int64]
    times: Floats
    spans: Floats
    valid: Bools
    places: NDArray[np.intp]
    step_s: float

    def column(self, name: str) -> Floats:
        """Return a column as floats, (N,); NaN where there is no value of this person or no such column."""
        if name not in self.table:
            return np.full(len(self.places), np.nan)
        return np.where(self.valid, _as_floats(self.table[name].iloc[self.places]), np.nan)


def numbers(table: pd.DataFrame, name: str) -> Floats:
    """Return a column as floats, (M,); NaN where it has no value or does not exist."""
    return _as_floats(table[name]) if name in table else np.full(len(table), np.nan)


def _as_floats(values: "pd.Series[Any]") -> Floats:
    if values.dtype == np.float32:
        return files.as_in_text(values.to_numpy())
    return values.to_numpy(np.float64, na_value=np.nan)


def au_names(table: pd.DataFrame) -> list[str]:
    """Return the names of the AUs with a probability or an intensity, in the order of the columns."""
    found = (re.fullmatch(r"(AU\d\d)_[pi]", str(name)) for name in table.columns)
    return list(dict.fromkeys(hit[1] for hit in found if hit))


def person_numbers(table: pd.DataFrame) -> Floats:
    """Return the track of each face, its number in the image where it has no track, NaN for no face, (M,)."""
    face, track = numbers(table, "face"), numbers(table, "track")
    return np.where(face >= 0, np.where(np.isnan(track), face, track), np.nan)


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its times rounded to 1 ms and its other numbers to six decimals.

    Columns of times are ``seconds`` and those that end with ``_s``.
    """
    floats = table.select_dtypes("float")
    digits = {name: TIME_DIGITS if f"_{name}".endswith(("_s", "_seconds")) else DIGITS for name in floats}
    return table.assign(**(floats.round(digits) + 0.0))  # + 0.0: no -0.0


def threshold_of(au: str, thresholds: Thresholds) -> float:
    """Return the threshold of an AU.

    Raises:
        ConfigError: it is not from 0 to 1, or there is none for this AU.
    """
    if isinstance(thresholds, Mapping):
        if au not in thresholds:
            raise ConfigError(f"there is no threshold for {au}; give one for each AU of the table")
        value = float(thresholds[au])
    else:
        value = float(thresholds)
    if not 0 <= value <= 1:
        raise ConfigError(f"the threshold of {au} is {value:g}; expected a probability, 0 to 1")
    return value


def presence(source: Person | pd.DataFrame, au: str, thresholds: Thresholds = THRESHOLD) -> Floats:
    """Return 1 where an AU is present, 0 where it is absent, NaN where it is not known, (N,).

    It is the column ``AU12`` if there is one, else ``AU12_p`` at the threshold, else an intensity of at
    least 1.
    """
    table = source.table if isinstance(source, Person) else source
    read = source.column if isinstance(source, Person) else partial(numbers, source)
    if au in table:
        return read(au)
    column, limit = f"{au}_i", INTENSITY_PRESENT
    if f"{au}_p" in table:
        column, limit = f"{au}_p", threshold_of(au, thresholds)
    values = read(column)
    return np.where(np.isnan(values), np.nan, values >= limit)


def share_seen(times: Floats, spans: Floats, seen: Bools) -> float:
    """Return the share of a film's time in which a person is seen, 0 to 1; of one frame, of its rows.

    Args:
        times: of the frames, in s, (N,).
        spans: seconds for which each stands, (N,).
        seen: whether the person is seen in it, (N,).
    """
    length = times[-1] + spans[-1] - times[0]
    return float(spans[seen].sum() / length) if length > 0 else float(seen.mean())


def people(table: pd.DataFrame) -> Iterator[Person]:
    """Yield the people of a table: each track of each film, and each input without tracks, in their order.

    A frame stands until the next frame of the film is shown, whoever is seen in it, so films with uneven
    frame rates are measured in true seconds. The last frame stands for the median distance. No frame stands
    longer than ``HOLD_S`` or the median distance, whichever is longer: what follows is not known.

    Args:
        table: the table of ``maeface predict``.

    Raises:
        DataError: a column is missing, or a time or a frame number is not.
    """
    if missing := [name for name in NEEDED if name not in table]:
        raise DataError(f"the table has no column {', '.join(missing)}; give a table of `maeface predict`")
    if table["time_s"].isna().any() or table["frame"].isna().any():
        raise DataError("the table has rows without a frame or a time; give a table of `maeface predict`")
    for name, places in table.groupby("input", sort=False, observed=True).indices.items():
        yield from _people_of(str(name), table, np.asarray(places, np.intp))


def _people_of(name: str, table: pd.DataFrame, places: NDArray[np.intp]) -> Iterator[Person]:
    """Yield the people of an input, whose rows are at some places of a table."""
    rows = table[["frame", "face", "time_s", "track", "status"]].iloc[places]
    order = np.lexsort([rows[key].to_numpy(np.float64, na_value=np.nan) for key in ("face", "frame")])
    rows, places = rows.iloc[order], places[order]
    frames, first = np.unique(rows["frame"].to_numpy(np.int64), return_index=True)
    valid = (rows["status"].isin(VALID) & (rows["face"] >= 0)).to_numpy(bool, na_value=False)
    tracks = rows["track"].to_numpy(np.float64, na_value=np.nan)
    numbers = [int(track) for track in np.unique(tracks[valid & ~np.isnan(tracks)])]
    times = rows["time_s"].to_numpy(np.float64)
    several = rows["frame"][valid].duplicated().any()
    if (len(frames) == 1 and not numbers) or (not numbers and several):
        all_frames = rows["frame"].to_numpy(np.int64)
        nothing = np.full(len(rows), np.nan)
        yield Person(name, None, False, table, all_frames, times, nothing, valid, places, np.nan)
        return
    times = np.maximum.accumulate(times[first])
    spans, step = frame_spans(times)
    at = np.searchsorted(frames, rows["frame"].to_numpy(np.int64))
    tracks_of: list[int | None] = [*numbers] or [None]
    for number in tracks_of:
        mine = np.flatnonzero(valid if number is None else valid & (tracks == number))
        of_frames = np.full(len(frames), -1, np.intp)
        of_frames[at[mine[::-1]]] = places[mine[::-1]]  # of two rows of a frame the first
        yield Person(name, number, True, table, frames, times, spans, of_frames >= 0, of_frames, step)


def frame_spans(times: Floats) -> tuple[Floats, float]:
    """Return the seconds for which each frame stands, (N,), and the usual distance; see ``people``."""
    steps = np.diff(times)
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    return np.minimum(np.append(steps, step), max(HOLD_S, step)), step
