"""Labels of single images, coded by hand: lists of action units in small text files, and the table of labels.

Used by the readers of datasets that keep a text file an image, or a line an image (``data.readers``).
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts
from maeface.data.formats import parsing
from maeface.errors import DataError

UNKNOWN = 9.0
"""FACS coders' code of "cannot be scored"."""


@dataclass(frozen=True)
class Image:
    """A labelled image, or a labelled frame of a video.

    Attributes:
        source: of its input.
        subject: who is seen.
        clip: the sequence that it belongs to.
        frame: 0 for an image file, the 0-based index for a video.
    """

    source: str
    subject: str
    clip: str
    frame: int = 0


def codes(path: Path, columns: int) -> dict[int, float]:
    """The action units that a FACS file lists, a line each: number, intensity, and whatever else there is.

    Numbers may be written as floats (``2.0000000e+00``). An empty file lists none. Where a unit is listed
    twice (once for each side of the face), the higher intensity counts.

    Args:
        path: the file.
        columns: how many numbers a line has.

    Returns:
        {number of the action unit: intensity as written, 0 to 5, NaN for 9}.

    Raises:
        DataError: not text, a line of another length, no number, or an intensity beyond 5; the line is named.
    """
    found: dict[int, float] = {}
    for line, cells in lines(path):
        if len(cells) != columns:
            raise DataError(
                f"{path}, line {line}: {len(cells)} cells; expected {columns} numbers between spaces"
            )
        numbers = [_number(path, line, cell) for cell in cells]
        au, intensity = numbers[0], numbers[1]
        if au % 1 or not 1 <= au <= 99:
            raise DataError(
                f"{path}, line {line}: {cells[0]} is no action unit; expected a whole number, 1 to 99"
            )
        if intensity == UNKNOWN:
            found.setdefault(int(au), np.nan)
        elif not 0 <= intensity <= facts.INTENSITY_MAX:
            raise DataError(
                f"{path}, line {line}: {facts.au_name(int(au))} is {intensity:g}; "
                "expected 0 to 5, or 9 for not known"
            )
        else:
            found[int(au)] = float(np.fmax(intensity, found.get(int(au), 0.0)))
    return found


def lines(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of a text file cut at spaces: (number from 1, cells), without blank ones and comments ("#").

    Raises:
        DataError: it cannot be read, is not text, or is separated by semicolons.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        text = data.removeprefix(parsing.BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8; copy the file again") from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split()
        if not cells or cells[0].startswith("#"):
            continue
        if ";" in line:
            raise DataError(f"{path}, line {number}: separated by semicolons; expected spaces")
        found.append((number, cells))
    return found


def subjects(root: Path, folder: Path, dataset: facts.Dataset, partial: bool) -> list[str]:
    """The subjects of a dataset: the names of the folders in ``folder``, in natural order.

    Raises:
        DataError: a folder that is no subject's, no subject, or, without ``partial``, missing ones.
    """
    found = parsing.folders(folder)
    if strange := [name for name in found if not re.fullmatch(dataset.subjects, name)]:
        raise DataError(
            f"{folder / strange[0]} is no subject of {dataset.title}; expected folders such as "
            f"{dataset.subject_names[0] if dataset.subject_names else dataset.subjects}; move it elsewhere"
        )
    if not found:
        raise DataError(f"{folder} has no folder; expected one for each subject of {dataset.title}")
    parsing.refuse_strangers(folder, dataset.subject_names, found, dataset.title)
    parsing.refuse_missing(root, dataset.subject_names, found, partial, "subjects")
    return found


def refuse_absent(root: Path, absent: Sequence[str], partial: bool) -> None:
    """Refuse labels whose images are not there, unless ``partial``.

    Raises:
        DataError: some are not there; the first is named.
    """
    if absent and not partial:
        raise DataError(
            f"{root / absent[0]} is not there but has a label ({len(absent)} such images); "
            "complete the folder, or take what is there with --set partial=true"
        )


def table(
    images: Sequence[Image],
    occurrence: Mapping[int, NDArray[np.float32]],
    intensity: Mapping[int, NDArray[np.float32]],
) -> pd.DataFrame:
    """The labels of a ``Reading``; images of which nothing is known are left out.

    Args:
        images: N of them.
        occurrence: {action unit: (N,) 0, 1 or NaN}.
        intensity: {action unit: (N,) 0 to 5 or NaN}.
    """
    columns: dict[str, object] = {
        "source": [image.source for image in images],
        "frame": np.array([image.frame for image in images], dtype=np.int64),
        "subject": [image.subject for image in images],
        "clip": [image.clip for image in images],
    }
    values = {f"{facts.au_name(au)}_o": column for au, column in sorted(occurrence.items())}
    values |= {f"{facts.au_name(au)}_i": column for au, column in sorted(intensity.items())}
    known = np.zeros(len(images), dtype=bool)
    for name, column in values.items():
        columns[name] = np.asarray(column, dtype=np.float32)
        known |= ~np.isnan(column)
    return pd.DataFrame(columns)[known].reset_index(drop=True)


def column(coded: Sequence[Mapping[int, float]], au: int) -> NDArray[np.float32]:
    """One action unit over images: what each image lists, 0 where it is not listed."""
    return np.array([found.get(au, 0.0) for found in coded], dtype=np.float32)


def listed(coded: Sequence[Mapping[int, float]], au: int) -> NDArray[np.float32]:
    """1 where an image lists an action unit, whatever its intensity, else 0, NaN where it is not known."""
    values = column(coded, au)
    return np.where(np.isnan(values), np.nan, [au in found for found in coded]).astype(np.float32)


def present(values: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """1 where an intensity is ``threshold`` or more, else 0, NaN where it is not known."""
    return np.where(np.isnan(values), np.nan, values >= threshold).astype(np.float32)


def remainder(unlabelled: int, taken: bool, absent: int = 0, what: str = "frames") -> list[str]:
    """Notes about images without a label (taken all the same, or not) and labels without an image."""
    notes = []
    if unlabelled:
        notes.append(f"{unlabelled} {what} without a label, {'taken without' if taken else 'left out'}")
    if absent:
        notes.append(f"{absent} labels without an image, left out")
    return notes


def others(coded: Iterable[Mapping[int, float]], taken: Collection[int]) -> tuple[str, ...]:
    """A note about codes that are listed but not taken; none if there are none."""
    counts = Counter(au for found in coded for au in found if au not in taken)
    if not counts:
        return ()
    named = ", ".join(f"{au} ({count})" for au, count in sorted(counts.items()))
    return (f"codes that are not among the dataset's action units here, left out: {named}",)


def _number(path: Path, line: int, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{path}, line {line}: {cell!r} is no number")
    return value
