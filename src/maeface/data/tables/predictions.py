"""Predictions, read from a CSV, JSON or Parquet table of any tool.

Columns are identified by their names. The face: ``id``, or ``source`` or ``input`` (the file), ``frame`` (0
if absent) and ``face``, or the names of OpenFace, py-feat, LibreFace and PyAFAR. The action unit: see
``table_file.find_au_columns``; or, with a row for each face and action unit, the columns ``au`` and
``occurrence``, ``probability`` or ``intensity``.
"""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from maeface import checks, facts, files
from maeface.data.tables import long_table, table_file
from maeface.errors import DataError

NAMES = {
    "id": ("id",),
    "source": ("source", "input", "input_image_path"),
    "frame": ("frame", "frame_idx"),
    "face": ("face", "face_id", "person_id"),
    "score": ("score", "confidence", "facescore"),
    "success": ("success",),
    "intensity_max": ("intensity_max",),
}
"""{column: its names in the tables of several tools, in lower case}."""

TEXT_KEYS = ("id", "source")
LIBREFACE = re.compile(r"au_\d{1,2}_intensity", re.IGNORECASE)
MAX_OF_ONE = 1.25
"""Highest value of intensities that may be 0 to 1; they are not clipped."""


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
        intensity: {AU: (M,) float64}, NaN where empty; 0 to 5 where the table says its scale.
        unknown_scale: why the intensities cannot be compared with labels of 0 to 5; "" if they can.
    """

    path: Path
    columns: frozenset[str]
    rows: pd.DataFrame
    detection: dict[int, np.ndarray]
    intensity: dict[int, np.ndarray]
    unknown_scale: str = ""


def read_predictions(path: Path) -> Predictions:
    """Read and check a table of predictions.

    Raises:
        ConfigError: no such file.
        DataError: not a table of predictions, or a value that cannot be a prediction (the row is named).
    """
    checks.require_inputs([path], "predictions file")
    table = _read_parquet(path) if table_file.is_parquet(path) else _read_csv(path)
    if not table.places:
        raise DataError(f"{path} has no rows")
    numbers = table.numbers
    for (_, kind), column in table.aus.items():
        _check_range(table, column, kind)
    by_kind = {
        kind: {au: numbers[c] for (au, k), c in table.aus.items() if k == kind} for kind in long_table.KINDS
    }
    detection = by_kind["occurrence"] | by_kind["probability"]  # probability where a table has both
    rows = _rows(table)
    has_value = np.zeros(len(rows), dtype=np.bool_)
    for column in table.aus.values():
        has_value |= ~np.isnan(numbers[column])
    rows["found"] &= has_value
    factors = _factors(table)
    intensity = {au: factors * values for au, values in by_kind["intensity"].items()}
    return Predictions(path, frozenset(table.keys), rows, detection, intensity, _describe_scale(table))


@dataclass(frozen=True)
class _Table:
    """The columns of a file that are used, M rows.

    Attributes:
        path: the file.
        keys: {key of ``NAMES``: its column}.
        aus: {(AU, kind): its column}.
        texts: {column of ``TEXT_KEYS``: (M,) str or None}.
        numbers: {any other column: (M,) float64, finite, NaN where empty}.
        places: the place of each row in the file, for messages ("line 7").
    """

    path: Path
    keys: dict[str, str]
    aus: dict[tuple[int, facts.Kind], str]
    texts: dict[str, list[str | None]]
    numbers: dict[str, np.ndarray]
    places: Sequence[str]

    def __post_init__(self) -> None:
        """Refuse infinite values."""
        for column, values in self.numbers.items():
            if (infinite := np.flatnonzero(np.isinf(values))).size:
                raise DataError(
                    f"{self.path}, {self.places[infinite[0]]}: {column} is infinite; expected a number"
                )


def _read_csv(path: Path) -> _Table:
    with table_file.open_text(path) as table:
        keys, aus, text_names, number_names = _sort_columns(path, table.names)
        texts: dict[str, list[str | None]] = {name: [] for name in text_names}
        numbers: dict[str, array[float]] = {name: array("d") for name in number_names}
        text_cells = [(table.names.index(name), texts[name].append) for name in texts]
        number_cells = [(table.names.index(name), numbers[name].append, name) for name in numbers]
        places: list[str] = []
        names: dict[str, str] = {}  # many rows have the same text; it is stored once
        for place, cells in table.rows:
            for position, append_text in text_cells:
                cell = cells[position].rstrip()  # a film may be called "NA" or "nan"
                append_text(names.setdefault(cell, cell) if cell else None)
            for position, append_number, name in number_cells:
                try:
                    append_number(float(cells[position]))
                except ValueError:
                    append_number(table_file.parse_number(path, name, place, cells[position]))
            places.append(place)
    of_columns = {name: np.array(numbers[name]) for name in numbers}
    return _widen(_Table(path, keys, aus, texts, of_columns, places))


def _read_parquet(path: Path) -> _Table:
    with table_file.parquet_errors(path):
        table: pd.DataFrame = pq.read_table(path).to_pandas()
    table.columns = pd.Index([str(column).strip() for column in table.columns])
    keys, aus, text_names, number_names = _sort_columns(path, list(table.columns))
    places = [f"row {number}" for number in range(1, len(table) + 1)]
    texts: dict[str, list[str | None]] = {}
    for name in text_names:
        values = table[name].astype("object")
        texts[name] = values.where(values.notna(), None).to_list()
    numbers = {name: _numbers(path, table[name], name, places) for name in number_names}
    return _widen(_Table(path, keys, aus, texts, numbers, places))


def _sort_columns(
    path: Path, names: list[str]
) -> tuple[dict[str, str], dict[tuple[int, facts.Kind], str], list[str], list[str]]:
    """Return the columns of keys, those of action units, and all of these with text and with numbers."""
    named = [name for name in names if name]
    table_file.refuse_export(path, named)
    table_file.refuse_repeated_columns(path, named)
    keys = _key_columns(named)
    texts = [column for key, column in keys.items() if key in TEXT_KEYS]
    if kinds := long_table.find_kinds(named):
        aus = {(0, kind): column for kind, column in kinds.items()}  # the action units are in the rows
        texts += [name for name in named if name.lower() == long_table.AU]
    else:
        aus = _au_columns(path, named)
    return keys, aus, texts, [column for column in (*keys.values(), *aus.values()) if column not in texts]


def _key_columns(names: list[str]) -> dict[str, str]:
    """Return {key of ``NAMES``: its column in the table} for the keys that the table has."""
    lower = {name.lower(): name for name in reversed(names)}
    columns = {
        key: next((lower[name] for name in of_key if name in lower), None) for key, of_key in NAMES.items()
    }
    return {key: column for key, column in columns.items() if column is not None}


def _au_columns(path: Path, names: list[str]) -> dict[tuple[int, facts.Kind], str]:
    columns: dict[tuple[int, facts.Kind], str] = {}
    found = table_file.find_au_columns(names)
    table_file.refuse_lone_sides(path, found)
    for column, prediction in found.items():
        if prediction[1] not in long_table.KINDS:
            continue  # intensities of the sides of the face
        if prediction in columns:
            raise DataError(f"{path}: columns {columns[prediction]} and {column} are the same action unit")
        columns[prediction] = column
    if not columns:
        raise DataError(
            f"{path} has no AU column such as AU12_p (probability) or AU12_i (intensity); "
            f"it has {', '.join(names[:8])}"
        )
    return columns


def _widen(table: _Table) -> _Table:
    """Return a table with a column for each action unit; those that have one are returned as they are."""
    if not any(au == 0 for au, _ in table.aus):
        return table
    column_of_aus = next(name for name in table.texts if name.lower() == long_table.AU)
    keys: list[Sequence[object]] = []
    for key in ("id", "source", "frame", "face"):
        if (name := table.keys.get(key)) is not None:
            keys.append(table.texts[name] if key in TEXT_KEYS else np.nan_to_num(table.numbers[name], nan=-1))
    values = {kind: table.numbers[column] for (_, kind), column in table.aus.items()}
    wide = long_table.widen(table.path, keys, table.texts[column_of_aus], values, table.places)
    names = {(au, kind): f"{kind} of {facts.au_name(au)}" for au, kind in wide.aus}
    kept = set(table.keys.values())
    # Without scores the first face of a frame counts, in whatever order the rows were.
    order = np.arange(len(wide.rows))
    if "face" in table.keys:
        order = np.argsort(table.numbers[table.keys["face"]][wide.rows], kind="stable")
    rows = wide.rows[order]
    numbers = {name: column[rows] for name, column in table.numbers.items() if name in kept}
    return _Table(
        table.path,
        table.keys,
        {label: names[label] for label in wide.aus},
        {name: [texts[row] for row in rows] for name, texts in table.texts.items() if name in kept},
        numbers | {names[label]: column[order] for label, column in wide.aus.items()},
        [table.places[row] for row in rows],
    )


def _rows(table: _Table) -> pd.DataFrame:
    count = len(table.places)
    rows = pd.DataFrame(index=pd.RangeIndex(count))
    for key in TEXT_KEYS:
        texts = table.texts[table.keys[key]] if key in table.keys else [None] * count
        rows[key] = pd.Series(texts, dtype="object")
    for key in ("frame", "face"):
        numbers = table.numbers[table.keys[key]] if key in table.keys else np.zeros(count)
        filled = np.where(np.isnan(numbers), -1 if key == "face" else 0, numbers)
        if (wrong := np.flatnonzero(filled % 1 != 0)).size:
            raise DataError(
                f"{table.path}, {table.places[wrong[0]]}: {key} is {filled[wrong[0]]:g}; "
                "expected a whole number"
            )
        rows[key] = filled.astype(np.int64)
    rows["score"] = table.numbers[table.keys["score"]] if "score" in table.keys else np.nan
    rows["found"] = rows["face"] >= 0
    if "success" in table.keys:
        rows["found"] &= table.numbers[table.keys["success"]] > 0
    return rows


def _numbers(path: Path, values: "pd.Series[float]", column: str, places: Sequence[str]) -> np.ndarray:
    """Return (M,) float64 of a Parquet column, NaN where empty; DataError for other text."""
    if values.dtype == np.float32:
        return files.as_in_text(values.to_numpy())
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = values.astype("object")
    wrong = np.isnan(numbers) & text.notna().to_numpy() & (text.astype(str).str.strip() != "").to_numpy()
    if (invalid := np.flatnonzero(wrong)).size:
        first = int(invalid[0])
        raise DataError(
            f"{path}, {places[first]}: {column} is {str(values.iloc[first])!r}; expected a number"
        )
    return numbers


def _check_range(table: _Table, column: str, kind: facts.Kind) -> None:
    if kind == "intensity":
        return  # tools differ in the range of their intensities
    values = table.numbers[column]
    if (invalid := np.flatnonzero((values < 0) | (values > 1))).size:
        raise DataError(
            f"{table.path}, {table.places[invalid[0]]}: {column} is {values[invalid[0]]:g}; "
            f"expected a {kind} from 0 to 1"
        )


def _factors(table: _Table) -> np.ndarray:
    """Return (M,) factors from the intensities of a table to 0 to 5: 1, unless the table says its scale."""
    if (column := table.keys.get("intensity_max")) is None:
        return np.ones(len(table.places))
    highest = table.numbers[column]
    if (wrong := np.flatnonzero(~(highest > 0))).size:
        raise DataError(
            f"{table.path}, {table.places[wrong[0]]}: {column} is {highest[wrong[0]]:g}; "
            "expected the highest intensity of the scale, such as 1 or 5"
        )
    return np.asarray(facts.INTENSITY_MAX / highest)


def _describe_scale(table: _Table) -> str:
    """Return a line if intensities may be 0 to 1: tables of LibreFace differ, and no column says which."""
    if "intensity_max" in table.keys:
        return ""
    columns = [column for column in table.aus.values() if LIBREFACE.fullmatch(column)]
    highest = max((np.nan_to_num(table.numbers[column]).max() for column in columns), default=0.0)
    if not 0 < highest <= MAX_OF_ONE:
        return ""
    return (
        f"{table.path}: the highest intensity of {columns[0]} ... is {highest:g}, and LibreFace "
        "writes 0 to 1 or 0 to 5; multiply those of 0 to 1 by 5, and name the columns AU12_i"
    )
