"""Decoding of videos, with FFmpeg's libraries (PyAV) and constant memory.

Frames are what a player shows (``picture``). Times are the frames' presentation timestamps on the file's
clock (``timestamps``), so that a variable frame rate is preserved.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from maeface.faces.formats import MediaError
from maeface.faces.picture import MAX_PIXELS, DecodedFrame, convert_frame, deinterlace
from maeface.faces.timestamps import Clock, Sampler, Spans, frame_period

_MAX_DAMAGED_READS = 1000
_COVERS = Disposition.attached_pic | Disposition.timed_thumbnails
_PROBED_FRAMES = 5


@dataclass(frozen=True)
class Frame:
    """A frame of a video, or a photo.

    Attributes:
        rgb: (H, W, 3) uint8, upright.
        index: 0-based number of the frame among those that are shown: not of those that an edit list leaves
            out. Damaged frames are counted too, but not decoded.
        time_s: presentation time in seconds from the file's start; increases from frame to frame.
    """

    rgb: NDArray[np.uint8]
    index: int
    time_s: float


def decode_frames(
    file: BinaryIO, demuxer: str, every: int = 1, fps: float | None = None, spans: Spans = ()
) -> Iterator[Frame]:
    """Yield the frames of an open video file; see ``media.read_frames``."""
    with _open_container(file, demuxer) as (container, stream):
        _check_stream(stream)
        sampler = Sampler(every, fps, spans, frame_period(stream))
        decoded = 0
        for one in deinterlace(_decode(container, stream, Clock(container, stream, demuxer))):
            decoded += 1
            if sampler.is_behind(one.index):
                return
            if not sampler.chooses(one.index, one.time_s):
                continue
            rgb = convert_frame(one.frame, stream.sample_aspect_ratio)
            if rgb is not None:
                yield Frame(rgb, one.index, one.time_s)
        if not decoded:
            raise MediaError("no_video", "no frame of the video stream can be decoded")


def count_frames(file: BinaryIO, demuxer: str, exact: bool = False) -> int:
    """Return the number of frames of an open video file; see ``media.count_frames``."""
    with _open_container(file, demuxer) as (container, stream):
        if stream.frames > 0 and not exact:
            if demuxer != "mov":
                return int(stream.frames)
            entries = getattr(stream, "index_entries", ())  # the header's number is without edit lists
            count = sum(1 for entry in entries if not entry.is_discard)
            if count:
                return count
        count = interlaced = 0
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            count += 1
            if count <= _PROBED_FRAMES and stream.codec_context is not None:
                interlaced += any(frame.interlaced_frame for frame in _try_decode(packet))
    if interlaced:  # a packet may have one field of a frame
        file.seek(0)
        with _open_container(file, demuxer) as (container, stream):
            return sum(1 for _ in _decode_packets(container, stream))
    return count


@contextmanager
def _open_container(file: BinaryIO, demuxer: str) -> Iterator[tuple[Any, Any]]:
    """Open a container, and choose the stream that a player shows: no cover, and no disabled track.

    FFmpeg receives a file object, not a name, and the demuxer is fixed, so that nothing in the file can make
    it open another file or an address.
    """
    try:
        # PyAV 15 to 17.0 crash with ``options`` and a file object.
        container = av.open(
            file, format=demuxer, container_options={"protocol_whitelist": "none"}, metadata_errors="ignore"
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        raise MediaError("unreadable", f"no {demuxer} video that can be opened: {_message(error)}") from error
    with container:
        streams = [stream for stream in container.streams.video if not stream.disposition & _COVERS]
        if not streams:
            covers = len(container.streams.video)
            raise MediaError("no_video", f"the file has no video stream{', only a cover' if covers else ''}")
        # The first of the greatest: containers without this flag give it to no stream.
        yield container, max(streams, key=lambda stream: bool(stream.disposition & Disposition.default))


def _check_stream(stream: Any) -> None:  # noqa: ANN401 - PyAV has no types
    context = stream.codec_context
    if context is None:
        raise MediaError("unreadable", "this build of FFmpeg has no decoder for the video stream")
    if context.width * context.height > MAX_PIXELS:
        raise MediaError("too_large", f"frames of {context.width} x {context.height}")


def _decode(container: Any, stream: Any, clock: Clock) -> Iterator[DecodedFrame]:  # noqa: ANN401
    """Yield each intact frame; damaged ones are counted, but skipped."""
    for index, frame in enumerate(_decode_packets(container, stream)):
        if frame is None:
            continue
        time_s = clock.read(frame)
        if not frame.is_corrupt:
            yield DecodedFrame(frame, index, time_s)


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
            if packet.size and not packet.is_discard:
                yield None


def _try_decode(packet: Any) -> list[Any]:  # noqa: ANN401
    try:
        return list(packet.decode())
    except av.FFmpegError:
        return []


def _message(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
