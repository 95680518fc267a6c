"""Whether the tensors of a file fit a model."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from maeface.errors import WeightsError


def refuse_misfits(
    path: Path, shapes: Mapping[str, torch.Size], tensors: Mapping[str, Tensor], extra: Iterable[str]
) -> None:
    """Refuse tensors that are missing, of other shapes, or of another architecture; the message lists all."""
    problems = [f"{name} is missing" for name in shapes if name not in tensors]
    for name, shape in shapes.items():
        if name in tensors and tensors[name].shape != shape:
            hint = " (interpolate resizes positions)" if name == "pos_embed" else ""
            problems.append(f"{name} is {_describe(tensors[name].shape)}, expected {_describe(shape)}{hint}")
    problems += [f"{name} is not expected" for name in sorted(extra)]
    if problems:
        raise WeightsError(f"{path} does not fit the model: {'; '.join(problems)}")


def _describe(shape: torch.Size) -> str:
    return "x".join(str(side) for side in shape) or "scalar"
