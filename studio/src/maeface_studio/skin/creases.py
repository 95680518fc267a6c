"""Folds of the skin as lines over the neutral head: a furrow with raised sides, or a bulge, in cm.

A line is given as seen from the front and lifted onto the surface, so its width is measured along the skin.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from maeface_studio.head.rig import Floats, Ints
from maeface_studio.skin.canvas import FACE_TEXELS, nearest, spline, window

_BIN_CM = 0.1
_BINS = 260


class Crease(NamedTuple):
    """A fold along a line on the left of the picture; the other side of the face gets its mirror image."""

    line: tuple[tuple[float, float], ...]
    """Points (x, y) in cm, as seen from the front."""
    depth: float
    """cm; negative for a bulge."""
    width: float = 0.11
    """Half width in cm."""
    ridge: float = 0.45
    """Height of the raised sides, as a share of the depth."""
    lean: float = 0.0
    """-1..1: how much higher the side to the left of the line's direction is (less, if negative)."""
    taper: float = 0.3
    """Share of the line at each end over which the fold fades."""


def carved(face: Floats, creases: Iterable[Crease]) -> Floats:
    """The height of folds in cm, negative in a furrow, (F, F).

    Args:
        face: the place of each texel, (F, F, 3) cm.
        creases: lines on one side; all are mirrored.
    """
    front = _front(face)
    height = np.zeros(face.shape[:2], np.float32)
    for crease in creases:
        _carve(height, face, front, crease)
    # lines may run past the middle so as not to fade there; what lies past it is the mirror image's
    return np.where(face[..., 0] <= 0, height, height[:, ::-1])


def _front(face: Floats) -> Ints:
    """The texel that lies foremost in each square as seen from the front, (bins, bins) flat indices."""
    half = face[:, : FACE_TEXELS // 2 + 24].reshape(-1, 3)  # a little past the middle
    order = np.argsort(half[:, 2], kind="stable")
    bins = np.clip(half[order, :2] / _BIN_CM + _BINS / 2, 0, _BINS - 1).astype(int)
    grid = np.full((_BINS, _BINS), -1, np.int32)
    grid[bins[:, 1], bins[:, 0]] = order
    return grid


def _lifted(face: Floats, front: Ints, line: Floats) -> tuple[Floats, Floats]:
    """Places (N, 3) and texture points (N, 2; column, row) of a line (N, 2) seen from the front."""
    bins = np.clip(line / _BIN_CM + _BINS / 2, 0, _BINS - 1).astype(int)
    found = front[bins[:, 1], bins[:, 0]]
    line, found = line[found >= 0], found[found >= 0]
    row, column = np.divmod(found, FACE_TEXELS // 2 + 24)
    # the square's foremost texel lies up to a square off the line: take the nearest one about it
    step = np.arange(-5, 6)
    near_row = np.clip(row[:, None, None] + step[:, None], 0, FACE_TEXELS - 1)
    near_column = np.clip(column[:, None, None] + step[None, :], 0, FACE_TEXELS - 1)
    off = face[near_row, near_column]
    far = np.hypot(off[..., 0] - line[:, 0, None, None], off[..., 1] - line[:, 1, None, None])
    far = far - 0.05 * off[..., 2]
    best = far.reshape(len(line), -1).argmin(-1)
    row, column = row + step[best // len(step)], column + step[best % len(step)]
    places = face[np.clip(row, 0, FACE_TEXELS - 1), column].astype(np.float64)
    places[:, :2] = line
    return _smooth(places), _smooth(np.stack([column, row], -1).astype(np.float64))


def _smooth(curve: Floats) -> Floats:
    """A running mean over nine points, shorter at the ends."""
    ends = np.pad(curve, ((4, 4), (0, 0)), "reflect", reflect_type="odd")
    total = np.cumsum(np.pad(ends, ((1, 0), (0, 0))), axis=0)
    return np.asarray((total[9:] - total[:-9]) / 9)


def _carve(height: Floats, face: Floats, front: Ints, crease: Crease) -> None:
    curve = spline(np.array(crease.line, np.float64), closed=False, steps=24)
    places, texels = _lifted(face, front, curve)
    reach = crease.width * 5.5
    rows, columns = window(texels, reach / 0.022)
    distance, which = nearest(face[rows, columns], places)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(places, axis=0), axis=1))])
    along = (length / length[-1])[which]
    tangent = np.gradient(texels, axis=0)[which]
    row, column = np.mgrid[rows, columns]
    offset = np.stack([column, row], -1) - texels[which]
    across = tangent[..., 0] * offset[..., 1] - tangent[..., 1] * offset[..., 0]
    side = np.tanh(across / (np.linalg.norm(tangent, axis=-1) * 4 + 1e-6))
    fade = np.clip(np.minimum(along, 1 - along) / max(crease.taper, 1e-3), 0, 1)
    fade = fade * fade * (3 - 2 * fade)
    d = distance / crease.width
    profile = -np.exp(-(d**2)) + crease.ridge * (1 + crease.lean * side) * np.exp(-(((d - 2.2) / 1.1) ** 2))
    height[rows, columns] += (crease.depth * profile * fade).astype(np.float32)
