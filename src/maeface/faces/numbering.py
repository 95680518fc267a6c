"""Numbers and times of decoded frames, and records of the frames that a damaged file does not give."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from maeface.faces.picture import DecodedFrame
from maeface.faces.timestamps import Clock
from maeface.faces.video_index import VideoIndex

DAMAGED, LOST, TRUNCATED = "damaged", "lost", "truncated"
_WITHOUT_TIMES = frozenset(
    {"h264", "hevc", "m4v", "mpegvideo", "dv", "yuv4mpegpipe"}
)  # streams, no container
_LATE_FRAMES = 16  # after which a frame is not expected to come out of its order
_PENDING_FRAMES = 32  # frames after which a packet that could not be decoded is not expected to leave a gap
_IRREGULAR = 0.25  # periods by which a step may differ from a period
_MAX_IRREGULAR = 0.2  # of the steps, for the rate to count as constant


@dataclass(frozen=True)
class MissingFrames:
    """Frames of a video that are shown, but cannot be decoded.

    Attributes:
        index: number of the first of them.
        time_s: its time in seconds, from the frame rate if the file does not have it.
        reason: "damaged": a frame that the decoder had to conceal in part, or that is marked as corrupt.
            "lost": frames that cannot be decoded, or are missing within the file. "truncated": the file ends
            before its container says.
        count: how many; 0 if that is not known.
        chosen: how many of them would have been read, by ``every`` or ``fps``; None: all.
    """

    index: int
    time_s: float
    reason: str
    count: int
    chosen: int | None = None


@dataclass(frozen=True)
class DecodingError:
    """A place in a video where something could not be read.

    Attributes:
        packet: whether it is a packet with a frame, not the container.
    """

    packet: bool


class IndexMismatchError(Exception):
    """The decoder returns other frames than the index says."""


Decoded = DecodedFrame | MissingFrames


def number_by_index(
    items: Iterator[Any], index: VideoIndex, clock: Clock, first: int = 0, demuxer: str = ""
) -> Iterator[Decoded]:
    """Yield frames with the numbers that their timestamps have in an index, and records of missing ones.

    Args:
        items: decoded frames, and ``DecodingError``.
        index: of the whole video.
        clock: reads the time of every frame.
        first: number of the first frame of ``items``.
        demuxer: if the frames are not those of the index, they are counted instead (``number_by_count``), as
            frames of this demuxer. "": that is an error.

    Raises:
        IndexMismatchError: the frames are not those of the index.
    """
    last, has_errors = first - 1, False
    queue: deque[Any] = deque()  # items that were looked at before their turn
    while True:
        item = queue.popleft() if queue else next(items, None)
        if item is None:
            break
        if isinstance(item, DecodingError):
            has_errors = True
            continue
        number = index.find(item.pts)
        if number is not None and number > last + 1:
            queue.extend(islice(items, max(_LATE_FRAMES - len(queue), 0)))
            missing = set(index.stamps[last + 1 : number].tolist())
            if any(getattr(one, "pts", None) in missing for one in queue):
                # Where a frame is damaged, a decoder may return those before it late.
                ahead = sorted((item, *queue), key=lambda one: getattr(one, "pts", None) or 0)
                queue = deque(ahead)
                continue
        if number is None or number <= last or not (demuxer or last >= first or number == first):
            if not demuxer:
                raise IndexMismatchError
            yield from number_by_count(chain((item,), queue, items), clock, demuxer, last, has_errors)
            return
        clock.read(item)
        if number > last + 1:
            yield MissingFrames(last + 1, float(index.times_s[last + 1]), LOST, number - last - 1)
        last, time_s = number, float(index.times_s[number])
        yield MissingFrames(last, time_s, DAMAGED, 1) if item.is_corrupt else DecodedFrame(item, last, time_s)
    left = len(index) - last - 1
    if left and not demuxer and last < first:
        raise IndexMismatchError
    if left:
        count = left if index.is_end_known or not index.truncated else 0
        reason = TRUNCATED if index.truncated else LOST
        yield MissingFrames(last + 1, float(index.times_s[last + 1]), reason, count)


def number_by_count(
    items: Iterator[Any], clock: Clock, demuxer: str, last: int = -1, has_errors: bool = False
) -> Iterator[Decoded]:
    """Yield frames numbered one after another, and records of missing ones.

    After a place that could not be read, a gap between the times shows how many frames are missing if the
    frame rate is constant; otherwise a packet that could not be decoded is a frame.

    Args:
        items: frames in order, and ``DecodingError``.
        clock: reads the time of every frame.
        demuxer: of the file.
        last: number of the last frame before.
        has_errors: whether something before could not be read.
    """
    errors, since = 0, 0
    steps = irregular = 0
    previous: float | None = None
    for item in items:
        if isinstance(item, DecodingError):
            errors += item.packet
            has_errors, since = True, 0
            continue
        if item.is_corrupt:
            has_errors, since = True, 0
        period, follows = clock.period, clock.next_s
        time_s = clock.read(item)
        gap = errors
        if previous is not None:
            step = (time_s - previous) / period
            has_times = (
                demuxer not in _WITHOUT_TIMES and (item.dts if demuxer == "avi" else item.pts) is not None
            )
            if has_times and irregular <= _MAX_IRREGULAR * steps:
                gap = round(step) - 1 if has_errors else 0
            if not has_errors:
                steps, irregular = steps + 1, irregular + (abs(step - 1) > _IRREGULAR)
        since += 1
        if gap > 0:
            yield MissingFrames(last + 1, follows, LOST, gap)
            last += gap
        if gap > 0 or since > _PENDING_FRAMES:
            errors, has_errors, since = 0, False, 0
        last, previous = last + 1, time_s
        yield MissingFrames(last, time_s, DAMAGED, 1) if item.is_corrupt else DecodedFrame(item, last, time_s)
    if errors:
        yield MissingFrames(last + 1, clock.next_s, LOST, errors)
