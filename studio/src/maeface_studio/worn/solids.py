"""Meshes of simple bodies: sheets, tubes, capsules, and the record of one that is drawn.

n vertices, m triangles; R rows and C columns of a sheet.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maeface_studio.head.mesh import normals_of
from maeface_studio.head.rig import Floats, Ints

Colour = tuple[float, float, float]


class Thing(NamedTuple):
    """A mesh of one material."""

    vertices: Floats
    """(n, 3) cm."""
    normals: Floats
    """(n, 3) unit."""
    triangles: Ints
    """(m, 3)."""
    colour: Colour
    """Linear RGB."""
    opacity: float
    roughness: float
    metal: float
    anchor: int
    """The vertex of the head whose displacement it follows; -1: none."""


class Mesh(NamedTuple):
    """Vertices (n, 3) and triangles (m, 3)."""

    vertices: Floats
    triangles: Ints


def thing(
    mesh: Mesh,
    colour: Colour,
    anchor: int = -1,
    roughness: float = 0.6,
    metal: float = 0.0,
    opacity: float = 1.0,
) -> Thing:
    """A mesh with its material and smooth normals."""
    vertices = np.asarray(mesh.vertices, np.float32)
    normals = normals_of(vertices, mesh.triangles)
    return Thing(vertices, normals, mesh.triangles, colour, opacity, roughness, metal, anchor)


def sheet(points: Floats, closed: bool = False) -> Mesh:
    """A sheet through points (R, C, 3); ``closed`` joins the last column to the first."""
    rows, columns, _ = points.shape
    index = np.arange(rows * columns).reshape(rows, columns)
    if closed:
        index = np.concatenate([index, index[:, :1]], 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return Mesh(np.asarray(points, np.float32).reshape(-1, 3), triangles.astype(np.int32))


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32),
        np.concatenate([m.triangles + f for m, f in zip(meshes, first, strict=False)]).astype(np.int32),
    )


def tube(
    line: Floats, radius: Floats | float, sides: int = 6, closed: bool = False, flat: float = 1.0
) -> Mesh:
    """A tube along a line (R, 3).

    Args:
        line: its middle, cm.
        radius: cm, one for all or (R,).
        sides: corners of its cross-section.
        closed: whether the line runs back into its start.
        flat: thickness across z over thickness in the plane of x and y, for rims that are plates.
    """
    line = np.asarray(line, np.float32)
    ways = np.roll(line, -1, 0) - np.roll(line, 1, 0) if closed else np.gradient(line, axis=0)
    ways = ways / np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-6)
    helper = np.where(np.abs(ways[:, 2:]) < 0.8, np.array([0, 0, 1.0]), np.array([0, 1.0, 0]))
    first = np.cross(ways, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-6)
    second = np.cross(first, ways)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    wide = np.broadcast_to(np.asarray(radius, np.float32), len(line))[:, None, None]
    around = (
        np.cos(turn)[None, :, None] * first[:, None] + flat * np.sin(turn)[None, :, None] * second[:, None]
    )
    points = line[:, None] + wide * around
    if closed:
        points = np.concatenate([points, points[:1]])
    return sheet(points[:, ::-1], closed=True)


def capsule(line: Floats, radius: Floats | float, sides: int = 12) -> Mesh:
    """A tube along a line (R, 3) with round ends."""
    line = np.asarray(line, np.float32)
    wide = np.broadcast_to(np.asarray(radius, np.float32), len(line))
    bow = np.array([0.0, 0.35, 0.7, 0.92])
    before, after = line[0] - line[1], line[-1] - line[-2]
    before, after = (way / max(float(np.linalg.norm(way)), 1e-6) for way in (before, after))
    tip = np.sqrt(1 - bow**2)
    start = line[0] + before * (tip * wide[0])[:, None]
    end = line[-1] + after * (tip[::-1] * wide[-1])[:, None]
    path = np.concatenate([start, line, end])
    return tube(path, np.concatenate([bow * wide[0], wide, bow[::-1] * wide[-1]]), sides)


def smooth(points: Sequence[Sequence[float] | Floats] | Floats, count: int) -> Floats:
    """A smooth line (count, 3) through given points (Catmull-Rom)."""
    given = np.asarray(points, np.float64)
    padded = np.concatenate([[2 * given[0] - given[1]], given, [2 * given[-1] - given[-2]]])
    at = np.linspace(0, len(given) - 1, count)
    low = np.minimum(at.astype(int), len(given) - 2)
    t = (at - low)[:, None]
    p0, p1, p2, p3 = (padded[low + k] for k in range(4))
    line = (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    return np.asarray(line / 2, np.float32)
