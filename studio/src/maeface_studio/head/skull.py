"""The outside of a head as one distance per direction: what hair lies on and what hats are cut from."""

import math
from typing import NamedTuple

import numpy as np

from maeface_studio.head.rig import Floats, Rig

MIDDLE = np.array([0.0, 4.0, 0.5], np.float32)
"""Where the rays start on the neutral head, cm."""

ROWS, COLUMNS = 36, 72


class Skull(NamedTuple):
    """Distance from a point inside the head to its outermost surface in every direction."""

    centre: Floats
    """(3,) cm."""
    reach: Floats
    """(ROWS, COLUMNS) cm, rows from straight down to straight up, columns around from the back."""


def skull(rig: Rig, head: Floats) -> Skull:
    """Measure a head.

    Args:
        rig: whose skin it is.
        head: (V, 3) cm, at rest.
    """
    a, b, c = (head[rig.skin[:, i]] for i in range(3))
    surface = np.concatenate([a, (a + b) / 2, (b + c) / 2, (a + c) / 2, (a + b + c) / 3])
    centre = MIDDLE + shift(rig, head, MIDDLE + np.array([0, 10, 0], np.float32)) / 2
    row, column, distance = _polar(surface - centre)
    cell = np.rint(row).astype(int) * COLUMNS + np.rint(column).astype(int) % COLUMNS
    reach = np.zeros(ROWS * COLUMNS, np.float32)
    np.maximum.at(reach, cell, distance)
    return Skull(centre, _filled(reach.reshape(ROWS, COLUMNS)))


def reach(skull: Skull, directions: Floats) -> Floats:
    """Distance of the surface in directions (..., 3) of any length; (...)."""
    row, column, _ = _polar(directions)
    r0 = np.clip(row.astype(int), 0, ROWS - 2)
    fr, c0 = row - r0, np.floor(column).astype(int)
    fc = column - c0
    c0, c1 = c0 % COLUMNS, (c0 + 1) % COLUMNS
    low = skull.reach[r0, c0] * (1 - fc) + skull.reach[r0, c1] * fc
    high = skull.reach[r0 + 1, c0] * (1 - fc) + skull.reach[r0 + 1, c1] * fc
    return np.asarray(low * (1 - fr) + high * fr, np.float32)


def kept(skull: Skull, points: Floats, least: Floats | float, most: Floats | float = math.inf) -> Floats:
    """Points (..., 3) moved along their ray to between ``least`` and ``most`` cm over the surface."""
    away = points - skull.centre
    distance = np.maximum(np.linalg.norm(away, axis=-1), 1e-3)
    surface = reach(skull, away)
    least = surface + least
    # Rays graze the neck, where the shoulders beyond would count as its surface.
    least = np.minimum(least, distance + 3 * np.clip((points[..., 1] + 2.5) / 2, 0, 1))
    wanted = np.clip(distance, least, np.maximum(surface + most, least))
    return np.asarray(skull.centre + away * (wanted / distance)[..., None], np.float32)


def shift(rig: Rig, head: Floats, place: Floats) -> Floats:
    """How far an identity has moved the skin nearest to a place on the neutral head, (3,) cm."""
    near = vertex(rig, place)
    return np.asarray(head[near] - rig.neutral[near], np.float32)


def vertex(rig: Rig, place: Floats) -> int:
    """The skin's vertex nearest to a place (3,) on the neutral head."""
    skin = np.unique(rig.parts["M_Face"].vertices)
    return int(skin[((rig.neutral[skin] - np.asarray(place)) ** 2).sum(1).argmin()])


def _polar(away: Floats) -> tuple[Floats, Floats, Floats]:
    x, y, z = np.moveaxis(away, -1, 0)
    flat = np.hypot(x, z)
    row = (np.arctan2(y, flat) / math.pi + 0.5) * (ROWS - 1)
    column = (np.arctan2(x, z) / (2 * math.pi) + 0.5) * COLUMNS
    return row, column, np.hypot(flat, y)


def _filled(found: Floats) -> Floats:
    """Directions that no sample met take the mean of their neighbours; then all are smoothed a little."""
    for _ in range(24):
        if found.all():
            break
        total, count = np.zeros_like(found), np.zeros_like(found)
        for turned in (np.roll(found, 1, 1), np.roll(found, -1, 1), _lifted(found, 1), _lifted(found, -1)):
            total += turned
            count += turned > 0
        found = np.where(found > 0, found, total / np.maximum(count, 1))
    beside = np.maximum(np.roll(found, 1, 1), np.roll(found, -1, 1))
    return np.asarray(np.maximum(found, (found + beside) / 2), np.float32)


def _lifted(rows: Floats, by: int) -> Floats:
    moved = np.roll(rows, by, 0)
    moved[0 if by > 0 else -1] = 0
    return moved
