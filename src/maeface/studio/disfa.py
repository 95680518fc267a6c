"""The clips of a subject as DISFA keeps its recordings: one video, and a text file for every action unit."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from maeface import files

AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
"""What DISFA codes, in intensities from 0 to 5."""

VIDEOS, LABELS = "Videos_LeftCamera", "ActionUnit_Labels"
_BITS_PER_PIXEL = 2.5


def video(folder: Path, number: int) -> Path:
    """Where the video of subject ``number`` (from 0) lies: ``Videos_LeftCamera/LeftVideoSN001_comp.avi``."""
    return folder / VIDEOS / f"LeftVideo{name(number)}_comp.avi"


def labels(folder: Path, number: int, au: int) -> Path:
    """Where the intensities of an AU lie: ``ActionUnit_Labels/SN001/SN001_au1.txt``."""
    return folder / LABELS / name(number) / f"{name(number)}_au{au}.txt"


def name(number: int) -> str:
    """What DISFA would call subject ``number`` (from 0): ``SN001``."""
    return f"SN{number + 1:03d}"


class Recording:
    """Writes the recording of a subject; a context, and whole or not there at all.

    The clips follow one another in one video. A line of a label file is ``frame,intensity``, the frame
    counted from 1.

    Args:
        folder: of the dataset.
        number: of the subject, from 0.
        fps: whole frames a second.
    """

    def __init__(self, folder: Path, number: int, fps: int) -> None:
        self._folder, self._number, self._fps = folder, number, fps
        self._levels: list[list[int]] = []
        self._atomic = files.atomic(video(folder, number))

    def __enter__(self) -> "Recording":
        """Begin the video."""
        self._container: Any = av.open(str(self._atomic.__enter__()), "w", format="avi")
        self._stream: Any = None
        return self

    def add(self, pixels: NDArray[np.uint8], levels: Mapping[int, int]) -> None:
        """Append a frame, (H, W, 3) RGB; an odd last row or column is left out, as the codec has none.

        Args:
            pixels: the frame.
            levels: AU -> intensity, whole, 0 to 5; an AU that is not there has 0.
        """
        high, wide = (side // 2 * 2 for side in pixels.shape[:2])
        if self._stream is None:
            self._stream = self._container.add_stream("mpeg4", rate=self._fps)
            self._stream.width, self._stream.height, self._stream.pix_fmt = wide, high, "yuv420p"
            self._stream.bit_rate = int(_BITS_PER_PIXEL * high * wide * self._fps)
            self._stream.thread_count = 1  # the bytes do not depend on the machine's cores
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:high, :wide]), format="rgb24")
        self._container.mux(self._stream.encode(frame))
        self._levels.append([levels.get(au, 0) for au in AUS])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the labels, then put the video in its place; nothing of it after an exception."""
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if kind is None:
            for au, column in zip(AUS, zip(*self._levels, strict=True), strict=True):
                lines = "".join(f"{frame},{level}\n" for frame, level in enumerate(column, 1))
                files.write_text(labels(self._folder, self._number, au), lines)
        self._atomic.__exit__(kind, error, trace)
