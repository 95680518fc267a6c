"""``maeface evaluate``: scores of a table of predictions, of any tool, against a table of labels."""

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
from maeface.data.tables import labels as label_tables
from maeface.data.tables import matching
from maeface.data.tables import predictions as prediction_tables
from maeface.data.tables.labels import Labels
from maeface.data.tables.predictions import Predictions
from maeface.errors import DataError
from maeface.paths import StrPath, to_path

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
"""Width of a table with the names of action units, in characters; without them it is 76."""


@dataclass(frozen=True)
class Scores:
    """Scores of predictions against labels.

    Attributes:
        table: a row an action unit (index ``au``, its number): ``name``; ``faces_o`` and ``positives``, the
            numbers of known occurrence labels and of those that are 1, with ``f1 precision recall accuracy
            auc``; ``faces_i``, the number of known intensity labels, with ``icc mse mae``. NaN where
            undefined; see ``metrics``.
        means: score -> its mean over the action units where it is defined.
        threshold: probability from which an action unit counts as present.
        matched: number of labelled faces with a prediction.
        no_face: number of labelled faces where the tool found no face; no score includes them.
        labels_unmatched: number of label rows without a prediction.
        predictions_unmatched: number of predicted faces without a label.
        left_out: columns such as "AU12_o" that are only labelled or only predicted.
        not_predicted: those of ``left_out`` that are only labelled.
        unused_labels: columns of the labels that are neither keys nor AU labels.
        notes: remarks on the match, such as frames that seem shifted by one.
    """

    table: pd.DataFrame
    means: Mapping[str, float]
    threshold: float
    matched: int
    no_face: int
    labels_unmatched: int
    predictions_unmatched: int
    left_out: tuple[str, ...]
    not_predicted: tuple[str, ...] = ()
    unused_labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return a line with the numbers of faces that were compared and that were not."""
        parts = [f"faces compared: {self.matched}"]
        for count, description in (
            (self.no_face, "labelled but no face found"),
            (self.labels_unmatched, "labels without a prediction"),
            (self.predictions_unmatched, "predicted faces without a label"),
        ):
            if count:
                parts.append(f"{description}: {count}")
        if self.not_predicted:
            parts.append(f"labelled but not predicted: {', '.join(self.not_predicted)}")
        if count := len(self.left_out) - len(self.not_predicted):
            parts.append(f"columns predicted but not labelled: {count}")
        if self.unused_labels:
            parts.append(f"label columns not used: {', '.join(self.unused_labels)}")
        return "; ".join([*parts, *self.notes])


def run(
    labels: StrPath, predictions: StrPath, threshold: float = THRESHOLD, out: StrPath | None = None
) -> Scores:
    """Score predictions against labels.

    Rows are matched by ``id``, or by file, ``frame`` and ``face`` (see ``data.tables.matching``). Labelled
    faces where the tool found no face are counted and not scored. Action units that only one table has are
    left out and named.

    Args:
        labels: CSV or Parquet with ``AU12_o`` or ``AU12_i``; see ``data.tables.labels.read_labels``.
        predictions: CSV, ``.jsonl`` or Parquet of maeface, OpenFace, py-feat, LibreFace, PyAFAR or similar;
            see ``data.tables.predictions.read_predictions``.
        threshold: probability from which an action unit counts as present, 0..1.
        out: file for the scores, ``.csv`` or ``.json`` (with means and counts); None for none.

    Raises:
        ConfigError: no such file, a threshold out of range, or another ending of ``out``.
        DataError: tables that cannot be read, have nothing in common, do not say which face a row is, or
            have intensities of an unknown scale.
    """
    labels, predictions, out = Path(labels), Path(predictions), to_path(out)
    checks.require_fraction("threshold", threshold)
    checks.require_writable_file(out, "scores", (".csv", ".json"))
    truth, predicted = label_tables.read_labels(labels), prediction_tables.read_predictions(predictions)
    detection_aus = sorted(truth.occurrence.keys() & predicted.detection.keys())
    intensity_aus = sorted(truth.intensity.keys() & predicted.intensity.keys())
    if not detection_aus and not intensity_aus:
        raise DataError(_describe_mismatch(truth, predicted))
    if intensity_aus and predicted.unknown_scale:
        raise DataError(predicted.unknown_scale)
    match = matching.match_predictions(truth, predicted)
    label_rows, prediction_rows = match.label_rows, match.prediction_rows
    table = _score_table(
        detection_table(
            detection_aus,
            _columns(truth.occurrence, detection_aus, label_rows),
            _columns(predicted.detection, detection_aus, prediction_rows),
            threshold,
        ),
        intensity_table(
            intensity_aus,
            _columns(truth.intensity, intensity_aus, label_rows),
            _columns(predicted.intensity, intensity_aus, prediction_rows),
        ),
    )
    scores = Scores(
        table=table,
        means={name: metrics.mean(table[name]) for name in table if name in DETECTION + INTENSITY},
        threshold=threshold,
        matched=len(label_rows),
        no_face=match.no_face,
        labels_unmatched=match.labels_unmatched,
        predictions_unmatched=match.predictions_unmatched,
        left_out=tuple(sorted({*_only_in(truth, predicted), *_only_in(predicted, truth)}, key=_column_order)),
        not_predicted=_only_in(truth, predicted),
        unused_labels=truth.ignored,
        notes=(*match.notes, *_unused(threshold, detection_aus)),
    )
    if out is not None:
        write(scores, out)
    return scores


def _score_table(detection: pd.DataFrame, intensity: pd.DataFrame) -> pd.DataFrame:
    """Return both tables side by side, a row an action unit, with its name."""
    table = pd.concat([detection, intensity], axis=1).sort_index()
    table.index.name = "au"
    table = table.astype({name: "Int64" for name in COUNTS if name in table})
    table.insert(0, "name", [facts.au_title(int(au)) for au in table.index])
    return table


def detection_table(
    aus: list[int], labels: np.ndarray, probabilities: np.ndarray, threshold: float = 0.5
) -> pd.DataFrame:
    """Return the detection scores, a row an action unit.

    Args:
        aus: A numbers.
        labels: (N, A) 0 or 1, NaN where unknown.
        probabilities: (N, A) 0..1, NaN where there is none.
        threshold: probability from which an action unit counts as present.
    """
    if not aus:
        return pd.DataFrame(index=pd.Index([], dtype=np.int64))
    mask = ~np.isnan(labels) & ~np.isnan(probabilities)
    scores = metrics.detection(labels, probabilities, threshold, mask)
    counts = {"faces_o": scores["n"].astype(int), "positives": scores["positives"].astype(int)}
    return pd.DataFrame(counts | {name: scores[name] for name in DETECTION}, index=aus)


def intensity_table(aus: list[int], labels: np.ndarray, intensities: np.ndarray) -> pd.DataFrame:
    """Return the intensity scores, a row an action unit.

    Args:
        aus: A numbers.
        labels: (N, A) 0..5, NaN where unknown.
        intensities: (N, A) 0..5, NaN where there is none.
    """
    if not aus:
        return pd.DataFrame(index=pd.Index([], dtype=np.int64))
    mask = ~np.isnan(labels) & ~np.isnan(intensities)
    scores = metrics.intensity(labels, intensities, mask)
    counts = {"faces_i": scores["n"].astype(int)}
    return pd.DataFrame(counts | {name: scores[name] for name in INTENSITY}, index=aus)


def render(scores: Scores) -> Table:
    """Return the scores as a table for the terminal; a narrow terminal gets no names of action units."""
    wide = Console().width >= WIDE
    columns = [name for name in (*COUNTS[:2], *DETECTION, *COUNTS[2:], *INTENSITY) if name in scores.table]
    table = Table(
        caption=scores.summary(),
        caption_justify="left",
        show_footer=True,
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    table.add_column("AU", "mean", no_wrap=True)
    for name in columns:
        footer = "" if name in COUNTS else _text(scores.means[name])
        table.add_column(TITLES[name], footer, justify="right", no_wrap=True)
    for au, row in scores.table.iterrows():
        title = facts.au_title(int(str(au))) if wide else facts.au_name(int(str(au)))
        table.add_row(title, *(_text(row[name]) for name in columns))
    return table


def write(scores: Scores, path: Path) -> None:
    """Write the scores: ``.csv`` has the table, ``.json`` also means, counts and what was left out."""
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
    """Return the rows of the columns of ``aus`` as an array, (N, A)."""
    return np.stack([values[au][rows] for au in aus], axis=1) if aus else np.zeros((len(rows), 0))


def _only_in(table: Labels | Predictions, other: Labels | Predictions) -> tuple[str, ...]:
    """Return the AU columns that a table has and the other has not, such as ``AU12_o``."""
    occurrence = _occurrence(table).keys() - _occurrence(other).keys()
    intensity = table.intensity.keys() - other.intensity.keys()
    return tuple(
        [f"{facts.au_name(au)}_o" for au in sorted(occurrence)]
        + [f"{facts.au_name(au)}_i" for au in sorted(intensity)]
    )


def _column_order(column: str) -> tuple[bool, str]:
    return column.endswith("_i"), column


def _occurrence(table: Labels | Predictions) -> dict[int, np.ndarray]:
    return table.occurrence if isinstance(table, Labels) else table.detection


def _unused(threshold: float, detection_aus: list[int]) -> list[str]:
    unused = {"threshold": threshold != THRESHOLD and not detection_aus}
    return [note] if (note := checks.describe_unused(unused, "no occurrence is compared")) else []


def _describe_mismatch(truth: Labels, predicted: Predictions) -> str:
    def describe(occurrence: Mapping[int, np.ndarray], intensity: Mapping[int, np.ndarray]) -> str:
        kinds = (("occurrence", occurrence), ("intensity", intensity))
        return " and ".join(f"{kind} of {' '.join(map(str, sorted(aus)))}" for kind, aus in kinds if aus)

    return (
        "no action unit is both labelled and predicted: "
        f"{truth.path} has {describe(truth.occurrence, truth.intensity)}, "
        f"{predicted.path} has {describe(predicted.detection, predicted.intensity)}"
    )


def _text(value: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _json(value: object) -> object:
    """Return a value as JSON has it: None for NaN, Python numbers for numpy's."""
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
