"""Write the report of an experiment, from its recipe and its finished parts: HTML, Markdown and LaTeX.

OUT/report.html   one file, pictures included
OUT/report.md     the same for a repository, with its pictures in OUT/figures/
OUT/report.tex    the same, with booktabs tables
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
from maeface.experiments.reporting import appendix, caveats, comparison, data_fraction, pooled, scores
from maeface.experiments.reporting.comparison import PaperTable
from maeface.experiments.reporting.results import FinishedPart
from maeface.experiments.reporting.scores import AVERAGE
from maeface.experiments.settings import Experiment
from maeface.facts import OURS
from maeface.report import html, latex, markdown
from maeface.report.document import Document, Section, Table
from maeface.report.figures import png

HTML = "report.html"
MARKDOWN = "report.md"
LATEX = "report.tex"
SCORES = "scores.csv"

HOW_TO_READ = (
    "95 % from, to: a bootstrap over subjects, not faces, of the predictions of all folds put together. "
    "Splits from, to: where 95 % of the means over folds lie if the tested subjects are put into as many "
    "folds at random. Both are of the trained models as they are; only sd seeds shows how other trainings "
    "differ. Mean: the score is computed within each test fold, then averaged over folds (and seeds), "
    "then over action units, as in the paper's tables. Pooled: the test faces of all folds are put "
    "together and scored once. AUC needs no threshold. sd folds is the standard deviation over folds "
    "(each the mean over its seeds), sd seeds that over seeds (each the mean over all folds)."
)


def write(
    out: Path,
    recipe: Experiment,
    parts: Sequence[FinishedPart],
    missing: Mapping[str, str] | None = None,
) -> Path:
    """Write the report of the finished parts; what was not run is listed in it.

    Args:
        out: folder of the experiment.
        recipe: its settings, with the overrides of the command line.
        parts: from ``results.load``; at least one.
        missing: what was not run ("MAE-IN1k", or "MAE-Face P2, seed 1") -> why.

    Returns:
        The HTML file.

    Raises:
        DataError: a part's faces cannot be read.
        ResourceError: the folder cannot be written.
    """
    table = scores.compute_scores(parts)
    files.write_text(out / SCORES, table.to_csv(index=False))
    document = compose(recipe, parts, table, missing or {})
    for path, picture in document.pictures():
        files.write_bytes(out / path, png(picture.image))
    files.write_text(out / MARKDOWN, markdown.render(document))
    files.write_text(out / LATEX, latex.render(document))
    files.write_text(out / HTML, html.render(document))
    return out / HTML


def compose(
    recipe: Experiment, parts: Sequence[FinishedPart], table: pd.DataFrame, missing: Mapping[str, str]
) -> Document:
    """Return the report; ``table`` is from ``scores.compute_scores``, the rest as for ``write``."""
    labels = _row_labels(recipe)
    parts = [replace(part, row=labels.get(part.row, part.row)) for part in parts]
    table = table.assign(row=table["row"].replace(labels))
    paper = PaperTable(recipe.published, {labels[row.name]: row.method or row.name for row in recipe.rows})
    rows = list(dict.fromkeys([*labels.values(), *(part.row for part in parts)]))
    summary = scores.summarize(table, pooled.pool_folds(parts))
    reasons = caveats.find_caveats(parts, _changed_settings(recipe))
    fractions = {labels[row.name]: row.share for row in recipe.rows if row.share is not None}
    sections = [
        comparison.make_result(summary, rows, paper, comparable=not reasons),
        *([_missing(missing)] if missing else []),
        *data_fraction.make_sections(summary, fractions, recipe.published),
        *comparison.make_sections(summary, rows),
        *appendix.make_thresholds(table, rows),
        appendix.make_classes(parts),
        appendix.make_trainings(table, parts),
        appendix.make_gaps(table),
        appendix.make_settings(recipe, parts),
    ]
    lead = [_headline(summary, rows, paper, comparable=not reasons), _selection(parts), HOW_TO_READ]
    warnings = ["These numbers are not a reproduction of the paper:", *reasons] if reasons else []
    warnings += caveats.describe_selection_bias(parts)
    if missing:
        warnings.append(f"Not everything was run: {len(missing)} missing, listed below with the reason.")
    return Document(recipe.title or recipe.name, sections, lead, warnings, appendix.make_footer(parts))


def _row_labels(recipe: Experiment) -> dict[str, str]:
    """Return row -> its label in tables: the paper's name of the method, if no other row has the same."""
    methods = [row.method or row.name for row in recipe.rows]
    return {
        row.name: row.name if methods.count(method) > 1 else method
        for row, method in zip(recipe.rows, methods, strict=True)
    }


def _changed_settings(recipe: Experiment) -> list[str]:
    if recipe.name not in config.recipes():
        return []
    try:
        packaged = settings.load(recipe.name)
    except ConfigError:  # a packaged recipe of another kind
        return []
    return caveats.find_changes(recipe.model_dump(), packaged.model_dump())


def _headline(summary: pd.DataFrame, rows: Sequence[str], paper: PaperTable, comparable: bool) -> str:
    """Return a sentence for each dataset: the score of MAE-Face, else of the last row, and the paper's."""
    sentences = []
    for dataset, task in comparison.list_groups(summary):
        metric, style = comparison.HEADLINES[task][0], comparison.score_format(task)
        averages = scores.select(summary, dataset=dataset, task=task, metric=metric, au=AVERAGE)
        means = {str(row): values for row, values in averages.set_index("row").iterrows()}
        scored = [row for row in rows if row in means]
        row = OURS if OURS in scored else scored[-1]
        low, high, mean = (style.text(means[row][name] * style.factor) for name in ("low", "high", "mean"))
        printed = paper.mean(dataset, metric, row) * style.factor
        other = "" if comparable else ", with other data or settings"
        beside = "" if math.isnan(printed) else f" (paper: {style.text(printed)}{other})"
        name = comparison.TITLES[metric] + style.unit
        if math.isnan(means[row]["low"]):
            interval = "no interval, of a single subject"
        else:
            interval = f"95 % interval over subjects {low} to {high}"
        if task == "detection":
            auc = scores.select(summary, dataset=dataset, task=task, metric="auc", au=AVERAGE, row=row)
            mean += f", AUC {style.text(float(auc['mean'].iloc[0]) * style.factor)}"
        title = comparison.dataset_title(dataset)
        sentences.append(f"{title}: {interval}; mean {name} {mean}{beside}, row {row}.")
    return " ".join(sentences)


def _selection(parts: Sequence[FinishedPart]) -> str:
    """Return a sentence on the faces that chose the epoch, and one on the threshold of F1."""
    faces = {
        "validation": "subjects held out of the training",
        "test": "the test faces themselves (as in much published work)",
    }
    names = sorted({part.selection for part in parts})
    text = f"The epoch was chosen on {', '.join(faces.get(name, name) for name in names)}."
    if any("occurrence" in part.kinds for part in parts):
        thresholds = ", ".join(f"{value:g}" for value in sorted({part.threshold for part in parts}))
        text += f" F1 counts an action unit as present from probability {thresholds}."
    return text


def _missing(missing: Mapping[str, str]) -> Section:
    frame = pd.DataFrame({"not run": list(missing), "reason": list(missing.values())})
    return Section("Not run", tables=[Table(frame)])
