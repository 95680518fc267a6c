"""Scores over the fraction of the training faces, where an experiment varies it: the paper's Fig. 7."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from maeface import facts
from maeface.experiments.reporting import comparison
from maeface.experiments.reporting.comparison import ScoreFormat
from maeface.experiments.reporting.scores import AVERAGE, select
from maeface.report import charts
from maeface.report.document import Picture, Section, Table

COLUMNS = {"value": "mean", "low": "low", "high": "high"}
"""Columns of the curve, from those of ``scores.summarize``."""


def make_sections(summary: pd.DataFrame, fractions: Mapping[str, float], published: str) -> Iterator[Section]:
    """Yield one section with a curve for each task, if rows use different fractions; else none.

    Args:
        summary: from ``scores.summarize``.
        fractions: row -> fraction of the training faces that it uses.
        published: name of what the paper prints of it ("fig7"); empty for nothing.
    """
    if len(set(fractions.values())) < 2:
        return
    tables: list[Table] = []
    pictures: list[Picture] = []
    for task in ("detection", "intensity"):
        metric, style = comparison.HEADLINES[task][0], comparison.score_format(task)
        curves = {}
        for dataset in [dataset for dataset, of_task in comparison.list_groups(summary) if of_task == task]:
            means = select(summary, dataset=dataset, task=task, metric=metric, au=AVERAGE)
            means = means[means["row"].isin(list(fractions))]
            curve = pd.DataFrame(
                {name: means[column].to_numpy() * style.factor for name, column in COLUMNS.items()}
                | {"fraction": [fractions[str(row)] for row in means["row"]]}
            )
            curves[comparison.dataset_title(dataset)] = curve
            tables += _falls(curve, published, dataset, metric, style)
        if curves:
            score = f"mean {comparison.TITLES[metric]}{style.unit}"
            caption = f"{score} over the fraction of the training faces (Fig. 7); bands: 95 % intervals."
            pictures.append(Picture(charts.fraction_curve(curves, score), caption))
    text = (
        "Every n-th training face is used, counted through all clips in order. "
        "Validation and test faces are not reduced."
    )
    yield Section("Fraction of the training data", [text], tables, pictures)


def _falls(
    curve: pd.DataFrame, published: str, dataset: str, metric: str, style: ScoreFormat
) -> Sequence[Table]:
    """Return how far the mean falls from 10 % to 1 % of the training faces, which the paper prints."""
    table = facts.published(published) if published else None
    if table is None or table.what == "score":
        return []
    if (printed := table.find_comparison(dataset, metric)) is None:
        return []
    lines = [{"method": row.method, "fall": row.avg / printed.factor * style.factor} for row in printed.rows]
    values = curve.set_index("fraction")["value"]
    if {0.1, 0.01} <= set(values.index):
        lines.append({"method": "this run", "fall": float(values[0.1] - values[0.01])})
    caption = f"{comparison.dataset_title(dataset)}, {comparison.TITLES[metric]}{style.unit}: {table.what}."
    return [Table(pd.DataFrame(lines), caption, style.decimals, frozenset({len(printed.rows)}))]
