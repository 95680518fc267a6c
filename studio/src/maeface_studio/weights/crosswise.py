"""What calibrations and thresholds are worth on people who did not choose them.

A choice flatters itself on the faces that made it. So each half of the people gets the calibration and the
threshold that the other half would have chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maeface import metrics
from maeface_studio.weights import calibration
from maeface_studio.weights.calibration import Faces

DEFAULT = 0.5
"""Threshold of an AU for which none can be chosen."""


@dataclass(frozen=True)
class Fold:
    """Faces of one half of the people to choose on, and of the other half to report on.

    Attributes:
        to_choose: held-out portraits, renders, annotated portraits; with the calibration that they choose.
        to_report: held-out portraits, renders; with the same calibration.
    """

    to_choose: tuple[Faces, ...]
    to_report: tuple[Faces, ...]


def make_folds(groups: Sequence[Faces], aus: Sequence[int]) -> tuple[Fold, Fold]:
    """Return both folds of held-out portraits, renders and annotated portraits, before calibration."""
    *checked, learned = groups
    halves = list(zip(*map(calibration.split_by_subject, checked), strict=True))
    folds = []
    for chosen, reported in (halves, halves[::-1]):
        fitted = {column: calibration.calibrate(chosen, column) for column in range(len(aus))}
        known = {column: one for column, one in fitted.items() if one is not None}
        to_choose, to_report = (
            tuple(calibration.apply(faces, known) for faces in part)
            for part in ((*chosen, learned), reported)
        )
        folds.append(Fold(to_choose, to_report))
    return folds[0], folds[1]


def calibration_error(faces: Faces, column: int) -> float:
    """Return the expected calibration error of an AU; NaN without a face that is labelled."""
    known = faces.labelled(column)
    return calibration.reliability(faces.scores[known, column], faces.present[known, column]).error


def scores_without(faces: Faces, column: int) -> NDArray[np.float64]:
    """Return the probabilities of the faces that are known to be without an AU."""
    scores: NDArray[np.float64] = faces.scores[faces.absent[:, column], column]
    return scores[~np.isnan(scores)]


def outcome(folds: Sequence[Fold], place: int, column: int, most: float) -> tuple[float, float, float]:
    """Return fractions called present of the faces without an AU and of those with it, and F1, crosswise.

    Args:
        folds: both.
        place: of the faces in ``Fold.to_report``.
        column: of the AU.
        most: largest fraction of false alarms.
    """
    truth, called, alarms = [], [], []
    for fold in folds:
        threshold = calibration.choose_threshold(
            [scores_without(one, column) for one in fold.to_choose], most
        )
        threshold = DEFAULT if threshold is None else threshold
        faces = fold.to_report[place]
        known = faces.labelled(column)
        truth.append(faces.present[known, column])
        called.append(faces.scores[known, column] >= threshold)
        alarms.append(scores_without(faces, column) >= threshold)
    present, positive, without = map(np.concatenate, (truth, called, alarms))
    return (
        float(without.mean()) if len(without) else np.nan,
        float(positive[present > 0].mean()) if present.any() else np.nan,
        float(metrics.f1(present[:, None], positive[:, None])[0]) if present.any() else np.nan,
    )
