"""The file of a table of predictions, CSV or Parquet, written piece by piece."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from maeface import checks, files

if TYPE_CHECKING:
    import pandas as pd

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


class Writer:
    """A table that is written piece by piece.

    Attributes:
        rows: their number.
        statuses: rows by status.
        record: set it before the end, and a Parquet file has it in its metadata, as JSON (``RECORD_KEY``).
    """

    def __init__(self, append: "Callable[[pd.DataFrame, bool], None]") -> None:
        self.append, self.rows = append, 0
        self.statuses: Counter[str] = Counter()
        self.record: dict[str, Any] | None = None

    def __call__(self, rows: "pd.DataFrame") -> None:
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

    def append(self, rows: "pd.DataFrame", first: bool) -> None:
        self._tables.append(pa.Table.from_pandas(rows, self._parquet.schema, preserve_index=False))
        self._rows += len(rows)
        if self._rows >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._parquet.write_table(pa.concat_tables(self._tables).combine_chunks())
        self._tables, self._rows = [], 0
