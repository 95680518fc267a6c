"""The layout of BP4D: a folder of JPEGs for every task, and tables of occurrence and intensity."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from maeface import files
from maeface_studio.head import rig
from maeface_studio.output import samples
from maeface_studio.output.layouts.recording import Format

TASKS = ("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8")
INTENSITY_AUS = (6, 10, 12, 14, 17)
COLUMNS = tuple(range(100))
"""Columns of an occurrence file: 0 is the frame, every other number an AU."""

OCCURRENCES, INTENSITIES = Path("AUCoding", "AU_OCC"), Path("AU Intensity Codes3.0")
UNKNOWN = 9

_GAP_EVERY = 12


def image_path(folder: Path, subject: str, task: str, number: int) -> Path:
    """Return the path of a frame (from 1): ``F001/T1/0001.jpg``."""
    return folder / subject / task / f"{number:04d}.jpg"


def occurrence_path(folder: Path, subject: str, task: str) -> Path:
    """Return the path of the occurrences of a clip: ``AUCoding/AU_OCC/F001_T1.csv``."""
    return folder / OCCURRENCES / f"{subject}_{task}.csv"


def intensity_path(folder: Path, subject: str, task: str, au: int) -> Path:
    """Return the path of the intensities of a clip: ``AU Intensity Codes3.0/AU06/F001_T1_AU06.csv``."""
    return folder / INTENSITIES / f"AU{au:02d}" / f"{subject}_{task}_AU{au:02d}.csv"


def is_coded(frame: int, frames: int) -> bool:
    """Return whether a frame (from 0) of a clip has labels.

    BP4D's coders coded a part of each task. Here the first frame, at rest, has no labels, and in a clip of
    24 frames or more neither has a twelfth of the frames, in the middle.
    """
    gap, middle = (frames // _GAP_EVERY, frames // 2) if frames >= 2 * _GAP_EVERY else (0, 0)
    return (frame > 0 or frames == 1) and not middle <= frame < middle + gap


def occurrence_table(columns: tuple[int, ...], rows: Mapping[int, Mapping[int, int]]) -> str:
    """Return the text of an occurrence file.

    Args:
        columns: the header row; 0 for the frame.
        rows: frame (as numbered in the file) -> AU -> intensity, 0 to 5. An AU is present from
            ``rig.OCCURRENCE`` on, and 9 (unknown) where it is missing.
    """

    def cell(column: int, number: int, levels: Mapping[int, int]) -> int:
        if column == 0:
            return number
        return int(levels[column] >= rig.OCCURRENCE) if column in levels else UNKNOWN

    lines = [",".join(map(str, columns))]
    lines += [",".join(str(cell(column, *row)) for column in columns) for row in rows.items()]
    return "\n".join(lines) + "\n"


class Recording:
    """A writer of the clips of a subject: images frame by frame, the tables at the end.

    Args:
        folder: of the dataset.
        subject: its name in BP4D.
        form: of the images.
    """

    def __init__(self, folder: Path, subject: str, form: Format) -> None:
        self._folder, self._subject, self._form = folder, subject, form
        self._clips: list[dict[int, Mapping[int, int]]] = []

    def __enter__(self) -> "Recording":
        """Return the writer; the first frame creates the first file."""
        return self

    def add(self, frame: int, pixels: NDArray[np.uint8], levels: Mapping[int, int]) -> None:
        """Write a frame, (H, W, 3) RGB; frame 0 begins the next task."""
        if frame == 0:
            self._clips.append({})
        path = image_path(self._folder, self._subject, TASKS[len(self._clips) - 1], frame + 1)
        files.write_bytes(path, samples.encode_jpeg(pixels, self._form.quality))
        if is_coded(frame, self._form.frames):
            self._clips[-1][frame + 1] = levels

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the tables; after an exception write none."""
        if kind is not None:
            return
        for task, rows in zip(TASKS, self._clips, strict=False):
            table = occurrence_table(COLUMNS, rows)
            files.write_text(occurrence_path(self._folder, self._subject, task), table)
            for au in INTENSITY_AUS:
                lines = "".join(f"{number},{levels.get(au, UNKNOWN)}\n" for number, levels in rows.items())
                files.write_text(intensity_path(self._folder, self._subject, task, au), lines)
