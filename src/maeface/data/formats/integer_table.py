"""Text tables of whole numbers with commas between: a strict reader; columns as frames and as labels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maeface.errors import DataError

MISSING_CODES = (9, -1)
"""Codes of a missing label in the AU datasets."""
BOM = b"\xef\xbb\xbf"
_NEWLINE, _COMMA, _MINUS, _ZERO = b"\n,-0"
_MAX_DIGITS = 18  # of a number that fits in int64


@dataclass(frozen=True)
class IntegerTable:
    """A text table of whole numbers.

    Attributes:
        path: the file.
        names: the cells of its header line, stripped; () without one.
        values: (rows, columns) int64.
        lines: (rows,) int64, the line of the file that each row stands in, from 1.
    """

    path: Path
    names: tuple[str, ...]
    values: NDArray[np.int64]
    lines: NDArray[np.int64]

    def location(self, row: int) -> str:
        """Return the file and the line of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def read(path: Path, header: bool = False, columns: int | None = None) -> IntegerTable:
    """Read a table strictly.

    A byte order mark, blank lines and spaces around numbers are accepted; anything else is refused.

    Args:
        path: the file.
        header: whether the first line has names, not numbers.
        columns: the number of columns; None for any number, the same in each line.

    Raises:
        DataError: no such file, not text, empty, separated otherwise, a cell that is not a whole number, or
            lines of different lengths; the line is named.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    data = data.removeprefix(BOM).rstrip()
    names: tuple[str, ...] = ()
    body = data
    if header:
        first, _, body = data.partition(b"\n")
        names = tuple(cell.strip() for cell in _decode(path, first).split(","))
        _refuse_semicolons(path, 1, _decode(path, first))
        columns = len(names)
    if not body.strip():
        raise DataError(f"{path} has no rows; expected whole numbers, copy the file again")
    values, lines = _parse_clean(body) or _parse_line_by_line(path, body, int(header))
    lines = lines + int(header)
    if columns is not None and values.shape[1] != columns:
        raise DataError(f"{path}, line {lines[0]}: {values.shape[1]} columns where {columns} are expected")
    return IntegerTable(path, names, values, lines)


def label_column(
    table: IntegerTable, column: int, name: str, highest: int, missing: Sequence[int] = MISSING_CODES
) -> NDArray[np.float32]:
    """Return a column of a table as labels.

    Args:
        table: from ``read``.
        column: its position.
        name: of the label, for messages ("AU12").
        highest: 1 for occurrence, 5 for intensity.
        missing: codes of a missing label.

    Returns:
        (rows,) float32, 0 to ``highest``, NaN where missing.

    Raises:
        DataError: any other value; file and line are named.
    """
    values = table.values[:, column]
    masked = np.any([values == code for code in missing], axis=0)
    wrong = ~masked & ((values < 0) | (values > highest))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{table.location(row)}: {name} is {values[row]}; "
            f"expected 0 to {highest}, or {missing[0]} for not known"
        )
    return np.where(masked, np.nan, values).astype(np.float32)


def frame_column(table: IntegerTable, column: int = 0) -> NDArray[np.int64]:
    """Return a column of frame numbers, (rows,) int64, each once and none negative.

    Raises:
        DataError: a frame that is negative or repeated; file and line are named.
    """
    frames = table.values[:, column]
    if (frames < 0).any():
        row = int(np.argmax(frames < 0))
        raise DataError(f"{table.location(row)}: frame {frames[row]}; expected 0 or more")
    _, first = np.unique(frames, return_index=True)
    if len(first) < len(frames):
        row = int(np.setdiff1d(np.arange(len(frames)), first)[0])
        raise DataError(f"{table.location(row)}: frame {frames[row]} is there a second time; remove one row")
    return frames


def _parse_clean(body: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return values and lines of a table without spaces, all cells at once; None for any other table."""
    text = np.frombuffer(body.replace(b"\r\n", b"\n") + b"\n", np.uint8)
    ends = np.flatnonzero((text == _COMMA) | (text == _NEWLINE))
    starts = np.concatenate([[0], ends[:-1] + 1])
    negative = text[starts] == _MINUS
    starts += negative
    lengths = ends - starts
    digits = text.astype(np.int64) - _ZERO
    not_digits = len(ends) + int(negative.sum())  # separators and signs
    if lengths.min() < 1 or lengths.max() > _MAX_DIGITS or ((digits < 0) | (digits > 9)).sum() != not_digits:
        return None
    values = np.zeros(len(ends), np.int64)
    for place in range(int(lengths.max())):
        values += np.where(place < lengths, digits[ends - 1 - place], 0) * 10**place
    per_line = np.diff(np.flatnonzero(text[ends] == _NEWLINE), prepend=-1)
    if (per_line != per_line[0]).any():
        return None
    table = np.where(negative, -values, values).reshape(len(per_line), -1)
    return table, np.arange(1, len(table) + 1, dtype=np.int64)


def _parse_line_by_line(
    path: Path, body: bytes, lines_before: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return values and lines, cell by cell, so that the line that is wrong can be named."""
    rows: list[list[int]] = []
    lines: list[int] = []
    for number, line in enumerate(_decode(path, body).splitlines(), 1):
        if not line.strip():
            continue
        _refuse_semicolons(path, number + lines_before, line)
        cells = line.split(",")
        row = []
        for column, cell in enumerate(cells, 1):
            if not re.fullmatch(r"\s*-?\d{1,18}\s*", cell, re.ASCII):
                raise DataError(
                    f"{path}, line {number + lines_before}: column {column} is {cell.strip()!r}; "
                    "expected a whole number"
                )
            row.append(int(cell))
        if rows and len(row) != len(rows[0]):
            raise DataError(
                f"{path}, line {number + lines_before}: {len(row)} cells "
                f"where the lines above have {len(rows[0])}"
            )
        rows.append(row)
        lines.append(number)
    return np.array(rows, dtype=np.int64), np.array(lines, dtype=np.int64)


def _refuse_semicolons(path: Path, line: int, text: str) -> None:
    if ";" in text:
        raise DataError(f"{path}, line {line}: separated by semicolons; save it separated by commas")


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8; copy the file again") from error
