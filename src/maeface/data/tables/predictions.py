"""The door for predictions: a CSV or Parquet table of any tool in, plain arrays out; and our own out.

Columns are told by their names. Which face: ``id``, or ``source`` or ``input`` (the file), ``frame`` (0 if
absent) and ``face``; names of OpenFace, py-feat, LibreFace and PyAFAR are known too. Which action unit:
``facts.au_column``.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maeface import checks, facts, files
from maeface.errors import DataError

WHERE = {
    "input": pa.string(),
    "frame": pa.int64(),
    "time_s": pa.float64(),
    "face": pa.int16(),
    "status": pa.string(),
}
"""The first columns of our own tables, which say where a face is, or why there is none."""
SUFFIXES = (".csv", ".parquet")

NAMES = {
    "id": ("id",),
    "source": ("source", "input"),
    "frame": ("frame", "frame_idx"),
    "face": ("face", "face_id", "person_id"),
    "score": ("score", "confidence", "facescore"),
    "success": ("success",),
}
"""What a column is, and the names that it goes by, in lower case."""

KINDS: tuple[facts.Kind, ...] = ("occurrence", "probability", "intensity")


@dataclass(frozen=True)
class Predictions:
    """A predictions table, M rows.

    Attributes:
        path: the file.
        given: which of ``NAMES`` it has.
        rows: (M) table: ``id`` and ``source`` (str or null), ``frame`` int64 (0 if not given), ``face``
            int64 (0 if not given, -1 for none), ``score`` float64 (NaN if not given), ``found`` bool: a face
            was found and has values.
        detection: {AU: (M,) float64}, probability 0..1 or occurrence 0/1, NaN where empty.
        intensity: {AU: (M,) float64}, NaN where empty.
    """

    path: Path
    given: frozenset[str]
    rows: pd.DataFrame
    detection: dict[int, np.ndarray]
    intensity: dict[int, np.ndarray]


def read(path: Path) -> Predictions:
    """Read and check a predictions table.

    Raises:
        ConfigError: no such file.
        DataError: not a table of predictions, or a value that cannot be one (the row is named).
    """
    checks.inputs([path], "predictions file")
    table = _read_parquet(path) if path.suffix.lower() in {".parquet", ".pq"} else _read_csv(path)
    table.columns = pd.Index([str(column).strip() for column in table.columns])
    if table.columns.has_duplicates:
        twice = table.columns[table.columns.duplicated()][0]
        raise DataError(f"{path} has the column {twice} twice")
    if table.empty:
        raise DataError(f"{path} has no rows")
    keys = _keys(table)
    columns = _au_columns(path, table)
    values = {column: _numbers(path, table[column], column) for column in columns.values()}
    for (_, kind), column in columns.items():
        _check_range(path, column, kind, values[column])
    by_kind = {kind: {au: values[c] for (au, k), c in columns.items() if k == kind} for kind in KINDS}
    detection = by_kind["occurrence"] | by_kind["probability"]  # of two columns the finer one
    rows = _rows(path, table, keys)
    has_value = np.zeros(len(table), dtype=np.bool_)
    for numbers in values.values():
        has_value |= ~np.isnan(numbers)
    rows["found"] &= has_value
    return Predictions(path, frozenset(keys), rows, detection, by_kind["intensity"])


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
        readings = [(len(next(csv.reader([header], delimiter=mark), [])), mark) for mark in ",;\t"]
        mark = max(readings, key=lambda reading: reading[0])[1]
        names = [name.strip() for name in next(csv.reader([header], delimiter=mark), [])]
        texts = {
            place: str for place, name in enumerate(names) if name.lower() in (*NAMES["id"], *NAMES["source"])
        }
        return pd.read_csv(
            path,
            sep=mark,
            header=0,
            names=list(range(len(names))),
            dtype=texts,
            skipinitialspace=True,
            index_col=False,
            encoding="utf-8-sig",
            low_memory=False,
        ).set_axis(names, axis=1)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save it as CSV in UTF-8, or as Parquet") from error
    except (csv.Error, ValueError) as error:  # pandas' ParserError and EmptyDataError are ValueErrors
        raise DataError(f"{path} is not a readable CSV file: {str(error).splitlines()[0]}") from error


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pq.read_table(path).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from error
    return table


def _keys(table: pd.DataFrame) -> dict[str, str]:
    """{what a column is: its name}, of those that the table has."""
    lower = {str(column).lower(): str(column) for column in reversed(table.columns)}
    found = {
        key: next((lower[name] for name in names if name in lower), None) for key, names in NAMES.items()
    }
    return {key: column for key, column in found.items() if column is not None}


def _au_columns(path: Path, table: pd.DataFrame) -> dict[tuple[int, facts.Kind], str]:
    columns: dict[tuple[int, facts.Kind], str] = {}
    for column in table.columns:
        if (what := facts.au_column(column)) is None:
            continue
        if what in columns:
            raise DataError(f"{path}: columns {columns[what]} and {column} are the same action unit")
        columns[what] = column
    if not columns:
        raise DataError(
            f"{path} has no AU column such as AU12_p (probability) or AU12_i (intensity); "
            f"it has {', '.join(table.columns[:8])}"
        )
    return columns


def _rows(path: Path, table: pd.DataFrame, keys: dict[str, str]) -> pd.DataFrame:
    rows = pd.DataFrame(index=pd.RangeIndex(len(table)))
    for key in ("id", "source"):
        given = table[keys[key]].astype("object") if key in keys else pd.Series([None] * len(table))
        rows[key] = given.where(given.notna(), None).to_numpy(dtype=object)
    for key in ("frame", "face"):
        numbers = _numbers(path, table[keys[key]], key) if key in keys else np.zeros(len(table))
        whole = np.where(np.isnan(numbers), -1 if key == "face" else 0, numbers)
        if (wrong := np.flatnonzero(whole % 1 != 0)).size:
            raise DataError(
                f"{path}, row {wrong[0] + 1}: {key} is {whole[wrong[0]]:g}; expected a whole number"
            )
        rows[key] = whole.astype(np.int64)
    rows["score"] = _numbers(path, table[keys["score"]], "score") if "score" in keys else np.nan
    rows["found"] = rows["face"] >= 0
    if "success" in keys:
        rows["found"] &= _numbers(path, table[keys["success"]], "success") > 0
    return rows


def _numbers(path: Path, values: "pd.Series[float]", column: str) -> np.ndarray:
    """(M,) float64, NaN where empty."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = values.astype("object")
    wrong = np.isnan(numbers) & text.notna().to_numpy() & (text.astype(str).str.strip() != "").to_numpy()
    if (at := np.flatnonzero(wrong)).size:
        raise DataError(
            f"{path}, row {at[0] + 1}: {column} is {str(values.iloc[at[0]])!r}; expected a number"
        )
    if (at := np.flatnonzero(np.isinf(numbers))).size:
        raise DataError(f"{path}, row {at[0] + 1}: {column} is infinite; expected a number")
    return numbers


def _check_range(path: Path, column: str, kind: facts.Kind, values: np.ndarray) -> None:
    if kind == "intensity":
        return  # tools differ in how far they let a prediction go
    if (at := np.flatnonzero((values < 0) | (values > 1))).size:
        raise DataError(
            f"{path}, row {at[0] + 1}: {column} is {values[at[0]]:g}; expected a {kind} from 0 to 1"
        )


class Writer:
    """Appends tables to an open CSV or Parquet file, and counts their rows."""

    def __init__(self, append: Callable[[pd.DataFrame, bool], None]) -> None:
        self.append, self.rows = append, 0

    def __call__(self, rows: pd.DataFrame) -> None:
        """Append."""
        self.append(rows, self.rows == 0)
        self.rows += len(rows)


def check_suffix(out: Path) -> None:
    """Refuse, before any work is done for it, a file that could not be written.

    Raises:
        ConfigError: neither ``.csv`` nor ``.parquet``, or a folder.
        ResourceError: it cannot be written there.
    """
    checks.output_file(out, "predictions", SUFFIXES)


@contextmanager
def writer(out: Path, columns: Sequence[str]) -> Iterator[Writer]:
    """Open a table that is written piece by piece, and appears at ``out`` when it is whole.

    Args:
        out: ``.csv`` or ``.parquet``.
        columns: ``WHERE``, then float32 columns.

    Raises:
        ConfigError: another kind of file.
        ResourceError: it cannot be written.
    """
    check_suffix(out)
    with files.atomic(out) as temporary:
        if out.suffix.lower() == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as file:
                yield Writer(lambda rows, first: rows.to_csv(file, index=False, header=first))
            return
        schema = pa.schema([(column, WHERE.get(column, pa.float32())) for column in columns])
        with pq.ParquetWriter(temporary, schema) as writer:
            yield Writer(
                lambda rows, _: writer.write_table(pa.Table.from_pandas(rows, schema, preserve_index=False))
            )
