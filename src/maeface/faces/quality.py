"""Measures of how well a face can be seen, and the rule that calls a face of low quality.

What the measures mean and how the limits were found is in ``docs/user_guide/quality.md``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageFilter

from maeface.faces.boxes import longer_side
from maeface.faces.finder import FaceCrop
from maeface.faces.geometry import Square, to_image
from maeface.faces.imaging import Image, to_arrays
from maeface.faces.pose import measure_pose

MEASURES = ("face_px", "yaw", "pitch", "roll", "sharpness", "agreement", "outside", "unlike")
"""The columns of ``measure_quality``."""
REASONS = (
    *("small face", "turned to the side", "turned up or down", "upside down"),
    *("blurred", "unsure detection", "cut off", "unlike known faces"),
)
"""What is wrong with a face if a measure is beyond its limit, in the order of ``MEASURES``."""

# Sharpness is measured at this size, px. A face is then 58 px high, so all faces from about 60 px on are
# compared at the same scale, and noise of single pixels is averaged away in large ones.
_SIZE = 64
# Ignored at each side of the crop, px: hair and background.
_BORDER = 10
# Pixels as near as this to black surroundings are ignored too: scaling, blur and gradient mix them.
_NEAR = 3
# Gradient energy of a crop of one colour is below this, levels squared a pixel; it has no sharpness.
_NO_DETAIL = 0.01


@dataclass(frozen=True)
class Limits:
    """Limits of the measures, beyond which a face is of low quality.

    Each is where the AU probabilities of ``maeface-nano`` begin to differ clearly from those of the same face
    in a good picture (``benchmarks/quality.py`` and ``studio/benchmarks/pose.py``). Weights scale ``unlike``
    so that its limit is 1.

    Attributes:
        face_px: least longer side of the face, px.
        sharpness: least sharpness.
        yaw: largest yaw to either side, degrees.
        pitch: largest pitch up or down, degrees.
        roll: largest roll to either side, degrees; beyond it, mistakes of the detector are likely.
        outside: largest fraction of the crop outside of the picture.
        agreement: least agreement of the detector's two passes.
        unlike: largest distance from the faces that the weights learned from.
    """

    face_px: float = 32.0
    sharpness: float = 0.2
    yaw: float = 35.0
    pitch: float = 30.0
    roll: float = 120.0
    outside: float = 0.1
    agreement: float = 0.7
    unlike: float = 1.0


LIMITS = Limits()


def measure_quality(
    crops: Sequence[FaceCrop], shapes: Sequence[tuple[int, ...]], unlike: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Measure how well faces can be seen.

    Args:
        crops: F faces.
        shapes: (H, W, ...) of the image of each face.
        unlike: (F,), of the weights (``Predictor.predict_faces``); None if they do not measure it.

    Returns:
        (F, 8) with the columns ``MEASURES``. Pose is NaN without landmarks, agreement where no detector
        looked, sharpness where a crop has no detail.
    """
    measures = np.full((len(crops), len(MEASURES)), np.nan, np.float32)
    if not crops:
        return measures
    measures[:, 0] = [longer_side(one.face) for one in crops]
    measures[:, 1:4] = measure_pose(np.stack([one.face.landmarks for one in crops]))
    measures[:, 4] = measure_sharpness([one.pixels for one in crops])
    measures[:, 5] = [one.agreement for one in crops]
    measures[:, 6] = [fraction_outside(one.square, shape) for one, shape in zip(crops, shapes, strict=True)]
    if unlike is not None:
        measures[:, 7] = unlike
    return measures


def is_low_quality(measures: NDArray[np.floating], limits: Limits = LIMITS) -> NDArray[np.bool_]:
    """Return whether faces are of low quality: at least one measure is beyond its limit.

    A measure that is NaN counts as within its limits, but a face without any detail is of low quality.

    Args:
        measures: (F, 8) with the columns ``MEASURES``.
        limits: of the measures.

    Returns:
        (F,).
    """
    low: NDArray[np.bool_] = np.asarray(_beyond(measures, limits).any(axis=1))
    return low


def describe_low_quality(row: Mapping[str, Any], limits: Limits = LIMITS) -> str:
    """Return why a face is of low quality: "small face, blurred"; "" if no measure is beyond its limit.

    Args:
        row: {measure: value}, such as a row of a table of predictions; others of its columns are ignored.
        limits: of the measures.
    """
    values = [row.get(name) for name in MEASURES]
    measures = [[float("nan") if value is None else float(value) for value in values]]
    beyond = _beyond(np.array(measures, np.float32), limits)[0]
    return ", ".join(reason for reason, low in zip(REASONS, beyond, strict=True) if low)


def _beyond(measures: NDArray[np.floating], limits: Limits) -> NDArray[np.bool_]:
    """Return which measures are beyond their limits, (F, 8)."""
    face_px, yaw, pitch, roll, sharpness, agreement, outside, unlike = np.asarray(measures).T
    return np.stack(
        [
            face_px < limits.face_px,
            np.abs(yaw) > limits.yaw,
            np.abs(pitch) > limits.pitch,
            np.abs(roll) > limits.roll,
            ~(sharpness >= limits.sharpness),
            agreement < limits.agreement,
            outside > limits.outside,
            unlike > limits.unlike,
        ],
        axis=1,
    )


def measure_sharpness(crops: Sequence[Image]) -> NDArray[np.float32]:
    """Return the fraction of each face's finest detail that a slight blur would remove, 0..1.

    The crop is scaled to 64 px and blurred by a binomial of 3 x 3. The sharpness is the loss of gradient
    energy in the middle of the crop: across or down, whichever is less, because motion blurs in one direction
    only. A picture that is blurred already loses little. The measure does not depend on brightness and
    contrast, nor on the size of faces from about 100 px on.

    Args:
        crops: (S, S, 3) uint8 RGB each, F of any sides, as ``finder`` crops faces; their black surroundings
            of a picture are ignored.

    Returns:
        (F,); NaN for a crop that has no detail at all.
    """
    if not len(crops):
        return np.zeros(0, np.float32)
    small = [np.asarray(_shrink(crop)) for crop in to_arrays(crops)]
    grey = np.stack(small).astype(np.float32)  # (F, 64, 64)
    blurred = (grey[:, :-2] + 2 * grey[:, 1:-1] + grey[:, 2:]) / 4
    blurred = (blurred[:, :, :-2] + 2 * blurred[:, :, 1:-1] + blurred[:, :, 2:]) / 4
    inside, inner = slice(_BORDER, _SIZE - _BORDER), slice(_BORDER - 1, 1 - _BORDER)
    before, after = grey[:, inside, inside], blurred[:, inner, inner].astype(np.float32)
    seen = np.ones(before.shape, bool)
    for k in np.flatnonzero((grey == 0).any(axis=(1, 2))):
        black = PillowImage.fromarray((grey[k] == 0).astype(np.uint8) * 255)
        seen[k] = np.asarray(black.filter(ImageFilter.BoxBlur(_NEAR)))[inside, inside] == 0
    result: NDArray[np.float32] = np.minimum(*(_lose(before, after, seen, axis) for axis in (1, 2)))
    return result


def _shrink(pixels: NDArray[np.uint8]) -> PillowImage.Image:
    """Return a crop in grey, 64 px."""
    grey = PillowImage.fromarray(pixels).convert("L")
    if len(pixels) == _SIZE:
        return grey
    smooth = PillowImage.Resampling.BOX if len(pixels) > _SIZE else PillowImage.Resampling.BICUBIC
    return grey.resize((_SIZE, _SIZE), smooth)


def _lose(
    before: NDArray[np.float32], after: NDArray[np.float32], seen: NDArray[np.bool_], axis: int
) -> NDArray[np.float32]:
    """Return the fraction of gradient energy along an axis that is lost, 0..1; NaN if there was none.

    Args:
        before: (F, N, N) grey levels.
        after: the same, blurred.
        seen: (F, N, N), False for pixels that are ignored.
        axis: 1 down, 2 across.
    """
    energies = []
    for values in (before, after):
        steps = np.diff(values, axis=axis)
        steps *= seen[:, 1:] if axis == 1 else seen[:, :, 1:]
        energies.append(np.einsum("fij,fij->f", steps, steps))
    flat = energies[0] < _NO_DETAIL * before[0].size
    return np.where(flat, np.nan, np.maximum(0, 1 - energies[1] / np.where(flat, 1, energies[0]))).astype(
        np.float32
    )


def fraction_outside(square: Square, shape: tuple[int, ...]) -> float:
    """Return the fraction of a rotated square that lies outside of an image, 0..1.

    Args:
        square: in px of the image.
        shape: (H, W, ...) of the image.
    """
    corners = [(float(x), float(y)) for x, y in to_image(_UNIT, square, 1)]
    height, width = shape[:2]
    if all(0 <= x <= width and 0 <= y <= height for x, y in corners):
        return 0.0
    for axis, limit, sign in ((0, 0.0, 1.0), (0, width, -1.0), (1, 0.0, 1.0), (1, height, -1.0)):
        corners = _clip(corners, axis, limit, sign)
    inside = _area(corners) / square.side**2
    return min(max(1 - inside, 0.0), 1.0)


_UNIT = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
_Points = list[tuple[float, float]]


def _clip(corners: _Points, axis: int, limit: float, sign: float) -> _Points:
    """Return the part of a convex polygon on one side of a line: ``sign * (coordinate - limit) >= 0``."""
    kept: _Points = []
    for k, here in enumerate(corners):
        before = corners[k - 1]
        depth, depth_before = sign * (here[axis] - limit), sign * (before[axis] - limit)
        if (depth < 0) != (depth_before < 0):
            t = depth_before / (depth_before - depth)
            kept.append((before[0] + t * (here[0] - before[0]), before[1] + t * (here[1] - before[1])))
        if depth >= 0:
            kept.append(here)
    return kept


def _area(corners: _Points) -> float:
    """Return the area of a polygon (the shoelace formula)."""
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    return abs(sum(x * other_y - other_x * y for (x, y), (other_x, other_y) in pairs)) / 2
