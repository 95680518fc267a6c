"""The file of a table of predictions, CSV or Parquet, written piece by piece."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maeface import checks, files

WHERE = {
    "input": pa.string(),
    "frame": pa.int64(),
    "time_s": pa.float64(),
    "face": pa.int16(),
    "track": pa.int32(),
    "status": pa.string(),
}
"""The first columns of our own tables: the place of a face, or the reason why there is none."""
RECORD_KEY = "maeface"
ROW_GROUP = 65_536
"""Rows of a row group: with small ones a Parquet file is larger, and much slower to read."""
NEEDS_QUOTES = re.compile(r'[",\r\n]|^ |^$')
"""A text that needs quotes in CSV: readers may drop a space at its beginning."""
LINES_TOGETHER = 4096
"""Lines of a CSV file that are written together."""


class Writer:
    """A table that is written piece by piece.

    Attributes:
        rows: their number.
        statuses: rows by status.
        record: set it before the end, and a Parquet file has it in its metadata, as JSON (``RECORD_KEY``).
    """

    def __init__(self, append: Callable[[pa.Table], None]) -> None:
        self.append, self.rows = append, 0
        self.statuses: Counter[str] = Counter()
        self.record: dict[str, Any] | None = None

    def __call__(self, rows: pa.Table) -> None:
        """Append rows."""
        self.append(rows)
        self.rows += len(rows)
        self.statuses.update(rows["status"].to_pylist())


def check_suffix(out: Path) -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Raises:
        ConfigError: neither ``.csv`` nor ``.parquet``, or a folder.
        ResourceError: it cannot be written there.
    """
    checks.require_writable_file(out, "predictions", checks.TABLES)


@contextmanager
def writer(out: Path, schema: pa.Schema, row_group: int | None = None) -> Iterator[Writer]:
    """Open a table to write piece by piece, which appears at ``out`` when it is complete.

    Args:
        out: ``.csv`` or ``.parquet``.
        schema: of the rows.
        row_group: least rows of a row group of a Parquet file; None: ``ROW_GROUP``.

    Raises:
        ConfigError: another kind of file.
        ResourceError: it cannot be written.
    """
    check_suffix(out)
    with files.atomic(out) as temporary:
        if out.suffix.lower() == ".csv":
            with temporary.open("wb") as file:
                file.write((",".join(schema.names) + "\n").encode())
                buffer = _Buffer(lambda rows: file.write(to_csv(rows)), LINES_TOGETHER)
                yield Writer(buffer.append)
                buffer.flush()
            return
        with pq.ParquetWriter(temporary, schema) as parquet:
            buffer = _Buffer(parquet.write_table, row_group or ROW_GROUP)
            target = Writer(buffer.append)
            yield target
            buffer.flush()
            if target.record is not None:
                parquet.add_key_value_metadata({RECORD_KEY: json.dumps(target.record, ensure_ascii=False)})


def to_csv(rows: pa.Table) -> bytes:
    """Return rows as CSV; numbers have as many digits as their type needs, and missing ones are empty."""
    columns = [_to_cells(column) for column in rows.columns]
    return "".join(f"{','.join(cells)}\n" for cells in zip(*columns, strict=True)).encode()


def _to_cells(values: pa.ChunkedArray) -> list[str]:
    """Return values as the text of cells, in quotes where they need them."""
    if pa.types.is_string(values.type):
        return [_quote(text) if NEEDS_QUOTES.search(text) else text for text in values.to_pylist()]
    texts = pc.cast(values, pa.string())
    if pa.types.is_floating(values.type):  # a fraction for readers, if it is whole, too
        texts = pc.replace_substring_regex(texts, "^(-?[0-9]+)$", r"\1.0")
    return [text or "" for text in texts.to_pylist()]


def _quote(text: str) -> str:
    quoted = text.replace('"', '""')
    return f'"{quoted}"'


class _Buffer:
    """Rows that are collected until there are enough to write them together."""

    def __init__(self, write: Callable[[pa.Table], object], size: int) -> None:
        self._write, self._size = write, size
        self._tables: list[pa.Table] = []
        self._rows = 0

    def append(self, rows: pa.Table) -> None:
        self._tables.append(rows)
        self._rows += len(rows)
        if self._rows >= self._size:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._write(pa.concat_tables(self._tables).combine_chunks())
        self._tables, self._rows = [], 0
