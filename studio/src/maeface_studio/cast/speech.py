"""Speech: small movements of jaw and lips that are no action unit of their own."""

import math
from collections.abc import Mapping

import numpy as np

from maeface_studio.cast.random_draws import categorical, uniform
from maeface_studio.head.rig import AU_SHAPES, intensity_to_weight, weight_to_intensity

VISEMES: tuple[Mapping[str, float], ...] = (
    {"jawOpen": 0.24},  # a
    {"jawOpen": 0.13},  # e
    {"jawOpen": 0.17, "mouthFunnel": 0.28},  # o
    {"jawOpen": 0.08, "mouthPucker": 0.16, "mouthFunnel": 0.14},  # u
    {"jawOpen": 0.05, "mouthClose": 0.05},  # m
    {"jawOpen": 0.06, "mouthFunnel": 0.10},  # sh
    {"jawOpen": 0.04},  # s
    {},
)
"""Shape weights of the mouth for each sound."""

VISEME_S = 0.16
"""Time from one viseme to the next in seconds."""

_LABELLED_SHAPES = ((26, "jawOpen"), (18, "mouthPucker"))
"""AUs that speech moves as well, and their shape."""


def draw_mouth(rng: np.random.Generator) -> dict[str, float]:
    """Draw a moment of speech: shape weights between two visemes."""
    first, second = (_draw_viseme(rng) for _ in range(2))
    return _blend_shapes(first, second, float(rng.uniform()))


def draw_speech(rng: np.random.Generator, frames: int, fps: float) -> list[dict[str, float]]:
    """Draw speech over the frames of a clip: shape weights that move smoothly from viseme to viseme."""
    step = VISEME_S * fps
    keys = [_draw_viseme(rng) for _ in range(math.ceil(frames / step) + 2)]
    shapes = []
    for frame in range(frames):
        index, t = divmod(frame / step, 1)
        shapes.append(_blend_shapes(keys[int(index)], keys[int(index) + 1], t * t * (3 - 2 * t)))
    return shapes


def add_spoken_intensities(intensities: Mapping[int, float], shapes: Mapping[str, float]) -> dict[int, float]:
    """Return the AU intensities on 0..5 of a face that shows ``intensities`` and speaks with ``shapes``.

    A jaw that drops for a vowel is AU26, lips that purse for one are AU18.
    """
    total = dict(intensities)
    for au, shape in _LABELLED_SHAPES:
        if spoken := shapes.get(shape, 0.0):
            gain = AU_SHAPES[au][shape]
            total[au] = weight_to_intensity(
                au, intensity_to_weight(au, intensities.get(au, 0.0)) + spoken / gain
            )
    return total


def _draw_viseme(rng: np.random.Generator) -> dict[str, float]:
    viseme = VISEMES[categorical(rng, [1.0] * len(VISEMES))]
    strength = uniform(rng, 0.5, 1.3)
    return {shape: value * strength for shape, value in viseme.items()}


def _blend_shapes(
    first: Mapping[str, float], second: Mapping[str, float], fraction: float
) -> dict[str, float]:
    return {
        shape: (1 - fraction) * first.get(shape, 0.0) + fraction * second.get(shape, 0.0)
        for shape in sorted({*first, *second})
    }
