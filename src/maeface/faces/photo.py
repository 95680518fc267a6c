"""Photos in memory: from the bytes of a file, or a Pillow image, to RGB pixels; see ``media``."""

import io
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from maeface import console
from maeface.errors import install_command
from maeface.faces import jpeg
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
from maeface.faces.picture import MAX_PIXELS

MAX_ASPECT = 50
# Only these readers: Image.open would try every format that Pillow supports.
_READERS: dict[str, type[ImageFile]] = {
    "png": PngImageFile,
    "webp": WebPImageFile,
    "bmp": BmpImageFile,
    "gif": GifImageFile,
}


def decode_image(
    data: bytes,
    image_format: str | None = None,
    min_side: int = 32,
    least: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Decode a photo in memory, as ``read_image`` does.

    Args:
        data: the bytes of a file.
        image_format: ``jpeg``, ``png``, ``webp``, ``bmp``, ``gif``, ``avif`` or ``heif``; None to recognize
            it.
        min_side: lower limit of width and height in px.
        least: as in ``jpeg.decode``; other formats are decoded at full size.
        max_pixels: upper limit of width times height.
    """
    image_format = image_format or image_format_of(data[:HEAD_BYTES])
    if image_format == "jpeg":
        return _decode_jpeg(data, min_side, least, max_pixels)
    if image_format == "webp":
        _check_size(*read_webp_size(data), min_side, max_pixels)
    reader = _reader(image_format)
    try:
        picture = reader(io.BytesIO(data))
    except Exception as error:  # hostile headers raise anything: SyntaxError, struct.error, ...
        check_complete(data, image_format)
        raise _decoding_error(image_format, error) from error
    with picture:
        _check_size(*picture.size, min_side, max_pixels)
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


def _reader(image_format: str) -> type[ImageFile]:
    """Return Pillow's reader of a format.

    Raises:
        MediaError: HEIF or AVIF, and what reads it is not installed.
    """
    if image_format == "avif":
        if not features.check("avif"):
            raise MediaError("refused_format", "AVIF, which this build of Pillow does not read")
        return AvifImageFile
    if image_format == "heif":
        try:
            from pi_heif import HeifImageFile
        except ImportError as error:
            advice = f"HEIC or HEIF; to read it: {install_command('heif')}"
            raise MediaError("refused_format", advice) from error
        return _as_reader(HeifImageFile)
    return _READERS[image_format]


def _as_reader(reader: Any) -> type[ImageFile]:  # noqa: ANN401 - pi-heif has no types
    return reader  # type: ignore[no-any-return]


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


def image_format_of(head: bytes) -> str:
    """Return the format of an image by its first bytes.

    Raises:
        MediaError: no image, or one of a format that is not allowed.
    """
    kind, name = detect_format(head)
    if not head:
        raise MediaError("empty", "the file has no bytes")
    if kind == "refused":
        raise MediaError("refused_format", f"{name}; allowed are JPEG, PNG, WebP, BMP, GIF, AVIF and HEIC")
    if kind != "image":
        raise MediaError("not_an_image", "the first bytes are of no image format")
    return name


def _decoding_error(image_format: str, error: Exception) -> MediaError:
    message = str(error)
    truncated = "truncated" in message.lower() or isinstance(error, EOFError)
    return MediaError("truncated" if truncated else "corrupt", f"{image_format}: {message[:100]}")


def _check_size(width: int, height: int, min_side: int, max_pixels: int) -> None:
    shape = f"{width} x {height}"
    if width * height > max_pixels:
        raise MediaError("too_large", f"{shape}, more than {max_pixels / 10**6:g} million pixels")
    if min(width, height) < min_side and max(width, height) <= MAX_ASPECT * min_side:
        raise MediaError("too_small", f"{shape}, a side under {min_side}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise MediaError("bad_aspect", f"{shape}, longer than 1:{MAX_ASPECT}")
    if min(width, height) < min_side:
        raise MediaError("too_small", f"{shape}, a side under {min_side}")


def _decode_jpeg(data: bytes, min_side: int, least: int, max_pixels: int) -> NDArray[np.uint8]:
    data = drop_stray_bytes(data)
    header = read_jpeg_header(data)
    _check_size(header.width, header.height, min_side, max_pixels)
    mode = {1: "GRAY", 4: "CMYK"}.get(header.components, "RGB")
    try:
        pixels = jpeg.decode(data, mode, least)
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
