"""From the pixels of face crops to what the encoder reads; training, evaluation and prediction share it.

B crops, S the side of a crop as stored, I the side that the model takes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_input(
    crops: Tensor,
    image_size: int,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """Resize whole crops to the model's side and normalise them: the transform of evaluation.

    The face crop already frames the face, so all of it is kept; the official code's resize to 256 and
    central 224 would cut chin and forehead. Bicubic, antialiased.

    Args:
        crops: RGB, (B, 3, S, S), uint8 0..255, or floating point 0..1 as augmentation leaves it.
        image_size: I, in pixels.
        mean: of red, green and blue on 0..1.
        std: of red, green and blue on 0..1.

    Returns:
        Floating point, (B, 3, I, I), on the crops' device; float32 for uint8 crops.
    """
    pixels = resize(as_float(crops), image_size)  # (B, 3, I, I)
    return normalize(pixels, mean, std)


def as_float(crops: Tensor) -> Tensor:
    """uint8 0..255 to float32 0..1; floating point stays as it is."""
    return crops if crops.is_floating_point() else crops.float() / 255


def resize(pixels: Tensor, image_size: int) -> Tensor:
    """Squares of floating point on 0..1, (B, 3, S, S), to (B, 3, I, I); bicubic, kept within 0..1."""
    if pixels.shape[-2:] == (image_size, image_size):
        return pixels
    size = (image_size, image_size)
    return F.interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def normalize(
    pixels: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """(value - mean) / std for each colour of (B, 3, I, I) on 0..1."""
    return (pixels - _per_colour(mean, pixels)) / _per_colour(std, pixels)


def denormalize(
    inputs: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """The inverse of ``normalize``, as uint8 0..255 (B, 3, I, I), for pictures."""
    pixels = inputs * _per_colour(std, inputs) + _per_colour(mean, inputs)
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


def _per_colour(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype).view(3, 1, 1).to(like.device, non_blocking=True)
