"""Hats and headscarves over the skull of a head."""

import math
from collections.abc import Mapping

import numpy as np

from maeface_studio.cast.appearance import Hat
from maeface_studio.head.curves import sample_curve
from maeface_studio.head.mesh import Floats
from maeface_studio.head.rig import Rig
from maeface_studio.head.skull import Skull, identity_offset, measure_skull, skull_radius
from maeface_studio.worn.meshes import (
    Colour,
    MaterialMesh,
    Mesh,
    join_meshes,
    sheet_mesh,
    tube_mesh,
    with_material,
)

HAT_RIMS: Mapping[Hat, tuple[float, float]] = {
    Hat.BEANIE: (4.4, 0.44),
    Hat.BASEBALL_CAP: (5.2, 0.40),
    Hat.BRIMMED_HAT: (5.4, 0.36),
    Hat.HELMET: (4.0, 0.46),
}
"""Height in cm of a rim at z = 0, and its slope in z; a hat hides what is above."""

_COLUMNS = 56
_WOOLS: tuple[Colour, ...] = (
    (0.03, 0.03, 0.04),
    (0.25, 0.03, 0.03),
    (0.10, 0.11, 0.12),
    (0.42, 0.30, 0.10),
    (0.02, 0.06, 0.14),
)
_SILKS: tuple[Colour, ...] = (
    (0.02, 0.02, 0.022),
    (0.30, 0.20, 0.16),
    (0.05, 0.10, 0.22),
    (0.45, 0.42, 0.38),
    (0.22, 0.05, 0.09),
)
_STRAWS: tuple[Colour, ...] = (
    (0.45, 0.34, 0.18),
    (0.05, 0.045, 0.04),
    (0.20, 0.13, 0.07),
    (0.12, 0.12, 0.13),
)
_SHELLS: tuple[Colour, ...] = (
    (0.55, 0.56, 0.58),
    (0.55, 0.40, 0.03),
    (0.35, 0.02, 0.02),
    (0.02, 0.02, 0.025),
    (0.03, 0.10, 0.35),
)


def make_hat(kind: Hat, tint: int, rig: Rig, head: Floats) -> list[MaterialMesh]:
    """Return a hat or headscarf.

    Args:
        kind: any but ``NONE``.
        tint: any number; selects one of the colours of the kind.
        rig: the head's rig.
        head: (V, 3) cm at rest.
    """
    skull = measure_skull(rig, head)
    if kind == Hat.HEADSCARF:
        return [with_material(_headscarf(skull), _SILKS[tint % len(_SILKS)], roughness=0.7)]
    rim = _rim(skull, kind)
    if kind == Hat.BEANIE:
        wool = _WOOLS[tint % len(_WOOLS)]
        body = _dome(skull, rim, 0.55, 1.1)
        ribs = 0.85 + 0.05 * np.cos(np.arange(_COLUMNS) * np.pi)
        return [with_material(join_meshes([body, _band(skull, rim, ribs, 0.42)]), wool, roughness=0.95)]
    if kind == Hat.BASEBALL_CAP:
        body = join_meshes(
            [
                _dome(skull, rim, 0.55, 0.9),
                _band(skull, rim, np.full(_COLUMNS, 0.6), 0.10),
                _visor(skull, rim),
            ]
        )
        return [with_material(body, _WOOLS[tint % len(_WOOLS)], roughness=0.85)]
    if kind == Hat.BRIMMED_HAT:
        straw = _STRAWS[tint % len(_STRAWS)]
        dark: Colour = (straw[0] * 0.25, straw[1] * 0.25, straw[2] * 0.25)
        crown = with_material(
            join_meshes([_dome(skull, rim, 0.6, 2.2), _brim(skull, rim)]), straw, roughness=0.9
        )
        return [crown, with_material(_band(skull, rim, np.full(_COLUMNS, 0.85), 0.22), dark, roughness=0.8)]
    shell = with_material(
        join_meshes([_dome(skull, rim, 1.5, 2.2), _lip(skull, rim, 1.5)]),
        _SHELLS[tint % len(_SHELLS)],
        roughness=0.3,
    )
    return [shell, with_material(_straps(rig, head), (0.02, 0.02, 0.02), roughness=0.7)]


def _rim(skull: Skull, kind: Hat) -> Floats:
    """Return the elevation of the rim at each azimuth, (_COLUMNS,) radians."""
    height, slope = HAT_RIMS[kind]
    elevation = np.linspace(-1.0, 1.2, 120)
    grid = elevation[:, None], _azimuths()[None]
    points = skull.centre + _ray(*grid) * _smooth_radius(skull, *grid)[..., None]
    above = points[..., 1] > height + slope * points[..., 2]
    return np.asarray(elevation[above.argmax(0)], np.float32)


def _azimuths() -> Floats:
    """Return azimuths from the front, (_COLUMNS,) radians."""
    return np.linspace(0, 2 * math.pi, _COLUMNS, endpoint=False)


def _ray(elevation: Floats, azimuth: Floats) -> Floats:
    """Return unit vectors (..., 3) of angles in radians."""
    elevation, azimuth = np.broadcast_arrays(elevation, azimuth)
    level = np.cos(elevation)
    return np.stack([level * np.sin(azimuth), np.sin(elevation), level * np.cos(azimuth)], -1)


def _smooth_radius(skull: Skull, elevation: Floats, azimuth: Floats) -> Floats:
    """Return the radius of the skull in cm, smoothed as cloth would: without ears and brow ridges."""
    near = [skull_radius(skull, _ray(elevation + 0.1, azimuth + d)) for d in (-0.3, -0.15, 0.0, 0.15, 0.3)]
    least = skull_radius(skull, _ray(elevation, azimuth)) - 0.25
    return np.asarray(np.maximum(np.mean(near, 0), least), np.float32)


def _dome(skull: Skull, rim: Floats, least: float, top: float, rows: int = 12) -> Mesh:
    """Return a shell, ``least`` cm above the skull at the rim and ``top`` cm at the top."""
    t = np.linspace(0, 1, rows)[:, None]
    elevation = rim[None] + (math.pi / 2 - 0.02 - rim[None]) * t
    azimuth = np.broadcast_to(_azimuths()[None], elevation.shape)
    height = least + (top - least) * np.sin(t * math.pi / 2)
    distance = _smooth_radius(skull, elevation, azimuth) + height
    return sheet_mesh(skull.centre + _ray(elevation, azimuth) * distance[..., None], closed=True)


def _band(skull: Skull, rim: Floats, height: Floats, width: float) -> Mesh:
    """Return a turned-up band along the rim, ``height`` cm above the skull and ``width`` radians wide."""
    t = np.array([-0.02, 0.0, 0.25, 0.5, 0.75, 1.0, 1.02])[:, None]
    bulge = np.array([-0.5, 0.0, 0.12, 0.15, 0.12, 0.0, -0.5])[:, None]
    elevation = rim[None] + width * t
    azimuth = np.broadcast_to(_azimuths()[None], elevation.shape)
    distance = _smooth_radius(skull, rim[None] + width * t * 0.9, azimuth) + height[None] + bulge
    return sheet_mesh(skull.centre + _ray(elevation, azimuth) * distance[..., None], closed=True)


def _edge(skull: Skull, rim: Floats, azimuth: Floats, height: float) -> Floats:
    """Return points of the rim at azimuths (C,), ``height`` cm above the skull, (C, 3) cm."""
    elevation = np.interp(
        azimuth % (2 * math.pi), np.append(_azimuths(), 2 * math.pi), np.append(rim, rim[0])
    )
    distance = _smooth_radius(skull, elevation, azimuth) + height
    return np.asarray(skull.centre + _ray(elevation, azimuth) * distance[:, None], np.float32)


def _visor(skull: Skull, rim: Floats) -> Mesh:
    azimuth = np.linspace(-1.05, 1.05, 25)
    edge = _edge(skull, rim, azimuth, 0.5)
    t = np.linspace(0, 1, 7)[:, None]
    length = 6.6 * np.cos(azimuth / 1.05 * math.pi / 2) ** 0.6
    x = edge[:, 0] * (1 + 0.05 * t)
    z = edge[:, 2] + length * t
    y = edge[:, 1] - 0.10 * length * t - 0.022 * x**2 * t
    top = np.stack([x, y, z], -1)
    return join_meshes([sheet_mesh(top), sheet_mesh(top[:, ::-1] - np.array([0, 0.18, 0]))])


def _brim(skull: Skull, rim: Floats) -> Mesh:
    azimuth = _azimuths()
    edge = _edge(skull, rim, azimuth, 0.4)
    t = np.linspace(0, 1, 6)[:, None, None]
    top = edge + _ray(np.zeros(_COLUMNS), azimuth) * 5.5 * t
    top[..., 1] += (0.9 * np.sin(azimuth) ** 2 - 0.8 * np.cos(azimuth) ** 2) * t[..., 0] ** 2
    bottom = top[:, ::-1] - np.array([0, 0.15, 0])
    return join_meshes([sheet_mesh(top, closed=True), sheet_mesh(bottom, closed=True)])


def _lip(skull: Skull, rim: Floats, height: float) -> Mesh:
    return tube_mesh(_edge(skull, rim, _azimuths(), height - 0.25), 0.3, 8, closed=True)


def _straps(rig: Rig, head: Floats) -> Mesh:
    def follow(point: list[float], anchor: list[float]) -> Floats:
        return np.array(point) + identity_offset(rig, head, np.array(anchor))

    chin = follow([0, -8.4, 8.2], [0, -8.0, 9.5])
    sides = []
    for side in (-1, 1):
        jaw = follow([side * 7.0, -2.6, 3.2], [side * 6.9, -2.6, 3.2])
        top = follow([side * 8.3, 4.0, 2.6], [side * 7.7, 4.0, 2.6])
        line = sample_curve([top, jaw * [1.06, 1, 1], [side * 4.6, -7.2, 6.6], chin], 14)
        sides.append(tube_mesh(line, 0.28, 6, flat=0.4))
    return join_meshes(sides)


def _headscarf(skull: Skull) -> Mesh:
    """Return a cloth from the edge of the face backwards over head and neck."""
    angle = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    edge = np.stack([6.9 * cos, 0.5 + 8.4 * sin, 4.6 + 4.4 * sin**2], -1) - np.array([0, 4.0, 0.5])
    start = edge / np.linalg.norm(edge, axis=1, keepdims=True)
    below = np.clip(-sin - 0.3, 0, 1)[:, None]
    end = np.array([0, 0.1, -1.0]) * (1 - below) + np.array([0, -1.0, -0.35]) * below
    t = np.linspace(0, 1, 16)[:, None, None]
    bulge = 0.6 * t * (1 - t) * np.stack([cos, sin, np.zeros(64)], -1)
    direction = start * (1 - t) + end * t + bulge
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    near = [
        skull_radius(skull, direction + np.array(d))
        for d in ((0.12, 0, 0), (-0.12, 0, 0), (0, 0.1, 0), (0, 0, 0))
    ]
    distance = np.maximum(np.mean(near, 0), skull_radius(skull, direction) - 0.2)
    folds = 0.10 * np.sin(9 * angle + 5 * t[..., 0]) * np.minimum(t[..., 0] * 3, 1)
    most = np.linalg.norm(edge, axis=1) + 0.15 + 16 * t[..., 0]  # close to the face, loose behind it
    hem = np.where(t[..., 0] == 0, 0.05, 0.55)
    distance = np.minimum(distance + hem + folds, most)
    return sheet_mesh(skull.centre + direction * distance[..., None], closed=True)
