"""Photos and videos to RGB pixels. What cannot be trusted is refused here, with a reason, before it costs.

Formats are told by their first bytes, never by the name: JPEG, PNG, WebP, BMP and GIF (first frame). The
size is read from the header first. JPEGs go through a strict decoder, so a damaged file is refused, not
padded with grey. EXIF orientation is applied once. Colour profiles are not applied: values are taken
as sRGB.

To RGB: grey is repeated; palettes are looked up; 16-bit values keep their upper 8 bits; CMYK and YCCK
are converted without a profile; transparent pixels lie on black.

Reasons: ``empty not_an_image refused_format truncated corrupt too_small too_large bad_aspect unreadable
no_video``.
"""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from maeface import checks
from maeface.faces.formats import HEAD_BYTES, BadMedia, sniff
from maeface.faces.headers import check_whole, exif_orientation, jpeg_header, webp_size
from maeface.faces.video import MAX_PIXELS, Frame, Spans, count_frames, video_frames

__all__ = [
    "BadMedia",
    "Frame",
    "frame_count",
    "frames",
    "image_in",
    "kind",
    "picture_pixels",
    "read_image",
]

MAX_BYTES = 512 * 2**20  # of an image file
MAX_ASPECT = 50
# Named readers and not Image.open, which would try every format that Pillow knows.
_READERS: dict[str, type[ImageFile]] = {
    "png": PngImageFile,
    "webp": WebPImageFile,
    "bmp": BmpImageFile,
    "gif": GifImageFile,
}
_IMAGE_NAMES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .heic .heif .avif .tif .tiff .psd .eps .jp2 .jxl".split()
)
_VIDEO_NAMES = frozenset(
    ".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .ts .mts .m2ts .flv .wmv .ogv .3gp".split()
)


def kind(path: Path) -> Literal["image", "video"] | None:
    """Whether a file is taken for a photo or a video, or for neither.

    By content; where that says nothing (a damaged file), by the ending of the name, so that a damaged
    photo is a photo with a reason and not silently passed over. Pipes and devices are never opened.
    """
    try:
        with _open(path) as file:
            what, _ = sniff(_read(file, HEAD_BYTES))
    except BadMedia:
        what = "unknown"
    if what == "video":
        return "video"
    if what in ("image", "refused"):
        return "image" if what == "image" or path.suffix.lower() in _IMAGE_NAMES else None
    ending = path.suffix.lower()
    return "image" if ending in _IMAGE_NAMES else "video" if ending in _VIDEO_NAMES else None


def read_image(path: Path, min_side: int = 32) -> NDArray[np.uint8]:
    """Read a photo.

    Args:
        path: a file of an allowed format, whatever its name.
        min_side: least width and height in px.

    Returns:
        (H, W, 3) RGB uint8, upright.

    Raises:
        BadMedia: the file is not a whole photo of an allowed format and size.
    """
    with _open(path) as file:
        name = _image_format(_read(file, HEAD_BYTES))
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise BadMedia("too_large", f"more than {MAX_BYTES >> 20} MiB")
        file.seek(0)
        data = _read(file, MAX_BYTES)
    return decode_image(data, name, min_side)


def decode_image(data: bytes, name: str, min_side: int = 32) -> NDArray[np.uint8]:
    """Decode the bytes of a photo of format ``name`` (as ``sniff`` gives it); otherwise as ``read_image``."""
    if name == "jpeg":
        return _decode_jpeg(data, min_side)
    if name == "webp":
        _check_size(*webp_size(data), min_side)
    try:
        picture = _READERS[name](io.BytesIO(data))
    except Exception as error:  # hostile headers raise anything: SyntaxError, struct.error, ...
        check_whole(data, name)
        raise BadMedia(*_said(name, error)) from error
    with picture:
        _check_size(*picture.size, min_side)
        check_whole(data, name)
        try:
            picture.load()
            pixels = _rgb(picture)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise OSError, SyntaxError, EOFError, zlib.error, ...
            raise BadMedia(*_said(name, error)) from error
        return _as_said(pixels, picture)


def image_in(data: bytes, min_side: int = 32) -> NDArray[np.uint8]:
    """A photo that is in memory; otherwise as ``read_image``."""
    return decode_image(data, _image_format(data[:HEAD_BYTES]), min_side)


def picture_pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of a Pillow image, of any mode, as ``read_image`` gives those of a file.

    Raises:
        BadMedia: the image is read from a file only now, and that is damaged; or a mode without colours.
    """
    try:
        return _as_said(_rgb(picture), picture)
    except MemoryError:
        raise
    except Exception as error:  # as in decode_image
        raise BadMedia(*_said(picture.format or picture.mode, error)) from error


def frames(path: Path, every: int = 1, fps: float | None = None, spans: Spans = ()) -> Iterator[Frame]:
    """The frames of a video in order, with constant memory; a photo is one frame.

    Args:
        path: a video or a photo.
        every: take each n-th frame.
        fps: take at most so many frames a second instead, by their timestamps.
        spans: of a video, ascending [start, stop) spans of frames to take these from; () for all. What lies
            behind the last is not read.

    Raises:
        ConfigError: ``every`` or ``fps`` means nothing.
        BadMedia: the file as a whole is of no use. Damage in the middle is passed over.
    """
    checks.sampling(every, fps)
    with _open(path) as file:
        head = _read(file, HEAD_BYTES)
        what, name = sniff(head)
        if what == "video":
            file.seek(0)
            yield from video_frames(file, name, every, fps, spans)
            return
        if what == "unknown" and path.suffix.lower() in _VIDEO_NAMES:
            raise BadMedia("unreadable" if head else "no_video", "not a video of a known container")
    yield Frame(read_image(path), 0, 0.0)


def frame_count(path: Path, exact: bool = False) -> int:
    """How many frames a video has, without decoding them.

    Args:
        path: a video.
        exact: count them in the file, which reads all of it; else what its header says, if it does.

    Raises:
        BadMedia: not a video that can be opened.
    """
    with _open(path) as file:
        what, name = sniff(_read(file, HEAD_BYTES))
        if what != "video":
            raise BadMedia("no_video", "not a video of a known container")
        file.seek(0)
        return count_frames(file, name, exact)


def _open(path: Path) -> BinaryIO:
    """Open a regular file, and nothing else: a pipe would block and a device may act."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadMedia("unreadable", "not a regular file")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise BadMedia("unreadable", getattr(error, "strerror", None) or str(error)) from error
    return os.fdopen(descriptor, "rb")


def _read(file: BinaryIO, most: int) -> bytes:
    try:
        return file.read(most)
    except OSError as error:
        raise BadMedia("unreadable", error.strerror or str(error)) from error


def _image_format(head: bytes) -> str:
    what, name = sniff(head)
    if not head:
        raise BadMedia("empty", "the file has no bytes")
    if what == "refused":
        raise BadMedia("refused_format", f"{name}; allowed are JPEG, PNG, WebP, BMP and GIF")
    if what != "image":
        raise BadMedia("not_an_image", "the first bytes are of no image format")
    return name


def _said(name: str, error: Exception) -> tuple[str, str]:
    said = str(error)
    cut = "truncated" in said.lower() or isinstance(error, EOFError)
    return ("truncated" if cut else "corrupt"), f"{name}: {said[:100]}"


def _check_size(width: int, height: int, min_side: int) -> None:
    shape = f"{width} x {height}"
    if width * height > MAX_PIXELS:
        raise BadMedia("too_large", f"{shape}, more than {MAX_PIXELS // 10**6} million pixels")
    if min(width, height) < min_side and max(width, height) <= MAX_ASPECT * min_side:
        raise BadMedia("too_small", f"{shape}, a side under {min_side}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadMedia("bad_aspect", f"{shape}, longer than 1:{MAX_ASPECT}")
    if min(width, height) < min_side:
        raise BadMedia("too_small", f"{shape}, a side under {min_side}")


def _decode_jpeg(data: bytes, min_side: int) -> NDArray[np.uint8]:
    header = jpeg_header(data)
    _check_size(header.width, header.height, min_side)
    mode = {1: "GRAY", 4: "CMYK"}.get(header.components, "RGB")
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, mode, strict=True)
    except ValueError as error:
        # Cut off or damaged? A file that still has its end marker was not cut off.
        cut = "Premature end of JPEG file" in str(error) or b"\xff\xd9" not in data
        raise BadMedia("truncated" if cut else "corrupt", f"jpeg: {str(error)[:100]}") from error
    if mode == "GRAY":
        pixels = np.repeat(pixels, 3, axis=2)
    elif mode == "CMYK":  # stored inverted, as Adobe does and everybody since
        ink = pixels.astype(np.uint16)
        pixels = ((ink[..., :3] * ink[..., 3:] + 127) // 255).astype(np.uint8)
    return _upright(pixels, header.orientation)


def _rgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I"):  # 16-bit grey
        grey = (np.asarray(picture).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.has_transparency_data:
        with_alpha = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        return np.array(Image.alpha_composite(black, with_alpha).convert("RGB"))
    return np.array(picture.convert("RGB"))


def _as_said(pixels: NDArray[np.uint8], picture: Image.Image) -> NDArray[np.uint8]:
    """The pixels turned as the EXIF data of the picture say."""
    exif = picture.info.get("exif", b"")
    return _upright(pixels, exif_orientation(exif) if isinstance(exif, bytes) else 1)


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation >= 5:  # 5 to 8 have rows and columns exchanged
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
