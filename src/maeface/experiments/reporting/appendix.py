"""The later sections of a report: thresholds, label frequencies, trainings, undefined scores, settings."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from maeface.experiments.reporting import caveats, comparison
from maeface.experiments.reporting.results import FinishedPart
from maeface.experiments.reporting.scores import AVERAGE, compute_prevalence, select
from maeface.experiments.settings import Experiment
from maeface.report import charts
from maeface.report.document import Picture, Section, Table

PACKAGES = ("maeface", "torch", "timm", "numpy", "pandas")
RUN = "au"
"""Folder of the training within a part."""
SETTINGS = {
    "epochs": "optim.epochs",
    "warm-up": "optim.warmup_epochs",
    "batch": "optim.batch",
    "base lr": "optim.base_lr",
    "layer decay": "optim.layer_decay",
    "weight decay": "optim.weight_decay",
    "drop path": "model.drop_path",
    "mixup": "data.mixup",
    "cutmix": "data.cutmix",
    "augmentation": "data.randaugment",
    "every n-th": "data.every",
    "validation": "data.validation",
    "patience": "patience",
}
"""Settings of a training that a report shows, by their name in it."""
EMPTY = ("", "None", "[]")


def make_thresholds(scores: pd.DataFrame, rows: Sequence[str]) -> Iterator[Section]:
    """Yield the section with the mean F1 at three thresholds, and AUC; none for intensity alone."""
    means = scores[(scores["task"] == "detection") & (scores["au"] == AVERAGE)]
    if means.empty:
        return
    names = {
        "f1": "F1 at the set threshold",
        "f1_at_validation_threshold": "F1 at the best threshold on validation",
        "f1_best_on_test": "F1 at the best threshold on test (optimistic)",
        "auc": "AUC",
    }
    lines = []
    for dataset in dict.fromkeys(means["dataset"]):
        for row in rows:
            of_row = select(means, dataset=dataset, row=row)
            if of_row.empty:
                continue
            line: dict[str, object] = {"dataset": comparison.dataset_title(dataset), "row": row}
            for metric, name in names.items():
                of_metric = select(of_row, metric=metric)
                line[f"{name} (%)"] = float(of_metric["value"].mean()) * 100
                if metric.startswith("f1"):
                    line[f"{name}: threshold"] = _range(of_metric["threshold"])
            lines.append(line)
    text = (
        "One threshold for all action units: the one that was set; the one with the best mean F1 on the "
        "validation faces; and the one with the best mean F1 on the test faces. The last one cannot be known "
        "before the test, so its F1 is optimistic. AUC needs no threshold. Means over folds and seeds."
    )
    frame = pd.DataFrame(lines).rename(columns=lambda name: "at" if name.endswith(": threshold") else name)
    yield Section("Thresholds", [text], [Table(frame, decimals=1)])


def _range(values: pd.Series) -> str:
    values = values.dropna()
    if values.empty:
        return "–"
    low, high = values.min(), values.max()
    return f"{low:.2f}" if low == high else f"{low:.2f}–{high:.2f}"


def make_classes(parts: Sequence[FinishedPart]) -> Section:
    """Return the section with the prevalence of each action unit in the test faces."""
    prevalence = compute_prevalence(parts)
    tables, columns = [], {}
    for dataset, task in comparison.list_groups(prevalence):
        rows = select(prevalence, dataset=dataset, task=task).set_index("au")
        title = comparison.dataset_title(dataset)
        per_cent = rows["prevalence"] * 100
        frame = pd.DataFrame(
            {
                "labels": rows["n"].astype(int),
                "present (%)" if task == "detection" else "above 0 (%)": per_cent,
            }
        )
        levels = [column for column in map(str, rows) if column.startswith("level") and task == "intensity"]
        for column in levels:
            frame[f"level {column.removeprefix('level')} (%)"] = rows[column] * 100
        frame.index.name = "action unit"
        tables.append(Table(frame, f"{title}, {task}: test faces of all folds of this run.", 1))
        columns[title if task == "detection" else f"{title}, intensity above 0"] = per_cent
    picture = Picture(
        charts.class_distribution(pd.DataFrame(columns).sort_index()),
        "Fraction of the test faces in which each action unit is present (the paper's Fig. 4).",
    )
    return Section("Classes", tables=tables, pictures=[picture])


def make_trainings(scores: pd.DataFrame, parts: Sequence[FinishedPart]) -> Section:
    """Return the section with a line for each training: its score and its faces."""
    lines = []
    averages = scores[(scores["au"] == AVERAGE) & scores["metric"].isin(["f1", "icc"])]
    values = averages.set_index(["dataset", "task", "row", "fold", "seed"])["value"]
    for part in parts:
        line: dict[str, object] = {
            "dataset": comparison.dataset_title(part.dataset),
            "row": part.row,
            "fold": part.fold,
            "seed": part.seed,
        }
        for kind in part.kinds:
            task = "detection" if kind == "occurrence" else "intensity"
            style = comparison.score_format(task)
            name = "mean F1 (%)" if task == "detection" else "mean ICC"
            value = float(values[part.dataset, task, part.row, part.fold, part.seed])
            line[name] = style.text(value * style.factor)
        line |= {"train": part.faces_train, "validation": part.faces_validation, "test": part.faces_test}
        line |= {
            "test subjects": part.subjects_test,
            "epoch": "last" if part.epoch_best is None else part.epoch_best,
        }
        line |= {"minutes": "–" if part.seconds is None else f"{part.seconds / 60:.1f}"}
        lines.append(line)
    frame = pd.DataFrame(lines).fillna("–")
    return Section(
        "Folds and seeds", ["One line a training: its score and its number of faces."], [Table(frame)]
    )


def make_gaps(scores: pd.DataFrame) -> Section:
    """Return the section with the action units whose scores are undefined or meaningless in a fold."""
    by_au = scores[(scores["au"] != AVERAGE) & scores["metric"].isin(["f1", "icc"])]
    reasons = {
        "no known label: left out of the mean": by_au["n"] == 0,
        "never present in the test labels: F1 is 0, ICC is 0 or undefined": (
            (by_au["n"] > 0) & (by_au["positives"] == 0)
        ),
        "undefined, because neither labels nor predictions vary: left out of the mean": (
            (by_au["positives"] > 0) & by_au["value"].isna()
        ),
    }
    lines = []
    for reason, mask in reasons.items():
        for (dataset, row, fold), group in by_au[mask].groupby(["dataset", "row", "fold"], sort=False):
            aus = ", ".join(dict.fromkeys(group["au"]))
            lines.append(
                {"dataset": dataset, "row": row, "fold": fold, "action units": aus, "reason": reason}
            )
    if not lines:
        return Section("Gaps", ["Every action unit has known labels and is present in every test fold."])
    return Section("Gaps", tables=[Table(pd.DataFrame(lines))])


def make_settings(recipe: Experiment, parts: Sequence[FinishedPart]) -> Section:
    """Return the section with the settings of the trainings, what they started from, and the recipe."""
    trainings = pd.DataFrame([_training_settings(part) for part in parts]).drop_duplicates()
    constant = [
        name
        for name in map(str, trainings)
        if trainings[name].nunique() == 1 and name not in ("dataset", "task", "row")
    ]
    flat = {name: value for name, value in caveats.flatten(recipe.model_dump()).items() if value not in EMPTY}
    tables = [
        Table(trainings.drop(columns=constant), "Settings that differ between the trainings."),
        _two_columns(
            {name: str(trainings[name].iloc[0]) for name in constant}, "Settings that all trainings share."
        ),
        _two_columns(flat, "The recipe, with the overrides of the command line."),
    ]
    hashes = sorted({part.settings_sha256[:12] for part in parts if part.settings_sha256})
    text = f"{len(parts)} trainings" + (f"; SHA-256 of their settings: {', '.join(hashes)}" if hashes else "")
    return Section("Settings", [f"{text}."], [table for table in tables if len(table.data)])


def _training_settings(part: FinishedPart) -> dict[str, str]:
    settings = _read_json(part.folder / RUN / "settings.json").get("settings", {})
    return {
        "dataset": comparison.dataset_title(part.dataset),
        "task": part.task,
        "row": part.row,
        "started from": part.weights or "–",
        **{name: _look_up(settings, path) for name, path in SETTINGS.items()},
    }


def _two_columns(values: Mapping[str, str], caption: str) -> Table:
    return Table(pd.DataFrame({"setting": list(values), "value": list(values.values())}), caption)


def make_footer(parts: Sequence[FinishedPart]) -> str:
    """Return versions, device and commit of the trainings; versions of this process if none recorded them."""
    lines = []
    for part in parts:
        environment = _read_json(part.folder / RUN / "environment.json")
        versions = environment.get("versions")
        if isinstance(versions, dict):
            line = ", ".join(f"{name} {number}" for name, number in versions.items())
            line += f"; on {environment.get('device')}"
            commit = environment.get("commit")
            line += f"; commit {str(commit)[:12]}" if commit else ""
            lines.append(line)
    if not lines:
        installed = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        lines = [f"{installed}, python {platform.python_version()}"]
    return "Made with " + "; and with ".join(dict.fromkeys(lines)) + "."


def _read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _look_up(values: object, path: str) -> str:
    """Return the value at "section.key" as text; a dash if there is none."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return "–" if values is None or values == "" else str(values)
