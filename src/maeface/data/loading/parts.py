"""Which labelled faces are learned from, which judge and which are tested on: never a subject in two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from maeface import config
from maeface.data import manifest
from maeface.errors import DataError
from maeface.files import natural_key

FOLD_SEED = 0
"""Folds do not change with the seed of a run, so that runs of several seeds have the same test part."""


@dataclass(frozen=True)
class Part:
    """Faces and their labels: table columns of ``aus`` in the order of the model's outputs, (N, O) each.

    ``mask`` is True where the label is there (not missing); O is A, or 2A for task "both" (occurrence, then
    intensity).
    """

    rows: Any
    labels: np.ndarray
    mask: np.ndarray

    def of(self, chosen: np.ndarray) -> "Part":
        """The faces where ``chosen`` (N,) is True, or those at these places, in their order."""
        return Part(self.rows.iloc[chosen], self.labels[chosen], self.mask[chosen])

    def repeated(self, times: Sequence[int]) -> "Part":
        """Each face as often as ``times`` says of its data folder, the copies side by side.

        Raises:
            DataError: fewer numbers than data folders.
        """
        folders = self.rows["folder"].to_numpy()
        if len(times) <= folders.max(initial=0):
            raise DataError(f"data.repeats has {len(times)} numbers; expected one for each data folder")
        return self.of(np.repeat(np.arange(len(folders)), np.asarray(times)[folders]))


def split(everything: Part, settings: config.Finetune) -> dict[str, Part]:
    """``train``, ``validation`` and ``test`` faces, by subject; the last two may be empty.

    Raises:
        DataError: too few subjects, no such subjects, nothing to learn from, no test part where it chooses
            the weights, or a part to learn or judge from without any label.
    """
    how = settings.data
    subjects = manifest.subjects(everything.rows)
    if how.folds is not None:
        test = manifest.folds(subjects, how.folds, FOLD_SEED) == how.fold
    else:
        test = _named(subjects, how.test_subjects, "test_subjects")
    learn = _named(subjects, how.train_subjects, "train_subjects") if how.train_subjects else ~test
    if not learn.any() or (settings.selection == "test" and not test.any()):
        lacking = "test" if learn.any() else "training"
        raise DataError(f"the {lacking} part is empty; the labelled faces show {_some(subjects)}")
    validation = np.zeros(len(subjects), dtype=bool)
    if settings.selection == "validation":
        validation[learn] = manifest.hold_out(subjects[learn], how.validation, settings.run.seed)
    train = _thinned(everything.rows, learn & ~validation, how.every)
    chosen = {"train": train, "validation": validation, "test": test}
    parts = {name: everything.of(faces) for name, faces in chosen.items()}
    for name in ("train", settings.selection):
        if len(parts[name].rows) and not parts[name].mask.any():
            raise DataError(f"the {name} faces have no label of the chosen action units")
    return parts


def _named(subjects: np.ndarray, names: Sequence[str], setting: str) -> np.ndarray:
    """(N,) which faces show one of ``names``; all of them must be there."""
    if absent := sorted(set(names) - set(subjects)):
        raise DataError(
            f"data.{setting}: no labelled face shows {', '.join(absent)}; they show {_some(subjects)}"
        )
    return np.isin(subjects, list(names))


def _some(subjects: np.ndarray) -> str:
    names = sorted(set(subjects))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _thinned(rows: pd.DataFrame, chosen: np.ndarray, every: int) -> np.ndarray:
    """(N,) every n-th of the chosen faces, counted on from clip to clip, so that the share is exact."""
    if every == 1:
        return chosen
    at = np.flatnonzero(chosen)
    some = rows.iloc[at]
    clips = some["clip"].fillna(some["subject"]).fillna("").astype(str)
    frames = some["frame"].fillna(0).astype(int)
    keys = [
        (natural_key(clip), natural_key(str(source)), frame)
        for clip, source, frame in zip(clips, some["source"], frames, strict=True)
    ]
    order = sorted(range(len(at)), key=keys.__getitem__)
    thinned = np.zeros(len(chosen), dtype=bool)
    thinned[at[order[::every]]] = True
    return thinned
