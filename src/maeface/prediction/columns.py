"""The columns of a table of predictions, and the rule that keeps those of an action unit consistent.

An action unit has up to three columns: ``AU12`` (whether it occurs, 0 or 1), ``AU12_p`` (the probability that
it does, 0 to 1) and ``AU12_i`` (its intensity, 0 to 5). The two outputs of a network may contradict each
other; a table never does. Occurrence is decided by the probability and its threshold, and the intensity
follows: at least 1 (trace, A) if the action unit occurs, below 2 (slight, B) if not. Between 1 and 2 both are
possible: coders and datasets differ on whether a trace counts (in DISFA, presence begins at 2).

``AU12_L`` and ``AU12_R``, the intensities of the subject's left and right (0 to 5; ``chimeras``), are as the
network gives them: a smile of one side may be below 1 on the other.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from maeface import checks, facts
from maeface.errors import ConfigError
from maeface.facts import INTENSITY_MAX
from maeface.model.file_format.metadata import Metadata

BOX = ("x1", "y1", "x2", "y2")
"""Of the face, px of the picture."""
UNLIKE = "unlike"
QUALITY = ("face_px", "yaw", "pitch", "roll", "sharpness", "agreement", "outside", UNLIKE)
"""Of a face; see docs/user_guide/quality.md. Weights that do not measure ``unlike`` leave it out."""
POINTS = (
    *("left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y", "nose_x", "nose_y"),
    *("mouth_left_x", "mouth_left_y", "mouth_right_x", "mouth_right_y"),
)
"""The landmarks of a face, px of the picture; left is left in the picture."""
FACE = (*BOX, "score", *QUALITY, *POINTS)
"""Columns of a face before those of its action units."""
PRESENT = 1.0
"""Least intensity of an action unit that occurs: A, a trace, in the terms of FACS."""
ABSENT_MAX = 1.99
"""Largest intensity of one that does not: below B."""


def face_columns(unlike: bool) -> tuple[str, ...]:
    """Return ``FACE``, with or without ``unlike``."""
    return tuple(name for name in FACE if unlike or name != UNLIKE)


def is_occurrence(column: str) -> bool:
    """Return whether a column says if an action unit occurs: ``AU12``."""
    return re.fullmatch(r"AU\d\d", column) is not None


def au_columns(aus: Sequence[int], task: str | None, sides: Sequence[int] = ()) -> list[str]:
    """Return the columns of action units: all occurrences, then all probabilities, then all intensities.

    Args:
        aus: action units.
        task: of the weights: "detection" has no intensities, "intensity" no probabilities.
        sides: action units with intensities of the left, then of the right, which come last.
    """
    names = [facts.au_name(au) for au in aus]
    columns = [*names]
    columns += [f"{name}_p" for name in names if task != "intensity"]
    columns += [f"{name}_i" for name in names if task != "detection"]
    return columns + [f"{facts.au_name(au)}_{side}" for side in "LR" for au in sides]


def number_thresholds(thresholds: Mapping[str, float] | float | None) -> Mapping[int, float] | float | None:
    """Return thresholds by the number of the action unit instead of its name.

    Raises:
        ConfigError: a name is of no action unit.
    """
    if thresholds is None or isinstance(thresholds, (int, float)):
        return thresholds
    numbers = {f"AU{number:02d}": number for number in range(1, 100)}
    if unknown := sorted(thresholds.keys() - numbers.keys()):
        raise ConfigError(
            f"{checks.name_of('au_thresholds')} has {unknown[0]!r}; expected names of action units, such as "
            "AU04 or AU12"
        )
    return {numbers[name]: value for name, value in thresholds.items()}


def choose_thresholds(metadata: Metadata, asked: Mapping[int, float] | float | None) -> tuple[float, ...]:
    """Return the probability from which each action unit of weights occurs.

    Args:
        metadata: of the weights, with their own thresholds.
        asked: other ones, by action unit or for all.

    Raises:
        ConfigError: a threshold outside of 0 to 1, or of an action unit that the weights do not have.
    """
    own = metadata.thresholds or (0.5,) * len(metadata.aus)
    given = dict.fromkeys(metadata.aus, asked) if isinstance(asked, (int, float)) else dict(asked or {})
    if unknown := sorted(given.keys() - set(metadata.aus)):
        known = ", ".join(map(facts.au_name, metadata.aus))
        raise ConfigError(
            f"a threshold is given for {facts.au_name(unknown[0])}, which the weights do not predict; they "
            f"predict {known}"
        )
    for value in given.values():
        checks.require_fraction("au_thresholds", value)
    return tuple(given.get(au, value) for au, value in zip(metadata.aus, own, strict=True))


def make_consistent(
    values: NDArray[np.float32], task: str | None, thresholds: Sequence[float]
) -> NDArray[np.float32]:
    """Return the values of ``au_columns`` for the outputs of a model.

    Args:
        values: (F, K), probabilities and intensities as ``values.to_values`` returns them.
        task: of the model.
        thresholds: probability from which each of A action units occurs; without effect on "intensity".

    Returns:
        (F, A + K): occurrence (0 or 1), probabilities unchanged, and intensities limited to those that the
        occurrence allows. A model of intensities only has them unchanged.
    """
    count = len(thresholds)
    if task == "intensity":
        return np.concatenate([(values[:, :count] >= PRESENT).astype(np.float32), values], axis=1)
    occurs = values[:, :count] >= np.asarray(thresholds, np.float32)
    intensities = values[:, count:]
    if intensities.shape[1]:
        low, high = np.where(occurs, PRESENT, 0.0), np.where(occurs, INTENSITY_MAX, ABSENT_MAX)
        intensities = np.clip(intensities, low, high).astype(np.float32)
    return np.concatenate([occurs.astype(np.float32), values[:, :count], intensities], axis=1)
