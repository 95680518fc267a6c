"""Operations on images where they are: NumPy arrays on the CPU, or frames of a film on a device of PyTorch.

The search and the following of faces use these, so that they need not know where the images are.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from maeface.faces import geometry
from maeface.faces.geometry import Square

if TYPE_CHECKING:
    from torch import Tensor

    from maeface.faces.device_frames import DeviceFrame

    Image = NDArray[np.uint8] | DeviceFrame
    """(H, W, 3) uint8 RGB."""
    Stack = NDArray[np.uint8] | Tensor
    """(B, H, W, 3) uint8 RGB."""
else:
    Image = Stack = Any

COPIED_BYTES = 1 << 25
"""Of images that are copied from a device at once."""


def crop(
    images: Sequence[Image], regions: Sequence[Square], size: int, bilinear: bool = False
) -> list[Image]:
    """Crop a region of each image, as ``geometry.crop`` does.

    Args:
        images: one for each region; an image may come several times.
        regions: the square to crop from each, in px of the image.
        size: side of the crops, px.
        bilinear: as for ``geometry.crop``.
    """
    if not images or isinstance(images[0], np.ndarray):
        pairs = zip(_arrays(images), regions, strict=True)
        return [geometry.crop(image, region, size, bilinear) for image, region in pairs]
    return [*images[0].crop(_frames(images), regions, size, bilinear)]


def stack(images: Sequence[Image]) -> Stack:
    """Return images of one shape, at least one, as one array or tensor (B, H, W, 3)."""
    if isinstance(images[0], np.ndarray):
        return np.stack(_arrays(images))
    return images[0].stack(_frames(images))


def shrink(image: Image, factor: int) -> Image:
    """Return an image smaller by a whole factor, as means of blocks of pixels."""
    if factor == 1:
        return image
    if isinstance(image, np.ndarray):
        return np.array(PillowImage.fromarray(image).reduce(factor))
    return image.shrink(factor)


def turn(image: Image, quarters: int) -> Image:
    """Return an image turned anticlockwise by quarters of a circle, as ``np.rot90`` does."""
    if isinstance(image, np.ndarray):
        return np.ascontiguousarray(np.rot90(image, quarters))
    return image.turn(quarters)


def pick(images: Sequence[Image], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return the colours of some pixels of each image, (B, ..., 3).

    Args:
        images: B, at least one.
        rows: (B, ...) of the pixels; B = 1 for the same in all images.
        columns: (B, ...) of the pixels; rows and columns broadcast.
    """
    rows, columns = np.broadcast_arrays(rows, columns)
    rows, columns = (np.broadcast_to(some, (len(images), *some.shape[1:])) for some in (rows, columns))
    if isinstance(images[0], np.ndarray):
        places = zip(_arrays(images), rows, columns, strict=True)
        return np.stack([image[row, column] for image, row, column in places])
    return images[0].pick(_frames(images), rows, columns)


def to_arrays(images: Sequence[Image]) -> Iterator[NDArray[np.uint8]]:
    """Yield images of one shape as arrays; those on a device are copied many at a time."""
    if not images or isinstance(images[0], np.ndarray):
        yield from _arrays(images)
        return
    together = max(1, COPIED_BYTES // math.prod(images[0].shape))
    for start in range(0, len(images), together):
        yield from images[0].stack(_frames(images[start : start + together])).cpu().numpy()


def _arrays(images: Sequence[Image]) -> Sequence[NDArray[np.uint8]]:
    return cast("Sequence[NDArray[np.uint8]]", images)


def _frames(images: Sequence[Image]) -> "Sequence[DeviceFrame]":
    return cast("Sequence[DeviceFrame]", images)
