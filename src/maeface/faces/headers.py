"""What the headers of photos say, and whether a file is whole, without decoding anything."""

import struct
import zlib
from typing import NamedTuple

from maeface.faces.formats import BadMedia

_ORIENTATION = 0x0112
_SHORT = 3
_MAX_TAGS = 4096
# Start of frame: every SOFn, which leaves out the Huffman (C4), reserved (C8) and arithmetic (CC) tables.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class JpegHeader(NamedTuple):
    """Size in px as stored, colour components (1 grey, 3 YCbCr or RGB, 4 CMYK or YCCK), EXIF orientation."""

    width: int
    height: int
    components: int
    orientation: int


def jpeg_header(data: bytes) -> JpegHeader:
    """Walk over a JPEG's segments up to its frame header; metadata is skipped, never parsed whole.

    Raises:
        BadMedia: no frame header, or other than 8 bits.
    """
    place, orientation = 2, 1
    while True:
        while data[place : place + 2] == b"\xff\xff":  # fill bytes
            place += 1
        if place + 4 > len(data):
            raise BadMedia("truncated", "JPEG ends in its header")
        marker = data[place + 1]
        if data[place] != 0xFF or marker in (0xD9, 0xDA):
            raise BadMedia("corrupt", "JPEG without a frame header")
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place + 4 : place + 2 + length]
        if length < 2:
            raise BadMedia("corrupt", "JPEG segment of no length")
        if marker == 0xE1 and segment.startswith(b"Exif\0\0") and orientation == 1:
            orientation = exif_orientation(segment)
        if marker in _FRAMES:
            if len(segment) < 6:
                raise BadMedia("truncated", "JPEG ends in its frame header")
            bits, height, width, components = struct.unpack_from(">BHHB", segment)
            if bits != 8:
                raise BadMedia("refused_format", f"JPEG of {bits} bits; allowed are 8")
            return JpegHeader(width, height, components, orientation)
        place += 2 + length


def exif_orientation(exif: bytes) -> int:
    """The orientation 1..8 that EXIF data give; 1 where they give none or make no sense."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for n in range(min(count, _MAX_TAGS)):
            tag, kind, values, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * n)
            if (tag, kind, values) == (_ORIENTATION, _SHORT, 1):
                return value if 1 <= value <= 8 else 1
    except struct.error:  # an offset beyond the end
        pass
    return 1


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from a WebP's header; its decoder would reserve the whole canvas to tell.

    Raises:
        BadMedia: the header is not one, or the file ends before its length.
    """
    if len(data) < 30:
        raise BadMedia("truncated", "WebP header")
    chunk, body = data[12:16], data[20:]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise BadMedia("corrupt", "WebP header")


def check_whole(data: bytes, name: str) -> None:
    """Find damage that a decoder would overlook: a missing end, a wrong checksum.

    Raises:
        BadMedia: ``truncated`` or ``corrupt``.
    """
    if name == "png":
        _check_png(data)
    elif name == "webp" and len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise BadMedia("truncated", "WebP ends before its length")
    elif name == "bmp" and len(data) < int.from_bytes(data[2:6], "little"):
        raise BadMedia("truncated", "BMP ends before its length")


def _check_png(data: bytes) -> None:
    place = 8
    while True:
        if place + 12 > len(data):
            raise BadMedia("truncated", "PNG without an end")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            damaged = not kind.isalpha() or length > 2**31
            raise BadMedia("corrupt" if damaged else "truncated", f"PNG ends within {kind!r}")
        if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise BadMedia("corrupt", f"PNG checksum of {kind!r}")
        if kind == b"IEND":
            return
        place = end
