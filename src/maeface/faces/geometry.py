"""Bounding boxes, landmarks, and the function that crops a face.

Pixel coordinates: x to the right, y down. (0, 0) is the outer corner of the first pixel, whose centre is
therefore (0.5, 0.5). Angles are in degrees. A positive angle is an in-plane rotation clockwise: the eye on
the right-hand side of the image is the lower one.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The paper does not say how much is kept around the box of the second pass. RetinaFace's box ends at the
# hairline and at the chin. A tenth more on the side keeps a dropped jaw (AU26, AU27) and a wrinkled forehead
# (AU1, AU2) inside, at little cost in pixels.
MARGIN = 1.1

# Squares are rounded to a grid. The last bits of a network's arithmetic differ between devices and numbers of
# threads by about a millionth of the face's size; the grid is about a hundredth of it (one pixel of a crop of
# 224 px) and one degree. So these differences do not change the pixels of a crop, and the rounding is smaller
# than the detector's own error.
GRID_STEPS = 128
GRID_DEGREES = 1.0

# In a profile the eyes are nearer to each other than this fraction of their distance from the mouth, and
# their line says little about the rotation. A face's eyes are about as far apart as they are above the mouth.
PROFILE = 0.36


@dataclass(frozen=True)
class Face:
    """A detected face.

    Attributes:
        box: (4,) float32 bounding box, x1 y1 x2 y2 in px.
        landmarks: (5, 2) float32 in px: left eye, right eye, nose, left and right corner of the mouth, where
            left and right are those of the image.
        score: 0..1.
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float


@dataclass(frozen=True)
class Square:
    """A rotated square in an image: centre and side in px, angle in degrees."""

    cx: float
    cy: float
    side: float
    angle_deg: float = 0.0


def eye_angle(landmarks: NDArray[np.floating]) -> float:
    """Return the in-plane rotation of a face: the slope of the line between its eyes, -180..180 degrees.

    If the eyes nearly coincide (a profile), the line from the eyes to the mouth is used instead.

    Args:
        landmarks: (5, 2) px.
    """
    left, right = np.asarray(landmarks[0], np.float64), np.asarray(landmarks[1], np.float64)
    down = (np.asarray(landmarks[3], np.float64) + landmarks[4] - left - right) / 2
    across = right - left
    if math.hypot(*across) < PROFILE * math.hypot(*down):
        across = np.array([down[1], -down[0]])
    if not np.isfinite(across).all() or not across.any():
        return 0.0
    return math.degrees(math.atan2(across[1], across[0]))


def measure_face(landmarks: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return the centre and the size of a face.

    Args:
        landmarks: (5, 2) px, finite.

    Returns:
        x and y of the midpoint between eyes and mouth, and the hypotenuse of (eye to eye, eyes to mouth),
        which changes little when the head turns; px.
    """
    landmarks = np.asarray(landmarks, np.float64)
    eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
    x, y = ((eyes + mouth) / 2).tolist()
    return x, y, math.hypot(*(landmarks[1] - landmarks[0]), *(mouth - eyes))


def square_around(face: Face, margin: float = MARGIN, angle_deg: float = 0.0) -> Square:
    """Return the square around a face's box; its side is the longer side of the box times ``margin``.

    Args:
        face: a face in px of the image.
        margin: ratio of the square's side to the box's longer side.
        angle_deg: rotation of the square about the centre of the box.
    """
    x1, y1, x2, y2 = (float(v) for v in face.box)
    return snap_to_grid(Square((x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, y2 - y1) * margin, angle_deg))


def snap_to_grid(region: Square) -> Square:
    """Return the nearest square of the grid.

    Angles are whole degrees. Centre and side are multiples of a power of two of px, 1/91 to 1/181 of the
    side.
    """
    step = 2.0 ** round(math.log2(max(region.side, 1.0))) / GRID_STEPS
    return Square(
        round(region.cx / step) * step,
        round(region.cy / step) * step,
        max(round(region.side / step), 1) * step,
        round(region.angle_deg / GRID_DEGREES) * GRID_DEGREES,
    )


def to_crop(points: NDArray[np.floating], region: Square, size: int) -> NDArray[np.float64]:
    """Convert points (..., 2) in px of the image to px of the crop of ``region`` with side ``size``."""
    cos, sin = direction(region)
    x, y = (
        np.asarray(points[..., 0], np.float64) - region.cx,
        np.asarray(points[..., 1], np.float64) - region.cy,
    )
    rotated = np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)
    return rotated * (size / region.side) + size / 2


def to_image(points: NDArray[np.floating], region: Square, size: int) -> NDArray[np.float64]:
    """Convert points (..., 2) in px of the crop of ``region`` with side ``size`` to px of the image."""
    cos, sin = direction(region)
    scaled = (np.asarray(points, np.float64) - size / 2) * (region.side / size)
    x, y = scaled[..., 0], scaled[..., 1]
    return np.stack([cos * x - sin * y + region.cx, sin * x + cos * y + region.cy], axis=-1)


def crop(image: NDArray[np.uint8], region: Square, size: int, bilinear: bool = False) -> NDArray[np.uint8]:
    """Crop ``region`` from ``image``, rotated upright. Every crop of this project is made here.

    The source is resampled once, bicubically. If the crop is much smaller than the region, whole blocks of
    pixels are averaged first against aliasing. Outside the image the crop is black.

    Args:
        image: (H, W, 3) uint8.
        region: the square to crop, in px of ``image``.
        size: side of the result, px.
        bilinear: resample bilinearly, in less than half of the time.

    Returns:
        (size, size, 3) uint8.
    """
    block = max(1, round(region.side / size))
    x1, y1, x2, y2 = _source_window(region, image.shape, block)
    if x1 >= x2 or y1 >= y2:
        return np.zeros((size, size, 3), np.uint8)
    source = Image.fromarray(np.ascontiguousarray(image[y1:y2, x1:x2]))
    if block > 1:
        source = source.reduce(block)

    cos, sin = direction(region)
    step = region.side / size / block
    a, b, d, e = step * cos, -step * sin, step * sin, step * cos
    c = (region.cx - x1) / block - (a + b) * size / 2
    f = (region.cy - y1) / block - (d + e) * size / 2
    resampling = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
    rotated = source.transform((size, size), Image.Transform.AFFINE, (a, b, c, d, e, f), resampling)
    return np.array(rotated)


def direction(region: Square) -> tuple[float, float]:
    """Return cosine and sine of the square's angle."""
    quarter = region.angle_deg / 90
    if quarter == int(quarter):  # exact, so that quarter turns copy pixels
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter) % 4]
    angle = math.radians(region.angle_deg)
    return math.cos(angle), math.sin(angle)


def _source_window(region: Square, shape: tuple[int, ...], block: int) -> tuple[int, int, int, int]:
    """Return x1 y1 x2 y2 of the pixels that a crop reads, in whole blocks, with the kernel's margin."""
    cos, sin = direction(region)
    reach = region.side / 2 * (abs(cos) + abs(sin)) + 4 * block
    low = (math.floor((v - reach) / block) * block for v in (region.cx, region.cy))
    high = (math.ceil((v + reach) / block) * block for v in (region.cx, region.cy))
    (x1, y1), (x2, y2) = low, high
    height, width = shape[:2]
    return max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
