"""Checks of AUs on faces that the weights did not learn from, and thresholds of their probabilities.

Pure functions of arrays: N faces of some subjects, A action units.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maeface import metrics
from maeface.model.file_format.metadata import Check

LEAST_OF_EACH = 10
"""Fewest faces with an AU, and without it, that give an AUC worth a report, or a threshold."""
STEP = 0.01
"""Thresholds are multiples of it, so that they can be written down."""
HIGHEST = 0.99


@dataclass(frozen=True)
class Faces:
    """N faces with labels and predictions.

    Attributes:
        on: "real" or "renders".
        data: name of the faces.
        subjects: (N,) who is shown.
        scores: (N, A) probabilities, 0 to 1; NaN where no face was found.
        present: (N, A) 1 or 0; NaN where the label is missing.
        absent: (N, A) bool; True where the face is known not to show even a trace.
    """

    on: Literal["real", "renders"]
    data: str
    subjects: NDArray[np.str_]
    scores: NDArray[np.float64]
    present: NDArray[np.float64]
    absent: NDArray[np.bool_]

    def select(self, rows: NDArray[np.bool_]) -> "Faces":
        """Return some of the faces, by a bool for each."""
        return Faces(
            self.on, self.data, self.subjects[rows], self.scores[rows], self.present[rows], self.absent[rows]
        )

    def labelled(self, column: int) -> NDArray[np.bool_]:
        """Return (N,) bool: whether a face has a label and a prediction of the action unit."""
        known: NDArray[np.bool_] = ~np.isnan(self.present[:, column]) & ~np.isnan(self.scores[:, column])
        return known


def split_by_subject(faces: Faces) -> tuple[Faces, Faces]:
    """Return two halves of the faces without a common subject: to calibrate on, and to report on.

    The first half of the subjects, in the order of the SHA-256 of their names, is for calibration.
    """
    names = sorted(set(faces.subjects.tolist()), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    first = np.isin(faces.subjects, names[: len(names) // 2])
    return faces.select(first), faces.select(~first)


def choose_threshold(absent: Iterable[NDArray[np.float64]], false_alarms: float) -> float | None:
    """Return the lowest threshold with few false alarms in each of some groups of faces without the AU.

    Scores at or above the threshold are alarms. In a small group, few means none. A group of fewer than
    ``LEAST_OF_EACH`` faces is ignored.

    Args:
        absent: for each group the (N,) probabilities of faces without the AU, 0 to 1.
        false_alarms: largest fraction of a group that may be called present, above 0, at most 1.

    Returns:
        A multiple of ``STEP`` up to ``HIGHEST``; None if all groups are ignored, or if even the highest
        threshold has too many false alarms.
    """
    groups = [group for group in absent if len(group) >= LEAST_OF_EACH]
    if not groups:
        return None
    for k in range(1, round(HIGHEST / STEP) + 1):
        threshold = round(k * STEP, 2)
        if all(np.mean(group >= threshold) <= false_alarms for group in groups):
            return threshold
    return None


def check(groups: Sequence[Faces], column: int, resamples: int = 2000) -> Check | None:
    """Return the check of an AU on the first group with enough faces with the AU and without it.

    Args:
        groups: the most telling one first: real people, then renders.
        column: of the AU.
        resamples: of the bootstrap, which draws subjects.

    Returns:
        AUC and interval, rounded to three digits; None if no group has enough faces.
    """
    for faces in groups:
        known = faces.labelled(column)
        truth, scores = faces.present[known, column], faces.scores[known, column]
        present = int(truth.sum())
        if min(present, len(truth) - present) < LEAST_OF_EACH:
            continue

        interval = metrics.bootstrap(_Auc(truth, scores), faces.subjects[known], resamples)
        value, low, high = (round(float(one), 3) for one in (interval.value, interval.low, interval.high))
        if not math.isnan(low):
            return Check(
                on=faces.on, data=faces.data, auc=value, low=low, high=high, n=len(truth), present=present
            )
    return None


@dataclass(frozen=True)
class _Auc:
    """The AUC of some rows of labels and scores, (N,) each."""

    truth: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __call__(self, rows: NDArray[np.intp]) -> float:
        return float(metrics.auc(self.truth[rows, None], self.scores[rows, None])[0])
