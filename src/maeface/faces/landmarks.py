"""A small network that refines the five landmarks of a face.

It comes with the embedded detector, whose own landmarks are imprecise. It sees a crop of 64 px around
approximate landmarks, upright, and predicts their positions; this is done twice. Where the second pass still
moves the landmarks far, the detection is rejected as a false positive.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from maeface.faces.geometry import Square, eye_angle, measure_face, to_image
from maeface.faces.imaging import Image, Stack, crop, stack

CROP_PX = 64
PASSES = 2
# Side of the crop, in sizes of the face (``geometry.measure_face``): from the brows to the chin.
SQUARE_SIDE = 2.1
# Largest mean shift of a face's landmarks in the last pass, in sizes of the face. In 99 of 100 faces the
# shift is smaller, the median is 0.01; in most false positives it is larger (studio/docs/detector.md).
MAX_SHIFT = 0.08
# Mean positions of the landmarks, as fractions of the crop's side from its centre.
MEAN_SHAPE = ((-0.165, -0.17), (0.165, -0.17), (0.0, 0.02), (-0.135, 0.165), (0.135, 0.165))

LandmarkFunction = Callable[[Stack], NDArray[np.float32]]
"""The landmark network: from crops (B, 64, 64, 3) uint8 RGB to landmarks (B, 5, 2), as fractions of the
crop's side from its centre, x right, y down; ordered as in ``Face``."""


def landmark_square(landmarks: NDArray[np.floating]) -> Square:
    """Return the square that the network sees for landmarks (5, 2) in px, finite; rotated with the eyes."""
    x, y, size = measure_face(landmarks)
    return Square(x, y, max(SQUARE_SIDE * size, 1.0), eye_angle(landmarks))


def refine_landmarks(
    network: LandmarkFunction, images: Sequence[Image], landmarks: Sequence[NDArray[np.float32]]
) -> list[tuple[NDArray[np.float32], bool]]:
    """Refine the landmarks of faces.

    Args:
        network: the landmark network.
        images: (H, W, 3) uint8 RGB, the image of each face.
        landmarks: (5, 2) px of each face, approximate.

    Returns:
        for each face its landmarks (5, 2) px, and whether they converged: the last pass moved them by at most
        ``MAX_SHIFT``. False suggests that it is not a face.
    """
    refined, shifts = list(landmarks), [0.0] * len(landmarks)
    for _ in range(PASSES):
        moved = move_landmarks(network, images, refined)
        refined, shifts = [points for points, _ in moved], [shift for _, shift in moved]
    return [(points, shift <= MAX_SHIFT) for points, shift in zip(refined, shifts, strict=True)]


def move_landmarks(
    network: LandmarkFunction,
    images: Sequence[Image],
    landmarks: Sequence[NDArray[np.float32]],
    bilinear: bool = False,
) -> list[tuple[NDArray[np.float32], float]]:
    """Move the landmarks of faces to where the network sees them, in one pass.

    Args:
        network: the landmark network.
        images: (H, W, 3) uint8 RGB, the image of each face.
        landmarks: (5, 2) px of each face, approximate.
        bilinear: as for ``geometry.crop``.

    Returns:
        for each face its landmarks (5, 2) px, and their mean shift in sizes of the face
        (``geometry.measure_face``).
    """
    if not landmarks:
        return []
    squares = [landmark_square(face) for face in landmarks]
    outputs = network(stack(crop(images, squares, CROP_PX, bilinear)))
    moved = []
    for before, output, square in zip(landmarks, outputs, squares, strict=True):
        after = to_image((output + 0.5) * CROP_PX, square, CROP_PX).astype(np.float32)
        shift = np.linalg.norm(after - before, axis=-1).mean() / (square.side / SQUARE_SIDE)
        moved.append((after, float(shift)))
    return moved
