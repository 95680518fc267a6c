"""Random changes of images that leave faces and points where they are."""

import math

import numpy as np
import simplejpeg
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image


def change_light(image: Image.Image, random: Generator) -> Image.Image:
    """Change the light: a gain of each channel and, often, a ramp as from a window at one side."""
    if random.random() < 0.3:
        return image
    pixels = np.asarray(image, np.float32)
    gain = random.uniform(0.5, 1.25) * (1 + random.uniform(-0.12, 0.12, 3))
    if random.random() < 0.5:
        height, width = pixels.shape[:2]
        angle, depth = random.uniform(0, 2 * math.pi), random.uniform(0.2, 0.9)
        ramp = (
            math.cos(angle) * np.linspace(-1, 1, width)[None]
            + math.sin(angle) * np.linspace(-1, 1, height)[:, None]
        )
        gain = gain * (1 + depth * ramp[..., None])
    return Image.fromarray(np.clip(pixels * gain, 0, 255).astype(np.uint8))


def degrade(pixels: NDArray[np.uint8], random: Generator) -> NDArray[np.uint8]:
    """Degrade a square image, (S, S, 3), as cameras do: exposure, colour cast, grey, blur, noise, JPEG."""
    levels = np.arange(256, dtype=np.float32) / 255
    gamma, gain, lift = random.uniform(0.6, 1.6), random.uniform(0.65, 1.3), random.uniform(-0.08, 0.12)
    cast = 1 + random.uniform(-0.1, 0.1, (3, 1))
    table = np.clip((levels**gamma * gain * cast + lift) * 255, 0, 255).astype(np.uint8)
    if random.random() < 0.85:
        pixels = np.stack([table[c][pixels[..., c]] for c in range(3)], axis=-1)
    if random.random() < 0.15:
        pixels = np.repeat(np.asarray(Image.fromarray(pixels).convert("L"))[..., None], 3, axis=2)
    size = pixels.shape[1]
    if random.random() < 0.15:
        small = int(size / random.uniform(1.2, 2.2))
        image = Image.fromarray(pixels).resize((small, small), Image.Resampling.BILINEAR)
        pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    if random.random() < 0.3:
        noise = random.standard_normal(pixels.shape, dtype=np.float32) * random.uniform(2, 14)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if random.random() < 0.35:
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=int(random.integers(25, 90)))
        pixels = simplejpeg.decode_jpeg(data)
    return pixels
