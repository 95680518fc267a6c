"""Sections that compare our scores with the paper's and with the methods of its tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from maeface import facts
from maeface.errors import ConfigError
from maeface.experiments.reporting.results import ACROSS, AND
from maeface.experiments.reporting.scores import AVERAGE, select
from maeface.facts import OURS, Comparison
from maeface.report import charts
from maeface.report.document import Picture, Section, Table

TABLES_BY_AU = ("table1", "table2", "table3", "table4")
"""The paper's tables that have a value for each action unit."""
TITLES = {"f1": "F1", "icc": "ICC(3,1)", "mse": "MSE", "mae": "MAE", "auc": "AUC"}
DIRECTIONS = {
    "f1": "higher is better",
    "icc": "higher is better",
    "mse": "lower is better",
    "mae": "lower is better",
}
SPREAD = {
    "95 % from": "low",
    "to": "high",
    "splits from": "split_low",
    "splits to": "split_high",
    "mean": "mean",
    "sd folds": "sd_folds",
    "sd seeds": "sd_seeds",
    "pooled": "pooled",
}
"""Columns of tables of scores, by the columns of ``scores.summarize``: the intervals come first."""
AUC = {"AUC 95 % from": "low", "AUC to": "high", "AUC": "mean"}
"""Columns that stand beside F1."""
HEADLINES = {"detection": ("f1",), "intensity": ("icc", "mse", "mae")}
"""The scores that the paper prints, by task."""


@dataclass(frozen=True)
class ScoreFormat:
    """How scores are printed, as in the paper: F1 in per cent with one decimal, intensity with three.

    Attributes:
        factor: from a score on 0..1 to the printed number.
        decimals: of the printed number.
        unit: that follows the name of the score.
    """

    factor: float
    decimals: int
    unit: str

    def text(self, value: float) -> str:
        """Return a value, already multiplied by ``factor``, as text."""
        return f"{value:.{self.decimals}f}"


def score_format(task: str) -> ScoreFormat:
    """Return how the scores of a task are printed."""
    return ScoreFormat(100.0, 1, " (%)") if task == "detection" else ScoreFormat(1.0, 3, "")


def dataset_title(dataset: str) -> str:
    """Return a dataset's name for people, as short as in the paper."""
    for between in (ACROSS, AND):
        if between in dataset:
            return between.join(map(dataset_title, dataset.split(between)))
    try:
        return facts.dataset(dataset).title.partition(" (")[0].removesuffix("-Spontaneous")
    except ConfigError:
        return dataset


def list_groups(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return dataset and task of each group of scores."""
    return list(dict.fromkeys(zip(table["dataset"], table["task"], strict=True)))


@dataclass(frozen=True)
class PaperTable:
    """The paper's table for an experiment.

    Attributes:
        published: its name (``facts.published``); empty for none.
        methods: row of the experiment -> method of the table.
    """

    published: str
    methods: Mapping[str, str]

    def mean(self, dataset: str, metric: str, row: str) -> float:
        """Return the printed mean over action units as a score on 0..1; NaN where the table has none."""
        table = facts.published(self.published) if self.published else None
        if table is None or table.what != "score":
            return float("nan")
        if (comparison := table.find_comparison(dataset, metric)) is None:
            return float("nan")
        printed = comparison.row(self.methods.get(row, row))
        return float("nan") if printed is None else printed.avg / comparison.factor


def make_result(summary: pd.DataFrame, rows: Sequence[str], paper: PaperTable, comparable: bool) -> Section:
    """Return the section with the means over action units, a table for each dataset and task.

    Args:
        summary: from ``scores.summarize``.
        rows: names of the experiment's rows, in its order.
        paper: the paper's table for the experiment.
        comparable: whether the run has the paper's data and settings, so that a difference is meaningful.
    """
    tables = [_overview(summary, rows, paper)] if len(list_groups(summary)) > 1 else []
    for dataset, task in list_groups(summary):
        style = score_format(task)
        lines = []
        for metric in HEADLINES[task]:
            for row in rows:
                average = select(summary, dataset=dataset, task=task, row=row, metric=metric, au=AVERAGE)
                if average.empty:
                    continue
                scores = average.iloc[0]
                printed = paper.mean(dataset, metric, row)
                values = {name: scores[column] for name, column in SPREAD.items()} | {"paper": printed}
                values |= {"difference": scores["mean"] - printed} if comparable else {}
                if task == "detection":
                    auc = select(summary, dataset=dataset, task=task, row=row, metric="auc", au=AVERAGE)
                    values |= {name: auc.iloc[0][column] for name, column in AUC.items()}
                counts = {name: scores[name] for name in ("folds", "seeds", "subjects")}
                lines.append(
                    {"row": row}
                    | ({"score": TITLES[metric]} if len(HEADLINES[task]) > 1 else {})
                    | {name: value * style.factor for name, value in values.items()}
                    | {name: int(value) for name, value in counts.items() if not np.isnan(value)}
                )
        names = ", ".join(TITLES[metric] for metric in HEADLINES[task])
        caption = f"{dataset_title(dataset)}, {task}: {names}{style.unit}, mean over action units."
        tables.append(Table(pd.DataFrame(lines), caption, style.decimals))
    return Section("Result", tables=tables)


def _overview(summary: pd.DataFrame, rows: Sequence[str], paper: PaperTable) -> Table:
    """Return a table like the paper's Tables 5 and 6: a line a row, a column a benchmark; the paper first."""
    ours: dict[str, dict[str, str]] = {}
    printed: dict[str, dict[str, str]] = {}
    for dataset, task in list_groups(summary):
        metric, style = HEADLINES[task][0], score_format(task)
        column = f"{dataset_title(dataset)} {TITLES[metric]}{style.unit}"
        averages = select(summary, dataset=dataset, task=task, metric=metric, au=AVERAGE)
        means = averages.set_index("row")["mean"]
        for row in rows:
            paper_mean = paper.mean(dataset, metric, row)
            for lines, value in ((ours, float(means.get(row, np.nan))), (printed, paper_mean)):
                if not np.isnan(value):
                    lines.setdefault(row, {})[column] = style.text(value * style.factor)
    lines = {f"{row} (paper)": line for row, line in printed.items()}
    lines |= {f"{row} (this run)": line for row, line in ours.items()}
    frame = pd.DataFrame.from_dict(lines, orient="index").fillna("–")
    frame.index.name = "row"
    strong = frozenset(range(len(printed), len(frame)))
    return Table(frame, "Mean over action units on each benchmark.", strong=strong)


def make_sections(summary: pd.DataFrame, rows: Sequence[str]) -> Iterator[Section]:
    """Yield, for every dataset, task and score, the published methods with a chart, and our spread."""
    for dataset, task in list_groups(summary):
        for metric in HEADLINES[task]:
            yield from _compare(summary, dataset, task, metric, rows)


def _compare(
    summary: pd.DataFrame, dataset: str, task: str, metric: str, rows: Sequence[str]
) -> Iterator[Section]:
    style = score_format(task)
    ours = select(summary, dataset=dataset, task=task, metric=metric)
    present = set(ours["row"])
    columns = [row for row in rows if row in present]
    names = list(dict.fromkeys(map(str, ours["au"])))
    mean, low, high = (
        ours.pivot(index="au", columns="row", values=value).loc[names, columns] * style.factor
        for value in ("mean", "low", "high")
    )
    methods, remarks = _published_methods(_find_table_by_au(dataset, metric), names, style)
    name, title = TITLES[metric] + style.unit, dataset_title(dataset)
    caption = (
        f"{name} on {title}, {DIRECTIONS[metric]}; bars: mean over folds; lines: 95 % interval of the pooled "
        f"{TITLES[metric]} over subjects; dots: the methods of the paper's table."
    )
    picture = Picture(charts.against_methods(mean, methods, name, low, high, OURS), caption)
    heading = f"{task.capitalize()} on {title}: {TITLES[metric]}"
    yield Section(heading, remarks, [_beside_methods(mean, methods, style, f"{name} on {title}.")], [picture])
    beside = select(summary, dataset=dataset, task=task, metric="auc")
    spread = [_spread(select(ours, row=row), select(beside, row=row), row, task, style) for row in columns]
    yield Section(f"{heading}, its spread", tables=spread)


def _find_table_by_au(dataset: str, metric: str) -> Comparison | None:
    """Return the paper's table with a value for each action unit; None where there is none."""
    comparisons = (facts.published(name).find_comparison(dataset, metric) for name in TABLES_BY_AU)
    return next((comparison for comparison in comparisons if comparison is not None), None)


def _published_methods(
    comparison: Comparison | None, names: Sequence[str], style: ScoreFormat
) -> tuple[pd.DataFrame, list[str]]:
    """Return the methods, a column each, by action unit, and remarks on differences from our table."""
    if comparison is None:
        return pd.DataFrame(index=list(names)), ["The paper has no table of this score by action unit."]
    scale = style.factor / comparison.factor
    values = {
        row.method: {facts.au_name(au): value * scale for au, value in comparison.by_au(row.method).items()}
        | {AVERAGE: row.avg * scale}
        for row in comparison.rows
    }
    frame = pd.DataFrame(values).reindex(list(names))
    remarks = [f"{row.method}: {row.note}." for row in comparison.rows if row.note]
    printed_aus = {facts.au_name(au) for au in comparison.aus}
    our_aus = {name for name in names if name != AVERAGE}
    for aus, where in (
        (printed_aus - our_aus, "Only in the paper's table"),
        (our_aus - printed_aus, "Only in this run"),
    ):
        if aus:
            remarks.append(f"{where}: {', '.join(sorted(aus))}. The means are over different action units.")
    return frame, remarks


def _beside_methods(ours: pd.DataFrame, methods: pd.DataFrame, style: ScoreFormat, caption: str) -> Table:
    """Return a table as in the paper: a line a method, a column an action unit; our lines last and strong."""
    lines = {f"{OURS} (paper)" if name == OURS else str(name): methods[name] for name in methods}
    texts = {name: _as_printed(values, style) for name, values in lines.items()}
    texts |= {f"{row} (this run)": [style.text(value) for value in ours[row]] for row in ours}
    columns = [_short_name(str(name)) for name in ours.index]
    frame = pd.DataFrame.from_dict(texts, orient="index", columns=columns).replace("nan", "–")
    frame.index.name = "method"
    strong = frozenset(range(len(methods.columns), len(frame)))
    return Table(frame, f"{caption} Ours: mean over folds.", style.decimals, strong)


def _as_printed(values: pd.Series, style: ScoreFormat) -> list[str]:
    """Return values with the decimals of the paper's line: it prints ICC of most methods with two."""
    printed = values.dropna()
    two = style.decimals == 3 and bool(np.allclose(printed, printed.round(2), atol=1e-9))
    return [f"{value:.{2 if two else style.decimals}f}" for value in values]


def _spread(values: pd.DataFrame, beside: pd.DataFrame, row: str, task: str, style: ScoreFormat) -> Table:
    """Return a table of each action unit's intervals, mean, spread, AUC and number of labels."""
    scaled = values[list(SPREAD.values())] * style.factor
    frame = scaled.astype(float).set_axis(list(SPREAD), axis="columns")
    if task == "detection":
        by_au = beside.set_index("au").loc[list(values["au"])]
        frame = frame.assign(
            **{name: by_au[column].to_numpy() * style.factor for name, column in AUC.items()}
        )
    frame["present" if task == "detection" else "above 0"] = [
        f"{fraction:.1%}" for fraction in values["prevalence"].astype(float)
    ]
    frame["labels"] = values["n"].astype(int)
    frame.index = pd.Index([_long_name(str(name)) for name in values["au"]], name="action unit")
    return Table(frame, f"{row}: each action unit.", style.decimals)


def _short_name(name: str) -> str:
    return "Avg." if name == AVERAGE else name.replace("AU0", "AU")


def _long_name(name: str) -> str:
    return "Mean over action units" if name == AVERAGE else facts.au_title(int(name.removeprefix("AU")))
