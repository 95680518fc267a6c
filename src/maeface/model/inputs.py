"""The conversion of face crops to the model's input without PyTorch, as ``preprocessing.to_input`` does it.

Shapes: B crops, S side of a crop in pixels, I side of the model's input in pixels.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CUBIC = -0.5  # the parameter of the bicubic kernel, as in Pillow and in PyTorch's antialiased resizing


def to_input(
    crops: NDArray[np.uint8], image_size: int, mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Resize whole crops to the model's input size and normalise them, as in training.

    Args:
        crops: (B, S, S, 3) uint8 RGB; of the size I they are not resized.
        image_size: I, pixels.
        mean: of red, green and blue on 0 to 1.
        std: of red, green and blue on 0 to 1.

    Returns:
        (B, 3, I, I) float32, contiguous.
    """
    height, width = crops.shape[1:3]
    if (height, width) == (image_size, image_size):
        images = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
    else:
        rows, columns = resize_matrix(height, image_size), resize_matrix(width, image_size).T
        images = np.empty((len(crops), 3, image_size, image_size), np.float32)
        for crop, image in zip(crops, images, strict=True):  # one by one, because one fits in a CPU's cache
            lines = rows @ crop.reshape(height, width * 3).astype(np.float32)  # (I, 3 S)
            np.matmul(lines.reshape(image_size, width, 3).transpose(2, 0, 1), columns, out=image)
        np.clip(images, 0, 255, out=images)
    scale = 1 / (255 * np.asarray(std, np.float64))
    shift = np.asarray(mean, np.float64) / np.asarray(std, np.float64)
    images *= scale.astype(np.float32).reshape(3, 1, 1)
    images -= shift.astype(np.float32).reshape(3, 1, 1)
    return images


@lru_cache(maxsize=256)
def resize_matrix(side: int, size: int) -> NDArray[np.float32]:
    """Return the matrix (size, side) that resizes ``side`` pixels to ``size``: bicubic, antialiased."""
    # In float32 and in the order of PyTorch, so that the results agree to the last bits.
    half, scale = np.float32(0.5), np.float32(side) / np.float32(size)
    stretch = max(scale, np.float32(1))
    centres = scale * (np.arange(size, dtype=np.float32) + half)[:, None]
    first = np.maximum((centres - 2 * stretch + half).astype(np.int64), 0)
    last = np.minimum((centres + 2 * stretch + half).astype(np.int64), side)
    places = np.arange(side)[None]
    x = np.abs((places.astype(np.float32) - centres + half) / stretch)
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC
    weights = np.where(x < 1, near, np.where(x < 2, far, np.float32(0)))
    weights[(places < first) | (places >= last)] = 0
    matrix: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    matrix.flags.writeable = False  # it is cached
    return matrix
