"""``maeface evaluate``: scores from a table of labels and a table of predictions, whoever made them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from maeface import checks, facts, files, metrics
from maeface.data.tables import labels as label_door
from maeface.data.tables import matching
from maeface.data.tables import predictions as prediction_door
from maeface.errors import ConfigError, DataError

DETECTION = ("f1", "precision", "recall", "accuracy", "auc")
INTENSITY = ("icc", "mse", "mae")
COUNTS = ("faces_o", "positives", "faces_i")
TITLES = {
    "faces_o": "faces",
    "positives": "present",
    "faces_i": "rated",
    "f1": "F1",
    "precision": "prec.",
    "recall": "recall",
    "accuracy": "acc.",
    "auc": "AUC",
    "icc": "ICC",
    "mse": "MSE",
    "mae": "MAE",
}
THRESHOLD = 0.5
WIDE = 100
"""Characters that a table with names takes; without them it takes 76."""


@dataclass(frozen=True)
class Scores:
    """What ``run`` found.

    Attributes:
        table: one row an action unit (index ``au``, its number): ``name``; ``faces_o`` and ``positives``,
            the known occurrence labels and how many are 1, with ``f1 precision recall accuracy auc``;
            ``faces_i``, the known intensity labels, with ``icc mse mae``. NaN where undefined; see
            ``metrics``.
        means: of each score over the action units where it is defined.
        threshold: probability from which an action unit counts as present.
        matched: labelled faces with a prediction.
        no_face: labelled faces where the tool found no face; they are in no score.
        labels_unmatched: label rows without a prediction.
        predictions_unmatched: predicted faces without a label.
        left_out: "AU12_o" and the like: labelled but not predicted, or the other way round.
        notes: what else one should know, a line each.
    """

    table: pd.DataFrame
    means: Mapping[str, float]
    threshold: float
    matched: int
    no_face: int
    labels_unmatched: int
    predictions_unmatched: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line: what was compared and what was not."""
        parts = [f"faces compared: {self.matched}"]
        for count, what in (
            (self.no_face, "labelled but no face found"),
            (self.labels_unmatched, "labels without a prediction"),
            (self.predictions_unmatched, "predicted faces without a label"),
        ):
            if count:
                parts.append(f"{what}: {count}")
        if self.left_out:
            parts.append(f"not on both sides: {', '.join(self.left_out)}")
        return "; ".join([*parts, *self.notes])


def run(labels: Path, predictions: Path, threshold: float = THRESHOLD, out: Path | None = None) -> Scores:
    """Score predictions against labels.

    Rows meet by ``id``, or by the file, ``frame`` and ``face`` (see ``data.matching``). Labelled faces where
    the tool found none are counted and in no score. Action units on one side only are left out and named.

    Args:
        labels: CSV or Parquet: ``AU12_o``, ``AU12_i``; see ``data.labels.read``.
        predictions: CSV or Parquet of maeface, OpenFace, py-feat, LibreFace, PyAFAR or alike; see
            ``data.predictions.read``.
        threshold: probability from which an action unit counts as present, 0..1.
        out: also write the table there, as ``.csv`` or (with means and counts) ``.json``.

    Raises:
        ConfigError: no such file, a threshold out of range, or ``out`` of another kind.
        DataError: not such tables, nothing in common, or rows that do not tell which face they mean.
    """
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold is {threshold:g}; expected a probability, 0 to 1")
    checks.output_file(out, "scores", (".csv", ".json"))
    truth, predicted = label_door.read(labels), prediction_door.read(predictions)
    detection_aus = sorted(truth.occurrence.keys() & predicted.detection.keys())
    intensity_aus = sorted(truth.intensity.keys() & predicted.intensity.keys())
    if not detection_aus and not intensity_aus:
        raise DataError(_nothing_in_common(truth, predicted))
    match = matching.match(truth, predicted)
    at, by = match.label_rows, match.prediction_rows
    table = pd.concat(
        [
            detection_table(
                detection_aus,
                _columns(truth.occurrence, detection_aus, at),
                _columns(predicted.detection, detection_aus, by),
                threshold,
            ),
            intensity_table(
                intensity_aus,
                _columns(truth.intensity, intensity_aus, at),
                _columns(predicted.intensity, intensity_aus, by),
            ),
        ],
        axis=1,
    ).sort_index()
    table.index.name = "au"
    table = table.astype({name: "Int64" for name in COUNTS if name in table})
    table.insert(0, "name", [facts.au_title(int(au)) for au in table.index])
    scores = Scores(
        table=table,
        means={name: metrics.mean(table[name]) for name in table if name in DETECTION + INTENSITY},
        threshold=threshold,
        matched=len(at),
        no_face=match.no_face,
        labels_unmatched=match.labels_unmatched,
        predictions_unmatched=match.predictions_unmatched,
        left_out=_left_out(truth, predicted),
        notes=(*match.notes, *_unused(threshold, detection_aus)),
    )
    if out is not None:
        write(scores, out)
    return scores


def detection_table(
    aus: list[int], labels: np.ndarray, probabilities: np.ndarray, threshold: float = 0.5
) -> pd.DataFrame:
    """Detection scores, one row an action unit.

    Args:
        aus: A numbers.
        labels: (N, A) 0 or 1, NaN where not known.
        probabilities: (N, A) 0..1, NaN where there is none.
        threshold: from which an action unit counts as present.
    """
    if not aus:
        return pd.DataFrame(index=pd.Index([], dtype=np.int64))
    mask = ~np.isnan(labels) & ~np.isnan(probabilities)
    scores = metrics.detection(labels, probabilities, threshold, mask)
    counts = {"faces_o": scores["n"].astype(int), "positives": scores["positives"].astype(int)}
    return pd.DataFrame(counts | {name: scores[name] for name in DETECTION}, index=aus)


def intensity_table(aus: list[int], labels: np.ndarray, intensities: np.ndarray) -> pd.DataFrame:
    """Intensity scores, one row an action unit; (N, A) labels and predictions on 0..5, NaN where unknown."""
    if not aus:
        return pd.DataFrame(index=pd.Index([], dtype=np.int64))
    mask = ~np.isnan(labels) & ~np.isnan(intensities)
    scores = metrics.intensity(labels, intensities, mask)
    counts = {"faces_i": scores["n"].astype(int)}
    return pd.DataFrame(counts | {name: scores[name] for name in INTENSITY}, index=aus)


def render(scores: Scores) -> Table:
    """The scores as a table for the terminal; without the names of the action units on a narrow one."""
    wide = Console().width >= WIDE
    shown = [name for name in (*COUNTS[:2], *DETECTION, *COUNTS[2:], *INTENSITY) if name in scores.table]
    table = Table(
        caption=scores.summary(),
        caption_justify="left",
        show_footer=True,
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    table.add_column("AU", "mean", no_wrap=True)
    for name in shown:
        footer = "" if name in COUNTS else _text(scores.means[name])
        table.add_column(TITLES[name], footer, justify="right", no_wrap=True)
    for au, row in scores.table.iterrows():
        title = facts.au_title(int(str(au))) if wide else facts.au_name(int(str(au)))
        table.add_row(title, *(_text(row[name]) for name in shown))
    return table


def write(scores: Scores, path: Path) -> None:
    """Write the scores: ``.csv`` the table, ``.json`` also means, counts and what was left out."""
    if path.suffix.lower() == ".csv":
        files.write_text(path, scores.table.to_csv())
        return
    rows = scores.table.reset_index().to_dict(orient="records")
    files.write_json(
        path,
        {
            "threshold": scores.threshold,
            "means": {name: _json(value) for name, value in scores.means.items()},
            "action_units": [{str(name): _json(value) for name, value in row.items()} for row in rows],
            "matched": scores.matched,
            "no_face": scores.no_face,
            "labels_unmatched": scores.labels_unmatched,
            "predictions_unmatched": scores.predictions_unmatched,
            "left_out": list(scores.left_out),
            "notes": list(scores.notes),
        },
    )


def _columns(values: Mapping[int, np.ndarray], aus: list[int], rows: np.ndarray) -> np.ndarray:
    """(N, A)."""
    return np.stack([values[au][rows] for au in aus], axis=1) if aus else np.zeros((len(rows), 0))


def _left_out(truth: label_door.Labels, predicted: prediction_door.Predictions) -> tuple[str, ...]:
    either_o = truth.occurrence.keys() ^ predicted.detection.keys()
    either_i = truth.intensity.keys() ^ predicted.intensity.keys()
    return tuple(
        [f"{facts.au_name(au)}_o" for au in sorted(either_o)]
        + [f"{facts.au_name(au)}_i" for au in sorted(either_i)]
    )


def _unused(threshold: float, detection_aus: list[int]) -> list[str]:
    given = {"threshold": threshold != THRESHOLD and not detection_aus}
    return [note] if (note := checks.unused(given, "no occurrence is compared")) else []


def _nothing_in_common(truth: label_door.Labels, predicted: prediction_door.Predictions) -> str:
    def have(occurrence: Mapping[int, np.ndarray], intensity: Mapping[int, np.ndarray]) -> str:
        kinds = (("occurrence", occurrence), ("intensity", intensity))
        return " and ".join(f"{kind} of {' '.join(map(str, sorted(aus)))}" for kind, aus in kinds if aus)

    return (
        "no action unit is both labelled and predicted: "
        f"{truth.path} has {have(truth.occurrence, truth.intensity)}, "
        f"{predicted.path} has {have(predicted.detection, predicted.intensity)}"
    )


def _text(value: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _json(value: object) -> object:
    """NaN has no place in JSON."""
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
