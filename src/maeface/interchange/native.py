"""The table of predictions as it is written: its action units, its numbers, and the pieces of a file."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from maeface import files
from maeface.errors import DataError

PIECE = 65_536
"""Rows of a file that are read together."""
SUFFIXES = {"occurrence": "", "probability": "_p", "intensity": "_i", "difference": "_d"}
"""{kind of value: the end of its column's name}: ``AU12``, ``AU12_p``, ``AU12_i``, ``AU12_d``."""
TEXT = ("input", "status")
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>")
"""Cells of numbers that are missing."""
WHOLE = re.compile(r"frame|face|track|AU\d+")
"""Columns of whole numbers, which may be missing."""
REQUIRED = ("input", "frame", "face")


def read_pieces(
    path: Path, rows: int = PIECE, needed: Callable[[str], bool] = lambda name: True
) -> Iterator[pd.DataFrame]:
    """Yield a table of ``maeface predict`` piece by piece, so that a long one needs no more memory.

    Args:
        path: ``.csv`` or ``.parquet``.
        rows: number of rows of a piece.
        needed: says of the name of a column whether to read it.

    Raises:
        DataError: the file cannot be read, or is not such a table.
    """
    try:
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path, pre_buffer=False) as file:  # a buffer would hold all of it
                names = list(filter(needed, file.schema_arrow.names))
                yield from (_widen(as_frame(batch)) for batch in file.iter_batches(rows, columns=names))
        else:
            with read_csv(path, chunksize=rows, usecols=needed) as pieces:
                yield from map(as_frame, pieces)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable table: {str(error).splitlines()[0]}") from error


def read_csv(path: Path, **options: Any) -> Any:  # noqa: ANN401 - a table, or the reader of its pieces
    """Read a table of ours with pandas; a film that is called "NA" or "nan" keeps its name.

    Args:
        path: of the CSV file.
        options: of ``pandas.read_csv``.
    """
    numbers = [str(name) for name in pd.read_csv(path, nrows=0) if name not in TEXT]
    return pd.read_csv(
        path,
        dtype=dict.fromkeys(TEXT, "object"),
        keep_default_na=False,  # for the text
        na_values=dict.fromkeys(numbers, MISSING),
        **options,
    )


def as_frame(table: pd.DataFrame | pa.Table | pa.RecordBatch) -> pd.DataFrame:
    """Return a table of predictions in pandas, with whole numbers as such also where some are missing.

    Raises:
        DataError: a column is missing without which no row can be placed.
    """
    frame = table.copy() if isinstance(table, pd.DataFrame) else table.to_pandas(integer_object_nulls=True)
    if missing := [name for name in REQUIRED if name not in frame]:
        raise DataError(
            f"the table has no column {missing[0]}; expected a table of `maeface predict`, "
            f"it has {', '.join(map(str, frame.columns[:8]))}"
        )
    for name in frame.columns:
        if WHOLE.fullmatch(name):
            frame[name] = frame[name].astype("Int64")
    return frame.reset_index(drop=True)


def _widen(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of a Parquet file as it would be of a CSV file."""
    narrow = frame.columns[frame.dtypes == np.float32]
    return frame.assign(**{name: files.as_in_text(frame[name].to_numpy()) for name in narrow})


def action_units(columns: Iterable[str], kind: str) -> tuple[int, ...]:
    """Return the numbers of the action units that have a column of a kind, in the order of the table.

    Args:
        columns: names of the table's columns.
        kind: one of ``SUFFIXES``.
    """
    pattern = re.compile(rf"AU(\d+){SUFFIXES[kind]}")
    return tuple(int(match[1]) for name in columns if (match := pattern.fullmatch(name)))


def column(au: int, kind: str) -> str:
    """Return the name of a column: ``AU12_p``."""
    return f"AU{au:02d}{SUFFIXES[kind]}"


def find_faces(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return (M,) True where a row is of a face, whatever its quality."""
    return (table["face"].fillna(-1) >= 0).to_numpy(dtype=np.bool_)
