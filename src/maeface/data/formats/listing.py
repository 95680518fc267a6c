"""The files and folders of a dataset, in natural order and as inputs; checks of what is missing."""

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

NAMED = 8
"""How many missing names a message lists."""


@dataclass(frozen=True)
class File:
    """A file of a folder: its name and its size in bytes."""

    name: str
    size: int


def list_files(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> list[File]:
    """Return the files of a folder with one of the suffixes (lower case), in natural order.

    Names that begin with a dot are left out; an absent folder is an empty one.

    Raises:
        DataError: the folder cannot be read.
    """
    return sorted(_scan_files(folder, suffixes), key=lambda file: natural_key(file.name))


def list_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, in natural order; an absent one has none.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror or error}") from error
    return sorted(names, key=natural_key)


def number_files(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> dict[int, File]:
    """Return the images of a folder by the number that their names end with, padded or not, ascending.

    Raises:
        DataError: a name without a number, or two files of one number.
    """
    files: dict[int, File] = {}
    for file in sorted(_scan_files(folder, suffixes), key=lambda file: file.name):
        digits = re.search(r"[0-9]+$", file.name.rpartition(".")[0])
        if digits is None:
            raise DataError(f"{folder / file.name}: no frame number in its name; expected one as in 0732.jpg")
        other = files.setdefault(int(digits[0]), file)
        if other is not file:
            raise DataError(f"{folder}: {other.name} and {file.name} are the same frame; remove one of them")
    return dict(sorted(files.items()))


def first_folder(root: Path, candidates: Sequence[str], content: str) -> Path:
    """Return the first of the candidates that is a folder of ``root``.

    Args:
        root: of the dataset.
        candidates: relative to ``root``.
        content: what the folder holds, for the message ("labels").

    Raises:
        DataError: none is; all are named.
    """
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise DataError(
        f"{root} has no folder of {content}; expected {' or '.join(candidates)}; is it the right one?"
    )


def image_input(root: Path, relative: str, size: int) -> Input:
    """Return an image file as an input; ``relative`` is its path below ``root``, posix."""
    plain = relative.isascii() and "\\" not in relative  # nothing to escape, and a Path is slow
    source = relative if plain else escape(Path(relative))
    return Input(source, os.path.join(root, relative), size, video=False)  # noqa: PTH118 - millions


def video_input(root: Path, path: Path, frames: NDArray[np.int64] | None = None) -> Input:
    """Return a video below ``root`` as an input; ``frames``: ascending 0-based indices, None for all."""
    spans = () if frames is None else frame_spans(frames)
    source = escape(path.relative_to(root))
    return Input(source, str(path), path.stat().st_size, video=True, frames=spans)


def frame_spans(frames: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """Return ascending indices as [start, stop) spans: ``[3, 4, 5, 9] -> ((3, 6), (9, 10))``."""
    if not len(frames):
        return ()
    groups = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
    return tuple((int(group[0]), int(group[-1]) + 1) for group in groups)


def refuse_missing(
    root: Path, expected: Sequence[str], present: Iterable[str], partial: bool, what: str
) -> None:
    """Refuse an incomplete dataset, unless ``partial``.

    Args:
        root: of the dataset.
        expected: every name; empty where not known.
        present: the names that are in the folder.
        partial: whether some may be missing.
        what: what is missing, for the message ("subjects").

    Raises:
        DataError: some are missing, or all of them are; up to eight are named.
    """
    missing = sorted(set(expected) - set(present), key=natural_key)
    if missing and (not partial or len(missing) == len(expected)):
        advice = "" if len(missing) == len(expected) else ", or take what is there: --set partial=true"
        raise DataError(
            f"{root}: {len(missing)} of {len(expected)} {what} missing: {_first_names(missing)}; "
            f"complete it{advice}"
        )


def refuse_unknown_subjects(
    folder: Path, expected: Sequence[str], present: Iterable[str], dataset: str
) -> None:
    """Refuse subjects that a dataset does not have: it may be another dataset's folder, with similar names.

    Args:
        folder: their folder.
        expected: every subject; empty where not known.
        present: the names that are in the folder.
        dataset: its title, for the message.

    Raises:
        DataError: there are some; up to eight are named.
    """
    unknown = sorted(set(present) - set(expected), key=natural_key)
    if expected and unknown:
        raise DataError(
            f"{folder}: {_first_names(unknown)}: no subject of {dataset}, "
            f"which has {expected[0]} to {expected[-1]}; move it elsewhere, or is this another dataset?"
        )


def _first_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _scan_files(folder: Path, suffixes: Iterable[str]) -> list[File]:
    endings = tuple(suffixes)
    try:
        with os.scandir(folder) as entries:
            return [
                File(entry.name, entry.stat().st_size)
                for entry in entries
                if not entry.name.startswith(".") and entry.name.lower().endswith(endings) and entry.is_file()
            ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror or error}") from error
