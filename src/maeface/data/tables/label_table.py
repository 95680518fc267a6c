"""Tables of labels, CSV, JSON or Parquet: the columns that are used, and each value checked."""

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from maeface import checks, facts
from maeface.data.tables import table_file
from maeface.errors import DataError

KEYS = ("id", "source", "frame", "face")
SUBJECT_COLUMNS = ("subject", "clip")
MISSING_CODES = (9.0, -1.0)
MAX_INTENSITY = 5.0
KINDS = ("occurrence", "intensity", "left", "right")
"""What is labelled of an action unit; the last two are intensities of the subject's left and right."""


@dataclass(frozen=True)
class LabelTable:
    """A table of labels, M rows, checked value by value.

    Attributes:
        texts: the key and subject columns that the file has; "" where empty.
        aus: {column: (AU, one of ``KINDS``)}; with a column of the left there is one of the right.
        numbers: {column: (M,) float64}, in range, NaN where missing.
        ignored: columns that are not used.
        rows: the place of each row in the file, for messages ("line 7").
    """

    texts: dict[str, list[str]]
    aus: dict[str, tuple[int, str]]
    numbers: dict[str, np.ndarray]
    ignored: tuple[str, ...]
    rows: Sequence[str]


def read(path: Path, renamed: Mapping[str, str] | None = None) -> LabelTable:
    """Read a table of labels and check each value; ``labels.read_labels`` says what it may contain.

    Args:
        path: the file: CSV, ``.jsonl`` or Parquet.
        renamed: {column of the file: the name to read it by}.

    Raises:
        ConfigError: no such file.
        DataError: see ``labels.read_labels``; or the file lacks a column of ``renamed``.
    """
    checks.require_inputs([path], "labels file")
    reader = _read_parquet if table_file.is_parquet(path) else _read_csv
    table = reader(path, renamed or {})
    if not table.rows:
        raise DataError(f"{path} has no rows")
    checked = {
        column: _check_values(path, column, table.aus[column][1], values, table.rows)
        for column, values in table.numbers.items()
    }
    _refuse_one_sided_rows(path, table.aus, checked, table.rows)
    return replace(table, numbers=checked)


def _sort_columns(
    path: Path, columns: list[str]
) -> tuple[list[str], dict[str, tuple[int, str]], tuple[str, ...]]:
    """Return the text columns, the AU columns and the ignored ones.

    Raises:
        DataError: a name twice, an action unit twice, one side without the other, or no key or AU column.
    """
    named = [column for column in columns if column]
    table_file.refuse_repeated_columns(path, named)
    texts = [column for column in named if column in KEYS or column in SUBJECT_COLUMNS]
    if "id" not in texts and "source" not in texts:
        raise DataError(
            f"{path} needs a column `source` (the name of the photo or film) or `id` (of the manifest); "
            f"it has {', '.join(named[:8])}"
        )
    aus: dict[str, tuple[int, str]] = {}
    for column, label in _find_labels(path, named).items():
        if other := next((name for name, used in aus.items() if used == label), None):
            raise DataError(f"{path}: columns {other} and {column} are the same action unit")
        aus[column] = label
    table_file.refuse_lone_sides(path, aus)
    if not aus:
        raise DataError(
            f"{path} has no AU column such as AU12_o (occurrence) or AU12_i (intensity); "
            f"it has {', '.join(named[:8])}"
        )
    return texts, aus, tuple(column for column in named if column not in texts and column not in aus)


def _rename(path: Path, columns: list[str], renamed: Mapping[str, str]) -> list[str]:
    if absent := [name for name in renamed if name not in columns]:
        raise DataError(f"{path} has no column {absent[0]!r}; it has {', '.join(filter(None, columns[:8]))}")
    return [renamed.get(name, name) for name in columns]


def _find_labels(path: Path, columns: list[str]) -> dict[str, tuple[int, str]]:
    """Return the AU and kind of the columns of labels; others, such as probabilities, are left out."""
    for column in columns:
        number = re.match(r"(?i)au_?(\d+)", column)
        if number and int(number[1]) not in facts.AUS:
            known = ", ".join(facts.au_name(au) for au in sorted(facts.AUS))
            raise DataError(f"{path}: {column} is no action unit that is known; known are {known}")
    found = table_file.find_au_columns(columns)
    return {name: label for name, label in found.items() if label[1] in KINDS}


def _read_csv(path: Path, renamed: Mapping[str, str]) -> LabelTable:
    with table_file.open_text(path) as table:
        columns = _rename(path, table.names, renamed)
        texts, aus, ignored = _sort_columns(path, columns)
        text_positions = [(columns.index(name), name) for name in texts]
        au_positions = [(columns.index(name), name) for name in aus]
        text_values: dict[str, list[str]] = {name: [] for name in texts}
        au_values: dict[str, array[float]] = {name: array("d") for name in aus}
        rows: list[str] = []
        parsed: dict[str, float] = {}  # labels have few distinct texts
        for place, cells in table.rows:
            for position, name in text_positions:
                text_values[name].append(cells[position].strip())
            for position, name in au_positions:
                cell = cells[position]
                if cell not in parsed:
                    parsed[cell] = table_file.parse_number(path, name, place, cell)
                au_values[name].append(parsed[cell])
            rows.append(place)
    return LabelTable(text_values, aus, {name: np.array(au_values[name]) for name in aus}, ignored, rows)


def _read_parquet(path: Path, renamed: Mapping[str, str]) -> LabelTable:
    with table_file.parquet_errors(path):
        file = pq.ParquetFile(path)
        columns = _rename(path, list(file.schema_arrow.names), renamed)
        texts, aus, ignored = _sort_columns(path, columns)
        in_file = dict(zip(columns, file.schema_arrow.names, strict=True))
        names = [*texts, *aus]
        table = file.read(columns=[in_file[name] for name in names])
        table = table.select([in_file[name] for name in names]).rename_columns(names)
    numbers: dict[str, np.ndarray] = {}
    for column in aus:
        try:
            values = table[column].cast(pa.float64())
        except pa.ArrowException as error:
            raise DataError(f"{path}: column {column} is not numeric: {error}") from error
        numbers[column] = values.to_numpy(zero_copy_only=False).astype(np.float64)
    text_values = {column: [_text(value) for value in table[column].to_pylist()] for column in texts}
    rows = [f"row {number}" for number in range(1, table.num_rows + 1)]
    return LabelTable(text_values, aus, numbers, ignored, rows)


def _refuse_one_sided_rows(
    path: Path, aus: Mapping[str, tuple[int, str]], numbers: Mapping[str, np.ndarray], rows: Sequence[str]
) -> None:
    columns = {label: column for column, label in aus.items()}
    for (au, kind), left in columns.items():
        if kind == "left":
            right = columns[au, "right"]
            if (wrong := np.isnan(numbers[left]) != np.isnan(numbers[right])).any():
                row = rows[int(np.argmax(wrong))]
                raise DataError(f"{path}, {row}: only one of {left} and {right} is known; give both or none")


def _text(value: object) -> str:
    """Return a value of a Parquet column as the text of a CSV cell; "" for null and NaN."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _check_values(path: Path, column: str, kind: str, values: np.ndarray, rows: Sequence[str]) -> np.ndarray:
    """Return the values with NaN for every code of a missing label.

    Raises:
        DataError: a value that is not a label; the row is named.
    """
    values = np.where(np.isin(values, MISSING_CODES), np.nan, values)
    if kind == "occurrence":
        right, expected = np.isin(values, (0.0, 1.0)), "0 or 1"
    else:
        right, expected = (values >= 0) & (values <= MAX_INTENSITY), "0 to 5"
    if (wrong := ~np.isnan(values) & ~right).any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{path}, {rows[row]}: {column} is {values[row]:g}; expected {expected}, "
            "or empty, 9 or -1 for not known"
        )
    return values
