"""Decoding of videos, with FFmpeg's libraries (PyAV) and constant memory.

Frames are what a player shows (``picture``). Times are the frames' presentation timestamps on the file's
clock (``timestamps``), so that a variable frame rate is preserved. Frames that cannot be decoded are counted
and reported (``numbering``).
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from maeface.faces import container as containers
from maeface.faces.formats import MediaError
from maeface.faces.numbering import (
    DAMAGED,
    TRUNCATED,
    Decoded,
    DecodingError,
    IndexMismatchError,
    MissingFrames,
    number_by_count,
    number_by_index,
)
from maeface.faces.packets import mpeg2_size
from maeface.faces.picture import DecodedFrame, convert_frame, deinterlace
from maeface.faces.timestamps import Clock, Sampler, Spans, frame_period
from maeface.faces.video_index import VideoIndex

_PROBED_FRAMES = 5
_MAX_FIRST_PACKETS = 100  # that are decoded to see the first frame


@dataclass(frozen=True)
class Frame:
    """A frame of a video, or a photo.

    Attributes:
        rgb: (H, W, 3) uint8, upright.
        index: 0-based number of the frame among those that are shown: not of those that an edit list leaves
            out. Frames that cannot be decoded are counted too.
        time_s: presentation time in seconds from the file's start; increases from frame to frame.
    """

    rgb: NDArray[np.uint8]
    index: int
    time_s: float


def decode_frames(
    file: BinaryIO,
    demuxer: str,
    every: int = 1,
    fps: float | None = None,
    spans: Spans = (),
    index: VideoIndex | None = None,
    threads: int = 1,
) -> Iterator[Frame | MissingFrames]:
    """Yield the frames of an open video file; see ``media.read_frames``."""
    done = 0
    if index is not None and spans:
        try:
            with containers.open_container(file, demuxer) as (container, stream):
                _prepare(stream, threads)
                sampler = Sampler(every, fps, spans, frame_period(stream))
                chosen = _choose(index, sampler)
                decoded = _seek_spans(container, stream, index, spans, demuxer)
                for one in _convert(decoded, stream, chosen, sampler, spans):
                    done = one.index + (one.count if isinstance(one, MissingFrames) else 1)
                    yield one
            return
        except IndexMismatchError:
            file.seek(0)  # from the start, without what is yielded already
    with containers.open_container(file, demuxer) as (container, stream):
        _prepare(stream, threads)
        sampler = Sampler(every, fps, spans, frame_period(stream))
        decoded = deinterlace(_decode(file, container, stream, demuxer, index))
        chooses = sampler.chooses if index is None else _choose_again(index, sampler, copy(sampler))
        frames = _convert(_require_frame(decoded), stream, chooses, sampler, spans)
        yield from (one for one in frames if one.index >= done)


def count_frames(file: BinaryIO, demuxer: str, exact: bool = False) -> int:
    """Return the number of frames of an open video file; see ``media.count_frames``."""
    with containers.open_container(file, demuxer) as (container, stream):
        announced = containers.announced_frames(stream, demuxer)
        if announced and not exact:
            return announced
        count = interlaced = 0
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            count += 1
            if count <= _PROBED_FRAMES and stream.codec_context is not None:
                interlaced += any(frame.interlaced_frame for frame in _try_decode(packet))
    if interlaced:  # a packet may have one field of a frame
        file.seek(0)
        with containers.open_container(file, demuxer) as (container, stream):
            return sum(1 for item in _decode_packets(container, stream) if not _is_damaged_container(item))
    return count


def _is_damaged_container(item: Any) -> bool:  # noqa: ANN401 - PyAV has no types
    return isinstance(item, DecodingError) and not item.packet


def _prepare(stream: Any, threads: int) -> None:  # noqa: ANN401
    containers.check_stream(stream)
    stream.codec_context.thread_count = threads  # PyAV's default is one for each core
    if threads > 1:
        stream.codec_context.thread_type = "AUTO"


def _choose(index: VideoIndex, sampler: Sampler) -> Callable[[int, float], bool]:
    """Return which frames are chosen, by the times of the whole video; absent ones take no other's place."""
    present = np.ones(len(index), bool)
    present[index.absent] = False
    numbers = np.flatnonzero(present)
    chosen = np.zeros(len(index), bool)
    chosen[numbers] = sampler.choose(numbers, index.times_s[numbers])
    return lambda number, _: number < len(chosen) and bool(chosen[number])


def _choose_again(index: VideoIndex, sampler: Sampler, live: Sampler) -> Callable[[int, float], bool]:
    """Return which frames are chosen by an index, or ``live`` of those that are not as the index says."""
    chosen = _choose(index, sampler)

    def chooses(number: int, time_s: float) -> bool:
        is_chosen = live.chooses(number, time_s)
        is_known = number < len(index) and float(index.times_s[number]) == time_s
        return chosen(number, time_s) if is_known else is_chosen

    return chooses


def _convert(
    decoded: Iterator[Decoded],
    stream: Any,  # noqa: ANN401
    chooses: Callable[[int, float], bool],
    sampler: Sampler,
    spans: Spans,
) -> Iterator[Frame | MissingFrames]:
    """Yield the chosen frames in RGB, and the records of missing ones, up to the end of the last span."""
    reformatter = VideoReformatter()
    for one in decoded:
        if spans and one.index >= spans[-1][1]:
            return
        if isinstance(one, MissingFrames) and one.reason != DAMAGED:
            missing = _clip(one, spans, frame_period(stream))
            if missing is not None:
                chosen = sampler.count(missing.index, missing.time_s, missing.count)
                yield replace(missing, chosen=chosen) if missing.count else missing
        elif chooses(one.index, one.time_s):
            if isinstance(one, DecodedFrame):
                rgb = convert_frame(one.frame, stream.sample_aspect_ratio, reformatter)
                missing = MissingFrames(one.index, one.time_s, DAMAGED, 1)
                yield missing if rgb is None else Frame(rgb, one.index, one.time_s)
            else:
                yield one


def _clip(missing: MissingFrames, spans: Spans, period: float) -> MissingFrames | None:
    """Return the part of missing frames that is in spans; None if there is none."""
    if not spans:
        return missing
    stop = missing.index + max(missing.count, 1)
    parts = [(max(missing.index, start), min(stop, end)) for start, end in spans]
    parts = [(start, end) for start, end in parts if start < end]
    if not parts:
        return None
    count = sum(end - start for start, end in parts) if missing.count else 0
    time_s = missing.time_s + (parts[0][0] - missing.index) * period
    return replace(missing, index=parts[0][0], time_s=time_s, count=count)


def _require_frame(decoded: Iterator[Decoded]) -> Iterator[Decoded]:
    """Yield what is decoded, records of missing frames only once there is a frame.

    Raises:
        MediaError: there is no frame.
    """
    waiting: list[Decoded] | None = []
    for one in decoded:
        if waiting is not None and isinstance(one, MissingFrames):
            waiting.append(one)
            continue
        yield from waiting or ()
        waiting = None
        yield one
    if waiting is not None:
        raise MediaError("no_video", "no frame of the video stream can be decoded")


def _decode(
    file: BinaryIO,
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    demuxer: str,
    index: VideoIndex | None,
) -> Iterator[Decoded]:
    """Yield every frame from the start, or the record that says why there is none."""
    clock = Clock(container, stream, demuxer)
    items = _decode_packets(container, stream)
    last = -1
    if index is not None:
        yield from number_by_index(items, index, clock, 0, demuxer)
        return
    for one in number_by_count(items, clock, demuxer):
        last = one.index + (one.count if isinstance(one, MissingFrames) else 1) - 1
        yield one
    announced = containers.announced_frames(stream, demuxer)
    if containers.ends_early(file, demuxer) and (not announced or announced > last + 1):
        yield MissingFrames(last + 1, clock.next_s, TRUNCATED, max(announced - last - 1, 0))


def _seek_spans(
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    index: VideoIndex,
    spans: Spans,
    demuxer: str,
) -> Iterator[Decoded]:
    """Yield frames from the key frame before each span to its end.

    Raises:
        IndexMismatchError: other frames come out than the index says.
    """
    decoded: Iterator[Decoded] | None = None
    position = 0  # number of the next frame
    for start, stop in spans:
        key = index.key_before(start)
        if decoded is None or (key > 0 and int(index.key_frames[key]) > position):
            items = _decode_packets(container, stream)
            position = 0
            if key > 0:
                if decoded is None:
                    _decode_first(items)
                position = int(index.key_frames[key])
                items = _decode_from(container, stream, index, key)
            decoded = number_by_index(items, index, Clock(container, stream, demuxer), position)
        for one in decoded:
            if isinstance(one, DecodedFrame) and one.frame.interlaced_frame:
                raise IndexMismatchError  # the pictures depend on their neighbours
            position = one.index + (one.count if isinstance(one, MissingFrames) else 1)
            yield one
            if position >= stop:
                break


def _decode_first(items: Iterator[Any]) -> None:
    """Decode up to the first frame: decoders take the encoder's name from it, and avoid its errors."""
    for _, item in zip(range(_MAX_FIRST_PACKETS), items, strict=False):
        if not isinstance(item, DecodingError):
            return


def _decode_from(container: Any, stream: Any, index: VideoIndex, key: int) -> Iterator[Any]:  # noqa: ANN401
    """Seek to a key frame, and yield the frames from there on."""
    stamp = int(index.stamps[index.key_frames[key]])
    dts = int(index.key_dts[key])
    try:
        container.seek(dts, stream=stream, backward=True)
    except (av.FFmpegError, OSError) as error:
        raise IndexMismatchError from error
    packets = containers.read_packets(container, stream)
    for packet in packets:
        if packet is None or not packet.size:
            break
        if packet.pts == stamp and packet.is_keyframe:
            for item in _decode_all(chain((packet,), packets)):
                if isinstance(item, DecodingError) or item.pts is None or item.pts >= stamp:
                    yield item  # and no frames that are shown before the key frame
            return
        if packet.dts is not None and packet.dts > max(dts, stamp):
            break
    raise IndexMismatchError


def _decode_packets(container: Any, stream: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield each frame, or a ``DecodingError``."""
    return _decode_all(containers.read_packets(container, stream))


def _decode_all(packets: Iterator[Any]) -> Iterator[Any]:
    size = b""
    for packet in packets:
        if packet is None:
            yield DecodingError(packet=False)
        else:
            if packet.is_corrupt:  # the container noticed that something is missing before it
                yield DecodingError(packet=False)
            before, size = size, mpeg2_size(packet) or size
            if before not in (b"", size):  # FFmpeg's decoder would drop the last frame of the old size
                yield from _drain(packet.stream.codec_context)
            yield from _decode_packet(packet)


def _drain(context: Any) -> Iterator[Any]:  # noqa: ANN401
    try:
        yield from context.decode(None)
    except av.FFmpegError:
        yield DecodingError(packet=True)
    context.flush_buffers()


def _decode_packet(packet: Any) -> Iterator[Any]:  # noqa: ANN401
    try:
        yield from packet.decode()
    except av.FFmpegError:
        if packet.size and not packet.is_discard:
            yield DecodingError(packet=True)


def _try_decode(packet: Any) -> list[Any]:  # noqa: ANN401
    try:
        return list(packet.decode())
    except av.FFmpegError:
        return []
