"""Image and video formats: recognition by the first bytes, sizes in headers, and completeness of files.

Nothing is decoded here.
"""

import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from maeface.errors import DataError

HEAD_BYTES = 1024  # as many are needed for ``detect_format``


class MediaError(DataError):
    """A photo or video that cannot be used, and is skipped.

    Attributes:
        reason: one word, the manifest's ``status``.
        detail: a short explanation.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Signature(NamedTuple):
    """The bytes ``mark`` at ``offset``, by which a format is recognized."""

    offset: int
    mark: bytes
    name: str


_IMAGES = (
    Signature(0, b"\xff\xd8\xff", "jpeg"),
    Signature(0, b"\x89PNG\r\n\x1a\n", "png"),
    Signature(8, b"WEBP", "webp"),
    Signature(0, b"BM", "bmp"),
    Signature(0, b"GIF87a", "gif"),
    Signature(0, b"GIF89a", "gif"),
)
# Listed so that the reason is "refused_format" with a name, which says more than "not_an_image".
_REFUSED = (
    Signature(0, b"II*\0", "TIFF"),
    Signature(0, b"MM\0*", "TIFF"),
    Signature(0, b"II+\0", "BigTIFF"),
    Signature(0, b"MM\0+", "BigTIFF"),
    Signature(0, b"8BPS", "Photoshop"),
    Signature(0, b"%!PS", "PostScript"),
    Signature(0, b"\xc5\xd0\xd3\xc6", "EPS"),
    Signature(0, b"%PDF", "PDF"),
    Signature(0, b"SIMPLE  =", "FITS"),
    Signature(0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    Signature(0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    Signature(0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    Signature(0, b"\xff\x0a", "JPEG XL"),
    Signature(0, b"\0\0\1\0", "icon"),
    Signature(0, b"<svg", "SVG"),
)
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_STILL_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
# The names are those of FFmpeg's demuxers. FFmpeg is given the demuxer and tries no other, so playlists and
# scripts that would open further files or addresses (HLS, concat, DASH) cannot be reached.
_VIDEOS = (
    *(Signature(4, mark, "mov") for mark in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    Signature(8, b"AVI ", "avi"),
    Signature(0, b"\x1a\x45\xdf\xa3", "matroska"),
    Signature(0, b"\0\0\1\xba", "mpeg"),
    Signature(0, b"\0\0\1\xb3", "mpegvideo"),
    Signature(0, b"FLV\1", "flv"),
    Signature(0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    Signature(0, b"OggS", "ogg"),
    Signature(0, b"YUV4MPEG2 ", "yuv4mpegpipe"),
    Signature(0, b"DKIF\0\0", "ivf"),
    Signature(0, b"\0\0\1\xb0", "m4v"),
)
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # length and start of the sync byte: TS, M2TS, TS of DVB

_EXIF_ORIENTATION = 0x0112
_EXIF_TYPES = {1: "B", 3: "H", 4: "I"}  # numbers without a sign: BYTE, SHORT, LONG
_MAX_EXIF_TAGS = 4096
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])\s*[\"'<]")
_RAW_PROFILES = ("exif", "APP1", "xmp")
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MAX_GAP = 16  # stray bytes before a segment of a JPEG
# Start of frame: every SOFn, which leaves out the Huffman (C4), reserved (C8) and arithmetic (CC) tables.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class JpegHeader(NamedTuple):
    """A JPEG's stored size in px, colour components (1 grey, 3 YCbCr or RGB, 4 CMYK or YCCK), orientation."""

    width: int
    height: int
    components: int
    orientation: int


def detect_format(head: bytes) -> tuple[str, str]:
    """Recognize a format by the first bytes of a file (up to ``HEAD_BYTES``).

    Returns:
        ``("image", format)``, ``("video", demuxer)``, ``("refused", name)`` or ``("unknown", "")``.
    """
    for name in _matches(_IMAGES, head):
        if name != "webp" or head.startswith(b"RIFF"):
            return "image", name
    for name in _matches(_REFUSED, head):
        return "refused", name
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS | _AVIF_BRANDS:
        end = min(int.from_bytes(head[:4], "big"), len(head))  # "mif1" may be either: the other brands say it
        brands = {head[8:12], *(head[start : start + 4] for start in range(16, end, 4))}
        return "image", "avif" if brands & _AVIF_BRANDS else "heif"
    for name in _matches(_VIDEOS, head):
        return "video", name
    for length, start in _TS_PACKETS:
        if head[start : start + 2 * length + 1 : length] == b"GGG":
            return "video", "mpegts"
    name = _detect_stream(head)
    return ("video", name) if name else ("unknown", "")


def _detect_stream(head: bytes) -> str:
    """Return the demuxer of a video without a container: DV (its header and subcode blocks), H.264, H.265."""
    if head[:3] == b"\x1f\x07\0" and head[3:4] in (b"\x3f", b"\xbf") and head[80:82] == b"\x3f\x07":
        return "dv"
    if not head.startswith((b"\0\0\1", b"\0\0\0\1")):
        return ""
    unit = head[head.index(b"\1") + 1 :][:2]
    # H.264: a delimiter or a message may come before the sequence parameter set.
    if unit[:1] in (b"\x06", b"\x09", b"\x27", b"\x47", b"\x67"):
        return "h264" if any(b"\0\0\1" + kind in head for kind in (b"\x27", b"\x47", b"\x67")) else ""
    # H.265: a video or sequence parameter set, a delimiter, or a message.
    return "hevc" if unit in (b"\x40\1", b"\x42\1", b"\x46\1", b"\x4e\1") else ""


def _matches(signatures: tuple[Signature, ...], head: bytes) -> list[str]:
    return [one.name for one in signatures if head[one.offset :].startswith(one.mark)]


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read a JPEG's segments up to its frame header; of the metadata, only the orientation is read.

    Raises:
        MediaError: no frame header, or other than 8 bits.
    """
    offset = 2
    exif_orientation: int | None = None
    xmp_orientation: int | None = None
    while True:
        while data[offset : offset + 2] == b"\xff\xff":  # fill bytes
            offset += 1
        if offset + 4 > len(data):
            raise MediaError("truncated", "JPEG ends in its header")
        marker = data[offset + 1]
        if data[offset] != 0xFF or marker in (0xD9, 0xDA):
            raise MediaError("corrupt", "JPEG without a frame header")
        length = int.from_bytes(data[offset + 2 : offset + 4], "big")
        segment = data[offset + 4 : offset + 2 + length]
        if length < 2:
            raise MediaError("corrupt", "JPEG segment of no length")
        if marker == 0xE1 and segment.startswith(b"Exif\0\0") and exif_orientation in (None, 1):
            exif_orientation = read_exif_orientation(segment) or exif_orientation
        if marker == 0xE1 and segment.startswith(_XMP):
            xmp_orientation = xmp_orientation or read_xmp_orientation(segment)
        if marker in _JPEG_FRAMES:
            if len(segment) < 6:
                raise MediaError("truncated", "JPEG ends in its frame header")
            bits, height, width, components = struct.unpack_from(">BHHB", segment)
            if bits != 8:
                raise MediaError("refused_format", f"JPEG of {bits} bits; allowed are 8")
            return JpegHeader(width, height, components, exif_orientation or xmp_orientation or 1)
        offset += 2 + length


def drop_stray_bytes(data: bytes) -> bytes:
    """Return a JPEG without stray bytes between segments of its header, which decoders skip.

    A gap of more than ``_MAX_GAP`` bytes is left, and refused by ``read_jpeg_header``.
    """
    offset, start, pieces = 2, 0, []
    while offset + 4 <= len(data):
        if data[offset] != 0xFF or not data[offset + 1]:
            marker = _MARKER.search(data, offset, offset + _MAX_GAP + 2)
            if marker is None:
                break
            pieces.append(data[start:offset])
            offset = start = marker.start()
        elif data[offset + 1] == 0xFF:  # a fill byte
            offset += 1
        elif data[offset + 1] in (0xD9, 0xDA):
            break
        else:
            offset += 2 + max(2, int.from_bytes(data[offset + 2 : offset + 4], "big"))
    return b"".join([*pieces, data[start:]]) if pieces else data


def read_exif_orientation(exif: bytes) -> int | None:
    """Return the orientation 1..8 of EXIF data; 1 if it is invalid, None if it is missing."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * min(count, _MAX_EXIF_TAGS), 12):
            tag, kind, values = struct.unpack_from(order + "HHI", tiff, entry)
            if tag == _EXIF_ORIENTATION:
                if kind not in _EXIF_TYPES or values != 1:
                    return 1
                (value,) = struct.unpack_from(order + _EXIF_TYPES[kind], tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:  # an offset beyond the end
        pass
    return None


def read_xmp_orientation(xmp: bytes) -> int | None:
    """Return the orientation 1..8 of XMP data; None if it is missing or invalid."""
    match = _XMP_ORIENTATION.search(xmp)
    return int(match[1]) if match else None


def read_orientation(info: Mapping[Any, Any]) -> int:
    """Return the orientation 1..8 in the metadata of a Pillow image; 1 without one.

    It is in EXIF, else in ImageMagick's text of a PNG, else in XMP.
    """
    exif, app1, xmp = [_read_raw_profile(info.get(f"Raw profile type {name}")) for name in _RAW_PROFILES]
    for data in (info.get("exif"), exif, app1):
        if isinstance(data, bytes) and (orientation := read_exif_orientation(data)):
            return orientation
    for data in (info.get("xmp"), info.get("XML:com.adobe.xmp"), xmp, app1):
        data = data.encode() if isinstance(data, str) else data
        if isinstance(data, bytes) and (orientation := read_xmp_orientation(data)):
            return orientation
    return 1


def _read_raw_profile(text: object) -> bytes:
    """Return the data of ImageMagick's text: a line of a name, one of a length, and hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else b""
    except ValueError:
        return b""


def read_webp_size(data: bytes) -> tuple[int, int]:
    """Read width and height in px from a WebP's header; its decoder would first allocate the whole canvas.

    Raises:
        MediaError: an unknown or incomplete header.
    """
    if len(data) < 30:
        raise MediaError("truncated", "WebP header")
    chunk, body = data[12:16], data[20:]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise MediaError("corrupt", "WebP header")


def check_complete(data: bytes, image_format: str) -> None:
    """Check for damage that a decoder would ignore: a missing end, a wrong checksum.

    Raises:
        MediaError: ``truncated`` or ``corrupt``.
    """
    if image_format == "png":
        _check_png(data)
    elif image_format == "webp" and len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise MediaError("truncated", "WebP ends before its length")
    elif image_format == "bmp" and len(data) < int.from_bytes(data[2:6], "little"):
        raise MediaError("truncated", "BMP ends before its length")


def _check_png(data: bytes) -> None:
    offset = 8
    while True:
        if offset + 12 > len(data):
            raise MediaError("truncated", "PNG without an end")
        length, kind = struct.unpack_from(">I4s", data, offset)
        end = offset + 12 + length
        if end > len(data):
            damaged = not kind.isalpha() or length > 2**31
            raise MediaError("corrupt" if damaged else "truncated", f"PNG ends within {kind!r}")
        if zlib.crc32(memoryview(data)[offset + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise MediaError("corrupt", f"PNG checksum of {kind!r}")
        if kind == b"IEND":
            return
        offset = end
