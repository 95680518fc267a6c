"""``maeface-studio check``: how far to trust each AU of weights, and the thresholds of their probabilities.

The check of an AU is its AUC, with an interval over people, on faces that the weights did not learn from:
the held-out portraits, or, for AUs that they do not show, renders of people who are in no training.

The threshold of an AU is the lowest one with few false alarms in each of three groups of faces that are known
to be without it: half of the held-out portraits, half of those renders, and the annotated portraits, from
which the weights learned. False alarms, faces found and F1 are reported of the other halves. No person is in
two halves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts, metrics
from maeface.data.loading.dataset import gather_manifests
from maeface.data.tables.labels import join_labels
from maeface.errors import ConfigError, WeightsError
from maeface.model import weights as weights_files
from maeface.model.file_format.metadata import Check, Metadata
from maeface.prediction.crops import predict_crops
from maeface.prediction.predictor import Predictor
from maeface_studio.output.shards import LABELS
from maeface_studio.weights import annotations, calibration
from maeface_studio.weights.calibration import Faces

HELD_OUT, RENDERS, ANNOTATED = "held-out portraits", "renders of other people", "annotated portraits"
FALSE_ALARMS = 0.03
DEFAULT = 0.5
"""Threshold of an AU for which none can be chosen."""

Source = Literal["auto", "public", "embedded"]


@dataclass(frozen=True)
class Result:
    """The result for one AU. Fractions are those of the halves to report on; NaN where there are no faces.

    Attributes:
        au: the action unit.
        check: None if it could not be checked.
        threshold: probability from which it counts as present.
        chosen: whether the threshold was chosen on faces; otherwise it is ``DEFAULT``.
        negatives: number of faces without it that the threshold was chosen on: held-out portraits, renders,
            annotated portraits.
        false_alarms: fraction called present of the real faces, and of the renders, without it.
        found: fraction called present of the real faces, and of the renders, with it.
        f1: on the real faces, and on the renders.
    """

    au: int
    check: Check | None
    threshold: float
    chosen: bool
    negatives: tuple[int, ...]
    false_alarms: tuple[float, float]
    found: tuple[float, float]
    f1: tuple[float, float]


def run(
    weights: Path | str,
    photos: Path,
    renders: Path,
    write: bool = False,
    detector: Source = "embedded",
    false_alarms: float = FALSE_ALARMS,
) -> tuple[Result, ...]:
    """Check the AUs of weights and choose their thresholds.

    Args:
        weights: a file, or the name of packaged weights.
        photos: folder of the official portraits.
        renders: folder that ``maeface-studio render`` wrote, of people who are in no training.
        write: also write checks and thresholds into the file; its tensors keep their bytes.
        detector: weights of the face detector for the portraits.
        false_alarms: largest fraction of the faces without an AU that may be called present, above 0, at
            most 1.

    Returns:
        One result for each AU, in the order of the outputs.

    Raises:
        ConfigError: a portrait is missing, there are no renders, or ``false_alarms`` is out of range.
        WeightsError: not an AU model, or one that gives no probabilities.
    """
    if not 0 < false_alarms <= 1:
        raise ConfigError(f"false_alarms is {false_alarms:g}; expected a fraction above 0, at most 1")
    path = weights_files.find(weights)
    metadata = weights_files.read_metadata(path)
    if metadata.kind != "au" or metadata.task == "intensity":
        raise WeightsError(f"{path} gives no probabilities; give weights that detect AUs")
    predictor = Predictor(path, "cpu", faces="largest", precision="fp32", detector=detector)
    groups = [
        _read_portraits(predictor, photos, _held_out(), HELD_OUT),
        _read_renders(path, metadata, renders),
    ]
    learned = _read_portraits(predictor, photos, _annotated(), ANNOTATED)
    halves = [calibration.split_by_subject(faces) for faces in groups]
    to_choose = [*(first for first, _ in halves), learned]
    to_report = [second for _, second in halves]
    results = tuple(
        _examine(au, column, groups, to_choose, to_report, false_alarms)
        for column, au in enumerate(metadata.aus)
    )
    if write:
        weights_files.write_metadata(path, _updated(metadata, results, detector))
    return results


def _updated(metadata: Metadata, results: Sequence[Result], detector: str) -> Metadata:
    """Return the metadata with checks and thresholds."""
    return metadata.model_copy(
        update={
            "thresholds": tuple(result.threshold for result in results),
            "checks": {result.au: result.check for result in results if result.check is not None},
            "provenance": metadata.provenance | {"checked_with": f"face detector: {detector}"},
        }
    )


def _annotated() -> pd.DataFrame:
    """Return the labels of the annotated portraits by file name, where both annotators agree."""
    table = annotations.load_annotations()
    suffix = ".jpg#0.0"
    table = table[table.index.str.endswith(suffix) & ~table.index.str.startswith(annotations.PLATES)]
    table = table.set_axis(table.index.str.removesuffix("#0.0"))
    return table[~table.index.isin(facts.held_out_portraits())]


def _held_out() -> pd.DataFrame:
    """Return the labels of the held-out portraits by file name."""
    with resources.as_file(resources.files("maeface") / "datasets" / "portraits.csv") as path:
        return pd.read_csv(path, index_col="source").drop(columns="settled")


def _read_portraits(predictor: Predictor, folder: Path, labels: pd.DataFrame, name: str) -> Faces:
    """Predict portraits; each is of one person, who is its subject."""
    files = [folder / file for file in labels.index]
    if missing := [path.name for path in files if not path.is_file()]:
        raise ConfigError(
            f"{folder} lacks {len(missing)} portraits, such as {missing[0]}; studio/docs/weights.md says "
            "where to get them"
        )
    table = predictor(files).set_index("input").loc[labels.index]
    present = _columns(labels, predictor.metadata.aus, "o")
    return Faces(
        "real",
        name,
        np.array(labels.index, dtype=np.str_),
        _columns(table, predictor.metadata.aus, "p"),
        present,
        present == 0,
    )


def _read_renders(weights: Path, metadata: Metadata, folder: Path) -> Faces:
    """Predict renders. Present is intensity 2 (B) or more; absent, for thresholds, is intensity 0."""
    if not (folder / LABELS).is_file():
        raise ConfigError(f"{folder} has no {LABELS}; give a folder that `maeface-studio render` wrote")
    rows = gather_manifests([folder])
    labels = join_labels(rows, folder / LABELS).table().set_index("id")
    rows = rows[rows["id"].isin(labels.index)]
    table = predict_crops([folder], rows, weights, "cpu", "fp32").set_index("id")
    labels = labels.loc[table.index]
    return Faces(
        "renders",
        RENDERS,
        labels["subject"].to_numpy(np.str_),
        _columns(table, metadata.aus, "p"),
        _columns(labels, metadata.aus, "o"),
        _columns(labels, metadata.aus, "i") == 0,
    )


def _columns(table: pd.DataFrame, aus: Sequence[int], kind: str) -> NDArray[np.float64]:
    """Return (N, A) values of a table; NaN for columns that it lacks."""
    names = [f"{facts.au_name(au)}_{kind}" for au in aus]
    values: NDArray[np.float64] = table.reindex(columns=names).to_numpy(np.float64)
    return values


def _examine(
    au: int,
    column: int,
    groups: Sequence[Faces],
    to_choose: Sequence[Faces],
    to_report: Sequence[Faces],
    most: float,
) -> Result:
    """Return the result for one AU; ``most`` is the largest fraction of false alarms."""
    absent = [_scores_without(faces, column) for faces in to_choose]
    threshold = calibration.choose_threshold(absent, most)
    chosen = threshold is not None
    threshold = DEFAULT if threshold is None else threshold
    alarms, found, f1 = zip(*(_outcome(faces, column, threshold) for faces in to_report), strict=True)
    return Result(
        au=au,
        check=calibration.check(groups, column),
        threshold=threshold,
        chosen=chosen,
        negatives=tuple(map(len, absent)),
        false_alarms=alarms,
        found=found,
        f1=f1,
    )


def _scores_without(faces: Faces, column: int) -> NDArray[np.float64]:
    """Return the probabilities of the faces that are known to be without an AU."""
    scores: NDArray[np.float64] = faces.scores[faces.absent[:, column], column]
    return scores[~np.isnan(scores)]


def _outcome(faces: Faces, column: int, threshold: float) -> tuple[float, float, float]:
    """Return fractions called present of the faces without an AU and of those with it, and F1."""
    known = faces.labelled(column)
    truth, called = faces.present[known, column], faces.scores[known, column] >= threshold
    without = _scores_without(faces, column) >= threshold
    return (
        float(without.mean()) if len(without) else np.nan,
        float(called[truth > 0].mean()) if truth.any() else np.nan,
        float(metrics.f1(truth[:, None], called[:, None])[0]) if truth.any() else np.nan,
    )


HEADS = (
    "AU",
    "checked on",
    "n",
    "present",
    "AUC [95 %]",
    "threshold",
    "chosen on",
    "false alarms: real, renders",
    "found: real, renders",
    "F1: real, renders",
)


def render(results: Sequence[Result]) -> str:
    """Return the results as a table in Markdown."""
    rows = [HEADS, ("---",) * len(HEADS), *(tuple(_cells(result)) for result in results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(result: Result) -> Iterator[str]:
    check = result.check
    yield str(result.au)
    yield check.on if check else "–"
    yield str(check.n) if check else "–"
    yield str(check.present) if check else "–"
    yield f"{check.auc:.3f} [{check.low:.3f}, {check.high:.3f}]" if check else "–"
    yield f"{result.threshold:.2f}{'' if result.chosen else ' (default)'}"
    yield ", ".join(map(str, result.negatives))
    for pair, form in ((result.false_alarms, ".1%"), (result.found, ".0%"), (result.f1, ".3f")):
        yield ", ".join("–" if np.isnan(value) else format(value, form) for value in pair)
