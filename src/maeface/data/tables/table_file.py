"""Tables in CSV, JSON and Parquet files: rows of text files, numbers in cells, errors as ``DataError``.

CSV is UTF-8 text, with or without a byte order mark, separated by comma, semicolon or tab. Each row has as
many cells as the header. JSON is a file ``.jsonl`` with an object for each row, a line each.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import pyarrow as pa

from maeface import facts
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
    """An open file of text: its column names, stripped, and its rows."""

    names: list[str]
    rows: "Iterator[CsvRow]"


class CsvRow(NamedTuple):
    """A row of a file of text: its place for messages ("line 7"), and a cell for each column."""

    place: str
    cells: list[str]


def is_parquet(path: Path) -> bool:
    """Return whether a table is read as Parquet, by its suffix."""
    return path.suffix.lower() in {".parquet", ".pq"}


@contextmanager
def open_text(path: Path) -> Iterator[CsvTable]:
    """Open a table of text: JSON if its name ends with ``.jsonl``, else CSV.

    Raises:
        DataError: as for ``open_csv`` and ``open_json_lines``.
    """
    with open_json_lines(path) if path.suffix.lower() == ".jsonl" else open_csv(path) as table:
        yield table


@contextmanager
def open_json_lines(path: Path) -> Iterator[CsvTable]:
    """Open a file with a JSON object on each line; empty lines are left out.

    The columns are the names of the first object. A value that another object lacks is empty.

    Raises:
        DataError: not text in UTF-8, no object, or (while the rows are read) a line that is no object or has
            a name that the first one has not.
    """
    with csv_errors(path), path.open(encoding="utf-8-sig") as file:
        lines = ((number, line) for number, line in enumerate(file, 1) if line.strip())
        objects = ((f"line {number}", _parse_object(path, number, line)) for number, line in lines)
        place, first = next(objects, ("", {}))
        if not first:
            raise DataError(f"{path} is empty; expected a JSON object on each line")

        def rows() -> Iterator[CsvRow]:
            yield CsvRow(place, [_cell(value) for value in first.values()])
            for later, values in objects:
                if unknown := [name for name in values if name not in first]:
                    raise DataError(f"{path}, {later} has {unknown[0]!r}, which the first line has not")
                yield CsvRow(later, [_cell(values.get(name)) for name in first])

        yield CsvTable([name.strip() for name in first], rows())


def _parse_object(path: Path, number: int, line: str) -> dict[str, object]:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, line {number} is not JSON ({error}); was the file cut?") from error
    if not isinstance(values, dict):
        raise DataError(f'{path}, line {number} is not a JSON object such as {{"AU12_p": 0.5}}')
    return values


def _cell(value: object) -> str:
    """Return a value of JSON as the text of a CSV cell."""
    return "" if value is None else str(value)


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


def find_au_columns(names: Sequence[str]) -> dict[str, tuple[int, facts.Kind]]:
    """Return {column: (AU, kind)} of the columns of action units, see ``facts.au_column``.

    A plain ``AU12`` is a probability, as in py-feat; beside ``AU12_p`` or ``AU12_i`` it is the occurrence, as
    in our own tables.
    """
    found = {name: label for name in names if (label := facts.au_column(name)) is not None}
    plain = [name for name in found if re.fullmatch(r"(?i)\s*au\d{1,2}\s*", name)]
    for name in plain:
        au = found[name][0]
        kinds = {kind for other, (number, kind) in found.items() if number == au and other != name}
        if kinds and "occurrence" not in kinds:
            found[name] = (au, "occurrence")
    return found


def refuse_lone_sides(path: Path, columns: Mapping[str, tuple[int, str]]) -> None:
    """Raise DataError for the intensity of one side of the face without that of the other.

    Args:
        path: for the message.
        columns: {column: (AU, kind)}.
    """
    other = {"left": "right", "right": "left"}
    for column, (au, kind) in columns.items():
        if kind in other and (au, other[kind]) not in columns.values():
            raise DataError(
                f"{path} has {column}, the intensity of one side, but no "
                f"{facts.au_name(au)}_{other[kind][0].upper()}; give both "
                "(intensities of OpenFace are AU12_r, with a small letter)"
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
