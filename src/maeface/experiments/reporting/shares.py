"""Scores over the share of the training faces, where an experiment varies it: the paper's Fig. 7."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from maeface import facts
from maeface.experiments.reporting import comparison
from maeface.experiments.reporting.tables import AVERAGE, pick
from maeface.report import charts
from maeface.report.page import Picture, Section, Table

COLUMNS = {"value": "mean", "low": "low", "high": "high"}
"""Of the curve, from those of ``tables.summary``."""


def sections(summary: pd.DataFrame, shares: Mapping[str, float], published: str) -> Iterator[Section]:
    """One section with a curve for each task, where rows have different shares; else none.

    Args:
        summary: what ``tables.summary`` gives.
        shares: row -> share of the training faces that it learned from.
        published: name of what the paper has of it ("fig7"); empty for nothing.
    """
    if len(set(shares.values())) < 2:
        return
    made: list[Table] = []
    pictures: list[Picture] = []
    for task in ("detection", "intensity"):
        metric, how = comparison.HEADLINES[task][0], comparison.unit(task)
        curves = {}
        for dataset in dict.fromkeys(d for d, t in comparison.groups(summary) if t == task):
            found = pick(summary, dataset=dataset, task=task, metric=metric, au=AVERAGE)
            found = found[found["row"].isin(list(shares))]
            frame = pd.DataFrame(
                {name: found[of].to_numpy() * how.factor for name, of in COLUMNS.items()}
                | {"share": [shares[str(row)] for row in found["row"]]}
            )
            curves[comparison.title(dataset)] = frame
            made += _falls(frame, published, dataset, metric, how)
        if curves:
            score = f"mean {comparison.TITLES[metric]}{how.sign}"
            caption = (
                f"{score} over the share of the training faces (the paper's Fig. 7); bands: 95 % intervals."
            )
            pictures.append(Picture(charts.share_curve(curves, score), caption))
    text = "Of the training faces, clip by clip and counted on, every n-th is taken; the test part is whole."
    yield Section("Share of the training data", [text], made, pictures)


def _falls(
    curve: pd.DataFrame, published: str, dataset: str, metric: str, how: comparison.Unit
) -> Sequence[Table]:
    """What the paper's text says of Fig. 7: how far the mean falls from a tenth to a hundredth."""
    table = facts.published(published) if published else None
    found = table.of(dataset, metric) if table is not None and table.what != "score" else None
    if table is None or found is None:
        return []
    lines = [{"method": row.method, "fall": row.avg / found.factor * how.factor} for row in found.rows]
    values = curve.set_index("share")["value"]
    if {0.1, 0.01} <= set(values.index):
        lines.append({"method": "this run", "fall": float(values[0.1] - values[0.01])})
    caption = f"{comparison.title(dataset)}, {comparison.TITLES[metric]}{how.sign}: {table.what}."
    return [Table(pd.DataFrame(lines), caption, how.decimals, frozenset({len(found.rows)}))]
