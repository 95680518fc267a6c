"""Scores of the test faces of all folds together, and how much they depend on which people were tested.

Two intervals, both of the predictions that there are; nothing is trained again:

- ``low`` to ``high``: bootstrap of the pooled score over subjects, not faces, because faces of one subject
  are alike (``metrics.bootstrap``). How far would other people of the same kind move the score?
- ``split_low`` to ``split_high``: the subjects are put into as many folds at random, again and again, and the
  mean over folds is taken. How far does the choice of the folds alone move the number that papers print?

F1, ICC, MSE and MAE are functions of sums over faces, so only the sums of each subject are drawn. So is AUC
of probabilities in ``BINS`` bins, each with about as many faces; within a bin, faces count as ties.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from maeface import facts, metrics
from maeface.experiments.reporting.results import FinishedPart, Kind, Predictions
from maeface.experiments.reporting.scores import AVERAGE, KEYS, Floats, nanmean, task_of

RESAMPLES = 2000
BINS = 256


class _Tested(NamedTuple):
    """A part and the predictions of its test faces, with the position of each face's subject."""

    part: FinishedPart
    predictions: Predictions
    subjects: np.ndarray


def pool_folds(parts: Sequence[FinishedPart], resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Score the test faces of all folds together, with both 95 % intervals.

    With several seeds the statistic is the mean over seeds, and a resample draws the same subjects for each.

    Returns:
        ``dataset task row metric au pooled low high split_low split_high subjects``; ``split_low`` and
        ``split_high`` are NaN for a single fold.
    """
    groups: dict[tuple[str, str, str, Kind], list[FinishedPart]] = {}
    for part in parts:
        for kind in part.kinds:
            groups.setdefault((part.dataset, task_of(kind), part.row, kind), []).append(part)
    rows = [
        (dataset, task, row, *values)
        for (dataset, task, row, kind), group in groups.items()
        for values in _pool_group(group, kind, resamples, seed)
    ]
    return pd.DataFrame(rows, columns=[*KEYS, "pooled", "low", "high", "split_low", "split_high", "subjects"])


def _pool_group(
    parts: Sequence[FinishedPart], kind: Kind, resamples: int, seed: int
) -> Iterator[tuple[str, str, float, float, float, float, float, int]]:
    predicted = [part.predictions(part.read_faces(), kind) for part in parts]
    names = sorted({str(name) for predictions in predicted for name in set(predictions.subjects)})
    index = {name: k for k, name in enumerate(names)}
    tested = [
        _Tested(
            part, predictions, np.array([index[str(name)] for name in predictions.subjects], dtype=np.intp)
        )
        for part, predictions in zip(parts, predicted, strict=True)
    ]
    folds = len({part.fold for part in parts})
    if kind == "occurrence":
        kinds: list[tuple[tuple[str, ...], Callable[[Floats], Floats], Floats]] = [
            (("f1",), _f1_of, _sum(tested, len(names), _counts)),
            (("auc",), _auc_of, _histograms(tested, len(names))),
        ]
    else:
        kinds = [(("icc", "mse", "mae"), _intensity_of, _sum(tested, len(names), _moments))]
    for metric_names, score, sums in kinds:
        statistic = _mean_over_seeds(score, sums)
        interval = metrics.bootstrap(statistic, len(sums), resamples, seed=seed)
        splits = _random_splits(statistic, len(sums), folds, resamples, seed)
        for m, metric in enumerate(metric_names):
            for a, au in enumerate([*map(facts.au_name, parts[0].aus), AVERAGE]):
                ends = [float(values[m, a]) for values in (interval.low, interval.high, *splits)]
                if len(sums) < 2:  # the spread over subjects cannot be estimated from one
                    ends = [float("nan")] * len(ends)
                yield metric, au, float(interval.value[m, a]), *ends, len(sums)  # type: ignore[misc]


def _mean_over_seeds(score: Callable[[Floats], Floats], sums: Floats) -> Callable[[metrics.Rows], Floats]:
    """Return the statistic of subjects, (metrics, A + 1): the mean over seeds; the last over AUs too."""
    flat = sums.reshape(len(sums), -1)

    def statistic(rows: metrics.Rows) -> Floats:
        weights = np.bincount(rows, minlength=len(flat)).astype(flat.dtype)
        by_seed = score((weights @ flat).reshape(sums.shape[1:]))  # (metrics, seeds, A)
        means = nanmean(np.moveaxis(by_seed, 1, -1))  # (metrics, A)
        return np.concatenate([means, nanmean(means)[:, None]], axis=1)

    return statistic


def _random_splits(
    statistic: Callable[[metrics.Rows], Floats], subjects: int, folds: int, repeats: int, seed: int
) -> tuple[Floats, Floats]:
    """Return the ends of the middle 95 % of the mean over folds, over random splits of the subjects."""
    if folds < 2 or subjects < folds:
        none = np.full_like(statistic(np.arange(subjects)), np.nan)
        return none, none
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(repeats):
        parts = np.array_split(generator.permutation(subjects), folds)
        means.append(nanmean(np.stack([statistic(rows) for rows in parts], axis=-1)))
    drawn = np.stack(means)
    has_value = ~np.isnan(drawn)
    valid = np.where(has_value.any(0), drawn, 0.0)
    low, high = (
        np.where(has_value.any(0), end, np.nan) for end in np.nanpercentile(valid, [2.5, 97.5], axis=0)
    )
    return low, high


def _sum(tested: Sequence[_Tested], subjects: int, terms: Callable[[Predictions, float], Floats]) -> Floats:
    """Return the sums of each subject that a score needs, (subjects, seeds, A, K); 0 where not tested."""
    seeds = sorted({one.part.seed for one in tested})
    sums: Floats | None = None
    for one in tested:
        values = terms(one.predictions, one.part.threshold)  # (N, A, K)
        if sums is None:
            sums = np.zeros((subjects, len(seeds), *values.shape[1:]))
        np.add.at(sums[:, seeds.index(one.part.seed)], one.subjects, values)
    assert sums is not None, "a group has a part"
    return sums


def _histograms(tested: Sequence[_Tested], subjects: int) -> Floats:
    """Return how many absent and how many present labels of each subject have a probability in each bin.

    Returns:
        (subjects, seeds, A, 2 BINS): absent, then present, in ascending order of the bins.
    """
    seeds, aus = sorted({one.part.seed for one in tested}), tested[0].predictions.aus
    shape = (subjects, len(seeds), len(aus), 2, BINS)
    counts = np.zeros(shape)
    for a in range(len(aus)):
        columns = [one.predictions.values[one.predictions.mask[:, a], a] for one in tested]
        edges = np.unique(np.concatenate(columns))
        if len(edges) > BINS:
            edges = np.unique(np.quantile(np.concatenate(columns), np.linspace(0, 1, BINS + 1)[:-1]))
        for one, values in zip(tested, columns, strict=True):
            known = one.predictions.mask[:, a]
            present = (one.predictions.labels[known, a] > 0).astype(np.intp)
            bins = np.searchsorted(edges, values, side="right") - 1
            np.add.at(counts[:, seeds.index(one.part.seed), a], (one.subjects[known], present, bins), 1)
    return counts.reshape(*shape[:3], 2 * BINS)


def _auc_of(histograms: Floats) -> Floats:
    """Return AUC, (1, ...), of ``_histograms``, (..., 2 BINS); NaN where one class is missing."""
    absent, present = histograms[..., :BINS], histograms[..., BINS:]
    below = np.cumsum(absent, axis=-1) - absent / 2
    pairs = absent.sum(-1) * present.sum(-1)
    won = (present * below).sum(-1)
    auc: Floats = np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0)
    return auc[None]


def _counts(predictions: Predictions, threshold: float) -> Floats:
    """Return which cells are labelled, hits, predicted and present, as 0 or 1, (N, A, 4)."""
    mask = predictions.mask
    present, predicted = (predictions.labels > 0) & mask, (predictions.values >= threshold) & mask
    return np.stack([mask, present & predicted, predicted, present], axis=-1).astype(np.float64)


def _moments(predictions: Predictions, threshold: float) -> Floats:
    """Return count, x, y, xx, yy, xy and absolute error, (N, A, 7)."""
    mask = predictions.mask
    x, y = (np.where(mask, values, 0.0) for values in (predictions.labels, predictions.values))
    return np.stack([mask.astype(np.float64), x, y, x * x, y * y, x * y, np.abs(x - y)], axis=-1)


def _f1_of(sums: Floats) -> Floats:
    """Return F1, (1, ...), of ``_counts``, (..., 4); undefined as in ``metrics``."""
    labelled, hits, predicted, present = np.moveaxis(sums, -1, 0)
    total = predicted + present
    value = np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0)
    return np.where(labelled > 0, value, np.nan)[None]


def _intensity_of(sums: Floats) -> Floats:
    """Return ICC(3,1), MSE and MAE, (3, ...), of ``_moments``, (..., 7).

    For two raters, ICC(3,1) is 2 Sxy / (Sxx + Syy) with centred sums: the mean squares of targets and
    residuals are (Sxx + Syy +- 2 Sxy) / (2 (n - 1)).
    """
    n, x, y, xx, yy, xy, absolute = np.moveaxis(sums, -1, 0)
    count = np.maximum(n, 1)
    variation = (xx - x * x / count) + (yy - y * y / count)
    covariation = xy - x * y / count
    icc = np.divide(
        2 * covariation, variation, out=np.full_like(variation, np.nan), where=(variation > 1e-9) & (n > 1)
    )
    mse, mae = (np.where(n > 0, total / count, np.nan) for total in (xx + yy - 2 * xy, absolute))
    return np.stack([icc, np.maximum(mse, 0), mae])
