"""What several readers need: strict tables of whole numbers, folders in natural order, checked labels."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maeface.data.ingest.inputs import Input
from maeface.data.manifest import IMAGE_SUFFIXES, escape
from maeface.errors import DataError
from maeface.files import natural_key

UNKNOWN = (9, -1)
"""Codes of "not known" in the AU datasets."""
BOM = b"\xef\xbb\xbf"
_NEWLINE, _COMMA, _MINUS, _ZERO = b"\n,-0"
_DIGITS = 18  # of a number that fits


@dataclass(frozen=True)
class Ints:
    """A text table of whole numbers.

    Attributes:
        path: the file.
        names: the cells of its header line, stripped; () without one.
        values: (rows, columns) int64.
        lines: (rows,) int64, where each row stands in the file, from 1.
    """

    path: Path
    names: tuple[str, ...]
    values: NDArray[np.int64]
    lines: NDArray[np.int64]

    def where(self, row: int) -> str:
        """The file and the line of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def ints(path: Path, header: bool = False, columns: int | None = None) -> Ints:
    """Read a text table of whole numbers with commas between, strictly.

    A byte order mark, blank lines and spaces around numbers are accepted; anything else is refused.

    Args:
        path: the file.
        header: whether the first line has names, not numbers.
        columns: how many there must be; None for any number, the same in each line.

    Raises:
        DataError: no such file, not text, empty, separated otherwise, a cell that is no whole number, or
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
        names = tuple(cell.strip() for cell in _text(path, first).split(","))
        _refuse_semicolons(path, 1, _text(path, first))
        columns = len(names)
    if not body.strip():
        raise DataError(f"{path} has no rows; expected whole numbers, copy the file again")
    values, lines = _quick(body) or _careful(path, body, int(header))
    lines = lines + int(header)
    if columns is not None and values.shape[1] != columns:
        raise DataError(f"{path}, line {lines[0]}: {values.shape[1]} columns where {columns} are expected")
    return Ints(path, names, values, lines)


def labels(
    table: Ints, column: int, what: str, highest: int, unknown: Sequence[int] = UNKNOWN
) -> NDArray[np.float32]:
    """A column of a table as labels.

    Args:
        table: from ``ints``.
        column: which.
        what: its name, for messages ("AU12").
        highest: 1 for occurrence, 5 for intensity.
        unknown: codes of "not known".

    Returns:
        (rows,) float32, 0 to ``highest``, NaN where not known.

    Raises:
        DataError: any other value; file and line are named.
    """
    values = table.values[:, column]
    masked = np.any([values == code for code in unknown], axis=0)
    wrong = ~masked & ((values < 0) | (values > highest))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{table.where(row)}: {what} is {values[row]}; "
            f"expected 0 to {highest}, or {unknown[0]} for not known"
        )
    return np.where(masked, np.nan, values).astype(np.float32)


def unique_frames(table: Ints, column: int = 0) -> NDArray[np.int64]:
    """A column of frame numbers, each once and none negative.

    Raises:
        DataError: a frame that is negative or there twice; file and line are named.
    """
    frames = table.values[:, column]
    if (frames < 0).any():
        row = int(np.argmax(frames < 0))
        raise DataError(f"{table.where(row)}: frame {frames[row]}; expected 0 or more")
    _, first = np.unique(frames, return_index=True)
    if len(first) < len(frames):
        row = int(np.setdiff1d(np.arange(len(frames)), first)[0])
        raise DataError(f"{table.where(row)}: frame {frames[row]} is there a second time; remove one row")
    return frames


@dataclass(frozen=True)
class File:
    """A file of a folder: its name and its bytes."""

    name: str
    size: int


def listed(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> list[File]:
    """The files of a folder with one of the suffixes (lower case), in natural order, listed once.

    Names that begin with a dot are passed over; an absent folder is an empty one.
    """
    return sorted(_files(folder, suffixes), key=lambda file: natural_key(file.name))


def folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, in natural order; an absent one has none."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror or error}") from error
    return sorted(found, key=natural_key)


def numbered(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> dict[int, File]:
    """The images of a folder by the number that their names end with, padded or not, ascending.

    Raises:
        DataError: a name without a number, or two files of one number.
    """
    found: dict[int, File] = {}
    for file in sorted(_files(folder, suffixes), key=lambda file: file.name):
        digits = re.search(r"[0-9]+$", file.name.rpartition(".")[0])
        if digits is None:
            raise DataError(f"{folder / file.name}: no frame number in its name; expected one as in 0732.jpg")
        other = found.setdefault(int(digits[0]), file)
        if other is not file:
            raise DataError(f"{folder}: {other.name} and {file.name} are the same frame; remove one of them")
    return dict(sorted(found.items()))


def first_folder(root: Path, candidates: Sequence[str], what: str) -> Path:
    """The first of the candidates that is a folder of ``root``.

    Raises:
        DataError: none is; all are named.
    """
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise DataError(
        f"{root} has no folder of {what}; expected {' or '.join(candidates)}; is it the right one?"
    )


def image(root: Path, relative: str, size: int) -> Input:
    """An image file as an input; ``relative`` is its path below ``root``, posix."""
    plain = relative.isascii() and "\\" not in relative  # nothing to escape, and a Path is slow
    source = relative if plain else escape(Path(relative))
    return Input(source, os.path.join(root, relative), size, video=False)  # noqa: PTH118 - millions


def video(root: Path, path: Path, frames: NDArray[np.int64] | None = None) -> Input:
    """A video below ``root`` as an input; ``frames``: ascending 0-based indices to read, None for all."""
    chosen = () if frames is None else spans(frames)
    source = escape(path.relative_to(root))
    return Input(source, str(path), path.stat().st_size, video=True, frames=chosen)


def spans(frames: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """Ascending indices as [start, stop) spans: ``[3, 4, 5, 9] -> ((3, 6), (9, 10))``."""
    if not len(frames):
        return ()
    groups = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
    return tuple((int(group[0]), int(group[-1]) + 1) for group in groups)


def refuse_missing(
    root: Path, expected: Sequence[str], found: Iterable[str], partial: bool, what: str
) -> None:
    """Refuse a dataset that is not whole, unless ``partial``.

    Args:
        root: of the dataset.
        expected: every name; empty where not known.
        found: the names that are there.
        partial: whether some may be missing.
        what: what is missing, for the message ("subjects").

    Raises:
        DataError: some are missing, or none of them is there; up to eight are named.
    """
    missing = sorted(set(expected) - set(found), key=natural_key)
    if missing and (not partial or len(missing) == len(expected)):
        named = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        advice = "" if len(missing) == len(expected) else ", or take what is there: --set partial=true"
        raise DataError(
            f"{root}: {len(missing)} of {len(expected)} {what} missing: {named}; complete it{advice}"
        )


def refuse_strangers(folder: Path, expected: Sequence[str], found: Iterable[str], dataset: str) -> None:
    """Refuse subjects that a dataset does not have: it may be another's folder, with names alike.

    Args:
        folder: where they were found.
        expected: every subject; empty where not known.
        found: the names that are there.
        dataset: its title, for the message.

    Raises:
        DataError: there are some; up to eight are named.
    """
    strangers = sorted(set(found) - set(expected), key=natural_key)
    if expected and strangers:
        named = ", ".join(strangers[:8]) + (f" and {len(strangers) - 8} more" if len(strangers) > 8 else "")
        raise DataError(
            f"{folder}: {named}: no subject of {dataset}, which has {expected[0]} to {expected[-1]}; "
            "move it elsewhere, or is this another dataset?"
        )


def _files(folder: Path, suffixes: Iterable[str]) -> list[File]:
    wanted = tuple(suffixes)
    try:
        with os.scandir(folder) as entries:
            return [
                File(entry.name, entry.stat().st_size)
                for entry in entries
                if not entry.name.startswith(".") and entry.name.lower().endswith(wanted) and entry.is_file()
            ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror or error}") from error


def _quick(body: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """A clean table, all cells at once; None where a closer look is needed."""
    text = np.frombuffer(body.replace(b"\r\n", b"\n") + b"\n", np.uint8)
    ends = np.flatnonzero((text == _COMMA) | (text == _NEWLINE))
    starts = np.concatenate([[0], ends[:-1] + 1])
    negative = text[starts] == _MINUS
    starts += negative
    lengths = ends - starts
    digits = text.astype(np.int64) - _ZERO
    others = len(ends) + int(negative.sum())  # separators and signs
    if lengths.min() < 1 or lengths.max() > _DIGITS or ((digits < 0) | (digits > 9)).sum() != others:
        return None
    values = np.zeros(len(ends), np.int64)
    for place in range(int(lengths.max())):
        values += np.where(place < lengths, digits[ends - 1 - place], 0) * 10**place
    per_line = np.diff(np.flatnonzero(text[ends] == _NEWLINE), prepend=-1)
    if (per_line != per_line[0]).any():
        return None
    table = np.where(negative, -values, values).reshape(len(per_line), -1)
    return table, np.arange(1, len(table) + 1, dtype=np.int64)


def _careful(path: Path, body: bytes, before: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same table cell by cell, which finds the line that is wrong."""
    rows: list[list[int]] = []
    lines: list[int] = []
    for number, line in enumerate(_text(path, body).splitlines(), 1):
        if not line.strip():
            continue
        _refuse_semicolons(path, number + before, line)
        cells = line.split(",")
        row = []
        for column, cell in enumerate(cells, 1):
            if not re.fullmatch(r"\s*-?\d{1,18}\s*", cell, re.ASCII):
                raise DataError(
                    f"{path}, line {number + before}: column {column} is {cell.strip()!r}; "
                    "expected a whole number"
                )
            row.append(int(cell))
        if rows and len(row) != len(rows[0]):
            raise DataError(
                f"{path}, line {number + before}: {len(row)} cells where the lines above have {len(rows[0])}"
            )
        rows.append(row)
        lines.append(number)
    return np.array(rows, dtype=np.int64), np.array(lines, dtype=np.int64)


def _refuse_semicolons(path: Path, line: int, text: str) -> None:
    if ";" in text:
        raise DataError(f"{path}, line {line}: separated by semicolons; save it separated by commas")


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8; copy the file again") from error
