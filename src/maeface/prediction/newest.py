"""The newest frame of a camera: frames are dropped rather than delayed."""

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple

from maeface.faces.media import Frame

_END_S = 2.0  # how long the end waits for a camera that gives no frame


class Taken(NamedTuple):
    """A frame, taken from a source.

    Attributes:
        frame: the newest one.
        read_s: when it was read, by ``time.monotonic``.
        dropped: number of frames so far that were read and replaced by newer ones before they were taken.
    """

    frame: Frame
    read_s: float
    dropped: int


class NewestFrame:
    """Reads frames in a thread, and keeps the newest one only; a context manager.

    Args:
        frames: a source that waits for each frame, such as a camera.
    """

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self._changed = threading.Condition()
        self._newest: tuple[Frame, float] | None = None
        self._dropped = 0
        self._has_ended = self._stops = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)

    def __enter__(self) -> "NewestFrame":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stops = True
        self._thread.join(_END_S)

    @property
    def dropped(self) -> int:
        """The number of frames that were replaced by newer ones before they were taken."""
        return self._dropped

    def take(self, timeout_s: float) -> Taken | None:
        """Return the newest frame that was not taken yet; None if none comes in time.

        Raises:
            EOFError: the source has ended, and all is taken.
            MaefaceError: what the source raises.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._has_ended, timeout_s)
            if self._newest is not None:
                frame, read_s = self._newest
                self._newest = None
                return Taken(frame, read_s, self._dropped)
            if self._error is not None:
                raise self._error
            if self._has_ended:
                raise EOFError
            return None

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._changed:
                    self._dropped += self._newest is not None
                    self._newest = frame, time.monotonic()
                    self._changed.notify_all()
                if self._stops:
                    return
        except BaseException as error:  # raised in the thread that takes the frames
            self._error = error
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()
