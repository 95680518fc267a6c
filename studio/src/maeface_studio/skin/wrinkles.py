"""Folds of the skin that deepen with action units or with age, shared by all subjects.

Which unit makes which fold follows the appearance changes that the FACS manual lists (Ekman, Friesen and
Hager, 2002). K folds, F texels a side.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from maeface_studio.head.mesh import Floats
from maeface_studio.head.rig import SIDED_AUS, side_intensities
from maeface_studio.skin.creases import Crease, carve_creases
from maeface_studio.skin.pigment import smooth_noise
from maeface_studio.skin.texel_maps import TexelMaps, bell, soft_step

CURVE = (0.0, 0.16, 0.42, 0.67, 0.86, 1.0)
"""Fraction of a fold's full depth at FACS intensities 0, A, B, C, D, E; linear in between."""

DEPTH_OF_AGE = (0.85, 1.35)
"""Factor on the depth for the youngest and the oldest."""

CAUSES: dict[str, dict[int, float]] = {
    "forehead_inner": {1: 1.0, 2: 0.25},
    "forehead_outer": {2: 1.0, 1: 0.15},
    "glabella": {4: 1.0, 9: 0.45},
    "nose": {9: 1.0, 4: 0.1},
    "crows_feet": {6: 1.0, 12: 0.12, 7: 0.15},
    "under_eye": {7: 1.2, 6: 0.7, 9: 0.3, 12: 0.25},
    "nasolabial": {10: 0.9, 12: 1.05, 9: 0.55, 6: 0.3, 20: 0.25},
    "chin": {17: 1.0, 15: 0.15, 24: 0.2, 23: 0.1},
    "mouth_corner": {14: 1.0, 15: 0.8, 20: 0.7, 12: 0.35, 24: 0.4, 23: 0.2},
    "lips": {18: 1.0, 23: 0.9, 24: 0.5, 28: 0.35},
    "dimple": {14: 1.1, 12: 0.1},
    "pressed": {24: 1.1, 28: 0.7, 23: 0.4},
}
"""Fold -> AU -> how much it deepens the fold."""

FOLDS = tuple(CAUSES)

AT_REST: dict[str, tuple[float, float]] = {
    "forehead_inner": (0.25, 0.55), "forehead_outer": (0.3, 0.5), "glabella": (0.25, 0.5),
    "crows_feet": (0.3, 0.6), "under_eye": (0.2, 0.55), "nasolabial": (0.1, 0.75), "lips": (0.6, 0.5),
    "bags": (0.3, 1.0), "marionette": (0.35, 1.0), "neck": (0.15, 1.0),
}  # fmt: skip
"""Folds of a face at rest: the age (0..1) at which they begin, and their depth at age 1."""


@lru_cache(maxsize=1)
def fold_heights(texels: TexelMaps) -> Floats:
    """Return the heights in cm of ``FOLDS`` at weight 1, negative in a furrow, (K, F, F); cached."""
    face = texels.face
    x = np.abs(face[..., 0])
    rng = np.random.default_rng(12)
    across = carve_creases(face, _FOREHEAD) * np.clip(0.95 + 0.3 * smooth_noise(x.shape, 14, rng), 0.3, 1.4)
    inner = soft_step((1.9 - x) / 0.5)
    heights = {
        "forehead_inner": inner * across,
        "forehead_outer": (1 - inner) * across,
        "chin": carve_creases(face, _CHIN) + _chin_dimples(texels),
        "lips": carve_creases(face, _LIPS) * (1 - 0.5 * texels.lips),
    }
    for name, creases in _CREASES.items():
        heights[name] = carve_creases(face, creases)
    visible = (texels.lid_depth < 0.02) & (texels.mouth_depth < 0.02)
    return np.stack([heights[name] * visible for name in FOLDS]).astype(np.float32)


def draw_personal_folds(texels: TexelMaps, rng: np.random.Generator) -> Floats:
    """Draw a subject's own ``fold_heights``: a little displaced, of uneven depth, (K, F, F) cm."""
    own = np.empty_like(fold_heights(texels))
    for name, height, out in zip(FOLDS, fold_heights(texels), own, strict=True):
        reach = 10 if name.startswith("forehead") else 4
        shift = tuple(int(i) for i in rng.integers(-reach, reach + 1, 2))
        gain = float(np.exp(rng.normal(0, 0.22)))
        uneven = np.clip(1 + 0.3 * smooth_noise(height.shape, 18, rng), 0.3, 1.6)
        np.multiply(np.roll(height, shift, (0, 1)), np.float32(gain) * uneven, out=out)
    return own


@lru_cache(maxsize=1)
def age_fold_heights(texels: TexelMaps) -> Mapping[str, Floats]:
    """Return the heights in cm of the folds of ``AT_REST`` at weight 1, each (F, F); cached."""
    heights = dict(zip(FOLDS, fold_heights(texels), strict=True))
    heights |= {name: carve_creases(texels.face, creases) for name, creases in _AGE_CREASES.items()}
    return {name: heights[name] for name in AT_REST}


def fold_weights(intensities: Mapping[int, float], age: float) -> Floats:
    """Return the depth of each fold.

    Args:
        intensities: AU -> intensity on 0..5.
        age: 0 to 1, as ``Appearance.age``.

    Returns:
        (K,) from 0 to about 1.4.
    """
    depths = {au: float(np.interp(level, range(6), CURVE)) for au, level in intensities.items()}
    factor = DEPTH_OF_AGE[0] + (DEPTH_OF_AGE[1] - DEPTH_OF_AGE[0]) * age
    total = [sum(gain * depths.get(au, 0.0) for au, gain in CAUSES[name].items()) for name in FOLDS]
    bounded = [value if value < 0.8 else 0.8 + 0.4 * np.tanh((value - 0.8) / 0.4) for value in total]
    return np.asarray(bounded, np.float32) * np.float32(factor)


def sum_folds(
    folds: Floats, intensities: Mapping[int, float], asymmetry: Mapping[int, float], age: float, left: Floats
) -> Floats:
    """Return the height in cm of a subject's folds in an action, (F, F); each side has its own depth.

    Args:
        folds: as ``draw_personal_folds`` returns them, (K, F, F).
        intensities: AU -> intensity on 0..5, of the stronger side.
        asymmetry: AU -> left minus right as a fraction of their sum, -1..1.
        age: 0 to 1, as ``Appearance.age``.
        left: 1 on the person's left, 0 on the right, soft between, (F, F).
    """
    sides = {
        au: side_intensities(au, level, asymmetry.get(au, 0.0)) if au in SIDED_AUS else (level, level)
        for au, level in intensities.items()
    }
    of_left, of_right = (fold_weights({au: pair[i] for au, pair in sides.items()}, age) for i in (0, 1))
    height = np.tensordot(of_right, folds, axes=1)
    if not np.array_equal(of_left, of_right):
        height += left * np.tensordot(of_left - of_right, folds, axes=1)
    return np.asarray(height, np.float32)


def _chin_dimples(texels: TexelMaps) -> Floats:
    """Return the height in cm of the dimpled skin of a raised chin, (F, F)."""
    x, y, z = np.moveaxis(texels.face, -1, 0)
    rng = np.random.default_rng(17)
    shape = x.shape
    pits = -np.clip(smooth_noise(shape, 100, rng) - 0.1, 0, 2) - 0.5 * np.clip(
        smooth_noise(shape, 150, rng), 0, 2
    )
    region = bell(np.hypot(x / 1.5, (y + 6.15) / 0.85)) * (z > 8) * (1 - texels.lips)
    return np.asarray(0.06 * (pits + 0.4) * region, np.float32)


def _forehead_line(height: float, depth: float, reach: float, dip: float) -> Crease:
    xs = (0.06, -0.8, -1.8, -2.9, -3.9, -reach)
    rise = (0.0, 0.02, 0.16, 0.22, 0.05, -0.3)
    line = tuple((x, height + r + dip * np.sin(2.3 * x + 7 * height)) for x, r in zip(xs, rise, strict=True))
    return Crease(((1.8, line[2][1]), (0.8, line[1][1]), *line[1:]), depth, width=0.14, ridge=0.6, taper=0.3)


_FOREHEAD = (
    _forehead_line(6.6, 0.035, 4.3, 0.05),
    _forehead_line(7.15, 0.065, 4.9, 0.05),
    _forehead_line(7.8, 0.07, 5.0, 0.07),
    _forehead_line(8.5, 0.05, 4.5, 0.06),
    Crease(((-2.4, 7.62), (-3.2, 7.55), (-4.0, 7.3)), 0.03, 0.10, 0.5, 0.0, 0.45),
    Crease(((-0.9, 8.05), (-1.5, 8.15), (-2.3, 8.3)), 0.03, 0.10, 0.5, 0.0, 0.45),
)

_CHIN = (
    Crease(((0.9, -5.1), (-0.7, -5.08), (-1.5, -5.4), (-2.0, -5.95)), 0.07, 0.16, 0.5, -0.5, 0.3),
    Crease(((0.9, -6.15), (-0.5, -6.0), (-1.2, -6.3)), -0.05, 0.5, 0.0),
)

_LIPS = (
    *(
        Crease(((x, -2.32 - 0.12 * x * x), (1.03 * x, -1.95 - 0.10 * x * x)), 0.03, 0.07, 0.5)
        for x in (-0.35, -0.75, -1.15, -1.55)
    ),
    *(
        Crease(((x, -4.3 + 0.1 * x * x), (1.05 * x, -4.72 + 0.1 * x * x)), 0.03, 0.07, 0.5)
        for x in (-0.3, -0.7, -1.1, -1.5)
    ),
    Crease(((1.0, -2.15), (-0.8, -2.1), (-1.7, -2.5), (-2.3, -3.0)), -0.035, 0.16, 0.0),
    Crease(((1.0, -4.58), (-0.9, -4.58), (-1.9, -4.25)), 0.045, 0.13, 0.3),
    Crease(((-2.55, -3.25), (-2.75, -3.55), (-2.6, -3.95)), 0.04, 0.10, 0.5),
)

_AGE_CREASES: dict[str, tuple[Crease, ...]] = {
    "bags": (
        Crease(((-2.1, 2.6), (-2.8, 2.35), (-3.6, 2.35), (-4.2, 2.6)), -0.06, 0.28, 0.0, 0.0, 0.4),
        Crease(((-1.7, 2.7), (-2.3, 2.1), (-3.1, 1.8), (-3.9, 1.9), (-4.5, 2.3)), 0.055, 0.15, 0.3),
    ),
    "marionette": (Crease(((-2.7, -3.6), (-2.95, -4.5), (-3.25, -5.6)), 0.055, 0.24, 0.5, -0.6, 0.5),),
    "neck": (
        Crease(((1.6, -9.5), (-1.5, -9.5), (-3.5, -9.0), (-5.0, -8.0)), 0.05, 0.16, 0.5),
        Crease(((1.6, -10.8), (-1.5, -10.8), (-3.5, -10.3), (-5.0, -9.4)), 0.05, 0.16, 0.5),
    ),
}

_CREASES: dict[str, tuple[Crease, ...]] = {
    "glabella": (
        Crease(((-0.50, 4.35), (-0.52, 5.0), (-0.62, 5.7), (-0.78, 6.3)), 0.085, 0.13, 0.6, 0.0, 0.35),
        Crease(((-1.05, 5.2), (-1.15, 5.7), (-1.4, 6.3)), 0.05, 0.12, 0.5, 0.0, 0.4),
        Crease(((-0.7, 4.15), (0.0, 4.22), (0.6, 4.2)), 0.03, 0.12, 0.4),
        Crease(((-0.95, 5.15), (-1.5, 5.45), (-2.3, 5.75)), -0.06, 0.36, 0.0),
        Crease(((-1.0, 6.55), (-1.7, 6.75), (-2.6, 6.75)), 0.03, 0.14, 0.4),
    ),
    "nose": (
        Crease(((-0.85, 4.15), (0.0, 3.98), (0.7, 4.1)), 0.06, 0.11, 0.6),
        Crease(((-0.85, 3.72), (0.0, 3.52), (0.7, 3.66)), 0.06, 0.11, 0.6),
        Crease(((-0.30, 2.72), (-0.75, 3.0), (-1.25, 3.2)), 0.06, 0.10, 0.6),
        Crease(((-0.25, 2.28), (-0.80, 2.55), (-1.45, 2.72)), 0.065, 0.10, 0.6),
        Crease(((-0.35, 1.85), (-0.90, 2.08), (-1.55, 2.15)), 0.05, 0.10, 0.6),
        Crease(((-1.55, 1.25), (-1.95, 0.7), (-2.15, 0.0)), 0.08, 0.15, 0.6, 0.0, 0.4),
        Crease(((-1.3, 1.3), (-1.9, 1.6), (-2.6, 1.9)), -0.05, 0.35, 0.0),
    ),
    "crows_feet": (
        Crease(((-4.85, 3.85), (-5.4, 4.2), (-5.95, 4.65)), 0.05, 0.10, 0.6, 0.0, 0.4),
        Crease(((-4.85, 3.55), (-5.5, 3.7), (-6.25, 3.85)), 0.065, 0.10, 0.6, 0.0, 0.4),
        Crease(((-4.85, 3.2), (-5.5, 3.08), (-6.3, 2.95)), 0.065, 0.10, 0.6, 0.0, 0.4),
        Crease(((-4.7, 2.85), (-5.3, 2.5), (-6.0, 2.1)), 0.055, 0.10, 0.6, 0.0, 0.4),
        Crease(((-1.75, 2.55), (-2.4, 2.1), (-3.3, 1.85), (-4.3, 2.05), (-5.0, 2.4)), 0.055, 0.15, 0.4),
        Crease(((-2.3, 1.15), (-3.3, 1.1), (-4.4, 1.35), (-5.2, 1.7)), -0.07, 0.5, 0.0),
    ),
    "under_eye": (
        Crease(((-2.0, 2.95), (-2.7, 2.74), (-3.6, 2.74), (-4.4, 3.02)), -0.065, 0.17, 0.0, 0.0, 0.25),
        Crease(((-1.75, 2.9), (-2.4, 2.48), (-3.3, 2.34), (-4.2, 2.5), (-4.75, 2.85)), 0.065, 0.11, 0.4),
        Crease(((-2.0, 2.5), (-2.8, 2.1), (-3.6, 2.05), (-4.3, 2.2)), 0.045, 0.11, 0.4),
        Crease(((-1.6, 3.05), (-2.0, 2.65)), 0.03, 0.09, 0.4),
    ),
    "nasolabial": (
        Crease(
            ((-1.9, 0.35), (-2.3, -0.45), (-2.85, -1.4), (-3.25, -2.4), (-3.4, -3.3), (-3.3, -4.1)),
            0.085, 0.24, 0.5, -0.8, 0.35,
        ),
        Crease(((-2.7, -0.1), (-3.5, -1.0), (-4.0, -2.2)), -0.06, 0.5, 0.0, 0.0, 0.4),
    ),
    "mouth_corner": (
        Crease(((-2.85, -2.75), (-3.05, -3.3), (-3.05, -3.8), (-2.85, -4.4)), 0.06, 0.17, 0.5, -0.3, 0.45),
        Crease(((-3.6, -2.9), (-3.7, -3.6), (-3.4, -4.3)), -0.05, 0.32, 0.0),
        Crease(((-2.75, -3.85), (-2.9, -4.5), (-2.8, -5.3)), 0.035, 0.17, 0.5, 0.0, 0.5),
    ),
    "dimple": (
        Crease(((-2.95, -2.9), (-3.2, -3.3), (-3.2, -3.75), (-2.95, -4.15)), 0.09, 0.15, 0.5, 0.0, 0.4),
        Crease(((-3.75, -2.7), (-4.0, -3.4), (-3.7, -4.2)), -0.06, 0.4, 0.0, 0.0, 0.4),
    ),
    "pressed": (
        Crease(((1.0, -1.95), (-0.9, -1.95), (-1.9, -2.35), (-2.5, -2.95)), -0.06, 0.26, 0.0, 0.0, 0.2),
        Crease(((1.0, -4.85), (-0.9, -4.85), (-1.8, -4.55), (-2.4, -4.15)), -0.06, 0.26, 0.0, 0.0, 0.2),
        Crease(((-2.5, -3.3), (-2.85, -3.6), (-2.95, -4.1)), 0.06, 0.11, 0.5, 0.0, 0.4),
    ),
}  # fmt: skip
