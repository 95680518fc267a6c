"""The skin of the face: colour, fine relief and gloss, F texels a side."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast.appearance import Appearance
from maeface_studio.head.mesh import Floats
from maeface_studio.skin import wrinkles
from maeface_studio.skin.pigment import absorb, blend, hair_tone, skin_tone, smooth_noise, srgb_to_linear
from maeface_studio.skin.texel_maps import FACE_TEXELS, TexelMaps, bell, soft_step


class Spot(NamedTuple):
    """A freckle, a mole or an age spot."""

    row: int
    column: int
    radius: float
    """Texels."""
    strength: float


@dataclass(frozen=True)
class Grain:
    """The noise that colour, relief and gloss of a subject share, (F, F), deviation about 1."""

    patches: Floats
    """Bumps of about 2 cm."""
    blotches: Floats
    """Bumps of about 0.7 cm."""
    mottle: Floats
    """Bumps of about 0.2 cm."""
    pores: Floats
    """Bumps of a texel or two, about 0.05 cm."""
    moles: tuple[Spot, ...]

    @classmethod
    def draw(cls, appearance: Appearance, texels: TexelMaps, rng: np.random.Generator) -> "Grain":
        """Draw the grain of a subject's skin."""
        shape = texels.face.shape[:2]
        fine = rng.standard_normal(shape, dtype=np.float32)
        fine = 0.6 * (fine + np.roll(fine, 1, 0) + np.roll(fine, 1, 1))
        density = np.clip(texels.face[..., 2] / 8, 0, 1) * (texels.lid_depth < -0.25) * (texels.lips < 0.1)
        count = int(rng.poisson(9 * appearance.moles**1.5))
        moles = _scatter_spots(density, count, (1.6, 3.6), rng)
        return cls(
            patches=smooth_noise(shape, 14, rng),
            blotches=smooth_noise(shape, 42, rng),
            mottle=smooth_noise(shape, 150, rng),
            pores=fine,
            moles=moles,
        )


def paint_skin(appearance: Appearance, texels: TexelMaps, grain: Grain, rng: np.random.Generator) -> Floats:
    """Return the linear RGB of the skin without its hair, (F, F, 3)."""
    base = skin_tone(appearance.melanin, appearance.redness, float(np.clip(rng.normal(0, 0.5), -1, 1)))
    zones, age = texels.zones, appearance.age
    fair = 1 - 0.65 * appearance.melanin
    uneven = 0.6 + 0.6 * age
    blood = uneven * fair * (0.07 * grain.patches + 0.08 * grain.blotches + 0.06 * grain.mottle)
    blood += fair * (0.08 + 0.26 * appearance.redness) * zones["flush"] * (1 + 0.35 * grain.mottle)
    blood += fair * 0.10 * zones["orbit"] - 0.08 * zones["forehead"] * fair
    blood += fair * 0.5 * bell((texels.lid_depth + 0.02) / 0.10)
    pigment = uneven * (1 + appearance.melanin) * (0.05 * grain.patches + 0.035 * grain.blotches)
    pigment += 0.03 * grain.mottle + 0.035 * grain.pores
    pigment += appearance.melanin * (0.14 * zones["rim"] - 0.10 * zones["cheeks"])
    dark = rng.uniform(0.04, 0.16) + 0.12 * age + 0.12 * appearance.melanin
    pigment += dark * zones["orbit"] * (1 - 0.6 * appearance.makeup)
    pigment += (
        0.15
        * appearance.melanin
        * bell(np.hypot((np.abs(texels.face[..., 0]) - 0.2) / 3.2, (texels.face[..., 1] + 3.4) / 1.7))
    )
    pigment += 1.6 * zones["nostrils"]
    _add_spots(pigment, _draw_freckles(appearance, texels, rng), 0.9)
    _add_spots(pigment, _draw_age_spots(appearance, texels, rng), 0.8)
    _add_spots(pigment, grain.moles, 2.2)
    if age > 0.35:
        veins = np.clip(1 - np.abs(smooth_noise(blood.shape, 60, rng)) / 0.10, 0, 1) * zones["cheeks"]
        blood += fair * 0.5 * (age - 0.35) * appearance.redness * veins
    painted = absorb(base, pigment, blood)
    painted = _paint_makeup(painted, appearance, texels, rng)
    return _paint_lips(painted, appearance, texels, grain, base)


def skin_relief(appearance: Appearance, texels: TexelMaps, grain: Grain, rng: np.random.Generator) -> Floats:
    """Return the height in cm of pores, moles, the ridges of the lips and the folds of age, (F, F)."""
    zones = texels.zones
    skin = (1 - texels.lips) * (texels.lid_depth < 0.0)
    pores = 0.0016 + 0.0022 * zones["oily"] + 0.0014 * zones["cheeks"]
    height = -pores * np.maximum(grain.pores, -0.8) * (0.7 + 0.5 * appearance.age)
    height += 0.0025 * grain.mottle * (1 - 0.5 * zones["forehead"]) + 0.004 * appearance.age * grain.blotches
    if appearance.age > 0.3:
        height += 0.007 * (appearance.age - 0.3) * _fine_lines(texels, rng)
    height *= skin
    height += _lip_ridges(appearance, texels, rng) * texels.lips
    height += _age_folds(appearance, texels, grain, rng)
    _add_spots(height, grain.moles, 0.03)
    return np.asarray(height, np.float32)


def skin_gloss(appearance: Appearance, texels: TexelMaps, grain: Grain) -> NDArray[np.uint8]:
    """Return the gloss of the skin, (F, F): 128 is skin, more on lips and the edge of the lids."""
    zones = texels.zones
    gloss = (
        118
        + (12 + 22 * appearance.gloss) * zones["oily"] * (1 - 0.5 * appearance.makeup)
        - 14 * appearance.age
    )
    gloss = gloss + 7 * grain.mottle + 5 * grain.pores
    hairy = np.clip(zones["beard"] * (appearance.beard > 0.3) * (0.2 + appearance.beard), 0, 1)
    gloss -= 50 * hairy
    brow = soft_step((appearance.brow_cm - np.abs(texels.brow_height)) / 0.1) * (
        np.abs(texels.brow_position - 0.5) < 0.6
    )
    gloss -= 40 * brow
    lips = 150 + 45 * appearance.gloss + 35 * appearance.lip_red + 10 * grain.mottle
    gloss = gloss + (lips - gloss) * texels.lips
    inner = np.maximum(soft_step(texels.mouth_depth / 0.05), soft_step((texels.lid_depth - 0.01) / 0.02))
    gloss = gloss + (235 - gloss) * inner
    return np.clip(gloss, 0, 255).astype(np.uint8)


def beard_shade(appearance: Appearance, texels: TexelMaps, grain: Grain) -> tuple[Floats, Floats]:
    """Return the linear RGB (3,) and opacity (F, F) of stubble, or of the skin under a beard."""
    skin = skin_tone(appearance.melanin, 0.5)
    hair = hair_tone(appearance.hair, appearance.grey)
    stubble = min(appearance.beard, 0.5) / 0.5
    darkness = float(np.clip(1 - hair.mean() / 0.25, 0.1, 1))
    grey = 0.42 * float(skin.mean()) * np.array([0.86, 1.0, 1.16], np.float32)  # seen through the skin
    dots = np.clip(0.8 + 0.22 * grain.pores + 0.15 * grain.mottle, 0.2, 1.3)
    if appearance.beard < 0.5:
        return grey * 0.8 + hair * 0.2, 0.42 * stubble**1.3 * darkness * texels.zones["beard"] * dots
    # A beard may leave cheeks or lip bare (``face_hair`` draws its style): there the skin is shaven.
    return grey * 0.7 + hair * 0.15, 0.34 * (0.4 + 0.6 * darkness) * texels.zones["beard"] * dots


def _paint_lips(
    painted: Floats, appearance: Appearance, texels: TexelMaps, grain: Grain, base: Floats
) -> Floats:
    """Paint the lips in their own colour or lipstick: lighter inside, dark where they meet, moist behind."""
    light = 1 - appearance.melanin
    natural = base * np.array(
        [0.76, 0.40 + 0.22 * appearance.melanin, 0.43 + 0.20 * appearance.melanin], np.float32
    )
    natural = natural + np.array([0.012, 0.004, 0.006], np.float32) * light
    natural = natural + (base * np.array([0.9, 0.78, 0.78], np.float32) - natural) * 0.25 * appearance.age
    lipstick = srgb_to_linear(np.array([150, 26, 42])) * (0.6 + 0.6 * appearance.redness)
    alpha = 0.0 if appearance.lip_red < 0.2 else 0.8 * appearance.lip_red
    tone = np.asarray((1 - alpha) * natural + alpha * lipstick, np.float32)
    upper = soft_step((texels.face[..., 1] + 3.38) / 0.1)
    inside = np.clip(texels.lip_depth / 0.8, 0, 1)
    value = (1 - 0.13 * upper + 0.16 * inside * (1 - upper)) * np.exp(
        0.05 * grain.mottle + 0.04 * grain.pores
    )
    coloured = tone * value[..., None]
    painted = blend(painted, coloured, texels.lips * (0.88 + 0.1 * appearance.lip_red))
    rim = bell((texels.lip_depth + 0.10) / 0.07) * (texels.lip_depth < 0)
    painted = painted * (1 + 0.05 * rim * light)[..., None]  # the pale edge of the lips
    line = bell(texels.mouth_depth / 0.09)
    painted = painted * (1 - 0.45 * line)[..., None]
    mucosa = np.array([0.30, 0.085, 0.08], np.float32) * (1 - 0.35 * appearance.melanin)
    return blend(painted, mucosa, soft_step((texels.mouth_depth - 0.12) / 0.05))


def _paint_makeup(
    painted: Floats, appearance: Appearance, texels: TexelMaps, rng: np.random.Generator
) -> Floats:
    """Paint eye shadow on the lid and blush on the cheek."""
    tints = np.array([[70, 50, 44], [96, 66, 70], [60, 62, 80], [110, 80, 56]])
    shadow = srgb_to_linear(tints[int(rng.integers(len(tints)))])
    if appearance.makeup < 0.15:
        return painted
    x, y, z = np.moveaxis(texels.face, -1, 0)
    side = np.abs(x)
    lid = bell(np.hypot((side - 3.25) / 1.5, (y - 4.15) / 0.42)) * (z > 7) * (texels.lid_depth < 0)
    painted = blend(painted, shadow, 0.5 * appearance.makeup * lid)
    blush = bell(np.hypot((side - 5.2) / 1.5, (y - 0.3) / 1.0)) * (z > 3)
    absorption = blush[..., None] * np.array([0.0, 0.55, 0.4], np.float32)
    return np.asarray(painted * (1 - 0.35 * appearance.makeup * absorption), np.float32)


def _draw_freckles(appearance: Appearance, texels: TexelMaps, rng: np.random.Generator) -> tuple[Spot, ...]:
    if appearance.freckles < 0.25:
        return ()
    x, y, _ = np.moveaxis(texels.face, -1, 0)
    density = texels.zones["cheeks"] + 0.25 * texels.zones["forehead"] + 0.08
    density = density * np.clip(1 + 0.8 * smooth_noise(x.shape, 12, rng), 0.1, 3) * (texels.lips < 0.1)
    density *= (texels.lid_depth < -0.3) & (y > -7.5)
    return _scatter_spots(density, int(800 * (appearance.freckles - 0.2)), (1.2, 3.0), rng, (0.15, 0.9))


def _draw_age_spots(appearance: Appearance, texels: TexelMaps, rng: np.random.Generator) -> tuple[Spot, ...]:
    count = int(rng.poisson(26 * max(appearance.age - 0.4, 0) * (1 - 0.5 * appearance.melanin)))
    x, y, z = np.moveaxis(texels.face, -1, 0)
    density = (0.3 + bell((np.abs(x) - 5.5) / 2.0)) * (y > -3) * (z > 0) * (texels.lid_depth < -0.5)
    return _scatter_spots(density * (texels.lips < 0.1), count, (3.0, 9.0), rng, (0.15, 0.5))


def _scatter_spots(
    density: Floats,
    count: int,
    radii: tuple[float, float],
    rng: np.random.Generator,
    strengths: tuple[float, float] = (0.6, 1.0),
) -> tuple[Spot, ...]:
    """Draw spots with a density (F, F) that need not sum to 1; radii in texels."""
    top = float(density.max())
    spots: list[Spot] = []
    for _ in range(40 * count):
        if len(spots) == count:
            break
        row, column = (int(i) for i in rng.integers(16, FACE_TEXELS - 16, 2))
        if rng.uniform() * top < density[row, column]:
            spots.append(Spot(row, column, float(rng.uniform(*radii)), float(rng.uniform(*strengths))))
    return tuple(spots)


def _add_spots(field: Floats, spots: tuple[Spot, ...], height: float) -> None:
    """Add round spots with a soft, slightly ragged edge to a field (F, F), in place."""
    reach = 14
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for spot in spots:
        around = np.arctan2(y, x)
        ragged = 1 + 0.18 * np.cos(2 * around + spot.row) + 0.12 * np.cos(3 * around + spot.column)
        distance = np.hypot(x, y) / (spot.radius * ragged)
        shape = np.exp(-(distance**3)) * height * spot.strength
        rows, columns = (
            slice(max(middle - reach, 0), middle + reach + 1) for middle in (spot.row, spot.column)
        )
        part = field[rows, columns]
        part += shape[: part.shape[0], : part.shape[1]].astype(np.float32)


def _fine_lines(texels: TexelMaps, rng: np.random.Generator) -> Floats:
    """Draw the web of fine lines of thin skin, deepest around the eyes and on the cheeks; -1..0."""
    shape = texels.face.shape[:2]
    web = np.minimum(np.abs(smooth_noise(shape, 70, rng)), np.abs(smooth_noise(shape, 110, rng)))
    depth = np.clip(0.4 + texels.zones["orbit"] + 0.6 * texels.zones["cheeks"], 0, 1.3)
    return np.asarray(-np.exp(-((web / 0.12) ** 2)) * depth, np.float32)


def _lip_ridges(appearance: Appearance, texels: TexelMaps, rng: np.random.Generator) -> Floats:
    """Draw the height in cm of fine ridges across the lips."""
    x = texels.face[..., 0]
    table = rng.standard_normal(64)
    waves = np.interp((x + 3.5) / 7 * 63, np.arange(64), table) * np.where(texels.face[..., 1] > -3.4, 1, -1)
    return np.asarray((0.006 + 0.008 * appearance.age) * waves, np.float32)


def _age_folds(appearance: Appearance, texels: TexelMaps, grain: Grain, rng: np.random.Generator) -> Floats:
    """Draw the height in cm of folds at rest; each subject has its own mixture, a little displaced."""
    depth = np.zeros(texels.face.shape[:2], np.float32)
    for name, (onset, gain) in wrinkles.AT_REST.items():
        weight = gain * max(appearance.age - onset, 0.0) / (1 - onset) * rng.uniform(0.3, 1.4)
        shift = tuple(int(i) for i in rng.integers(-7, 8, 2))
        if weight > 0.02:
            depth += np.float32(weight) * np.roll(wrinkles.age_fold_heights(texels)[name], shift, (0, 1))
    return np.asarray(depth * np.clip(0.85 + 0.35 * grain.patches, 0.1, 1.6), np.float32)
