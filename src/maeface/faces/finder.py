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

from maeface import checks
from maeface.errors import ConfigError
from maeface.faces import imaging
from maeface.faces.boxes import area, centre, overlap
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
from maeface.faces.imaging import Image
from maeface.faces.search import UPRIGHT_SCORE, WINDOW_PX, search, window_around

if TYPE_CHECKING:
    from maeface.faces.detector import Detector

FaceChoice = Literal["largest", "central", "all"] | int
"""Faces of an image: the largest, the one nearest to the image's centre, all, or so many of the largest."""

CROP_PX = 256
"""Side of the crops of photos, px."""
# A face with a lower score than this is dropped if the second pass does not find it. Of several faces, those
# whose score is below this fraction of the best are not chosen as largest or central.
SURE = 0.8
MIN_OVERLAP = 0.3  # intersection over union of the two passes' boxes of a face
# A crop from landmarks alone: its side in sizes of the face (``measure_face``), and how far its centre lies
# above the face's, as a fraction of the side. These are medians over 228 photos that went through both passes
# (official portraits, and faces that were rotated or near); the side's 5th and 95th percentiles are 2.23 and
# 2.60.
LANDMARK_SIDE, LANDMARK_RISE = 2.4, 0.07


@dataclass(frozen=True)
class LocatedFace:
    """A face and the square to crop.

    Attributes:
        face: in px of the image.
        square: in px of the image.
        confirmed: whether the second pass found the face again. If not, the square is that of the first box.
        followed: in a film, the number of the face within its block (``following``); -1 in a photo.
        descriptor: in a film, (D,) float16 looks of the face (``tracking.describe``) in some frames
            (``following.follow_faces``).
        agreement: intersection over union of the boxes of the two passes, 0..1; 0 if not confirmed, NaN if
            no detector looked. In a film, that of the detector's last look at the face.
    """

    face: Face
    square: Square
    confirmed: bool = True
    followed: int = -1
    descriptor: NDArray[np.float16] | None = None
    agreement: float = math.nan


@dataclass(frozen=True)
class FaceCrop:
    """A face and its crop.

    Attributes:
        face: as detected in the first pass, in px of the image.
        square: the cropped region, in px of the image.
        pixels: (size, size, 3) uint8 RGB; of a film on a GPU, they are there too.
        confirmed, followed, descriptor, agreement: as in ``LocatedFace``.
    """

    face: Face
    square: Square
    pixels: Image
    confirmed: bool = True
    followed: int = -1
    descriptor: NDArray[np.float16] | None = None
    agreement: float = math.nan


def find_crops(
    detector: "Detector",
    images: Sequence[NDArray[np.uint8]],
    size: int = CROP_PX,
    faces: FaceChoice = "largest",
) -> list[list[FaceCrop]]:
    """Detect faces and crop them, upright.

    Args:
        detector: used in both passes.
        images: (H, W, 3) uint8 RGB each.
        size: side of the crops, px.
        faces: which faces of an image: ``largest`` box, ``central`` (nearest to the image's centre),
            ``all``, best score first, or a number: that many of the largest.

    Returns:
        the crops of each image; an empty list for an image without a face.

    Raises:
        ConfigError: an unknown choice of faces.
    """
    return crop_faces(images, find_faces(detector, images, faces), size)


def find_faces(
    detector: "Detector",
    images: Sequence[Image],
    faces: FaceChoice = "all",
    min_face: float = 0,
    turn_up_to: float = UPRIGHT_SCORE,
) -> list[list[LocatedFace]]:
    """Detect faces in both passes; return those of each image, with the squares to crop, best score first.

    Errors as for ``find_crops``.

    Args:
        detector: used in both passes.
        images: (H, W, 3) uint8 RGB each.
        faces: which faces of an image, as for ``find_crops``.
        min_face: side of the smallest face that has to be found, px. With a larger one, large images are
            searched at smaller scales only.
        turn_up_to: see ``search.search``.
    """
    require_face_choice(faces)
    chosen = [
        (i, face)
        for i, (image, detected) in enumerate(
            zip(images, search(detector, images, min_face, turn_up_to), strict=True)
        )
        for face in choose_faces(detected, image.shape, faces)
    ]
    windows = [window_around(face) for _, face in chosen]
    crops = imaging.crop([images[i] for i, _ in chosen], windows, WINDOW_PX)
    located: list[list[LocatedFace]] = [[] for _ in images]
    for (i, face), window, candidates in zip(chosen, windows, detector.find(crops), strict=True):
        match, agreement = _match(face, window, candidates)
        if match is None and face.score < SURE:
            continue
        square = square_around(match or face, angle_deg=window.angle_deg)
        located[i].append(LocatedFace(face, square, match is not None, agreement=agreement))
    return located


def crop_faces(
    images: Sequence[Image], located: Sequence[Sequence[LocatedFace]], size: int
) -> list[list[FaceCrop]]:
    """Crop located faces, upright.

    Args:
        images: (H, W, 3) uint8 RGB each.
        located: the faces of each image.
        size: side of the crops, px.
    """
    pairs = [(image, one) for image, faces in zip(images, located, strict=True) for one in faces]
    pixels = iter(imaging.crop([image for image, _ in pairs], [one.square for _, one in pairs], size))
    return [
        [
            FaceCrop(
                one.face,
                one.square,
                next(pixels),
                one.confirmed,
                one.followed,
                one.descriptor,
                one.agreement,
            )
            for one in faces
        ]
        for faces in located
    ]


def look_again(
    detector: "Detector", images: Sequence[Image], faces: Sequence[Face]
) -> list[LocatedFace | None]:
    """Apply the second pass to faces whose places are known, such as from the frame before.

    Args:
        detector: of faces.
        images: (H, W, 3) uint8 RGB, the image of each face.
        faces: in px of their images.

    Returns:
        each face with the score of the second pass, and the square around the second pass's box; None where
        the second pass finds no face. Box and landmarks are those given: boxes of both passes differ by a few
        per cent.
    """
    windows = [window_around(face) for face in faces]
    found = detector.detect(imaging.crop(images, windows, WINDOW_PX, bilinear=True))
    located: list[LocatedFace | None] = []
    for face, window, candidates in zip(faces, windows, found, strict=True):
        match, agreement = _match(face, window, candidates)
        if match is None:
            located.append(None)
            continue
        square = square_around(match, angle_deg=window.angle_deg)
        again = Face(face.box, face.landmarks, match.score)
        located.append(LocatedFace(again, square, agreement=agreement))
    return located


def centre_crop(image: NDArray[np.uint8], size: int = CROP_PX) -> FaceCrop:
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
    image: NDArray[np.uint8], landmarks: NDArray[np.floating], size: int = CROP_PX
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
    side, angle = LANDMARK_SIDE * length, eye_angle(landmarks)
    up = np.array([math.sin(math.radians(angle)), -math.cos(math.radians(angle))])
    x, y = np.array(middle) + LANDMARK_RISE * side * up
    region = snap_to_grid(Square(float(x), float(y), side, angle))
    half = side / MARGIN / 2
    box = np.array([x - half, y - half, x + half, y + half], np.float32)
    face = Face(box, landmarks.astype(np.float32), 1.0)
    return FaceCrop(face, region, crop(image, region, size))


def require_face_choice(faces: FaceChoice) -> None:
    """Refuse an unknown choice of faces.

    Raises:
        ConfigError: neither ``largest``, ``central``, ``all`` nor a number from 1 on.
    """
    if faces not in ("largest", "central", "all") and not (isinstance(faces, int) and faces >= 1):
        raise ConfigError(
            f"{checks.name_of('faces')} is {faces!r}; expected largest, central, all, or a number from 1 on"
        )


def choose_faces(detected: Sequence[Face], shape: tuple[int, ...], faces: FaceChoice) -> list[Face]:
    """Return the chosen faces of an image of ``shape`` (H, W, ...), in the given order: best score first.

    The ``largest`` and the most ``central`` are chosen among those whose score is near the best, because weak
    detections may be large.
    """
    if faces == "all" or not detected:
        return list(detected)
    candidates = [face for face in detected if face.score >= SURE * detected[0].score]
    if faces == "central":
        middle = np.array([shape[1] / 2, shape[0] / 2])
        return [min(candidates, key=lambda face: float(np.hypot(*(centre(face) - middle))))]
    if faces == "largest":
        return [max(candidates, key=area)]
    largest = sorted(candidates, key=area, reverse=True)[: int(faces)]
    return [face for face in candidates if any(face is one for one in largest)]


def _match(face: Face, window: Square, candidates: list[Face]) -> tuple[Face | None, float]:
    """Return the second pass's detection of a face, and the overlap of both boxes; None and 0 without one.

    The detection is in px of the image. Its box has the width and the height that it has in the window; its
    landmarks are those of ``face``.
    """
    middle = to_crop(centre(face), window, WINDOW_PX)
    half = np.array([face.box[2] - face.box[0], face.box[3] - face.box[1]]) * (WINDOW_PX / window.side / 2)
    box = np.concatenate([middle - half, middle + half])
    best = max(candidates, key=lambda other: overlap(box, other.box), default=None)
    if best is None or (agreement := overlap(box, best.box)) < MIN_OVERLAP:
        return None, 0.0
    x, y = to_image(centre(best), window, WINDOW_PX)
    scale = window.side / WINDOW_PX
    half = (best.box[2:] - best.box[:2]).astype(np.float64) * scale / 2
    box = np.array([x - half[0], y - half[1], x + half[0], y + half[1]], np.float32)
    return Face(box, face.landmarks, best.score), agreement
