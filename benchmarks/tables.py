"""Scores with bootstrap intervals, as data frames and as Markdown tables."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import metrics

Floats = NDArray[np.float64]
GROUP_AUS = ("AU12", "AU25", "AU06")
"""Action units with enough faces of either class to be scored in groups."""


def compute_scores(truth: Floats, values: Floats, thresholds: Floats, resamples: int) -> pd.DataFrame:
    """Return AUC, F1 and best F1 of a scorer, one row per action unit; ``au`` is its index in ``truth``.

    Args:
        truth: (N, A) 0 or 1, NaN if the label is missing.
        values: (N, A) scores, NaN if missing.
        thresholds: (A,) values from which an action unit counts as present.
        resamples: number of bootstrap resamples.
    """
    mask = ~np.isnan(truth) & ~np.isnan(values)

    def statistic(rows: NDArray[np.intp]) -> Floats:
        auc = metrics.auc(truth[rows], values[rows], mask[rows])
        return np.stack([auc, metrics.f1(truth[rows], values[rows] >= thresholds, mask[rows])])

    interval = metrics.bootstrap(statistic, len(truth), resamples)
    table = _count(truth, mask)
    for k, name in enumerate(("auc", "f1")):
        table |= {name: interval.value[k], f"{name}_low": interval.low[k], f"{name}_high": interval.high[k]}
    table["best_f1"] = np.array([_best_f1(truth[m, a], values[m, a]) for a, m in enumerate(mask.T)])
    table["threshold"] = thresholds
    return pd.DataFrame(table)


def compute_difference(truth: Floats, ours: Floats, other: Floats, resamples: int) -> pd.DataFrame:
    """Return the AUC of our scorer minus that of another one, on the faces for which both have a value."""
    mask = ~np.isnan(truth) & ~np.isnan(ours) & ~np.isnan(other)

    def statistic(rows: NDArray[np.intp]) -> Floats:
        first, second = (metrics.auc(truth[rows], values[rows], mask[rows]) for values in (ours, other))
        return first - second

    interval = metrics.bootstrap(statistic, len(truth), resamples)
    table = {"auc": interval.value, "auc_low": interval.low, "auc_high": interval.high}
    return pd.DataFrame(_count(truth, mask) | table)


def render(scores: pd.DataFrame) -> str:
    """Return all scores as Markdown tables; the column ``scorer`` is the name of the scorer."""
    everything = scores[scores["by"] == "all"]
    scorers = [name for name in dict.fromkeys(scores["scorer"]) if " - " not in name]
    blocks = [f"# Zero-shot on held-out portraits ({everything['group'].iloc[0]})\n"]
    for scorer in scorers:
        blocks += [f"## {scorer}\n", _markdown(_scorer_rows(everything[everything["scorer"] == scorer])), ""]
    if (paired := everything[everything["scorer"].str.contains(" - ")]).size:
        blocks += ["## Difference of the AUC, paired\n", _markdown(_difference_rows(paired)), ""]
    for by in dict.fromkeys(scores.loc[scores["by"] != "all", "by"]):
        blocks += [f"## AUC by {by}\n", _markdown(_group_rows(scores[scores["by"] == by], scorers)), ""]
    return "\n".join(blocks)


def _count(truth: Floats, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.generic]]:
    return {
        "au": np.arange(truth.shape[1]),
        "n": mask.sum(0),
        "present": ((truth > 0) & mask).sum(0),
        "no_value": (~np.isnan(truth) & ~mask).sum(0),
    }


def _best_f1(truth: Floats, values: Floats) -> float:
    """Return F1 at the threshold that is best for these labels."""
    if not truth.size:
        return float("nan")
    predicted = values[:, None] >= np.unique(values)
    return float(metrics.f1(np.repeat(truth[:, None], predicted.shape[1], axis=1), predicted).max())


def _scorer_rows(table: pd.DataFrame) -> Iterator[list[str]]:
    yield ["AU", "faces", "present", "no face", "AUC [95 %]", "F1 [95 %]", "at", "best F1 (upper bound)"]
    for _, row in table[table["n"] > 0].iterrows():
        auc, f1 = _with_interval(row, "auc"), _with_interval(row, "f1")
        counts = [str(row[name]) for name in ("au", "n", "present", "no_value")]
        yield [*counts, auc, f1, f"{row['threshold']:.2f}", f"{row['best_f1']:.3f}"]


def _difference_rows(table: pd.DataFrame) -> Iterator[list[str]]:
    names = list(dict.fromkeys(table["au"]))
    yield ["", *names]
    for scorer, rows in table.groupby("scorer", sort=False):
        cells = rows.set_index("au")
        yield [str(scorer), *(_with_interval(cells.loc[name], "auc", "+") for name in names)]


def _group_rows(table: pd.DataFrame, scorers: list[str]) -> Iterator[list[str]]:
    yield ["", "", *(f"{name} (present/faces)" for name in GROUP_AUS)]
    for group, of_group in table.groupby("group", sort=False):
        for scorer in [name for name in scorers if name in set(of_group["scorer"])]:
            rows = of_group[of_group["scorer"] == scorer].set_index("au")
            cells = [rows.loc[name] for name in GROUP_AUS]
            texts = [f"{_with_interval(row, 'auc')} ({row['present']}/{row['n']})" for row in cells]
            yield [
                str(group),
                scorer,
                *(text if row["n"] else "–" for text, row in zip(texts, cells, strict=True)),
            ]


def _with_interval(row: "pd.Series[float]", name: str, sign: str = "") -> str:
    if np.isnan(row[name]):
        return "–"
    return f"{row[name]:{sign}.3f} [{row[f'{name}_low']:{sign}.3f}, {row[f'{name}_high']:{sign}.3f}]"


def _markdown(rows: Iterator[list[str]]) -> str:
    head, *rest = rows
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rest])
