"""Reading a labels file, CSV or Parquet: columns sorted, texts turned to numbers, ranges checked."""

import csv
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from maeface import checks, facts
from maeface.errors import DataError

KEYS = ("id", "source", "frame", "face")
WHO = ("subject", "clip")
NOT_KNOWN_WORDS = frozenset({"", "nan", "na", "n/a", "null", "none"})
NOT_KNOWN_CODES = (9.0, -1.0)
MAX_INTENSITY = 5.0


@dataclass(frozen=True)
class Table:
    """A labels file, M rows, checked cell by cell.

    Attributes:
        texts: the key and subject columns that the file has; "" where empty.
        aus: {column: (AU, "occurrence" or "intensity")}.
        numbers: {column: (M,) float64}, in range, NaN where not known.
        ignored: columns that are not used.
        rows: where each row stands in the file, for messages ("line 7").
    """

    texts: dict[str, list[str]]
    aus: dict[str, tuple[int, str]]
    numbers: dict[str, np.ndarray]
    ignored: tuple[str, ...]
    rows: Sequence[str]


def read(path: Path, renamed: Mapping[str, str] | None = None) -> Table:
    """Read a labels file and check each cell; see ``labels.read``.

    Args:
        path: the file, CSV or Parquet.
        renamed: the file's name of a column -> the name to read it by.

    Raises:
        ConfigError: no such file.
        DataError: see ``labels.read``; a column of ``renamed`` is not there.
    """
    checks.inputs([path], "labels file")
    parquet = path.suffix.lower() in {".parquet", ".pq"}
    table = _read_parquet(path, renamed or {}) if parquet else _read_csv(path, renamed or {})
    if not table.rows:
        raise DataError(f"{path} has no rows")
    checked = {
        column: _checked(path, column, table.aus[column][1], values, table.rows)
        for column, values in table.numbers.items()
    }
    return replace(table, numbers=checked)


def _choose(path: Path, columns: list[str]) -> tuple[list[str], dict[str, tuple[int, str]], tuple[str, ...]]:
    """Sort columns into text columns, AU columns and ignored ones; refuse what is plainly wrong."""
    named = [column for column in columns if column]
    if twice := sorted({column for column in named if named.count(column) > 1}):
        raise DataError(f"{path} has the column {twice[0]} twice")
    texts = [column for column in named if column in KEYS or column in WHO]
    if "id" not in texts and "source" not in texts:
        raise DataError(
            f"{path} needs a column `source` or `id` as in the manifest; it has {', '.join(named[:8])}"
        )
    aus: dict[str, tuple[int, str]] = {}
    for column in named:
        if (found := _au(path, column)) is None:
            continue
        if other := next((name for name, known in aus.items() if known == found), None):
            raise DataError(f"{path}: columns {other} and {column} are the same action unit")
        aus[column] = found
    if not aus:
        raise DataError(
            f"{path} has no AU column such as AU12_o (occurrence) or AU12_i (intensity); "
            f"it has {', '.join(named[:8])}"
        )
    return texts, aus, tuple(column for column in named if column not in texts and column not in aus)


def _renamed(path: Path, columns: list[str], renamed: Mapping[str, str]) -> list[str]:
    if lacking := [name for name in renamed if name not in columns]:
        raise DataError(f"{path} has no column {lacking[0]!r}; it has {', '.join(filter(None, columns[:8]))}")
    return [renamed.get(name, name) for name in columns]


def _au(path: Path, column: str) -> tuple[int, str] | None:
    """The AU and kind of a column; None if it is something else. Probabilities are not labels."""
    found = facts.au_column(column)
    number = re.match(r"(?i)au_?(\d+)", column)
    if number and int(number[1]) not in facts.AUS:
        known = ", ".join(facts.au_name(au) for au in sorted(facts.AUS))
        raise DataError(f"{path}: {column} is no action unit that is known; known are {known}")
    return (found[0], found[1]) if found and found[1] in ("occurrence", "intensity") else None


def _read_csv(path: Path, renamed: Mapping[str, str]) -> Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            columns, delimiter = _header(first)
            if not any(columns):
                raise DataError(f"{path} is empty; a labels table begins with a line of column names")
            file.seek(0)
            return _parse(path, file, delimiter, renamed)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save it as CSV in UTF-8, or as Parquet") from error
    except csv.Error as error:
        raise DataError(f"{path} is not a readable CSV file: {error}") from error


def _header(line: str) -> tuple[list[str], str]:
    """Column names and delimiter: the one that gives most columns."""
    readings = [(_names(next(csv.reader([line], delimiter=mark), [])), mark) for mark in ",;\t"]
    return max(readings, key=lambda reading: len(reading[0]))


def _names(cells: Iterable[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _parse(path: Path, file: TextIO, delimiter: str, renamed: Mapping[str, str]) -> Table:
    lines = csv.reader(file, delimiter=delimiter, strict=True)
    columns = _renamed(path, _names(next(lines)), renamed)
    texts, aus, ignored = _choose(path, columns)
    text_at = [(columns.index(name), name) for name in texts]
    au_at = [(columns.index(name), name) for name in aus]
    text_values: dict[str, list[str]] = {name: [] for name in texts}
    au_values: dict[str, array[float]] = {name: array("d") for name in aus}
    rows: list[str] = []
    parsed: dict[str, float] = {}  # labels have few distinct texts
    for cells in lines:
        if not any(cells):
            continue
        row = f"line {lines.line_num}"
        while len(cells) > len(columns) and not cells[-1].strip():
            cells.pop()  # a comma at the end of the line
        if len(cells) != len(columns):
            raise DataError(
                f"{path}, {row}: {len(cells)} cells where the header has {len(columns)} "
                "(a decimal comma? write 2.5 with a point)"
            )
        for position, name in text_at:
            text_values[name].append(cells[position].strip())
        for position, name in au_at:
            cell = cells[position]
            if cell not in parsed:
                parsed[cell] = _number(path, name, row, cell)
            au_values[name].append(parsed[cell])
        rows.append(row)
    return Table(text_values, aus, {name: np.array(au_values[name]) for name in aus}, ignored, rows)


def _number(path: Path, column: str, row: str, cell: str) -> float:
    text = cell.strip()
    if text.lower() in NOT_KNOWN_WORDS:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        advice = "write decimals with a point" if re.fullmatch(r"-?\d+,\d+", text) else "expected a number"
        raise DataError(f"{path}, {row}: {column} is {text!r}; {advice}") from None


def _read_parquet(path: Path, renamed: Mapping[str, str]) -> Table:
    try:
        file = pq.ParquetFile(path)
        columns = _renamed(path, list(file.schema_arrow.names), renamed)
        texts, aus, ignored = _choose(path, columns)
        theirs = dict(zip(columns, file.schema_arrow.names, strict=True))
        names = [*texts, *aus]
        table = file.read(columns=[theirs[name] for name in names])
        table = table.select([theirs[name] for name in names]).rename_columns(names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
    arrays: dict[str, np.ndarray] = {}
    for column in aus:
        try:
            values = table[column].cast(pa.float64())
        except pa.ArrowException as error:
            raise DataError(f"{path}: column {column} is not numeric: {error}") from error
        arrays[column] = values.to_numpy(zero_copy_only=False).astype(np.float64)
    text_values = {column: [_text(value) for value in table[column].to_pylist()] for column in texts}
    rows = [f"row {number}" for number in range(1, table.num_rows + 1)]
    return Table(text_values, aus, arrays, ignored, rows)


def _text(value: object) -> str:
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _checked(path: Path, column: str, kind: str, values: np.ndarray, rows: Sequence[str]) -> np.ndarray:
    """NaN for every code of "not known"; an error for any other value that is not a label."""
    values = np.where(np.isin(values, NOT_KNOWN_CODES), np.nan, values)
    known = ~np.isnan(values)
    if kind == "occurrence":
        right, expected = np.isin(values, (0.0, 1.0)), "0 or 1"
    else:
        right, expected = (values >= 0) & (values <= MAX_INTENSITY), "0 to 5"
    if (known & ~right).any():
        at = int(np.argmax(known & ~right))
        raise DataError(
            f"{path}, {rows[at]}: {column} is {values[at]:g}; expected {expected}, "
            "or empty, 9 or -1 for not known"
        )
    return values
