"""The outside of a head as a radius per direction, which hair lies on and hats are cut from; its hairline.

V vertices of the head. Coordinates are cm: x to the viewer's right, y up, z towards the viewer.
"""

import math
from typing import NamedTuple

import numpy as np

from maeface_studio.head.mesh import Floats
from maeface_studio.head.rig import Rig

ORIGIN = np.array([0.0, 4.0, 0.5], np.float32)
"""Where the rays start on the neutral head, cm."""

ROWS, COLUMNS = 36, 72


class Skull(NamedTuple):
    """The distance from a point inside the head to its outermost surface in every direction."""

    centre: Floats
    """Where the rays start, (3,) cm."""
    radius: Floats
    """(ROWS, COLUMNS) cm; rows from straight down to straight up, columns by azimuth from the back."""


def measure_skull(rig: Rig, head: Floats) -> Skull:
    """Measure the outside of a head (V, 3) in cm, at rest."""
    a, b, c = (head[rig.skin[:, i]] for i in range(3))
    samples = np.concatenate([a, (a + b) / 2, (b + c) / 2, (a + c) / 2, (a + b + c) / 3])
    centre = ORIGIN + identity_offset(rig, head, ORIGIN + np.array([0, 10, 0], np.float32)) / 2
    row, column, distance = _to_grid(samples - centre)
    cell = np.rint(row).astype(int) * COLUMNS + np.rint(column).astype(int) % COLUMNS
    radius = np.zeros(ROWS * COLUMNS, np.float32)
    np.maximum.at(radius, cell, distance)
    return Skull(centre, _fill_gaps(radius.reshape(ROWS, COLUMNS)))


def skull_radius(skull: Skull, directions: Floats) -> Floats:
    """Return the distance of the surface in cm along directions (..., 3) of any length; (...)."""
    row, column, _ = _to_grid(directions)
    r0 = np.clip(row.astype(int), 0, ROWS - 2)
    fr, c0 = row - r0, np.floor(column).astype(int)
    fc = column - c0
    c0, c1 = c0 % COLUMNS, (c0 + 1) % COLUMNS
    low = skull.radius[r0, c0] * (1 - fc) + skull.radius[r0, c1] * fc
    high = skull.radius[r0 + 1, c0] * (1 - fc) + skull.radius[r0 + 1, c1] * fc
    return np.asarray(low * (1 - fr) + high * fr, np.float32)


def clamp_height(
    skull: Skull, points: Floats, least: Floats | float, most: Floats | float = math.inf
) -> Floats:
    """Move points (..., 3) along their ray to a height of ``least`` to ``most`` cm above the surface."""
    offset = points - skull.centre
    distance = np.maximum(np.linalg.norm(offset, axis=-1), 1e-3)
    surface = skull_radius(skull, offset)
    least = surface + least
    # Rays graze the neck, where the shoulders behind it would count as its surface.
    least = np.minimum(least, distance + 3 * np.clip((points[..., 1] + 2.5) / 2, 0, 1))
    clamped = np.clip(distance, least, np.maximum(surface + most, least))
    return np.asarray(skull.centre + offset * (clamped / distance)[..., None], np.float32)


def identity_offset(rig: Rig, head: Floats, point: Floats) -> Floats:
    """Return how far the skin nearest to a point (3,) of the neutral head lies from there, (3,) cm."""
    skin = np.unique(rig.parts["M_Face"].vertices)
    nearest = int(skin[((rig.neutral[skin] - np.asarray(point)) ** 2).sum(1).argmin()])
    return np.asarray(head[nearest] - rig.neutral[nearest], np.float32)


def hairline_depth(points: Floats, baldness: float) -> Floats:
    """Return how deep inside the scalp hair points (..., 3) of the neutral head lie, in cm; negative outside.

    The line runs over the forehead, down the temples, before and behind the ears to the nape.

    Args:
        points: cm.
        baldness: 0..1, how far the line has receded.
    """
    x, y, z = np.moveaxis(points, -1, 0)
    recede = 2.6 * baldness
    front = (
        y - (9.3 + recede) + 0.03 * (np.abs(x) - 3.0) ** 2 - 0.5 * np.cos(np.clip(x, -6, 6) * 0.9) * baldness
    )
    side = np.minimum(
        3.9 + np.clip(y - 4.5, 0, 9) * 0.42 - 0.8 * recede - z, y + np.where(z < -1.0, 7.0, -1.2)
    )
    return np.asarray(np.maximum(np.minimum(front, 9.0), np.minimum(side, y + 7.0)), np.float32)


def _to_grid(offsets: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the row and column of ``Skull.radius`` (fractional) and the length of offsets (..., 3)."""
    x, y, z = np.moveaxis(offsets, -1, 0)
    horizontal = np.hypot(x, z)
    row = (np.arctan2(y, horizontal) / math.pi + 0.5) * (ROWS - 1)
    column = (np.arctan2(x, z) / (2 * math.pi) + 0.5) * COLUMNS
    return row, column, np.hypot(horizontal, y)


def _fill_gaps(radius: Floats) -> Floats:
    """Give cells without a sample the mean of their neighbours, then widen and smooth columns a little."""
    for _ in range(24):
        if radius.all():
            break
        total, count = np.zeros_like(radius), np.zeros_like(radius)
        neighbours = (
            np.roll(radius, 1, 1), np.roll(radius, -1, 1), _shift_rows(radius, 1), _shift_rows(radius, -1),
        )  # fmt: skip
        for neighbour in neighbours:
            total += neighbour
            count += neighbour > 0
        radius = np.where(radius > 0, radius, total / np.maximum(count, 1))
    beside = np.maximum(np.roll(radius, 1, 1), np.roll(radius, -1, 1))
    return np.asarray(np.maximum(radius, (radius + beside) / 2), np.float32)


def _shift_rows(rows: Floats, by: int) -> Floats:
    shifted = np.roll(rows, by, 0)
    shifted[0 if by > 0 else -1] = 0
    return shifted
