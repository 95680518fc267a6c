"""A mouth that talks: small movements of jaw and lips that are no action unit of their own."""

import math
from collections.abc import Mapping

import numpy as np

from maeface_studio.cast.draws import between, pick
from maeface_studio.head.rig import AU_SHAPES, INTENSITY_WEIGHTS, weight

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
"""Shape weights of what a mouth passes through in speech."""

SYLLABLE_S = 0.16

_TOLD = ((26, "jawOpen"), (18, "mouthPucker"))


def mouth(rng: np.random.Generator) -> dict[str, float]:
    """A moment of speech: shape weights between two visemes."""
    one, other = (_viseme(rng) for _ in range(2))
    share = rng.uniform()
    return _blend(one, other, float(share))


def talk(rng: np.random.Generator, frames: int, fps: float) -> list[dict[str, float]]:
    """Speech over the frames of a clip: from viseme to viseme, about six a second."""
    step = SYLLABLE_S * fps
    keys = [_viseme(rng) for _ in range(math.ceil(frames / step) + 2)]
    found = []
    for frame in range(frames):
        at, share = divmod(frame / step, 1)
        found.append(_blend(keys[int(at)], keys[int(at) + 1], share * share * (3 - 2 * share)))
    return found


def told(intensities: Mapping[int, float], shapes: Mapping[str, float]) -> dict[int, float]:
    """The AU intensities on 0..5 that are true of a face that is posed by ``intensities`` and talks as well.

    A jaw that drops for a vowel is dropped (AU26), lips that purse for one are pursed (AU18).
    """
    true = dict(intensities)
    for au, shape in _TOLD:
        if extra := shapes.get(shape, 0.0):
            gain = AU_SHAPES[au][shape]
            true[au] = intensity(weight(intensities.get(au, 0.0)) + extra / gain)
    return true


def intensity(share: float) -> float:
    """FACS intensity on 0..5 of a share of the greatest excursion: the inverse of ``rig.weight``."""
    return float(np.interp(share, INTENSITY_WEIGHTS, range(6)))


def _viseme(rng: np.random.Generator) -> dict[str, float]:
    chosen = VISEMES[pick(rng, [1.0] * len(VISEMES))]
    strength = between(rng, 0.5, 1.3)
    return {shape: value * strength for shape, value in chosen.items()}


def _blend(one: Mapping[str, float], other: Mapping[str, float], share: float) -> dict[str, float]:
    return {
        shape: (1 - share) * one.get(shape, 0.0) + share * other.get(shape, 0.0)
        for shape in sorted({*one, *other})
    }
