"""Catmull-Rom curves through points: N points of D coordinates."""

from collections.abc import Sequence

import numpy as np

from maeface_studio.head.mesh import Floats, Ints


def sample_segments(points: Floats, closed: bool, steps: int = 16) -> Floats:
    """Return a curve through points (N, D), sampled ``steps`` times in each segment.

    A closed curve runs from the last point back to the first; an open one ends with its last point.
    """
    count = len(points) if closed else len(points) - 1
    segment = np.repeat(np.arange(count, dtype=np.int32), steps)
    t = np.tile(np.linspace(0, 1, steps, endpoint=False), count)
    curve = _catmull_rom(points, closed, segment, t)
    return curve if closed else np.concatenate([curve, points[-1:]])


def sample_curve(points: Sequence[Sequence[float] | Floats] | Floats, count: int) -> Floats:
    """Return an open curve through points (N, D), sampled ``count`` times from the first to the last."""
    array = np.asarray(points, np.float64)
    position = np.linspace(0, len(array) - 1, count)
    segment = np.minimum(position.astype(np.int32), len(array) - 2)
    return np.asarray(_catmull_rom(array, False, segment, position - segment), np.float32)


def _catmull_rom(points: Floats, closed: bool, segment: Ints, t: Floats) -> Floats:
    """Evaluate the uniform Catmull-Rom spline at parameters ``t`` (M,) on 0..1 of segments (M,); (M, D)."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    p0, p1, p2, p3 = (padded[segment + k] for k in range(4))
    t = t[:, None]
    return np.asarray(
        0.5
        * (
            2 * p1
            + (p2 - p0) * t
            + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2
            + (3 * p1 - p0 - 3 * p2 + p3) * t**3
        )
    )
