"""Faces of several datasets, each with a table of labels of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from maeface import config
from maeface.data import manifest
from maeface.data.loading.split import Split, join_labels, select_labels
from maeface.data.tables import labels
from maeface.errors import ConfigError


def read_faces(
    data: Sequence[Path], tables: Sequence[Path], head: config.Head
) -> tuple[tuple[int, ...], Split, str]:
    """Return AUs, labelled faces and a line on them.

    Args:
        data: prepared folders, or plain folders of face crops.
        tables: the labels of all of them, or for each of them its own; then the names of the folders differ.
        head: of the settings; with several tables its action units are given.

    Raises:
        ConfigError: numbers of tables and folders, names of folders or action units that are not as above.
        DataError: labels that do not fit the faces, or lack an action unit.
    """
    if len(tables) == 1:
        labelled = join_labels(data, tables[0])
        return *select_labels(labelled, head), labelled.summary()
    if len(tables) != len(data) or len({folder.name for folder in data}) != len(data):
        names = ", ".join(folder.name for folder in data)
        raise ConfigError(
            f"expected one table of labels, or one for each of the data folders, whose names differ; got "
            f"{len(tables)} tables for the folders {names}"
        )
    if not head.aus:
        raise ConfigError("several tables of labels need the action units to learn; set model.aus")
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
