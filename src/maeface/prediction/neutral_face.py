"""The neutral face that ``--neutral`` names: a file of it, and the neutral of each person of a film."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maeface import checks, console
from maeface.analysis.neutral import levels_of, parse_neutral
from maeface.errors import DataError
from maeface.interchange.native import read_pieces

if TYPE_CHECKING:
    from maeface.prediction.predictor import Predictor

ReadNeutral = Callable[[], pd.DataFrame | None]
"""Returns the predictions of the file of a neutral face; None if there is no such file."""


def find_neutral(neutral: str) -> Path | None:
    """Return the file that ``--neutral`` names; None if it is "auto" or seconds.

    Raises:
        ConfigError: there is no such file, or the text is neither a file, "auto" nor seconds.
    """
    rule = parse_neutral(neutral)
    if rule.source != "file":
        return None
    checks.require_inputs([Path(rule.file)], "neutral face")
    return Path(rule.file)


def read_neutral(neutral: str | None, make: Callable[[], "Predictor"]) -> pd.DataFrame | None:
    """Return the predictions of the photo, film or table that ``--neutral`` names; None if it names none.

    Raises:
        ConfigError: there is no such file, or the text is neither a file, "auto" nor seconds.
        DataError: the file is no table of predictions, or cannot be read.
    """
    path = None if neutral is None else find_neutral(neutral)
    if path is None:
        return None
    if path.suffix.lower() in checks.TABLES:
        return pd.concat(read_pieces(path), ignore_index=True)
    return make()(path)


def find_levels(name: str, rows: pd.DataFrame, neutral: str | None, read: ReadNeutral) -> pd.DataFrame | None:
    """Return the neutral of each person of a film; None if none is asked for.

    A line says if the film is shorter than the stretch that is asked for.

    Args:
        name: of the film.
        rows: of the film.
        neutral: what ``--neutral`` says.
        read: the predictions of the file that it names.

    Raises:
        DataError: the film has no neutral.
    """
    if neutral is None:
        return None
    rule = parse_neutral(neutral)
    if rule.source == "stretch":
        times = np.unique(rows["time_s"].to_numpy(np.float64))
        step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        end = float(times[-1]) + step
        if rule.start_s >= end:
            raise DataError(
                f"the neutral is to be of {rule.start_s:g} to {rule.end_s:g} s, and the film has only "
                f"{end:.1f} s; give another stretch"
            )
        if rule.end_s > end + step:
            console.note(
                f"{console.escape(name)} has only {end:.1f} s: its neutral is of {end - rule.start_s:.1f} s "
                f"instead of {rule.end_s - rule.start_s:g} s"
            )
    return levels_of(rows, rule, read())
