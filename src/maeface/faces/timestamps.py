"""Times of the frames of a video, and the choice of frames by number or by time."""

import math
from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.typing import NDArray

Spans = tuple[tuple[int, int], ...]
"""Ascending [start, stop) spans of 0-based frames; () for all frames."""

BLOCK_S = 0.5
"""Duration of a block in seconds: a film is cut into segments only where a block begins."""

_JOINABLE = frozenset({"mpegts", "mpeg"})  # files that are cut and joined byte by byte, with their clocks
_MAX_GAP_S = 10.0  # FFmpeg's limit (dts_delta_threshold): a longer step of such a clock is a new recording
_SMALL_STEPS = 1.5  # frames by which timestamps may go back without being a new recording
_MAX_GLITCH = 8  # frames after which an old clock is not expected to go on
_ROUNDING_S = 0.001  # by which a time may be too early for its block
_EARLY_FRAMES, _EARLY_S, _MAX_EARLY_FRAMES = 0.1, 0.001, 0.45  # times are rounded, often to milliseconds


class Clock:
    """A clock that gives each frame its time in seconds, from the timestamps in the file.

    Times increase from frame to frame. A timestamp that is missing, repeated or slightly before the last one
    is replaced by the time at which the frame would follow the last one. Where the timestamps start again (in
    a file that was joined from several recordings), the times go on.
    """

    def __init__(self, container: Any, stream: Any, demuxer: str) -> None:  # noqa: ANN401 - PyAV has no types
        self._zero = zero_of(container, stream)
        self._period = frame_period(stream)
        self._joinable = demuxer in _JOINABLE
        self._has_order_only = demuxer == "avi"
        self._first_dts: int | None = None
        self._offset = self._old_offset = 0.0
        self._since_restart = _MAX_GLITCH
        self._last: float | None = None
        self._first = max(_start(stream) - self._zero, 0.0) if stream.start_time is not None else 0.0

    @property
    def period(self) -> float:
        """The duration of a frame in seconds."""
        return self._period

    @property
    def next_s(self) -> float:
        """The time at which a frame would follow the last one; that of the first frame if none was read."""
        return self._first if self._last is None else self._last + self._period

    def read(self, frame: Any) -> float:  # noqa: ANN401
        """Return the time of the next frame in seconds."""
        self._last = time_s = self._place(self._stamp(frame))
        duration = getattr(frame, "duration", None)
        if duration and duration > 0 and frame.time_base:
            self._period = float(duration * frame.time_base)
        return time_s

    def _stamp(self, frame: Any) -> float | None:  # noqa: ANN401
        if self._has_order_only and frame.time_base:
            # AVI stores no presentation times, and those that FFmpeg guesses are wrong for B-frames.
            if self._first_dts is None:
                self._first_dts = frame.dts
            if frame.dts is not None and self._first_dts is not None:
                return float((frame.dts - self._first_dts) * frame.time_base)
            return None
        return None if frame.time is None else frame.time - self._zero

    def _place(self, stamp: float | None) -> float:
        last = self._last
        if last is None:
            if stamp is not None and stamp < 0:
                self._offset = -stamp
            return self._first if stamp is None else stamp + self._offset
        follows = last + self._period
        if stamp is None:
            return follows
        self._since_restart += 1
        tolerance = _SMALL_STEPS * self._period
        if self._since_restart <= _MAX_GLITCH and self._is_continued(stamp + self._old_offset, tolerance):
            self._offset, self._since_restart = self._old_offset, _MAX_GLITCH
        time_s = stamp + self._offset
        if not self._is_continued(time_s, tolerance):
            self._old_offset, self._since_restart = self._offset, 0
            self._offset = follows - stamp
            return follows
        return time_s if time_s > last else follows

    def _is_continued(self, time_s: float, tolerance: float) -> bool:
        last = self._last or 0.0
        return last - tolerance <= time_s and not (self._joinable and time_s > last + _MAX_GAP_S)


def block_of(time_s: float) -> int:
    """Return the number of the block [k ``BLOCK_S``, (k + 1) ``BLOCK_S``) of a film that a time is in.

    Times are rounded in many files, so one that is up to 1 ms too early belongs to the next block.
    """
    return math.floor((time_s + _ROUNDING_S) / BLOCK_S + 1e-9)


class Sampler:
    """A choice of the frames of a video.

    Args:
        every: choose every n-th frame.
        fps: choose at most this many frames per second instead: the first frame of each 1 / fps seconds,
            counted from the video's first frame. A frame that is up to a tenth of a frame or 1 ms too early
            counts as on time, so that rounded times do not decide.
        spans: choose only frames in these spans, of those that are chosen of the whole video.
        period: duration of a frame in seconds, about.
    """

    def __init__(self, every: int, fps: float | None, spans: Spans, period: float) -> None:
        self._every, self._fps, self._spans, self._period = every, fps, spans, period
        self._start: float | None = None
        self._last, self._slot = 0.0, -1

    def chooses(self, index: int, time_s: float) -> bool:
        """Return whether a frame is chosen. To be called for each frame in order."""
        if self._fps is None:
            return index % self._every == 0 and self._in_spans(index)
        if self._start is None:
            self._start, step = time_s, self._period
        else:
            step = min(time_s - self._last, self._period)
        self._last = time_s
        slot = self._slot_of(time_s - self._start, step)
        if slot <= self._slot:
            return False
        self._slot = slot
        return self._in_spans(index)

    def choose(self, numbers: NDArray[np.integer], times_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which frames ``chooses`` would choose, asked for each of these in order.

        Args:
            numbers: (N,) of the frames.
            times_s: (N,) in seconds.
        """
        if not len(numbers):
            return np.zeros(0, bool)
        in_spans = np.zeros(len(numbers), bool)
        for start, stop in self._spans or ((0, int(numbers[-1]) + 1),):
            in_spans |= (numbers >= start) & (numbers < stop)
        if self._fps is None:
            by_number: NDArray[np.bool_] = in_spans & (numbers % self._every == 0)
            return by_number
        self._start = float(times_s[0])
        steps = np.minimum(np.diff(times_s, prepend=times_s[0] - self._period), self._period)
        early = np.minimum(np.maximum(_EARLY_FRAMES * steps, _EARLY_S), _MAX_EARLY_FRAMES * steps)
        slots = np.floor((times_s - times_s[0] + early) * self._fps + 1e-6)
        highest = np.maximum.accumulate(np.concatenate([[-1.0], slots[:-1]]))
        by_time: NDArray[np.bool_] = in_spans & (slots > highest)
        return by_time

    def count(self, index: int, time_s: float, count: int) -> int:
        """Return how many of consecutive frames would be chosen, by their times if ``fps`` chooses, about.

        Args:
            index: number of the first frame.
            time_s: its time in seconds.
            count: of the frames, which are in the spans.
        """
        if self._fps is None:
            return -(-(index + count) // self._every) - -(-index // self._every)
        since = 0.0 if self._start is None else time_s - self._start
        last = since + (count - 1) * self._period
        slots = self._slot_of(last, self._period) - self._slot_of(since - self._period, self._period)
        return min(max(slots, 0), count)

    def _slot_of(self, since_s: float, step: float) -> int:
        """Return the number of the 1 / fps seconds that a time since the first frame is in."""
        assert self._fps is not None
        early = min(max(_EARLY_FRAMES * step, _EARLY_S), _MAX_EARLY_FRAMES * step)
        return math.floor((since_s + early) * self._fps + 1e-6)

    def _in_spans(self, index: int) -> bool:
        k = bisect_right(self._spans, index, key=lambda span: span[0]) - 1
        return not self._spans or (k >= 0 and index < self._spans[k][1])


def times_of(stamps: NDArray[np.int64], container: Any, stream: Any) -> NDArray[np.float64]:  # noqa: ANN401
    """Return the times in seconds that a ``Clock`` gives to timestamps that increase, to the bit.

    Args:
        stamps: (N,) in units of the stream's time base.
        container: an open container.
        stream: of the container.
    """
    base = stream.time_base
    # The order of the operations is that of ``Frame.time`` and ``Clock``, so that rounding is the same.
    times: NDArray[np.float64] = stamps.astype(np.float64) * base.numerator / base.denominator
    times = times - zero_of(container, stream)
    return times - times[0] if len(times) and times[0] < 0 else times


def frame_period(stream: Any) -> float:  # noqa: ANN401
    """Return the duration of a frame in seconds, by the average rate of its stream."""
    return 1 / float(stream.average_rate or stream.base_rate or 25)


def _start(stream: Any) -> float:  # noqa: ANN401
    return float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0


def zero_of(container: Any, stream: Any) -> float:  # noqa: ANN401
    """Return the timestamp, in seconds, at which a player's clock is 0: the file's first, of any stream.

    The container's own value is rounded to microseconds, so that of the stream that starts there is returned.
    """
    if container.start_time is None:
        return _start(stream)
    zero = container.start_time / 1_000_000
    starts = [_start(one) for one in (stream, *container.streams) if one.start_time is not None]
    return next((start for start in starts if abs(start - zero) < 2e-6), zero)
