"""Scores of action units: F1, precision, recall, accuracy, AUC, ICC(3,1), MSE, MAE; pure numpy.

``bootstrap`` gives the interval of any of them, and ``kappa`` the agreement of two coders.

N faces, A action units. Every score of a table takes labels (N, A), predictions (N, A) and ``mask``
(N, A), and gives one number for each action unit, (A,). ``mask`` is True where the label is there (not
missing). Where it is False the cell counts nowhere, whatever it holds (NaN included). Without ``mask`` all
labels count.

Undefined scores:

* an action unit without any label: NaN, in every score;
* no positive in labels or predictions: precision, recall and F1 are 0, as scikit-learn's
  ``zero_division=0``, because published tables are made so; ``positives`` tells such a 0 from a bad one;
* labels of one class only: AUC is NaN;
* fewer than two faces, or neither labels nor predictions vary: ICC is NaN. Predictions that do not vary
  against labels that do have ICC 0: they explain nothing.

``mean`` leaves NaN out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Interval:
    """A statistic and its bootstrap interval; each of the statistic's shape.

    Attributes:
        value: of the sample itself.
        low: lower end; NaN where no resample has a value.
        high: upper end.
        defined: fraction of the resamples in which the statistic has a value, 0 to 1.
    """

    value: Floats
    low: Floats
    high: Floats
    defined: Floats


def detection(
    labels: ArrayLike, scores: ArrayLike, threshold: float, mask: ArrayLike | None = None
) -> dict[str, Floats]:
    """Return every score of detection; ``scores`` at or above ``threshold`` count as present.

    Args:
        labels: 0 or 1, (N, A).
        scores: any real numbers, higher for present, (N, A); probabilities as a rule.
        threshold: on the scale of ``scores``.
        mask: bool, (N, A); True where the label is there (not missing).

    Returns:
        By name, (A,) each: ``f1 precision recall accuracy auc``, and the counts ``n`` and ``positives``.
    """
    truth, values, mask = _table(labels, scores, mask)
    present = values >= threshold
    return {
        "f1": f1(truth, present, mask),
        "precision": precision(truth, present, mask),
        "recall": recall(truth, present, mask),
        "accuracy": accuracy(truth, present, mask),
        "auc": auc(truth, values, mask),
        "n": mask.sum(0).astype(np.float64),
        "positives": (truth > 0).sum(0).astype(np.float64),
    }


def intensity(labels: ArrayLike, predictions: ArrayLike, mask: ArrayLike | None = None) -> dict[str, Floats]:
    """Return every score of intensity.

    Args:
        labels: 0 to 5, (N, A).
        predictions: on the same scale, (N, A).
        mask: bool, (N, A); True where the label is there (not missing).

    Returns:
        By name, (A,) each: ``icc mse mae``, and the count ``n``.
    """
    truth, values, mask = _table(labels, predictions, mask)
    return {
        "icc": icc31(truth, values, mask),
        "mse": mse(truth, values, mask),
        "mae": mae(truth, values, mask),
        "n": mask.sum(0).astype(np.float64),
    }


def f1(labels: ArrayLike, present: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Return the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN); 0 to 1, (A,)."""
    true_pos, false_pos, false_neg, count = _confusion(labels, present, mask)
    return _rate(2 * true_pos, 2 * true_pos + false_pos + false_neg, count)


def precision(labels: ArrayLike, present: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Return the fraction of predicted positives that are positive, TP / (TP + FP); 0 to 1, (A,)."""
    true_pos, false_pos, _, count = _confusion(labels, present, mask)
    return _rate(true_pos, true_pos + false_pos, count)


def recall(labels: ArrayLike, present: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Return the fraction of positives that are predicted, TP / (TP + FN); 0 to 1, (A,)."""
    true_pos, _, false_neg, count = _confusion(labels, present, mask)
    return _rate(true_pos, true_pos + false_neg, count)


def accuracy(labels: ArrayLike, present: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Return the fraction of faces predicted correctly; 0 to 1, (A,)."""
    _, false_pos, false_neg, count = _confusion(labels, present, mask)
    return _rate(count - false_pos - false_neg, count, count)


def auc(labels: ArrayLike, scores: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Return the area under the ROC curve: how often a positive scores above a negative; 0 to 1, (A,).

    A tie counts one half (Mann and Whitney).
    """
    truth, values, mask = _table(labels, scores, mask)
    return np.array([_auc(truth[m, a] > 0, values[m, a]) for a, m in enumerate(mask.T)], dtype=np.float64)


def icc31(labels: ArrayLike, predictions: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Return ICC(3,1) of labels and predictions as two raters (Shrout and Fleiss, 1979); -1 to 1, (A,)."""
    truth, values, mask = _table(labels, predictions, mask)
    pairs = (np.stack([truth[m, a], values[m, a]], axis=1) for a, m in enumerate(mask.T))
    return np.array([icc(pair) for pair in pairs], dtype=np.float64)


def mse(labels: ArrayLike, predictions: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Return the mean squared error, in squared units of the labels, (A,)."""
    truth, values, mask = _table(labels, predictions, mask)
    return _rate(((truth - values) ** 2).sum(0), mask.sum(0), mask.sum(0))


def mae(labels: ArrayLike, predictions: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Return the mean absolute error, in units of the labels, (A,)."""
    truth, values, mask = _table(labels, predictions, mask)
    return _rate(np.abs(truth - values).sum(0), mask.sum(0), mask.sum(0))


def icc(ratings: ArrayLike) -> float:
    """Return ICC(3,1), the consistency of k fixed raters over the same targets (Shrout and Fleiss, 1979).

    Two-way analysis of variance: (BMS - EMS) / (BMS + (k - 1) EMS), with BMS the mean square between
    targets and EMS the residual one. A constant offset between raters does not lower it.

    Args:
        ratings: (targets, k raters), k >= 2.

    Returns:
        -1 / (k - 1) to 1, or NaN for fewer than two targets or where nothing varies.
    """
    table = np.asarray(ratings, dtype=np.float64)  # (N, k)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"expected ratings (targets, raters) of two raters or more, got shape {table.shape}")
    n, k = table.shape
    if n < 2 or not np.ptp(table, axis=0).any():
        return float("nan")
    centred = table - table.mean(0)  # without each rater's mean
    targets = centred.mean(1)  # (N,)
    between = k * np.square(targets).sum() / (n - 1)
    residual = np.square(centred - targets[:, None]).sum() / ((n - 1) * (k - 1))
    return float((between - residual) / (between + (k - 1) * residual))


def kappa(first: ArrayLike, second: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Return Cohen's kappa of two coders, their agreement beyond chance at their own rates; -1 to 1, (A,).

    NaN where both give one and the same code to every face: the agreement by chance is then 1.

    Args:
        first: 0 or 1, (N, A).
        second: 0 or 1, (N, A).
        mask: bool, (N, A); True where both have coded the face.
    """
    one, two, mask = _table(first, second, mask)
    count = np.maximum(mask.sum(0), 1)
    agreed = (((one > 0) == (two > 0)) & mask).sum(0) / count
    rates = (one > 0).sum(0) / count, (two > 0).sum(0) / count
    chance = rates[0] * rates[1] + (1 - rates[0]) * (1 - rates[1])
    beyond = np.divide(agreed - chance, 1 - chance, out=np.full(len(count), np.nan), where=chance < 1)
    return np.where(mask.any(0), beyond, np.nan)


def bootstrap(
    statistic: Callable[[Rows], ArrayLike],
    units: int | ArrayLike,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of a statistic of a sample (Efron and Tibshirani, 1993, chapter 13).

    As many units as the sample has are drawn with replacement, and the statistic is computed of their rows.
    Faces of one person are alike, so where a person has several, the person is the unit. A difference of two
    models on the same faces is a statistic too, and its interval is that of a paired comparison.

    Args:
        statistic: rows (n,), with repetitions, to a number or an array of one fixed shape. It may be NaN,
            as AUC is where a resample has one class only: such resamples are left out and counted.
        units: the number of rows, each its own unit; or for each row the unit it belongs to, (N,).
        resamples: number of resamples.
        confidence: 0 to 1.
        seed: the same seed gives the same interval.
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(
            f"expected confidence within 0..1 and a resample, got {confidence:g} and {resamples}"
        )
    rows = _group_rows(units)
    total = sum(map(len, rows))
    value = np.asarray(statistic(np.arange(total)), dtype=np.float64)
    generator = np.random.default_rng(seed)
    drawn = np.empty((resamples, *value.shape))
    for number in range(resamples):
        chosen = generator.integers(len(rows), size=len(rows))
        drawn[number] = statistic(np.concatenate([rows[unit] for unit in chosen]))
    has_value = ~np.isnan(drawn)
    # Columns without any value are NaN in the result; numpy would warn of them.
    valid = np.where(has_value.any(0), drawn, 0.0)
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(valid, [tail, 100 - tail], axis=0)
    low, high = (np.where(has_value.any(0), end, np.nan) for end in (low, high))
    return Interval(value, low, high, has_value.mean(0))


def _group_rows(units: int | ArrayLike) -> list[Rows]:
    """Return the rows of each unit."""
    if isinstance(units, int):
        names = np.arange(units)
    else:
        names = np.unique(np.asarray(units), return_inverse=True)[1].ravel()
    if not len(names):
        raise ValueError("expected a sample, got no row to resample")
    order = np.argsort(names, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(names[order])) + 1)


def mean(values: ArrayLike) -> float:
    """Return the mean over action units that have a value; NaN if none has."""
    array = np.asarray(values, dtype=np.float64)
    valid = array[~np.isnan(array)]
    return float(valid.mean()) if valid.size else float("nan")


def _table(labels: ArrayLike, predictions: ArrayLike, mask: ArrayLike | None) -> tuple[Floats, Floats, Bools]:
    """Return both tables as float64, 0 where the mask is False, and the mask."""
    truth, values = np.asarray(labels), np.asarray(predictions)
    mask = np.ones(truth.shape, dtype=np.bool_) if mask is None else np.asarray(mask, dtype=np.bool_)
    if not (truth.ndim == 2 and truth.shape == values.shape == mask.shape):
        shapes = f"labels {truth.shape}, predictions {values.shape}, mask {mask.shape}"
        raise ValueError(f"expected three tables of one shape (faces, action units), got {shapes}")
    return (
        np.where(mask, truth, 0).astype(np.float64),
        np.where(mask, values, 0).astype(np.float64),
        mask,
    )


def _confusion(
    labels: ArrayLike, present: ArrayLike, mask: ArrayLike | None
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the numbers of true positives, false positives, false negatives and labels, (A,) each."""
    truth, predicted, mask = _table(labels, present, mask)
    positive, called = truth > 0, (predicted > 0) & mask
    counts = (positive & called, ~positive & called, positive & ~called, mask)
    true_pos, false_pos, false_neg, count = (each.sum(0).astype(np.float64) for each in counts)
    return true_pos, false_pos, false_neg, count


def _rate(part: Floats, total: Floats, count: Floats) -> Floats:
    """Return part / total; 0 where total is 0, NaN where there is no label at all."""
    rate = np.divide(part, total, out=np.zeros(len(count)), where=np.asarray(total) > 0)
    return np.where(np.asarray(count) > 0, rate, np.nan)


def _auc(is_positive: Bools, values: Floats) -> float:
    positives = int(is_positive.sum())
    negatives = len(is_positive) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, ties = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[inverse]  # from 1; equal values share their mean rank
    above = ranks[is_positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
