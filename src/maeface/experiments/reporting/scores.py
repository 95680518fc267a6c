"""Scores of an experiment's parts, one number a row; and their mean, spread and confidence interval.

The paper prints the mean over folds of the score within each fold: ``mean`` here. ``pooled`` has the score
of the test faces of all folds together, and the intervals.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts, metrics
from maeface.experiments.reporting.results import FinishedPart, Kind, Predictions

AVERAGE = "avg"
"""The value of the column ``au`` for the mean over action units."""

METRICS: dict[Kind, tuple[str, ...]] = {
    "occurrence": ("f1", "f1_at_validation_threshold", "f1_best_on_test", "auc"),
    "intensity": ("icc", "mse", "mae"),
}
KEYS = ["dataset", "task", "row", "metric", "au"]
THRESHOLDS: NDArray[np.float64] = np.arange(1, 100) / 100
"""Candidates for one threshold that all action units share."""

Floats = NDArray[np.float64]


def compute_scores(parts: Sequence[FinishedPart]) -> pd.DataFrame:
    """Return every score of every part, one number a row.

    ``f1`` uses the part's threshold. ``f1_at_validation_threshold`` uses the one threshold for all action
    units with the best mean F1 on the validation faces. ``f1_best_on_test`` uses the one with the best mean
    F1 on the test faces themselves; it cannot be known beforehand, so this score is optimistic.

    Returns:
        ``dataset task row fold seed au metric value n positives threshold``: ``au`` is "AU12" or "avg" (the
        mean over action units that have a value); ``n`` the number of known labels, ``positives`` of those
        that are present (intensity: above 0); ``threshold`` is NaN for scores that need none.

    Raises:
        DataError: a part's faces cannot be read.
    """
    rows = [row for part in parts for row in _part_scores(part)]
    names = ["dataset", "task", "row", "fold", "seed", "au", "metric", "value", "n", "positives", "threshold"]
    return pd.DataFrame(rows, columns=names)


def _part_scores(part: FinishedPart) -> Iterator[tuple[object, ...]]:
    faces = part.read_faces()
    for kind in part.kinds:
        test = part.predictions(faces, kind)
        mask = test.mask
        counts = mask.sum(0), ((test.labels > 0) & mask).sum(0)
        if kind == "occurrence":
            scores = dict(_detection_scores(part, test, part.predictions(faces, kind, "validation")))
        else:
            table = metrics.intensity(test.labels, test.values, mask)
            scores = {name: (table[name], float("nan")) for name in METRICS["intensity"]}
        for metric in METRICS[kind]:
            values, threshold = scores[metric]
            names = [*(facts.au_name(au) for au in part.aus), AVERAGE]
            numbers = [*values, metrics.mean(values)]
            ns, positives = ([*map(int, count), int(count.sum())] for count in counts)
            for au, value, n, positive in zip(names, numbers, ns, positives, strict=True):
                yield (
                    *(part.dataset, task_of(kind), part.row, part.fold, part.seed),
                    *(au, metric, float(value), n, positive, threshold),
                )


def task_of(kind: Kind) -> str:
    """Return the task that learns a kind of label."""
    return "detection" if kind == "occurrence" else "intensity"


def _detection_scores(
    part: FinishedPart, test: Predictions, validation: Predictions
) -> Iterator[tuple[str, tuple[Floats, float]]]:
    """Yield the name, the values and the threshold of each score of detection."""

    def f1(threshold: float) -> Floats:
        return metrics.f1(test.labels, test.values >= threshold, test.mask)

    yield "f1", (f1(part.threshold), part.threshold)
    if validation.mask.any():
        threshold = find_best_threshold(validation)
        yield "f1_at_validation_threshold", (f1(threshold), threshold)
    else:
        yield "f1_at_validation_threshold", (np.full(len(part.aus), np.nan), float("nan"))
    threshold = find_best_threshold(test)
    yield "f1_best_on_test", (f1(threshold), threshold)
    yield "auc", (metrics.auc(test.labels, test.values, test.mask), float("nan"))


def find_best_threshold(predictions: Predictions) -> float:
    """Return the one threshold for all action units with the highest mean F1; of equals, the nearest to 0.5.

    Without any known label it is 0.5.
    """
    if not predictions.mask.any():
        return 0.5
    means = nanmean(compute_f1_curve(predictions, THRESHOLDS))
    best = THRESHOLDS[means >= means.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def compute_f1_curve(predictions: Predictions, thresholds: Floats) -> Floats:
    """Return F1 at each of T ascending thresholds, (T, A); each probability is sorted in only once."""
    mask = predictions.mask
    curve = np.full((len(thresholds), len(predictions.aus)), np.nan)
    for a in range(len(predictions.aus)):
        rows = mask[:, a]
        if not rows.any():
            continue
        # The number of thresholds that each probability reaches, so that >= holds as in ``metrics``.
        reached = np.searchsorted(thresholds, predictions.values[rows, a], side="right")
        present = predictions.labels[rows, a] > 0
        predicted, hits = (
            np.cumsum(np.bincount(group, minlength=len(thresholds) + 1)[::-1])[::-1][1:]
            for group in (reached, reached[present])
        )
        total = predicted + present.sum()
        curve[:, a] = np.divide(2 * hits, total, out=np.zeros(len(thresholds)), where=total > 0)
    return curve


def summarize(scores: pd.DataFrame, pooled: pd.DataFrame) -> pd.DataFrame:
    """Return mean and spread of the scores over folds and seeds, with the pooled value and its interval.

    Args:
        scores: from ``compute_scores``.
        pooled: from ``pooled.pool_folds``.

    Returns:
        ``dataset task row metric au``; ``mean`` over folds and seeds; ``sd_folds`` of the folds' means over
        seeds, ``sd_seeds`` of the seeds' means over folds (only seeds with every fold), both with n - 1, NaN
        for a single one; ``folds``, ``seeds``, ``n`` (of one seed); ``prevalence``, the fraction of labels
        that are present; ``pooled low high split_low split_high subjects``, NaN where there is none.
    """
    rows = [
        dict(zip(KEYS, key, strict=True)) | _spread(group) for key, group in scores.groupby(KEYS, sort=False)
    ]
    return pd.DataFrame(rows).merge(pooled, how="left", on=KEYS)


def select(table: pd.DataFrame, **keys: str) -> pd.DataFrame:
    """Return the rows with these keys: ``select(table, dataset="bp4d", metric="f1")``."""
    mask = np.ones(len(table), dtype=bool)
    for name, value in keys.items():
        mask &= (table[name] == value).to_numpy()
    return table[mask]


def _spread(group: pd.DataFrame) -> dict[str, float]:
    grid = group.pivot(index="fold", columns="seed", values="value")  # (folds, seeds)
    complete = grid.dropna(axis="columns")
    one_seed = group.drop_duplicates("fold")
    n = int(one_seed["n"].sum())
    return {
        "mean": metrics.mean(grid.mean(axis=1)),
        "sd_folds": float(grid.mean(axis=1).std(ddof=1)),
        "sd_seeds": float(complete.mean(axis=0).std(ddof=1)),
        "folds": len(grid.dropna(how="all")),
        "seeds": grid.shape[1],
        "n": n,
        "prevalence": float(one_seed["positives"].sum() / n) if n else float("nan"),
    }


def nanmean(values: Floats) -> Floats:
    """Return the mean over the last axis without NaN; NaN where there is no value."""
    valid = ~np.isnan(values)
    count = valid.sum(-1)
    total = np.where(valid, values, 0).sum(-1)
    means: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means


def compute_prevalence(parts: Iterable[FinishedPart]) -> pd.DataFrame:
    """Return how often each action unit is present in the test faces of each dataset, every fold once.

    Returns:
        ``dataset task au``; ``n`` known labels, ``prevalence``, the fraction of them that is present
        (intensity: above 0), and for intensity ``level0``... ``level5``, the fraction of each rounded level.
    """
    groups: dict[tuple[str, str, str], list[FinishedPart]] = {}
    for part in parts:
        group = groups.setdefault((part.dataset, part.task, part.protocol), [])
        if part.fold not in {other.fold for other in group}:
            group.append(part)
    rows = []
    for (dataset, _, _), group in groups.items():
        for kind in group[0].kinds:
            labels = np.concatenate([part.predictions(part.read_faces(), kind).labels for part in group])
            for au, column in zip(group[0].aus, labels.T, strict=True):
                names = {"dataset": dataset, "task": task_of(kind), "au": facts.au_name(au)}
                rows.append(names | _count_levels(column[~np.isnan(column)], kind))
    return pd.DataFrame(rows)


def _count_levels(labels: Floats, kind: Kind) -> dict[str, float]:
    row = {"n": len(labels), "prevalence": float((labels > 0).mean()) if len(labels) else float("nan")}
    if kind == "intensity" and len(labels):
        levels = np.bincount(np.rint(labels).astype(int).clip(0, 5), minlength=6) / len(labels)
        row |= {f"level{level}": float(fraction) for level, fraction in enumerate(levels)}
    return row
