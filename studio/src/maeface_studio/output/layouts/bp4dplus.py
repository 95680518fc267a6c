"""The layout of BP4D+: a video and a table of occurrence for every task."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from maeface import files
from maeface_studio.output.layouts.bp4d import is_coded, occurrence_table
from maeface_studio.output.layouts.recording import Format, Video

TASKS = ("T1", "T6", "T7", "T8")
"""The tasks that are coded in BP4D+."""

COLUMNS = (0, 1, 2, 4, 5, 6, 7, 9, *range(10, 21), 22, 23, 24, *range(27, 40))
"""Columns of an occurrence file; BP4D's 12 AUs are at positions 1 2 3 5 6 8 10 12 13 15 20 21."""

VIDEOS, OCCURRENCES = "Videos", "AU_OCC"


def video_path(folder: Path, subject: str, task: str) -> Path:
    """Return the path of the video of a clip: ``Videos/F001_T1.mp4``; its first frame has number 1."""
    return folder / VIDEOS / f"{subject}_{task}.mp4"


def occurrence_path(folder: Path, subject: str, task: str) -> Path:
    """Return the path of the occurrences of a clip: ``AU_OCC/F001_T1.csv``."""
    return folder / OCCURRENCES / f"{subject}_{task}.csv"


class Recording:
    """A writer of the clips of a subject; an exception leaves no file of the clip.

    Args:
        folder: of the dataset.
        subject: its name in BP4D+.
        form: of the videos.
    """

    def __init__(self, folder: Path, subject: str, form: Format) -> None:
        self._folder, self._subject, self._form = folder, subject, form
        self._task = -1
        self._video: Video | None = None
        self._rows: dict[int, Mapping[int, int]] = {}

    def __enter__(self) -> "Recording":
        """Return the writer; the first frame creates the first file."""
        return self

    def add(self, frame: int, pixels: NDArray[np.uint8], levels: Mapping[int, int]) -> None:
        """Append a frame, (H, W, 3) RGB; frame 0 begins the next task."""
        if frame == 0:
            self.__exit__(None, None, None)
            self._task, self._rows = self._task + 1, {}
            path = video_path(self._folder, self._subject, TASKS[self._task])
            self._video = Video(path, "mp4", self._form.fps).__enter__()
        if self._video:
            self._video.add(pixels)
        if is_coded(frame, self._form.frames):
            self._rows[frame + 1] = levels

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the clip: write its table, then its video; after an exception write neither."""
        video, self._video = self._video, None
        if video is None:
            return
        if kind is None:
            table = occurrence_table(COLUMNS, self._rows)
            files.write_text(occurrence_path(self._folder, self._subject, TASKS[self._task]), table)
        video.__exit__(kind, error, trace)
