"""Colour of skin and hair: tones, pigments that darken them, noise, and blending.

Skin colours follow published measurements (CIE L*a*b* of foreheads and cheeks over the range of human skin);
what varies within a face does so by melanin and blood, whose absorbance in red, green and blue is that of
Tsumura et al. (2003).
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maeface_studio.head.rig import Floats

SKIN_LAB = (
    (72.0, 11.0, 15.5), (67.0, 12.5, 18.0), (61.0, 13.5, 20.5), (53.0, 14.5, 22.0),
    (43.0, 14.5, 21.0), (34.0, 13.0, 17.5), (26.0, 10.5, 13.0),
)  # fmt: skip
"""L*, a*, b* (D65) of skin in even light, from little to much melanin; a subject lies anywhere between."""

SKIN_TONES = (
    (207, 169, 149), (198, 156, 134), (186, 142, 117), (171, 126, 99),
    (150, 106, 80), (127, 86, 63), (104, 69, 51), (83, 55, 42),
)  # fmt: skip
"""sRGB of ``skin_tone`` at even steps of melanin, for what needs only a colour."""

MELANIN = np.array([0.41, 0.60, 0.68], np.float32)
BLOOD = np.array([0.23, 0.75, 0.62], np.float32)

HAIR_TONES = (
    (14, 11, 10),
    (38, 25, 18),
    (74, 47, 30),
    (122, 82, 48),
    (176, 138, 88),
    (128, 58, 28),
    (118, 114, 110),
)
_STEPS = 8192


def skin_tone(melanin: float, redness: float, yellowness: float = 0.0) -> Floats:
    """Linear RGB of a skin in even light, (3,).

    Args:
        melanin: 0 to 1, light to dark.
        redness: 0 to 1, little to much blood near the surface.
        yellowness: about -1 to 1, undertone from cool to warm.
    """
    at = melanin * (len(SKIN_LAB) - 1)
    lightness, a, b = (np.interp(at, range(len(SKIN_LAB)), column) for column in zip(*SKIN_LAB, strict=True))
    return _from_lab(float(lightness), float(a + 3.0 * (redness - 0.5)), float(b + 2.0 * yellowness))


def hair_tone(index: int, grey: float) -> Floats:
    """Linear RGB of hair that has turned grey by a share of 0..1, (3,)."""
    colour, white = linear(np.array(HAIR_TONES[index])), linear(np.array((168, 166, 164)))
    return np.asarray(colour + (white - colour) * 0.9 * grey, np.float32)


def linear(srgb: NDArray[np.generic]) -> Floats:
    """Turn sRGB on 0..255 to linear light on 0..1."""
    value = np.asarray(srgb, np.float64) / 255
    return np.asarray(np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4), np.float32)


def encoded(light: Floats) -> NDArray[np.uint8]:
    """Turn linear light (clipped to 0..1) to sRGB on 0..255."""
    value = np.arange(_STEPS + 1) / _STEPS
    value = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    table = np.asarray(value * 255 + 0.5).astype(np.uint8)
    return table[np.asarray(np.clip(light, 0, 1) * _STEPS + 0.5).astype(np.uint16)]


def noise(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> Floats:
    """Smooth noise, mean 0 and deviation about 1, with ``cells`` bumps across."""
    small = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC), np.float32)


def over(under: Floats, colour: Floats, share: Floats) -> Floats:
    """Lay a colour over another by a share of 0..1 for each place."""
    return np.asarray(under + (colour - under) * np.asarray(share, np.float32)[..., None], np.float32)


def absorbed(colour: Floats, melanin: Floats, blood: Floats) -> Floats:
    """A colour (3,) behind added pigment, (F, F, 3); less than 0 is less than the skin's mean."""
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
