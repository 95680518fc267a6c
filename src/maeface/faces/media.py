"""Reading photos and videos as RGB pixels.

Formats are recognized by their first bytes, never by the file name: JPEG, PNG, WebP, BMP and GIF (of several
pictures the first, with a note). The size is checked in the header before anything is decoded. JPEGs are
decoded strictly: a damaged file is refused, not padded with grey; padding before the end marker is no damage.
The orientation of EXIF, or else of XMP, is applied. Colour profiles are not applied: values are interpreted
as sRGB.

Conversion to RGB: grey is repeated; palettes are applied; 16-bit values keep their upper 8 bits; CMYK and
YCCK are converted without a profile; transparent images are composited on black, but for a BMP whose alpha
is 0 everywhere, which is opaque.

A file that cannot be used raises ``MediaError`` with one of these reasons: ``empty not_an_image
refused_format truncated corrupt too_small too_large bad_aspect unreadable no_video``.
"""

import io
import os
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from maeface import checks, console
from maeface.faces import jpeg, video
from maeface.faces import video_index as indexing
from maeface.faces.formats import (
    HEAD_BYTES,
    MediaError,
    check_complete,
    detect_format,
    drop_stray_bytes,
    read_jpeg_header,
    read_orientation,
    read_webp_size,
)
from maeface.faces.numbering import MissingFrames
from maeface.faces.picture import MAX_PIXELS
from maeface.faces.timestamps import Spans
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
    "read_frames",
    "read_image",
]

MAX_BYTES = 512 * 2**20  # of an image file
MAX_ASPECT = 50
# Only these readers: Image.open would try every format that Pillow supports.
_READERS: dict[str, type[ImageFile]] = {
    "png": PngImageFile,
    "webp": WebPImageFile,
    "bmp": BmpImageFile,
    "gif": GifImageFile,
}
_IMAGE_EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .heic .heif .avif .tif .tiff .psd .eps .jp2 .jxl".split()
)
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


def read_image(path: Path, min_side: int = 32) -> NDArray[np.uint8]:
    """Read a photo.

    Args:
        path: a file of an allowed format, whatever its name.
        min_side: lower limit of width and height in px.

    Returns:
        (H, W, 3) RGB uint8, upright.

    Raises:
        MediaError: the file is not a complete photo of an allowed format and size.
    """
    with _open(path) as file:
        image_format = _image_format(_read(file, HEAD_BYTES))
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise MediaError("too_large", f"more than {MAX_BYTES >> 20} MiB")
        file.seek(0)
        data = _read(file, MAX_BYTES)
    return decode_image(data, image_format, min_side)


def decode_image(data: bytes, image_format: str | None = None, min_side: int = 32) -> NDArray[np.uint8]:
    """Decode a photo in memory, as ``read_image`` does.

    Args:
        data: the bytes of a file.
        image_format: ``jpeg``, ``png``, ``webp``, ``bmp`` or ``gif``; None to recognize it.
        min_side: lower limit of width and height in px.
    """
    image_format = image_format or _image_format(data[:HEAD_BYTES])
    if image_format == "jpeg":
        return _decode_jpeg(data, min_side)
    if image_format == "webp":
        _check_size(*read_webp_size(data), min_side)
    try:
        picture = _READERS[image_format](io.BytesIO(data))
    except Exception as error:  # hostile headers raise anything: SyntaxError, struct.error, ...
        check_complete(data, image_format)
        raise _decoding_error(image_format, error) from error
    with picture:
        _check_size(*picture.size, min_side)
        check_complete(data, image_format)
        try:
            picture.load()
            pixels = _to_rgb(picture)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise OSError, SyntaxError, EOFError, zlib.error, ...
            raise _decoding_error(image_format, error) from error
        pixels = _rotate_upright(pixels, read_orientation(picture.info))
        _note_several_pictures(picture)
        return pixels


def convert_picture(picture: Image.Image) -> NDArray[np.uint8]:
    """Convert a Pillow image of any mode to the pixels (H, W, 3) that ``read_image`` returns for its file.

    Raises:
        MediaError: the image is loaded from a damaged file, or its mode cannot be converted.
    """
    try:
        return _rotate_upright(_to_rgb(picture), read_orientation(picture.info))
    except MemoryError:
        raise
    except Exception as error:  # as in decode_image
        raise _decoding_error(picture.format or picture.mode, error) from error


def read_frames(
    path: Path,
    every: int = 1,
    fps: float | None = None,
    spans: Spans = (),
    index: VideoIndex | None = None,
    threads: int = 1,
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

    Raises:
        ConfigError: an invalid ``every`` or ``fps``.
        MediaError: the file cannot be used at all.
    """
    checks.require_sampling(every, fps)
    with _open(path) as file:
        head = _read(file, HEAD_BYTES)
        kind, name = detect_format(head)
        if kind == "video":
            file.seek(0)
            if index is None:
                index = indexing.build_index(file, name)
                file.seek(0)
            yield from video.decode_frames(file, name, every, fps, spans, index, threads)
            return
        if kind == "unknown" and path.suffix.lower() in _VIDEO_EXTENSIONS:
            raise MediaError("unreadable" if head else "no_video", "a video of a kind that is not read")
    yield Frame(read_image(path), 0, 0.0)


def index_video(path: Path) -> VideoIndex | None:
    """Return the index of a video, made in one pass over the file without decoding it.

    Returns:
        None if the file has no index that can be trusted (``video_index``): then it is read from its start.

    Raises:
        MediaError: not a video that can be opened.
    """
    with _open(path) as file:
        kind, name = detect_format(_read(file, HEAD_BYTES))
        if kind != "video":
            raise MediaError("no_video", "a video of a kind that is not read")
        file.seek(0)
        return indexing.build_index(file, name)


def count_frames(path: Path, exact: bool = False) -> int:
    """Count the frames of a video without decoding them.

    Args:
        path: a video.
        exact: count them in the file, all of which is read; otherwise the number in the header is returned if
            there is one.

    Raises:
        MediaError: not a video that can be opened.
    """
    with _open(path) as file:
        kind, name = detect_format(_read(file, HEAD_BYTES))
        if kind != "video":
            raise MediaError("no_video", "a video of a kind that is not read")
        file.seek(0)
        return video.count_frames(file, name, exact)


def _open(path: Path) -> BinaryIO:
    """Open a regular file. Pipes and devices are refused: they could block, or react to being read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise MediaError("unreadable", "not a regular file")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise MediaError("unreadable", getattr(error, "strerror", None) or str(error)) from error
    return os.fdopen(descriptor, "rb")


def _read(file: BinaryIO, max_bytes: int) -> bytes:
    try:
        return file.read(max_bytes)
    except OSError as error:
        raise MediaError("unreadable", error.strerror or str(error)) from error


def _image_format(head: bytes) -> str:
    kind, name = detect_format(head)
    if not head:
        raise MediaError("empty", "the file has no bytes")
    if kind == "refused":
        raise MediaError("refused_format", f"{name}; allowed are JPEG, PNG, WebP, BMP and GIF")
    if kind != "image":
        raise MediaError("not_an_image", "the first bytes are of no image format")
    return name


def _decoding_error(image_format: str, error: Exception) -> MediaError:
    message = str(error)
    truncated = "truncated" in message.lower() or isinstance(error, EOFError)
    return MediaError("truncated" if truncated else "corrupt", f"{image_format}: {message[:100]}")


def _check_size(width: int, height: int, min_side: int) -> None:
    shape = f"{width} x {height}"
    if width * height > MAX_PIXELS:
        raise MediaError("too_large", f"{shape}, more than {MAX_PIXELS // 10**6} million pixels")
    if min(width, height) < min_side and max(width, height) <= MAX_ASPECT * min_side:
        raise MediaError("too_small", f"{shape}, a side under {min_side}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise MediaError("bad_aspect", f"{shape}, longer than 1:{MAX_ASPECT}")
    if min(width, height) < min_side:
        raise MediaError("too_small", f"{shape}, a side under {min_side}")


def _decode_jpeg(data: bytes, min_side: int) -> NDArray[np.uint8]:
    data = drop_stray_bytes(data)
    header = read_jpeg_header(data)
    _check_size(header.width, header.height, min_side)
    mode = {1: "GRAY", 4: "CMYK"}.get(header.components, "RGB")
    try:
        pixels = jpeg.decode(data, mode)
    except ValueError as error:
        # A file that still has its end marker was not truncated.
        truncated = "Premature end of JPEG file" in str(error) or b"\xff\xd9" not in data
        raise MediaError("truncated" if truncated else "corrupt", f"jpeg: {str(error)[:100]}") from error
    if mode == "GRAY":
        pixels = np.repeat(pixels, 3, axis=2)
    elif mode == "CMYK":  # stored inverted, as in Adobe's files
        ink = pixels.astype(np.uint16)
        pixels = ((ink[..., :3] * ink[..., 3:] + 127) // 255).astype(np.uint8)
    return _rotate_upright(pixels, header.orientation)


def _note_several_pictures(picture: Image.Image) -> None:
    try:
        several = getattr(picture, "is_animated", False)
    except Exception:  # the next picture is damaged
        several = True
    if several:
        _note_first_picture()


@cache  # one line a process, not one a file
def _note_first_picture() -> None:
    console.note("a file holds several pictures, such as an animation; the first is used, of every such file")


def _to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I"):  # 16-bit grey
        grey = (np.asarray(picture).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.format == "BMP" and picture.mode == "RGBA" and not np.asarray(picture)[..., 3].any():
        return np.array(picture)[..., :3].copy()  # the fourth byte is not used, as in Windows' clipboard
    if picture.has_transparency_data:
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        return np.array(Image.alpha_composite(black, picture.convert("RGBA")).convert("RGB"))
    return np.array(picture.convert("RGB"))


def _rotate_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation >= 5:  # 5 to 8 have rows and columns exchanged
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
