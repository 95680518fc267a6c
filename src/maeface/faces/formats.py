"""What kind of file some bytes are, and the error of a file that is skipped."""

from typing import NamedTuple

from maeface.errors import DataError

HEAD_BYTES = 1024


class BadMedia(DataError):
    """A photo or video that is skipped.

    Attributes:
        reason: one word, the manifest's ``status``.
        detail: a few words more.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Magic(NamedTuple):
    """A format is told by ``mark`` at ``offset``."""

    offset: int
    mark: bytes
    name: str


_IMAGES = (
    Magic(0, b"\xff\xd8\xff", "jpeg"),
    Magic(0, b"\x89PNG\r\n\x1a\n", "png"),
    Magic(8, b"WEBP", "webp"),
    Magic(0, b"BM", "bmp"),
    Magic(0, b"GIF87a", "gif"),
    Magic(0, b"GIF89a", "gif"),
)
# Named so that the reason is "refused", which says more than "not an image".
_REFUSED = (
    Magic(0, b"II*\0", "TIFF"),
    Magic(0, b"MM\0*", "TIFF"),
    Magic(0, b"II+\0", "BigTIFF"),
    Magic(0, b"MM\0+", "BigTIFF"),
    Magic(0, b"8BPS", "Photoshop"),
    Magic(0, b"%!PS", "PostScript"),
    Magic(0, b"\xc5\xd0\xd3\xc6", "EPS"),
    Magic(0, b"%PDF", "PDF"),
    Magic(0, b"SIMPLE  =", "FITS"),
    Magic(0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    Magic(0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    Magic(0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    Magic(0, b"\xff\x0a", "JPEG XL"),
    Magic(0, b"\0\0\1\0", "icon"),
    Magic(0, b"<svg", "SVG"),
)
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
# Names on the right are FFmpeg's demuxers, which are then asked for by name: no other is ever tried, so
# playlists and scripts that would open further files or addresses (HLS, concat, DASH) are out of reach.
_VIDEOS = (
    *(Magic(4, mark, "mov") for mark in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    Magic(8, b"AVI ", "avi"),
    Magic(0, b"\x1a\x45\xdf\xa3", "matroska"),
    Magic(0, b"\0\0\1\xba", "mpeg"),
    Magic(0, b"\0\0\1\xb3", "mpegvideo"),
    Magic(0, b"FLV\1", "flv"),
    Magic(0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    Magic(0, b"OggS", "ogg"),
    Magic(0, b"YUV4MPEG2 ", "yuv4mpegpipe"),
)


def sniff(head: bytes) -> tuple[str, str]:
    """What the first bytes (up to ``HEAD_BYTES``) of a file say: a class and a format.

    Returns:
        ``("image", reader)``, ``("video", demuxer)``, ``("refused", name)`` or ``("unknown", "")``.
    """
    for name in _named(_IMAGES, head):
        if name != "webp" or head.startswith(b"RIFF"):
            return "image", name
    for name in _named(_REFUSED, head):
        return "refused", name
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return "refused", "HEIF or AVIF"
    for name in _named(_VIDEOS, head):
        return "video", name
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "video", "mpegts"
    return "unknown", ""


def _named(table: tuple[Magic, ...], head: bytes) -> list[str]:
    return [magic.name for magic in table if head[magic.offset :].startswith(magic.mark)]
