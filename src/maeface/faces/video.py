"""Decoding of videos, with FFmpeg's libraries (PyAV) and constant memory.

Frames are rotated as the container says. Times are the frames' presentation timestamps, so that a variable
frame rate is preserved.
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from maeface.faces.formats import MediaError

MAX_PIXELS = 100_000_000
_MAX_DAMAGED_READS = 1000
Spans = tuple[tuple[int, int], ...]
"""Ascending [start, stop) spans of 0-based frames; () for all frames."""


@dataclass(frozen=True)
class Frame:
    """A frame of a video, or a photo.

    Attributes:
        rgb: (H, W, 3) uint8, upright.
        index: 0-based number of the frame in the video. Damaged frames are counted too, but not decoded.
        time_s: presentation time in seconds; never decreases.
    """

    rgb: NDArray[np.uint8]
    index: int
    time_s: float


def decode_frames(
    file: BinaryIO, demuxer: str, every: int = 1, fps: float | None = None, spans: Spans = ()
) -> Iterator[Frame]:
    """Yield the frames of an open video file; see ``media.read_frames``."""
    with _open_container(file, demuxer) as container:
        stream = container.streams.video[0]
        _check_stream(stream)
        decoded, slot, step = 0, -1, 0.0
        for index, frame, time_s in _decode(container, stream):
            decoded += 1
            if spans and index >= spans[-1][1]:
                return
            if not _in_spans(index, spans):
                continue
            if fps is None:
                if index % every:
                    continue
            elif (step := int(time_s * fps + 1e-6)) <= slot:
                continue
            slot = int(step)
            rgb = _to_rgb(frame)
            if rgb is not None:
                yield Frame(rgb, index, time_s)
        if not decoded:
            raise MediaError("no_video", "no frame of the video stream can be decoded")


def count_frames(file: BinaryIO, demuxer: str, exact: bool = False) -> int:
    """Return the number of frames of an open video file; see ``media.count_frames``."""
    with _open_container(file, demuxer) as container:
        stream = container.streams.video[0]
        if stream.frames > 0 and not exact:
            return int(stream.frames)
        return sum(1 for packet in container.demux(stream) if packet.size)


def _in_spans(index: int, spans: Spans) -> bool:
    k = bisect_right(spans, index, key=lambda span: span[0]) - 1
    return not spans or (k >= 0 and index < spans[k][1])


@contextmanager
def _open_container(file: BinaryIO, demuxer: str) -> Iterator[Any]:
    """Open a container with a video stream.

    FFmpeg receives a file object, not a name, and the demuxer is fixed, so that nothing in the file can make
    it open another file or an address.
    """
    try:
        container = av.open(
            file, format=demuxer, options={"protocol_whitelist": "none"}, metadata_errors="ignore"
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        raise MediaError("unreadable", f"no {demuxer} video that can be opened: {_message(error)}") from error
    with container:
        if not container.streams.video:
            raise MediaError("no_video", "the file has no video stream")
        yield container


def _check_stream(stream: Any) -> None:  # noqa: ANN401 - PyAV has no types
    context = stream.codec_context
    if context is None:
        raise MediaError("unreadable", "this build of FFmpeg has no decoder for the video stream")
    if context.width * context.height > MAX_PIXELS:
        raise MediaError("too_large", f"frames of {context.width} x {context.height}")


def _decode(container: Any, stream: Any) -> Iterator[tuple[int, Any, float]]:  # noqa: ANN401
    """Yield index, frame and time of each intact frame; damaged ones are counted, but skipped."""
    start = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
    period = 1 / float(stream.average_rate or stream.base_rate or 25)
    index, last = -1, -period
    for frame in _decode_packets(container, stream):
        index += 1
        if frame is None:
            continue
        time_s = frame.time - start if frame.time is not None else last + period
        last = max(time_s, last, 0.0)
        if not frame.is_corrupt:
            yield index, frame, last


def _decode_packets(container: Any, stream: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield each frame, or None for a packet that cannot be decoded."""
    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError):  # damage in the container itself: continue after it
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


def _to_rgb(frame: Any) -> NDArray[np.uint8] | None:  # noqa: ANN401
    if frame.width * frame.height > MAX_PIXELS:
        return None
    try:
        pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, ValueError):
        return None
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90 turns
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def _message(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
