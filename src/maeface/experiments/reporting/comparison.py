"""Our scores beside the paper's and beside the methods of its tables: the sections that a reader came for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from maeface import facts
from maeface.errors import ConfigError
from maeface.experiments.reporting.results import ACROSS
from maeface.experiments.reporting.tables import AVERAGE, pick
from maeface.facts import Comparison
from maeface.report import charts
from maeface.report.page import Picture, Section, Table

BY_AU = ("table1", "table2", "table3", "table4")
"""The paper's tables that have a value for each action unit."""
OURS = "MAE-Face"
TITLES = {"f1": "F1", "icc": "ICC(3,1)", "mse": "MSE", "mae": "MAE", "auc": "AUC"}
BETTER = {
    "f1": "higher is better",
    "icc": "higher is better",
    "mse": "lower is better",
    "mae": "lower is better",
}
HEADLINES = {"detection": ("f1",), "intensity": ("icc", "mse", "mae")}


@dataclass(frozen=True)
class Unit:
    """How a score is written: as in the paper, F1 in per cent with one decimal, intensity with three."""

    factor: float
    decimals: int
    sign: str


def unit(task: str) -> Unit:
    """That of the scores of a task."""
    return Unit(100.0, 1, " (%)") if task == "detection" else Unit(1.0, 3, "")


def title(dataset: str) -> str:
    """A dataset's name for people, as short as the paper's."""
    if ACROSS in dataset:
        return ACROSS.join(map(title, dataset.split(ACROSS)))
    try:
        return facts.dataset(dataset).title.partition(" (")[0].removesuffix("-Spontaneous")
    except ConfigError:
        return dataset


def by_au(dataset: str, metric: str) -> Comparison | None:
    """The paper's table with a value for each action unit; None where there is none."""
    found = (facts.published(name).of(dataset, metric) for name in BY_AU)
    return next((comparison for comparison in found if comparison is not None), None)


@dataclass(frozen=True)
class Paper:
    """What the paper prints for an experiment.

    Attributes:
        published: name of its table (``facts.published``); empty for none.
        methods: row of the experiment -> what the table calls it.
    """

    published: str
    methods: Mapping[str, str]

    def printed(self, dataset: str, metric: str, row: str) -> float:
        """The mean over action units, in our units; NaN where the table prints none for the row."""
        table = facts.published(self.published) if self.published else None
        if table is None or table.what != "score" or (found := table.of(dataset, metric)) is None:
            return float("nan")
        line = found.row(self.methods.get(row, row))
        return float("nan") if line is None else line.avg / found.factor


def results(table: pd.DataFrame, rows: Sequence[str], paper: Paper, comparable: bool) -> Section:
    """The means over action units, one table a dataset and task.

    Args:
        table: what ``tables.summary`` gives.
        rows: names of the experiment's rows, in its order.
        paper: what is printed of the experiment.
        comparable: whether the run is of the paper's data and settings, so that a difference says something.
    """
    made = [_overview(table, rows, paper)] if len(groups(table)) > 1 else []
    for dataset, task in groups(table):
        how = unit(task)
        lines = []
        for metric in HEADLINES[task]:
            for row in rows:
                lines_of = pick(table, dataset=dataset, task=task, row=row, metric=metric, au=AVERAGE)
                if lines_of.empty:
                    continue
                found = lines_of.iloc[0]
                theirs = paper.printed(dataset, metric, row)
                values = {"mean": found["mean"], "sd folds": found["sd_folds"], "sd seeds": found["sd_seeds"]}
                values |= {"pooled": found["pooled"], "95 % from": found["low"], "to": found["high"]}
                values |= {"paper": theirs}
                values |= {"difference": found["mean"] - theirs} if comparable else {}
                counts = {"folds": found["folds"], "seeds": found["seeds"], "subjects": found["subjects"]}
                lines.append(
                    {"row": row}
                    | ({"score": TITLES[metric]} if len(HEADLINES[task]) > 1 else {})
                    | {name: value * how.factor for name, value in values.items()}
                    | {name: int(value) for name, value in counts.items() if not np.isnan(value)}
                )
        names = ", ".join(TITLES[metric] for metric in HEADLINES[task])
        caption = f"{title(dataset)}, {task}: {names}{how.sign}, mean over action units."
        made.append(Table(pd.DataFrame(lines), caption, how.decimals))
    return Section("Result", tables=made)


def _overview(table: pd.DataFrame, rows: Sequence[str], paper: Paper) -> Table:
    """One line a row and one column a benchmark, as the paper's Tables 5 and 6; the paper's lines first."""
    ours: dict[str, dict[str, str]] = {}
    theirs: dict[str, dict[str, str]] = {}
    for dataset, task in groups(table):
        metric, how = HEADLINES[task][0], unit(task)
        column = f"{title(dataset)} {TITLES[metric]}{how.sign}"
        means = pick(table, dataset=dataset, task=task, metric=metric, au=AVERAGE).set_index("row")["mean"]
        for row in rows:
            printed = paper.printed(dataset, metric, row)
            for lines, value in ((ours, float(means.get(row, np.nan))), (theirs, printed)):
                if not np.isnan(value):
                    lines.setdefault(row, {})[column] = f"{value * how.factor:.{how.decimals}f}"
    named = {f"{row} (paper)": line for row, line in theirs.items()}
    named |= {f"{row} (this run)": line for row, line in ours.items()}
    frame = pd.DataFrame.from_dict(named, orient="index").fillna("–")
    frame.index.name = "row"
    strong = frozenset(range(len(theirs), len(frame)))
    return Table(frame, "Mean over action units on each benchmark.", strong=strong)


def groups(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Dataset and task of each group of scores."""
    return list(dict.fromkeys(zip(table["dataset"], table["task"], strict=True)))


def sections(table: pd.DataFrame, rows: Sequence[str]) -> Iterator[Section]:
    """For every dataset, task and score: the methods of the paper's table, a picture, the spread of ours."""
    for dataset, task in groups(table):
        for metric in HEADLINES[task]:
            yield from _sections(table, dataset, task, metric, rows)


def _sections(
    table: pd.DataFrame, dataset: str, task: str, metric: str, rows: Sequence[str]
) -> Iterator[Section]:
    how = unit(task)
    ours = pick(table, dataset=dataset, task=task, metric=metric)
    there = [row for row in rows if row in set(ours["row"])]
    names = list(dict.fromkeys(map(str, ours["au"])))
    of_rows = {
        column: ours.pivot(index="au", columns="row", values=column).loc[names, there] * how.factor
        for column in ("mean", "low", "high")
    }
    methods, remarks = _methods(by_au(dataset, metric), names, how)
    score = TITLES[metric] + how.sign
    pooled = f"bars: mean over folds; lines: 95 % interval of the pooled {TITLES[metric]} over subjects"
    picture = Picture(
        charts.against_methods(of_rows["mean"], methods, score, of_rows["low"], of_rows["high"], OURS),
        f"{score} on {title(dataset)}, {BETTER[metric]}; {pooled}; dots: the methods of the paper's table.",
    )
    table_of = _beside_methods(of_rows["mean"], methods, how, f"{score} on {title(dataset)}.")
    heading = f"{task.capitalize()} on {title(dataset)}: {TITLES[metric]}"
    yield Section(heading, remarks, [table_of], [picture])
    spread = [_spread(pick(ours, row=row), row, task, how) for row in there]
    yield Section(f"{heading}, its spread", tables=spread)


def _methods(
    comparison: Comparison | None, names: Sequence[str], how: Unit
) -> tuple[pd.DataFrame, list[str]]:
    """Published methods, a column each and a row an action unit, in our units; and what is odd about them."""
    if comparison is None:
        return pd.DataFrame(index=list(names)), ["The paper has no table of this by action unit."]
    scale = how.factor / comparison.factor
    values = {
        row.method: {facts.au_name(au): value * scale for au, value in comparison.by_au(row.method).items()}
        | {AVERAGE: row.avg * scale}
        for row in comparison.rows
    }
    frame = pd.DataFrame(values).reindex(list(names))
    odd = [f"{row.method}: {row.note}." for row in comparison.rows if row.note]
    printed_aus = {facts.au_name(au) for au in comparison.aus}
    ours = {name for name in names if name != AVERAGE}
    if missing := sorted(printed_aus - ours):
        odd.append(
            f"Not in this run, though in the paper's table: {', '.join(missing)}. The means differ in that."
        )
    if more := sorted(ours - printed_aus):
        odd.append(
            f"In this run, though not in the paper's table: {', '.join(more)}. The means differ in that."
        )
    return frame, odd


def _beside_methods(ours: pd.DataFrame, methods: pd.DataFrame, how: Unit, caption: str) -> Table:
    """One line a method, one column an action unit, as the paper prints it; ours last, set off."""
    lines = {f"{OURS} (paper)" if name == OURS else str(name): methods[name] for name in methods}
    texts = {name: _as_printed(values, how) for name, values in lines.items()}
    texts |= {f"{row} (this run)": [f"{v:.{how.decimals}f}" for v in ours[row]] for row in ours}
    frame = pd.DataFrame.from_dict(texts, orient="index", columns=[_short(str(name)) for name in ours.index])
    frame = frame.replace("nan", "–")
    frame.index.name = "method"
    strong = frozenset(range(len(methods.columns), len(frame)))
    return Table(frame, f"{caption} Ours: mean over folds.", how.decimals, strong)


def _as_printed(values: pd.Series, how: Unit) -> list[str]:
    """With as many decimals as the paper prints in this line: most methods give ICC with two."""
    held = values.dropna()
    fewer = how.decimals == 3 and bool(np.allclose(held, held.round(2), atol=1e-9))
    return [f"{value:.{2 if fewer else how.decimals}f}" for value in values]


def _spread(values: pd.DataFrame, row: str, task: str, how: Unit) -> Table:
    """One line an action unit: our mean, its spread and interval, and how many labels stand behind it."""
    scaled = values[["mean", "sd_folds", "sd_seeds", "pooled", "low", "high"]] * how.factor
    names = ["mean", "sd folds", "sd seeds", "pooled", "95 % from", "to"]
    frame = scaled.astype(float).set_axis(names, axis="columns")
    frame["present" if task == "detection" else "above 0"] = [
        f"{share:.1%}" for share in values["share"].astype(float)
    ]
    frame["labels"] = values["n"].astype(int)
    frame.index = pd.Index([_long(str(name)) for name in values["au"]], name="action unit")
    return Table(frame, f"{row}: each action unit.", how.decimals)


def _short(name: str) -> str:
    return "Avg." if name == AVERAGE else name.replace("AU0", "AU")


def _long(name: str) -> str:
    return "Mean over action units" if name == AVERAGE else facts.au_title(int(name.removeprefix("AU")))
