"""Video containers: opening with FFmpeg's libraries (PyAV), packets, and what the structure of a file says.

What is missing from a damaged file is seen in the structure of MP4, Matroska and AVI: it says how long the
file should be, and in Matroska where the next element must begin.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import av
from av.stream import Disposition

from maeface.faces.formats import MediaError
from maeface.faces.picture import MAX_PIXELS

_COVERS = Disposition.attached_pic | Disposition.timed_thumbnails
_MAX_DAMAGED_READS = 1000
_MAX_BOXES = 1_000_000
_MAX_HEADER = 12  # bytes of the header of a Matroska element: at most 4 of the ID and 8 of the size
_HEADER, _SEGMENT, _CLUSTER, _BLOCK_GROUP = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xA0
_PARENTS = (_SEGMENT, _CLUSTER, _BLOCK_GROUP)
_BLOCKS = (0xA3, 0xA1)  # SimpleBlock, Block
# What may stand between two blocks (RFC 9559): children of BlockGroup, of Cluster, of Segment; Void and CRC.
_IN_GROUP = (0xA1, 0x9B, 0xFB, 0xFD, 0xFA, 0x75A1, 0x75A2, 0xA2, 0xA4, 0x8E, 0xC8)
_IN_CLUSTER = (0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, 0xBF)
_IN_SEGMENT = (
    _HEADER,
    _CLUSTER,
    0x1C53BB6B,
    0x1254C367,
    0x114D9B74,
    0x1549A966,
    0x1654AE6B,
    0x1941A469,
    0x1043A770,
)
_BETWEEN_BLOCKS = frozenset((_HEADER, _CLUSTER, *_IN_GROUP, *_IN_CLUSTER, *_IN_SEGMENT))


@contextmanager
def open_container(file: BinaryIO, demuxer: str) -> Iterator[tuple[Any, Any]]:
    """Open a container, and choose the stream that a player shows: no cover, and no disabled track.

    FFmpeg receives a file object, not a name, and the demuxer is fixed, so that nothing in the file can make
    it open another file or an address.

    Raises:
        MediaError: the file cannot be opened, or has no video.
    """
    try:
        # PyAV 15 to 17.0 crash with ``options`` and a file object.
        container = av.open(
            file, format=demuxer, container_options={"protocol_whitelist": "none"}, metadata_errors="ignore"
        )
    except (av.FFmpegError, ValueError, OSError) as error:
        raise MediaError(
            "unreadable",
            f"the {demuxer} video cannot be opened ({_message(error)}); if its end is missing, copy it again",
        ) from error
    with container:
        streams = [stream for stream in container.streams.video if not stream.disposition & _COVERS]
        if not streams:
            covers = len(container.streams.video)
            raise MediaError("no_video", f"the file has no video stream{', only a cover' if covers else ''}")
        # The first of the greatest: containers without this flag give it to no stream.
        yield container, max(streams, key=lambda stream: bool(stream.disposition & Disposition.default))


def check_stream(stream: Any) -> None:  # noqa: ANN401 - PyAV has no types
    """Refuse a stream without a decoder, or with too large frames.

    Raises:
        MediaError: ``unreadable`` or ``too_large``.
    """
    context = stream.codec_context
    if context is None:
        raise MediaError("unreadable", "this build of FFmpeg has no decoder for the video stream")
    if context.width * context.height > MAX_PIXELS:
        raise MediaError("too_large", f"frames of {context.width} x {context.height}")


def announced_frames(stream: Any, demuxer: str) -> int:  # noqa: ANN401
    """Return the number of shown frames that the header says; 0 if it does not."""
    if demuxer == "mov" and stream.frames > 0:  # the header's number is without edit lists
        shown = sum(1 for entry in getattr(stream, "index_entries", ()) if not entry.is_discard)
        return shown or int(stream.frames)
    return max(int(stream.frames), 0)


def read_packets(container: Any, stream: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield the packets of a stream, and None where the container is damaged; reading goes on after it."""
    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError):
            yield None
            damaged += 1
            if damaged > _MAX_DAMAGED_READS:
                return
            packets = container.demux(stream)
            continue
        yield packet


def ends_early(file: BinaryIO, demuxer: str) -> bool:
    """Return whether a file ends before its container says. The file's position is kept.

    Known for MP4, Matroska and AVI; False for others, and for recordings that do not say how long they are.
    """
    before = file.tell()
    try:
        size = os.fstat(file.fileno()).st_size
        if demuxer == "mov":
            return _mp4_end(file, size) > size
        if demuxer == "matroska":
            return _segment_end(file) > size
        if demuxer == "avi":
            file.seek(4)
            return 8 + int.from_bytes(file.read(4), "little") > size
        return False
    except OSError:
        return False
    finally:
        file.seek(before)


def is_intact_between(file: BinaryIO, first: int | None, second: int | None) -> bool:
    """Return whether nothing is damaged or left out between two blocks of a track of a Matroska file.

    The file's position is kept.

    Args:
        file: the file.
        first: where the data of a block begin; None for the start of the file.
        second: where those of the next block of the track begin; None for the end of the file.
    """
    before = file.tell()
    try:
        end = os.fstat(file.fileno()).st_size
        position, track = 0, b""
        if first is not None:
            file.seek(max(first - _MAX_HEADER, 0))
            position = first + _size_before(file.read(min(first, _MAX_HEADER)))
            file.seek(first)
            track = file.read(1)
        while position < (end if second is None else second):
            file.seek(position)
            head = file.read(_MAX_HEADER + 1)
            kind, size, length = _read_element(head)
            start = position + length
            if kind in _BLOCKS and (start == second or head[length : length + 1] == track):
                return start == second
            if kind in _PARENTS:
                position = start
            elif kind in _BETWEEN_BLOCKS and size is not None:
                position = start + size
            else:
                return False
        return second is None and position == end
    except (OSError, ValueError):
        return False
    finally:
        file.seek(before)


def _mp4_end(file: BinaryIO, size: int) -> int:
    """Return where the last box of an MP4 ends."""
    position = 0
    for _ in range(_MAX_BOXES):
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            break
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length == 0 or not head[4:8].isalnum():  # to the end of the file; bytes that are no box
            return size
        position += max(length, 8)
        if position >= size:
            break
    return position


def _segment_end(file: BinaryIO) -> int:
    """Return where the segment of a Matroska file ends; 0 if it does not say."""
    file.seek(0)
    _, size, length = _read_element(file.read(_MAX_HEADER))
    position = length + (size or 0)
    file.seek(position)
    try:
        kind, size, length = _read_element(file.read(_MAX_HEADER))
    except ValueError:
        return 0
    return position + length + size if kind == _SEGMENT and size is not None else 0


def _read_element(head: bytes) -> tuple[int, int | None, int]:
    """Return ID, size (None: unknown) and the length of the header of a Matroska element."""
    if not head or not head[0]:
        raise ValueError("no element")
    id_length = 9 - head[0].bit_length()
    rest = head[id_length:]
    if id_length > 4 or not rest or not rest[0]:
        raise ValueError("no element")
    length = 9 - rest[0].bit_length()
    if len(rest) < length:
        raise ValueError("no element")
    value = int.from_bytes(rest[:length], "big") & ((1 << 7 * length) - 1)
    size = None if value == (1 << 7 * length) - 1 else value
    return int.from_bytes(head[:id_length], "big"), size, id_length + length


def _size_before(head: bytes) -> int:
    """Return the size of a block from the bytes before its data."""
    for length in range(1, min(8, len(head) - 1) + 1):
        if head[-length - 1] in _BLOCKS and 9 - head[-length].bit_length() == length:
            return int.from_bytes(head[-length:], "big") & ((1 << 7 * length) - 1)
    raise ValueError("no block")


def _message(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
