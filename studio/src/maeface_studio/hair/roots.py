"""Where strands of hair start on the surface of a head.

R roots, T triangles, V vertices of the head.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface_studio.head.rig import Floats, Ints, Rig


class Roots(NamedTuple):
    """Where strands start, (R, ...)."""

    at: Floats
    """cm, on the head at rest."""
    normal: Floats
    vertex: Ints
    place: Floats
    """The same places on the neutral head, by which regions are told apart."""

    def only(self, chosen: NDArray[np.bool_]) -> "Roots":
        """Those that are chosen (R,)."""
        return Roots(self.at[chosen], self.normal[chosen], self.vertex[chosen], self.place[chosen])


def scatter(
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
        The roots, the triangle (R,) and the shares of its corners (R, 3) of each.
    """
    a, b, c = (head[triangles[:, i]] for i in range(3))
    total = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1) * density)
    if not len(total) or total[-1] <= 0:
        count, triangles, total = 0, rig.skin, np.ones(1)
    chosen = np.minimum(np.searchsorted(total, rng.uniform(0, total[-1], count)), len(total) - 1)
    u, v = np.sqrt(rng.uniform(size=count)), rng.uniform(size=count)
    share = np.stack([1 - u, u * (1 - v), u * v], -1).astype(np.float32)
    corners = triangles[chosen]

    def mean(of: Floats) -> Floats:
        return np.asarray((of[corners] * share[..., None]).sum(1), np.float32)

    normal = mean(normals)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    nearest = corners[np.arange(count), share.argmax(1)].astype(np.int32)
    return Roots(mean(head), normal, nearest, mean(rig.neutral)), chosen.astype(np.int32), share
