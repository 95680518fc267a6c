"""Detection, alignment and cropping of faces, as the paper prepares its data (section 3.2.1).

The paper's three steps are:

(i)   images that are corrupt or too small are dropped: ``maeface.faces.media``;
(ii)  RetinaFace detects five landmarks, and the image is rotated in its plane until the eyes are level: the
      first pass;
(iii) RetinaFace is applied again to the rotated image, and a square around its bounding box is cropped: the
      second pass.

The second pass sees a window of fixed size in px around the face instead of the whole rotated image. So a
face takes the same time in every image. The crop itself is resampled once, from the original image.
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
    eye_angle,
    measure_face,
    snap_to_grid,
    square_around,
    to_crop,
    to_image,
)

if TYPE_CHECKING:
    from maeface.faces.detector import Detector

FaceChoice = Literal["largest", "central", "all"]

# Side of the second pass's window, in sides of the first box, and in px. The face is then about 87 px high,
# well between the anchors of 64 px and 128 px.
WINDOW = 2.2
WINDOW_PX = 192
# Images longer than this are searched at several scales. Each scale is used for faces with sides in
# FACE_PX (in px of that scale). The ranges of neighbouring scales overlap, so that no face is missed.
SINGLE_SCALE_PX = 640
FACE_PX = (128, 320)
_MIN_COVERED = 0.6  # a box with this fraction of its area in a larger face is a part of that face
# A face with a lower score than this is dropped if the second pass does not find it. Of several faces, those
# whose score is below this fraction of the best are not chosen as largest or central.
_SURE = 0.8
_MIN_OVERLAP = 0.3  # intersection over union of the two passes' boxes of a face
# A crop from landmarks alone: its side in sizes of the face (``measure_face``), and how far its centre lies
# above the face's, as a fraction of the side. These are medians over 228 photos that went through both passes
# (official portraits, and faces that were rotated or near); the side's 5th and 95th percentiles are 2.23 and
# 2.60.
_LANDMARK_SIDE, _LANDMARK_RISE = 2.4, 0.07


@dataclass(frozen=True)
class FaceCrop:
    """A face and its crop.

    Attributes:
        face: as detected in the first pass, in px of the image.
        square: the cropped region, in px of the image.
        pixels: (size, size, 3) uint8 RGB.
        confirmed: whether the second pass found the face again. If not, the square is that of the first box.
    """

    face: Face
    square: Square
    pixels: NDArray[np.uint8]
    confirmed: bool = True


def find_crops(
    detector: "Detector", images: Sequence[NDArray[np.uint8]], size: int = 256, faces: FaceChoice = "largest"
) -> list[list[FaceCrop]]:
    """Detect faces and crop them, upright.

    Args:
        detector: used in both passes.
        images: (H, W, 3) uint8 RGB each.
        size: side of the crops, px.
        faces: which faces of an image: ``largest`` box, ``central`` (nearest to the image's centre), or
            ``all``, best score first.

    Returns:
        the crops of each image; an empty list for an image without a face.

    Raises:
        ConfigError: an unknown choice of faces.
    """
    if faces not in ("largest", "central", "all"):
        raise ConfigError(f"unknown choice of faces {faces!r}; choose largest, central or all")
    chosen = [
        (i, face)
        for i, (image, detected) in enumerate(zip(images, _first_pass(detector, images), strict=True))
        for face in _choose(detected, image.shape, faces)
    ]
    windows = [_window(face) for _, face in chosen]
    second_pass = detector.find(
        [crop(images[i], window, WINDOW_PX) for (i, _), window in zip(chosen, windows, strict=True)]
    )
    crops: list[list[FaceCrop]] = [[] for _ in images]
    for (i, face), window, candidates in zip(chosen, windows, second_pass, strict=True):
        match = _match(face, window, candidates)
        if match is None and face.score < _SURE:
            continue
        region = _crop_region(face, window, match)
        crops[i].append(FaceCrop(face, region, crop(images[i], region, size), match is not None))
    return crops


def centre_crop(image: NDArray[np.uint8], size: int = 256) -> FaceCrop:
    """Resize the centre square of an image that is a face crop already, without detection.

    The landmarks of its face are NaN, its score is 1.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    region = Square(width / 2, height / 2, side)
    box = np.array(
        [(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2], dtype=np.float32
    )
    face = Face(box, np.full((5, 2), np.nan, np.float32), 1.0)
    return FaceCrop(face, region, crop(image, region, size))


def crop_from_landmarks(
    image: NDArray[np.uint8], landmarks: NDArray[np.floating], size: int = 256
) -> FaceCrop:
    """Crop a face with given landmarks, upright, without detection.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (5, 2) px, ordered as in ``Face``.
        size: side of the crop, px.

    Returns:
        the crop; its face has the box that is usual for such landmarks, and the score 1.
    """
    landmarks = np.asarray(landmarks, np.float64)
    *middle, length = measure_face(landmarks)
    side, angle = _LANDMARK_SIDE * length, eye_angle(landmarks)
    up = np.array([math.sin(math.radians(angle)), -math.cos(math.radians(angle))])
    x, y = np.array(middle) + _LANDMARK_RISE * side * up
    region = snap_to_grid(Square(float(x), float(y), side, angle))
    half = side / MARGIN / 2
    box = np.array([x - half, y - half, x + half, y + half], np.float32)
    face = Face(box, landmarks.astype(np.float32), 1.0)
    return FaceCrop(face, region, crop(image, region, size))


def _first_pass(detector: "Detector", images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
    """Detect the faces of each image at several scales; best score first.

    RetinaFace's largest anchors are 512 px; of a larger face it detects several parts. So a large image is
    also searched at halves of its size. Each scale is used for faces with sides in ``FACE_PX``, the full
    scale for all smaller ones too, the smallest scale for all larger ones.
    """
    factors = [_scale_factors(max(image.shape[:2])) for image in images]
    levels = [(i, factor) for i in range(len(images)) for factor in factors[i]]
    detections = detector.find([_shrink(images[i], factor) for i, factor in levels])
    faces: list[list[Face]] = [[] for _ in images]
    for (i, factor), detected in zip(levels, detections, strict=True):  # the smallest scale first
        least = 0.0 if factor == factors[i][-1] else FACE_PX[0]
        most = np.inf if factor == factors[i][0] else FACE_PX[1]
        larger = faces[i][:]  # from the smaller scales
        for face in detected:
            scaled = Face(face.box * np.float32(factor), face.landmarks * np.float32(factor), face.score)
            part = any(_covered_fraction(scaled.box, other.box) > _MIN_COVERED for other in larger)
            if least <= _longer_side(face) <= most and not part:
                faces[i].append(scaled)
    return [sorted(detected, key=lambda face: -face.score) for detected in faces]


def _scale_factors(longest: int) -> list[int]:
    """Return the factors by which an image is shrunk for detection: powers of two, largest first.

    The largest brings the image down to ``SINGLE_SCALE_PX``.

    Args:
        longest: longer side of the image, px.
    """
    from maeface.faces.detector import MAX_SIDE

    powers = [1]
    while longest / powers[-1] > SINGLE_SCALE_PX:
        powers.append(2 * powers[-1])
    return [power for power in reversed(powers) if power == powers[-1] or longest / power <= MAX_SIDE]


def _shrink(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    return image if factor == 1 else np.array(Image.fromarray(image).reduce(factor))


def _choose(detected: list[Face], shape: tuple[int, ...], faces: FaceChoice) -> list[Face]:
    if faces == "all" or len(detected) < 2:
        return detected
    candidates = [face for face in detected if face.score >= _SURE * detected[0].score]
    if faces == "largest":
        return [max(candidates, key=_area)]
    middle = np.array([shape[1] / 2, shape[0] / 2])
    return [min(candidates, key=lambda face: float(np.hypot(*(_centre(face) - middle))))]


def _window(face: Face) -> Square:
    """Return the second pass's window: a face with its surroundings, rotated so that its eyes are level."""
    x, y = _centre(face)
    return snap_to_grid(Square(float(x), float(y), _longer_side(face) * WINDOW, eye_angle(face.landmarks)))


def _match(face: Face, window: Square, candidates: list[Face]) -> Face | None:
    """Return the second pass's detection of a face, in px of the window; None if there is none."""
    middle = to_crop(_centre(face), window, WINDOW_PX)
    half = np.array([face.box[2] - face.box[0], face.box[3] - face.box[1]]) * (WINDOW_PX / window.side / 2)
    box = np.concatenate([middle - half, middle + half])
    best = max(candidates, key=lambda other: _overlap(box, other.box), default=None)
    return best if best is not None and _overlap(box, best.box) >= _MIN_OVERLAP else None


def _crop_region(face: Face, window: Square, match: Face | None) -> Square:
    """Return the square to crop, in px of the image: around the second pass's box if there is one."""
    if match is None:
        return square_around(face, angle_deg=window.angle_deg)
    x, y = to_image(_centre(match), window, WINDOW_PX)
    scale = window.side / WINDOW_PX
    half = (match.box[2:] - match.box[:2]).astype(np.float64) * scale / 2
    box = np.array([x - half[0], y - half[1], x + half[0], y + half[1]], np.float32)
    return square_around(Face(box, face.landmarks, match.score), angle_deg=window.angle_deg)


def _centre(face: Face) -> NDArray[np.float64]:
    return (face.box[:2].astype(np.float64) + face.box[2:]) / 2


def _longer_side(face: Face) -> float:
    return float(max(face.box[2] - face.box[0], face.box[3] - face.box[1]))


def _area(face: Face) -> float:
    return float((face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))


def _intersection(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the area that two boxes have in common, in square px."""
    return float(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod())


def _covered_fraction(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the fraction of box ``a`` that lies in box ``b``."""
    return _intersection(a, b) / float((a[2:] - a[:2]).prod())


def _overlap(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the intersection over union of two boxes."""
    intersection = _intersection(a, b)
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - intersection
    return intersection / union if union > 0 else 0.0
