"""Face crops as stacks for a network, and its outputs as probabilities and intensities."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maeface.errors import DataError
from maeface.faces.imaging import Image, Stack, stack
from maeface.facts import INTENSITY_MAX
from maeface.model.file_format.metadata import Metadata

Output = Literal["head", "features"]
Floats = NDArray[np.float32]
Values = tuple[Floats, Floats]
"""Of F faces: (F, K), and ``unlike`` (F,)."""
Crops = Sequence[Image] | NDArray[np.uint8]
"""F crops (S, S, 3) uint8 RGB, of any sides, or an array (F, S, S, 3)."""


def require_crops(crops: Crops) -> None:
    """Check that crops are arrays of colours of 8 bits: other numbers would give values, and wrong ones.

    Raises:
        DataError: they are not.
    """
    for number, crop in enumerate(crops[:1] if isinstance(crops, np.ndarray) else crops):
        if not isinstance(crop, np.ndarray):
            kind = type(crop).__name__
            raise DataError(f"crop {number} is of type {kind}; expected an array of NumPy, (S, S, 3) uint8")
        if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3:
            raise DataError(
                f"crop {number} is {crop.dtype} of shape {crop.shape}; expected uint8 RGB, (S, S, 3)"
            )


def stack_by_side(crops: Crops) -> list[Stack]:
    """Return crops (S, S, 3) as stacks (B, S, S, 3), in their order: one stack if all have one side."""
    if isinstance(crops, np.ndarray):
        return [crops]
    one_side = len({crop.shape for crop in crops}) == 1
    return [stack(crops)] if one_side else [stack([crop]) for crop in crops]


def read_head(head: NDArray[np.float32], metadata: Metadata) -> Values:
    """Return probabilities and intensities (``to_values``), and ``unlike`` as the mean of the views.

    Args:
        head: (V, F, O), or (V, F, O + 1) with ``unlike`` last if the weights have it.
        metadata: of the weights.

    Returns:
        (F, O), and (F,), NaN if the weights do not have it.
    """
    task = metadata.task
    if metadata.unlike is None:
        return to_values(head, task), np.full(head.shape[1], np.nan, np.float32)
    return to_values(head[..., :-1], task), head[..., -1].mean(axis=0)


def to_values(head: NDArray[np.float32], task: str | None) -> NDArray[np.float32]:
    """Return probabilities (0 to 1) and intensities (0 to 5) side by side, as the mean of the views.

    Args:
        head: (V, F, O), outputs of the head for V views of F crops.
        task: of the model, "detection", "intensity" or "both".

    Returns:
        (F, O).
    """
    outputs = head.shape[2]
    occurrences = outputs if task == "detection" else outputs // 2 if task == "both" else 0
    with np.errstate(over="ignore"):
        probabilities = 1 / (1 + np.exp(-head[..., :occurrences]))
    intensities = np.clip(head[..., occurrences:], 0, 1) * np.float32(INTENSITY_MAX)
    values: NDArray[np.float32] = np.concatenate([probabilities, intensities], axis=2).mean(axis=0)
    return values
