"""Hand-coded labels of single images: FACS files, which list action units, and the table of labels.

For datasets with a text file or a line for each image: CK+, DISFA+, RAF-AU, UNBC-McMaster,
Aff-Wild2.
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
from maeface.data.formats import listing
from maeface.data.formats.integer_table import BOM
from maeface.errors import DataError

NOT_SCORABLE = 9.0
"""FACS coders' code of "cannot be scored"."""


@dataclass(frozen=True)
class LabelledImage:
    """A labelled image, or a labelled frame of a video.

    Attributes:
        source: of its input.
        subject: the person in it.
        clip: the sequence that it belongs to.
        frame: 0 for an image file, the 0-based index for a video.
    """

    source: str
    subject: str
    clip: str
    frame: int = 0


def read_codes(path: Path, columns: int) -> dict[int, float]:
    """Read a FACS file: a line for each action unit with its number, its intensity, and other numbers.

    Numbers may be written as floats (``2.0000000e+00``). An empty file lists no action unit. Where one is
    listed twice (once for each side of the face), the higher intensity counts.

    Args:
        path: the file.
        columns: how many numbers a line has.

    Returns:
        {number of the action unit: intensity as written, 0 to 5, NaN for 9}.

    Raises:
        DataError: not text, a line of another length, not a number, or an intensity beyond 5; the line is
            named.
    """
    codes: dict[int, float] = {}
    for line, cells in read_lines(path):
        if len(cells) != columns:
            raise DataError(
                f"{path}, line {line}: {len(cells)} cells; expected {columns} numbers between spaces"
            )
        numbers = [_parse_number(path, line, cell) for cell in cells]
        au, intensity = numbers[0], numbers[1]
        if au % 1 or not 1 <= au <= 99:
            raise DataError(
                f"{path}, line {line}: {cells[0]} is no action unit; expected a whole number, 1 to 99"
            )
        if intensity == NOT_SCORABLE:
            codes.setdefault(int(au), np.nan)
        elif not 0 <= intensity <= facts.INTENSITY_MAX:
            raise DataError(
                f"{path}, line {line}: {facts.au_name(int(au))} is {intensity:g}; "
                "expected 0 to 5, or 9 for not known"
            )
        else:
            codes[int(au)] = float(np.fmax(intensity, codes.get(int(au), 0.0)))
    return codes


def read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Read a text file with spaces between cells, without blank lines and comments ("#").

    Returns:
        For each line its number, from 1, and its cells.

    Raises:
        DataError: it cannot be read, is not text, or is separated by semicolons.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        text = data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8; copy the file again") from error
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split()
        if not cells or cells[0].startswith("#"):
            continue
        if ";" in line:
            raise DataError(f"{path}, line {number}: separated by semicolons; expected spaces")
        lines.append((number, cells))
    return lines


def list_subjects(root: Path, folder: Path, dataset: facts.Dataset, partial: bool) -> list[str]:
    """Return the subjects of a dataset: the names of the folders in ``folder``, in natural order.

    Raises:
        DataError: a folder that is not a subject's, no subject, or, without ``partial``, missing ones.
    """
    names = listing.list_folders(folder)
    if wrong := [name for name in names if not re.fullmatch(dataset.subjects, name)]:
        raise DataError(
            f"{folder / wrong[0]} is no subject of {dataset.title}; expected folders such as "
            f"{dataset.subject_names[0] if dataset.subject_names else dataset.subjects}; move it elsewhere"
        )
    if not names:
        raise DataError(f"{folder} has no folder; expected one for each subject of {dataset.title}")
    listing.refuse_unknown_subjects(folder, dataset.subject_names, names, dataset.title)
    listing.refuse_missing(root, dataset.subject_names, names, partial, "subjects")
    return names


def refuse_missing_images(root: Path, missing: Sequence[str], partial: bool) -> None:
    """Refuse labels without their images, unless ``partial``.

    Args:
        root: the folder that the names are relative to.
        missing: images that have a label and are not there.
        partial: whether some may be missing.

    Raises:
        DataError: some are missing; the first is named.
    """
    if missing and not partial:
        raise DataError(
            f"{root / missing[0]} is not there but has a label ({len(missing)} such images); "
            "complete the folder, or take what is there with --set partial=true"
        )


def label_table(
    images: Sequence[LabelledImage],
    occurrence: Mapping[int, NDArray[np.float32]],
    intensity: Mapping[int, NDArray[np.float32]],
) -> pd.DataFrame:
    """Return the labels of a ``RawDataset``; images without any label are left out.

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
    labelled = np.zeros(len(images), dtype=bool)
    for name, column in values.items():
        columns[name] = np.asarray(column, dtype=np.float32)
        labelled |= ~np.isnan(column)
    return pd.DataFrame(columns)[labelled].reset_index(drop=True)


def intensities(codes: Sequence[Mapping[int, float]], au: int) -> NDArray[np.float32]:
    """Return the intensity of an action unit in each image, (N,); 0 where it is not listed."""
    return np.array([image.get(au, 0.0) for image in codes], dtype=np.float32)


def occurrence_if_listed(codes: Sequence[Mapping[int, float]], au: int) -> NDArray[np.float32]:
    """Return (N,) 1 where an image lists an action unit, with any intensity, else 0; NaN where missing."""
    values = intensities(codes, au)
    return np.where(np.isnan(values), np.nan, [au in image for image in codes]).astype(np.float32)


def occurrence_from(values: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Return (N,) 1 where an intensity is ``threshold`` or more, else 0; NaN where missing."""
    return np.where(np.isnan(values), np.nan, values >= threshold).astype(np.float32)


def missing_notes(unlabelled: int, included: bool, no_image: int = 0, what: str = "frames") -> list[str]:
    """Return notes about images without a label and labels without an image.

    Args:
        unlabelled: images without a label.
        included: whether they are inputs all the same.
        no_image: labels without an image.
        what: what the images are.
    """
    notes = []
    if unlabelled:
        notes.append(f"{unlabelled} {what} without a label, {'taken without' if included else 'left out'}")
    if no_image:
        notes.append(f"{no_image} labels without an image, left out")
    return notes


def other_codes_notes(codes: Iterable[Mapping[int, float]], aus: Collection[int]) -> tuple[str, ...]:
    """Return a note about listed codes that are not among ``aus``; () if there are none."""
    counts = Counter(au for image in codes for au in image if au not in aus)
    if not counts:
        return ()
    named = ", ".join(f"{au} ({count})" for au, count in sorted(counts.items()))
    return (f"codes that are not among the dataset's action units here, left out: {named}",)


def _parse_number(path: Path, line: int, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{path}, line {line}: {cell!r} is no number")
    return value
