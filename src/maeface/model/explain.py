"""Which patches of a face the value of an action unit rests on.

The encoder reads any subset of the patches, as it did when it was pre-trained (He et al. 2022). So patches
are left out, not painted over: what would be painted there is a picture too, to which the model responds.
Many random subsets of the patches of a face are encoded, and a linear model of "patch k was read" is fitted
to the outputs by ridge regression. Its coefficient is the effect of a patch: how much the output rises, on
average over the subsets, if the patch is read as well. This is the regression of LIME (Ribeiro, Singh and
Guestrin 2016) on random subsets as in RISE (Petsiuk, Das and Saenko 2018), with patches of a transformer left
out as by Covert, Kim and Lee (2023). In the deletion test of ``benchmarks/explain.py`` it is more faithful
than attention weighted by its gradient (Chefer, Gur and Wolf 2021). It is also more faithful than leaving out
one patch at a time, if removed patches are not read; if they are painted over, it is not.

Shapes: F faces, S side of a crop in pixels, L = rows x columns patches, N subsets, A action units.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maeface import facts
from maeface.errors import ConfigError
from maeface.model import preprocessing
from maeface.model.au import AUModel
from maeface.model.file_format.metadata import Preprocessing

SUBSETS_PER_PATCH = 8
"""Subsets for each patch of the grid: with fewer, the maps of two draws of the subsets are less alike."""
SMALL_SUBSET = 3 / 8
"""Fraction of the patches that half of the subsets hold; the other half are their complements."""
RIDGE = 0.01
TOGETHER = 64
"""Subsets that are encoded at once."""


def explain(
    model: AUModel,
    crops: NDArray[np.uint8],
    aus: Sequence[int],
    settings: Preprocessing,
    per_patch: int = SUBSETS_PER_PATCH,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Return how much the value of action units rests on each patch of a face.

    Args:
        model: in evaluation mode, on any device.
        crops: (F, S, S, 3) uint8 RGB, framed as for prediction.
        aus: A action units of the model.
        settings: the preprocessing of the weights. Where prediction takes the mean over the face and its
            mirror image, so does this.
        per_patch: subsets of patches for each patch of the grid.
        seed: of the subsets. Equal arguments give equal maps.

    Returns:
        (F, A, rows, columns) float32, 0 to 1: the effect of each patch, 0 where it lowers the value, divided
        by the largest effect in this face for this action unit. 1 is the patch that raises the value most.
        All 0 if no patch raises the value. Maps do not say how high the value is: also the map of an action
        unit that is absent reaches 1.

    Raises:
        ConfigError: the model has no such action unit, or its patches are too few.
    """
    effects = patch_effects(model, crops, aus, settings, per_patch, seed).clip(min=0)
    largest = effects.max(axis=(2, 3), keepdims=True)
    relevance: NDArray[np.float32] = np.divide(
        effects, largest, out=np.zeros_like(effects), where=largest > 0
    )
    return relevance


def patch_effects(
    model: AUModel,
    crops: NDArray[np.uint8],
    aus: Sequence[int],
    settings: Preprocessing,
    per_patch: int = SUBSETS_PER_PATCH,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Return by how much each patch raises (> 0) or lowers (< 0) the value of action units.

    Takes the same arguments and raises the same errors as ``explain``.

    Returns:
        (F, A, rows, columns) float32, in logits of the probability; for models of intensity alone, in
        fractions of the scale of intensity (1 for FACS 5).
    """
    columns = [_column(model, au) for au in aus]
    grid, device = model.encoder.grid, model.head.weight.device
    subsets = list(_draw_subsets(grid**2, per_patch, seed))
    fit = _ridge(subsets, grid**2).to(device)
    effects = np.zeros((len(crops), len(columns), grid, grid), np.float32)
    for face, crop in enumerate(crops):
        pixels = torch.as_tensor(np.ascontiguousarray(crop), device=device).permute(2, 0, 1)[None]
        inputs = preprocessing.to_input(pixels, settings.image_size, settings.mean, settings.std)
        views = [inputs, inputs.flip(3)] if settings.mirror else [inputs]
        maps = []
        for view in views:
            values = _values_of_subsets(model, view, subsets)[:, columns]  # (N, A)
            maps.append((fit @ (values - values.mean(dim=0))).T.reshape(-1, grid, grid))
        mirrored = [maps[0], *(one.flip(2) for one in maps[1:])]
        effects[face] = torch.stack(mirrored).mean(dim=0).cpu().numpy()
    return effects


def _column(model: AUModel, au: int) -> int:
    """Return the output of the head for an AU: its logit, or its intensity if the model has no logit."""
    if au not in model.aus:
        names = " ".join(facts.au_name(one) for one in model.aus)
        raise ConfigError(f"the model has no {facts.au_name(au)} to explain; it has {names}")
    return model.aus.index(au)


def _draw_subsets(patches: int, per_patch: int, seed: int) -> Iterator[Tensor]:
    """Yield indices of patches (N, K) int64: random subsets, then their complements.

    With subsets of one size, effects would be known only up to a constant; so there are two sizes. Each patch
    is in exactly half of the subsets.
    """
    small = round(SMALL_SUBSET * patches)
    if not 0 < small < patches:
        raise ConfigError(f"an explanation needs 2 patches at least, and the model has {patches}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(patches * per_patch // 2, patches, generator=generator).argsort(dim=1)
    yield order[:, :small]
    yield order[:, small:]


def _ridge(subsets: Sequence[Tensor], patches: int) -> Tensor:
    """Return the matrix (L, N) that maps centred outputs to the coefficients of the patches."""
    read = torch.cat([torch.zeros(len(one), patches).scatter_(1, one, 1.0) for one in subsets])
    read -= read.mean(dim=0)
    matrix: Tensor = torch.linalg.solve(read.T @ read + RIDGE * len(read) * torch.eye(patches), read.T)
    return matrix


@torch.inference_mode()
def _values_of_subsets(model: AUModel, image: Tensor, subsets: Sequence[Tensor]) -> Tensor:
    """Return the outputs of the head (N, O) float32 for one image (1, 3, I, I) of which subsets are read."""
    values = []
    for subset in subsets:
        for keep in torch.split(subset, TOGETHER):
            images = image.expand(len(keep), -1, -1, -1)
            values.append(model.head(model.features(images, keep.to(image.device))).float())
    return torch.cat(values)
