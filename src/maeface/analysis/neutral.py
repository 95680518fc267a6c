"""A person's own neutral: the intensity of each AU in the resting face, and how far each frame is from it.

A model sees one picture at a time. A face whose lips, brows or lids rest as an AU would move them has a high
intensity all the time. The difference to the person's own neutral takes that constant part away.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from maeface.analysis.timeline import DIGITS, VALID, Floats, Person, numbers, people
from maeface.errors import ConfigError, DataError

PERCENTILE = 10.0
"""Percentile of ``auto``, chosen by measurement: ``benchmarks/neutral.py``, docs/user_guide/events.md."""
MIN_FRAMES = 10
"""Fewest frames with values for a neutral by percentile."""

KEY = ("input", "track")


@dataclass(frozen=True)
class NeutralRule:
    """Where a person's neutral comes from.

    Attributes:
        source: "auto" (a low percentile of each AU over the film), "stretch" (the median over some seconds of
            the film) or "file" (a picture, film or table of the neutral face).
        start_s: begin of the stretch on the film's clock.
        end_s: end of the stretch.
        file: the path, for "file".
    """

    source: Literal["auto", "stretch", "file"]
    start_s: float = 0.0
    end_s: float = 0.0
    file: str = ""


def parse_neutral(text: str) -> NeutralRule:
    """Return the rule that a text names.

    Args:
        text: "auto"; "12-15" or "12.5-15" (from and to, in s); "5" (the first 5 s); else the path of a file.

    Raises:
        ConfigError: an empty text, or a stretch without length.
    """
    text = text.strip()
    number = r"(\d+(?:\.\d+)?)"
    if not text:
        raise ConfigError("neutral is empty; give auto, SECONDS, START-END in seconds, or a file")
    if text == "auto":
        return NeutralRule("auto")
    if hit := re.fullmatch(rf"(?:{number}\s*-\s*)?{number}", text):
        start, end = float(hit[1] or 0), float(hit[2])
        if not end > start:
            raise ConfigError(f"the neutral stretch {text} has no length; give START-END in s, as 12-15")
        return NeutralRule("stretch", start, end)
    return NeutralRule("file", file=text)


def levels_of(
    table: pd.DataFrame, rule: NeutralRule, neutral: pd.DataFrame | None = None, by_track: bool = False
) -> pd.DataFrame:
    """Return the neutral of each person by a rule: see ``levels_auto``, ``levels_stretch``, ``levels_table``.

    Args:
        table: the table of ``maeface predict``, with intensities.
        rule: where the neutral comes from.
        neutral: for "file": the table of that file.
        by_track: for "file": match by track.

    Raises:
        ConfigError: the rule is "file" and there is no table.
        DataError: as the three functions say.
    """
    if rule.source == "auto":
        return levels_auto(table)
    if rule.source == "stretch":
        return levels_stretch(table, rule.start_s, rule.end_s)
    if neutral is None:
        raise ConfigError(f"the neutral {rule.file} is not predicted yet; give its table")
    return levels_table(table, neutral, by_track)


def levels_auto(table: pd.DataFrame, percentile: float = PERCENTILE) -> pd.DataFrame:
    """Return the neutral of each person as a low percentile of each AU's intensity over the film.

    Each AU has its own lowest frames, so the person need not be neutral in all AUs at once. It is too high
    for an AU that is present nearly all the time: then the AU is taken for the resting face. Frames count
    by time. A photo and a person with fewer than 10 frames with values have no neutral by percentile: NaN.

    Args:
        table: the table of ``maeface predict``, with intensities.
        percentile: 0 to 100.

    Returns:
        One row for each input and track: ``input``, ``track``, ``frames`` (with values), and ``AU12``, ...
        with the intensity of the neutral face.

    Raises:
        ConfigError: the percentile is out of range.
        DataError: the table has no intensities.
    """
    if not 0 <= percentile <= 100:
        raise ConfigError(f"percentile is {percentile:g}; expected 0 to 100")

    def level(person: Person, values: Floats) -> float:
        known = ~np.isnan(values)
        if not person.is_film or known.sum() < MIN_FRAMES:
            return float("nan")
        return _quantile(values[known], person.spans[known], percentile / 100)

    return _levels(table, level)


def levels_stretch(table: pd.DataFrame, start_s: float, end_s: float) -> pd.DataFrame:
    """Return the neutral of each person as the median intensity over some seconds of the film.

    Args:
        table: the table of ``maeface predict``, with intensities.
        start_s: begin of the stretch on the film's clock.
        end_s: end of the stretch; frames that are shown before it count.

    Returns:
        As ``levels_auto``. People who are not seen in the stretch, and photos, have NaN.

    Raises:
        ConfigError: the stretch has no length.
        DataError: the table has no intensities, or nobody is seen in the stretch.
    """
    if not 0 <= start_s < end_s:
        raise ConfigError(f"the neutral stretch {start_s:g}-{end_s:g} s is wrong; expected 0 <= start < end")

    def level(person: Person, values: Floats) -> float:
        inside = ~np.isnan(values) & (person.times >= start_s) & (person.times < end_s)
        return float(np.median(values[inside])) if person.is_film and inside.any() else float("nan")

    levels = _levels(table, level)
    if levels.drop(columns=["input", "track", "frames"]).isna().all(axis=None):
        raise DataError(
            f"no face of a film is seen from {start_s:g} to {end_s:g} s; give another stretch for the neutral"
        )
    return levels


def levels_table(table: pd.DataFrame, neutral: pd.DataFrame, by_track: bool = False) -> pd.DataFrame:
    """Return the neutral of each person as the median intensity in a table of neutral pictures or films.

    Args:
        table: the table of ``maeface predict`` to be compared.
        neutral: the table of ``maeface predict`` of a neutral picture or film, made with the same weights.
        by_track: False: all people of ``table`` have the same neutral, so both must be of one person. True:
            track N of ``table`` is compared with track N of ``neutral``.

    Returns:
        As ``levels_auto``; ``frames`` is the number of rows with values in ``neutral``.

    Raises:
        DataError: no face in ``neutral``, several people in it where one is expected, no intensities, or
        other AUs.
    """
    aus = _aus(table)
    if missing := [au for au in aus if f"{au}_i" not in neutral]:
        raise DataError(f"the neutral has no {missing[0]}_i; predict it with the same weights as the table")
    rows = neutral[neutral["status"].isin(VALID) & (neutral["face"] >= 0)]
    if rows.empty:
        raise DataError("the neutral has no face; give another picture")
    if not by_track and (rows["track"].nunique() > 1 or rows.duplicated(["input", "frame"]).any()):
        raise DataError("the neutral has several people; give one of a single person, or match by track")
    columns = pd.DataFrame({au: numbers(rows, f"{au}_i") for au in aus})
    result = _levels(table, lambda person, values: float("nan"))
    frames, levels = np.zeros(len(result), np.int64), np.full((len(result), len(aus)), np.nan)
    for row, track in enumerate(result["track"]):
        mine = columns[rows["track"].eq(track).fillna(False).to_numpy(bool)] if by_track else columns
        if len(mine) and not (by_track and pd.isna(track)):
            frames[row], levels[row] = len(mine), mine.median().to_numpy()
    result["frames"], result[aus] = frames, levels
    return result


def subtract(table: pd.DataFrame, levels: pd.DataFrame) -> pd.DataFrame:
    """Return the table with ``AU12_d`` after each ``AU12_i``: the intensity less the person's own neutral.

    Args:
        table: the table of ``maeface predict``, with intensities.
        levels: the neutral of each input and track, as ``levels_auto`` and the others return it.

    Returns:
        A copy of the table. ``AU12_d`` may be below 0 and is NaN where there are no values, or no neutral;
        it is rounded to six decimals.
        ``AU12_d`` of an earlier neutral is replaced.

    Raises:
        DataError: the table has no intensities, or two neutrals for one person.
    """
    aus = _aus(table)
    if levels.duplicated(list(KEY)).any():
        raise DataError("the neutral has two rows for one person; expected one for each input and track")
    result = table.drop(columns=[name for name in table if re.fullmatch(r"AU\d\d_d", str(name))])
    keys = table[list(KEY)].astype({"input": object, "track": "Int64"}).reset_index(drop=True)
    wanted = levels.astype({"input": object, "track": "Int64"}).drop(columns="frames", errors="ignore")
    own = keys.merge(wanted, on=list(KEY), how="left")
    valid = (table["status"].isin(VALID) & (table["face"] >= 0)).to_numpy(bool)
    columns = {}  # inserted one by one they would fragment the table, of which pandas warns
    for name in result:
        columns[name] = result[name]
        if (au := str(name)[:-2]) in aus and str(name).endswith("_i"):
            difference = np.round(numbers(table, f"{au}_i") - own[au].to_numpy(np.float64), DIGITS) + 0.0
            columns[f"{au}_d"] = pd.Series(np.where(valid, difference, np.nan), result.index)
    return pd.DataFrame(columns, result.index)


def _aus(table: pd.DataFrame) -> list[str]:
    aus = [str(name)[:-2] for name in table if re.fullmatch(r"AU\d\d_i", str(name))]
    if not aus:
        raise DataError("the table has no intensities (AU12_i); a neutral needs weights that predict them")
    return aus


def _levels(table: pd.DataFrame, level: Callable[[Person, Floats], float]) -> pd.DataFrame:
    aus = _aus(table)
    rows = [
        {"input": person.input, "track": person.track, "frames": int(person.valid.sum())}
        | {au: level(person, person.column(f"{au}_i")) for au in aus}
        for person in people(table)
    ]
    types = {"input": "object", "track": "Int64", "frames": "int64", **dict.fromkeys(aus, "float64")}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def _quantile(values: Floats, weights: Floats, fraction: float) -> float:
    """Return a weighted quantile: the value at which so much of the weight is reached, interpolated."""
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    if weights.sum() <= 0:
        weights = np.ones(len(values))
    middles = np.cumsum(weights) - weights / 2
    return float(np.interp(fraction * weights.sum(), middles, values))
