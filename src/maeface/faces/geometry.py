"""Boxes, points, and the one crop of the whole project.

Pixel coordinates: x to the right, y down, (0, 0) is the corner of the first pixel, whose centre is
therefore (0.5, 0.5). Angles are in degrees; a positive angle is a face whose right-hand eye (as seen
in the image) is the lower one, that is, a head turned clockwise.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# The paper is silent on how much is kept around the second box. RetinaFace's box ends at the hairline
# and at the chin; a tenth more on the side keeps a jaw that drops (AU26, AU27) and the forehead
# that raised brows wrinkle (AU1, AU2) inside, at little cost in pixels.
MARGIN = 1.1

# Squares are put on a grid, so that the last bits of a network's arithmetic, which differ between
# devices and numbers of threads, do not move the pixels of a crop. That noise is of the order of a
# millionth of the face's size; the grid is about a hundredth of it (a pixel of a 224 px crop to either
# side) and one degree: ten thousand times the noise, and less than the detector's own error.
GRID_STEPS = 128
GRID_DEGREES = 1.0

# Eyes nearer to each other than this part of the box's side (a profile) say little about the angle.
_PROFILE = 0.12


@dataclass(frozen=True)
class Face:
    """A detected face.

    Attributes:
        box: (4,) float32, x1 y1 x2 y2 in px.
        points: (5, 2) float32 in px: left eye, right eye, nose, left and right corner of the mouth, as seen.
        score: 0..1.
    """

    box: NDArray[np.float32]
    points: NDArray[np.float32]
    score: float


@dataclass(frozen=True)
class Square:
    """A turned square in an image: centre and side in px, angle in degrees."""

    cx: float
    cy: float
    side: float
    angle_deg: float = 0.0


def eye_angle(points: NDArray[np.floating]) -> float:
    """By how many degrees a face is turned: the slope of the line between its eyes, -180..180.

    Where the eyes nearly coincide (a profile), the line from the eyes to the mouth is taken instead.

    Args:
        points: (5, 2) px.
    """
    left, right = np.asarray(points[0], np.float64), np.asarray(points[1], np.float64)
    down = (np.asarray(points[3], np.float64) + points[4] - left - right) / 2
    across = right - left
    # A face's eyes are about as far apart as they are above the mouth.
    if math.hypot(*across) < 3 * _PROFILE * math.hypot(*down):
        across = np.array([down[1], -down[0]])
    if not np.isfinite(across).all() or not across.any():
        return 0.0
    return math.degrees(math.atan2(across[1], across[0]))


def extent(points: NDArray[np.floating]) -> tuple[float, float, float]:
    """Where five points lie and how large the face is: middle between eyes and mouth, and a length.

    Args:
        points: (5, 2) px, finite.

    Returns:
        x, y, and the hypotenuse of (eye to eye, eyes to mouth), which a turn of the head changes little; px.
    """
    known = np.asarray(points, np.float64)
    eyes, mouth = known[:2].mean(axis=0), known[3:].mean(axis=0)
    x, y = ((eyes + mouth) / 2).tolist()
    return x, y, math.hypot(*(known[1] - known[0]), *(mouth - eyes))


def square(face: Face, margin: float = MARGIN, angle_deg: float = 0.0) -> Square:
    """The square around a face's box: its side is the longer side of the box times ``margin``.

    Args:
        face: a face in the image's own coordinates.
        margin: how much larger than the box.
        angle_deg: the angle that the square is turned by, about the centre of the box.
    """
    x1, y1, x2, y2 = (float(v) for v in face.box)
    return snap(Square((x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, y2 - y1) * margin, angle_deg))


def snap(region: Square) -> Square:
    """The nearest square on the grid: whole degrees, and a power of two of px, 1/91 to 1/181 of the side."""
    step = 2.0 ** round(math.log2(max(region.side, 1.0))) / GRID_STEPS
    return Square(
        round(region.cx / step) * step,
        round(region.cy / step) * step,
        max(round(region.side / step), 1) * step,
        round(region.angle_deg / GRID_DEGREES) * GRID_DEGREES,
    )


def to_crop(points: NDArray[np.floating], region: Square, size: int) -> NDArray[np.float64]:
    """Points (..., 2) of the image to points of the crop of ``region`` at ``size``."""
    cos, sin = _direction(region)
    x, y = (
        np.asarray(points[..., 0], np.float64) - region.cx,
        np.asarray(points[..., 1], np.float64) - region.cy,
    )
    turned = np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)
    return turned * (size / region.side) + size / 2


def to_image(points: NDArray[np.floating], region: Square, size: int) -> NDArray[np.float64]:
    """Points (..., 2) of the crop of ``region`` at ``size`` back to points of the image."""
    cos, sin = _direction(region)
    scaled = (np.asarray(points, np.float64) - size / 2) * (region.side / size)
    x, y = scaled[..., 0], scaled[..., 1]
    return np.stack([cos * x - sin * y + region.cx, sin * x + cos * y + region.cy], axis=-1)


def crop(image: NDArray[np.uint8], region: Square, size: int) -> NDArray[np.uint8]:
    """Cut ``region`` out of ``image``, turned upright: the only crop there is.

    One bicubic resampling from the source. Where the crop shrinks, whole blocks of pixels are averaged
    first, so that fine texture does not alias. Outside the image it is black.

    Args:
        image: (H, W, 3) uint8.
        region: what to cut, in px of ``image``.
        size: side of the result.

    Returns:
        (size, size, 3) uint8.
    """
    block = max(1, round(region.side / size))
    x1, y1, x2, y2 = _window(region, image.shape, block)
    if x1 >= x2 or y1 >= y2:
        return np.zeros((size, size, 3), np.uint8)
    source = Image.fromarray(np.ascontiguousarray(image[y1:y2, x1:x2]))
    if block > 1:
        source = source.reduce(block)

    cos, sin = _direction(region)
    step = region.side / size / block
    a, b, d, e = step * cos, -step * sin, step * sin, step * cos
    c = (region.cx - x1) / block - (a + b) * size / 2
    f = (region.cy - y1) / block - (d + e) * size / 2
    turned = source.transform(
        (size, size), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC
    )
    return np.array(turned)


def _direction(region: Square) -> tuple[float, float]:
    quarter = region.angle_deg / 90
    if quarter == int(quarter):  # exact, so that quarter turns copy pixels
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter) % 4]
    angle = math.radians(region.angle_deg)
    return math.cos(angle), math.sin(angle)


def _window(region: Square, shape: tuple[int, ...], block: int) -> tuple[int, int, int, int]:
    """The part of the image that the crop needs, with room for the bicubic kernel, in whole blocks."""
    cos, sin = _direction(region)
    reach = region.side / 2 * (abs(cos) + abs(sin)) + 4 * block
    low = (math.floor((v - reach) / block) * block for v in (region.cx, region.cy))
    high = (math.ceil((v + reach) / block) * block for v in (region.cx, region.cy))
    (x1, y1), (x2, y2) = low, high
    height, width = shape[:2]
    return max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
