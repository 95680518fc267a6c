"""The texture of an eyeball, E texels a side."""

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast.appearance import Appearance, IrisTone
from maeface_studio.head.mesh import Floats
from maeface_studio.skin.pigment import IRIS_TONES, blend, linear_to_srgb, smooth_noise, srgb_to_linear
from maeface_studio.skin.texel_maps import TexelMaps, bell, soft_step

IRIS_CM = 0.60
"""Radius; the visible iris of adults measures 11 to 12.5 mm across."""


def paint_eye(appearance: Appearance, texels: TexelMaps, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint an eyeball: sclera with veins, limbal ring, fibres and crypts, pupil; sRGB, (E, E, 3)."""
    x, y = np.moveaxis(texels.eye, -1, 0)
    radius, azimuth = np.hypot(x, y), np.arctan2(y, x)
    iris_cm, pupil_cm = IRIS_CM + float(rng.normal(0, 0.012)), float(rng.uniform(0.16, 0.28))
    colour = _sclera(appearance, x, radius, azimuth, rng)
    colour = blend(
        colour,
        _iris(appearance, radius / iris_cm, pupil_cm / iris_cm, azimuth, rng),
        soft_step((iris_cm - radius) / 0.022),
    )
    colour = blend(colour, np.full(3, 0.003, np.float32), soft_step((pupil_cm - radius) / 0.012))
    # The shadow of the upper lid, which is too close to the eye for the shadow maps.
    shadow = 1 - 0.38 * soft_step((y - 0.22) / 0.10)
    return linear_to_srgb(colour * shadow[..., None])


def _sclera(
    appearance: Appearance, x: Floats, radius: Floats, azimuth: Floats, rng: np.random.Generator
) -> Floats:
    """Paint the white: yellower with age, pinker and more veined to the corners, darker to the lids."""
    age, redness = appearance.age, appearance.redness
    white = srgb_to_linear(np.array([196, 186, 180])) * np.array([1.0, 1 - 0.03 * age, 1 - 0.12 * age])
    white = white * (1 - 0.10 * appearance.melanin)
    corner = np.clip((radius - 0.65) / 0.9, 0, 1)
    veins = np.zeros_like(radius)
    for _ in range(int(10 + 12 * redness)):
        angle, wave, phase = rng.uniform(-np.pi, np.pi), rng.uniform(5, 14), rng.uniform(0, 6.3)
        path = angle + 0.09 * np.sin(wave * radius + phase)
        off = np.angle(np.exp(1j * (azimuth - path))) * radius
        strength, start = rng.uniform(0.3, 1), rng.uniform(0.75, 1.1)
        veins = np.maximum(veins, strength * bell(off / 0.012) * soft_step((radius - start) / 0.1))
    pink = 0.10 + 0.25 * corner * (0.4 + redness) + 0.45 * veins * (0.3 + 0.7 * redness)
    shade = 1 - 0.35 * corner
    absorbance = np.array([0.10, 0.75, 0.70])
    return np.asarray(white * shade[..., None] * np.exp(-pink[..., None] * absorbance), np.float32)


def _iris(
    appearance: Appearance, radius: Floats, pupil: float, azimuth: Floats, rng: np.random.Generator
) -> Floats:
    """Paint the iris; ``radius`` is 0 in the middle and 1 at the edge, ``pupil`` on the same scale."""
    tone = srgb_to_linear(np.array(IRIS_TONES[appearance.iris]))
    tone = (0.75 * tone + 0.25 * tone.mean()) * np.float32(np.exp(rng.normal(0, 0.15)))
    fibres = np.zeros_like(radius)
    for k in range(5, 46, 2):
        twist = 0.25 * np.sin(3 * radius + rng.uniform(0, 6.3))
        fibres += rng.normal(0, 0.16) * np.cos(k * azimuth + twist * k / 8 + rng.uniform(0, 6.3))
    crypts = np.clip(smooth_noise(radius.shape, 48, rng) - 1.0, 0, 1.5) * bell((radius - 0.6) / 0.25)
    collarette = 0.35 * bell((radius - (pupil + 0.18)) / 0.08)
    light = 0.9 * fibres * np.clip((radius - pupil) / 0.2, 0, 1) * 0.6 - 0.5 * crypts + collarette
    ring = 1.6 * soft_step((radius - 0.93) / 0.06) + 0.5 * bell((radius - pupil) / 0.06)
    warm = (
        bell((radius - pupil) / 0.22)[..., None]
        * np.array([0.25, 0.02, -0.15])
        * (appearance.iris > IrisTone.HAZEL)
    )
    return np.asarray(tone * np.exp((light - ring)[..., None] + warm), np.float32)
