"""Recordings of a subject, which every layout writes, and their videos."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from maeface import files

_BITS_PER_PIXEL = 2.5


@dataclass(frozen=True)
class Format:
    """The format of clips, as far as the layout does not fix it.

    Attributes:
        fps: frames per second.
        frames: number of frames of a clip.
        quality: of JPEGs, 1 to 95.
    """

    fps: float
    frames: int
    quality: int


class Recording(AbstractContextManager["Recording"], Protocol):
    """A writer of the clips of one subject, one after the other; leaving the context writes the labels."""

    def add(self, frame: int, pixels: NDArray[np.uint8], levels: Mapping[int, int]) -> None:
        """Append a frame.

        Args:
            frame: counted from 0 in every clip; 0 begins the next one.
            pixels: (H, W, 3) RGB.
            levels: AU -> intensity, a whole number, 0 to 5.
        """


class Video:
    """A writer of an MPEG-4 video; leaving the context without an exception moves the file to its path.

    Args:
        path: of the video.
        container: "avi" or "mp4".
        fps: frames per second.
    """

    def __init__(self, path: Path, container: str, fps: float) -> None:
        self._format, self._fps = container, Fraction(fps).limit_denominator(1000)
        self._atomic = files.atomic(path)

    def __enter__(self) -> "Video":
        """Begin the file."""
        with ExitStack() as stack:
            temporary = stack.enter_context(self._atomic)
            self._container: Any = stack.enter_context(av.open(str(temporary), "w", format=self._format))
            self._stream: Any = None
            stack.push(self._flush)
            self._ending = stack.pop_all()  # whichever part of it fails, the temporary file goes
        return self

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Append a frame, (H, W, 3) RGB; an odd last row or column is cut off for the codec."""
        height, width = (side // 2 * 2 for side in pixels.shape[:2])
        if self._stream is None:
            self._stream = self._container.add_stream("mpeg4", rate=self._fps)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.bit_rate = int(_BITS_PER_PIXEL * height * width * self._fps)
            self._stream.thread_count = 1  # so that the bytes do not depend on the number of cores
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the video and move it to its path."""
        self._ending.__exit__(kind, error, trace)

    def _flush(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
