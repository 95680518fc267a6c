"""What readers saw in the real faces that the package's weights learn from: ``datasets/readings.csv``."""

from collections.abc import Collection
from functools import cache
from importlib import resources

import pandas as pd

from maeface import facts
from maeface.data.tables import label_table
from maeface.errors import ConfigError

TABLE = "readings.csv"
WHO = list(label_table.SUBJECT_COLUMNS)


@cache
def table() -> pd.DataFrame:
    """Occurrence by the face's ``id``: 1, 0, or NaN where the readers differ or could not tell."""
    with resources.as_file(resources.files("maeface_studio.weights") / TABLE) as path:
        return pd.read_csv(path, index_col="id")


def columns(aus: Collection[int]) -> list[str]:
    """The table's columns of these action units, each once.

    Raises:
        ConfigError: the readers did not look for one of them.
    """
    known = table().columns
    wanted = [f"{facts.au_name(au)}_o" for au in sorted(set(aus))]
    if lacking := [name for name in wanted if name not in known]:
        raise ConfigError(f"readings.aus: {TABLE} has no {_names(lacking)}; it has {_names(known)}")
    return wanted


def over(faces: pd.DataFrame, aus: Collection[int], others: pd.DataFrame | None) -> tuple[pd.DataFrame, int]:
    """Labels of faces: what the readers say, and where they leave it open, what others say.

    Args:
        faces: rows of manifests with ``id``, ``subject``, ``clip``.
        aus: action units to take from the readers.
        others: a labels table with the same three columns; its subjects and clips come first.

    Returns:
        a labels table, and how many of the faces the readers have seen.
    """
    read = faces[["id", *WHO]].set_index("id").join(table()[columns(aus)], how="inner")
    count = len(read)
    if others is not None:
        theirs = others.set_index("id")
        who = theirs[WHO].combine_first(read[WHO])
        read = read.combine_first(theirs)
        read[WHO] = who
    return read.reset_index(), count


def _names(found: Collection[str]) -> str:
    return ", ".join(name.removesuffix("_o") for name in found)
