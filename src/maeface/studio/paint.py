"""Skin, hair and eyes of a subject as textures, painted over the head's neutral surface.

A texel knows the place on the neutral head that it covers (cm), so a region is a rule about places
(the lips are what lies inside the lip landmarks) and moves with the surface when the face does.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maeface.studio.canvas import Canvas, soft
from maeface.studio.rig import Floats

SKIN_TONES = (
    (228, 186, 165), (220, 172, 145), (208, 157, 125), (184, 132, 98),
    (154, 103, 71), (122, 78, 53), (94, 57, 37), (70, 42, 28),
)  # fmt: skip
"""sRGB of skin in even light, from little to much melanin; a subject lies anywhere between."""

HAIR_TONES = (
    (14, 11, 10),
    (38, 25, 18),
    (74, 47, 30),
    (122, 82, 48),
    (176, 138, 88),
    (128, 58, 28),
    (118, 114, 110),
)
IRIS_TONES = ((48, 28, 16), (74, 44, 22), (104, 78, 38), (86, 98, 62), (92, 112, 124), (84, 104, 122))
CLOTH_TONES = (
    (30, 32, 38),
    (90, 92, 96),
    (200, 198, 192),
    (38, 52, 92),
    (112, 34, 38),
    (44, 78, 56),
    (150, 120, 80),
)


class Look(NamedTuple):
    """How a subject looks; 0..1 unless said."""

    melanin: float
    redness: float
    hair: int
    """Index into ``HAIR_TONES``."""
    iris: int
    cloth: int
    baldness: float
    hair_cm: float
    """How far the scalp hair stands out."""
    brow: float
    """How dense."""
    brow_cm: float
    """Half its height."""
    beard: float
    """Below 0.5 a shadow of stubble, above it a beard."""
    freckles: float
    makeup: float
    lip_red: float
    lash: float
    gloss: float
    age: float
    """0 to 1 for about 18 to 80 years."""
    moles: float
    glasses: int
    """Style; 0 for none."""
    hat: int
    """Style; 0 for none."""
    hair_style: int
    grey: float


class Textures(NamedTuple):
    """Linear RGB on 0..1, row 0 at v = 0."""

    face: Floats
    back: Floats
    eye: Floats


def textures(look: Look, canvas: Canvas, rng: np.random.Generator) -> Textures:
    """Paint a subject.

    Args:
        look: how the subject looks.
        canvas: the shared places and masks.
        rng: for the noise of skin and hair.
    """
    skin = _tone(SKIN_TONES, look.melanin * (len(SKIN_TONES) - 1))
    hair = linear(np.array(HAIR_TONES[look.hair]))
    return Textures(
        face=_face(look, canvas, skin, hair, rng),
        back=_back(look, canvas, skin, hair, rng),
        eye=_eye(look, canvas, rng),
    )


def hair_share(places: Floats, baldness: float) -> Floats:
    """How deep inside the scalp hair places on the neutral head lie, in cm; negative outside.

    The line runs over the forehead, down the temples, before and behind the ears to the nape.
    """
    x, y, z = np.moveaxis(places, -1, 0)
    recede = 2.6 * baldness
    front = (
        y - (9.3 + recede) + 0.03 * (np.abs(x) - 3.0) ** 2 - 0.5 * np.cos(np.clip(x, -6, 6) * 0.9) * baldness
    )
    side = np.minimum(
        3.9 + np.clip(y - 4.5, 0, 9) * 0.42 - 0.8 * recede - z, y + np.where(z < -1.0, 7.0, -1.2)
    )
    return np.asarray(np.maximum(np.minimum(front, 9.0), np.minimum(side, y + 7.0)), np.float32)


def linear(srgb: NDArray[np.generic]) -> Floats:
    """Turn sRGB on 0..255 to linear light on 0..1."""
    value = np.asarray(srgb, np.float64) / 255
    return np.asarray(np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4), np.float32)


def noise(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> Floats:
    """Smooth noise, mean 0 and deviation about 1, with ``cells`` bumps across."""
    small = rng.standard_normal((cells + 1, cells + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC), np.float32)


def _face(look: Look, canvas: Canvas, skin: Floats, hair: Floats, rng: np.random.Generator) -> Floats:
    shape = canvas.face.shape[:2]
    x, y, z = np.moveaxis(canvas.face, -1, 0)
    mottle = 0.05 * noise(shape, 24, rng) + 0.03 * noise(shape, 90, rng) + 0.02 * noise(shape, 220, rng)
    colour = skin * np.exp(mottle[..., None] * np.array([0.7, 1.0, 1.1], np.float32))
    flush = (
        np.exp(-(((np.abs(x) - 4.6) / 2.0) ** 2) - ((y + 0.6) / 1.7) ** 2)
        + 0.9 * np.exp(-((x / 1.4) ** 2) - ((y - 0.0) / 1.2) ** 2) * (z > 10)
        + 0.7 * canvas.ear
    )
    redness = flush * (0.25 + 0.75 * look.redness) * (1 - 0.5 * look.melanin)
    colour = colour * (1 - redness[..., None] * np.array([-0.05, 0.20, 0.16], np.float32))
    shade = np.exp(-((canvas.lash / 0.9) ** 2)) * (0.10 + 0.25 * look.makeup)  # thin skin about the eyes
    colour = colour * (1 - shade[..., None] * np.array([0.6, 0.9, 0.8], np.float32))
    spots = np.clip(noise(shape, 110, rng) - 1.5, 0, 1) * (noise(shape, 8, rng) > -0.4) * (y < 5.5)
    colour = colour * (
        1 - np.clip(spots * look.freckles, 0, 0.6)[..., None] * np.array([0.5, 0.8, 0.9], np.float32)
    )
    colour = _over(colour, _lip_colour(look, skin), canvas.lips * 0.9)
    strands = 0.75 + 0.25 * np.clip(noise(shape, 150, rng), -2, 2)
    colour = _over(colour, hair, _beard(look, x, y, z, canvas) * np.clip(strands, 0.2, 1))
    half = look.brow_cm * np.interp(
        canvas.brow_along, [-0.08, 0.05, 0.6, 0.98, 1.02], [0.3, 1.0, 0.85, 0.25, -0.6]
    )
    brow = look.brow * soft((half - np.abs(canvas.brow)) / 0.10) * np.clip(strands, 0.35, 1)
    colour = _over(colour, hair * 0.8, brow)
    colour = _over(
        colour, np.array([0.02, 0.015, 0.012], np.float32), look.lash * np.exp(-((canvas.lash / 0.13) ** 2))
    )
    colour = _over(colour, _strand_colour(hair, shape, rng), _hair_mask(look, canvas.face, rng) * ~canvas.ear)
    return np.asarray(np.clip(colour, 0.004, 0.95), np.float32)


def _back(look: Look, canvas: Canvas, skin: Floats, hair: Floats, rng: np.random.Generator) -> Floats:
    shape = canvas.back.shape[:2]
    colour = np.broadcast_to(skin, (*shape, 3)) * np.exp(0.05 * noise(shape, 40, rng))[..., None]
    colour = _over(colour, _strand_colour(hair, shape, rng), _hair_mask(look, canvas.back, rng))
    fabric = linear(np.array(CLOTH_TONES[look.cloth])) * np.exp(0.1 * noise(shape, 90, rng))[..., None]
    colour = _over(colour, fabric, soft((-11.0 - canvas.back[..., 1]) / 0.3))
    return np.asarray(np.clip(colour, 0.004, 0.95), np.float32)


def _eye(look: Look, canvas: Canvas, rng: np.random.Generator) -> Floats:
    """Sclera with veins and shade towards the corners, limbal ring, streaked iris, pupil."""
    x, y = np.moveaxis(canvas.eye, -1, 0)
    radius, around = np.hypot(x, y), np.arctan2(y, x)
    streaks = sum(rng.normal(0, 0.12) * np.cos(k * around + rng.uniform(0, 6.3)) for k in range(3, 24))
    iris_cm, pupil_cm = 0.66, rng.uniform(0.20, 0.32)
    white = linear(np.array([188, 180, 172])) * (1 - 0.22 * np.clip(radius - 0.7, 0, 1))[
        ..., None
    ] ** np.array([0.6, 1.0, 1.0], np.float32)
    tone = (
        linear(np.array(IRIS_TONES[look.iris])) * np.exp(streaks + 0.35 * (radius / iris_cm - 0.6))[..., None]
    )
    tone = tone * (1 - 0.75 * soft((radius - 0.57) / 0.03))[..., None]
    colour = _over(white, tone, soft((iris_cm - radius) / 0.03))
    colour = _over(colour, np.array([0.004, 0.004, 0.004], np.float32), soft((pupil_cm - radius) / 0.02))
    return np.asarray(np.clip(colour, 0.003, 0.9), np.float32)


def _lip_colour(look: Look, skin: Floats) -> Floats:
    natural = skin * np.array([0.80, 0.50, 0.52], np.float32) + np.array([0.02, 0.006, 0.008], np.float32)
    painted = linear(np.array([150, 28, 44])) * (0.6 + 0.6 * look.redness)
    share = look.lip_red * 0.75
    return np.asarray((1 - share) * natural + share * painted, np.float32)


def _beard(look: Look, x: Floats, y: Floats, z: Floats, canvas: Canvas) -> Floats:
    """Moustache, chin, jaw and cheek below a line from the mouth's corner to the sideburn."""
    line = -3.6 + np.clip(np.abs(x) - 2.4, 0, 9) * 0.95
    cheek = soft((line - y) / 0.5) * soft((np.abs(x) - 1.0) / 0.3 + (-4.9 - y) / 0.3) * (y > -11)
    moustache = soft((-1.45 - y) / 0.2) * soft((2.9 - np.abs(x)) / 0.3) * (y > -4) * (z > 8)
    area = np.maximum(
        np.maximum(cheek * (z > 1.5), moustache), soft((-5.2 - y) / 0.4) * soft((y + 11) / 1.5) * (z > 4)
    )
    area = area * (1 - canvas.lips) * ~canvas.ear
    dense = 0.30 * min(look.beard, 0.5) / 0.5 + 0.55 * max(look.beard - 0.5, 0.0) / 0.5
    return np.asarray(area * dense, np.float32)


def _strand_colour(hair: Floats, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    tall = rng.standard_normal((6, shape[1] // 2)).astype(np.float32)
    strands = np.asarray(Image.fromarray(tall).resize(shape[::-1], Image.Resampling.BICUBIC), np.float32)
    return np.asarray(hair * np.exp(0.28 * strands + 0.15 * noise(shape, 60, rng))[..., None], np.float32)


def _hair_mask(look: Look, places: Floats, rng: np.random.Generator) -> Floats:
    if look.hair_cm <= 0:
        return np.zeros(places.shape[:2], np.float32)
    depth = hair_share(places, look.baldness) + 0.25 * noise(places.shape[:2], 70, rng)
    thin = 0.6 if look.hair_cm < 0.25 else 1.0
    return thin * soft(depth / 0.28)


def _tone(tones: tuple[tuple[int, int, int], ...], at: float) -> Floats:
    table = linear(np.array(tones))
    return np.array([np.interp(at, range(len(tones)), table[:, c]) for c in range(3)], np.float32)


def _over(under: Floats, colour: Floats, share: Floats) -> Floats:
    return np.asarray(under + (colour - under) * np.asarray(share)[..., None], np.float32)
