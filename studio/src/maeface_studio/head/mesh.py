"""Triangle meshes of the head: parts, vertex normals, rotations. V vertices of the head, T triangles."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class MeshPart:
    """One material of the head as a triangle mesh of P vertices; a vertex on a texture seam occurs twice."""

    vertices: Ints
    """Index into the vertices of the head, (P,)."""
    uv: Floats
    """Texture coordinates on 0..1 within the part's own tile, (P, 2)."""
    triangles: Ints
    """(T, 3), into ``vertices``."""


def vertex_normals(vertices: Floats, triangles: Ints) -> Floats:
    """Return unit vertex normals weighted by triangle area, (V, 3); zero for vertices without triangles."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    u, v = b - a, c - a
    cross = np.stack(
        [
            u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1],
            u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2],
            u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0],
        ],
        -1,
    )
    corners = triangles.ravel()
    sums = [np.bincount(corners, np.repeat(cross[:, axis], 3), len(vertices)) for axis in range(3)]
    normals = np.stack(sums, -1)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9), np.float32)


def split_part(part: MeshPart, mask: NDArray[np.bool_]) -> tuple[MeshPart, MeshPart]:
    """Split a part by a mask (T,) of its triangles: those inside the mask, and those outside."""
    inside, outside = (MeshPart(part.vertices, part.uv, part.triangles[rows]) for rows in (mask, ~mask))
    return inside, outside


def join_triangles(*parts: MeshPart) -> Ints:
    """Return the triangles of several parts as indices into the vertices of the head, (T, 3)."""
    return np.concatenate([part.vertices[part.triangles] for part in parts]).astype(np.int32)


def rotation_matrix(yaw: float, pitch: float, roll: float) -> Floats:
    """Return a rotation (3, 3) from degrees.

    Args:
        yaw: applied first, to the viewer's right.
        pitch: applied second, upwards.
        roll: applied last, clockwise as seen by the viewer.
    """
    cy, sy, cp, sp, cr, sr = *_cos_sin(yaw), *_cos_sin(-pitch), *_cos_sin(-roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y, np.float32)


def perpendicular_axes(axis: Floats) -> tuple[Floats, Floats]:
    """Return two unit vectors perpendicular to a unit vector (3,) and to each other; the second points up."""
    up = np.array([0, 1, 0] if abs(axis[1]) < 0.9 else [1, 0, 0], axis.dtype)
    right = np.cross(up, axis)
    right /= np.linalg.norm(right)
    return right, np.cross(axis, right)


def _cos_sin(degrees: float) -> tuple[float, float]:
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
