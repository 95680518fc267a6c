"""Triangles of the head: normals, parts of parts, turns."""

import math

import numpy as np
from numpy.typing import NDArray

from maeface_studio.head.rig import Floats, Ints, Part


def normals_of(points: Floats, triangles: Ints) -> Floats:
    """Unit vertex normals weighted by area, (V, 3); zero where no triangle is."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    u, v = b - a, c - a
    across = np.stack(
        [
            u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1],
            u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2],
            u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0],
        ],
        -1,
    )
    corners = triangles.ravel()
    sums = [np.bincount(corners, np.repeat(across[:, axis], 3), len(points)) for axis in range(3)]
    normals = np.stack(sums, -1)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9), np.float32)


def split(part: Part, chosen: NDArray[np.bool_]) -> tuple[Part, Part]:
    """A part as two: the chosen triangles, and the others."""
    one, other = (Part(part.vertices, part.uv, part.triangles[rows]) for rows in (chosen, ~chosen))
    return one, other


def whole(*parts: Part) -> Ints:
    """The triangles of parts together, in vertices of the head, (T, 3)."""
    return np.concatenate([part.vertices[part.triangles] for part in parts]).astype(np.int32)


def rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """(3, 3) from degrees: yaw (to the viewer's right), then pitch (up), then roll (clockwise as seen)."""
    cy, sy, cp, sp, cr, sr = *_both(yaw), *_both(-pitch), *_both(-roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y, np.float32)


def frame(axis: Floats) -> tuple[Floats, Floats]:
    """Two unit vectors across a unit vector (3,) and across one another; the second points more upwards."""
    upright = np.array([0, 1, 0] if abs(axis[1]) < 0.9 else [1, 0, 0], axis.dtype)
    right = np.cross(upright, axis)
    right /= np.linalg.norm(right)
    return right, np.cross(axis, right)


def _both(degrees: float) -> tuple[float, float]:
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
