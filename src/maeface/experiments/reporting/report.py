"""The report of an experiment, from its finished parts and its recipe alone: HTML, Markdown and LaTeX.

OUT/report.html   opens by itself
OUT/report.md     the same for a repository; OUT/figures/ has its pictures
OUT/report.tex    the same as tables of booktabs
OUT/scores.csv    every score, one number a row
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from maeface import config, files
from maeface.errors import ConfigError
from maeface.experiments import settings
from maeface.experiments.reporting import comparison, details, doubts, shares, tables
from maeface.experiments.reporting.comparison import Paper
from maeface.experiments.reporting.results import Part
from maeface.experiments.reporting.tables import AVERAGE
from maeface.experiments.settings import Experiment
from maeface.report import document, latex
from maeface.report.document import Document
from maeface.report.figures import png
from maeface.report.page import Section, Table

HTML = "report.html"
MARKDOWN = "report.md"
LATEX = "report.tex"
SCORES = "scores.csv"

HOW_TO_READ = (
    "A mean is the mean over folds (and seeds) of the score within each test fold, then over action units, "
    "as in the paper's tables. The pooled value puts the test faces of all folds together and scores them "
    "once. The 95 % interval is a bootstrap of the pooled value that draws people, not faces, because faces "
    "of one person are alike. sd folds is the standard deviation of folds (each the mean over its seeds), "
    "sd seeds that of the seeds (each the mean over all folds)."
)


def write(
    out: Path,
    recipe: Experiment,
    parts: Sequence[Part],
    missing: Mapping[str, str] | None = None,
) -> Path:
    """Write the report of what is finished, and of what is not by name.

    Args:
        out: folder of the experiment.
        recipe: its settings, as it was called.
        parts: what ``results.load`` gives; at least one.
        missing: what was not run ("MAE-IN1k", or "MAE-Face P2, seed 1") and why.

    Returns:
        The HTML file.

    Raises:
        DataError: a part's faces cannot be read.
        ResourceError: the folder cannot be written.
    """
    found = tables.scores(parts)
    files.write_text(out / SCORES, found.to_csv(index=False))
    made = compose(recipe, parts, found, missing or {})
    for path, picture in made.pictures():
        files.write_bytes(out / path, png(picture.image))
    files.write_text(out / MARKDOWN, document.markdown(made))
    files.write_text(out / LATEX, latex.latex(made))
    files.write_text(out / HTML, document.html(made))
    return out / HTML


def compose(
    recipe: Experiment, parts: Sequence[Part], found: pd.DataFrame, missing: Mapping[str, str]
) -> Document:
    """The report as a document; ``found`` is what ``tables.scores`` gives, the rest as for ``write``."""
    names = _labels(recipe)
    parts = [replace(part, row=names.get(part.row, part.row)) for part in parts]
    found = found.assign(row=found["row"].replace(names))
    paper = Paper(recipe.published, {names[row.name]: row.method or row.name for row in recipe.rows})
    rows = list(dict.fromkeys([*names.values(), *(part.row for part in parts)]))
    summary = tables.summary(found, tables.pool(parts))
    reasons = doubts.reasons(parts, _changed(recipe))
    sections = [comparison.results(summary, rows, paper, comparable=not reasons)]
    sections += [_missing(missing)] if missing else []
    taken = {names[row.name]: row.share for row in recipe.rows if row.share is not None}
    sections += shares.sections(summary, taken, recipe.published)
    sections += comparison.sections(summary, rows)
    sections += details.thresholds(found, rows)
    sections += [details.classes(parts), details.trainings(found, parts), details.gaps(found)]
    sections += [details.settings_of(recipe, parts)]
    lead = [_headline(summary, rows, paper, comparable=not reasons), _selection(parts), HOW_TO_READ]
    warnings = ["These numbers are not a reproduction of the paper's:", *reasons] if reasons else []
    warnings += doubts.optimistic(parts)
    if missing:
        warnings.append(f"Not everything was run: {len(missing)} missing, named below with the reason.")
    title = recipe.title or recipe.name
    return Document(title, warnings, lead, sections, details.footer(parts))


def _labels(recipe: Experiment) -> dict[str, str]:
    """What each row is called in tables: as in the paper's, if that tells the rows apart."""
    methods = [row.method or row.name for row in recipe.rows]
    return {
        row.name: row.name if methods.count(method) > 1 else method
        for row, method in zip(recipe.rows, methods, strict=True)
    }


def _changed(recipe: Experiment) -> list[str]:
    if recipe.name not in config.recipes():
        return []
    try:
        return doubts.changed(recipe.model_dump(), settings.load(recipe.name).model_dump())
    except ConfigError:  # a recipe of the package, but of another kind
        return []


def _headline(summary: pd.DataFrame, rows: Sequence[str], paper: Paper, comparable: bool) -> str:
    """The last row's first score on each dataset beside what the paper prints."""
    said = []
    for dataset, task in comparison.groups(summary):
        metric, how = comparison.HEADLINES[task][0], comparison.unit(task)
        found = tables.pick(summary, dataset=dataset, task=task, metric=metric, au=AVERAGE)
        means = {str(row): float(mean) for row, mean in zip(found["row"], found["mean"], strict=True)}
        there = [row for row in rows if row in means]
        row = comparison.OURS if comparison.OURS in there else there[-1]
        value = means[row] * how.factor
        theirs = paper.printed(dataset, metric, row) * how.factor
        other = "" if comparable else ", of other data or settings"
        printed = "" if math.isnan(theirs) else f" (the paper prints {theirs:.{how.decimals}f}{other})"
        name = comparison.TITLES[metric] + how.sign
        said.append(f"{comparison.title(dataset)}: mean {name} {value:.{how.decimals}f}{printed}, row {row}.")
    return " ".join(said)


def _selection(parts: Sequence[Part]) -> str:
    by = sorted({part.selection for part in parts})
    who = {
        "validation": "subjects held out of the training part",
        "test": "the test part itself (as much of the field does)",
    }
    text = f"The epoch was picked by {', '.join(who.get(name, name) for name in by)}."
    if any("occurrence" in part.measures for part in parts):
        thresholds = ", ".join(f"{value:g}" for value in sorted({part.threshold for part in parts}))
        text += f" F1 counts probabilities from {thresholds} as present."
    return text


def _missing(missing: Mapping[str, str]) -> Section:
    frame = pd.DataFrame({"not run": list(missing), "reason": list(missing.values())})
    return Section("Not run", tables=[Table(frame)])
