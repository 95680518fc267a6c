"""Measures of boxes and of the boxes of faces; a box is (4,): x1 y1 x2 y2 in px."""

import numpy as np
from numpy.typing import NDArray

from maeface.faces.geometry import Face


def clip(box: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the part of a box that is in an image of ``shape`` (H, W, ...)."""
    return np.clip(box, 0, np.array([shape[1], shape[0]] * 2, np.float32))


def centre(face: Face) -> NDArray[np.float64]:
    """Return the centre (x, y) of a face's box, px."""
    return (face.box[:2].astype(np.float64) + face.box[2:]) / 2


def longer_side(face: Face) -> float:
    """Return the longer side of a face's box, px."""
    return float(max(face.box[2] - face.box[0], face.box[3] - face.box[1]))


def area(face: Face) -> float:
    """Return the area of a face's box, square px."""
    return float((face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))


def intersection(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the area that two boxes have in common, in square px."""
    return float(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod())


def covered_fraction(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the fraction of box ``a`` that lies in box ``b``."""
    return intersection(a, b) / float((a[2:] - a[:2]).prod())


def overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the intersection over union of two boxes."""
    common = intersection(a, b)
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - common
    return common / union if union > 0 else 0.0
