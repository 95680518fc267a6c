"""Hats and scarves over the skull of a head: above the brows, and around the face."""

import math

import numpy as np

from maeface_studio.hair.scalp import HAT_RIM
from maeface_studio.head.rig import Floats, Rig
from maeface_studio.head.skull import Skull, reach, shift, skull
from maeface_studio.worn.solids import Colour, Mesh, Thing, joined, sheet, smooth, thing, tube

BEANIE, CAP, BRIMMED, HEADSCARF, HELMET = range(1, 6)

_AROUND = 56
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


def hat(kind: int, tint: int, rig: Rig, head: Floats) -> list[Thing]:
    """A hat.

    Args:
        kind: ``Look.hat``, at least 1.
        tint: any number; which of the kind's colours.
        rig: the head's rig.
        head: (V, 3) cm at rest.
    """
    over = skull(rig, head)
    if kind == HEADSCARF:
        return [thing(_headscarf(over), _SILKS[tint % len(_SILKS)], roughness=0.7)]
    rim = _rim(over, kind)
    if kind == BEANIE:
        wool = _WOOLS[tint % len(_WOOLS)]
        body = _dome(over, rim, 0.55, 1.1)
        ribs = 0.85 + 0.05 * np.cos(np.arange(_AROUND) * np.pi)
        return [thing(joined([body, _band(over, rim, ribs, 0.42)]), wool, roughness=0.95)]
    if kind == CAP:
        body = joined(
            [_dome(over, rim, 0.55, 0.9), _band(over, rim, np.full(_AROUND, 0.6), 0.10), _visor(over, rim)]
        )
        return [thing(body, _WOOLS[tint % len(_WOOLS)], roughness=0.85)]
    if kind == BRIMMED:
        straw = _STRAWS[tint % len(_STRAWS)]
        dark: Colour = (straw[0] * 0.25, straw[1] * 0.25, straw[2] * 0.25)
        crown = thing(joined([_dome(over, rim, 0.6, 2.2), _brim(over, rim)]), straw, roughness=0.9)
        return [crown, thing(_band(over, rim, np.full(_AROUND, 0.85), 0.22), dark, roughness=0.8)]
    shell = thing(
        joined([_dome(over, rim, 1.5, 2.2), _lip(over, rim, 1.5)]),
        _SHELLS[tint % len(_SHELLS)],
        roughness=0.3,
    )
    return [shell, thing(_straps(rig, head), (0.02, 0.02, 0.02), roughness=0.7)]


def _rim(over: Skull, kind: int) -> Floats:
    """Elevation of the rim in every direction around, (_AROUND,) radians from below the horizon."""
    height, slope = HAT_RIM[kind]
    up = np.linspace(-1.0, 1.2, 120)
    points = (
        over.centre
        + _ray(up[:, None], _azimuths()[None]) * _reach(over, up[:, None], _azimuths()[None])[..., None]
    )
    above = points[..., 1] > height + slope * points[..., 2]
    return np.asarray(up[above.argmax(0)], np.float32)


def _azimuths() -> Floats:
    """Directions around, from the front, (_AROUND,) radians."""
    return np.linspace(0, 2 * math.pi, _AROUND, endpoint=False)


def _ray(up: Floats, around: Floats) -> Floats:
    up, around = np.broadcast_arrays(up, around)
    return np.stack([np.cos(up) * np.sin(around), np.sin(up), np.cos(up) * np.cos(around)], -1)


def _reach(over: Skull, up: Floats, around: Floats) -> Floats:
    """The skull's distance, smoothed as cloth would: without ears and brow ridges."""
    spread = [reach(over, _ray(up + 0.1, around + d)) for d in (-0.3, -0.15, 0.0, 0.15, 0.3)]
    return np.asarray(np.maximum(np.mean(spread, 0), reach(over, _ray(up, around)) - 0.25), np.float32)


def _dome(over: Skull, rim: Floats, least: float, top: float, rows: int = 12) -> Mesh:
    """A shell from the rim to the top: ``least`` and ``top`` cm over the skull."""
    share = np.linspace(0, 1, rows)[:, None]
    up = rim[None] + (math.pi / 2 - 0.02 - rim[None]) * share
    around = np.broadcast_to(_azimuths()[None], up.shape)
    over_cm = least + (top - least) * np.sin(share * math.pi / 2)
    distance = _reach(over, up, around) + over_cm
    return sheet(over.centre + _ray(up, around) * distance[..., None], closed=True)


def _band(over: Skull, rim: Floats, over_cm: Floats, tall: float) -> Mesh:
    """A turned-up band along the rim, ``tall`` radians high."""
    share = np.array([-0.02, 0.0, 0.25, 0.5, 0.75, 1.0, 1.02])[:, None]
    bulge = np.array([-0.5, 0.0, 0.12, 0.15, 0.12, 0.0, -0.5])[:, None]
    up = rim[None] + tall * share
    around = np.broadcast_to(_azimuths()[None], up.shape)
    distance = (
        _reach(over, np.broadcast_to(rim[None] + tall * share * 0.9, up.shape), around)
        + over_cm[None]
        + bulge
    )
    return sheet(over.centre + _ray(up, around) * distance[..., None], closed=True)


def _edge(over: Skull, rim: Floats, around: Floats, over_cm: float) -> Floats:
    """Points of the rim, (C, 3)."""
    up = np.interp(around % (2 * math.pi), np.append(_azimuths(), 2 * math.pi), np.append(rim, rim[0]))
    return np.asarray(
        over.centre + _ray(up, around) * (_reach(over, up, around) + over_cm)[:, None], np.float32
    )


def _visor(over: Skull, rim: Floats) -> Mesh:
    around = np.linspace(-1.05, 1.05, 25)
    edge = _edge(over, rim, around, 0.5)
    share = np.linspace(0, 1, 7)[:, None]
    far = 6.6 * np.cos(around / 1.05 * math.pi / 2) ** 0.6
    x = edge[:, 0] * (1 + 0.05 * share)
    z = edge[:, 2] + far * share
    y = edge[:, 1] - 0.10 * far * share - 0.022 * x**2 * share
    top = np.stack([x, y, z], -1)
    return joined([sheet(top), sheet(top[:, ::-1] - np.array([0, 0.18, 0]))])


def _brim(over: Skull, rim: Floats) -> Mesh:
    around = _azimuths()
    edge = _edge(over, rim, around, 0.4)
    out = _ray(np.zeros(_AROUND), around)
    share = np.linspace(0, 1, 6)[:, None, None]
    wide = edge + out * 5.5 * share
    wide[..., 1] += (0.9 * np.sin(around) ** 2 - 0.8 * np.cos(around) ** 2) * share[..., 0] ** 2
    return joined([sheet(wide, closed=True), sheet(wide[:, ::-1] - np.array([0, 0.15, 0]), closed=True)])


def _lip(over: Skull, rim: Floats, over_cm: float) -> Mesh:
    return tube(_edge(over, rim, _azimuths(), over_cm - 0.25), 0.3, 8, closed=True)


def _straps(rig: Rig, head: Floats) -> Mesh:
    chin = np.array([0, -8.4, 8.2]) + shift(rig, head, np.array([0, -8.0, 9.5]))
    sides = []
    for side in (-1, 1):
        jaw = np.array([side * 7.0, -2.6, 3.2]) + shift(rig, head, np.array([side * 6.9, -2.6, 3.2]))
        top = np.array([side * 8.3, 4.0, 2.6]) + shift(rig, head, np.array([side * 7.7, 4.0, 2.6]))
        sides.append(
            tube(smooth([top, jaw * [1.06, 1, 1], [side * 4.6, -7.2, 6.6], chin], 14), 0.28, 6, flat=0.4)
        )
    return joined(sides)


def _headscarf(over: Skull) -> Mesh:
    """Cloth from the edge of the face backwards over head and neck."""
    turn = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    cos, sin = np.cos(turn), np.sin(turn)
    edge = np.stack([6.9 * cos, 0.5 + 8.4 * sin, 4.6 + 4.4 * sin**2], -1) - np.array([0, 4.0, 0.5])
    start = edge / np.linalg.norm(edge, axis=1, keepdims=True)
    pole = np.array([0, 0.1, -1.0])
    below = np.clip(-sin - 0.3, 0, 1)[:, None]
    goal = pole * (1 - below) + np.array([0, -1.0, -0.35]) * below
    share = np.linspace(0, 1, 16)[:, None, None]
    way = (
        start * (1 - share)
        + goal * share
        + 0.6 * share * (1 - share) * np.stack([cos, sin, np.zeros(64)], -1)
    )
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    spread = [reach(over, way + np.array(d)) for d in ((0.12, 0, 0), (-0.12, 0, 0), (0, 0.1, 0), (0, 0, 0))]
    distance = np.maximum(np.mean(spread, 0), reach(over, way) - 0.2)
    folds = 0.10 * np.sin(9 * turn + 5 * share[..., 0]) * np.minimum(share[..., 0] * 3, 1)
    near = np.linalg.norm(edge, axis=1) + 0.15 + 16 * share[..., 0]  # close to the face, loose behind it
    hem = np.where(share[..., 0] == 0, 0.05, 0.55)
    distance = np.minimum(distance + hem + folds, near)
    return sheet(over.centre + way * distance[..., None], closed=True)
