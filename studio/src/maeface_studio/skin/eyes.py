"""The eyeball as a texture, E texels a side."""

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast.look import IRIS_TONES, Look
from maeface_studio.head.rig import Floats
from maeface_studio.skin.canvas import Canvas, bump, soft
from maeface_studio.skin.pigment import encoded, linear, noise, over

IRIS_CM = 0.60
"""Radius; the visible iris of adults measures 11 to 12.5 mm across."""


def eye(look: Look, canvas: Canvas, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint an eyeball: sclera with veins, limbal ring, fibres and crypts, pupil; (E, E, 3)."""
    x, y = np.moveaxis(canvas.eye, -1, 0)
    radius, around = np.hypot(x, y), np.arctan2(y, x)
    iris_cm, pupil_cm = IRIS_CM + float(rng.normal(0, 0.012)), float(rng.uniform(0.16, 0.28))
    colour = _sclera(look, x, radius, around, rng)
    colour = over(
        colour,
        _iris(look, radius / iris_cm, pupil_cm / iris_cm, around, rng),
        soft((iris_cm - radius) / 0.022),
    )
    colour = over(colour, np.full(3, 0.003, np.float32), soft((pupil_cm - radius) / 0.012))
    shadow = 1 - 0.38 * soft((y - 0.22) / 0.10)  # of the upper lid, too near for the lamps' shadows to show
    return encoded(colour * shadow[..., None])


def _sclera(look: Look, x: Floats, radius: Floats, around: Floats, rng: np.random.Generator) -> Floats:
    """Off-white, yellower with age, pinker and more veined towards the corners, darker towards the lids."""
    white = linear(np.array([196, 186, 180])) * np.array([1.0, 1 - 0.03 * look.age, 1 - 0.12 * look.age])
    white = white * (1 - 0.10 * look.melanin)
    corner = np.clip((radius - 0.65) / 0.9, 0, 1)
    veins = np.zeros_like(radius)
    for _ in range(int(10 + 12 * look.redness)):
        angle, wave, phase = rng.uniform(-np.pi, np.pi), rng.uniform(5, 14), rng.uniform(0, 6.3)
        path = angle + 0.09 * np.sin(wave * radius + phase)
        off = np.angle(np.exp(1j * (around - path))) * radius
        veins = np.maximum(
            veins, rng.uniform(0.3, 1) * bump(off / 0.012) * soft((radius - rng.uniform(0.75, 1.1)) / 0.1)
        )
    pink = 0.10 + 0.25 * corner * (0.4 + look.redness) + 0.45 * veins * (0.3 + 0.7 * look.redness)
    shade = 1 - 0.35 * corner
    absorb = np.array([0.10, 0.75, 0.70])
    return np.asarray(white * shade[..., None] * np.exp(-pink[..., None] * absorb), np.float32)


def _iris(look: Look, share: Floats, pupil: float, around: Floats, rng: np.random.Generator) -> Floats:
    """``share`` is 0 at the middle and 1 at the edge."""
    tone = linear(np.array(IRIS_TONES[look.iris]))
    tone = (0.75 * tone + 0.25 * tone.mean()) * np.float32(np.exp(rng.normal(0, 0.15)))
    fibres = np.zeros_like(share)
    for k in range(5, 46, 2):
        twist = 0.25 * np.sin(3 * share + rng.uniform(0, 6.3))
        fibres += rng.normal(0, 0.16) * np.cos(k * around + twist * k / 8 + rng.uniform(0, 6.3))
    crypts = np.clip(noise(share.shape, 48, rng) - 1.0, 0, 1.5) * bump((share - 0.6) / 0.25)
    collarette = 0.35 * bump((share - (pupil + 0.18)) / 0.08)
    light = 0.9 * fibres * np.clip((share - pupil) / 0.2, 0, 1) * 0.6 - 0.5 * crypts + collarette
    ring = 1.6 * soft((share - 0.93) / 0.06) + 0.5 * bump((share - pupil) / 0.06)
    warm = bump((share - pupil) / 0.22)[..., None] * np.array([0.25, 0.02, -0.15]) * (look.iris > 2)
    return np.asarray(tone * np.exp((light - ring)[..., None] + warm), np.float32)
