"""Clothes: shoulders, necklines, collars, as smooth sheets around the neck and chest of the rig."""

import numpy as np

from maeface_studio.cast.appearance import Clothes
from maeface_studio.head.curves import sample_curve
from maeface_studio.head.mesh import Floats
from maeface_studio.head.rig import Rig
from maeface_studio.head.skull import identity_offset
from maeface_studio.worn.meshes import (
    Colour,
    MaterialMesh,
    Mesh,
    join_meshes,
    sheet_mesh,
    tube_mesh,
    with_material,
)

_COLUMNS = 72
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


def make_clothes(kind: Clothes, colour: Colour, tint: int, rig: Rig, head: Floats) -> list[MaterialMesh]:
    """Return the clothes of a subject.

    Args:
        kind: cut.
        colour: of the outer garment, linear RGB.
        tint: any number; selects the colour of shirt and tie.
        rig: the head's rig.
        head: (V, 3) cm at rest.
    """
    neck = np.array([0, -11.5, 4.6], np.float32)
    offset = identity_offset(rig, head, neck)
    skin = head[np.unique(rig.skin)]
    x, y, z = skin.T
    shoulders = (y < -9.5) & (np.hypot(x, z + 1) > 6.2) & ((np.abs(x) > 7) | (z < 1))
    skin = skin[shoulders]
    shirt = _SHIRTS[tint % len(_SHIRTS)]

    def place(mesh: Mesh, colour: Colour, roughness: float = 0.85, height: float = 0.3) -> MaterialMesh:
        return with_material(
            Mesh(_raise_above(mesh.vertices + offset * [0.5, 1, 0.5], skin, height), mesh.triangles),
            colour,
            roughness=roughness,
        )

    if kind == Clothes.V_NECK:
        return [place(_shoulders(deep=2.4, sharp=7.0), colour)]
    if kind == Clothes.HOODIE:
        hood = tube_mesh(_raised_ring(0, 0.9, 0.4), _thickness(0.8, 1.9), 12, closed=True)
        return [place(join_meshes([_shoulders(), hood]), colour, 0.95)]
    if kind == Clothes.SHIRT:
        return [
            place(join_meshes([_shoulders(deep=0.8, sharp=12.0), _collar()]), shirt if tint % 2 else colour)
        ]
    if kind == Clothes.SHIRT_AND_TIE:
        return [
            place(join_meshes([_shoulders(), _collar()]), shirt),
            place(_tie(), _TIES[tint % len(_TIES)], 0.5),
        ]
    if kind == Clothes.SUIT:
        dark: Colour = (colour[0] * 0.5, colour[1] * 0.5, colour[2] * 0.5)
        jacket = join_meshes([_shoulders(deep=4.8, sharp=3.5, over=0.8), _lapels()])
        inner = place(join_meshes([_shoulders(), _collar()]), shirt)
        return [inner, place(jacket, dark, height=0.9), place(_tie(), _TIES[tint % len(_TIES)], 0.5)]
    rib = tube_mesh(_raised_ring(0, 0.0, 0.05), 0.28, 8, closed=True)
    return [place(join_meshes([_shoulders(), rib]), colour)]


def _azimuths() -> Floats:
    """Return azimuths around the neck from the front, (_COLUMNS,) radians."""
    return np.linspace(0, 2 * np.pi, _COLUMNS, endpoint=False)


def _ring(row: int, over: float = 0.0) -> Floats:
    """Return one ring of the shoulders, ``over`` cm wider, (_COLUMNS, 3) cm."""
    wide, front, back, *heights = _RINGS[row]
    cos, sin = np.cos(_azimuths()), np.sin(_azimuths())
    ahead, behind = np.clip(cos, 0, 1) ** 1.4, np.clip(-cos, 0, 1) ** 1.4
    y = heights[1] + (heights[0] - heights[1]) * ahead + (heights[2] - heights[1]) * behind
    depth = np.where(cos > 0, front + 1.0, -back - 1.0)
    full = 0.85 if row > 2 else 1.0  # shoulders are boxier than the neck
    z = -1.0 + np.sign(cos) * np.abs(cos) ** full * (depth + over)
    return np.stack([(wide + over) * np.sign(sin) * np.abs(sin) ** full, y + over * 0.6, z], -1)


def _raised_ring(row: int, up: float, over: float) -> Floats:
    return np.asarray(_ring(row, over) + np.array([0, up, 0]), np.float32)


def _thickness(front: float, back: float) -> Floats:
    behind = (1 - np.cos(_azimuths())) / 2
    return np.asarray(front + (back - front) * behind**2, np.float32)


def _shoulders(deep: float = 0.0, sharp: float = 1.0, over: float = 0.0) -> Mesh:
    """Return the shoulders from the neckline outwards.

    Args:
        deep: rings by which the neckline lies lower in front.
        sharp: the greater, the more it is a V.
        over: cm by which the rings are wider.
    """
    rings = np.stack([_ring(row, over) for row in range(len(_RINGS))])
    count = 2 * len(rings) - 1
    fine = sample_curve(rings.reshape(len(rings), -1), count).reshape(count, _COLUMNS, 3)
    ahead = np.clip(np.cos(_azimuths()), 0, 1) ** sharp
    row = 2 * deep * ahead + (count - 1 - 2 * deep * ahead) * np.linspace(0, 1, count)[:, None]
    low = np.minimum(row.astype(int), count - 2)
    t, column = (row - low)[..., None], np.arange(_COLUMNS)[None]
    points = fine[low, column] * (1 - t) + fine[low + 1, column] * t
    inward = points[0] * [0.97, 1, 0.97] - np.array([0, 0.6, 0])
    return sheet_mesh(np.concatenate([inward[None], points]), closed=True)


def _raise_above(points: Floats, skin: Floats, height: float) -> Floats:
    """Raise points (N, 3) to at least ``height`` cm above the skin (S, 3) under them."""
    near = ((points[:, None, [0, 2]] - skin[None, :, [0, 2]]) ** 2).sum(2) < 0.8
    highest = np.where(near, skin[None, :, 1], -99).max(1) + height
    raised = points.copy()
    raised[:, 1] = np.where((highest > points[:, 1]) & (highest < points[:, 1] + 4), highest, points[:, 1])
    return np.asarray(raised, np.float32)


def _collar() -> Mesh:
    """Return a band round the neck, folded over into two points in front."""
    azimuth = np.linspace(0.10, 2 * np.pi - 0.10, _COLUMNS)
    ring = _ring(0)
    neck = np.array([np.interp(azimuth, _azimuths(), ring[:, i], period=2 * np.pi) for i in range(3)]).T
    ahead = np.clip(np.cos(azimuth), 0, 1)
    point = np.exp(-(((np.minimum(azimuth, 2 * np.pi - azimuth) - 0.42) / 0.30) ** 2))
    inner = neck * [0.97, 1, 0.97]
    stand = 1.7 - 0.5 * ahead
    rows = [
        inner - [0, 0.5, 0],
        neck * [0.94, 1, 0.95] + stand[:, None] * [0, 1, 0] * 0.9,
        neck * [0.97, 1, 0.98] + stand[:, None] * [0, 1, 0],
        neck * [1.02, 1, 1.03] + stand[:, None] * [0, 1, 0] * 0.75,
    ]
    drop = (0.35 + 2.6 * point)[:, None] * [0, -1, 0]
    rows.append(neck * [1.10, 1, 1.06] + drop + (0.9 * point)[:, None] * [0, 0, 0.55])
    return sheet_mesh(np.stack(rows))


def _tie() -> Mesh:
    rows = []
    for y, wide, z, bulge in (
        (-11.7, 0.85, 5.5, 0.2), (-12.0, 0.98, 5.75, 0.45), (-12.8, 0.80, 6.2, 0.55),
        (-13.5, 0.58, 6.6, 0.45), (-13.8, 0.62, 6.5, 0.2),
        (-17.0, 1.3, 7.9, 0.2), (-24.0, 2.1, 9.3, 0.2), (-32.0, 2.6, 9.6, 0.2),
    ):  # fmt: skip
        across = np.linspace(-1, 1, 7)
        rows.append(np.stack([wide * across, np.full(7, y), z + bulge * np.sqrt(1 - 0.9 * across**2)], -1))
    return sheet_mesh(np.stack(rows)[:, ::-1])


def _lapels() -> Mesh:
    """Return the folded edges of a jacket from the sides of the neck to the button."""
    parts = []
    for side in (-1, 1):
        inner = sample_curve(
            [[6.6, -10.4, -3.5], [6.4, -11.2, 1.5], [4.4, -13.8, 6.4], [2.6, -18.0, 8.9], [0.6, -27.0, 10.2]],
            14,
        )
        outer = sample_curve(
            [[7.4, -10.9, -3.8], [8.2, -12.0, 2.2], [8.2, -15.2, 6.6], [7.0, -18.4, 8.8], [1.6, -27.0, 10.0]],
            14,
        )
        t = np.linspace(0, 1, 4)[:, None, None]
        strip = inner * (1 - t) + outer * t
        strip[..., 2] += 0.5 * np.sin(t[..., 0] * np.pi) + 0.35
        strip[..., 0] *= side
        parts.append(sheet_mesh(strip if side > 0 else strip[:, ::-1]))
    return join_meshes(parts)
