"""The search of whole images for faces, at several scales: the first pass."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from maeface.faces import imaging
from maeface.faces.boxes import centre, covered_fraction, longer_side
from maeface.faces.geometry import Face, Square, eye_angle, snap_to_grid
from maeface.faces.imaging import Image, shrink, turn

if TYPE_CHECKING:
    from maeface.faces.detector import Detector

# Images longer than this are searched at several scales. Each scale is used for faces with sides in
# FACE_PX (in px of that scale). The ranges of neighbouring scales overlap, so that no face is missed.
SINGLE_SCALE_PX = 640
FACE_PX = (128, 320)
MIN_FACE_PX = 16
"""Side of the smallest anchors, px: the detector finds faces from about here on."""
UPRIGHT_SCORE = 0.97
"""Upright faces have higher scores; those that are missed or mistaken for upright ones have lower ones."""
CERTAIN_SCORE = 0.998
"""Upright portraits have higher scores, upside-down ones that are taken for upright have lower ones."""
# Side of a window around a face, in sides of its box, and in px. The face is then about 87 px high, well
# between the anchors of 64 px and 128 px.
WINDOW = 2.2
WINDOW_PX = 192
MAX_COVERED = 0.6  # a box with more than this fraction of its area in a larger face is a part of that face


def search(
    detector: "Detector",
    images: Sequence[Image],
    min_face: float = 0,
    turn_up_to: float = UPRIGHT_SCORE,
) -> list[list[Face]]:
    """Detect the faces of each image; best score first.

    A detector that has learned upright faces misses those that lie on the side or upside down, or takes them
    for upright ones, with low scores. So an image without a face of a high score is searched in all four
    orientations, and the one with the highest score is chosen. The same is done if the score is not very high
    and the best face has a higher one upside down. An image with a face stays as it is, unless the score is
    high in another orientation: heads in profile have low scores in all of them, and most photos are upright.

    Args:
        detector: of faces.
        images: (H, W, 3) uint8 RGB each.
        min_face: side of the smallest face that has to be found, px. With a larger one, large images are not
            searched at their full size.
        turn_up_to: an image whose best score is at most this is searched in all orientations; 0: only one
            without a face.
    """
    faces = _search_upright(detector, images, min_face)
    doubtful = [i for i, detected in enumerate(faces) if _best_score(detected) <= turn_up_to]
    if turn_up_to > 0:
        doubtful += _find_upside_down(detector, images, faces, turn_up_to)
    least = [UPRIGHT_SCORE if detected else 0.0 for detected in faces]
    for quarters in (1, 2, 3) if doubtful else ():
        turned = [turn(images[i], quarters) for i in doubtful]
        for i, detected in zip(doubtful, _search_upright(detector, turned, min_face), strict=True):
            if _best_score(detected) > max(_best_score(faces[i]), least[i]):
                faces[i] = [turn_back(face, quarters, images[i].shape) for face in detected]
    return faces


def window_around(face: Face, turned: float = 0.0) -> Square:
    """Return the square of a face with its surroundings in which its eyes are level.

    Args:
        face: in px of the image.
        turned: degrees by which the eyes are turned instead.
    """
    x, y = centre(face)
    angle = eye_angle(face.landmarks) + turned
    return snap_to_grid(Square(float(x), float(y), longer_side(face) * WINDOW, angle))


def _find_upside_down(
    detector: "Detector", images: Sequence[Image], faces: Sequence[Sequence[Face]], above: float
) -> list[int]:
    """Return the images whose best face has a higher score if it is turned upside down.

    Only faces with scores from ``above`` to ``CERTAIN_SCORE`` are looked at, in a window each.
    """
    unsure = [i for i, detected in enumerate(faces) if above < _best_score(detected) <= CERTAIN_SCORE]
    if not unsure:
        return []
    windows = [window_around(faces[i][0], turned=180.0) for i in unsure]
    turned = detector.find(imaging.crop([images[i] for i in unsure], windows, WINDOW_PX))
    return [i for i, found in zip(unsure, turned, strict=True) if _best_score(found) > _best_score(faces[i])]


def _best_score(faces: Sequence[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def turn_back(face: Face, quarters: int, shape: tuple[int, ...]) -> Face:
    """Convert a face in an image turned by ``np.rot90`` to px of the image of ``shape`` (H, W, ...)."""
    height, width = shape[:2] if quarters % 2 == 0 else (shape[1], shape[0])  # of the turned image
    points = np.concatenate([face.box.reshape(2, 2), face.landmarks])
    for _ in range(quarters):
        points = np.stack([height - points[:, 1], points[:, 0]], axis=1)
        height, width = width, height
    corners = np.sort(points[:2], axis=0)
    return Face(corners.reshape(4).astype(np.float32), points[2:].astype(np.float32), face.score)


def _search_upright(detector: "Detector", images: Sequence[Image], min_face: float) -> list[list[Face]]:
    """Detect the faces of each image at several scales; best score first.

    RetinaFace's largest anchors are 512 px; of a larger face it detects several parts. So a large image is
    also searched at halves of its size. Each scale is used for faces with sides in ``FACE_PX``, the full
    scale for all smaller ones too, the smallest scale for all larger ones.
    """
    factors = [scale_factors(max(image.shape[:2]), min_face) for image in images]
    levels = [(i, factor) for i in range(len(images)) for factor in factors[i]]
    detections = detector.find([shrink(images[i], factor) for i, factor in levels])
    faces: list[list[Face]] = [[] for _ in images]
    for (i, factor), detected in zip(levels, detections, strict=True):  # the smallest scale first
        least = 0.0 if factor == factors[i][-1] else FACE_PX[0]
        most = np.inf if factor == factors[i][0] else FACE_PX[1]
        larger = faces[i][:]  # from the smaller scales
        for face in detected:
            scaled = Face(face.box * np.float32(factor), face.landmarks * np.float32(factor), face.score)
            part = any(covered_fraction(scaled.box, other.box) > MAX_COVERED for other in larger)
            if least <= longer_side(face) <= most and not part:
                faces[i].append(scaled)
    return [sorted(detected, key=lambda face: -face.score) for detected in faces]


def scale_factors(longest: int, min_face: float = 0) -> list[int]:
    """Return the factors by which an image is shrunk for detection: powers of two, largest first.

    The largest brings the image down to ``SINGLE_SCALE_PX``.

    Args:
        longest: longer side of the image, px.
        min_face: side of the smallest face that has to be found, px; it is not shrunk below ``MIN_FACE_PX``.
    """
    from maeface.faces.detector import MAX_SIDE

    powers = [1]
    while longest / powers[-1] > SINGLE_SCALE_PX:
        powers.append(2 * powers[-1])
    return [
        power
        for power in reversed(powers)
        if power == powers[-1] or (longest / power <= MAX_SIDE and 2 * power * MIN_FACE_PX > min_face)
    ]
