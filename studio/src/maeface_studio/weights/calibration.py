"""Checks of AUs on faces that the weights did not learn from; calibration and thresholds of probabilities.

Pure functions of arrays: N faces of some subjects, A action units.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maeface import metrics
from maeface.model.file_format.metadata import Calibration, Check

LEAST_OF_EACH = 10
"""Fewest faces with an AU, and without it, that give an AUC worth a report, a calibration or a threshold."""
SMALL_GROUP = 100
"""In a group of fewer faces, the share of false alarms is that of a fitted normal distribution."""
STEP = 0.01
"""Thresholds are multiples of it, so that they can be written down."""
HIGHEST = 0.99

BINS = 10
"""Of equal width, on probabilities from 0 to 1."""
LEAST_SCALE = 0.1
"""Smallest scale; with less, an AU that is hardly recognised would lose its order of faces."""
SURE = 1e-7
"""Probabilities nearer to 0 or 1 are taken as this near, so that their logit is finite."""


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


def join(parts: Sequence[Faces]) -> Faces:
    """Return the faces of all parts, which have the same name, as one."""
    return replace(
        parts[0],
        subjects=np.concatenate([part.subjects for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        present=np.concatenate([part.present for part in parts]),
        absent=np.concatenate([part.absent for part in parts]),
    )


def split_by_subject(faces: Faces) -> tuple[Faces, Faces]:
    """Return two halves of the faces without a common subject.

    The first half of the subjects is that in the order of the SHA-256 of their names.
    """
    names = sorted(set(faces.subjects.tolist()), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    first = np.isin(faces.subjects, names[: len(names) // 2])
    return faces.select(first), faces.select(~first)


def calibrate(groups: Iterable[Faces], column: int, least: int = LEAST_OF_EACH) -> Calibration | None:
    """Return the calibration of an AU on the first group with enough faces with the AU and without it.

    Args:
        groups: the most telling one first: real people, then renders. Their scores are those before it.
        column: of the AU.
        least: fewest faces with the AU, and without it, in a group that is used.

    Returns:
        Scale and offset, rounded to four digits; None if no group has enough faces.
    """
    for faces in groups:
        known = faces.labelled(column)
        truth = faces.present[known, column]
        present = int(truth.sum())
        if min(present, len(truth) - present) >= least:
            scale, offset = fit_logit(faces.scores[known, column], truth)
            return Calibration(
                scale=round(scale, 4),
                offset=round(offset, 4),
                on=faces.on,
                data=faces.data,
                n=len(truth),
                present=present,
            )
    return None


def balance(present: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights of faces with which those with an AU count no more than those without it.

    Nine of ten portraits smile, and few frames of a film do. Probabilities that were right for portraits
    would see a smile in every film.

    Args:
        present: (N,) 1 or 0.

    Returns:
        (N,): 1, or less for the faces with the AU if they are the majority.
    """
    count = present.sum()
    return np.where(present > 0, min(1.0, (len(present) - count) / max(count, 1)), 1.0)


def fit_logit(scores: NDArray[np.float64], present: NDArray[np.float64]) -> tuple[float, float]:
    """Return the scale and the offset of a logit that make it fit labels best (Platt scaling).

    That is the logistic regression of the labels on the logit, with the weights of ``balance``. Instead of 1
    and 0 it has the targets (P + 1) / (P + 2) and 1 / (N + 2), with P faces that show the AU and N that do
    not, so that a few faces that are told apart without an error do not ask for probabilities of 1 and 0
    (Platt, 1999).

    Args:
        scores: (N,) probabilities, 0 to 1.
        present: (N,) 1 or 0.

    Returns:
        The scale, at least ``LEAST_SCALE``, and the offset.
    """
    logits = _to_logit(scores)[:, None]
    ones = np.ones_like(logits)
    count = present.sum()
    targets = np.where(present > 0, (count + 1) / (count + 2), 1 / (len(present) - count + 2))
    counts = balance(present)
    scale, offset = _logistic_regression(np.hstack([logits, ones]), np.zeros(len(targets)), targets, counts)
    if scale < LEAST_SCALE:  # the loss is convex, so the best pair is at the limit
        scale = LEAST_SCALE
        (offset,) = _logistic_regression(ones, scale * logits[:, 0], targets, counts)
    return float(scale), float(offset)


def apply(faces: Faces, calibrations: Mapping[int, Calibration]) -> Faces:
    """Return faces with calibrated probabilities, by the column of the AU; the others stay."""
    scores = faces.scores.copy()
    for column, one in calibrations.items():
        logits = one.scale * _to_logit(scores[:, column]) + one.offset
        scores[:, column] = 0.5 + 0.5 * np.tanh(logits / 2)
    return replace(faces, scores=scores)


def _to_logit(scores: NDArray[np.float64] | float) -> NDArray[np.float64]:
    clipped = np.clip(scores, SURE, 1 - SURE)
    logits: NDArray[np.float64] = np.log(clipped / (1 - clipped))
    return logits


def _logistic_regression(
    features: NDArray[np.float64],
    base: NDArray[np.float64],
    targets: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return (K,) coefficients for which ``base + features @ coefficients`` are the best logits of targets.

    Newton's method, with steps that are halved until the loss does not rise. ``counts`` is the weight of
    each row.
    """

    def loss(coefficients: NDArray[np.float64]) -> float:
        logits = base + features @ coefficients
        return float((counts * (np.logaddexp(0, logits) - targets * logits)).sum())

    coefficients = np.zeros(features.shape[1])
    for _ in range(100):
        fitted = 0.5 + 0.5 * np.tanh((base + features @ coefficients) / 2)
        curvature = (features * (counts * fitted * (1 - fitted))[:, None]).T @ features
        curvature += 1e-9 * np.eye(len(coefficients))  # where all logits are equal, it has no inverse
        step = np.linalg.solve(curvature, features.T @ (counts * (fitted - targets)))
        while loss(coefficients - step) > loss(coefficients) and np.abs(step).max() > 1e-9:
            step /= 2
        coefficients = coefficients - step
        if np.abs(step).max() < 1e-9:
            break
    return coefficients


@dataclass(frozen=True)
class Reliability:
    """Probabilities in ``BINS`` bins of equal width, and how often they come true.

    Attributes:
        mean: (BINS,) mean probability; NaN in an empty bin.
        fraction: (BINS,) fraction of the faces with the AU, weighted; NaN in an empty bin.
        count: (BINS,) sum of the weights of the faces.
    """

    mean: NDArray[np.float64]
    fraction: NDArray[np.float64]
    count: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error: mean distance of both, weighted by the faces; NaN without faces."""
        if not self.count.any():
            return float("nan")
        return float(np.nansum(self.count * np.abs(self.mean - self.fraction)) / self.count.sum())


def reliability(scores: NDArray[np.float64], present: NDArray[np.float64]) -> Reliability:
    """Return how often probabilities come true, with the weights of ``balance``.

    Args:
        scores: (N,) probabilities, 0 to 1. A probability on the border of two bins is in the upper one.
        present: (N,) 1 or 0.
    """
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    counts = balance(present)
    count, total, positives = (
        np.bincount(bins, counts * values, BINS).astype(np.float64)
        for values in (np.ones_like(scores), scores, present)
    )
    with np.errstate(invalid="ignore"):
        return Reliability(total / count, positives / count, count)


def estimate_false_alarms(absent: NDArray[np.float64], threshold: float) -> float:
    """Return the share of faces without an AU that are called present at a threshold, 0 to 1.

    It is counted in a group of at least ``SMALL_GROUP`` faces. A share of 3 % cannot be counted in a smaller
    one, where a single face would decide; it is that of a normal distribution with the mean and the standard
    deviation of the logits.

    Args:
        absent: (N,) probabilities of faces without the AU, 0 to 1.
        threshold: scores at or above it are alarms.
    """
    if len(absent) >= SMALL_GROUP:
        return float(np.mean(absent >= threshold))
    logits = _to_logit(absent)
    spread = max(float(logits.std(ddof=1)), 1e-6)
    return 0.5 * math.erfc((float(_to_logit(threshold)) - float(logits.mean())) / (spread * math.sqrt(2)))


def choose_threshold(absent: Iterable[NDArray[np.float64]], false_alarms: float) -> float | None:
    """Return the lowest threshold with few false alarms in each of some groups of faces without the AU.

    A group of fewer than ``LEAST_OF_EACH`` faces is ignored.

    Args:
        absent: for each group the (N,) probabilities of faces without the AU, 0 to 1.
        false_alarms: largest share of a group that may be called present, above 0, at most 1; see
            ``estimate_false_alarms``.

    Returns:
        A multiple of ``STEP`` up to ``HIGHEST``; None if all groups are ignored, or if even the highest
        threshold has too many false alarms.
    """
    groups = [group for group in absent if len(group) >= LEAST_OF_EACH]
    if not groups:
        return None
    for k in range(1, round(HIGHEST / STEP) + 1):
        threshold = round(k * STEP, 2)
        if all(estimate_false_alarms(group, threshold) <= false_alarms for group in groups):
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
