"""Tensors rounded to fewer bits for a file, and float32 again.

``int8`` stores every matrix as whole numbers from -127 to 127 with one scale for each row (output channel):
the numbers under the matrix's name, the scales under its name and ``_scale``. All other tensors stay float32.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from maeface.errors import WeightsError

Dtype = Literal["fp32", "bf16", "fp16", "int8"]

FLOATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SCALE = "_scale"
LEVELS = 127


def encode(tensors: Mapping[str, Tensor], dtype: Dtype) -> dict[str, Tensor]:
    """Return float32 tensors as they are stored, by name; ``decode`` returns them rounded."""
    if dtype != "int8":
        return {name: value.to(FLOATS[dtype]) for name, value in tensors.items()}
    stored: dict[str, Tensor] = {}
    for name, value in tensors.items():
        stored[name] = value.float()
        if name.endswith(".weight") and value.ndim >= 2:
            stored[name], stored[name + SCALE] = to_levels(stored[name])
    return stored


def to_levels(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return a float32 matrix (R, ...) as whole numbers (R, ...) int8, and the scales (R,) of its rows."""
    rows = matrix.flatten(1)  # (output channels, the rest)
    scale = rows.abs().amax(dim=1) / LEVELS
    levels = (rows / torch.where(scale == 0, 1.0, scale)[:, None]).round()
    return levels.nan_to_num().clamp(-LEVELS, LEVELS).to(torch.int8).view(matrix.shape), scale


def from_levels(levels: Tensor, scale: Tensor) -> Tensor:
    """Return the float32 matrix of whole numbers and scales."""
    return levels.float() * scale.float().view(-1, *[1] * (levels.ndim - 1))


def decode(path: Path, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a maeface file, with int8 matrices as float32 again.

    Args:
        path: of the file, for messages.
        stored: its tensors by name.

    Raises:
        WeightsError: an int8 tensor without a scale for each of its rows.
    """
    tensors = {
        name: value
        for name, value in stored.items()
        if not (name.endswith(SCALE) and name.removesuffix(SCALE) in stored)
    }
    for name, levels in tensors.items():
        if levels.dtype == torch.int8:
            scale = stored.get(name + SCALE)
            if scale is None or scale.shape != levels.shape[:1] or not scale.is_floating_point():
                raise WeightsError(
                    f"{path}: {name} is of whole numbers and has no scale for each of its rows"
                )
            tensors[name] = from_levels(levels, scale)
    return tensors


def refuse_non_finite(tensors: Mapping[str, Tensor], subject: str) -> None:
    """Refuse NaN, infinity and whole numbers; the message begins with ``subject``.

    Raises:
        WeightsError: a tensor has such a value.
    """
    bad = [name for name, t in tensors.items() if not t.is_floating_point() or not t.isfinite().all()]
    if bad:
        raise WeightsError(f"{subject}: NaN, infinite or no floating-point values in {abbreviate(bad)}")


def abbreviate(names: Iterable[str]) -> str:
    """Return the first five names and how many more there are."""
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(names[:5]) or "none") + more
