"""What stands behind an experiment's scores: thresholds, classes, trainings, gaps, settings."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from maeface.experiments.reporting import comparison, doubts, tables
from maeface.experiments.reporting.results import Part
from maeface.experiments.reporting.tables import AVERAGE
from maeface.experiments.settings import Experiment
from maeface.report import charts
from maeface.report.page import Picture, Section, Table

PACKAGES = ("maeface", "torch", "timm", "numpy", "pandas")
RUN = "au"
"""Folder of the training within a part."""
SHOWN = {
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
"""Settings of a training that a report shows."""
EMPTY = ("", "None", "[]")


def thresholds(found: pd.DataFrame, rows: Sequence[str]) -> Iterator[Section]:
    """Mean F1 at three thresholds, and AUC, which needs none."""
    means = found[(found["task"] == "detection") & (found["au"] == AVERAGE)]
    if means.empty:
        return
    names = {
        "f1": "F1 at the threshold set",
        "f1_at_validation_threshold": "F1 at validation's threshold",
        "f1_best_on_test": "F1 at test's own best (optimistic)",
        "auc": "AUC",
    }
    lines = []
    for dataset in dict.fromkeys(means["dataset"]):
        for row in rows:
            some = means[(means["dataset"] == dataset) & (means["row"] == row)]
            if some.empty:
                continue
            line: dict[str, object] = {"dataset": comparison.title(dataset), "row": row}
            for metric, name in names.items():
                of = some[some["metric"] == metric]
                line[f"{name} (%)"] = float(of["value"].mean()) * 100
                if metric.startswith("f1"):
                    line[f"{name}: threshold"] = _range(of["threshold"])
            lines.append(line)
    text = (
        "One threshold for all action units: the one that was set; the one with the best mean F1 on the "
        "validation part; and the best on the test part itself, which nobody knows beforehand, so that F1 is "
        "optimistic. AUC needs none. Means over folds and seeds."
    )
    frame = pd.DataFrame(lines).rename(columns=lambda name: "at" if name.endswith(": threshold") else name)
    yield Section("Thresholds", [text], [Table(frame, decimals=1)])


def _range(values: pd.Series) -> str:
    held = values.dropna()
    if held.empty:
        return "–"
    low, high = held.min(), held.max()
    return f"{low:.2f}" if low == high else f"{low:.2f}–{high:.2f}"


def classes(parts: Sequence[Part]) -> Section:
    """How often each action unit is there in the test faces: F1 without it says little."""
    shares_of = tables.distribution(parts)
    made, pictures = [], {}
    for dataset, task in comparison.groups(shares_of):
        rows = tables.pick(shares_of, dataset=dataset, task=task).set_index("au")
        name = comparison.title(dataset)
        frame = pd.DataFrame(
            {
                "labels": rows["n"].astype(int),
                "present (%)" if task == "detection" else "above 0 (%)": rows["share"] * 100,
            }
        )
        levels = [column for column in map(str, rows) if column.startswith("level") and task == "intensity"]
        for column in levels:
            frame[f"level {column.removeprefix('level')} (%)"] = rows[column] * 100
        frame.index.name = "action unit"
        made.append(Table(frame, f"{name}, {task}: test faces of all folds that were run.", 1))
        pictures[name if task == "detection" else f"{name}, intensity above 0"] = rows["share"] * 100
    frame = pd.DataFrame(pictures)
    picture = Picture(
        charts.class_distribution(frame.sort_index()),
        "Share of the test faces in which each action unit is present (the paper's Fig. 4).",
    )
    return Section("Classes", tables=made, pictures=[picture])


def trainings(found: pd.DataFrame, parts: Sequence[Part]) -> Section:
    """One line a training."""
    lines = []
    headline = found[(found["au"] == AVERAGE) & found["metric"].isin(["f1", "icc"])]
    values = headline.set_index(["dataset", "task", "row", "fold", "seed"])["value"]
    for part in parts:
        line: dict[str, object] = {
            "dataset": comparison.title(part.dataset),
            "row": part.row,
            "fold": part.fold,
            "seed": part.seed,
        }
        for kind in part.measures:
            task = "detection" if kind == "occurrence" else "intensity"
            how = comparison.unit(task)
            name = "mean F1 (%)" if task == "detection" else "mean ICC"
            value = float(values[part.dataset, task, part.row, part.fold, part.seed]) * how.factor
            line[name] = f"{value:.{how.decimals}f}"
        line |= {"train": part.faces_train, "validation": part.faces_validation, "test": part.faces_test}
        line |= {
            "test subjects": part.subjects_test,
            "epoch": "last" if part.epoch_best is None else part.epoch_best,
        }
        line |= {"minutes": "–" if part.seconds is None else f"{part.seconds / 60:.1f}"}
        lines.append(line)
    frame = pd.DataFrame(lines).fillna("–")
    return Section(
        "Folds and seeds",
        ["One line a training: its score and its faces."],
        [Table(frame)],
    )


def gaps(found: pd.DataFrame) -> Section:
    """Scores that have no value or no meaning, by name; a section that says so where there is none."""
    scored = found[(found["au"] != AVERAGE) & found["metric"].isin(["f1", "icc"])]
    lines = []
    for reason, some in (
        ("no known label: left out of the mean", scored[scored["n"] == 0]),
        (
            "never present in the test labels: F1 is 0, ICC is 0 or undefined",
            scored[(scored["n"] > 0) & (scored["positives"] == 0)],
        ),
        (
            "undefined, as nothing varies: left out of the mean",
            scored[(scored["positives"] > 0) & scored["value"].isna()],
        ),
    ):
        for (dataset, row, fold), group in some.groupby(["dataset", "row", "fold"], sort=False):
            aus = ", ".join(dict.fromkeys(group["au"]))
            lines.append({"dataset": dataset, "row": row, "fold": fold, "action units": aus, "what": reason})
    if not lines:
        return Section("Gaps", ["Every action unit has known labels, and is present, in every test fold."])
    return Section("Gaps", tables=[Table(pd.DataFrame(lines))])


def settings_of(recipe: Experiment, parts: Sequence[Part]) -> Section:
    """What the trainings ran with and started from, and the recipe as it was called."""
    ran = pd.DataFrame([_trained(part) for part in parts]).drop_duplicates()
    same = [
        name for name in map(str, ran) if ran[name].nunique() == 1 and name not in ("dataset", "task", "row")
    ]
    flat = {name: value for name, value in doubts.flat(recipe.model_dump()).items() if value not in EMPTY}
    made = [
        Table(ran.drop(columns=same), "Trainings, by what differs between them."),
        _pairs({name: str(ran[name].iloc[0]) for name in same}, "The same in all of them."),
        _pairs(flat, "The recipe, with the overrides of the call."),
    ]
    hashes = sorted({part.settings_sha256[:12] for part in parts if part.settings_sha256})
    text = f"{len(parts)} trainings" + (f"; SHA-256 of their settings: {', '.join(hashes)}" if hashes else "")
    return Section("Settings", [f"{text}."], [table for table in made if len(table.data)])


def _trained(part: Part) -> dict[str, str]:
    run = _json(part.folder / RUN / "settings.json").get("settings", {})
    where = {"dataset": comparison.title(part.dataset), "task": part.task, "row": part.row}
    return (
        where
        | {"started from": part.weights or "–"}
        | {name: _dig(run, path) for name, path in SHOWN.items()}
    )


def _pairs(values: Mapping[str, str], caption: str) -> Table:
    return Table(pd.DataFrame({"setting": list(values), "value": list(values.values())}), caption)


def footer(parts: Sequence[Part]) -> str:
    """Versions and machine of the trainings as they noted them, else of this process."""
    noted = [_json(part.folder / RUN / "environment.json") for part in parts]
    lines = []
    for one in noted:
        versions = one.get("versions")
        if isinstance(versions, dict):
            line = ", ".join(f"{name} {value}" for name, value in versions.items())
            line += f"; on {one.get('device')}"
            line += f"; commit {str(one['commit'])[:12]}" if one.get("commit") else ""
            lines.append(line)
    if not lines:
        lines = [
            ", ".join(f"{name} {version(name)}" for name in PACKAGES)
            + f", python {platform.python_version()}"
        ]
    return "Made with " + "; and with ".join(dict.fromkeys(lines)) + "."


def _json(path: Path) -> dict[str, Any]:
    """What a run noted; empty where it noted nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _dig(values: object, path: str) -> str:
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return "–" if values is None or values == "" else str(values)
