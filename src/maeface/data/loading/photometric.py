"""Photometric augmentation of a batch on the device: light, optics, sensor, JPEG and loss of colour.

The changes are in the order in which they happen to a photograph: light on the face, exposure and white
balance, focus and resolution, the sensor's noise, JPEG, and the loss of colour. Each is drawn independently
for each sample, from numbers that are arguments (``dataset`` draws them), so the same sample and epoch
always look the same, whatever else is in the batch.

B images, S their side.
"""

import math
from collections.abc import Sequence
from enum import IntEnum
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from maeface.config import Photometric

DRAWS = 20
"""Uniform numbers on 0..1 that a sample needs."""

GREY = (0.299, 0.587, 0.114)
EXPOSURE = math.log(1.7)
CONTRAST = math.log(1.6)
GAMMA = math.log(1.4)
SATURATION = (0.3, 1.5)
BALANCE = math.log(1.12)
"""Of each colour. The logarithms above are reached in both directions."""
RAMP = 0.9
"""Natural logarithm of the brightness from one edge to the other, at most."""
BLUR = 0.013
"""Largest standard deviation, as a fraction of the side."""
SHRINK = 8
"""The smallest size is the side divided by this."""
NOISE = 0.08
QUALITY = (10, 90)
BLOCK = 8

# The quantisation tables that the JPEG standard (ITU-T T.81, annex K) gives as examples, and everyone uses.
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip


def apply(images: Tensor, draws: Tensor, settings: Photometric) -> Tensor:
    """Return a batch as it might have been photographed and stored.

    Args:
        images: (B, 3, S, S) on 0..1.
        draws: (B, DRAWS) uniform on 0..1.
        settings: the probability of each change.

    Returns:
        (B, 3, S, S) on 0..1.
    """
    if not any(settings.model_dump().values()):
        return images
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has too few levels for pixels
        images = images.float()
        if settings.shade:
            images = _where_drawn(shade(images, draws[:, 1:3]), images, draws[:, 0], settings.shade)
        if settings.light:
            images = _where_drawn(light(images, draws[:, 4:11]), images, draws[:, 3], settings.light)
        if settings.blur or settings.shrink:
            images = _optics(images, draws[:, 11:15], settings)
        images = images.clamp(0, 1)
        if settings.noise:
            noise = normal_noise(draws, images.shape, Stream.SENSOR)
            noisy = images + NOISE * draws[:, 16].view(-1, 1, 1, 1) * noise
            images = _where_drawn(noisy.clamp(0, 1), images, draws[:, 15], settings.noise)
        if settings.jpeg:
            quality = QUALITY[0] + (QUALITY[1] - QUALITY[0]) * draws[:, 18]
            images = _where_drawn(jpeg(images, quality), images, draws[:, 17], settings.jpeg)
        if settings.grey:
            images = _where_drawn(grey(images).expand_as(images), images, draws[:, 19], settings.grey)
        return images


def shade(images: Tensor, draws: Tensor) -> Tensor:
    """Add a ramp of brightness in a random direction; draws (B, 2): direction, strength."""
    side = images.shape[-1]
    centres = (torch.arange(side, device=images.device) + 0.5) / side - 0.5  # (S,)
    angle, strength = 2 * math.pi * draws[:, 0], RAMP * draws[:, 1]
    ramp = (
        torch.cos(angle)[:, None, None] * centres[None, None, :]
        + torch.sin(angle)[:, None, None] * centres[None, :, None]
    )  # (B, S, S)
    return images * torch.exp(strength[:, None, None] * ramp)[:, None]


def light(images: Tensor, draws: Tensor) -> Tensor:
    """Change exposure, contrast, gamma, saturation and white balance; draws (B, 7)."""
    signed = (2 * draws - 1).view(-1, 7, 1, 1, 1)
    low, high = SATURATION
    images = images * torch.exp(EXPOSURE * signed[:, 0] + BALANCE * signed[:, 4:7, 0])
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * torch.exp(CONTRAST * signed[:, 1]) + mean
    luminance = grey(images)
    images = luminance + (images - luminance) * (low + (high - low) * draws[:, 3].view(-1, 1, 1, 1))
    return images.clamp(0, 1) ** torch.exp(GAMMA * signed[:, 2])


def grey(images: Tensor) -> Tensor:
    """Return the luminance, (B, 1, S, S), of images (B, 3, S, S)."""
    red, green, blue = (images[:, k : k + 1] * GREY[k] for k in range(3))
    return red + green + blue


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Compress images as baseline JPEG with colour at half resolution does, and decode them.

    Args:
        images: (B, 3, S, S) on 0..1.
        quality: (B,), 1 to 100, as libjpeg counts it.
    """
    side = images.shape[-1]
    pad = -side % (2 * BLOCK)
    padded = F.pad(images, (0, pad, 0, pad), mode="replicate") * 255
    luminance = grey(padded)
    blue = (padded[:, 2:] - luminance) * 0.564
    red = (padded[:, :1] - luminance) * 0.713
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100  # libjpeg's
    luminance = _quantise(luminance - 128, LUMINANCE, scale) + 128
    colour = F.avg_pool2d(torch.cat([blue, red], dim=1), 2)
    colour = F.interpolate(_quantise(colour, CHROMINANCE, scale), scale_factor=2, mode="bilinear")
    blue, red = colour[:, :1] / 0.564, colour[:, 1:] / 0.713
    green = -(GREY[0] * red + GREY[2] * blue) / GREY[1]
    restored = luminance + torch.cat([red, green, blue], dim=1)
    return (restored[..., :side, :side].round() / 255).clamp(0, 1)


class Stream(IntEnum):
    """What noise is for, so that two kinds of the same sample differ."""

    SENSOR = 1
    ERASED = 2


def normal_noise(draws: Tensor, shape: Sequence[int], stream: Stream) -> Tensor:
    """Return noise of mean 0 and standard deviation 1, a function of the numbers of each sample.

    A generator of torch would give a sample other noise beside other samples. Here two values are made of a
    hash of two of the sample's numbers and of a place; the same on all devices, up to rounding. No value is
    beyond 4.9.

    Args:
        draws: (B, 2 or more) uniform on 0..1; the first two are used.
        shape: (B, ...), of the noise.
        stream: what it is for.

    Returns:
        float32, of ``shape``.
    """
    count = math.prod(shape[1:])
    first, second = (draws[:, :2].double() * 2**32).long().unbind(1)
    key = _hash(first ^ _hash(second + stream))[:, None]  # (B, 1)
    bits = _hash(key + _hash(torch.arange(-(-count // 2), device=draws.device)))  # (B, half)
    radius = (-2 * (((bits & 0xFFFF).float() + 0.5) / 2**16).log()).sqrt()  # Box and Muller
    angle = (bits >> 16).float() * (2 * math.pi / 2**16)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count].reshape(*shape)


def _hash(values: Tensor) -> Tensor:
    """Return whole numbers of 32 bits that look random, of whole numbers (int64)."""
    for multiplier in (0x7FEB352D, 0x846CA68B):
        values = values & 0xFFFFFFFF
        values = (values ^ (values >> 16)) * multiplier
    values = values & 0xFFFFFFFF
    return values ^ (values >> 16)


def _where_drawn(changed: Tensor, images: Tensor, draw: Tensor, chance: float) -> Tensor:
    return torch.where((draw < chance).view(-1, 1, 1, 1), changed, images)


def _optics(images: Tensor, draws: Tensor, settings: Photometric) -> Tensor:
    """Blur and shrink, both as one matrix along rows and columns; draws (B, 4)."""
    side, device = images.shape[-1], images.device
    sigma = torch.where(draws[:, 0] < settings.blur, BLUR * side * draws[:, 1], 0.0)
    size = side * torch.exp(-math.log(SHRINK) * draws[:, 3])
    size = torch.where(draws[:, 2] < settings.shrink, size.round().clamp(min=1), float(side))
    centres = torch.arange(side, device=device) + 0.5  # (S,)
    distance = centres[:, None] - centres[None, :]
    gauss = torch.exp(-(distance**2) / (2 * sigma.clamp(min=0.05)[:, None, None] ** 2))  # (B, S, S)
    filters = gauss / gauss.sum(dim=2, keepdim=True)
    if settings.shrink:
        filters = _shrink_matrices(centres, size) @ filters
    return filters[:, None] @ images @ filters[:, None].transpose(2, 3)


def _shrink_matrices(centres: Tensor, size: Tensor) -> Tensor:
    """Return matrices (B, S, S) that shrink S pixels to ``size`` (B,) by areas and enlarge them linearly.

    Of the S rows in between, those beyond ``size`` are empty.
    """
    side = len(centres)
    step = (side / size)[:, None, None]  # source pixels a small pixel
    small = centres[None, :, None]  # centres of the small pixels, in their own unit
    used = (small < size[:, None, None]).to(centres.dtype)
    # How much of source pixel j lies within small pixel k.
    edges = torch.minimum((small + 0.5) * step, centres + 0.5) - torch.maximum(
        (small - 0.5) * step, centres - 0.5
    )
    down = edges.clamp(min=0) / step * used
    distance = (centres[None, :, None] / step - small.transpose(1, 2)).abs()
    up = (1 - distance).clamp(min=0) * used.transpose(1, 2)
    return (up / up.sum(dim=2, keepdim=True)) @ down


def _quantise(channels: Tensor, table: tuple[int, ...], scale: Tensor) -> Tensor:
    """Quantise channels (B, C, H, W) in the discrete cosine transform of 8 x 8 blocks."""
    batch, count, height, width = channels.shape
    cosines = _cosine_transform(channels)
    steps = _on_device(table, channels.device).view(BLOCK, BLOCK)
    steps = (steps * scale.view(-1, 1, 1, 1, 1, 1)).round().clamp(1, 255)
    blocks = channels.view(batch, count, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    coefficients = (cosines @ blocks @ cosines.T / steps).round() * steps
    return (cosines.T @ coefficients @ cosines).transpose(3, 4).reshape(batch, count, height, width)


@cache
def _on_device(table: tuple[int, ...], device: torch.device) -> Tensor:
    """Return a table as float32; copied once, as each copy to a GPU waits for it."""
    return torch.tensor(table, dtype=torch.float32, device=device)


def _cosine_transform(like: Tensor) -> Tensor:
    """Return the orthonormal cosine transform, (8, 8)."""
    k = torch.arange(BLOCK, dtype=like.dtype, device=like.device)
    rows = torch.cos(math.pi / BLOCK * k[:, None] * (k[None, :] + 0.5)) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows
