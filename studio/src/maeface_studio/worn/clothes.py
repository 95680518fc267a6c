"""Shoulders and necklines below a head, as smooth sheets around the rig's own neck and chest."""

import numpy as np

from maeface_studio.head.rig import Floats, Rig
from maeface_studio.head.skull import shift
from maeface_studio.worn.solids import Colour, Mesh, Thing, joined, sheet, smooth, thing, tube

CREW, V_NECK, SHIRT, TIE, SUIT, HOODIE = range(6)

_AROUND = 72
_SHIRTS: tuple[Colour, ...] = ((0.72, 0.72, 0.73), (0.42, 0.52, 0.68), (0.70, 0.66, 0.60), (0.55, 0.40, 0.42))
_TIES: tuple[Colour, ...] = (
    (0.16, 0.012, 0.02),
    (0.012, 0.02, 0.09),
    (0.02, 0.06, 0.04),
    (0.03, 0.03, 0.035),
    (0.22, 0.12, 0.02),
)

_RINGS = (  # half width, front z, back z, and height in front, at the side, behind
    (5.9, 5.3, -7.2, -12.9, -10.6, -9.6),
    (7.2, 5.8, -8.0, -13.8, -11.4, -10.8),
    (9.2, 6.8, -9.0, -15.6, -12.6, -12.6),
    (13.0, 8.0, -10.2, -18.5, -14.2, -15.5),
    (17.0, 8.8, -11.0, -21.5, -15.8, -19.0),
    (19.6, 9.0, -11.0, -24.0, -18.2, -23.0),
    (20.8, 9.0, -10.5, -28.0, -24.0, -28.0),
    (21.2, 9.0, -10.5, -34.0, -33.0, -34.0),
)


def clothes(kind: int, colour: Colour, tint: int, rig: Rig, head: Floats) -> list[Thing]:
    """Clothes.

    Args:
        kind: ``Look.clothes``.
        colour: of the outer garment, linear RGB.
        tint: any number; which colour shirts and ties have.
        rig: the head's rig.
        head: (V, 3) cm at rest.
    """
    neck = np.array([0, -11.5, 4.6], np.float32)
    moved = shift(rig, head, neck)
    skin = head[np.unique(rig.skin)]
    x, y, z = skin.T
    shoulders = (y < -9.5) & (np.hypot(x, z + 1) > 6.2) & ((np.abs(x) > 7) | (z < 1))
    skin = skin[shoulders]
    shirt = _SHIRTS[tint % len(_SHIRTS)]

    def made(mesh: Mesh, of: Colour, roughness: float = 0.85, by: float = 0.3) -> Thing:
        return thing(
            Mesh(_clear(mesh.vertices + moved * [0.5, 1, 0.5], skin, by), mesh.triangles),
            of,
            roughness=roughness,
        )

    if kind == V_NECK:
        return [made(_shoulders(deep=2.4, sharp=7.0), colour)]
    if kind == HOODIE:
        hood = tube(_line(0, 0.9, 0.4), _thick(0.8, 1.9), 12, closed=True)
        return [made(joined([_shoulders(), hood]), colour, 0.95)]
    if kind == SHIRT:
        return [made(joined([_shoulders(deep=0.8, sharp=12.0), _collar()]), shirt if tint % 2 else colour)]
    if kind == TIE:
        return [
            made(joined([_shoulders(), _collar()]), shirt),
            made(_tie(), _TIES[tint % len(_TIES)], 0.5),
        ]
    if kind == SUIT:
        dark: Colour = (colour[0] * 0.5, colour[1] * 0.5, colour[2] * 0.5)
        jacket = joined([_shoulders(deep=4.8, sharp=3.5, over=0.8), _lapels()])
        inner = made(joined([_shoulders(), _collar()]), shirt)
        return [inner, made(jacket, dark, by=0.9), made(_tie(), _TIES[tint % len(_TIES)], 0.5)]
    rib = tube(_line(0, 0.0, 0.05), 0.28, 8, closed=True)
    return [made(joined([_shoulders(), rib]), colour)]


def _turns() -> Floats:
    """Around the neck from the front, (_AROUND,) radians."""
    return np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)


def _ring(row: int, over: float = 0.0) -> Floats:
    """One ring of the shoulders, (_AROUND, 3)."""
    wide, front, back, *heights = _RINGS[row]
    cos, sin = np.cos(_turns()), np.sin(_turns())
    ahead, behind = np.clip(cos, 0, 1) ** 1.4, np.clip(-cos, 0, 1) ** 1.4
    y = heights[1] + (heights[0] - heights[1]) * ahead + (heights[2] - heights[1]) * behind
    depth = np.where(cos > 0, front + 1.0, -back - 1.0)
    full = 0.85 if row > 2 else 1.0  # shoulders are boxier than the neck
    z = -1.0 + np.sign(cos) * np.abs(cos) ** full * (depth + over)
    return np.stack([(wide + over) * np.sign(sin) * np.abs(sin) ** full, y + over * 0.6, z], -1)


def _line(row: int, up: float, over: float) -> Floats:
    return np.asarray(_ring(row, over) + np.array([0, up, 0]), np.float32)


def _thick(front: float, back: float) -> Floats:
    behind = (1 - np.cos(_turns())) / 2
    return np.asarray(front + (back - front) * behind**2, np.float32)


def _shoulders(deep: float = 0.0, sharp: float = 1.0, over: float = 0.0) -> Mesh:
    """From the neckline outwards; in front from ``deep`` rings lower, in a V (more so the ``sharp``er)."""
    rings = np.stack([_ring(row, over) for row in range(len(_RINGS))])
    count = 2 * len(rings) - 1
    fine = smooth(rings.reshape(len(rings), -1), count).reshape(count, _AROUND, 3)
    ahead = np.clip(np.cos(_turns()), 0, 1) ** sharp
    at = 2 * deep * ahead + (count - 1 - 2 * deep * ahead) * np.linspace(0, 1, count)[:, None]
    low = np.minimum(at.astype(int), count - 2)
    share, column = (at - low)[..., None], np.arange(_AROUND)[None]
    points = fine[low, column] * (1 - share) + fine[low + 1, column] * share
    inward = points[0] * [0.97, 1, 0.97] - np.array([0, 0.6, 0])
    return sheet(np.concatenate([inward[None], points]), closed=True)


def _clear(points: Floats, skin: Floats, by: float) -> Floats:
    """Raise points (n, 3) to ``by`` cm above the skin that lies under them."""
    near = ((points[:, None, [0, 2]] - skin[None, :, [0, 2]]) ** 2).sum(2) < 0.8
    highest = np.where(near, skin[None, :, 1], -99).max(1) + by
    raised = points.copy()
    raised[:, 1] = np.where((highest > points[:, 1]) & (highest < points[:, 1] + 4), highest, points[:, 1])
    return np.asarray(raised, np.float32)


def _collar() -> Mesh:
    """A band round the neck, folded over into two points in front."""
    around = np.linspace(0.10, 2 * np.pi - 0.10, _AROUND)
    ring = _ring(0)
    at = np.array([np.interp(around, _turns(), ring[:, i], period=2 * np.pi) for i in range(3)]).T
    ahead = np.clip(np.cos(around), 0, 1)
    point = np.exp(-(((np.minimum(around, 2 * np.pi - around) - 0.42) / 0.30) ** 2))
    inner = at * [0.97, 1, 0.97]
    stand = 1.7 - 0.5 * ahead
    rows = [
        inner - [0, 0.5, 0],
        at * [0.94, 1, 0.95] + stand[:, None] * [0, 1, 0] * 0.9,
        at * [0.97, 1, 0.98] + stand[:, None] * [0, 1, 0],
        at * [1.02, 1, 1.03] + stand[:, None] * [0, 1, 0] * 0.75,
    ]
    drop = (0.35 + 2.6 * point)[:, None] * [0, -1, 0]
    rows.append(at * [1.10, 1, 1.06] + drop + (0.9 * point)[:, None] * [0, 0, 0.55])
    return sheet(np.stack(rows))


def _tie() -> Mesh:
    rows = []
    for y, wide, z, bulge in (
        (-11.7, 0.85, 5.5, 0.2), (-12.0, 0.98, 5.75, 0.45), (-12.8, 0.80, 6.2, 0.55),
        (-13.5, 0.58, 6.6, 0.45), (-13.8, 0.62, 6.5, 0.2),
        (-17.0, 1.3, 7.9, 0.2), (-24.0, 2.1, 9.3, 0.2), (-32.0, 2.6, 9.6, 0.2),
    ):  # fmt: skip
        across = np.linspace(-1, 1, 7)
        rows.append(np.stack([wide * across, np.full(7, y), z + bulge * np.sqrt(1 - 0.9 * across**2)], -1))
    return sheet(np.stack(rows)[:, ::-1])


def _lapels() -> Mesh:
    """Folded edges of a jacket from the neck's sides to the button."""
    parts = []
    for side in (-1, 1):
        inner = smooth(
            [[6.6, -10.4, -3.5], [6.4, -11.2, 1.5], [4.4, -13.8, 6.4], [2.6, -18.0, 8.9], [0.6, -27.0, 10.2]],
            14,
        )
        outer = smooth(
            [[7.4, -10.9, -3.8], [8.2, -12.0, 2.2], [8.2, -15.2, 6.6], [7.0, -18.4, 8.8], [1.6, -27.0, 10.0]],
            14,
        )
        share = np.linspace(0, 1, 4)[:, None, None]
        strip = inner * (1 - share) + outer * share
        strip[..., 2] += 0.5 * np.sin(share[..., 0] * np.pi) + 0.35
        strip[..., 0] *= side
        parts.append(sheet(strip if side > 0 else strip[:, ::-1]))
    return joined(parts)
