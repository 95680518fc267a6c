"""Colours of skin, hair, eyes and cloth: tones, pigments that darken them, noise, and blending.

Skin colours follow published measurements (CIE L*a*b* of foreheads and cheeks over the range of human skin);
what varies within a face does so by melanin and blood, whose absorbance in red, green and blue is that of
Tsumura et al. (2003).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maeface_studio.cast.appearance import ClothTone, HairTone, IrisTone
from maeface_studio.head.mesh import Floats

SKIN_LAB = (
    (72.0, 11.0, 15.5), (67.0, 12.5, 18.0), (61.0, 13.5, 20.5), (53.0, 14.5, 22.0),
    (43.0, 14.5, 21.0), (34.0, 13.0, 17.5), (26.0, 10.5, 13.0),
)  # fmt: skip
"""L*, a*, b* (D65) of skin in even light, from little to much melanin; a subject lies anywhere between."""

MELANIN = np.array([0.41, 0.60, 0.68], np.float32)
BLOOD = np.array([0.23, 0.75, 0.62], np.float32)
"""Absorbance in red, green and blue (Tsumura et al., 2003)."""

SRGB = tuple[int, int, int]

HAIR_TONES: Mapping[HairTone, SRGB] = {
    HairTone.BLACK: (14, 11, 10),
    HairTone.DARK_BROWN: (38, 25, 18),
    HairTone.BROWN: (74, 47, 30),
    HairTone.LIGHT_BROWN: (122, 82, 48),
    HairTone.BLOND: (176, 138, 88),
    HairTone.RED: (128, 58, 28),
}
IRIS_TONES: Mapping[IrisTone, SRGB] = {
    IrisTone.DARK_BROWN: (48, 28, 16),
    IrisTone.BROWN: (74, 44, 22),
    IrisTone.HAZEL: (104, 78, 38),
    IrisTone.GREEN: (86, 98, 62),
    IrisTone.GREY_BLUE: (92, 112, 124),
    IrisTone.BLUE: (84, 104, 122),
}
CLOTH_TONES: Mapping[ClothTone, SRGB] = {
    ClothTone.BLACK: (30, 32, 38),
    ClothTone.GREY: (90, 92, 96),
    ClothTone.WHITE: (200, 198, 192),
    ClothTone.NAVY: (38, 52, 92),
    ClothTone.BURGUNDY: (112, 34, 38),
    ClothTone.GREEN: (44, 78, 56),
    ClothTone.TAN: (150, 120, 80),
}
_STEPS = 8192


def skin_tone(melanin: float, redness: float, yellowness: float = 0.0) -> Floats:
    """Return the linear RGB of a skin in even light, (3,).

    Args:
        melanin: 0 to 1, light to dark.
        redness: 0 to 1, little to much blood near the surface.
        yellowness: about -1 to 1, undertone from cool to warm.
    """
    position = melanin * (len(SKIN_LAB) - 1)
    lightness, a, b = (
        np.interp(position, range(len(SKIN_LAB)), column) for column in zip(*SKIN_LAB, strict=True)
    )
    return _from_lab(float(lightness), float(a + 3.0 * (redness - 0.5)), float(b + 2.0 * yellowness))


def hair_tone(tone: HairTone, grey: float) -> Floats:
    """Return the linear RGB of hair of which a fraction of 0..1 is grey, (3,)."""
    colour, white = srgb_to_linear(np.array(HAIR_TONES[tone])), srgb_to_linear(np.array((168, 166, 164)))
    return np.asarray(colour + (white - colour) * 0.9 * grey, np.float32)


def srgb_to_linear(srgb: NDArray[np.generic]) -> Floats:
    """Turn sRGB on 0..255 to linear light on 0..1."""
    value = np.asarray(srgb, np.float64) / 255
    return np.asarray(np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4), np.float32)


def linear_to_srgb(light: Floats) -> NDArray[np.uint8]:
    """Turn linear light (clipped to 0..1) to sRGB on 0..255."""
    value = np.arange(_STEPS + 1) / _STEPS
    value = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    table = np.asarray(value * 255 + 0.5).astype(np.uint8)
    return table[np.asarray(np.clip(light, 0, 1) * _STEPS + 0.5).astype(np.uint16)]


def smooth_noise(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> Floats:
    """Draw smooth noise (H, W) of mean 0 and deviation about 1, with ``cells`` bumps across."""
    small = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC), np.float32)


def blend(base: Floats, colour: Floats, alpha: Floats) -> Floats:
    """Lay a colour (3,) or (F, F, 3) over another, with opacity alpha (F, F) on 0..1."""
    return np.asarray(base + (colour - base) * np.asarray(alpha, np.float32)[..., None], np.float32)


def absorb(colour: Floats, melanin: Floats, blood: Floats) -> Floats:
    """Return a colour (3,) behind added pigment (F, F), (F, F, 3); below 0 is less than the skin's mean."""
    out = np.empty((*melanin.shape, 3), np.float32)
    for channel in range(3):
        out[..., channel] = colour[channel] * np.exp(-(MELANIN[channel] * melanin + BLOOD[channel] * blood))
    return out


def _from_lab(lightness: float, a: float, b: float) -> Floats:
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([0.95047, 1.0, 1.08883])
    to_rgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    return np.asarray(np.clip(to_rgb @ xyz, 0.004, 0.95), np.float32)
