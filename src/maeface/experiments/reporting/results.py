"""Read the finished parts of an experiment, from which every table and picture of a report is made.

A part is one training: a row of the experiment, a fold and a seed. It is finished when ``part.json`` exists.

    OUT/parts/<row>/<fold>-s<seed>/part.json       the fields of ``FinishedPart``
    OUT/parts/<row>/<fold>-s<seed>/faces.parquet   a row a face: labels and predictions
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from maeface import facts
from maeface.data import manifest
from maeface.errors import DataError

FOLDER = "parts"
RECORD = "part.json"
FACES = "faces.parquet"
ACROSS = " to "
"""Stands between the names of the training dataset and the tested dataset."""
AND = " and "
"""Stands between the names of training datasets."""

SplitName = Literal["test", "validation"]
Kind = Literal["occurrence", "intensity"]
COLUMNS: Mapping[Kind, tuple[str, str]] = {"occurrence": ("o", "p"), "intensity": ("i", "e")}
"""Last letters of the columns of labels and of predictions: ``AU12_o`` and ``AU12_p``."""


@dataclass(frozen=True)
class Predictions:
    """Labels and predictions of N faces for A action units.

    Attributes:
        aus: A numbers.
        labels: (N, A) float64: 0 or 1, or 0..5; NaN where unknown.
        values: (N, A) float64: probabilities, or intensities on 0..5; NaN where there is none.
        subjects: (N,) subject of each face, as in ``manifest.subjects``.
    """

    aus: tuple[int, ...]
    labels: NDArray[np.float64]
    values: NDArray[np.float64]
    subjects: NDArray[np.object_]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(N, A): True where there is a label and a prediction."""
        mask: NDArray[np.bool_] = ~np.isnan(self.labels) & ~np.isnan(self.values)
        return mask


@dataclass(frozen=True)
class FinishedPart:
    """One finished training and its folder; the fields of ``part.json``.

    Attributes:
        folder: of the part.
        experiment: name of the experiment.
        row: of the experiment's table.
        fold: name of the fold.
        seed: of the training.
        dataset: of the training and the test; "bp4d to disfa" where these are two, "bp4d and disfa to
            bp4dplus" where these are three.
        protocol: that the folds belong to; empty where there is none.
        task: "detection", "intensity" or "both".
        aus: in the order of the model's outputs.
        selection: which faces chose the epoch: "validation" (held-out training subjects) or "test".
        threshold: probability from which an action unit counts as present.
        faces_train: number of training faces; likewise ``faces_validation`` and ``faces_test``.
        subjects_test: number of test subjects.
        epoch_best: the epoch whose weights were tested; None for the last one.
        seconds: duration of the training; None where it was interrupted.
        weights: what the training started from.
        settings_sha256: hash of all settings and inputs.
        notes: remarks for the report, such as "rendered faces".
    """

    folder: Path
    experiment: str
    row: str
    fold: str
    seed: int
    dataset: str
    protocol: str
    task: str
    aus: tuple[int, ...]
    selection: str
    threshold: float
    faces_train: int
    faces_validation: int
    faces_test: int
    subjects_test: int
    epoch_best: int | None = None
    seconds: float | None = None
    weights: str = ""
    settings_sha256: str = ""
    notes: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of labels that were learned."""
        kinds: dict[str, tuple[Kind, ...]] = {
            "detection": ("occurrence",),
            "intensity": ("intensity",),
        }
        return kinds.get(self.task, ("occurrence", "intensity"))

    def read_faces(self) -> pd.DataFrame:
        """Read the table ``faces.parquet``.

        Raises:
            DataError: it is missing or damaged, or lacks a column.
        """
        path = self.folder / FACES
        try:
            table = pd.read_parquet(path)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); remove {self.folder} and run the experiment again"
            ) from error
        expected = ["subject", "clip", "source", "frame", "part"]
        expected += [
            f"{facts.au_name(au)}_{letter}"
            for kind in self.kinds
            for au in self.aus
            for letter in COLUMNS[kind]
        ]
        if missing := [name for name in expected if name not in table]:
            raise DataError(
                f"{path} lacks the columns {', '.join(missing)}; "
                f"remove {self.folder} and run the experiment again"
            )
        return table

    def predictions(self, faces: pd.DataFrame, kind: Kind, split: SplitName = "test") -> Predictions:
        """Return the labels and predictions of one split of ``read_faces()``."""
        rows = faces[faces["part"] == split]
        label_letter, prediction_letter = COLUMNS[kind]
        names = [facts.au_name(au) for au in self.aus]
        return Predictions(
            self.aus,
            _floats(rows, [f"{name}_{label_letter}" for name in names]),
            _floats(rows, [f"{name}_{prediction_letter}" for name in names]),
            manifest.subjects(rows),
        )


def load(out: Path) -> list[FinishedPart]:
    """Read all finished parts in the folder of an experiment, sorted by dataset, task, row, fold and seed.

    Raises:
        DataError: a ``part.json`` that is damaged; the file is named.
    """
    parts = [_read_part(path) for path in sorted((out / FOLDER).rglob(RECORD))]
    return sorted(parts, key=lambda part: (part.dataset, part.task, part.row, part.fold, part.seed))


def _read_part(path: Path) -> FinishedPart:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        subjects = record["subjects_test"]
        return FinishedPart(
            path.parent,
            experiment=str(record["experiment"]),
            row=str(record["row"]),
            fold=str(record["fold"]),
            seed=int(record["seed"]),
            dataset=_dataset(record),
            protocol=str(record.get("protocol") or ""),
            task=str(record["task"]),
            aus=tuple(int(au) for au in record["aus"]),
            selection=str(record["selection"]),
            threshold=float(0.5 if record["threshold"] is None else record["threshold"]),
            faces_train=int(record["faces_train"]),
            faces_validation=int(record["faces_validation"]),
            faces_test=int(record["faces_test"]),
            subjects_test=len(subjects) if isinstance(subjects, list) else int(subjects),
            epoch_best=None if record.get("epoch_best") is None else int(record["epoch_best"]),
            seconds=None if record.get("seconds") is None else float(record["seconds"]),
            weights=_weights(record.get("weights")),
            settings_sha256=str(record.get("settings_sha256", "")),
            notes=_notes(record.get("note")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not the record of a finished part ({type(error).__name__}: {error}); "
            f"remove {path.parent} and run the experiment again"
        ) from error


def _weights(weights: object) -> str:
    """Return the name of the weights and the first digits of their hash."""
    if not isinstance(weights, Mapping):
        return str(weights or "")
    name = str(weights.get("init") or weights.get("path") or weights.get("name") or "")
    digest = str(weights.get("sha256") or "")
    return Path(name).name + (f" (SHA-256 {digest[:12]}…)" if digest else "")


def _notes(note: object) -> tuple[str, ...]:
    lines: Sequence[object] = note if isinstance(note, list) else [note]
    return tuple(str(line) for line in lines if line)


def _dataset(record: Mapping[str, Any]) -> str:
    tested, trained_on = str(record["dataset"]), str(record.get("trained_on") or record["dataset"])
    return tested if trained_on == tested else f"{trained_on}{ACROSS}{tested}"


def _floats(rows: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = rows[list(names)].to_numpy(dtype=np.float64, na_value=np.nan)
    return values
