"""Images to aligned crops, as the paper prepares its data (section 3.2.1).

RetinaFace finds the five points; the image is turned until the eyes lie level; RetinaFace looks again,
and its second box gives the square that is cut out.

The second look needs no more than the surroundings of the face, so it is shown a window of fixed size
in px around the face instead of the whole turned image: every face then costs the same, whatever the
photo. The crop itself is resampled once, from the photo.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maeface.errors import ConfigError
from maeface.faces.geometry import (
    MARGIN,
    Face,
    Square,
    crop,
    extent,
    eye_angle,
    snap,
    square,
    to_crop,
    to_image,
)

if TYPE_CHECKING:
    from maeface.faces.detector import Detector

Faces = Literal["largest", "central", "all"]

# The window of the second look: this many times the first box, and this many px. The face is then
# about 87 px high, in the middle of what the 64 px and 128 px anchors are made for.
WINDOW = 2.2
WINDOW_PX = 192
# An image longer than LEAST_PX is looked at in smaller sizes too. The ranges of two sizes overlap, so that
# no face falls between.
LEAST_PX = 640
SMALL_PX, LARGE_PX = 128, 320
_PART = 0.6  # a box of which so much lies in a known face is a part of that
_SURE = 0.8  # a face under this score that the second look does not confirm is none
# Where a face's points are known and no look is taken, its crop follows from the lengths between them: with
# the hypotenuse of (eye to eye, eyes to mouth) as unit, the side is so many, and the crop's centre lies so
# much of a side above the middle between eyes and mouth. Medians of 228 photos that were looked at twice
# (official portraits, and faces turned and near); the side's 5 % and 95 % are 2.23 and 2.60.
_SIDE, _ABOVE = 2.4, 0.07
_SAME_FACE = 0.3  # least overlap (intersection over union) of the second box with the first


@dataclass(frozen=True)
class FaceCrop:
    """A face and the crop made of it.

    Attributes:
        face: the face as first detected, in px of the image.
        square: what the crop covers, in px of the image.
        pixels: (size, size, 3) uint8 RGB.
        looked_twice: False where the second look did not find the face again; the first box then
            gave the square.
    """

    face: Face
    square: Square
    pixels: NDArray[np.uint8]
    looked_twice: bool = True


def find_crops(
    detector: "Detector", images: Sequence[NDArray[np.uint8]], size: int = 256, faces: Faces = "largest"
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
        for i, (image, found) in enumerate(zip(images, _first_look(detector, images), strict=True))
        for face in _choose(found, image.shape, faces)
    ]
    windows = [_window(face) for _, face in chosen]
    seen = detector.find(
        [crop(images[i], window, WINDOW_PX) for (i, _), window in zip(chosen, windows, strict=True)]
    )
    crops: list[list[FaceCrop]] = [[] for _ in images]
    for (i, face), window, found in zip(chosen, windows, seen, strict=True):
        again = _same(face, window, found)
        if again is None and face.score < _SURE:
            continue
        region = _region(face, window, again)
        crops[i].append(FaceCrop(face, region, crop(images[i], region, size), again is not None))
    return crops


def aligned(image: NDArray[np.uint8], size: int = 256) -> FaceCrop:
    """A ready crop of a face, taken as it is: the image's middle square, resized.

    Its points are unknown (NaN).
    """
    height, width = image.shape[:2]
    side = min(height, width)
    region = Square(width / 2, height / 2, side)
    box = np.array(
        [(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2], dtype=np.float32
    )
    face = Face(box, np.full((5, 2), np.nan, np.float32), 1.0)
    return FaceCrop(face, region, crop(image, region, size))


def from_points(image: NDArray[np.uint8], points: NDArray[np.floating], size: int = 256) -> FaceCrop:
    """A face whose points are known, cut out upright without a look at the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (5, 2) px: left eye, right eye, nose, left and right corner of the mouth, as seen.
        size: side of the crop.

    Returns:
        the crop; its face's box is the one that such points mostly lie in, its score 1.
    """
    known = np.asarray(points, np.float64)
    *middle, length = extent(known)
    side, angle = _SIDE * length, eye_angle(known)
    up = np.array([math.sin(math.radians(angle)), -math.cos(math.radians(angle))])
    x, y = np.array(middle) + _ABOVE * side * up
    region = snap(Square(float(x), float(y), side, angle))
    half = side / MARGIN / 2
    face = Face(np.array([x - half, y - half, x + half, y + half], np.float32), known.astype(np.float32), 1.0)
    return FaceCrop(face, region, crop(image, region, size))


def _first_look(detector: "Detector", images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
    """The faces of each image, best score first, found at several scales.

    RetinaFace's anchors end at 512 px: of a larger face it finds parts, and several. So a large image is
    also looked at in halves of its size, and each size answers for faces between ``SMALL_PX`` and
    ``LARGE_PX``; the full size answers for all smaller ones too.
    """
    factors = [_factors(max(image.shape[:2])) for image in images]
    levels = [(i, factor) for i in range(len(images)) for factor in factors[i]]
    seen = detector.find([_reduced(images[i], factor) for i, factor in levels])
    faces: list[list[Face]] = [[] for _ in images]
    for (i, factor), found in zip(levels, seen, strict=True):  # the smallest size first
        least = 0.0 if factor == factors[i][-1] else SMALL_PX
        most = np.inf if factor == factors[i][0] else LARGE_PX
        known = faces[i][:]
        for face in found:
            there = Face(face.box * np.float32(factor), face.points * np.float32(factor), face.score)
            part = any(_covered(there.box, other.box) > _PART for other in known)
            if least <= _longer_side(face) <= most and not part:
                faces[i].append(there)
    return [sorted(found, key=lambda face: -face.score) for found in faces]


def _factors(longest: int) -> list[int]:
    """By what an image is shrunk, most first: 1 and powers of two, down to ``LEAST_PX``."""
    from maeface.faces.detector import MAX_SIDE

    powers = [1]
    while longest / powers[-1] > LEAST_PX:
        powers.append(2 * powers[-1])
    return [power for power in reversed(powers) if power == powers[-1] or longest / power <= MAX_SIDE]


def _reduced(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    return image if factor == 1 else np.array(Image.fromarray(image).reduce(factor))


def _choose(found: list[Face], shape: tuple[int, ...], faces: Faces) -> list[Face]:
    if faces == "all" or len(found) < 2:
        return found
    found = [face for face in found if face.score >= _SURE * found[0].score]
    if faces == "largest":
        return [max(found, key=_area)]
    middle = np.array([shape[1] / 2, shape[0] / 2])
    return [min(found, key=lambda face: float(np.hypot(*(_centre(face) - middle))))]


def _window(face: Face) -> Square:
    """The surroundings of a face, turned so that its eyes lie level."""
    x, y = _centre(face)
    return snap(Square(float(x), float(y), _longer_side(face) * WINDOW, eye_angle(face.points)))


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


def _longer_side(face: Face) -> float:
    return float(max(face.box[2] - face.box[0], face.box[3] - face.box[1]))


def _area(face: Face) -> float:
    return float((face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))


def _shared(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return float(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod())


def _covered(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """How much of box ``a`` lies in box ``b``."""
    return _shared(a, b) / float((a[2:] - a[:2]).prod())


def _overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Intersection over union of two boxes."""
    shared = _shared(a, b)
    whole = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared
    return shared / whole if whole > 0 else 0.0
