"""Predictions: read from a CSV or Parquet table of any tool, and written as tables of our own.

Columns are identified by their names. The face: ``id``, or ``source`` or ``input`` (the file), ``frame`` (0
if absent) and ``face``, or the names of OpenFace, py-feat, LibreFace and PyAFAR. The action unit: see
``facts.au_column``.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maeface import checks, facts, files
from maeface.data.tables import table_file
from maeface.errors import DataError

WHERE = {
    "input": pa.string(),
    "frame": pa.int64(),
    "time_s": pa.float64(),
    "face": pa.int16(),
    "status": pa.string(),
}
"""The first columns of our own tables: the place of a face, or the reason why there is none."""
SUFFIXES = (".csv", ".parquet")
RECORD_KEY = "maeface"
ROW_GROUP = 65_536
"""Rows of a row group: with small ones a Parquet file is larger, and much slower to read."""

NAMES = {
    "id": ("id",),
    "source": ("source", "input"),
    "frame": ("frame", "frame_idx"),
    "face": ("face", "face_id", "person_id"),
    "score": ("score", "confidence", "facescore"),
    "success": ("success",),
}
"""{column: its names in the tables of several tools, in lower case}."""

KINDS: tuple[facts.Kind, ...] = ("occurrence", "probability", "intensity")


@dataclass(frozen=True)
class Predictions:
    """A table of predictions, M rows.

    Attributes:
        path: the file.
        columns: those of ``NAMES`` that it has.
        rows: (M) table: ``id`` and ``source`` (str or null), ``frame`` int64 (0 without such a column),
            ``face`` int64 (0 without such a column, -1 for no face), ``score`` float64 (NaN without such a
            column), ``found`` bool: a face was found and has values.
        detection: {AU: (M,) float64}, probability 0..1 or occurrence 0/1, NaN where empty.
        intensity: {AU: (M,) float64}, NaN where empty.
    """

    path: Path
    columns: frozenset[str]
    rows: pd.DataFrame
    detection: dict[int, np.ndarray]
    intensity: dict[int, np.ndarray]


def read_predictions(path: Path) -> Predictions:
    """Read and check a table of predictions.

    Raises:
        ConfigError: no such file.
        DataError: not a table of predictions, or a value that cannot be a prediction (the row is named).
    """
    checks.require_inputs([path], "predictions file")
    table = _read_parquet(path) if table_file.is_parquet(path) else _read_csv(path)
    table.columns = pd.Index([str(column).strip() for column in table.columns])
    table_file.refuse_repeated_columns(path, list(table.columns))
    if table.empty:
        raise DataError(f"{path} has no rows")
    keys = _key_columns(table)
    au_columns = _au_columns(path, table)
    values = {column: _numbers(path, table[column], column) for column in au_columns.values()}
    for (_, kind), column in au_columns.items():
        _check_range(path, column, kind, values[column])
    by_kind = {kind: {au: values[c] for (au, k), c in au_columns.items() if k == kind} for kind in KINDS}
    detection = by_kind["occurrence"] | by_kind["probability"]  # probability where a table has both
    rows = _rows(path, table, keys)
    has_value = np.zeros(len(table), dtype=np.bool_)
    for numbers in values.values():
        has_value |= ~np.isnan(numbers)
    rows["found"] &= has_value
    return Predictions(path, frozenset(keys), rows, detection, by_kind["intensity"])


def _read_csv(path: Path) -> pd.DataFrame:
    names, delimiter = table_file.read_csv_header(path)
    text_names = (*NAMES["id"], *NAMES["source"])
    with table_file.csv_errors(path):
        return pd.read_csv(
            path,
            sep=delimiter,
            header=0,
            names=list(range(len(names))),
            dtype={position: str for position, name in enumerate(names) if name.lower() in text_names},
            skipinitialspace=True,
            index_col=False,
            encoding="utf-8-sig",
            low_memory=False,
        ).set_axis(names, axis=1)


def _read_parquet(path: Path) -> pd.DataFrame:
    with table_file.parquet_errors(path):
        table: pd.DataFrame = pq.read_table(path).to_pandas()
    return table


def _key_columns(table: pd.DataFrame) -> dict[str, str]:
    """Return {key of ``NAMES``: its column in the table} for the keys that the table has."""
    lower = {str(column).lower(): str(column) for column in reversed(table.columns)}
    columns = {
        key: next((lower[name] for name in names if name in lower), None) for key, names in NAMES.items()
    }
    return {key: column for key, column in columns.items() if column is not None}


def _au_columns(path: Path, table: pd.DataFrame) -> dict[tuple[int, facts.Kind], str]:
    columns: dict[tuple[int, facts.Kind], str] = {}
    for column in table.columns:
        if (prediction := facts.au_column(column)) is None:
            continue
        if prediction in columns:
            raise DataError(f"{path}: columns {columns[prediction]} and {column} are the same action unit")
        columns[prediction] = column
    if not columns:
        raise DataError(
            f"{path} has no AU column such as AU12_p (probability) or AU12_i (intensity); "
            f"it has {', '.join(table.columns[:8])}"
        )
    return columns


def _rows(path: Path, table: pd.DataFrame, keys: dict[str, str]) -> pd.DataFrame:
    rows = pd.DataFrame(index=pd.RangeIndex(len(table)))
    for key in ("id", "source"):
        texts = table[keys[key]].astype("object") if key in keys else pd.Series([None] * len(table))
        rows[key] = texts.where(texts.notna(), None).to_numpy(dtype=object)
    for key in ("frame", "face"):
        numbers = _numbers(path, table[keys[key]], key) if key in keys else np.zeros(len(table))
        filled = np.where(np.isnan(numbers), -1 if key == "face" else 0, numbers)
        if (wrong := np.flatnonzero(filled % 1 != 0)).size:
            raise DataError(
                f"{path}, row {wrong[0] + 1}: {key} is {filled[wrong[0]]:g}; expected a whole number"
            )
        rows[key] = filled.astype(np.int64)
    rows["score"] = _numbers(path, table[keys["score"]], "score") if "score" in keys else np.nan
    rows["found"] = rows["face"] >= 0
    if "success" in keys:
        rows["found"] &= _numbers(path, table[keys["success"]], "success") > 0
    return rows


def _numbers(path: Path, values: "pd.Series[float]", column: str) -> np.ndarray:
    """Return (M,) float64, NaN where empty; DataError for anything else than a finite number."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = values.astype("object")
    wrong = np.isnan(numbers) & text.notna().to_numpy() & (text.astype(str).str.strip() != "").to_numpy()
    if (invalid := np.flatnonzero(wrong)).size:
        raise DataError(
            f"{path}, row {invalid[0] + 1}: {column} is {str(values.iloc[invalid[0]])!r}; expected a number"
        )
    if (invalid := np.flatnonzero(np.isinf(numbers))).size:
        raise DataError(f"{path}, row {invalid[0] + 1}: {column} is infinite; expected a number")
    return numbers


def _check_range(path: Path, column: str, kind: facts.Kind, values: np.ndarray) -> None:
    if kind == "intensity":
        return  # tools differ in the range of their intensities
    if (invalid := np.flatnonzero((values < 0) | (values > 1))).size:
        raise DataError(
            f"{path}, row {invalid[0] + 1}: {column} is {values[invalid[0]]:g}; expected a {kind} from 0 to 1"
        )


class Writer:
    """A table that is written piece by piece.

    Attributes:
        rows: their number.
        statuses: rows by status.
        record: set it before the end, and a Parquet file has it in its metadata, as JSON (``RECORD_KEY``).
    """

    def __init__(self, append: Callable[[pd.DataFrame, bool], None]) -> None:
        self.append, self.rows = append, 0
        self.statuses: Counter[str] = Counter()
        self.record: dict[str, Any] | None = None

    def __call__(self, rows: pd.DataFrame) -> None:
        """Append rows."""
        self.append(rows, self.rows == 0)
        self.rows += len(rows)
        self.statuses.update(rows["status"])


def check_suffix(out: Path) -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Raises:
        ConfigError: neither ``.csv`` nor ``.parquet``, or a folder.
        ResourceError: it cannot be written there.
    """
    checks.require_writable_file(out, "predictions", SUFFIXES)


@contextmanager
def writer(out: Path, columns: Sequence[str]) -> Iterator[Writer]:
    """Open a table to write piece by piece, which appears at ``out`` when it is complete.

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
        with pq.ParquetWriter(temporary, schema) as parquet:
            buffer = _RowGroups(parquet)
            target = Writer(buffer.append)
            yield target
            buffer.flush()
            if target.record is not None:
                parquet.add_key_value_metadata({RECORD_KEY: json.dumps(target.record, ensure_ascii=False)})


class _RowGroups:
    """Rows that are collected to row groups of a Parquet file."""

    def __init__(self, parquet: pq.ParquetWriter) -> None:
        self._parquet = parquet
        self._tables: list[pa.Table] = []
        self._rows = 0

    def append(self, rows: pd.DataFrame, first: bool) -> None:
        self._tables.append(pa.Table.from_pandas(rows, self._parquet.schema, preserve_index=False))
        self._rows += len(rows)
        if self._rows >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._parquet.write_table(pa.concat_tables(self._tables).combine_chunks())
        self._tables, self._rows = [], 0
