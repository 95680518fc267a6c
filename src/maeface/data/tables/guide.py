"""A guide: numbers that another tool measured of each face, learned beside the action units.

An encoder that must also say how wide the mouth is and how far a brow stands from its eye learns to look at
what action units move, and learns it alike on photographs and on renders, wherever the tool can measure both.
What it learned for the guide is not kept: only the action units' outputs are.

A guide is a table with a column ``id`` (as in the manifest) and columns of numbers; NaN, or no row, where a
face was not measured. ``data.blendshapes`` makes one from MediaPipe's readings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from maeface import facts
from maeface.errors import ConfigError, DataError

LIMIT = 4.0
"""Standard deviations at which a value is cut: a slip of the tool must not outweigh a thousand faces."""


@dataclass(frozen=True)
class Guide:
    """Measures of N faces.

    Attributes:
        names: G measures.
        values: (N, G) float32, each measure with mean 0 and standard deviation 1 over the faces that have
            it, cut at ``LIMIT``; 0 where missing.
        mask: (N, G) bool, True where the measure is there (not missing).
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    mask: NDArray[np.bool_]


def read(path: Path, ids: Sequence[str]) -> Guide:
    """The guide of faces, in their order.

    Args:
        path: a Parquet file. Columns of action units (``AU12_p``) and those that are no numbers are left out.
        ids: N faces.

    Raises:
        ConfigError: no such file.
        DataError: no such table, two rows of one face, or no measure of any of these faces.
    """
    if not path.is_file():
        raise ConfigError(f"no such file: {path}; a guide is a Parquet table with a column id")
    try:
        table = pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} is no readable Parquet table: {str(error).splitlines()[0]}") from error
    if "id" not in table.columns:
        raise DataError(f"{path} has no column id; it has {', '.join(map(str, table.columns[:8]))}")
    if (twice := table["id"].duplicated()).any():
        raise DataError(f"{path} has two rows of {table.loc[twice, 'id'].iloc[0]}")
    numbers = table.set_index("id").select_dtypes("number")
    numbers = numbers[[name for name in numbers if facts.au_column(str(name)) is None]]
    values = numbers.reindex(list(ids)).to_numpy(dtype=np.float64)  # (N, G)
    mask = np.isfinite(values)
    varies = mask.any(axis=0)
    if not varies.any():
        raise DataError(f"{path} measures none of these faces, such as {ids[0] if len(ids) else 'none'}")
    values = np.where(mask, values, np.nan)[:, varies]
    mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    standard = np.clip((values - mean) / np.where(deviation > 0, deviation, 1.0), -LIMIT, LIMIT)
    names = tuple(str(name) for name, kept in zip(numbers, varies, strict=True) if kept)
    return Guide(names, np.nan_to_num(standard).astype(np.float32), mask[:, varies])
