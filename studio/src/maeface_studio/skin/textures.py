"""The textures of a subject: skin, scalp and eyes, painted over the neutral head.

A texel knows its position on the neutral head (cm), so a region is a rule about positions (the lips are what
lies inside the lip landmarks) and moves with the surface when the face does. Brows, lashes, beard and scalp
hair are strands (``hair``); here is only the skin under them. F, B, E texels a side of face, back and eye.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast.appearance import Appearance
from maeface_studio.head.mesh import Floats
from maeface_studio.head.skull import hairline_depth
from maeface_studio.skin import face
from maeface_studio.skin.eyes import paint_eye
from maeface_studio.skin.pigment import (
    CLOTH_TONES,
    absorb,
    blend,
    hair_tone,
    linear_to_srgb,
    skin_tone,
    smooth_noise,
    srgb_to_linear,
)
from maeface_studio.skin.texel_maps import TexelMaps, bell, soft_step


class Textures(NamedTuple):
    """The textures of a subject; row 0 is v = 0."""

    face: NDArray[np.uint8]
    """Albedo, sRGB, (F, F, 3)."""
    back: NDArray[np.uint8]
    """Albedo, sRGB, (B, B, 3)."""
    eye: NDArray[np.uint8]
    """Albedo, sRGB, (E, E, 3)."""
    relief: Floats
    """Height in cm of pores, moles and the folds of age, outwards positive, (F, F)."""
    gloss: NDArray[np.uint8]
    """Gloss of the face, 128 for skin, (F, F)."""


def paint_textures(appearance: Appearance, texels: TexelMaps, rng: np.random.Generator) -> Textures:
    """Paint the textures of a subject.

    Args:
        appearance: of the subject.
        texels: positions and masks.
        rng: for the noise of skin and hair.
    """
    grain = face.Grain.draw(appearance, texels, rng)
    return Textures(
        face=_paint_face(appearance, texels, grain, rng),
        back=_paint_back(appearance, texels, rng),
        eye=paint_eye(appearance, texels, rng),
        relief=face.skin_relief(appearance, texels, grain, rng),
        gloss=face.skin_gloss(appearance, texels, grain),
    )


def _paint_face(
    appearance: Appearance, texels: TexelMaps, grain: face.Grain, rng: np.random.Generator
) -> NDArray[np.uint8]:
    colour = face.paint_skin(appearance, texels, grain, rng)
    hair = hair_tone(appearance.hair, appearance.grey)
    colour = blend(colour, *face.beard_shade(appearance, texels, grain))
    half = appearance.brow_cm * np.interp(
        texels.brow_position, [-0.08, 0.05, 0.6, 0.98, 1.02], [0.3, 1.0, 0.85, 0.25, -0.6]
    ).astype(np.float32)
    brow = 0.4 * appearance.brow * soft_step((half - np.abs(texels.brow_height)) / 0.13)
    colour = blend(colour, hair * 0.8, brow)
    lash_line = appearance.lash * bell((texels.lid_depth - 0.01) / 0.055)
    colour = blend(colour, np.array([0.03, 0.02, 0.018], np.float32), 0.75 * lash_line)
    lid_margin = skin_tone(0.5 * appearance.melanin, 1.0) * np.array([0.95, 0.62, 0.60], np.float32)
    colour = blend(colour, lid_margin, 0.8 * soft_step((texels.lid_depth - 0.09) / 0.03))
    colour = blend(colour, _scalp_tone(appearance), _scalp_alpha(appearance, texels.face, rng) * ~texels.ear)
    return linear_to_srgb(colour)


def _paint_back(appearance: Appearance, texels: TexelMaps, rng: np.random.Generator) -> NDArray[np.uint8]:
    shape = texels.back.shape[:2]
    base = skin_tone(appearance.melanin, appearance.redness)
    colour = absorb(base, 0.05 * smooth_noise(shape, 40, rng), 0.05 * smooth_noise(shape, 20, rng))
    colour = blend(colour, _scalp_tone(appearance), _scalp_alpha(appearance, texels.back, rng))
    cloth = srgb_to_linear(np.array(CLOTH_TONES[appearance.cloth]))
    cloth = cloth * np.exp(0.1 * smooth_noise(shape, 90, rng))[..., None]
    return linear_to_srgb(blend(colour, cloth, soft_step((-11.0 - texels.back[..., 1]) / 0.3)))


def _scalp_tone(appearance: Appearance) -> Floats:
    """Return the linear RGB of the scalp in the shade of the hair, (3,)."""
    hair, skin = hair_tone(appearance.hair, appearance.grey), skin_tone(appearance.melanin, 0.5)
    return np.asarray(0.5 * hair + 0.15 * skin, np.float32)


def _scalp_alpha(appearance: Appearance, positions: Floats, rng: np.random.Generator) -> Floats:
    """Return the opacity of the shaded scalp, so that no bright skin shows between the strands."""
    shape = positions.shape[:2]
    if appearance.hair_cm <= 0:
        return np.zeros(shape, np.float32)
    depth = hairline_depth(positions, appearance.baldness) + 0.2 * smooth_noise(shape, 110, rng) - 0.1
    alpha = 0.6 if appearance.hair_cm < 0.25 else 0.85
    return np.asarray(alpha * soft_step(depth / 0.5), np.float32)
