"""Augmentation of a whole batch on the device: random crop and flip, erasing, mixup and cutmix.

The random numbers of each sample are arguments (``dataset`` draws them), so nothing that happens to a sample
depends on the others; only ``mix`` draws from a generator, once a batch. Changes of light, optics, sensor
and file are in ``photometric``.

B crops, S the side of a crop as stored, I the side that the model takes, O label columns.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maeface.data.loading import photometric

ATTEMPTS = 10
CROP_DRAWS = 2 * ATTEMPTS + 3
ERASE_DRAWS = 5
OWN_DRAWS = CROP_DRAWS + ERASE_DRAWS
DRAWS = OWN_DRAWS + photometric.DRAWS
"""Uniform numbers on 0..1 that a sample needs: area and ratio of each attempt, x, y, flip; those of erasing
and of ``photometric``."""

CROP_RATIO = (3 / 4, 4 / 3)
ERASED_AREA = (0.02, 1 / 3)
ERASED_RATIO = (0.3, 1 / 0.3)
SWITCH_PROBABILITY = 0.5
CUBIC = -0.5


class Crops(NamedTuple):
    """The crop of each sample: box (B, 4) x1 y1 x2 y2 on 0..1 of the side, flip (B,) bool."""

    box: Tensor
    flip: Tensor


def random_crops(draws: Tensor, scale: tuple[float, float], flip: bool) -> Crops:
    """Return boxes of random area and shape, as torchvision's RandomResizedCrop does, but not rounded.

    Args:
        draws: (B, DRAWS) uniform on 0..1.
        scale: smallest and largest fraction of the area.
        flip: mirror half of the samples.
    """
    attempts = draws[:, : 2 * ATTEMPTS].view(-1, ATTEMPTS, 2)
    x, y, mirrored = draws[:, 2 * ATTEMPTS : CROP_DRAWS].unbind(1)
    width, height = _rectangles(attempts, scale, CROP_RATIO)  # (B, ATTEMPTS)
    fits = (width <= 1) & (height <= 1)
    chosen = fits.int().argmax(dim=1, keepdim=True)  # the first that fits
    none = ~fits.any(dim=1)  # then the whole image: it is square, which is an allowed shape
    width = width.gather(1, chosen)[:, 0].masked_fill(none, 1.0)
    height = height.gather(1, chosen)[:, 0].masked_fill(none, 1.0)
    left, top = x * (1 - width), y * (1 - height)
    box = torch.stack([left, top, left + width, top + height], dim=1)
    return Crops(box, (mirrored < 0.5) if flip else torch.zeros_like(mirrored, dtype=torch.bool))


def resample(pixels: Tensor, crops: Crops, image_size: int) -> Tensor:
    """Crop, resize and mirror every sample in two matrix products; bicubic, antialiased where it shrinks.

    The whole image gives what ``model.preprocessing.resize`` gives, so training and evaluation see the same
    filter.

    Args:
        pixels: (B, 3, S, S) on 0..1.
        crops: from ``random_crops``.
        image_size: I.

    Returns:
        (B, 3, I, I) on 0..1.
    """
    side = pixels.shape[-1]
    left, top, right, bottom = (crops.box * side).to(pixels.dtype).unbind(1)
    columns = _filters(left, right, side, image_size)  # (B, I, S)
    columns = torch.where(crops.flip[:, None, None], columns.flip(1), columns)
    rows = _filters(top, bottom, side, image_size)[:, None]  # (B, 1, I, S)
    with torch.autocast(pixels.device.type, enabled=False):  # bfloat16 has too few levels for pixels
        return (rows @ pixels @ columns[:, None].transpose(2, 3)).clamp(0, 1)


def erase(inputs: Tensor, draws: Tensor, probability: float) -> Tensor:
    """Fill a random rectangle of some samples with noise (random erasing, Zhong et al. 2020; timm's "pixel").

    Args:
        inputs: (B, 3, I, I), normalised.
        draws: (B, DRAWS) uniform on 0..1.
        probability: of each sample.
    """
    chance, x, y = draws[:, CROP_DRAWS], draws[:, CROP_DRAWS + 3], draws[:, CROP_DRAWS + 4]
    width, height = _rectangles(draws[:, CROP_DRAWS + 1 : CROP_DRAWS + 3], ERASED_AREA, ERASED_RATIO)
    width, height = width.clamp(max=1), height.clamp(max=1)
    centres = (torch.arange(inputs.shape[-1], device=inputs.device) + 0.5) / inputs.shape[-1]  # (I,)
    across = _within(centres, x * (1 - width), width)  # (B, I)
    down = _within(centres, y * (1 - height), height)
    erased = down[:, :, None] & across[:, None, :] & (chance < probability)[:, None, None]  # (B, I, I)
    noise = photometric.normal_noise(draws, inputs.shape, photometric.Stream.ERASED)
    return torch.where(erased[:, None], noise.to(inputs.dtype), inputs)


def mix(
    inputs: Tensor,
    labels: Tensor,
    mask: Tensor,
    partner: Tensor,
    generator: np.random.Generator,
    mixup: float,
    cutmix: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix samples with their partners (mixup, or cutmix; one of them by chance where both are on).

    A label of the mixture is the mixture of the labels. It is missing where either of the two is.

    Args:
        inputs: (R, 3, I, I), R at least B.
        labels: (R, O), anything where missing.
        mask: (R, O) bool, True where the label is there (not missing).
        partner: (B,) int64, the row of the partner of each of the first B samples.
        generator: draws the kind, the weight and the box of the mixture, once for the batch.
        mixup: alpha of Beta(alpha, alpha); 0 for none.
        cutmix: the same for cutmix; not both are 0.

    Returns:
        Inputs, labels and mask of the B mixtures.
    """
    cut = bool(cutmix) and (not mixup or generator.random() < SWITCH_PROBABILITY)
    alpha = cutmix if cut else mixup
    fraction = float(generator.beta(alpha, alpha))  # of the sample itself
    own, others = inputs[: len(partner)], inputs[partner]
    if cut:
        own = own.clone()
        x1, y1, x2, y2 = _cut_box(generator, fraction, inputs.shape[-1])
        own[:, :, y1:y2, x1:x2] = others[:, :, y1:y2, x1:x2]
        fraction = 1 - (x2 - x1) * (y2 - y1) / inputs.shape[-1] ** 2
    else:
        own = own * fraction + others * (1 - fraction)
    known = mask[: len(partner)] & mask[partner]
    mixed = labels[: len(partner)] * fraction + labels[partner] * (1 - fraction)
    return own, torch.where(known, mixed, 0.0), known


def _cut_box(generator: np.random.Generator, fraction: float, side: int) -> tuple[int, int, int, int]:
    cut = round(side * math.sqrt(1 - fraction))
    x, y = (int(value) for value in generator.integers(0, side, 2))
    low, high = -(cut // 2), cut - cut // 2
    x1, y1, x2, y2 = (min(max(edge, 0), side) for edge in (x + low, y + low, x + high, y + high))
    return x1, y1, x2, y2


def _rectangles(
    draws: Tensor, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Return width and height, on 0..1 of the side, for draws (..., 2): area uniform, ratio log-uniform."""
    covered = area[0] + (area[1] - area[0]) * draws[..., 0]
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shape = torch.exp(low + (high - low) * draws[..., 1])
    return (covered * shape).sqrt(), (covered / shape).sqrt()


def _within(centres: Tensor, start: Tensor, length: Tensor) -> Tensor:
    return (centres >= start[:, None]) & (centres < (start + length)[:, None])


def _filters(start: Tensor, end: Tensor, side: int, image_size: int) -> Tensor:
    """Return the bicubic weights (B, I, S) from S pixels to the I pixels of [start, end), in pixels."""
    step = (end - start)[:, None] / image_size  # (B, 1) source pixels a target pixel
    spread = step.clamp(min=1)[:, :, None]
    centre = start[:, None] + (torch.arange(image_size, device=start.device) + 0.5) * step  # (B, I)
    pixel = torch.arange(side, device=start.device) + 0.5  # (S,)
    distance = ((pixel - centre[:, :, None]) / spread).abs()  # (B, I, S)
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * distance * CUBIC - 4 * CUBIC
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    return weights / weights.sum(dim=2, keepdim=True)
