"""Tables in CSV and Parquet files: the header of a CSV file, and errors of damaged files as ``DataError``.

CSV is UTF-8 text, with or without a byte order mark, separated by comma, semicolon or tab.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from maeface.errors import DataError

DELIMITERS = ",;\t"


def is_parquet(path: Path) -> bool:
    """Return whether a table is read as Parquet, by its suffix."""
    return path.suffix.lower() in {".parquet", ".pq"}


def read_csv_header(path: Path) -> tuple[list[str], str]:
    """Read the column names of a CSV file, stripped, and its delimiter: the one that gives most columns.

    Raises:
        DataError: not text in UTF-8, or not CSV.
    """
    with csv_errors(path), path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
        headers = [(next(csv.reader([line], delimiter=mark), []), mark) for mark in DELIMITERS]
        names, delimiter = max(headers, key=lambda header: len(header[0]))
        return [name.strip() for name in names], delimiter


@contextmanager
def csv_errors(path: Path) -> Iterator[None]:
    """Raise errors of reading a CSV file, by ``csv`` or by pandas, as ``DataError``."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save it as CSV in UTF-8, or as Parquet") from error
    except (csv.Error, ValueError) as error:  # pandas' ParserError and EmptyDataError are ValueErrors
        raise DataError(f"{path} is not a readable CSV file: {str(error).splitlines()[0]}") from error


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Raise errors of reading a Parquet file as ``DataError``."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from error


def refuse_repeated_columns(path: Path, columns: Sequence[str]) -> None:
    """Refuse a table with two columns of one name."""
    if repeated := sorted({column for column in columns if columns.count(column) > 1}):
        raise DataError(f"{path} has the column {repeated[0]} twice")
