"""Events of action units for annotation programs: checked, in milliseconds, with people and codes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from maeface.errors import DataError

REQUIRED = ("input", "track", "au", "onset_s", "offset_s")
LETTERS = "ABCDE"
"""Intensities of FACS, 1 to 5."""
HALF_MS = 0.0005
"""Seconds by which rounding may move a time."""


@dataclass(frozen=True)
class Media:
    """The file that events are of.

    Attributes:
        path: the file.
        duration_s: its length in seconds; None where unknown.
        fps: frames per second; None where unknown.
    """

    path: Path
    duration_s: float | None = None
    fps: float | None = None


def prepare(events: pd.DataFrame) -> pd.DataFrame:
    """Return events as annotation programs need them.

    Args:
        events: N rows with ``input``, ``track`` (may be missing), ``au`` ("AU12"), ``onset_s`` and
            ``offset_s`` (s), and optionally ``peak_i`` (0 to 5).

    Returns:
        N rows, sorted by input, person, action unit and time: ``input``, ``person`` ("person 0", or "person"
        without a track), ``au``, ``code`` (as in FACS: "AU12" with its intensity "C", if there is one, as
        "AU12 C"), ``start`` and ``end`` (int, ms; end > start, and not later than the next start).

    Raises:
        DataError: a column is missing, an event has no time or ends before it begins, or two events of one
            person and action unit overlap.
    """
    if missing := [name for name in REQUIRED if name not in events]:
        raise DataError(f"the events have no column {missing[0]}; expected {', '.join(REQUIRED)}")
    table = pd.DataFrame(
        {
            "input": events["input"].astype(str),
            "track": events["track"].to_numpy(dtype=np.float64, na_value=-1),
            "au": events["au"].astype(str),
            "onset": events["onset_s"].to_numpy(dtype=np.float64, na_value=np.nan),
            "offset": events["offset_s"].to_numpy(dtype=np.float64, na_value=np.nan),
            "peak": events["peak_i"].to_numpy(dtype=np.float64, na_value=np.nan)
            if "peak_i" in events
            else np.nan,
        }
    )
    _refuse_wrong(table)
    table = table.sort_values(["input", "track", "au", "onset"], kind="stable", ignore_index=True)
    table["person"] = ["person" if track < 0 else f"person {track:.0f}" for track in table["track"]]
    table["code"] = [_code(au, peak) for au, peak in zip(table["au"], table["peak"], strict=True)]
    # Media players begin at 0; a film's first frame may have a time before it.
    table["start"] = (1000 * table["onset"]).round().clip(lower=0).astype(np.int64)
    table["end"] = np.maximum((1000 * table["offset"]).round().astype(np.int64), table["start"] + 1)
    following = table.groupby(["input", "track", "au"], sort=False)[["onset", "start"]].shift(-1)
    overlap = (following["onset"] < table["offset"] - HALF_MS) | (following["start"] <= table["start"])
    if overlap.any():
        first = table[overlap].iloc[0]
        raise DataError(
            f"two events of {first['au']} of {first['person']} in {first['input']} overlap at "
            f"{first['offset']:.3f} s; expected the second to begin after the first has ended"
        )
    table["end"] = np.minimum(table["end"], following["start"].fillna(table["end"])).astype(np.int64)
    return table[["input", "person", "au", "code", "start", "end"]]


def inputs_of(table: pd.DataFrame, inputs: Sequence[str] | None) -> list[str]:
    """Return the inputs to write a file for: those given, else those that have events."""
    return list(inputs) if inputs is not None else list(dict.fromkeys(table["input"].astype(str)))


def _refuse_wrong(table: pd.DataFrame) -> None:
    wrong = {
        "has no time of onset or offset": ~np.isfinite(table["onset"]) | ~np.isfinite(table["offset"]),
        "ends before it begins": table["offset"] < table["onset"],
        "is not of an action unit such as AU12": ~table["au"].map(
            lambda name: bool(re.fullmatch(r"AU\d{1,2}", name))
        ),
    }
    for what, rows in wrong.items():
        if rows.any():
            row = int(np.argmax(rows.to_numpy()))
            raise DataError(f"event {row + 1} ({table['au'].iloc[row]} in {table['input'].iloc[row]}) {what}")


def _code(au: str, peak: float) -> str:
    """Return the code of an event, ``AU12 C``; without the letter where the intensity is not known."""
    level = 0 if np.isnan(peak) else min(int(np.floor(peak + 0.5)), len(LETTERS))
    return f"{au} {LETTERS[level - 1]}" if level > 0 else au
