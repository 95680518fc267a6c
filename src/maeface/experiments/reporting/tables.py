"""Scores of an experiment's parts: a row a number, then their mean, spread and interval.

The numbers of the paper are means over folds of the score within each fold; that is ``mean`` here.
``pooled`` puts the test faces of all folds together and scores them once, and its interval draws *people*,
not faces, because faces of one person are alike (``metrics.bootstrap``).
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts, metrics
from maeface.experiments.reporting.results import Answers, Measured, Part

AVERAGE = "avg"
"""Stands where an action unit's name stands, for the mean over action units."""

METRICS: dict[Measured, tuple[str, ...]] = {
    "occurrence": ("f1", "f1_at_validation_threshold", "f1_best_on_test", "auc"),
    "intensity": ("icc", "mse", "mae"),
}
KEYS = ["dataset", "task", "row", "metric", "au"]
THRESHOLDS: NDArray[np.float64] = np.arange(1, 100) / 100
"""Candidates of a threshold for all action units together."""
RESAMPLES = 2000

Floats = NDArray[np.float64]


def scores(parts: Sequence[Part]) -> pd.DataFrame:
    """Every score of every part, one number a row.

    ``f1`` counts probabilities from the part's threshold as present. ``f1_at_validation_threshold`` takes
    the one threshold for all action units with the best mean F1 on the validation part; ``f1_best_on_test``
    the one with the best on the test part itself, which nobody can know beforehand: it is optimistic.

    Returns:
        ``dataset task row fold seed au metric value n positives threshold``: ``au`` is "AU12" or "avg" (the
        mean over action units that have a value); ``n`` labels, ``positives`` those that are present
        (intensity: above 0); ``threshold`` the one used, NaN for scores that need none.

    Raises:
        DataError: a part's faces cannot be read.
    """
    found = [row for part in parts for row in _part_scores(part)]
    names = ["dataset", "task", "row", "fold", "seed", "au", "metric", "value", "n", "positives", "threshold"]
    return pd.DataFrame(found, columns=names)


def _part_scores(part: Part) -> Iterator[tuple[object, ...]]:
    faces = part.faces()
    for kind in part.measures:
        test = part.answers(faces, kind)
        mask = test.mask
        counts = mask.sum(0), ((test.labels > 0) & mask).sum(0)
        if kind == "occurrence":
            found = dict(_detection(part, test, part.answers(faces, kind, "validation")))
        else:
            table = metrics.intensity(test.labels, test.values, mask)
            found = {name: (table[name], float("nan")) for name in METRICS["intensity"]}
        for metric in METRICS[kind]:
            values, threshold = found[metric]
            names = [*(facts.au_name(au) for au in part.aus), AVERAGE]
            numbers = [*values, metrics.mean(values)]
            ns, positives = ([*map(int, count), int(count.sum())] for count in counts)
            for au, value, n, positive in zip(names, numbers, ns, positives, strict=True):
                yield (
                    *(part.dataset, _task(kind), part.row, part.fold, part.seed),
                    *(au, metric, float(value), n, positive, threshold),
                )


def _task(kind: Measured) -> str:
    return "detection" if kind == "occurrence" else "intensity"


def _detection(part: Part, test: Answers, validation: Answers) -> Iterator[tuple[str, tuple[Floats, float]]]:
    """Each score of detection with its threshold."""
    at = metrics.f1(test.labels, test.values >= part.threshold, test.mask)
    yield "f1", (at, part.threshold)
    if validation.mask.any():
        chosen = best_threshold(validation)
        yield (
            "f1_at_validation_threshold",
            (metrics.f1(test.labels, test.values >= chosen, test.mask), chosen),
        )
    else:
        yield "f1_at_validation_threshold", (np.full(len(part.aus), np.nan), float("nan"))
    best = best_threshold(test)
    yield "f1_best_on_test", (metrics.f1(test.labels, test.values >= best, test.mask), best)
    yield "auc", (metrics.auc(test.labels, test.values, test.mask), float("nan"))


def best_threshold(answers: Answers) -> float:
    """The one threshold for all action units with the highest mean F1; of equals, the nearest to 0.5.

    Without any label, 0.5.
    """
    if not answers.mask.any():
        return 0.5
    means = _nanmean(f1_curve(answers, THRESHOLDS))
    best = THRESHOLDS[means >= means.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def f1_curve(answers: Answers, thresholds: Floats) -> Floats:
    """F1 at each of T ascending thresholds, (T, A), by counting each probability once."""
    curve = np.full((len(thresholds), len(answers.aus)), np.nan)
    for a in range(len(answers.aus)):
        rows = answers.mask[:, a]
        if not rows.any():
            continue
        # How many of the thresholds each probability reaches, so that >= holds as in ``metrics``.
        reached = np.searchsorted(thresholds, answers.values[rows, a], side="right")
        there = answers.labels[rows, a] > 0
        called, hits = (
            np.cumsum(np.bincount(group, minlength=len(thresholds) + 1)[::-1])[::-1][1:]
            for group in (reached, reached[there])
        )
        whole = called + there.sum()
        curve[:, a] = np.divide(2 * hits, whole, out=np.zeros(len(thresholds)), where=whole > 0)
    return curve


def summary(found: pd.DataFrame, pooled: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of ``scores`` over folds and seeds; beside them the pooled value and its interval.

    Args:
        found: what ``scores`` gives.
        pooled: what ``pool`` gives.

    Returns:
        ``dataset task row metric au``; ``mean`` over folds and seeds; ``sd_folds`` of the folds' means over
        seeds, ``sd_seeds`` of the seeds' means over folds (seeds with every fold only), both with n - 1, NaN
        for a single one; ``folds``, ``seeds``, ``n`` (of one seed), ``share`` present; ``pooled low high
        subjects``, NaN where there is no interval.
    """
    rows = [
        dict(zip(KEYS, key, strict=True)) | _spread(group) for key, group in found.groupby(KEYS, sort=False)
    ]
    return pd.DataFrame(rows).merge(pooled, how="left", on=KEYS)


def pick(table: pd.DataFrame, **keys: str) -> pd.DataFrame:
    """The rows of ``summary`` with these keys: ``pick(table, dataset="bp4d", metric="f1")``."""
    chosen = np.ones(len(table), dtype=bool)
    for name, value in keys.items():
        chosen &= (table[name] == value).to_numpy()
    return table[chosen]


def _spread(group: pd.DataFrame) -> dict[str, float]:
    grid = group.pivot(index="fold", columns="seed", values="value")  # (folds, seeds)
    whole = grid.dropna(axis="columns")
    one = group.drop_duplicates("fold")
    n = int(one["n"].sum())
    return {
        "mean": metrics.mean(grid.mean(axis=1)),
        "sd_folds": float(grid.mean(axis=1).std(ddof=1)),
        "sd_seeds": float(whole.mean(axis=0).std(ddof=1)),
        "folds": len(grid.dropna(how="all")),
        "seeds": grid.shape[1],
        "n": n,
        "share": float(one["positives"].sum() / n) if n else float("nan"),
    }


def pool(parts: Sequence[Part], resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Scores of the test faces of all folds together, with the 95 % bootstrap interval over subjects.

    Where there are several seeds, the statistic is the mean over seeds, and a resample draws the same
    people for each. Each subject is reduced to sums that F1, ICC, MSE and MAE are functions of, so a
    resample costs no more for many faces than for few.

    Returns:
        ``dataset task row metric au pooled low high subjects``. AUC has none.
    """
    groups: dict[tuple[str, str, str, Measured], list[Part]] = {}
    for part in parts:
        for kind in part.measures:
            groups.setdefault((part.dataset, _task(kind), part.row, kind), []).append(part)
    rows = [
        (dataset, task, row, *values)
        for (dataset, task, row, kind), group in groups.items()
        for values in _pooled(group, kind, resamples, seed)
    ]
    return pd.DataFrame(rows, columns=[*KEYS, "pooled", "low", "high", "subjects"])


def _pooled(
    parts: Sequence[Part], kind: Measured, resamples: int, seed: int
) -> Iterator[tuple[str, str, float, float, float, int]]:
    aus = parts[0].aus
    sums = _subject_sums(parts, kind)  # (subjects, seeds, A, K)
    score, names = (_f1_of, ("f1",)) if kind == "occurrence" else (_intensity_of, ("icc", "mse", "mae"))

    def statistic(rows: metrics.Rows) -> Floats:
        by_seed = score(sums[rows].sum(0))  # (metrics, seeds, A)
        means = _nanmean(np.moveaxis(by_seed, 1, -1))  # (metrics, A)
        return np.concatenate([means, _nanmean(means)[:, None]], axis=1)

    found = metrics.bootstrap(statistic, len(sums), resamples, seed=seed)
    alone = len(sums) < 2  # one person says nothing of others
    for m, metric in enumerate(names):
        for a, au in enumerate([*(facts.au_name(number) for number in aus), AVERAGE]):
            low, high = (float("nan") if alone else float(end[m, a]) for end in (found.low, found.high))
            yield metric, au, float(found.value[m, a]), low, high, len(sums)


def _subject_sums(parts: Sequence[Part], kind: Measured) -> Floats:
    """(subjects, seeds, A, K): each person's sums that the scores are functions of; 0 where not tested."""
    seeds = sorted({part.seed for part in parts})
    tested = [(part, part.answers(part.faces(), kind)) for part in parts]
    names = sorted({str(name) for _, answers in tested for name in set(answers.subjects)})
    place = {name: k for k, name in enumerate(names)}
    terms = _counts if kind == "occurrence" else _moments
    made: Floats | None = None
    for part, answers in tested:
        of = np.array([place[str(name)] for name in answers.subjects], dtype=np.intp)
        values = terms(answers, part.threshold)  # (N, A, K)
        if made is None:
            made = np.zeros((len(names), len(seeds), *values.shape[1:]))
        np.add.at(made[:, seeds.index(part.seed)], of, values)
    assert made is not None, "a group has a part"
    return made


def _counts(answers: Answers, threshold: float) -> Floats:
    """Labels, hits, called, there: (N, A, 4)."""
    mask = answers.mask
    there, called = (answers.labels > 0) & mask, (answers.values >= threshold) & mask
    return np.stack([mask, there & called, called, there], axis=-1).astype(np.float64)


def _moments(answers: Answers, threshold: float) -> Floats:
    """Count, x, y, xx, yy, xy, absolute error: (N, A, 7)."""
    mask = answers.mask
    x, y = (np.where(mask, values, 0.0) for values in (answers.labels, answers.values))
    return np.stack([mask.astype(np.float64), x, y, x * x, y * y, x * y, np.abs(x - y)], axis=-1)


def _f1_of(sums: Floats) -> Floats:
    """(..., 4) counts to (1, ...) F1, undefined as in ``metrics``."""
    count, hits, called, there = np.moveaxis(sums, -1, 0)
    whole = called + there
    value = np.divide(2 * hits, whole, out=np.zeros_like(whole), where=whole > 0)
    return np.where(count > 0, value, np.nan)[None]


def _intensity_of(sums: Floats) -> Floats:
    """(..., 7) moments to (3, ...) ICC(3,1), MSE and MAE.

    Of two raters, ICC(3,1) is 2 Sxy / (Sxx + Syy) with centred sums: the mean squares of targets and
    residuals are (Sxx + Syy +- 2 Sxy) / (2 (n - 1)).
    """
    n, x, y, xx, yy, xy, absolute = np.moveaxis(sums, -1, 0)
    count = np.maximum(n, 1)
    varied = (xx - x * x / count) + (yy - y * y / count)
    shared = xy - x * y / count
    icc = np.divide(2 * shared, varied, out=np.full_like(varied, np.nan), where=(varied > 1e-9) & (n > 1))
    mse, mae = (np.where(n > 0, total / count, np.nan) for total in (xx + yy - 2 * xy, absolute))
    return np.stack([icc, np.maximum(mse, 0), mae])


def _nanmean(values: Floats) -> Floats:
    """Over the last axis, NaN where there is no value."""
    held = ~np.isnan(values)
    count = held.sum(-1)
    total = np.where(held, values, 0).sum(-1)
    means: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means


def distribution(parts: Iterable[Part]) -> pd.DataFrame:
    """How often each action unit is there in the test faces of each dataset, every fold once.

    Returns:
        ``dataset task au``; ``n`` labels, ``share`` of them present (intensity: above 0), and for
        intensity ``level0``... ``level5``, the share of each level, rounded.
    """
    seen: dict[tuple[str, str, str], list[Part]] = {}
    for part in parts:
        group = seen.setdefault((part.dataset, part.task, part.protocol), [])
        if part.fold not in {other.fold for other in group}:
            group.append(part)
    rows = []
    for (dataset, _, _), group in seen.items():
        for kind in group[0].measures:
            labels = np.concatenate([part.answers(part.faces(), kind).labels for part in group])
            for au, column in zip(group[0].aus, labels.T, strict=True):
                names = {"dataset": dataset, "task": _task(kind), "au": facts.au_name(au)}
                rows.append(names | _classes(column[~np.isnan(column)], kind))
    return pd.DataFrame(rows)


def _classes(labels: Floats, kind: Measured) -> dict[str, float]:
    row = {"n": len(labels), "share": float((labels > 0).mean()) if len(labels) else float("nan")}
    if kind == "intensity" and len(labels):
        levels = np.bincount(np.rint(labels).astype(int).clip(0, 5), minlength=6) / len(labels)
        row |= {f"level{level}": float(share) for level, share in enumerate(levels)}
    return row
