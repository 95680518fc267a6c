"""Reading photos and videos as RGB pixels.

Formats are recognized by their first bytes, never by the file name: JPEG, PNG, WebP, BMP, GIF, AVIF and, with
the extra ``heif``, HEIC and HEIF (of several pictures the first, with a note). The size is checked in the
header before anything is decoded. JPEGs are decoded strictly: a damaged file is refused, not padded with
grey; padding before the end marker is no damage.
The orientation of EXIF, or else of XMP, is applied; that of HEIC and AVIF is in their container. Colour
profiles are not applied: values are interpreted as sRGB.

Conversion to RGB: grey is repeated; palettes are applied; 16-bit values keep their upper 8 bits; CMYK and
YCCK are converted without a profile; transparent images are composited on black, but for a BMP whose alpha
is 0 everywhere, which is opaque.

A file that cannot be used raises ``MediaError`` with one of these reasons: ``empty not_an_image
refused_format truncated corrupt too_small too_large bad_aspect unreadable no_video``.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from maeface import checks
from maeface.faces import container as containers
from maeface.faces import video
from maeface.faces import video_index as indexing
from maeface.faces.formats import HEAD_BYTES, MediaError, detect_format
from maeface.faces.numbering import MissingFrames
from maeface.faces.photo import convert_picture, decode_image, image_format_of
from maeface.faces.picture import MAX_PIXELS
from maeface.faces.timestamps import Spans, frame_period
from maeface.faces.video import Frame
from maeface.faces.video_index import VideoIndex

__all__ = [
    "Frame",
    "MediaError",
    "MissingFrames",
    "VideoIndex",
    "convert_picture",
    "count_frames",
    "decode_image",
    "detect_kind",
    "index_video",
    "open_video",
    "read_clock",
    "read_frames",
    "read_image",
]

MAX_BYTES = 512 * 2**20  # of an image file
_IMAGE_EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .heic .heif .avif .tif .tiff .psd .eps .jp2 .jxl".split()
)
_NO_VIDEO_FORMAT = "the content is of no video format that is read"
_VIDEO_EXTENSIONS = frozenset(
    ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .ts .mts .m2ts .m2t .flv .wmv .ogv .3gp .vob .mod .tod "
    ".h264 .264 .h265 .265 .hevc .dv .ivf .mxf .rm .rmvb .wtv .asf .m2v".split()
)


def detect_kind(path: Path) -> Literal["image", "video"] | None:
    """Return whether a file is a photo, a video, or neither.

    The content decides. If its format is not recognized (a damaged file), the file name's extension does, so
    that a damaged photo is reported and not ignored. Pipes and devices are never opened.
    """
    try:
        with _open(path) as file:
            kind, _ = detect_format(_read(file, HEAD_BYTES))
    except MediaError:
        kind = "unknown"
    if kind == "video":
        return "video"
    extension = path.suffix.lower()
    if kind in ("image", "refused"):
        return "image" if kind == "image" or extension in _IMAGE_EXTENSIONS else None
    return "image" if extension in _IMAGE_EXTENSIONS else "video" if extension in _VIDEO_EXTENSIONS else None


def read_image(path: Path, min_side: int = 32, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a photo.

    Args:
        path: a file of an allowed format, whatever its name.
        min_side: lower limit of width and height in px.
        max_pixels: upper limit of width times height.

    Returns:
        (H, W, 3) RGB uint8, upright.

    Raises:
        MediaError: the file is not a complete photo of an allowed format and size.
    """
    with _open(path) as file:
        image_format = image_format_of(_read(file, HEAD_BYTES))
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise MediaError("too_large", f"more than {MAX_BYTES >> 20} MiB")
        file.seek(0)
        data = _read(file, MAX_BYTES)
    return decode_image(data, image_format, min_side, max_pixels=max_pixels)


def read_frames(
    path: Path,
    every: int = 1,
    fps: float | None = None,
    spans: Spans = (),
    index: VideoIndex | None = None,
    threads: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[Frame | MissingFrames]:
    """Yield the frames of a video in order, with constant memory. A photo is one frame.

    Frames that cannot be decoded have a record in their place, ``MissingFrames``, and the others keep their
    numbers and times. A damaged frame has one if it is chosen; lost frames, and those missing at the end,
    have one whatever ``every`` and ``fps`` choose. Damage is only seen if the decoder or the container
    notices it: frames that build on a damaged one may show traces of it up to the next key frame.

    Args:
        path: a video or a photo.
        every: yield every n-th frame.
        fps: yield at most this many frames per second instead, by their timestamps.
        spans: yield only frames in these ascending [start, stop) spans of a video; () for all. Frames are
            chosen as of the whole video. With an index, reading begins at the key frame before a span. The
            file is not read beyond the last span.
        index: from ``index_video``, to read several parts of a video; None: one is made if there can be one.
        threads: of the decoder.
        advance: called while an index is made, after each packet, to show that there is progress.

    Raises:
        ConfigError: an invalid ``every`` or ``fps``.
        MediaError: the file cannot be used at all.
    """
    checks.require_sampling(every, fps)
    with _open(path) as file:
        kind, name = detect_format(_read_head(file))
        if kind == "video":
            file.seek(0)
            if index is None:
                index = indexing.build_index(file, name, advance)
                file.seek(0)
            yield from video.decode_frames(file, name, every, fps, spans, index, threads)
            return
        if kind == "unknown" and path.suffix.lower() in _VIDEO_EXTENSIONS:
            raise MediaError("unreadable", _NO_VIDEO_FORMAT)
    yield Frame(read_image(path), 0, 0.0)


def index_video(path: Path, advance: Callable[[], None] = lambda: None) -> VideoIndex | None:
    """Return the index of a video, made in one pass over the file without decoding it.

    Args:
        path: a video.
        advance: called after each packet, to show that there is progress.

    Returns:
        None if the file has no index that can be trusted (``video_index``): then it is read from its start.

    Raises:
        MediaError: not a video that can be opened.
    """
    with open_video(path) as (file, name):
        return indexing.build_index(file, name, advance)


def count_frames(path: Path, exact: bool = False) -> int:
    """Count the frames of a video without decoding them.

    Args:
        path: a video.
        exact: count them in the file, all of which is read; otherwise the number in the header is returned if
            there is one.

    Raises:
        MediaError: not a video that can be opened.
    """
    with open_video(path) as (file, name):
        return video.count_frames(file, name, exact)


def read_clock(path: Path) -> tuple[float | None, float]:
    """Return the length of a video in seconds (None if its header does not say) and its frames per second.

    Args:
        path: a video.

    Raises:
        MediaError: not a video that can be opened.
    """
    with open_video(path) as (file, name), containers.open_container(file, name) as (container, stream):
        length = container.duration and container.duration / 1_000_000
        return length or None, 1 / frame_period(stream)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """Open a video, and yield the file and the name of its demuxer.

    Raises:
        MediaError: not a video.
    """
    with _open(path) as file:
        kind, name = detect_format(_read_head(file))
        if kind != "video":
            raise MediaError("no_video", _NO_VIDEO_FORMAT)
        file.seek(0)
        yield file, name


def _open(path: Path) -> BinaryIO:
    """Open a regular file. Pipes and devices are refused: they could block, or react to being read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise MediaError("unreadable", "not a regular file")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise MediaError("unreadable", getattr(error, "strerror", None) or str(error)) from error
    return os.fdopen(descriptor, "rb")


def _read_head(file: BinaryIO) -> bytes:
    if not (head := _read(file, HEAD_BYTES)):
        raise MediaError("empty", "the file has no bytes")
    return head


def _read(file: BinaryIO, max_bytes: int) -> bytes:
    try:
        return file.read(max_bytes)
    except OSError as error:
        raise MediaError("unreadable", error.strerror or str(error)) from error
