"""Light that falls on a head: lamps and all that comes from around, as rays to test for shadow."""

import math
from dataclasses import dataclass

import numpy as np

from maeface_studio.cast.views import View
from maeface_studio.head.mesh import frame
from maeface_studio.head.rig import Floats

SKY_RAYS = 17
RAYS_PER_LAMP = 5


@dataclass(frozen=True)
class Rays:
    """Directions that are tested for shadow, R of them, in the head's axes."""

    direction: Floats
    """(R, 3) to the light, unit."""
    light: Floats
    """(R, 4): linear RGB that the sky sends along it; then the lamp it belongs to, -1 for the sky."""
    share: Floats
    """(R,) of its lamp."""


@dataclass(frozen=True)
class Lamps:
    """What shines, L of them (at most 3)."""

    direction: Floats
    """(L, 3)"""
    glow: Floats
    """(L, 3) linear RGB irradiance of a surface that faces it."""
    spread: Floats
    """(L,) half angle in rad."""


@dataclass(frozen=True)
class Lighting:
    """All light on the head."""

    rays: Rays
    lamps: Lamps


def lighting(view: View, turn: Floats) -> Lighting:
    """The light of a view; a white surface that faces it from the camera's side gets about 1.

    Args:
        view: lamps, ambient light.
        turn: (3, 3) rotation of the head; the light stays where it is when the head turns.
    """
    sky = _sphere(SKY_RAYS)
    radiance = (0.75 + 0.35 * sky[:, 1:2]) * np.array(view.ambient)
    radiance = radiance * (4 / SKY_RAYS)  # solid angle over pi
    share = min(float(np.mean(view.ambient)), 0.6)
    radiance *= share / max(float((radiance.mean(1) * np.clip(sky[:, 2], 0, None)).sum()), 1e-6)
    towards = np.array([_direction(azimuth, elevation) for azimuth, elevation, *_ in view.lamps])
    glow = np.array([strength * np.array(tint) for *_, strength, tint in view.lamps])
    facing = np.clip(towards[:, 2], 0, None) * 0.6 + 0.4 * np.clip(towards @ [0, 0.6, 0.8], 0, None)
    glow *= (1 - share) / max(float((glow.mean(1) * facing).sum()), 0.35 * float(glow.mean(1).sum()))
    spread = np.radians([width for _, _, width, *_ in view.lamps])
    directions, lights, shares = [sky], [np.c_[radiance, np.full(len(sky), -1)]], [np.zeros(len(sky))]
    for number, (towards_it, width) in enumerate(zip(towards, spread, strict=True)):
        around = _cone(towards_it, 0.6 * width, RAYS_PER_LAMP)
        directions.append(around)
        lights.append(np.tile([0, 0, 0, number], (len(around), 1)))
        shares.append(np.full(len(around), 1 / len(around)))
    turned = np.concatenate(directions) @ turn  # world to head
    return Lighting(
        Rays(_single(turned), _single(np.concatenate(lights)), _single(np.concatenate(shares))),
        Lamps(_single(towards @ turn), _single(glow), _single(0.5 * spread)),
    )


def _direction(azimuth: float, elevation: float) -> Floats:
    """From degrees: azimuth 0 is the camera's side, 90 the viewer's right."""
    a, e = math.radians(azimuth), math.radians(elevation)
    return np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])


def _sphere(count: int) -> Floats:
    """Even directions (a Fibonacci lattice), (count, 3)."""
    i = np.arange(count) + 0.5
    y, around = 1 - 2 * i / count, i * math.pi * (3 - math.sqrt(5))
    level = np.sqrt(1 - y * y)
    return np.stack([level * np.sin(around), y, level * np.cos(around)], 1)


def _cone(axis: Floats, angle: float, count: int) -> Floats:
    """The axis and directions about it at ``angle`` rad, (count, 3)."""
    right, up = frame(axis)
    turns = np.arange(count - 1) / (count - 1) * 2 * math.pi
    rim = math.cos(angle) * axis + math.sin(angle) * (
        np.cos(turns)[:, None] * right + np.sin(turns)[:, None] * up
    )
    return np.concatenate([axis[None], rim])


def _single(values: Floats) -> Floats:
    return np.asarray(values, np.float32)
