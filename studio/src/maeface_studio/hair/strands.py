"""Strands of hair: their roots on the skin, their colour, and short strands that lie along the skin.

N strands of P points each, R roots, T triangles, V vertices of the head.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast.appearance import Appearance
from maeface_studio.head.mesh import Floats, Ints, MeshPart
from maeface_studio.head.rig import Rig
from maeface_studio.skin.pigment import HAIR_TONES, srgb_to_linear
from maeface_studio.skin.texel_maps import TexelMaps

WHITE_HAIR = (172, 170, 166)
"""sRGB of a hair without pigment."""

SHORT_POINTS = 4
"""Points of a strand of brow, lash or beard."""


class Strands(NamedTuple):
    """Strands of one kind of hair."""

    points: Floats
    """(N, P, 3) cm on the head at rest, root first; P is ``SHORT_POINTS``, on the scalp the style's."""
    root: Ints
    """(N,) the vertex of the head that a strand moves with."""
    radius: Floats
    """(N,) cm at the root; it tapers to the tip."""
    colour: Floats
    """(N, 3) linear RGB."""


class Roots(NamedTuple):
    """The roots of strands on the skin."""

    position: Floats
    """(R, 3) cm, on the head at rest."""
    normal: Floats
    """(R, 3) unit."""
    vertex: Ints
    """(R,) the nearest vertex of the head."""
    neutral: Floats
    """(R, 3) cm, the same positions on the neutral head, on which regions are defined."""

    def select(self, mask: NDArray[np.bool_]) -> "Roots":
        """Return the roots inside a mask (R,)."""
        return Roots(self.position[mask], self.normal[mask], self.vertex[mask], self.neutral[mask])


class Face(NamedTuple):
    """The head of a subject, and the masks of its face."""

    rig: Rig
    texels: TexelMaps
    head: Floats
    """(V, 3) cm at rest."""
    normals: Floats
    """(V, 3)."""

    @property
    def part(self) -> MeshPart:
        """The mesh of the face."""
        return self.rig.parts["M_Face"]

    @property
    def triangles(self) -> Ints:
        """The triangles of the face as vertices of the head, (T, 3)."""
        return np.asarray(self.part.vertices[self.part.triangles], np.int32)

    def sample(self, uv: Floats, mask: NDArray[np.generic]) -> Floats:
        """Return the values of a mask (F, F) at texture coordinates (..., 2)."""
        texel = np.clip((uv * mask.shape[0]).astype(int), 0, mask.shape[0] - 1)
        return np.asarray(mask[texel[..., 1], texel[..., 0]], np.float32)

    def scatter_roots(self, density: Floats, count: int, rng: np.random.Generator) -> tuple[Roots, Floats]:
        """Draw roots by a density per triangle of the face (T,), with their texture coordinates (R, 2)."""
        used = np.flatnonzero(density > 0)
        roots, index, barycentric = scatter_roots(
            self.rig, self.head, self.normals, self.triangles[used], density[used], count, rng
        )
        corners = self.part.uv[self.part.triangles[used][index]] if len(index) else np.zeros((0, 3, 2))
        return roots, np.asarray((corners * barycentric[..., None]).sum(1), np.float32)


def scatter_roots(
    rig: Rig,
    head: Floats,
    normals: Floats,
    triangles: Ints,
    density: Floats,
    count: int,
    rng: np.random.Generator,
) -> tuple[Roots, Ints, Floats]:
    """Draw roots on triangles of the head, in proportion to area and density.

    Args:
        rig: the head's rig.
        head: (V, 3) cm.
        normals: (V, 3).
        triangles: (T, 3) vertices of the head.
        density: (T,) weight per area, >= 0.
        count: how many.
        rng: for the draws.

    Returns:
        The roots, the triangle (R,) of each, and its barycentric coordinates there (R, 3).
    """
    a, b, c = (head[triangles[:, i]] for i in range(3))
    total = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1) * density)
    if not len(total) or total[-1] <= 0:
        count, triangles, total = 0, rig.skin, np.ones(1)
    index = np.minimum(np.searchsorted(total, rng.uniform(0, total[-1], count)), len(total) - 1)
    u, v = np.sqrt(rng.uniform(size=count)), rng.uniform(size=count)
    barycentric = np.stack([1 - u, u * (1 - v), u * v], -1).astype(np.float32)
    corners = triangles[index]

    def interpolate(values: Floats) -> Floats:
        return np.asarray((values[corners] * barycentric[..., None]).sum(1), np.float32)

    normal = interpolate(normals)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    nearest = corners[np.arange(count), barycentric.argmax(1)].astype(np.int32)
    roots = Roots(interpolate(head), normal, nearest, interpolate(rig.neutral))
    return roots, index.astype(np.int32), barycentric


def short_strands(roots: Roots, direction: Floats, bend: Floats, length: Floats, rise: float) -> Floats:
    """Return short strands that lie along the skin, (R, SHORT_POINTS, 3) cm.

    Args:
        roots: where they start.
        direction: (R, 3) their direction, of which the part along the skin counts.
        bend: (R, 3) where they bend to, likewise.
        length: (R,) cm.
        rise: how much they rise from the skin, as a fraction of the length.
    """
    flat = direction - (direction * roots.normal).sum(1, keepdims=True) * roots.normal
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    bent = bend - (bend * roots.normal).sum(1, keepdims=True) * roots.normal
    t = np.linspace(0, 1, SHORT_POINTS)[None, :, None]
    risen = rise * np.sin(1.9 * t) * roots.normal[:, None]
    path = (flat[:, None] + risen / np.maximum(t, 0.3)) * t + 0.35 * bent[:, None] * t**2
    return np.asarray(roots.position[:, None] + length[:, None, None] * path, np.float32)


def draw_radius(cm: float, count: int, rng: np.random.Generator) -> Floats:
    """Draw radii around a mean, (count,) cm."""
    return np.asarray(cm * rng.uniform(0.7, 1.25, count), np.float32)


def draw_colour(appearance: Appearance, count: int, grey: float, rng: np.random.Generator) -> Floats:
    """Draw colours of the subject's hair tone, a fraction ``grey`` of them white, linear RGB (count, 3)."""
    tone = srgb_to_linear(np.array(HAIR_TONES[appearance.hair])) * np.exp(rng.normal(0, 0.28, (count, 1)))
    white = srgb_to_linear(np.array(WHITE_HAIR)) * rng.uniform(0.5, 1.0, (count, 1))
    whitened = (rng.uniform(size=(count, 1)) < 1.05 * grey - 0.05) * rng.uniform(0.4, 1, (count, 1))
    fraction = 0.35 * grey + (1 - 0.35 * grey) * whitened  # at a distance white and dark hairs blend
    return np.asarray(tone + (white - tone) * fraction, np.float32)
