"""The light on a head: lamps and light from all sides, as directions in which shadows are tested."""

import math
from dataclasses import dataclass

import numpy as np

from maeface_studio.cast.views import View
from maeface_studio.head.mesh import Floats, perpendicular_axes

SKY_RAYS = 17
RAYS_PER_LAMP = 5


@dataclass(frozen=True)
class Rays:
    """R directions in which shadows are tested, in the axes of the head.

    Attributes:
        direction: (R, 3) unit vectors towards the light.
        light: (R, 4): linear RGB of the light from the sky in this direction, then the number of the lamp
            that the ray belongs to, -1 for the sky.
        weight: (R,) weight of the ray among those of its lamp; 0 for the sky.
    """

    direction: Floats
    light: Floats
    weight: Floats


@dataclass(frozen=True)
class Lamps:
    """L lamps, at most 3.

    Attributes:
        direction: (L, 3) unit vectors towards the lamps.
        irradiance: (L, 3) linear RGB, of a surface that faces the lamp.
        spread: (L,) half angle in rad.
    """

    direction: Floats
    irradiance: Floats
    spread: Floats


@dataclass(frozen=True)
class Lighting:
    """All light on the head."""

    rays: Rays
    lamps: Lamps


def light_head(view: View, rotation: Floats) -> Lighting:
    """Return the light of a view; a white surface that faces it from the camera's side gets about 1.

    Args:
        view: lamps and ambient light.
        rotation: (3, 3) of the head; the light stays where it is when the head turns.
    """
    sky = _spread_over_sphere(SKY_RAYS)
    radiance = (0.75 + 0.35 * sky[:, 1:2]) * np.array(view.ambient)
    radiance = radiance * (4 / SKY_RAYS)  # solid angle over pi
    ambient = min(float(np.mean(view.ambient)), 0.6)
    radiance *= ambient / max(float((radiance.mean(1) * np.clip(sky[:, 2], 0, None)).sum()), 1e-6)
    towards = np.array([_direction(azimuth, elevation) for azimuth, elevation, *_ in view.lamps])
    irradiance = np.array([strength * np.array(tint) for *_, strength, tint in view.lamps])
    facing = np.clip(towards[:, 2], 0, None) * 0.6 + 0.4 * np.clip(towards @ [0, 0.6, 0.8], 0, None)
    total = float((irradiance.mean(1) * facing).sum())
    irradiance *= (1 - ambient) / max(total, 0.35 * float(irradiance.mean(1).sum()))
    spread = np.radians([width for _, _, width, *_ in view.lamps])
    directions, lights, weights = [sky], [np.c_[radiance, np.full(len(sky), -1)]], [np.zeros(len(sky))]
    for number, (axis, width) in enumerate(zip(towards, spread, strict=True)):
        cone = _spread_over_cone(axis, 0.6 * width, RAYS_PER_LAMP)
        directions.append(cone)
        lights.append(np.tile([0, 0, 0, number], (len(cone), 1)))
        weights.append(np.full(len(cone), 1 / len(cone)))
    in_head_axes = np.concatenate(directions) @ rotation
    return Lighting(
        Rays(
            _as_float32(in_head_axes),
            _as_float32(np.concatenate(lights)),
            _as_float32(np.concatenate(weights)),
        ),
        Lamps(_as_float32(towards @ rotation), _as_float32(irradiance), _as_float32(0.5 * spread)),
    )


def _direction(azimuth: float, elevation: float) -> Floats:
    """Return the unit vector of angles in degrees: azimuth 0 is the camera's side, 90 the viewer's right."""
    a, e = math.radians(azimuth), math.radians(elevation)
    return np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])


def _spread_over_sphere(count: int) -> Floats:
    """Return evenly spread directions (a Fibonacci lattice), (count, 3)."""
    i = np.arange(count) + 0.5
    y, around = 1 - 2 * i / count, i * math.pi * (3 - math.sqrt(5))
    level = np.sqrt(1 - y * y)
    return np.stack([level * np.sin(around), y, level * np.cos(around)], 1)


def _spread_over_cone(axis: Floats, angle: float, count: int) -> Floats:
    """Return the axis and directions around it at ``angle`` rad, (count, 3)."""
    right, up = perpendicular_axes(axis)
    turns = np.arange(count - 1) / (count - 1) * 2 * math.pi
    rim = math.cos(angle) * axis + math.sin(angle) * (
        np.cos(turns)[:, None] * right + np.sin(turns)[:, None] * up
    )
    return np.concatenate([axis[None], rim])


def _as_float32(values: Floats) -> Floats:
    return np.asarray(values, np.float32)
