"""Meshes of simple bodies (sheets, tubes, capsules) with their material.

N vertices, T triangles; R rows and C columns of a sheet.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maeface_studio.head.mesh import Floats, Ints, vertex_normals

Colour = tuple[float, float, float]


class MaterialMesh(NamedTuple):
    """A mesh with normals and one material."""

    vertices: Floats
    """(N, 3) cm."""
    normals: Floats
    """(N, 3) unit."""
    triangles: Ints
    """(T, 3)."""
    colour: Colour
    """Linear RGB."""
    opacity: float
    roughness: float
    metal: float
    anchor: int
    """The vertex of the head whose displacement it follows; -1 for none."""


class Mesh(NamedTuple):
    """Vertices (N, 3) in cm and triangles (T, 3)."""

    vertices: Floats
    triangles: Ints


def to_colour(rgb: Floats) -> Colour:
    """Return linear RGB (3,) as a tuple."""
    red, green, blue = (float(channel) for channel in rgb)
    return red, green, blue


def with_material(
    mesh: Mesh,
    colour: Colour,
    anchor: int = -1,
    roughness: float = 0.6,
    metal: float = 0.0,
    opacity: float = 1.0,
) -> MaterialMesh:
    """Return a mesh with smooth normals and its material."""
    vertices = np.asarray(mesh.vertices, np.float32)
    normals = vertex_normals(vertices, mesh.triangles)
    return MaterialMesh(vertices, normals, mesh.triangles, colour, opacity, roughness, metal, anchor)


def sheet_mesh(points: Floats, closed: bool = False) -> Mesh:
    """Return a sheet through points (R, C, 3); ``closed`` joins the last column to the first."""
    rows, columns, _ = points.shape
    index = np.arange(rows * columns).reshape(rows, columns)
    if closed:
        index = np.concatenate([index, index[:, :1]], 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return Mesh(np.asarray(points, np.float32).reshape(-1, 3), triangles.astype(np.int32))


def join_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """Join several meshes into one."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32),
        np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts, strict=False)]).astype(
            np.int32
        ),
    )


def tube_mesh(
    line: Floats, radius: Floats | float, sides: int = 6, closed: bool = False, flat: float = 1.0
) -> Mesh:
    """Return a tube along a line (R, 3).

    Args:
        line: its axis, cm.
        radius: cm, one for all or (R,).
        sides: corners of its cross-section.
        closed: whether the line ends where it starts.
        flat: thickness across z over thickness in the plane of x and y, for rims that are plates.
    """
    line = np.asarray(line, np.float32)
    directions = np.roll(line, -1, 0) - np.roll(line, 1, 0) if closed else np.gradient(line, axis=0)
    directions = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-6)
    helper = np.where(np.abs(directions[:, 2:]) < 0.8, np.array([0, 0, 1.0]), np.array([0, 1.0, 0]))
    first = np.cross(directions, helper)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-6)
    second = np.cross(first, directions)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    radii = np.broadcast_to(np.asarray(radius, np.float32), len(line))[:, None, None]
    ring = (
        np.cos(angle)[None, :, None] * first[:, None] + flat * np.sin(angle)[None, :, None] * second[:, None]
    )
    points = line[:, None] + radii * ring
    if closed:
        points = np.concatenate([points, points[:1]])
    return sheet_mesh(points[:, ::-1], closed=True)


def capsule_mesh(line: Floats, radius: Floats | float, sides: int = 12) -> Mesh:
    """Return a tube along a line (R, 3) with round ends."""
    line = np.asarray(line, np.float32)
    radii = np.broadcast_to(np.asarray(radius, np.float32), len(line))
    end_radii = np.array([0.0, 0.35, 0.7, 0.92])
    before, after = line[0] - line[1], line[-1] - line[-2]
    before, after = (offset / max(float(np.linalg.norm(offset)), 1e-6) for offset in (before, after))
    reach = np.sqrt(1 - end_radii**2)
    start = line[0] + before * (reach * radii[0])[:, None]
    end = line[-1] + after * (reach[::-1] * radii[-1])[:, None]
    path = np.concatenate([start, line, end])
    return tube_mesh(path, np.concatenate([end_radii * radii[0], radii, end_radii[::-1] * radii[-1]]), sides)
