"""The skin of a face: colour, fine relief and shine, F texels a side."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast.look import Look
from maeface_studio.head.rig import Floats
from maeface_studio.skin import wrinkles
from maeface_studio.skin.canvas import FACE_TEXELS, Canvas, bump, soft
from maeface_studio.skin.pigment import absorbed, hair_tone, linear, noise, over, skin_tone


class Spot(NamedTuple):
    """A freckle, a mole or an age spot."""

    row: int
    column: int
    radius: float
    """Texels."""
    strength: float


@dataclass(frozen=True)
class Grain:
    """Noise that colour, relief and shine of a subject share, (F, F), deviation about 1."""

    patches: Floats
    """About 2 cm."""
    blotches: Floats
    """About 0.7 cm."""
    mottle: Floats
    """About 0.2 cm."""
    pores: Floats
    """A texel or two, about 0.05 cm."""
    moles: tuple[Spot, ...]

    @classmethod
    def drawn(cls, look: Look, canvas: Canvas, rng: np.random.Generator) -> "Grain":
        """Draw the grain of a subject's skin."""
        shape = canvas.face.shape[:2]
        fine = rng.standard_normal(shape, dtype=np.float32)
        fine = 0.6 * (fine + np.roll(fine, 1, 0) + np.roll(fine, 1, 1))
        density = np.clip(canvas.face[..., 2] / 8, 0, 1) * (canvas.lid_depth < -0.25) * (canvas.lips < 0.1)
        count = int(rng.poisson(9 * look.moles**1.5))
        moles = _spots(density, count, (1.6, 3.6), rng)
        return cls(
            patches=noise(shape, 14, rng),
            blotches=noise(shape, 42, rng),
            mottle=noise(shape, 150, rng),
            pores=fine,
            moles=moles,
        )


def colour(look: Look, canvas: Canvas, grain: Grain, rng: np.random.Generator) -> Floats:
    """Linear RGB of the skin without its hair, (F, F, 3)."""
    base = skin_tone(look.melanin, look.redness, float(np.clip(rng.normal(0, 0.5), -1, 1)))
    zones, age = canvas.zones, look.age
    fair = 1 - 0.65 * look.melanin
    uneven = 0.6 + 0.6 * age
    blood = uneven * fair * (0.07 * grain.patches + 0.08 * grain.blotches + 0.06 * grain.mottle)
    blood += fair * (0.08 + 0.26 * look.redness) * zones["flush"] * (1 + 0.35 * grain.mottle)
    blood += fair * 0.10 * zones["orbit"] - 0.08 * zones["forehead"] * fair
    blood += fair * 0.5 * bump((canvas.lid_depth + 0.02) / 0.10)
    pigment = uneven * (1 + look.melanin) * (0.05 * grain.patches + 0.035 * grain.blotches)
    pigment += 0.03 * grain.mottle + 0.035 * grain.pores
    pigment += look.melanin * (0.14 * zones["rim"] - 0.10 * zones["cheeks"])
    dark = rng.uniform(0.04, 0.16) + 0.12 * age + 0.12 * look.melanin
    pigment += dark * zones["orbit"] * (1 - 0.6 * look.makeup)
    pigment += (
        0.15
        * look.melanin
        * bump(np.hypot((np.abs(canvas.face[..., 0]) - 0.2) / 3.2, (canvas.face[..., 1] + 3.4) / 1.7))
    )
    pigment += 1.6 * zones["nostrils"]
    _stamp(pigment, _freckles(look, canvas, rng), 0.9)
    _stamp(pigment, _age_spots(look, canvas, rng), 0.8)
    _stamp(pigment, grain.moles, 2.2)
    if age > 0.35:
        veins = np.clip(1 - np.abs(noise(blood.shape, 60, rng)) / 0.10, 0, 1) * zones["cheeks"]
        blood += fair * 0.5 * (age - 0.35) * look.redness * veins
    painted = absorbed(base, pigment, blood)
    painted = _made_up(painted, look, canvas, rng)
    return _lipped(painted, look, canvas, grain, base)


def relief(look: Look, canvas: Canvas, grain: Grain, rng: np.random.Generator) -> Floats:
    """Height in cm of pores, moles, the ridges of the lips and the folds of age, (F, F)."""
    zones = canvas.zones
    skin = (1 - canvas.lips) * (canvas.lid_depth < 0.0)
    pores = 0.0016 + 0.0022 * zones["oily"] + 0.0014 * zones["cheeks"]
    height = -pores * np.maximum(grain.pores, -0.8) * (0.7 + 0.5 * look.age)
    height += 0.0025 * grain.mottle * (1 - 0.5 * zones["forehead"]) + 0.004 * look.age * grain.blotches
    if look.age > 0.3:
        height += 0.007 * (look.age - 0.3) * _lined(canvas, rng)
    height *= skin
    height += _lip_ridges(look, canvas, rng) * canvas.lips
    height += _aged(look, canvas, grain, rng)
    _stamp(height, grain.moles, 0.03)
    return np.asarray(height, np.float32)


def shine(look: Look, canvas: Canvas, grain: Grain) -> NDArray[np.uint8]:
    """How much the skin shines, (F, F): 128 is skin, more on lips and the edge of the lids."""
    zones = canvas.zones
    wet = 118 + (12 + 22 * look.gloss) * zones["oily"] * (1 - 0.5 * look.makeup) - 14 * look.age
    wet = wet + 7 * grain.mottle + 5 * grain.pores
    hairy = np.clip(zones["beard"] * (look.beard > 0.3) * (0.2 + look.beard), 0, 1)
    wet -= 50 * hairy
    brow = soft((look.brow_cm - np.abs(canvas.brow)) / 0.1) * (np.abs(canvas.brow_along - 0.5) < 0.6)
    wet -= 40 * brow
    lips = 150 + 45 * look.gloss + 35 * look.lip_red + 10 * grain.mottle
    wet = wet + (lips - wet) * canvas.lips
    inner = np.maximum(soft(canvas.mouth_depth / 0.05), soft((canvas.lid_depth - 0.01) / 0.02))
    wet = wet + (235 - wet) * inner
    return np.clip(wet, 0, 255).astype(np.uint8)


def beard_shade(look: Look, canvas: Canvas, grain: Grain) -> tuple[Floats, Floats]:
    """What stubble or the ground of a beard look like: linear RGB (3,) and share (F, F)."""
    skin = skin_tone(look.melanin, 0.5)
    hair = hair_tone(look.hair, look.grey)
    stubble = min(look.beard, 0.5) / 0.5
    darkness = float(np.clip(1 - hair.mean() / 0.25, 0.1, 1))
    grey = 0.42 * float(skin.mean()) * np.array([0.86, 1.0, 1.16], np.float32)  # seen through the skin
    dots = np.clip(0.8 + 0.22 * grain.pores + 0.15 * grain.mottle, 0.2, 1.3)
    if look.beard < 0.5:
        return grey * 0.8 + hair * 0.2, 0.42 * stubble**1.3 * darkness * canvas.zones["beard"] * dots
    # a beard may leave cheeks or lip bare (``hair`` draws its kind): there, shaven skin is what is seen
    return grey * 0.7 + hair * 0.15, 0.34 * (0.4 + 0.6 * darkness) * canvas.zones["beard"] * dots


def _lipped(painted: Floats, look: Look, canvas: Canvas, grain: Grain, base: Floats) -> Floats:
    """The lips' own colour or lipstick, lighter inside, dark where they meet, wet behind."""
    light = 1 - look.melanin
    natural = base * np.array([0.76, 0.40 + 0.22 * look.melanin, 0.43 + 0.20 * look.melanin], np.float32)
    natural = natural + np.array([0.012, 0.004, 0.006], np.float32) * light
    natural = natural + (base * np.array([0.9, 0.78, 0.78], np.float32) - natural) * 0.25 * look.age
    stick = linear(np.array([150, 26, 42])) * (0.6 + 0.6 * look.redness)
    share = 0.0 if look.lip_red < 0.2 else 0.8 * look.lip_red
    tone = np.asarray((1 - share) * natural + share * stick, np.float32)
    upper = soft((canvas.face[..., 1] + 3.38) / 0.1)
    inside = np.clip(canvas.lip_depth / 0.8, 0, 1)
    value = (1 - 0.13 * upper + 0.16 * inside * (1 - upper)) * np.exp(
        0.05 * grain.mottle + 0.04 * grain.pores
    )
    coloured = tone * value[..., None]
    painted = over(painted, coloured, canvas.lips * (0.88 + 0.1 * look.lip_red))
    rim = bump((canvas.lip_depth + 0.10) / 0.07) * (canvas.lip_depth < 0)
    painted = painted * (1 + 0.05 * rim * light)[..., None]  # the pale edge about the lips
    line = bump(canvas.mouth_depth / 0.09)
    painted = painted * (1 - 0.45 * line)[..., None]
    mucosa = np.array([0.30, 0.085, 0.08], np.float32) * (1 - 0.35 * look.melanin)
    return over(painted, mucosa, soft((canvas.mouth_depth - 0.12) / 0.05))


def _made_up(painted: Floats, look: Look, canvas: Canvas, rng: np.random.Generator) -> Floats:
    """Foundation evens the colour out; eye shadow on the lid; blush on the cheek."""
    tints = np.array([[70, 50, 44], [96, 66, 70], [60, 62, 80], [110, 80, 56]])
    shadow = linear(tints[int(rng.integers(len(tints)))])
    if look.makeup < 0.15:
        return painted
    x, y, z = np.moveaxis(canvas.face, -1, 0)
    side = np.abs(x)
    lid = bump(np.hypot((side - 3.25) / 1.5, (y - 4.15) / 0.42)) * (z > 7) * (canvas.lid_depth < 0)
    painted = over(painted, shadow, 0.5 * look.makeup * lid)
    blush = bump(np.hypot((side - 5.2) / 1.5, (y - 0.3) / 1.0)) * (z > 3)
    absorbed_by_blush = blush[..., None] * np.array([0.0, 0.55, 0.4], np.float32)
    return np.asarray(painted * (1 - 0.35 * look.makeup * absorbed_by_blush), np.float32)


def _freckles(look: Look, canvas: Canvas, rng: np.random.Generator) -> tuple[Spot, ...]:
    if look.freckles < 0.25:
        return ()
    x, y, _ = np.moveaxis(canvas.face, -1, 0)
    density = canvas.zones["cheeks"] + 0.25 * canvas.zones["forehead"] + 0.08
    density = density * np.clip(1 + 0.8 * noise(x.shape, 12, rng), 0.1, 3) * (canvas.lips < 0.1)
    density *= (canvas.lid_depth < -0.3) & (y > -7.5)
    return _spots(density, int(800 * (look.freckles - 0.2)), (1.2, 3.0), rng, (0.15, 0.9))


def _age_spots(look: Look, canvas: Canvas, rng: np.random.Generator) -> tuple[Spot, ...]:
    count = int(rng.poisson(26 * max(look.age - 0.4, 0) * (1 - 0.5 * look.melanin)))
    x, y, z = np.moveaxis(canvas.face, -1, 0)
    density = (0.3 + bump((np.abs(x) - 5.5) / 2.0)) * (y > -3) * (z > 0) * (canvas.lid_depth < -0.5)
    return _spots(density * (canvas.lips < 0.1), count, (3.0, 9.0), rng, (0.15, 0.5))


def _spots(
    density: Floats,
    count: int,
    radii: tuple[float, float],
    rng: np.random.Generator,
    strengths: tuple[float, float] = (0.6, 1.0),
) -> tuple[Spot, ...]:
    """Spots scattered with a density (F, F) that need not sum to 1."""
    top = float(density.max())
    spots: list[Spot] = []
    for _ in range(40 * count):
        if len(spots) == count:
            break
        row, column = (int(i) for i in rng.integers(16, FACE_TEXELS - 16, 2))
        if rng.uniform() * top < density[row, column]:
            spots.append(Spot(row, column, float(rng.uniform(*radii)), float(rng.uniform(*strengths))))
    return tuple(spots)


def _stamp(field: Floats, spots: tuple[Spot, ...], height: float) -> None:
    """Add round spots with a soft, slightly ragged edge to a field."""
    reach = 14
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for spot in spots:
        around = np.arctan2(y, x)
        ragged = 1 + 0.18 * np.cos(2 * around + spot.row) + 0.12 * np.cos(3 * around + spot.column)
        distance = np.hypot(x, y) / (spot.radius * ragged)
        shape = np.exp(-(distance**3)) * height * spot.strength
        rows, columns = (slice(max(at - reach, 0), at + reach + 1) for at in (spot.row, spot.column))
        part = field[rows, columns]
        part += shape[: part.shape[0], : part.shape[1]].astype(np.float32)


def _lined(canvas: Canvas, rng: np.random.Generator) -> Floats:
    """The web of fine lines of thin skin, deepest about the eyes and on the cheeks."""
    shape = canvas.face.shape[:2]
    web = np.minimum(np.abs(noise(shape, 70, rng)), np.abs(noise(shape, 110, rng)))
    where = np.clip(0.4 + canvas.zones["orbit"] + 0.6 * canvas.zones["cheeks"], 0, 1.3)
    return np.asarray(-np.exp(-((web / 0.12) ** 2)) * where, np.float32)


def _lip_ridges(look: Look, canvas: Canvas, rng: np.random.Generator) -> Floats:
    """Fine ridges across the lips."""
    x = canvas.face[..., 0]
    table = rng.standard_normal(64)
    waves = np.interp((x + 3.5) / 7 * 63, np.arange(64), table) * np.where(canvas.face[..., 1] > -3.4, 1, -1)
    return np.asarray((0.006 + 0.008 * look.age) * waves, np.float32)


def _aged(look: Look, canvas: Canvas, grain: Grain, rng: np.random.Generator) -> Floats:
    """Folds that stay at rest; each subject has its own mixture, a little displaced."""
    depth = np.zeros(canvas.face.shape[:2], np.float32)
    for name, (onset, gain) in wrinkles.AT_REST.items():
        weight = gain * max(look.age - onset, 0.0) / (1 - onset) * rng.uniform(0.3, 1.4)
        shift = tuple(int(i) for i in rng.integers(-7, 8, 2))
        if weight > 0.02:
            depth += np.float32(weight) * np.roll(wrinkles.resting(canvas)[name], shift, (0, 1))
    return np.asarray(depth * np.clip(0.85 + 0.35 * grain.patches, 0.1, 1.6), np.float32)
