"""Labels and splits of a fine-tuning: faces for training, validation and test, no subject in two of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maeface import config, facts
from maeface.data import manifest
from maeface.data.loading.dataset import gather_manifests
from maeface.data.tables import labels as label_tables
from maeface.data.tables.labels import LabelledFaces
from maeface.errors import DataError
from maeface.files import natural_key

FOLD_SEED = 0
"""Folds do not change with the seed of a run, so that runs of several seeds have the same test split."""


@dataclass(frozen=True)
class Split:
    """N faces and their labels.

    Attributes:
        rows: N rows of the manifest.
        labels: (N, O), columns in the order of the model's outputs: A action units, or 2A for task "both"
            (occurrence, then intensity).
        mask: (N, O) bool, True where the label is there (not missing).
    """

    rows: Any
    labels: np.ndarray
    mask: np.ndarray

    def select(self, faces: np.ndarray) -> "Split":
        """Return the faces where ``faces`` (N,) is True, or those at these positions, in their order."""
        return Split(self.rows.iloc[faces], self.labels[faces], self.mask[faces])

    def repeat(self, times: Sequence[int]) -> "Split":
        """Return each face as often as ``times`` says of its data folder, the copies side by side.

        Raises:
            DataError: fewer numbers than data folders.
        """
        folders = self.rows["folder"].to_numpy()
        if len(times) <= folders.max(initial=0):
            raise DataError(f"data.repeats has {len(times)} numbers; expected one for each data folder")
        return self.select(np.repeat(np.arange(len(folders)), np.asarray(times)[folders]))


def join_labels(data: Sequence[Path], labels: Path) -> LabelledFaces:
    """Return the faces of several folders that have labels, and their labels.

    Raises:
        DataError: labels that do not fit the faces, or two folders with a face of one ``id``.
    """
    rows = gather_manifests(data)
    if (repeated := rows["id"].duplicated()).any():
        raise DataError(
            f"two of the data folders have a face called {rows.loc[repeated, 'id'].iloc[0]}, and the "
            "labels cannot tell them apart; rename the files and prepare again"
        )
    return label_tables.join_labels(rows, labels)


def select_labels(labelled: LabelledFaces, head: config.Head) -> tuple[tuple[int, ...], Split]:
    """Return the action units to learn and their labels, in the order of the model's outputs.

    Where ``head.aus`` is empty, these are all that the labels have; for task "both", those of both kinds.

    Raises:
        DataError: the labels lack an action unit of ``head.aus``, or have none of the kind.
    """
    kinds = {"detection": ["occurrence"], "intensity": ["intensity"]}.get(
        head.task, ["occurrence", "intensity"]
    )
    labelled_aus = {
        "occurrence": labelled.aus_occurrence,
        "intensity": labelled.aus_intensity,
    }
    common = [au for au in labelled_aus[kinds[0]] if all(au in labelled_aus[kind] for kind in kinds)]
    aus = head.aus or tuple(common)
    labels, mask = [], []
    for kind in kinds:
        there = labelled_aus[kind]
        missing = [facts.au_name(number) for number in aus if number not in there]
        if missing or not aus:
            names = ", ".join(facts.au_name(number) for number in there) or "none"
            raise DataError(
                f"the labels have no {kind} of {', '.join(missing) or 'any action unit'}; they have: {names}"
            )
        columns = [there.index(number) for number in aus]
        labels.append(getattr(labelled, kind)[:, columns])
        mask.append(getattr(labelled, f"{kind}_mask")[:, columns])
    return aus, Split(labelled.rows, np.concatenate(labels, axis=1), np.concatenate(mask, axis=1))


def split_faces(faces: Split, settings: config.Finetune) -> dict[str, Split]:
    """Return the splits ``train``, ``validation`` and ``test``, by subject; the last two may be empty.

    Raises:
        DataError: too few subjects, no such subjects, an empty training split, an empty test split where it
            selects the weights, or a split without any label that training or selection needs.
    """
    options = settings.data
    subjects = manifest.subjects(faces.rows)
    if options.folds is not None:
        test = manifest.folds(subjects, options.folds, FOLD_SEED) == options.fold
    else:
        test = _faces_of(subjects, options.test_subjects, "test_subjects")
    train = _faces_of(subjects, options.train_subjects, "train_subjects") if options.train_subjects else ~test
    if not train.any() or (settings.selection == "test" and not test.any()):
        empty = "test" if train.any() else "training"
        raise DataError(f"the {empty} part is empty; the labelled faces show {_first_names(subjects)}")
    validation = np.zeros(len(subjects), dtype=bool)
    if settings.selection == "validation":
        validation[train] = manifest.hold_out(subjects[train], options.validation, settings.run.seed)
    train = _every_nth(faces.rows, train & ~validation, options.every)
    splits = {
        "train": faces.select(train),
        "validation": faces.select(validation),
        "test": faces.select(test),
    }
    for name in ("train", settings.selection):
        if len(splits[name].rows) and not splits[name].mask.any():
            raise DataError(f"no label of the {name} faces is known for the chosen action units")
    return splits


def _faces_of(subjects: np.ndarray, names: Sequence[str], setting: str) -> np.ndarray:
    """Return whether each face shows one of ``names``, (N,); DataError for a name without a face."""
    if absent := sorted(set(names) - set(subjects)):
        raise DataError(
            f"data.{setting}: no labelled face shows {', '.join(absent)}; they show {_first_names(subjects)}"
        )
    return np.isin(subjects, list(names))


def _first_names(subjects: np.ndarray) -> str:
    names = sorted(set(subjects))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _every_nth(rows: pd.DataFrame, chosen: np.ndarray, every: int) -> np.ndarray:
    """Return every n-th of the chosen faces, (N,) bool, counted on from clip to clip: exactly one in n."""
    if every == 1:
        return chosen
    positions = np.flatnonzero(chosen)
    faces = rows.iloc[positions]
    clips = faces["clip"].fillna(faces["subject"]).fillna("").astype(str)
    frames = faces["frame"].fillna(0).astype(int)
    keys = [
        (natural_key(clip), natural_key(str(source)), frame)
        for clip, source, frame in zip(clips, faces["source"], frames, strict=True)
    ]
    order = sorted(range(len(positions)), key=keys.__getitem__)
    kept = np.zeros(len(chosen), dtype=bool)
    kept[positions[order[::every]]] = True
    return kept
