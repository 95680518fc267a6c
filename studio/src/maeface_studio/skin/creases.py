"""Creases of the skin along lines on the neutral head: a furrow with raised sides, or a bulge.

A line is given as seen from the front and projected onto the surface, so that its width is measured along
the skin. F texels a side, N points of a line.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from maeface_studio.head.curves import sample_segments
from maeface_studio.head.mesh import Floats, Ints
from maeface_studio.skin.texel_maps import FACE_TEXELS, nearest_point, texel_window

_BIN_CM = 0.1
_BINS = 260


class Crease(NamedTuple):
    """A crease on the left of the image; the other side of the face gets its mirror image."""

    line: tuple[tuple[float, float], ...]
    """Points (x, y) in cm, as seen from the front."""
    depth: float
    """cm; negative for a bulge."""
    width: float = 0.11
    """Half width in cm."""
    ridge: float = 0.45
    """Height of the raised sides, as a fraction of the depth."""
    lean: float = 0.0
    """-1..1: how much higher the side to the left of the line's direction is; lower if negative."""
    taper: float = 0.3
    """Fraction of the line at each end over which the crease fades."""


def carve_creases(face: Floats, creases: Iterable[Crease]) -> Floats:
    """Return the height of creases in cm, negative in a furrow, (F, F).

    Args:
        face: the position of each texel, (F, F, 3) cm.
        creases: on one side; all are mirrored.
    """
    front = _front_texels(face)
    height = np.zeros(face.shape[:2], np.float32)
    for crease in creases:
        _add_crease(height, face, front, crease)
    # A line may run past the middle so as not to fade there; beyond it the mirror image applies.
    return np.where(face[..., 0] <= 0, height, height[:, ::-1])


def _front_texels(face: Floats) -> Ints:
    """Return the flat index of the foremost texel in each square as seen from the front, (bins, bins)."""
    half = face[:, : FACE_TEXELS // 2 + 24].reshape(-1, 3)  # a little past the middle
    order = np.argsort(half[:, 2], kind="stable")
    bins = np.clip(half[order, :2] / _BIN_CM + _BINS / 2, 0, _BINS - 1).astype(int)
    grid = np.full((_BINS, _BINS), -1, np.int32)
    grid[bins[:, 1], bins[:, 0]] = order
    return grid


def _project_line(face: Floats, front: Ints, line: Floats) -> tuple[Floats, Floats]:
    """Return positions (N, 3) and texture points (N, 2; column, row) of a line (N, 2) seen from the front."""
    bins = np.clip(line / _BIN_CM + _BINS / 2, 0, _BINS - 1).astype(int)
    index = front[bins[:, 1], bins[:, 0]]
    line, index = line[index >= 0], index[index >= 0]
    row, column = np.divmod(index, FACE_TEXELS // 2 + 24)
    # The foremost texel of a square lies up to a square off the line: take the nearest one around it.
    step = np.arange(-5, 6)
    near_row = np.clip(row[:, None, None] + step[:, None], 0, FACE_TEXELS - 1)
    near_column = np.clip(column[:, None, None] + step[None, :], 0, FACE_TEXELS - 1)
    near = face[near_row, near_column]
    distance = np.hypot(near[..., 0] - line[:, 0, None, None], near[..., 1] - line[:, 1, None, None])
    distance = distance - 0.05 * near[..., 2]
    best = distance.reshape(len(line), -1).argmin(-1)
    row, column = row + step[best // len(step)], column + step[best % len(step)]
    positions = face[np.clip(row, 0, FACE_TEXELS - 1), column].astype(np.float64)
    positions[:, :2] = line
    return _running_mean(positions), _running_mean(np.stack([column, row], -1).astype(np.float64))


def _running_mean(curve: Floats) -> Floats:
    """Return the running mean over nine points, the ends continued by odd reflection."""
    ends = np.pad(curve, ((4, 4), (0, 0)), "reflect", reflect_type="odd")
    total = np.cumsum(np.pad(ends, ((1, 0), (0, 0))), axis=0)
    return np.asarray((total[9:] - total[:-9]) / 9)


def _add_crease(height: Floats, face: Floats, front: Ints, crease: Crease) -> None:
    curve = sample_segments(np.array(crease.line, np.float64), closed=False, steps=24)
    positions, points = _project_line(face, front, curve)
    reach = crease.width * 5.5
    rows, columns = texel_window(points, reach / 0.022)
    distance, index = nearest_point(face[rows, columns], positions)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(positions, axis=0), axis=1))])
    along = (length / length[-1])[index]
    tangent = np.gradient(points, axis=0)[index]
    row, column = np.mgrid[rows, columns]
    offset = np.stack([column, row], -1) - points[index]
    across = tangent[..., 0] * offset[..., 1] - tangent[..., 1] * offset[..., 0]
    side = np.tanh(across / (np.linalg.norm(tangent, axis=-1) * 4 + 1e-6))
    fade = np.clip(np.minimum(along, 1 - along) / max(crease.taper, 1e-3), 0, 1)
    fade = fade * fade * (3 - 2 * fade)
    d = distance / crease.width
    profile = -np.exp(-(d**2)) + crease.ridge * (1 + crease.lean * side) * np.exp(-(((d - 2.2) / 1.1) ** 2))
    height[rows, columns] += (crease.depth * profile * fade).astype(np.float32)
