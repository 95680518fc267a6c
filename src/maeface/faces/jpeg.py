"""Strict decoding of JPEGs: damage is refused, padding between the last scan and the end marker is not."""

import re

import numpy as np
import simplejpeg
from numpy.typing import NDArray

MAX_PADDING = 16
"""Bytes of any value that may follow the last scan; cameras fill up to a multiple of 4 to 16."""
_BUFFER = 16  # bytes that a decoder may have read ahead, with stuffed zeros


def decode(data: bytes, mode: str) -> NDArray[np.uint8]:
    """Decode a JPEG.

    Args:
        data: the file.
        mode: ``RGB``, ``GRAY`` or ``CMYK``.

    Returns:
        (H, W, C) uint8.

    Raises:
        ValueError: the data are damaged or cut.
    """
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, mode, strict=True)
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
    end = data.find(b"\xff\xd9", max(0, data.find(b"\xff\xda")))
    scan, rest = data[: max(0, end)], data[end:]
    run = len(scan) - len(scan.rstrip(scan[-1:]))
    low, high = max(0, len(scan) - max(unread, run) - _BUFFER), len(scan) - unread
    pixels = _try(scan[:high] + rest, mode)
    while pixels is not None and low < high:  # the shortest scan that is complete
        middle = (low + high) // 2
        if _try(scan[:middle] + rest, mode) is None:
            low = middle + 1
        else:
            high = middle
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
    return pixels


def _try(data: bytes, mode: str) -> NDArray[np.uint8] | None:
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, mode, strict=True)
    except ValueError:
        return None
    return pixels
