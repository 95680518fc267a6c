"""Intensities of the left and the right side of a face, from chimeras.

A chimera is one half of a face and its mirror image over the midline: a symmetric face, whose intensities are
those of this half. The same network predicts it, so no weights have to learn left and right.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maeface import checks, facts
from maeface.errors import ConfigError
from maeface.faces.finder import FaceCrop
from maeface.faces.geometry import to_crop
from maeface.faces.imaging import to_arrays
from maeface.faces.pose import measure_pose
from maeface.faces.quality import is_low_quality
from maeface.model.file_format.metadata import Metadata
from maeface.prediction.values import Crops, Output

SIDED = (6, 9, 10, 12, 43)
"""Action units whose sides are given: those of which renders with one-sided expressions gave the best results
(docs/log.md). Brows and the other units of the mouth hardly tell left from right."""
MAX_YAW = 20.0
"""Largest yaw to either side, degrees. Beyond it, a half of the face is too narrow for a chimera."""
SEAM = 3 / 128
"""Width in which the two halves are blended, as a fraction of the crop's side."""
FACES_TOGETHER = 256
"""Faces whose chimeras are in memory."""

Predict = Callable[[Crops], NDArray[np.float32]]
"""Returns probabilities and intensities of crops, as ``Predictor.predict_crops``."""


class SidedPredictor(Protocol):
    """What ``add_sides`` needs of a ``Predictor``."""

    metadata: Metadata
    sides: tuple[int, ...]

    def predict_crops(self, crops: Crops, output: Output = ..., mirror: bool = ...) -> NDArray[np.float32]:
        """Return probabilities and intensities of crops."""


def sided_aus(metadata: Metadata, asked: bool = True) -> tuple[int, ...]:
    """Return the action units of weights whose left and right are given; none if they are not asked for.

    Raises:
        ConfigError: they are asked for, and the weights have no intensity of any of ``SIDED``.
    """
    aus = tuple(au for au in metadata.aus if au in SIDED) if metadata.task != "detection" else ()
    if asked and not aus:
        raise ConfigError(
            f"{checks.name_of('sides')} needs weights with the intensity of one of "
            f"{' '.join(map(facts.au_name, SIDED))}; these predict {metadata.task} of "
            f"{' '.join(map(facts.au_name, metadata.aus))}; give {checks.name_of('weights')}"
        )
    return aus if asked else ()


def describe_sides(aus: Sequence[int]) -> dict[str, Any] | None:
    """Return the entry of a record: the action units with left and right, and up to which yaw (degrees)."""
    return {"aus": [*map(facts.au_name, aus)], "max_yaw": MAX_YAW} if aus else None


def refuse_ready_crops(sides: bool, aligned: bool) -> None:
    """Refuse left and right of ready crops.

    Raises:
        ConfigError: both are asked for.
    """
    if sides and aligned:
        raise ConfigError(
            f"{checks.name_of('sides')} needs the places of eyes, nose and mouth, which are not known of "
            f"ready crops; leave out {checks.name_of('aligned')}"
        )


def add_sides(
    predictor: SidedPredictor,
    values: NDArray[np.float32],
    faces: Sequence[FaceCrop],
    measures: NDArray[np.float32],
    mirror: bool,
) -> NDArray[np.float32]:
    """Return values with the columns of left and right, if the predictor is asked for them.

    Args:
        predictor: the predictor.
        values: (F, K) of F faces.
        faces: the faces.
        measures: (F, 8) of their quality (``faces.quality``); those of low quality get NaN.
        mirror: as for ``Predictor.predict_crops``.
    """
    if not predictor.sides:
        return values
    predict, usable = partial(predictor.predict_crops, mirror=mirror), ~is_low_quality(measures)
    return np.hstack([values, predict_sides(predict, predictor.metadata, faces, usable)])


def predict_sides(
    predict: Predict, metadata: Metadata, faces: Sequence[FaceCrop], usable: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Predict the intensities of the subject's left and right.

    Args:
        predict: the network.
        metadata: of its weights.
        faces: F faces.
        usable: (F,) faces to predict; None: all.

    Returns:
        (F, 2K), 0 to 5: of the left, then of the right, of the K action units of ``sided_aus``. NaN for a
        face that is not usable, has no landmarks, or is turned by more than ``MAX_YAW``.
    """
    aus, first = sided_aus(metadata), 0 if metadata.task == "intensity" else len(metadata.aus)
    columns = [first + metadata.aus.index(au) for au in aus]
    values = np.full((len(faces), 2 * len(aus)), np.nan, np.float32)
    points = np.array([one.face.landmarks for one in faces], np.float32).reshape(-1, 5, 2)
    seen = np.abs(measure_pose(points)[:, 0]) <= MAX_YAW  # False where it is NaN
    chosen = np.flatnonzero(seen if usable is None else seen & usable)
    for start in range(0, len(chosen), FACES_TOGETHER):
        group = [faces[k] for k in chosen[start : start + FACES_TOGETHER]]
        pixels = to_arrays([one.pixels for one in group])
        pairs = [
            make_chimeras(crop, to_crop(one.face.landmarks, one.square, 1))
            for crop, one in zip(pixels, group, strict=True)
        ]
        halves = [half for side in zip(*pairs, strict=True) for half in side]  # all left ones, then the right
        left, right = np.split(predict(halves)[:, columns], 2)
        values[chosen[start : start + FACES_TOGETHER]] = np.hstack([left, right])
    return values


def make_chimeras(
    crop: NDArray[np.uint8], points: NDArray[np.floating]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the chimeras of the subject's left and right half, (S, S, 3) uint8 each.

    The midline is parallel to the line from the middle of the eyes to the middle of the mouth. It is half way
    between this line and the tip of the nose: the skin is in between, too, when the head turns.

    Args:
        crop: (S, S, 3) uint8 RGB of an upright face.
        points: (5, 2) landmarks as fractions of S, ordered as in ``Face``.
    """
    size = crop.shape[0]
    eyes, nose, mouth = points[:2].mean(axis=0), points[2], points[3:].mean(axis=0)
    down = (mouth - eyes) / np.linalg.norm(mouth - eyes)
    across = np.array([down[1], -down[0]])  # to the right of the picture, the subject's left
    middle = ((eyes + mouth) / 2 + nose) / 2 * size
    x, y = np.meshgrid(*[np.arange(size, dtype=np.float32) + 0.5] * 2)
    across, middle = across.astype(np.float32), middle.astype(np.float32)
    distance = (x - middle[0]) * across[0] + (y - middle[1]) * across[1]  # (S, S), from the midline
    mirrored = _sample(crop, x - 2 * distance * across[0], y - 2 * distance * across[1])
    keep = np.clip(distance / np.float32(SEAM * size) + 0.5, 0, 1)[..., None]
    change = (mirrored - crop) * keep
    return _to_pixels(mirrored - change), _to_pixels(crop + change)


def _sample(image: NDArray[np.uint8], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return colours between pixels, bilinear; beyond the border those of the border."""
    size = image.shape[0]
    x, y = np.clip(x - 0.5, 0, size - 1), np.clip(y - 0.5, 0, size - 1)
    left, top = np.minimum(x.astype(np.int32), size - 2), np.minimum(y.astype(np.int32), size - 2)
    right, low = (x - left).astype(np.float32)[..., None], (y - top).astype(np.float32)[..., None]
    first, colours = top * size + left, image.reshape(-1, 3).astype(np.float32)
    corners = [colours.take(first + step, axis=0) for step in (0, 1, size, size + 1)]
    upper, lower = (one + (other - one) * right for one, other in (corners[:2], corners[2:]))
    mixed: NDArray[np.float32] = upper + (lower - upper) * low
    return mixed


def _to_pixels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(values).astype(np.uint8)
