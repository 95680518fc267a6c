"""The layout of DISFA: one video of a subject, and a text file of intensities for every action unit."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from maeface import files
from maeface_studio.output.layouts.recording import Format, Video

AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
"""The action units that DISFA codes, in intensities from 0 to 5."""

VIDEOS, LABELS = "Videos_LeftCamera", "ActionUnit_Labels"


def video_path(folder: Path, subject: str) -> Path:
    """Return the path of a subject's video: ``Videos_LeftCamera/LeftVideoSN001_comp.avi``."""
    return folder / VIDEOS / f"LeftVideo{subject}_comp.avi"


def labels_path(folder: Path, subject: str, au: int) -> Path:
    """Return the path of the intensities of an AU: ``ActionUnit_Labels/SN001/SN001_au1.txt``."""
    return folder / LABELS / subject / f"{subject}_au{au}.txt"


class Recording:
    """A writer of the recording of a subject; an exception leaves no file.

    All clips are in one video. A line of a label file is ``frame,intensity``; frames are counted from 1
    through all clips.

    Args:
        folder: of the dataset.
        subject: its name in DISFA.
        form: of the video.
    """

    def __init__(self, folder: Path, subject: str, form: Format) -> None:
        self._folder, self._subject = folder, subject
        self._levels: list[list[int]] = []
        self._video = Video(video_path(folder, subject), "avi", form.fps)

    def __enter__(self) -> "Recording":
        """Begin the video."""
        self._video.__enter__()
        return self

    def add(self, frame: int, pixels: NDArray[np.uint8], levels: Mapping[int, int]) -> None:
        """Append a frame, (H, W, 3) RGB; an AU that is missing in ``levels`` has intensity 0."""
        self._video.add(pixels)
        self._levels.append([levels.get(au, 0) for au in AUS])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the labels, then move the video to its path; after an exception write nothing."""
        if kind is None:
            for au, column in zip(AUS, zip(*self._levels, strict=True), strict=True):
                lines = "".join(f"{line},{level}\n" for line, level in enumerate(column, 1))
                files.write_text(labels_path(self._folder, self._subject, au), lines)
        self._video.__exit__(kind, error, trace)
