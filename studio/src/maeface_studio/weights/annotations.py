"""Labels of real faces from two annotators: ``annotations.csv``.

``studio/benchmarks/annotations`` has the codes of both annotators and their agreement.
"""

from collections.abc import Collection
from functools import cache
from importlib import resources

import numpy as np
import pandas as pd

from maeface import facts
from maeface.data.tables import label_table
from maeface.errors import ConfigError

TABLE = "annotations.csv"
PLATES = "darwin-"
"""Start of the names of the faces that are from Darwin's plates, and no portraits."""
SUBJECT_COLUMNS = list(label_table.SUBJECT_COLUMNS)


@cache
def load_annotations() -> pd.DataFrame:
    """Return occurrence by the ``id`` of the face: 1, 0, or NaN (annotators disagree, or could not tell)."""
    with resources.as_file(resources.files("maeface_studio.weights") / TABLE) as path:
        return pd.read_csv(path, index_col="id")


def label_columns(aus: Collection[int]) -> list[str]:
    """Return the columns of action units in the table, each once, in ascending order.

    Raises:
        ConfigError: an action unit was not annotated.
    """
    columns = load_annotations().columns
    names = [f"{facts.au_name(au)}_o" for au in sorted(set(aus))]
    if missing := [name for name in names if name not in columns]:
        raise ConfigError(
            f"annotations.aus: {TABLE} has no {_join_names(missing)}; it has {_join_names(columns)}"
        )
    return names


def merge_annotations(
    faces: pd.DataFrame,
    aus: Collection[int],
    other_labels: pd.DataFrame | None,
    least_share: float = 0.0,
) -> tuple[pd.DataFrame, int]:
    """Merge annotations of faces with other labels, which fill the gaps of the annotations.

    Args:
        faces: rows of manifests with ``id``, ``subject``, ``clip``, ``folder``.
        aus: action units to take from the annotations.
        least_share: in each folder, only AUs are taken that at least this fraction of the annotated faces
            shows, and does not show. Where all are without an AU, a network learns that photographs are.
        other_labels: a table of labels with the same three columns; its subjects and clips take precedence.

    Returns:
        A table of labels, and the number of faces that were annotated.
    """
    columns = label_columns(aus)
    annotated = faces[["id", "folder", *SUBJECT_COLUMNS]].set_index("id")
    annotated = annotated.join(load_annotations()[columns], how="inner")
    for column in columns:
        shares = annotated.groupby("folder")[column].transform("mean")
        annotated.loc[np.minimum(shares, 1 - shares) < least_share, column] = np.nan
    merged = annotated.drop(columns="folder")
    count = len(merged)
    if other_labels is not None:
        others = other_labels.set_index("id")
        subjects = others[SUBJECT_COLUMNS].combine_first(merged[SUBJECT_COLUMNS])
        merged = merged.combine_first(others)
        merged[SUBJECT_COLUMNS] = subjects
    return merged.reset_index(), count


def _join_names(columns: Collection[str]) -> str:
    return ", ".join(name.removesuffix("_o") for name in columns)
