"""A guide: measures of each face, made by another tool, that a model learns beside the action units.

Measures such as the width of the mouth or the distance of the brow from the eye are available for
photographs and for renders alike, so an encoder learns from both what action units move. The outputs for
the guide are not kept with the weights; only those for the action units are.

A guide is a table with a column ``id`` (as in the manifest) and columns of numbers; NaN, or no row, where a
face was not measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts
from maeface.data.tables import table_file
from maeface.errors import ConfigError, DataError

LIMIT = 4.0
"""Standard deviations at which a value is clipped, so that no outlier outweighs a thousand faces."""


@dataclass(frozen=True)
class Guide:
    """Measures of N faces.

    Attributes:
        names: G measures.
        values: (N, G) float32, each measure with mean 0 and standard deviation 1 over the faces that have
            it, clipped at ``LIMIT``; 0 where missing.
        mask: (N, G) bool, True where the measure is not missing.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    mask: NDArray[np.bool_]


def read(path: Path, ids: Sequence[str]) -> Guide:
    """Read the guide of faces, in their order.

    Args:
        path: a Parquet file. Columns of action units (``AU12_p``) and of text are left out.
        ids: N faces.

    Raises:
        ConfigError: no such file.
        DataError: no such table, two rows of one face, or no measure of any of these faces.
    """
    if not path.is_file():
        raise ConfigError(f"no such file: {path}; a guide is a Parquet table with a column id")
    with table_file.parquet_errors(path):
        table = pd.read_parquet(path)
    if "id" not in table.columns:
        raise DataError(f"{path} has no column id; it has {', '.join(map(str, table.columns[:8]))}")
    if (repeated := table["id"].duplicated()).any():
        raise DataError(f"{path} has two rows of {table.loc[repeated, 'id'].iloc[0]}")
    numbers = table.set_index("id").select_dtypes("number")
    numbers = numbers[[name for name in numbers if facts.au_column(str(name)) is None]]
    values = numbers.reindex(list(ids)).to_numpy(dtype=np.float64)  # (N, G)
    mask = np.isfinite(values)
    measured = mask.any(axis=0)
    if not measured.any():
        raise DataError(f"{path} measures none of these faces, such as {ids[0] if len(ids) else 'none'}")
    values = np.where(mask, values, np.nan)[:, measured]
    mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    standard = np.clip((values - mean) / np.where(deviation > 0, deviation, 1.0), -LIMIT, LIMIT)
    names = tuple(str(name) for name, kept in zip(numbers, measured, strict=True) if kept)
    return Guide(names, np.nan_to_num(standard).astype(np.float32), mask[:, measured])


def columns_of(guide: Guide | None, measures: Mapping[int, str], aus: Sequence[int]) -> dict[int, int]:
    """Return the column of the guide for the position of each AU among a model's.

    Args:
        guide: None for none.
        measures: {AU: name of a measure}.
        aus: of the model, in the order of its outputs.

    Raises:
        ConfigError: there are measures but no guide, or it has no such measure, or the model no such AU.
    """
    if not measures:
        return {}
    if guide is None:
        raise ConfigError("relative.measures needs a guide; give --guide FILE")
    for number, name in measures.items():
        if number not in aus:
            raise ConfigError(f"relative.measures: {facts.au_name(number)} is not among the learned AUs")
        if name not in guide.names:
            near = ", ".join(guide.names)
            raise ConfigError(f"relative.measures: the guide has no {name!r}; it has {near}")
    return {list(aus).index(number): guide.names.index(name) for number, name in measures.items()}
