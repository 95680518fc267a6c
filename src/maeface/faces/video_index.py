"""An index of a video: timestamps of all frames, and the key frames at which decoding may begin.

It is made from the packets, without decoding. There is none where it could not be trusted: containers other
than MP4 and Matroska (and their kin, MOV and WebM), codecs that ``packets`` does not know, interlaced films,
timestamps that are missing or repeated, edit lists with frames left out in the middle.

Decoding from a key frame gives the same pictures as decoding from the start only if nothing later in the file
refers to what is before it. A frame counts as such a key frame if the container marks it, if all frames
before it in the file are shown before it, and if all after it in the file are shown after it (no open GOP).
The last is not required in MPEG-4 and H.265, where frames that are shown after a key frame never refer to
what is before it. H.264 has to say that it is an IDR picture, not a recovery point, and H.265 that it is an
IDR or CRA picture.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import av
import numpy as np
from numpy.typing import NDArray

from maeface import files
from maeface.faces import container as containers
from maeface.faces.packets import codec_of, is_key, is_shown, may_be_open
from maeface.faces.timestamps import frame_period, times_of

_DEMUXERS = frozenset({"mov", "matroska"})
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive
_PROBED_FRAMES = 5
_REORDERED = 16  # packets by which frames may be stored out of their order
_NEAR = 4  # packets before and after a gap, in which its frames may be stored
_LONG_STEP = 1.5  # frame periods from which a step between timestamps may be a gap
_MAX_ADDED = 1_000_000
_LATE_S = 1.0  # by which a film may be shorter than its header says


@dataclass(frozen=True)
class VideoIndex:
    """The frames of a video.

    Frames that are missing from a damaged file are counted, as far as the file lets it be seen; their
    timestamps are estimated from the frame rate.

    Attributes:
        stamps: (N,) int64 presentation timestamps of the shown frames in units of the stream's time base;
            they increase.
        times_s: (N,) float64 times in seconds, those of ``media.read_frames``.
        key_frames: (K,) int64 numbers of the frames from which decoding gives the same pictures as from the
            start; they increase.
        key_dts: (K,) int64 timestamps to seek to for these.
        absent: (A,) int64 numbers of the frames that are not in the file, because it is damaged.
        truncated: whether frames are missing because the file ends before its container says.
        is_end_known: whether the number of frames missing at the end is known; if not, the index has one.
    """

    stamps: NDArray[np.int64]
    times_s: NDArray[np.float64]
    key_frames: NDArray[np.int64]
    key_dts: NDArray[np.int64]
    absent: NDArray[np.int64]
    truncated: bool
    is_end_known: bool

    def __len__(self) -> int:
        return len(self.stamps)

    def find(self, stamp: int | None) -> int | None:
        """Return the number of the frame with a timestamp; None if there is none."""
        if stamp is None:
            return None
        number = int(np.searchsorted(self.stamps, stamp))
        return number if number < len(self.stamps) and self.stamps[number] == stamp else None

    def key_before(self, number: int) -> int:
        """Return the position in ``key_frames`` of the last one up to a frame; -1 if there is none."""
        return bisect_right(self.key_frames, number) - 1


def write_index(index: VideoIndex, path: Path) -> None:
    """Write an index to a file, for other processes.

    Raises:
        ResourceError: it cannot be written.
    """
    with files.atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{one.name: getattr(index, one.name) for one in fields(index)})


def read_index(path: Path) -> VideoIndex | None:
    """Return the index in a file; None if it cannot be read."""
    try:
        with np.load(path) as arrays:
            values: dict[str, Any] = {one.name: arrays[one.name] for one in fields(VideoIndex)}
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
    flags: dict[str, Any] = {name: bool(value) for name, value in values.items() if value.ndim == 0}
    return VideoIndex(**{**values, **flags})


class _UntrustedError(Exception):
    """The packets do not allow an index."""


class _Packets:
    """What is kept of each packet with a shown frame, in the order of the file."""

    def __init__(self) -> None:
        self.pts, self.dts, self.position = array("q"), array("q"), array("q")
        self.keys = array("q")  # numbers of packets
        self.ends_corrupt = False  # the last packet is not complete

    def add(self, packet: Any, is_key_frame: bool) -> None:  # noqa: ANN401
        """Add a packet with a shown frame."""
        if is_key_frame:
            self.keys.append(len(self.pts))
        self.ends_corrupt = packet.is_corrupt
        self.pts.append(packet.pts)
        self.dts.append(packet.pts if packet.dts is None else min(packet.dts, packet.pts))
        self.position.append(-1 if packet.pos is None else packet.pos)


def build_index(
    file: BinaryIO, demuxer: str, advance: Callable[[], None] = lambda: None
) -> VideoIndex | None:
    """Return the index of an open video file, or None; see ``media.index_video``."""
    if demuxer not in _DEMUXERS:
        return None
    with containers.open_container(file, demuxer) as (container, stream):
        context = stream.codec_context
        if context is None or not codec_of(context.codec.name):
            return None
        if getattr(context, "field_order", 0) not in _PROGRESSIVE or not stream.time_base:
            return None
        try:
            packets = _read(container, stream, advance)
            return _make(file, demuxer, container, stream, packets)
        except _UntrustedError:
            return None


def _read(container: Any, stream: Any, advance: Callable[[], None]) -> _Packets:  # noqa: ANN401
    result = _Packets()
    context = stream.codec_context
    codec = codec_of(context.codec.name)
    extradata = bytes(context.extradata or b"")
    number, ends = 0, False  # whether packets are left out after the shown ones
    for packet in containers.read_packets(container, stream):
        advance()
        if packet is None or not packet.size:
            continue
        is_key_frame = packet.is_keyframe and is_key(codec, packet, extradata)
        if not is_key_frame if number == 0 else _has_new_settings(packet):
            raise _UntrustedError
        number += 1
        if packet.is_discard:
            ends = bool(result.pts)
            continue
        if packet.pts is None or ends:
            raise _UntrustedError
        if len(result.pts) < _PROBED_FRAMES:
            _probe(packet)
        if _is_shown(codec, packet):
            result.add(packet, is_key_frame)
    if not result.pts:
        raise _UntrustedError
    return result


def _has_new_settings(packet: Any) -> bool:  # noqa: ANN401
    """Return whether the decoder gets other settings from here on; the first PyAV versions do not say it."""
    has_sidedata = getattr(packet, "has_sidedata", None)
    return has_sidedata is not None and bool(has_sidedata("new_extradata"))


def _is_shown(codec: str, packet: Any) -> bool:  # noqa: ANN401
    shown = is_shown(codec, packet)
    if shown is None:
        raise _UntrustedError
    return shown


def _probe(packet: Any) -> None:  # noqa: ANN401
    """Refuse interlaced films that do not say so in their header."""
    try:
        if any(frame.interlaced_frame for frame in packet.decode()):
            raise _UntrustedError
    except av.FFmpegError:
        pass


def _make(
    file: BinaryIO,
    demuxer: str,
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    packets: _Packets,
) -> VideoIndex:
    pts = np.frombuffer(packets.pts, np.int64)
    stamps = np.sort(pts)
    steps = np.diff(stamps)
    if (steps <= 0).any():
        raise _UntrustedError
    keys = np.frombuffer(packets.keys, np.int64)
    keys = keys[np.maximum.accumulate(pts)[keys] == pts[keys]]
    if not may_be_open(codec_of(stream.codec_context.codec.name)):
        keys = keys[np.minimum.accumulate(pts[::-1])[::-1][keys] == pts[keys]]
    nominal = frame_period(stream) / float(stream.time_base)
    period = float(np.mean(steps[steps < _LONG_STEP * np.median(steps)])) if len(steps) else nominal
    at_end, is_cut = _missing_at_end(file, demuxer, container, stream, packets, period)
    gaps = _find_damage(file, demuxer, stamps, packets, period)
    if is_cut or at_end != 0:  # frames before the last ones may be stored after them
        gaps |= set(range(max(len(stamps) - _REORDERED, 0), len(stamps) - 1))
    limit = at_end if demuxer == "mov" else None
    at_start = 0
    if demuxer == "matroska" and not containers.is_intact_between(file, None, packets.position[0]):
        at_start = max(round(float(stamps[0]) / period), 0)
    counts = (at_start, 1 if at_end is None else at_end)
    full, absent = _add_missing(stamps, sorted(gaps), period, limit, counts)
    times_s = times_of(full, container, stream)
    return VideoIndex(
        full,
        times_s,
        np.searchsorted(full, pts[keys]).astype(np.int64),
        np.frombuffer(packets.dts, np.int64)[keys],
        absent,
        is_cut,
        at_end is not None,
    )


def _find_damage(
    file: BinaryIO, demuxer: str, stamps: NDArray[np.int64], packets: _Packets, period: float
) -> set[int]:
    """Return the numbers of the frames after which others are missing, by the structure of the file."""
    wide = np.flatnonzero(np.diff(stamps) > _LONG_STEP * period)
    if demuxer != "matroska" or not len(wide):
        return set()
    pts, position = np.frombuffer(packets.pts, np.int64), np.frombuffer(packets.position, np.int64)
    order = np.argsort(pts, kind="stable")  # frame -> packet
    intact: dict[int, bool] = {}
    result = set()
    for number in wide.tolist():
        first, last = sorted((int(order[number]), int(order[number + 1])))
        for packet in range(max(first - _NEAR, 0), min(last + _NEAR, len(pts) - 1)):
            if packet not in intact:
                start, end = int(position[packet]), int(position[packet + 1])
                # Not known where a position is not, or where several frames share a block (lacing).
                intact[packet] = start < 0 or start == end or containers.is_intact_between(file, start, end)
            if not intact[packet]:
                result.add(number)
                break
    return result


def _missing_at_end(
    file: BinaryIO,
    demuxer: str,
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    packets: _Packets,
    period: float,
) -> tuple[int | None, bool]:
    """Return how many frames are missing at the end, None if that is not known, and whether the file is cut.

    In an MP4 whose end is missing, all missing frames are counted, also those shown before the last one.
    """
    early = containers.ends_early(file, demuxer)
    if demuxer == "mov":
        announced = containers.announced_frames(stream, demuxer)
        missing = max(announced - len(packets.pts), 0) if announced else None if early else 0
        return missing, missing != 0 or (early and packets.ends_corrupt)
    duration_s = _tagged_duration(stream.metadata.get("DURATION", ""))
    # Without a tag, the duration is that of the longest stream.
    total_s = (container.duration or 0) / 1_000_000 if duration_s is None else duration_s
    left = total_s / float(stream.time_base) - max(packets.pts) - period
    count = max(round(left / period), 0)
    if early:
        return (count, count > 0) if total_s else (None, True)
    if duration_s is None:
        return 0, False
    is_cut = left * float(stream.time_base) > _LATE_S and count > 1
    is_damaged = count > 0 and not containers.is_intact_between(file, packets.position[-1], None)
    return (count if is_cut or is_damaged else 0), is_cut


def _tagged_duration(text: str) -> float | None:
    """Return the seconds of a duration such as ``00:01:02.400000000``."""
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return None


def _add_missing(
    stamps: NDArray[np.int64], gaps: list[int], period: float, limit: int | None, counts: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the timestamps with those of missing frames, and the numbers of these.

    Args:
        stamps: of the frames in the file.
        gaps: frames after which others may be missing.
        period: of a frame, in units of the time base.
        limit: how many are missing in all; None if it is not known.
        counts: how many are missing at the start and at the end; those of ``limit`` are included.
    """
    at_start, at_end = counts
    steps = np.arange(1, min(at_start, _MAX_ADDED) + 1)
    added: list[int] = (stamps[0] - np.maximum(np.rint(steps * period), steps)).astype(np.int64).tolist()
    for number in gaps:
        start, end = int(stamps[number]), int(stamps[number + 1])
        count = max(round((end - start) / period) - 1, 0)
        count = min(count, end - start - 1, _MAX_ADDED, count if limit is None else limit)
        added += [start + (end - start) * k // (count + 1) for k in range(1, count + 1)]
        if limit is not None:
            limit, at_end = limit - count, at_end - count
    last = int(stamps[-1])
    added += [last + max(round(k * period), k) for k in range(1, min(at_end, _MAX_ADDED) + 1)]
    if not added:
        return stamps, np.zeros(0, np.int64)
    full = np.sort(np.concatenate([stamps, np.array(added, np.int64)]))
    return full, np.searchsorted(full, np.sort(added)).astype(np.int64)
