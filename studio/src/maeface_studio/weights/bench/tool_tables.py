"""Tables of action units that any tool wrote, as scores, answers and intensities."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from maeface import checks, facts
from maeface.data.tables import table_file
from maeface.data.tables.predictions import Predictions, read_predictions
from maeface.errors import DataError

Floats = NDArray[np.float64]
SUFFIXES = (".csv", ".jsonl", ".parquet", ".pq", ".txt")
THRESHOLD = 0.5
"""Probability from which an action unit is present, where the table does not say whether it is."""
BLINK, CLOSED = 45, 43
"""OpenFace has AU45, a blink, for what is AU43, eyes closed, in a still."""
CORNERS, SIZES = ("x1", "y1", "x2", "y2"), ("facerectx", "facerecty", "facerectwidth", "facerectheight")


@dataclass(frozen=True)
class ToolTable:
    """A table of a tool, M rows.

    Attributes:
        predictions: the table as it is read everywhere.
        scores: {AU: (M,)} more for present: the probability, or where there is none the intensity, or the
            occurrence.
        calls: {AU: (M,)} 1 where the tool calls it present, 0 where absent.
        intensity: {AU: (M,)} 0 to 5; empty if the scale is not known.
        boxes: (M, 4) x1 y1 x2 y2 of the face in px; NaN where the table has none.
        left, right: {AU: (M,)} intensity of the subject's left and right, 0 to 5.
    """

    predictions: Predictions
    scores: Mapping[int, Floats]
    calls: Mapping[int, Floats]
    intensity: Mapping[int, Floats]
    boxes: Floats
    left: Mapping[int, Floats] = field(default_factory=dict)
    right: Mapping[int, Floats] = field(default_factory=dict)

    def with_sources(self, known: "Files") -> "ToolTable":
        """Return the table with the names of known files, where only folders or the suffix differ.

        A name means the known file that shares most of the end of its path. If several do, it stays as it
        is, and so does a name of another file that shares less with it.

        Raises:
            DataError: two names mean one known file equally well.
        """
        rows = self.predictions.rows
        if "source" not in self.predictions.columns:
            return self
        means: dict[str, tuple[int, str]] = {}  # known file: how much is shared, and the name
        for name in rows["source"].dropna().unique():
            shared, file = known.find(name)
            if file is None:
                continue
            length, other = means.get(file, (0, ""))
            if shared == length:
                raise DataError(
                    f"{self.predictions.path} has {other} and {name}, and both may be {file}; "
                    "leave out the one that is not"
                )
            if shared > length:
                means[file] = shared, name
        names = {name: file for file, (_, name) in means.items()}
        renamed = rows.assign(
            source=rows["source"].map(lambda name: names.get(name, name), na_action="ignore")
        )
        return replace(self, predictions=replace(self.predictions, rows=renamed))


class Files:
    """Known files, found by the ends of their paths, with or without the suffix."""

    def __init__(self, known: Iterable[str]) -> None:
        self._ends: dict[tuple[str, ...], set[str]] = {}
        for file in set(known):
            for last in (PureWindowsPath(file).name, _stem(file)):
                for end in _ends(_parts(file, last)):
                    self._ends.setdefault(end, set()).add(file)

    def find(self, name: str) -> tuple[int, str | None]:
        """Return how many parts of its path a name shares with the known file that it means, and the file."""
        best: tuple[int, str | None] = 0, None
        # Of two ends of one length, that of the name as it is: in "J. Smith" nothing is a suffix.
        for last in (PureWindowsPath(name).name, _stem(name)):
            longest = next((end for end in _ends(_parts(name, last)) if end in self._ends), ())
            if len(longest) > best[0]:
                files = self._ends[longest]
                best = len(longest), next(iter(files)) if len(files) == 1 else None
        return best


def _parts(name: str, last: str) -> tuple[str, ...]:
    return *PureWindowsPath(name).parts[:-1], last  # it splits at both kinds of slashes


def _ends(parts: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    """Return all ends of a path, longest first."""
    return (parts[start:] for start in range(len(parts)))


def read_tables(path: Path) -> list[ToolTable]:
    """Read a table, or each table of a folder and of the folders in it.

    Args:
        path: CSV, ``.jsonl`` or Parquet, or a folder of them. A table that names no file is of the file of
            its own path in the folder: ``clip.csv`` of ``clip.mp4``.

    Raises:
        ConfigError: there is no such file.
        DataError: a table cannot be read, or the folder has none.
    """
    checks.require_inputs([path])
    if not path.is_dir():
        return [_read(path, path.name)]
    shown = [
        file
        for file in path.rglob("*")
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    files = sorted(file for file in shown if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise DataError(f"{path} has no table; expected files that end with {', '.join(SUFFIXES)}")
    return [_read(file, file.relative_to(path).as_posix()) for file in files]


def _read(path: Path, name: str) -> ToolTable:
    """Read a table; if it names no file, it is of the file ``name``, whatever its suffix."""
    predictions = read_predictions(path)
    rows, named = predictions.rows, predictions.columns & {"id", "source"}
    if not named:
        rows = rows.assign(source=name.removesuffix(path.suffix))
    if "success" in predictions.columns and rows["frame"].min() > 0:
        rows = rows.assign(frame=rows["frame"] - 1)  # OpenFace counts from 1
    columns = predictions.columns if named else predictions.columns | {"source"}
    predictions = replace(predictions, rows=rows, columns=columns)
    detection, intensity = _with_closed(predictions.detection), _with_closed(predictions.intensity)
    extra = _read_numbers(path, len(rows))
    kinds = table_file.find_au_columns(list(extra))
    occurrence = _with_closed({au: extra[name] for name, (au, kind) in kinds.items() if kind == "occurrence"})
    graded = _with_closed(
        {au: detection[au] for au, kind in kinds.values() if kind == "probability"} if extra else detection
    )
    return ToolTable(
        predictions=predictions,
        scores=detection | intensity | graded,
        calls={au: _threshold(values) for au, values in detection.items()} | occurrence,
        intensity={} if predictions.unknown_scale else intensity,
        boxes=_boxes(extra, len(rows)),
        left={au: extra[name] for name, (au, kind) in kinds.items() if kind == "left"},
        right={au: extra[name] for name, (au, kind) in kinds.items() if kind == "right"},
    )


def _with_closed(values: Mapping[int, Floats]) -> dict[int, Floats]:
    """Return values by action unit; AU43 is AU45 where there is no other."""
    return {CLOSED: values[BLINK], **values} if BLINK in values else dict(values)


def _threshold(values: Floats) -> Floats:
    return np.where(np.isnan(values), np.nan, (values >= THRESHOLD).astype(np.float64))


def _boxes(columns: Mapping[str, Floats], rows: int) -> Floats:
    """Return (M, 4) boxes, from the corners or from a corner and the size."""
    lower = {name.lower(): values for name, values in columns.items()}
    if all(name in lower for name in CORNERS):
        return np.stack([lower[name] for name in CORNERS], axis=1)
    if all(name in lower for name in SIZES):
        x, y, width, height = (lower[name] for name in SIZES)
        return np.stack([x, y, x + width, y + height], axis=1)
    return np.full((rows, 4), np.nan)


def _read_numbers(path: Path, rows: int) -> dict[str, Floats]:
    """Return the columns of action units and of boxes; none where rows are not of faces (long tables)."""

    def is_wanted(name: str) -> bool:
        return name.lower() in CORNERS + SIZES or facts.au_column(name) is not None

    if table_file.is_parquet(path):
        names = [name for name in pq.read_schema(path).names if is_wanted(name)]
        table = pq.read_table(path, columns=names).to_pandas()
        columns = {name: table[name].to_numpy(np.float64, na_value=np.nan) for name in names}
    else:
        columns = _read_text(path, is_wanted)
    return columns if all(len(values) == rows for values in columns.values()) else {}


def _read_text(path: Path, is_wanted: Callable[[str], bool]) -> dict[str, Floats]:
    with table_file.open_text(path) as table:
        places = {name: place for place, name in enumerate(table.names) if is_wanted(name)}
        cells: dict[str, list[float]] = {name: [] for name in places}
        for place, row in table.rows:
            for name, column in places.items():
                cells[name].append(table_file.parse_number(path, name, place, row[column]))
    return {name: np.array(values) for name, values in cells.items()}


def _stem(name: str) -> str:
    return PureWindowsPath(name).stem  # it splits at both kinds of slashes
