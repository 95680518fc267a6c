"""The conversion of face crops to the input of the encoder, shared by training, evaluation and prediction.

Shapes: B crops, S side of a stored crop in pixels, I side of the model's input in pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from maeface.model.inputs import IMAGENET_MEAN, IMAGENET_STD


def to_input(
    crops: Tensor,
    image_size: int,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """Resize whole crops to the model's input size and normalise them: the transform of evaluation.

    The crop already frames the face, so all of it is kept. The official code resizes to 256 and takes the
    central 224, which would cut chin and forehead. Bicubic, antialiased.

    Args:
        crops: RGB, (B, 3, S, S), uint8 0 to 255, or floating point 0 to 1 as augmentation leaves it.
        image_size: I, pixels.
        mean: of red, green and blue on 0 to 1.
        std: of red, green and blue on 0 to 1.

    Returns:
        Floating point, (B, 3, I, I), on the crops' device; float32 for uint8 crops.
    """
    images = resize(as_float(crops), image_size)  # (B, 3, I, I)
    return normalize(images, mean, std)


def as_float(crops: Tensor) -> Tensor:
    """Convert uint8 0 to 255 to float32 0 to 1; floating point stays as it is."""
    return crops if crops.is_floating_point() else crops.float() / 255


def resize(images: Tensor, image_size: int) -> Tensor:
    """Resize images on 0 to 1 from (B, 3, S, S) to (B, 3, I, I): bicubic, antialiased, clipped to 0 to 1."""
    if images.shape[-2:] == (image_size, image_size):
        return images
    size = (image_size, image_size)
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def normalize(
    images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """Return (value - mean) / std of each colour of images (B, 3, I, I) on 0 to 1."""
    return (images - _per_channel(mean, images)) / _per_channel(std, images)


def denormalize(
    inputs: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """Invert ``normalize``: (B, 3, I, I) to uint8 0 to 255, for pictures."""
    images = inputs * _per_channel(std, inputs) + _per_channel(mean, inputs)
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def _per_channel(values: Sequence[float], like: Tensor) -> Tensor:
    # filled there: a tensor of a list would be copied to a GPU in each step
    filled = [torch.full((1, 1), value, dtype=like.dtype, device=like.device) for value in values]
    return torch.stack(filled)
