"""Scores with bootstrap intervals as tables: rows of numbers, and Markdown for people."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import metrics

Floats = NDArray[np.float64]
SHOWN = ("AU12", "AU25", "AU06")
"""The action units with enough of either class for a breakdown."""


def scores(truth: Floats, values: Floats, thresholds: Floats, resamples: int) -> pd.DataFrame:
    """AUC, F1 and best F1 of a judge; a row an action unit, numbered by column in ``au``.

    Args:
        truth: (N, A) 0 or 1, NaN where missing.
        values: (N, A), NaN where there is none.
        thresholds: (A,) from which a value counts as present.
        resamples: of the bootstrap.
    """
    mask = ~np.isnan(truth) & ~np.isnan(values)

    def statistic(rows: NDArray[np.intp]) -> Floats:
        area = metrics.auc(truth[rows], values[rows], mask[rows])
        return np.stack([area, metrics.f1(truth[rows], values[rows] >= thresholds, mask[rows])])

    interval = metrics.bootstrap(statistic, len(truth), resamples)
    table = _counts(truth, mask)
    for k, name in enumerate(("auc", "f1")):
        table |= {name: interval.value[k], f"{name}_low": interval.low[k], f"{name}_high": interval.high[k]}
    table["best_f1"] = np.array([_best_f1(truth[m, a], values[m, a]) for a, m in enumerate(mask.T)])
    table["threshold"] = thresholds
    return pd.DataFrame(table)


def difference(truth: Floats, ours: Floats, theirs: Floats, resamples: int) -> pd.DataFrame:
    """AUC of ours less theirs, on the faces that both have a value for."""
    mask = ~np.isnan(truth) & ~np.isnan(ours) & ~np.isnan(theirs)

    def statistic(rows: NDArray[np.intp]) -> Floats:
        mine, other = (metrics.auc(truth[rows], each[rows], mask[rows]) for each in (ours, theirs))
        return mine - other

    interval = metrics.bootstrap(statistic, len(truth), resamples)
    found = {"auc": interval.value, "auc_low": interval.low, "auc_high": interval.high}
    return pd.DataFrame(_counts(truth, mask) | found)


def markdown(found: pd.DataFrame) -> str:
    """All tables, for people."""
    whole = found[found["by"] == "all"]
    judges = [name for name in dict.fromkeys(found["judge"]) if " - " not in name]
    parts = [f"# Zero-shot on held-out portraits ({whole['group'].iloc[0]})\n"]
    for judge in judges:
        parts += [f"## {judge}\n", _lines(_judge_rows(whole[whole["judge"] == judge])), ""]
    if (paired := whole[whole["judge"].str.contains(" - ")]).size:
        parts += ["## Difference of the AUC, paired\n", _lines(_difference_rows(paired)), ""]
    for by in dict.fromkeys(found.loc[found["by"] != "all", "by"]):
        parts += [f"## AUC by {by}\n", _lines(_group_rows(found[found["by"] == by], judges)), ""]
    return "\n".join(parts)


def _counts(truth: Floats, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.generic]]:
    return {
        "au": np.arange(truth.shape[1]),
        "n": mask.sum(0),
        "present": ((truth > 0) & mask).sum(0),
        "no_value": (~np.isnan(truth) & ~mask).sum(0),
    }


def _best_f1(truth: Floats, values: Floats) -> float:
    """At the threshold that suits these labels best."""
    if not truth.size:
        return float("nan")
    called = values[:, None] >= np.unique(values)
    return float(metrics.f1(np.repeat(truth[:, None], called.shape[1], axis=1), called).max())


def _judge_rows(table: pd.DataFrame) -> Iterator[list[str]]:
    yield ["AU", "faces", "present", "no face", "AUC [95 %]", "F1 [95 %]", "at", "best F1 (upper bound)"]
    for _, row in table[table["n"] > 0].iterrows():
        area, balance = _span(row, "auc"), _span(row, "f1")
        counts = [str(row[name]) for name in ("au", "n", "present", "no_value")]
        yield [*counts, area, balance, f"{row['threshold']:.2f}", f"{row['best_f1']:.3f}"]


def _difference_rows(table: pd.DataFrame) -> Iterator[list[str]]:
    names = list(dict.fromkeys(table["au"]))
    yield ["", *names]
    for judge, rows in table.groupby("judge", sort=False):
        cells = rows.set_index("au")
        yield [str(judge), *(_span(cells.loc[name], "auc", "+") for name in names)]


def _group_rows(table: pd.DataFrame, judges: list[str]) -> Iterator[list[str]]:
    yield ["", "", *(f"{name} (present/faces)" for name in SHOWN)]
    for group, of_group in table.groupby("group", sort=False):
        for judge in [name for name in judges if name in set(of_group["judge"])]:
            rows = of_group[of_group["judge"] == judge].set_index("au")
            cells = [rows.loc[name] for name in SHOWN]
            spans = [f"{_span(row, 'auc')} ({row['present']}/{row['n']})" for row in cells]
            yield [
                str(group),
                judge,
                *(span if row["n"] else "–" for span, row in zip(spans, cells, strict=True)),
            ]


def _span(row: "pd.Series[float]", name: str, sign: str = "") -> str:
    if np.isnan(row[name]):
        return "–"
    return f"{row[name]:{sign}.3f} [{row[f'{name}_low']:{sign}.3f}, {row[f'{name}_high']:{sign}.3f}]"


def _lines(rows: Iterator[list[str]]) -> str:
    head, *rest = rows
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rest])
