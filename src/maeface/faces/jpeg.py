"""Strict decoding of JPEGs: damage is refused, padding between the last scan and the end marker is not."""

import re
import struct

import numpy as np
import simplejpeg
from numpy.typing import NDArray

MAX_PADDING = 16
"""Bytes of any value that may follow the last scan; cameras fill up to a multiple of 4 to 16."""
_BUFFER = 16  # bytes that a decoder may have read ahead, with stuffed zeros


def decode(data: bytes, mode: str, least: int = 0) -> NDArray[np.uint8]:
    """Decode a JPEG.

    Args:
        data: the file.
        mode: ``RGB``, ``GRAY`` or ``CMYK``.
        least: shorter side in px that is enough: the picture may be decoded at a half or less of its size, in
            eighths. That takes less time, and all of the file is read as at full size. 0: at full size.

    Returns:
        (H, W, C) uint8.

    Raises:
        ValueError: the data are damaged or cut.
    """
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, mode, strict=True, min_height=least, min_width=least, min_factor=2
        )
    except ValueError as error:
        unread = re.search(r"(\d+) extraneous bytes before marker 0xd9", str(error))
        padded = _decode_padded(data, mode, int(unread[1])) if unread else None
        if padded is None:
            raise
        return padded
    return pixels


def _decode_padded(data: bytes, mode: str, unread: int) -> NDArray[np.uint8] | None:
    """Decode a JPEG with ``unread`` bytes before its end marker; None if they are part of a damaged scan.

    Padding is a run of one value, or short. Before it, a scan ends as ITU-T T.81, F.1.2.3, asks of encoders:
    the bits that are left of its last byte are 1. A damaged scan ends anywhere.
    """
    original = data
    data, start = _show_whole_blocks(data)
    end = data.find(b"\xff\xd9", start)
    scan, rest = data[: max(0, end)], data[end:]
    run = len(scan) - len(scan.rstrip(scan[-1:]))
    first = max(0, len(scan) - max(unread, run) - _BUFFER)
    for high in range(first, min(first + 3 * _BUFFER, len(scan)) + 1):  # the shortest scan that is complete
        if (pixels := _try(scan[:high] + rest, mode)) is not None:
            break
    padding = len(scan) - high
    if pixels is None or (padding > MAX_PADDING and padding > run) or run > padding + 2:
        return None
    last = high - 2 if scan[high - 2 : high] == b"\xff\0" else high - 1
    for bit in (1, 2, 4, 8, 16, 32, 64, 128):
        flipped = scan[:last] + bytes([scan[last] ^ bit]) + scan[last + 1 : high] + rest
        other = _try(flipped, mode)
        if other is None or not np.array_equal(other, pixels):
            break
        if not scan[last] & bit:
            return None
    return _try(original[:high] + original[end:], mode)


def _show_whole_blocks(data: bytes) -> tuple[bytes, int]:
    """Return a JPEG with its size rounded up to whole blocks, so that every bit shows, and where its scan is.

    The number of coded blocks stays the same: the sides become multiples of a minimum coded unit, or of 8 in
    a progressive JPEG, whose scans have a component each.
    """
    offset = 2
    while offset + 4 <= len(data) and data[offset + 1] != 0xDA:
        marker, length = data[offset + 1], int.from_bytes(data[offset + 2 : offset + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2):
            height, width, count = struct.unpack_from(">HHB", data, offset + 5)
            factors = data[offset + 11 : offset + 10 + 3 * count : 3]
            units = (
                [8, 8]
                if marker == 0xC2 or count == 1
                else [8 * max(f & 15 for f in factors), 8 * max(f >> 4 for f in factors)]
            )
            sides = [
                min(65535, -(-side // max(8, unit)) * max(8, unit))
                for side, unit in zip((height, width), units, strict=True)
            ]
            data = data[: offset + 5] + struct.pack(">HH", *sides) + data[offset + 9 :]
        offset += 1 if marker == 0xFF else 2 + max(2, length)
    return data, offset


def _try(data: bytes, mode: str) -> NDArray[np.uint8] | None:
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, mode, strict=True)
    except ValueError:
        return None
    return pixels
