"""What every layout writes: the recordings of a subject, and videos that are whole or not there at all."""

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
    """How the clips are made, where a layout leaves that open."""

    fps: float
    """Frames a second."""
    frames: int
    """Of a clip."""
    quality: int
    """Of JPEGs, 1 to 95."""


class Recording(AbstractContextManager["Recording"], Protocol):
    """Writes the clips of one subject, one after the other; a context, whose end writes the labels."""

    def add(self, frame: int, pixels: NDArray[np.uint8], levels: Mapping[int, int]) -> None:
        """Append a frame.

        Args:
            frame: from 0 in every clip: 0 begins the next one.
            pixels: (H, W, 3) RGB.
            levels: AU -> intensity, whole, 0 to 5.
        """


class Video:
    """An MPEG-4 video; a context, that puts the whole file in place, or after an exception nothing.

    Args:
        path: of the video.
        container: "avi" or "mp4".
        fps: frames a second.
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
        """Append a frame, (H, W, 3) RGB; an odd last row or column is left out, as the codec has none."""
        high, wide = (side // 2 * 2 for side in pixels.shape[:2])
        if self._stream is None:
            self._stream = self._container.add_stream("mpeg4", rate=self._fps)
            self._stream.width, self._stream.height, self._stream.pix_fmt = wide, high, "yuv420p"
            self._stream.bit_rate = int(_BITS_PER_PIXEL * high * wide * self._fps)
            self._stream.thread_count = 1  # the bytes do not depend on the machine's cores
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:high, :wide]), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the video in its place."""
        self._ending.__exit__(kind, error, trace)

    def _flush(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
