"""Tables in CSV and Parquet files: rows of CSV files, numbers in cells, and errors as ``DataError``.

CSV is UTF-8 text, with or without a byte order mark, separated by comma, semicolon or tab. Each row has as
many cells as the header.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import pyarrow as pa

from maeface.errors import DataError

DELIMITERS = ",;\t"
WORDS = dict.fromkeys(
    "|nan|-nan|na|n/a|#n/a|#na|<na>|null|none|-nan(ind)|1.#ind|-1.#ind|1.#qnan|-1.#qnan".split("|"),
    float("nan"),
) | {"true": 1.0, "false": 0.0}
"""{cell in lower case: its value}; the words for "missing" are those of spreadsheets, R, pandas and C."""

# Exports that put a description before the header, and whose values have other units: the beginning of the
# first line, or of a column if the description was deleted.
_EXPORTS = (
    (re.compile(r"video analysis|facereader|face model:|action unit \d+ - ", re.IGNORECASE), "FaceReader"),
    (re.compile(r"#(info|metadata|data)\b|imotions|samplenumber$", re.IGNORECASE), "iMotions"),
)


class CsvTable(NamedTuple):
    """An open CSV file: its column names, stripped, and its rows."""

    names: list[str]
    rows: "Iterator[CsvRow]"


class CsvRow(NamedTuple):
    """A row of a CSV file: its place for messages ("line 7"), and a cell for each column."""

    place: str
    cells: list[str]


def is_parquet(path: Path) -> bool:
    """Return whether a table is read as Parquet, by its suffix."""
    return path.suffix.lower() in {".parquet", ".pq"}


@contextmanager
def open_csv(path: Path) -> Iterator[CsvTable]:
    """Open a CSV file; empty rows are left out, and so are empty cells beyond the last column.

    Raises:
        DataError: not text in UTF-8, not CSV, an export of FaceReader or iMotions, or (while the rows are
            read) a row with fewer or more cells than the header.
    """
    with csv_errors(path), path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
        refuse_export(path, [line])
        headers = [(next(csv.reader([line], delimiter=mark), []), mark) for mark in DELIMITERS]
        _, delimiter = max(headers, key=lambda header: len(header[0]))
        file.seek(0)
        yield _read_csv(path, file, delimiter)


def _read_csv(path: Path, file: TextIO, delimiter: str) -> CsvTable:
    # OpenFace writes a space after each comma.
    lines = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
    names = [cell.strip() for cell in next(lines, [])]
    while names and not names[-1]:
        names.pop()  # a delimiter at the end of the line
    if not names:
        raise DataError(f"{path} is empty; a table begins with a line of column names")

    def rows() -> Iterator[CsvRow]:
        for cells in lines:
            if not any(cells):
                continue
            while len(cells) > len(names) and not cells[-1].strip():
                cells.pop()
            if len(cells) != len(names):
                advice = (
                    "a decimal comma? write 2.5 with a point"
                    if len(cells) > len(names)
                    else "was the file cut? an empty cell needs its delimiter, too"
                )
                raise DataError(
                    f"{path}, line {lines.line_num}: {len(cells)} cells where the header has {len(names)} "
                    f"({advice})"
                )
            yield CsvRow(f"line {lines.line_num}", cells)

    return CsvTable(names, rows())


def refuse_export(path: Path, texts: Sequence[str]) -> None:
    """Refuse a table of FaceReader or iMotions, by its first line or its columns."""
    for pattern, tool in _EXPORTS:
        if any(pattern.match(text.strip().strip('"')) for text in texts):
            raise DataError(
                f"{path} is an export of {tool}, which is not read: make a table with the header on its "
                "first line, a column `frame`, and AU12_p (0 to 1) or AU12_i (0 to 5)"
            )


def parse_number(path: Path, column: str, place: str, cell: str) -> float:
    """Return the number in a cell of a CSV file; NaN if it is missing.

    Raises:
        DataError: neither a number nor one of ``WORDS``.
    """
    text = cell.strip()
    if (value := WORDS.get(text.lower())) is not None:
        return value
    try:
        return float(text)
    except ValueError:
        advice = "write decimals with a point" if re.fullmatch(r"-?\d+,\d+", text) else "expected a number"
        raise DataError(f"{path}, {place}: {column} is {text!r}; {advice}") from None


@contextmanager
def csv_errors(path: Path) -> Iterator[None]:
    """Raise errors of reading a CSV file as ``DataError``."""
    try:
        yield
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save it as CSV in UTF-8, or as Parquet") from error
    except (csv.Error, ValueError) as error:
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
