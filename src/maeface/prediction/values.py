"""Face crops as stacks for a network, and its outputs as probabilities and intensities."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maeface.faces.imaging import Image, Stack, stack
from maeface.facts import INTENSITY_MAX
from maeface.model.file_format.metadata import Metadata

Output = Literal["head", "features"]
Values = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Of F faces: (F, K), and ``unlike`` (F,)."""
Crops = Sequence[Image] | NDArray[np.uint8]
"""F crops (S, S, 3) uint8 RGB, of any sides, or an array (F, S, S, 3)."""


def stack_by_side(crops: Crops) -> list[Stack]:
    """Return crops (S, S, 3) as stacks (B, S, S, 3), in their order: one stack if all have one side."""
    if isinstance(crops, np.ndarray):
        return [crops]
    one_side = len({crop.shape for crop in crops}) == 1
    return [stack(crops)] if one_side else [stack([crop]) for crop in crops]


def read_head(head: NDArray[np.float32], metadata: Metadata) -> Values:
    """Return probabilities and intensities (``to_values``), and ``unlike`` as the mean of the views.

    Args:
        head: (V, F, O + 2K), or (V, F, O + 2K + 1) with ``unlike`` last if the weights have it.
        metadata: of the weights.

    Returns:
        (F, O + 2K), and (F,), NaN if the weights do not have it.
    """
    task, sides = metadata.task, len(metadata.sides)
    if metadata.unlike is None:
        return to_values(head, task, sides), np.full(head.shape[1], np.nan, np.float32)
    return to_values(head[..., :-1], task, sides), head[..., -1].mean(axis=0)


def to_values(head: NDArray[np.float32], task: str | None, sides: int = 0) -> NDArray[np.float32]:
    """Return probabilities (0 to 1) and intensities (0 to 5) side by side, as the mean of the views.

    Args:
        head: (V, F, O + 2K), outputs of the head for V views of F crops, then those for the left and the
            right. The second view is the mirror image: its left is the right of the face.
        task: of the model, "detection", "intensity" or "both".
        sides: K, the number of action units with an intensity of each side.

    Returns:
        (F, O + 2K).
    """
    outputs = head.shape[2] - 2 * sides
    occurrences = outputs if task == "detection" else outputs // 2 if task == "both" else 0
    with np.errstate(over="ignore"):
        probabilities = 1 / (1 + np.exp(-head[..., :occurrences]))
    intensities = np.clip(head[..., occurrences:], 0, 1) * np.float32(INTENSITY_MAX)
    if sides:
        intensities[1:, :, -2 * sides :] = np.roll(intensities[1:, :, -2 * sides :], sides, axis=2)
    values: NDArray[np.float32] = np.concatenate([probabilities, intensities], axis=2).mean(axis=0)
    return values
