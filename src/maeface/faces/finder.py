"""Images to aligned crops, as the paper prepares its data (section 3.2.1).

RetinaFace finds the five points; the image is turned until the eyes lie level; RetinaFace looks again,
and its second box gives the square that is cut out.

The second look needs no more than the surroundings of the face, so it is shown a window of fixed size
in px around the face instead of the whole turned image: every face then costs the same, whatever the
photo. The crop itself is resampled once, from the photo.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maeface.errors import ConfigError
from maeface.faces.detector import Detector
from maeface.faces.geometry import Face, Square, crop, eye_angle, snap, square, to_crop, to_image

Faces = Literal["largest", "central", "all"]

# The window of the second look: this many times the first box, and this many px. The face is then
# about 87 px high, in the middle of what the 64 px and 128 px anchors are made for.
WINDOW = 2.2
WINDOW_PX = 192
_SAME_FACE = 0.3  # least overlap (intersection over union) of the second box with the first


@dataclass(frozen=True)
class FaceCrop:
    """A face and the crop made of it.

    Attributes:
        face: the face as first detected, in px of the image.
        square: what the crop covers, in px of the image.
        pixels: (size, size, 3) uint8 RGB.
        looked_twice: False where the second look did not find the face again and the first box gave the square.
    """

    face: Face
    square: Square
    pixels: NDArray[np.uint8]
    looked_twice: bool = True


def find_crops(
    detector: Detector, images: Sequence[NDArray[np.uint8]], size: int = 256, faces: Faces = "largest"
) -> list[list[FaceCrop]]:
    """Find faces and cut them out, upright.

    Args:
        detector: finds the faces, in both looks.
        images: (H, W, 3) uint8 RGB each.
        size: side of the crops.
        faces: ``largest`` box, ``central`` (nearest the image's middle), or ``all`` by score.

    Returns:
        for each image its crops; none where there is no face.
    """
    if faces not in ("largest", "central", "all"):
        raise ConfigError(f"unknown choice of faces {faces!r}; choose largest, central or all")
    chosen = [
        (i, face)
        for i, (image, found) in enumerate(zip(images, detector.find(images), strict=True))
        for face in _choose(found, image.shape, faces)
    ]
    windows = [_window(face) for _, face in chosen]
    seen = detector.find(
        [crop(images[i], window, WINDOW_PX) for (i, _), window in zip(chosen, windows, strict=True)]
    )
    crops: list[list[FaceCrop]] = [[] for _ in images]
    for (i, face), window, found in zip(chosen, windows, seen, strict=True):
        again = _same(face, window, found)
        region = _region(face, window, again)
        crops[i].append(FaceCrop(face, region, crop(images[i], region, size), again is not None))
    return crops


def aligned(image: NDArray[np.uint8], size: int = 256) -> FaceCrop:
    """A ready crop of a face, taken as it is: the image's middle square, resized. Its points are unknown (NaN)."""
    height, width = image.shape[:2]
    side = min(height, width)
    region = Square(width / 2, height / 2, side)
    box = np.array(
        [(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2], dtype=np.float32
    )
    face = Face(box, np.full((5, 2), np.nan, np.float32), 1.0)
    return FaceCrop(face, region, crop(image, region, size))


def _choose(found: list[Face], shape: tuple[int, ...], faces: Faces) -> list[Face]:
    if faces == "all" or len(found) < 2:
        return found
    if faces == "largest":
        return [max(found, key=_area)]
    middle = np.array([shape[1] / 2, shape[0] / 2])
    return [min(found, key=lambda face: float(np.hypot(*(_centre(face) - middle))))]


def _window(face: Face) -> Square:
    """The surroundings of a face, turned so that its eyes lie level; on the grid, so it is always the same."""
    x, y = _centre(face)
    side = float(max(face.box[2] - face.box[0], face.box[3] - face.box[1]))
    return snap(Square(float(x), float(y), side * WINDOW, eye_angle(face.points)))


def _same(face: Face, window: Square, found: list[Face]) -> Face | None:
    """The face of the second look that is the face of the first, in px of the window."""
    middle = to_crop(_centre(face), window, WINDOW_PX)
    half = np.array([face.box[2] - face.box[0], face.box[3] - face.box[1]]) * (WINDOW_PX / window.side / 2)
    box = np.concatenate([middle - half, middle + half])
    best = max(found, key=lambda other: _overlap(box, other.box), default=None)
    return best if best is not None and _overlap(box, best.box) >= _SAME_FACE else None


def _region(face: Face, window: Square, again: Face | None) -> Square:
    if again is None:
        return square(face, angle_deg=window.angle_deg)
    x, y = to_image(_centre(again), window, WINDOW_PX)
    scale = window.side / WINDOW_PX
    half = (again.box[2:] - again.box[:2]).astype(np.float64) * scale / 2
    box = np.array([x - half[0], y - half[1], x + half[0], y + half[1]], np.float32)
    return square(Face(box, face.points, again.score), angle_deg=window.angle_deg)


def _centre(face: Face) -> NDArray[np.float64]:
    return (face.box[:2].astype(np.float64) + face.box[2:]) / 2


def _area(face: Face) -> float:
    return float((face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))


def _overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Intersection over union of two boxes."""
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = float(sides.prod())
    whole = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared
    return shared / whole if whole > 0 else 0.0
