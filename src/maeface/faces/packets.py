"""What the first bytes of a packet of video say about its picture, without decoding it."""

from typing import Any

_CODECS = {name: name for name in "h264 hevc mpeg4 vp8 vp9 av1 mjpeg prores dnxhd ffv1".split()}
_CODECS |= {"libdav1d": "av1", "libaom-av1": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}
_MPEG2_SEQUENCE = b"\0\0\1\xb3"  # the start code of a sequence header, in MPEG-1 too
_SMALLEST_MPEG4 = 9  # bytes; a smaller picture may be one that is not coded, and then nothing is shown
_HEAD_BYTES = 65_536  # of a key frame, that are searched for the kind of its picture
_H264_SLICES, _H264_IDR = range(1, 6), 5
_HEVC_SLICES, _HEVC_KEYS = range(32), (19, 20, 21)  # IDR_W_RADL, IDR_N_LP, CRA


def codec_of(decoder: str) -> str:
    """Return the codec of one of FFmpeg's decoders; "" if its packets are not known here."""
    return _CODECS.get(decoder, "")


def may_be_open(codec: str) -> bool:
    """Return whether decoding may begin at a key frame though frames shown before it come after it.

    In MPEG-4 and H.265 only these frames may refer to what is before the key frame.
    """
    return codec in ("mpeg4", "hevc")


def is_shown(codec: str, packet: Any) -> bool | None:  # noqa: ANN401 - PyAV has no types
    """Return whether a packet has a picture that is shown, not only one that others refer to.

    Returns:
        None if that is not known.
    """
    if codec == "mpeg4":
        return True if packet.size >= _SMALLEST_MPEG4 else None
    if codec not in ("vp8", "vp9"):
        return True
    data = memoryview(packet)
    if codec == "vp8":
        return bool(data[0] >> 4 & 1)
    superframe = data[-1] & 0xE0 == 0xC0
    shows_existing, _, shown = _vp9_flags(data[0])
    return superframe or shows_existing or shown


def is_key(codec: str, packet: Any, extradata: bytes) -> bool:  # noqa: ANN401
    """Return whether a packet that is marked as a key frame depends on nothing before it.

    Args:
        codec: from ``codec_of``.
        packet: marked as a key frame by its container.
        extradata: of the codec context.
    """
    if codec == "vp8":
        return not memoryview(packet)[0] & 1
    if codec == "vp9":
        shows_existing, inter, _ = _vp9_flags(memoryview(packet)[0])
        return not shows_existing and not inter
    if codec not in ("h264", "hevc"):
        return True
    data = bytes(memoryview(packet)[:_HEAD_BYTES])
    for byte in _unit_headers(data, codec, extradata):
        kind = byte & 31 if codec == "h264" else byte >> 1 & 63
        if codec == "h264" and kind in _H264_SLICES:
            return kind == _H264_IDR
        if codec == "hevc" and kind in _HEVC_SLICES:
            return kind in _HEVC_KEYS
    return False


def mpeg2_size(packet: Any) -> bytes:  # noqa: ANN401
    """Return width and height (3 bytes) at the start of a packet of MPEG-1 or MPEG-2; b"" if none."""
    if packet.stream.codec_context.name not in ("mpeg1video", "mpeg2video"):
        return b""
    head = bytes(memoryview(packet)[:7])
    return head[4:] if head.startswith(_MPEG2_SEQUENCE) else b""


def _vp9_flags(first: int) -> tuple[bool, bool, bool]:
    """Return show_existing_frame, whether it is no key frame, and show_frame."""
    if first & 0x30 == 0x30:  # profile 3 has one bit more
        first <<= 1
    return bool(first >> 3 & 1), bool(first >> 2 & 1), bool(first >> 1 & 1)


def _unit_headers(data: bytes, codec: str, extradata: bytes) -> list[int]:
    """Return the first byte of each NAL unit, of the format with lengths or with start codes."""
    headers = []
    at = 4 if codec == "h264" else 21
    if extradata[:1] == b"\1" and len(extradata) > at:
        width = 1 + (extradata[at] & 3)
        position = 0
        while position + width < len(data):
            headers.append(data[position + width])
            position += width + int.from_bytes(data[position : position + width], "big")
        return headers
    position = data.find(b"\0\0\1")
    while 0 <= position < len(data) - 3:
        headers.append(data[position + 3])
        position = data.find(b"\0\0\1", position + 3)
    return headers
