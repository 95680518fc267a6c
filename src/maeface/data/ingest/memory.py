"""Images in memory, in every usual form, to the RGB pixels that a file of the same image gives."""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeGuard, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maeface.errors import DataError
from maeface.faces import media

if TYPE_CHECKING:
    import torch

InMemory = Union[NDArray[np.uint8], "torch.Tensor", Image.Image, bytes, bytearray, memoryview, BinaryIO]
"""Pixels as arrays, tensors and Pillow images; whole encoded photos as bytes and binary files."""

EXPECTED = (
    "expected a path, a uint8 array (H, W, 3), a uint8 tensor (3, H, W), a Pillow image, or a photo's bytes "
    "or binary file"
)


def is_one(images: object) -> bool:
    """Return whether ``images`` is one image (or path) and not several."""
    if isinstance(images, np.ndarray):
        return images.ndim < 4 and images.dtype.kind not in "OU"  # objects or texts
    if _is_tensor(images):
        return images.ndim < 4
    one = (str, os.PathLike, Image.Image, bytes, bytearray, memoryview, Mapping)
    return isinstance(images, one) or hasattr(images, "read")


def check(number: int, image: object) -> None:
    """Refuse an object that is not an image, by its type and shape alone.

    Args:
        number: of the image, for the message.
        image: anything.

    Raises:
        DataError: another type, a file opened as text, another dtype than uint8, another shape, or no
            pixels.
    """
    if isinstance(image, np.ndarray) or _is_tensor(image):
        axis = 2 if isinstance(image, np.ndarray) else 0  # of the channels
        shape = tuple(image.shape)
        kind = "array" if isinstance(image, np.ndarray) else "tensor"
        channels = shape[axis] if len(shape) == 3 else 1
        if str(image.dtype).removeprefix("torch.") != "uint8" or len(shape) not in (2, 3):
            raise DataError(f"image {number} is a {image.dtype} {kind} of shape {shape}; {EXPECTED}")
        if 0 in shape:
            raise DataError(f"image {number} has no pixels: its shape is {shape}; {EXPECTED}")
        if channels not in (1, 3, 4):
            raise DataError(f"image {number} is a {image.dtype} {kind} of shape {shape}; {EXPECTED}")
    elif isinstance(image, Image.Image):
        if 0 in image.size:
            raise DataError(f"image {number} has no pixels: it is {image.width} x {image.height}; {EXPECTED}")
    elif isinstance(image, io.TextIOBase):
        raise DataError(f"image {number} is a file that is open as text; open it as binary ('rb')")
    elif not (isinstance(image, (bytes, bytearray, memoryview)) or hasattr(image, "read")):
        raise DataError(f"image {number} is of type {type(image).__name__}; {EXPECTED}")


def pixels(number: int, image: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - checked by ``check``
    """Return the pixels of an image that passed ``check``: (H, W, 3) RGB uint8, upright.

    As for files, grey is repeated and transparent pixels are blended with black; a single channel of an array
    or a tensor is grey, a fourth is opacity.

    Raises:
        MediaError: the bytes are not a whole photo of an allowed format and size.
        DataError: a file opened as text.
    """
    if isinstance(image, Image.Image):
        return media.convert_picture(image)
    if _is_tensor(image):
        array = image.detach().cpu().numpy()
        return _rgb(np.moveaxis(array, 0, 2) if array.ndim == 3 else array)
    if isinstance(image, np.ndarray):
        return _rgb(image)
    data = image if isinstance(image, (bytes, bytearray, memoryview)) else _read(number, image)
    return media.decode_image(bytes(data))


def _rgb(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.shape[2] == 4:
        return media.convert_picture(Image.fromarray(np.ascontiguousarray(array), "RGBA"))
    return np.ascontiguousarray(array)


def _read(number: int, file: Any) -> bytes:  # noqa: ANN401 - any object that reads
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # UnicodeDecodeError and a closed file are ValueErrors
        reason = str(error).strip() or type(error).__name__
        raise media.MediaError("unreadable", reason.splitlines()[0][:100]) from error
    if not isinstance(data, bytes):
        raise DataError(
            f"image {number} is a file that gives {type(data).__name__}; open it as binary ('rb')"
        )
    return data


def check_all(images: Sequence[object]) -> None:
    """Check every object of a list that is not a path; see ``check``."""
    for number, image in enumerate(images):
        if not is_path(image):
            check(number, image)


def is_path(image: object) -> bool:
    """Return whether ``image`` is a path, not an image in memory."""
    return isinstance(image, (str, os.PathLike))


def _is_tensor(image: object) -> "TypeGuard[torch.Tensor]":
    """Return whether an object is a tensor, without loading torch: where there is one, torch is loaded."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)
