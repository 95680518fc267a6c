"""A subject's skin, scalp and eyes as textures, painted over the head's neutral surface.

A texel knows the place on the neutral head that it covers (cm), so a region is a rule about places
(the lips are what lies inside the lip landmarks) and moves with the surface when the face does.
Brows, lashes, beard and scalp hair are strands (``hair``); here is only the shade under them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast.look import CLOTH_TONES, IRIS_TONES, Look
from maeface_studio.head.rig import Floats
from maeface_studio.skin import skin
from maeface_studio.skin.canvas import Canvas, bump, soft
from maeface_studio.skin.eyes import eye
from maeface_studio.skin.pigment import (
    HAIR_TONES,
    SKIN_TONES,
    absorbed,
    encoded,
    hair_tone,
    linear,
    noise,
    over,
    skin_tone,
)

__all__ = ["CLOTH_TONES", "HAIR_TONES", "IRIS_TONES", "SKIN_TONES", "Look", "Textures"]
__all__ += ["hair_share", "linear", "noise", "textures"]


class Textures(NamedTuple):
    """What a subject's surfaces look like; row 0 is v = 0. F, B, E: texels a side."""

    face: NDArray[np.uint8]
    """Albedo, sRGB, (F, F, 3)."""
    back: NDArray[np.uint8]
    """Albedo, sRGB, (B, B, 3)."""
    eye: NDArray[np.uint8]
    """Albedo, sRGB, (E, E, 3)."""
    bump: Floats
    """Height in cm of pores, moles and the folds of age, out is positive, (F, F)."""
    wet: NDArray[np.uint8]
    """How much the face shines, 128 for skin, (F, F)."""


def textures(look: Look, canvas: Canvas, rng: np.random.Generator) -> Textures:
    """Paint a subject.

    Args:
        look: how the subject looks.
        canvas: the shared places and masks.
        rng: for the noise of skin and hair.
    """
    grain = skin.Grain.drawn(look, canvas, rng)
    return Textures(
        face=_face(look, canvas, grain, rng),
        back=_back(look, canvas, rng),
        eye=eye(look, canvas, rng),
        bump=skin.relief(look, canvas, grain, rng),
        wet=skin.shine(look, canvas, grain),
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


def _face(look: Look, canvas: Canvas, grain: skin.Grain, rng: np.random.Generator) -> NDArray[np.uint8]:
    colour = skin.colour(look, canvas, grain, rng)
    hair = hair_tone(look.hair, look.grey)
    ground, share = skin.beard_shade(look, canvas, grain)
    colour = over(colour, ground, share)
    half = look.brow_cm * np.interp(
        canvas.brow_along, [-0.08, 0.05, 0.6, 0.98, 1.02], [0.3, 1.0, 0.85, 0.25, -0.6]
    ).astype(np.float32)
    colour = over(colour, hair * 0.8, 0.4 * look.brow * soft((half - np.abs(canvas.brow)) / 0.13))
    edge = look.lash * bump((canvas.lid_depth - 0.01) / 0.055)
    colour = over(colour, np.array([0.03, 0.02, 0.018], np.float32), 0.75 * edge)
    rim = skin_tone(0.5 * look.melanin, 1.0) * np.array([0.95, 0.62, 0.60], np.float32)
    colour = over(colour, rim, 0.8 * soft((canvas.lid_depth - 0.09) / 0.03))
    colour = over(colour, _ground(look), _scalp(look, canvas.face, rng) * ~canvas.ear)
    return encoded(colour)


def _back(look: Look, canvas: Canvas, rng: np.random.Generator) -> NDArray[np.uint8]:
    shape = canvas.back.shape[:2]
    base = skin_tone(look.melanin, look.redness)
    colour = absorbed(base, 0.05 * noise(shape, 40, rng), 0.05 * noise(shape, 20, rng))
    colour = over(colour, _ground(look), _scalp(look, canvas.back, rng))
    fabric = linear(np.array(CLOTH_TONES[look.cloth])) * np.exp(0.1 * noise(shape, 90, rng))[..., None]
    return encoded(over(colour, fabric, soft((-11.0 - canvas.back[..., 1]) / 0.3)))


def _ground(look: Look) -> Floats:
    """What is seen between the hairs: scalp in their shade."""
    shaded = 0.5 * hair_tone(look.hair, look.grey) + 0.15 * skin_tone(look.melanin, 0.5)
    return np.asarray(shaded, np.float32)


def _scalp(look: Look, places: Floats, rng: np.random.Generator) -> Floats:
    """The ground under the scalp hair, so that no skin shows between the strands."""
    if look.hair_cm <= 0:
        return np.zeros(places.shape[:2], np.float32)
    shape = places.shape[:2]
    depth = hair_share(places, look.baldness) + 0.2 * noise(shape, 110, rng) - 0.1
    thin = 0.6 if look.hair_cm < 0.25 else 0.85
    return np.asarray(thin * soft(depth / 0.5), np.float32)
