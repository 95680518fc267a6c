"""The clips of a subject as BP4D keeps them: a folder of JPEGs a task, tables of occurrence and intensity."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from maeface import files
from maeface_studio.head import rig
from maeface_studio.output import store
from maeface_studio.output.layouts.recording import Format

TASKS = ("T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8")
INTENSITY_AUS = (6, 10, 12, 14, 17)
COLUMNS = tuple(range(100))
"""Of an occurrence file: 0 is the frame, every other number an AU."""

OCCURRENCES, INTENSITIES = Path("AUCoding", "AU_OCC"), Path("AU Intensity Codes3.0")
UNKNOWN = 9

_GAP_EVERY = 12


def picture(folder: Path, subject: str, task: str, number: int) -> Path:
    """Where a frame (from 1) lies: ``F001/T1/0001.jpg``."""
    return folder / subject / task / f"{number:04d}.jpg"


def occurrences(folder: Path, subject: str, task: str) -> Path:
    """Where a clip's occurrences lie: ``AUCoding/AU_OCC/F001_T1.csv``."""
    return folder / OCCURRENCES / f"{subject}_{task}.csv"


def intensities(folder: Path, subject: str, task: str, au: int) -> Path:
    """Where a clip's intensities lie: ``AU Intensity Codes3.0/AU06/F001_T1_AU06.csv``."""
    return folder / INTENSITIES / f"AU{au:02d}" / f"{subject}_{task}_AU{au:02d}.csv"


def coded(frame: int, frames: int) -> bool:
    """Whether a frame (from 0) of a clip gets labels.

    BP4D's coders took a part of each task. Here the first frame, at rest, has no labels, and in a clip of
    two dozen frames or more a twelfth of them, in the middle.
    """
    gap, middle = (frames // _GAP_EVERY, frames // 2) if frames >= 2 * _GAP_EVERY else (0, 0)
    return (frame > 0 or frames == 1) and not middle <= frame < middle + gap


def occurrence_table(columns: tuple[int, ...], rows: Mapping[int, Mapping[int, int]]) -> str:
    """The text of an occurrence file.

    Args:
        columns: the header row; 0 for the frame.
        rows: frame (as the file numbers it) -> AU -> intensity, whole, 0 to 5. An AU is present from
            ``rig.OCCURRENCE`` on, and 9 if not there.
    """

    def cell(column: int, number: int, levels: Mapping[int, int]) -> int:
        if column == 0:
            return number
        return int(levels[column] >= rig.OCCURRENCE) if column in levels else UNKNOWN

    lines = [",".join(map(str, columns))]
    lines += [",".join(str(cell(column, *row)) for column in columns) for row in rows.items()]
    return "\n".join(lines) + "\n"


class Recording:
    """The clips of a subject: pictures as they come, each clip's tables at its end.

    Args:
        folder: of the dataset.
        subject: as BP4D names it.
        form: of the pictures.
    """

    def __init__(self, folder: Path, subject: str, form: Format) -> None:
        self._folder, self._subject, self._form = folder, subject, form
        self._clips: list[dict[int, Mapping[int, int]]] = []

    def __enter__(self) -> "Recording":
        """Nothing is there before the first frame."""
        return self

    def add(self, frame: int, pixels: NDArray[np.uint8], levels: Mapping[int, int]) -> None:
        """Write a frame, (H, W, 3) RGB; frame 0 begins the next task."""
        if frame == 0:
            self._clips.append({})
        path = picture(self._folder, self._subject, TASKS[len(self._clips) - 1], frame + 1)
        files.write_bytes(path, store.jpeg(pixels, self._form.quality))
        if coded(frame, self._form.frames):
            self._clips[-1][frame + 1] = levels

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the tables; none of them after an exception."""
        if kind is not None:
            return
        for task, rows in zip(TASKS, self._clips, strict=False):
            table = occurrence_table(COLUMNS, rows)
            files.write_text(occurrences(self._folder, self._subject, task), table)
            for au in INTENSITY_AUS:
                lines = "".join(f"{number},{levels.get(au, UNKNOWN)}\n" for number, levels in rows.items())
                files.write_text(intensities(self._folder, self._subject, task, au), lines)
