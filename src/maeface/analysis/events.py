"""Events of action units in films: onset, apex, offset, and blinks.

An event is one movement of an AU. It is found with two thresholds: the values stay at or above the lower
one, but for short dips, and reach the higher one. So noise about a single threshold does not cut an event
into pieces, and a weak flicker makes none, while onset and offset are where the movement begins and ends.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
import pandas as pd

from maeface import checks
from maeface.analysis.timeline import (
    INTENSITY_PRESENT,
    THRESHOLD,
    Bools,
    Floats,
    Person,
    Thresholds,
    au_names,
    people,
    rounded,
    threshold_of,
)
from maeface.errors import ConfigError

Signal = Literal["auto", "probability", "intensity", "difference"]
SUFFIXES = {"probability": "_p", "intensity": "_i", "difference": "_d"}
LIDS = ("AU43", "AU45")
"""AUs that close the eyes."""
BLINK, CLOSURE, CUT = "blink", "closure", "cut"

TYPES = {
    "input": "object",
    "track": "Int64",
    "au": "object",
    "event": "int64",
    "kind": "object",
    **dict.fromkeys(("onset_s", "apex_s", "offset_s", "duration_s"), "float64"),
    **dict.fromkeys(("onset_frame", "apex_frame", "offset_frame"), "int64"),
    **dict.fromkeys(("peak_p", "peak_i", "mean_p", "mean_i"), "float64"),
    "frames": "int64",
    "missing_s": "float64",
    **dict.fromkeys(("onset_seen", "offset_seen"), "bool"),
}
"""The columns of a table of events and their types."""


@dataclass(frozen=True)
class EventRules:
    """What counts as an event. The defaults suit films of 25 frames per second and more.

    Attributes:
        on: values that are compared with the thresholds: "probability", "intensity", "difference" (intensity
            less the person's own neutral), or "auto": the probability where the weights give one, else the
            intensity. A probability says whether an AU is there; an intensity of a model is less exact.
        margin: distance of the two thresholds from the threshold of the weights, in log-odds. With 0.4 they
            are 0.4 and 0.6 around a threshold of 0.5, and 0.87 and 0.94 around 0.91: an event reaches the
            higher one and stays at the lower one or above. 0: one threshold only. The default is wider than
            the frame-to-frame noise of a still face.
        intensity_margin: distance of the two thresholds from 1 (FACS A), for intensity and difference.
        min_duration_s: shorter events are dropped. 0.1 s: one or two frames of noise at 25 or 30
            frames per second take less, and nearly all expressions, also micro-expressions, take longer.
        bridge_s: two events of an AU with less time below the lower threshold between them are one. 0.2 s:
            a muscle does not relax and contract again faster.
        lost_s: so many seconds without values (no face, damaged frames, not this person) within an event
            are passed over; more of them end it, with ``offset_seen`` False. 0.2 s: what was not seen is not
            assumed.
        blink_s: shortest and longest blink, for AU43 and AU45. Longer ones are closures. 0.5 s is the sum
            of the phases of the longest blink after Stern, Walrath and Goldstein (1984). The shortest one
            takes the place of ``min_duration_s`` for these AUs, so that one frame of 30 per second (0.033
            s) is no blink but two are.
        blink_bridge_s: takes the place of ``bridge_s`` for AU43 and AU45, because blinks may come in pairs.
    """

    on: Signal = "auto"
    margin: float = 0.4
    intensity_margin: float = 0.25
    min_duration_s: float = 0.1
    bridge_s: float = 0.2
    lost_s: float = 0.2
    blink_s: tuple[float, float] = (0.05, 0.5)
    blink_bridge_s: float = 0.05

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: one is out of range.
        """
        checks.require_choice("on", self.on, get_args(Signal))
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float | int) and not (0 <= value < np.inf):
                raise ConfigError(f"{field.name} is {value:g}; expected a number, 0 or more")
        if self.intensity_margin >= INTENSITY_PRESENT:
            raise ConfigError("intensity_margin must be below 1: the lower threshold is above 0")
        if not 0 <= self.blink_s[0] <= self.blink_s[1]:
            raise ConfigError(f"blink_s is {self.blink_s}; expected the shortest and the longest blink in s")


def find_events(
    table: pd.DataFrame,
    rules: EventRules | None = None,
    thresholds: Thresholds = THRESHOLD,
    persons: Iterable[Person] | None = None,
) -> pd.DataFrame:
    """Return the events of all AUs in the films of a table of predictions.

    Photos have none, and neither have films without tracks in whose frames several faces are seen.

    Args:
        table: the table of ``maeface predict``.
        rules: what counts as an event.
        thresholds: probability from which an AU is present, as the weights say.
        persons: what ``timeline.people`` yields for this table; None: it is called here.

    Returns:
        One row for each event, in the order of input, track, AU and time. ``input``, ``track`` (NA in films
        without tracks), ``au`` ("AU12"), ``event`` (0, 1, ... within person and AU), ``kind`` ("blink",
        "closure" or "cut", see ``EventRules.blink_s``; empty for AUs that do not close the eyes).
        ``onset_s``, ``apex_s``, ``offset_s``: begin of the first frame, begin of the frame with the highest
        value, end of the last frame, s on the film's clock; ``duration_s`` is offset less onset; and the
        numbers of these frames. ``peak_p``, ``peak_i``: highest values; ``mean_p``, ``mean_i``: means over
        time; NaN where the weights do not give them. ``frames``: number of frames with values;
        ``missing_s``: time within without values. ``onset_seen``, ``offset_seen``: False where the event
        was already there when the film or the face appeared, or still there at the end. Times are rounded to
        1 ms, other numbers to six decimals.

    Raises:
        ConfigError: the table has no values of the kind ``rules.on``, or a threshold is missing.
        DataError: the table is not one of predictions.
    """
    rules = rules or EventRules()
    aus = au_names(table)
    signals = {au: _signal(table, au, rules, thresholds) for au in aus}
    rows = []
    for person in people(table) if persons is None else persons:
        for au in aus if person.is_film else ():
            known, found = _find(person, au, signals[au], rules)
            columns = (person.column(f"{au}_p"), person.column(f"{au}_i")) if found else ()
            for number, (first, last) in enumerate(found):
                values = [column[first : last + 1] for column in columns]
                rows.append(_describe(person, au, number, first, known, values, rules))
    return rounded(pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES))


def _signal(
    table: pd.DataFrame, au: str, rules: EventRules, thresholds: Thresholds
) -> tuple[str, float, float]:
    """Return the column to look at, and the lower and the higher threshold."""
    on = rules.on
    if on == "auto":
        on = "probability" if f"{au}_p" in table else "intensity"
    column = f"{au}{SUFFIXES[on]}"
    if column not in table:
        hint = "; give a neutral" if on == "difference" else "; the weights do not predict it"
        raise ConfigError(f"events on {on} need the column {column}{hint}")
    if on == "probability":
        limit = min(max(threshold_of(au, thresholds), 1e-6), 1 - 1e-6)
        odds, factor = limit / (1 - limit), math.exp(rules.margin)
        low, high = odds / factor, odds * factor
        return column, low / (1 + low), high / (1 + high)
    return column, INTENSITY_PRESENT - rules.intensity_margin, INTENSITY_PRESENT + rules.intensity_margin


def _find(
    person: Person, au: str, signal: tuple[str, float, float], rules: EventRules
) -> tuple[Bools, list[tuple[int, int]]]:
    """Return where the AU's value is known, and first and last row of each event."""
    column, low, high = signal
    values = person.column(column)
    known = ~np.isnan(values)
    shortest = rules.blink_s[0] if au in LIDS else rules.min_duration_s
    bridge = rules.blink_bridge_s if au in LIDS else rules.bridge_s
    above = np.flatnonzero(values >= low)  # NaN is not
    if not len(above):
        return known, []
    breaks = np.flatnonzero(np.diff(above) > 1)
    firsts, lasts = above[np.r_[0, breaks + 1]].tolist(), above[np.r_[breaks, len(above) - 1]].tolist()
    runs: list[tuple[int, int]] = list(zip(firsts, lasts, strict=True))
    runs = list(_join(person, known, _split(person, runs, rules.lost_s), 0.0, rules.lost_s))
    runs = [(first, last) for first, last in runs if np.nanmax(values[first : last + 1]) >= high]
    runs = list(_join(person, known, runs, bridge, rules.lost_s))
    ends = person.times + person.spans
    return known, [(a, b) for a, b in runs if ends[b] - person.times[a] >= shortest - 1e-9]


def _split(person: Person, runs: list[tuple[int, int]], lost_s: float) -> Iterator[tuple[int, int]]:
    """Cut runs where the next frame is so late that the values of the one before do not stand until then."""
    late = np.diff(person.times) - person.spans[:-1] > lost_s
    for first, last in runs:
        for cut in (first + np.flatnonzero(late[first:last])).tolist():
            yield first, cut
            first = cut + 1
        yield first, last


def _join(
    person: Person, known: Bools, runs: Iterable[tuple[int, int]], below: float, lost: float
) -> Iterator[tuple[int, int]]:
    """Join neighbours with at most so many seconds with and without values between them."""
    current: tuple[int, int] | None = None
    for first, last in runs:
        if current is not None:
            seen, missing = _between(person, known, current[1], first)
            if seen <= below + 1e-9 and missing <= lost + 1e-9:
                current = current[0], last
                continue
            yield current
        current = first, last
    if current is not None:
        yield current


def _between(person: Person, known: Bools, one: int, other: int) -> tuple[float, float]:
    """Return the seconds with and without values between two rows."""
    inside = slice(one + 1, other)
    seen = float(person.spans[inside][known[inside]].sum())
    gap = float(person.times[other] - person.times[one] - person.spans[one])
    return seen, max(0.0, gap - seen)


def _next(known: Bools) -> int:
    """Return the first place with a value; -1 if there is none."""
    return int(known.argmax()) if known.any() else -1


def _describe(
    person: Person, au: str, number: int, first: int, known: Bools, values: list[Floats], rules: EventRules
) -> dict[str, object]:
    probabilities, intensities = values
    last = first + len(probabilities) - 1
    inside = slice(first, last + 1)
    leading = probabilities if np.isnan(intensities).all() else intensities
    apex = first + int(np.nanargmax(leading))
    onset, offset = float(person.times[first]), float(person.times[last] + person.spans[last])
    weights = np.where(known[inside], person.spans[inside], 0.0)
    before, after = _next(known[first - 1 :: -1] if first else known[:0]), _next(known[last + 1 :])
    onset_seen = before >= 0 and _between(person, known, first - 1 - before, first)[1] <= rules.lost_s
    offset_seen = after >= 0 and _between(person, known, last, last + 1 + after)[1] <= rules.lost_s
    return {
        "input": person.input,
        "track": person.track,
        "au": au,
        "event": number,
        "kind": _kind(au, offset - onset, onset_seen and offset_seen, rules),
        "onset_s": onset,
        "apex_s": float(person.times[apex]),
        "offset_s": offset,
        "duration_s": offset - onset,
        **{
            f"{name}_frame": int(person.frames[row])
            for name, row in (("onset", first), ("apex", apex), ("offset", last))
        },
        "peak_p": _highest(probabilities),
        "peak_i": _highest(intensities),
        "mean_p": mean_over_time(probabilities, weights),
        "mean_i": mean_over_time(intensities, weights),
        "frames": int(known[inside].sum()),
        "missing_s": max(0.0, offset - onset - float(weights.sum())),
        "onset_seen": onset_seen,
        "offset_seen": offset_seen,
    }


def _kind(au: str, duration_s: float, whole: bool, rules: EventRules) -> str:
    if au not in LIDS:
        return ""
    if duration_s > rules.blink_s[1] + 1e-9:
        return CLOSURE
    return BLINK if whole else CUT


def _highest(values: Floats) -> float:
    return float(np.nanmax(values)) if not np.isnan(values).all() else float("nan")


def mean_over_time(values: Floats, spans: Floats) -> float:
    """Return the mean of values weighted by their spans, NaN left out; NaN if nothing is left."""
    weights = np.where(np.isnan(values), 0.0, spans)
    total = float(weights.sum())
    return float((np.nan_to_num(values) * weights).sum() / total) if total > 0 else float("nan")
