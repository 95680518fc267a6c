"""Videos to frames, through FFmpeg's libraries (PyAV), with constant memory.

Pixels are those of the stored frame, turned as the container says. Times are the frames' own
presentation timestamps, so a varying rate is kept.
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from maeface.faces.formats import BadMedia

MAX_PIXELS = 100_000_000
_MAX_DAMAGED_READS = 1000
Spans = tuple[tuple[int, int], ...]
"""Ascending [start, stop) spans of 0-based frames; () for all frames."""


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        rgb: (H, W, 3) uint8, upright.
        index: 0-based number among the frames of the video; damaged frames are counted, not given.
        time_s: presentation time in seconds; never before the frame before it.
    """

    rgb: NDArray[np.uint8]
    index: int
    time_s: float


def video_frames(
    file: BinaryIO, demuxer: str, every: int = 1, fps: float | None = None, spans: Spans = ()
) -> Iterator[Frame]:
    """The frames of an open video file; see ``media.frames``."""
    with _container(file, demuxer) as container:
        stream = container.streams.video[0]
        _check(stream)
        given, slot, step = 0, -1, 0.0
        for index, frame, time_s in _decoded(container, stream):
            given += 1
            if spans and index >= spans[-1][1]:
                return
            if not _within(index, spans):
                continue
            if fps is None:
                if index % every:
                    continue
            elif (step := int(time_s * fps + 1e-6)) <= slot:
                continue
            slot = int(step)
            rgb = _rgb(frame)
            if rgb is not None:
                yield Frame(rgb, index, time_s)
        if not given:
            raise BadMedia("no_video", "no frame of the video stream can be decoded")


def count_frames(file: BinaryIO, demuxer: str, exact: bool = False) -> int:
    """The number of frames of an open video file; see ``media.frame_count``."""
    with _container(file, demuxer) as container:
        stream = container.streams.video[0]
        if stream.frames > 0 and not exact:
            return int(stream.frames)
        return sum(1 for packet in container.demux(stream) if packet.size)


def _within(index: int, spans: Spans) -> bool:
    at = bisect_right(spans, index, key=lambda span: span[0]) - 1
    return not spans or (at >= 0 and index < spans[at][1])


@contextmanager
def _container(file: BinaryIO, demuxer: str) -> Iterator[Any]:
    """An open container with a video stream.

    The file object is handed over, never a name, and the demuxer is given, so that nothing in the file
    can make FFmpeg open another file or an address.
    """
    try:
        container = av.open(
            file, format=demuxer, options={"protocol_whitelist": "none"}, metadata_errors="ignore"
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        raise BadMedia("unreadable", f"no {demuxer} video that can be opened: {_said(error)}") from error
    with container:
        if not container.streams.video:
            raise BadMedia("no_video", "the file has no video stream")
        yield container


def _check(stream: Any) -> None:  # noqa: ANN401 - PyAV has no types
    context = stream.codec_context
    if context is None:
        raise BadMedia("unreadable", "this build of FFmpeg has no decoder for the video stream")
    if context.width * context.height > MAX_PIXELS:
        raise BadMedia("too_large", f"frames of {context.width} x {context.height}")


def _decoded(container: Any, stream: Any) -> Iterator[tuple[int, Any, float]]:  # noqa: ANN401
    """Whole frames with index and time. A damaged packet or frame is counted and passed over."""
    start = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
    period = 1 / float(stream.average_rate or stream.base_rate or 25)
    index, last = -1, -period
    for frame in _attempts(container, stream):
        index += 1
        if frame is None:
            continue
        time_s = frame.time - start if frame.time is not None else last + period
        last = max(time_s, last, 0.0)
        if not frame.is_corrupt:
            yield index, frame, last


def _attempts(container: Any, stream: Any) -> Iterator[Any]:  # noqa: ANN401
    """Each frame that the decoder gives, or None for a packet that it refuses."""
    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError):  # damage in the container itself: read on behind it
            damaged += 1
            if damaged > _MAX_DAMAGED_READS:
                return
            packets = container.demux(stream)
            continue
        try:
            yield from packet.decode()
        except av.FFmpegError:
            if packet.size:
                yield None


def _rgb(frame: Any) -> NDArray[np.uint8] | None:  # noqa: ANN401
    if frame.width * frame.height > MAX_PIXELS:
        return None
    try:
        pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, ValueError):
        return None
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90 turns
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
