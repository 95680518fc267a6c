"""RandAugment (Cubuk et al. 2020) of timm, with numbers that depend on a seed alone."""

import random
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from PIL import Image

from maeface.errors import ConfigError

Transform = Callable[[Image.Image], Image.Image]

FILL = (124, 116, 104)
"""Colour of the pixels that a shift or a rotation leaves empty: the mean of ImageNet."""


def build_randaugment(name: str, side: int) -> Transform:
    """Return timm's RandAugment for square images.

    Args:
        name: as timm writes it ("rand-m9-mstd0.5-inc1").
        side: of the images in px.

    Raises:
        ConfigError: timm has no such RandAugment.
    """
    from timm.data import auto_augment

    options = {
        "translate_const": int(side * 0.45),
        "img_mean": FILL,
        "interpolation": Image.Resampling.BICUBIC,
    }
    try:
        transform: Any = auto_augment.rand_augment_transform(name, options)
        if transform.choice_weights is not None and transform.num_layers > len(transform.ops):
            raise ValueError("more layers than operations, and none is drawn twice")
    except (AssertionError, KeyError, ValueError) as error:
        raise ConfigError(
            f"data.randaugment {name!r} is not a RandAugment of timm; give one like rand-m9-mstd0.5-inc1"
        ) from error
    for operation in transform.ops:
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = posterize
    return cast(Transform, transform)


def apply_seeded(transform: Transform, pixels: np.ndarray, seed: int) -> np.ndarray:
    """Apply a transform to an image, (S, S, 3) uint8; the same seed always gives the same image.

    timm uses the global generators of ``random`` and NumPy: they are seeded, and restored afterwards.
    """
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        return np.asarray(transform(Image.fromarray(pixels)))
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def posterize(image: Image.Image, bits_to_keep: int, **_: object) -> Image.Image:
    """Keep the highest bits of each channel; none, which timm draws and Pillow 13 refuses, gives black."""
    if bits_to_keep >= 8:
        return image
    return image.point([value & (-1 << (8 - bits_to_keep)) for value in range(256)] * 3)
