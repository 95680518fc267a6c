"""Light from all sides before the render, exposure and background after it."""

import math

import numpy as np
from numpy.typing import NDArray

from maeface.studio.cast import View, generator
from maeface.studio.paint import noise
from maeface.studio.rig import Floats


def surroundings(view: View) -> Floats:
    """The light from all sides as an environment map, (32, 64, 3); a surface that faces it gets about 1."""
    rows, columns = np.mgrid[:32, :64]
    theta, phi = (rows + 0.5) / 32 * math.pi, (columns + 0.5) / 64 * 2 * math.pi
    # Mitsuba's convention: columns run around y, the middle one looks along +z.
    direction = np.stack([np.sin(phi) * np.sin(theta), np.cos(theta), -np.cos(phi) * np.sin(theta)], -1)
    sky = (0.75 + 0.35 * direction[..., 1])[..., None] * np.array(view.ambient)
    lamps = np.zeros_like(sky)
    for azimuth, elevation, width, strength, tint in view.lamps:
        a, e = math.radians(azimuth), math.radians(elevation)
        towards = np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
        angle = np.degrees(np.arccos(np.clip(direction @ towards, -1, 1)))
        lobe = np.exp(-((angle / width) ** 2) * 1.5)
        solid = (lobe * np.sin(theta)).sum()
        lamps += strength * (lobe / solid)[..., None] * np.array(tint)
    facing = np.clip(direction[..., 2], 0, None) * 0.6 + 0.4 * np.clip(
        direction @ np.array([0, 0.6, 0.8]), 0, None
    )
    cell = np.sin(theta) * (math.pi / 32) * (2 * math.pi / 64) / math.pi

    def irradiance(light: Floats) -> float:
        return float((light.mean(-1) * facing * cell).sum())

    share = min(float(np.mean(view.ambient)), 0.6)
    total = sky * (share / irradiance(sky)) + lamps * (
        (1 - share) / max(irradiance(lamps), 0.35 * float((lamps.mean(-1) * cell).sum()))
    )
    return np.asarray(total, np.float32)


def develop(rendered: Floats, view: View, melanin: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Linear RGBA over a background to sRGB, as a camera that opens up a little for dark skin would."""
    side = rendered.shape[0]
    alpha = np.clip(rendered[..., 3:4], 0, 1)
    exposure = view.exposure * math.exp(0.38 * melanin)
    light = rendered[..., :3] * np.array(view.balance, np.float32) * exposure
    light = light + (1 - alpha) * _background(side, view)
    light = np.where(light > 0.7, 0.7 + 0.3 * np.tanh((light - 0.7) / 0.3), light)  # highlights roll off
    light = np.clip(light + rng.normal(0, 0.004, light.shape), 0, 1)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(value * 255 + 0.5).astype(np.uint8)


def _background(side: int, view: View) -> Floats:
    rng = generator(view.backdrop, 7)
    y, x = np.mgrid[:side, :side] / side - 0.5
    along = np.clip(0.5 + x * math.cos(view.turn) + y * math.sin(view.turn), 0, 1)[..., None]
    colour = along * np.array(view.background[0]) + (1 - along) * np.array(view.background[1])
    bumps = view.clutter * (noise((side, side), 4, rng) + 0.5 * noise((side, side), 11, rng))
    return np.asarray(np.clip(colour * np.exp(bumps)[..., None], 0, 1), np.float32)
