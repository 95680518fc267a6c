"""Faces of several datasets, each with a table of labels of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from maeface import config
from maeface.data import manifest
from maeface.data.loading.split import Split, join_labels, select_labels
from maeface.data.tables import labels


def read_faces(
    data: Sequence[Path], tables: Sequence[Path], head: config.Head
) -> tuple[tuple[int, ...], Split, str]:
    """Return AUs, labelled faces and a line on them; ``tables``: one, or one for each of ``data``."""
    if len(tables) == 1:
        labelled = join_labels(data, tables[0])
        return *select_labels(labelled, head), labelled.summary()
    faces = join_datasets(data, tables, head)
    return head.aus, faces, f"{len(faces.rows)} labelled faces of {', '.join(folder.name for folder in data)}"


def join_datasets(folders: Sequence[Path], tables: Sequence[Path], head: config.Head) -> Split:
    """Return the labelled faces of several prepared folders as one, for the action units of ``head``.

    Ids, subjects and clips get the name of the folder in front, so that equal names stay apart.

    Args:
        folders: a prepared folder for each dataset; their names differ.
        tables: the labels of each.
        head: with the action units, which all tables have.

    Raises:
        DataError: labels that do not fit the faces, or lack an action unit.
    """
    splits = []
    for position, (folder, table) in enumerate(zip(folders, tables, strict=True)):
        rows = manifest.load(folder).assign(folder=position)
        split = select_labels(labels.join_labels(rows, table), head)[1]
        rows = split.rows.assign(subject=manifest.subjects(split.rows))
        for name in ("id", "subject", "clip"):
            rows[name] = f"{folder.name}/" + rows[name].astype("string")
        splits.append(Split(rows, split.labels, split.mask))
    return Split(
        pd.concat([split.rows for split in splits], ignore_index=True),
        np.concatenate([split.labels for split in splits]),
        np.concatenate([split.mask for split in splits]),
    )
