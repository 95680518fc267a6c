"""The finished parts of an experiment, read back: what every table and picture of a report is made from.

One part is one training: a row of the experiment, a fold, a seed. It is finished once its ``part.json`` is
there.

    OUT/parts/<row>/<fold>-s<seed>/part.json       what was trained and on what (``Part``)
    OUT/parts/<row>/<fold>-s<seed>/faces.parquet   a row a face: labels, and what the model says
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
"""Between two datasets, the one learned from and the one tested."""

Which = Literal["test", "validation"]
Measured = Literal["occurrence", "intensity"]
COLUMNS: Mapping[Measured, tuple[str, str]] = {"occurrence": ("o", "p"), "intensity": ("i", "e")}
"""Letters of the columns with the labels and with what the model says, ``AU12_o`` and ``AU12_p``."""


@dataclass(frozen=True)
class Answers:
    """Labels of faces, and what a model says of them.

    Attributes:
        aus: A numbers.
        labels: (N, A) float64: 0 or 1, or 0..5; NaN where not known.
        values: (N, A) float64: probabilities, or intensities on 0..5; NaN where there is none.
        subjects: (N,) who each face is; the clip, else the source, where nobody wrote that down.
    """

    aus: tuple[int, ...]
    labels: NDArray[np.float64]
    values: NDArray[np.float64]
    subjects: NDArray[np.object_]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(N, A) bool: True where a label and a value are there, so that the cell counts."""
        mask: NDArray[np.bool_] = ~np.isnan(self.labels) & ~np.isnan(self.values)
        return mask


@dataclass(frozen=True)
class Part:
    """One finished training and where its faces are; the fields of ``part.json``.

    Attributes:
        folder: of the part.
        experiment: name of the experiment.
        row: of the experiment's table.
        fold: name of the fold.
        seed: of the training.
        dataset: whose faces were learned and tested; "bp4d to disfa" where these are two.
        protocol: whose folds these are; empty where there is none.
        task: "detection", "intensity" or "both".
        aus: in the order of the model's outputs.
        selection: which part picked the epoch: "validation" (of the training subjects) or "test".
        threshold: probability from which an action unit counts as present.
        faces_train: faces trained on; likewise ``faces_validation`` and ``faces_test``.
        subjects_test: how many people are in the test part.
        epoch_best: the epoch whose weights were tested; None where the last was taken.
        seconds: the training took; None where not measured.
        weights: what the training started from.
        settings_sha256: of all the settings.
        notes: what a reader must know of the data ("rendered").
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
    def measures(self) -> tuple[Measured, ...]:
        """What was learned."""
        kinds: dict[str, tuple[Measured, ...]] = {
            "detection": ("occurrence",),
            "intensity": ("intensity",),
        }
        return kinds.get(self.task, ("occurrence", "intensity"))

    def faces(self) -> pd.DataFrame:
        """The table ``faces.parquet``.

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
        wanted = ["subject", "clip", "source", "frame", "part"]
        wanted += [
            f"{facts.au_name(au)}_{letter}"
            for kind in self.measures
            for au in self.aus
            for letter in COLUMNS[kind]
        ]
        if lacking := [name for name in wanted if name not in table]:
            raise DataError(
                f"{path} lacks the columns {', '.join(lacking)}; "
                f"remove {self.folder} and run the experiment again"
            )
        return table

    def answers(self, faces: pd.DataFrame, kind: Measured, which: Which = "test") -> Answers:
        """Labels and predictions of one part of ``faces()``."""
        rows = faces[faces["part"] == which]
        truth, said = COLUMNS[kind]
        names = [facts.au_name(au) for au in self.aus]
        return Answers(
            self.aus,
            _floats(rows, [f"{name}_{truth}" for name in names]),
            _floats(rows, [f"{name}_{said}" for name in names]),
            manifest.subjects(rows),
        )


def load(out: Path) -> list[Part]:
    """Every finished part below ``out``, sorted by dataset, task, row, fold and seed.

    Raises:
        DataError: a ``part.json`` that is none, naming the file.
    """
    found = [_part(path) for path in sorted((out / FOLDER).rglob(RECORD))]
    return sorted(found, key=lambda part: (part.dataset, part.task, part.row, part.fold, part.seed))


def _part(path: Path) -> Part:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        subjects = record["subjects_test"]
        return Part(
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
            weights=_origin(record.get("weights")),
            settings_sha256=str(record.get("settings_sha256", "")),
            notes=_notes(record.get("note")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not the record of a finished part ({type(error).__name__}: {error}); "
            f"remove {path.parent} and run the experiment again"
        ) from error


def _origin(weights: object) -> str:
    """Where the encoder came from, in a few words: a name and the first digits of its hash."""
    if not isinstance(weights, Mapping):
        return str(weights or "")
    name = str(weights.get("init") or weights.get("path") or weights.get("name") or "")
    digest = str(weights.get("sha256") or "")
    return Path(name).name + (f" (SHA-256 {digest[:12]}…)" if digest else "")


def _notes(note: object) -> tuple[str, ...]:
    lines: Sequence[object] = note if isinstance(note, list) else [note]
    return tuple(str(line) for line in lines if line)


def _dataset(record: Mapping[str, Any]) -> str:
    tested, learned = str(record["dataset"]), str(record.get("trained_on") or record["dataset"])
    return tested if learned == tested else f"{learned}{ACROSS}{tested}"


def _floats(rows: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = rows[list(names)].to_numpy(dtype=np.float64, na_value=np.nan)
    return values
