"""Who is shown in renders: the people of a training, who are refused, and the folds of SynthAU."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maeface import checks, facts
from maeface.errors import ConfigError, DataError
from maeface.model.weights import read_metadata
from maeface.model.zoo import find
from maeface_studio.output.render import SETTINGS
from maeface_studio.weights import recipe

SYNTHAU_SEED = 0


def read_seed(folder: Path) -> int | None:
    """Return the seed of renders, which tells who they show; None where the folder does not say it.

    Raises:
        DataError: the settings of the renders cannot be read.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return None
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["seed"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} has no readable seed; render the folder anew") from error


def training_seeds(weights: str) -> set[int]:
    """Return the seeds of the renders that weights learned from, and those that they went on from.

    They are in the provenance, and in the recipes of these names. Of other weights none is known.

    Args:
        weights: a file, or the name of packaged weights.

    Raises:
        WeightsError: not maeface's weights.
    """
    provenance = read_metadata(find(weights)).provenance
    seeds = {int(seed) for seed in provenance.get(recipe.RENDER_SEEDS, "").split(",") if seed}
    names = [Path(weights).stem, Path(provenance.get("init", "")).stem]
    while names:
        name = names.pop()
        if (recipe.RECIPES / f"{name}.toml").is_file():
            made = recipe.load(name)
            seeds |= made.seeds()
            names.append(Path(made.init).stem)
    return seeds


def require_unseen(folder: Path, tools: Mapping[str, str], fold: str | None) -> None:
    """Check that no weights learned from the people of renders, as far as it is known.

    Args:
        folder: of renders.
        tools: weights by the name of the tool.
        fold: of SynthAU, which is scored alone.

    Raises:
        ConfigError: weights learned from them, or the folder has no such fold.
        DataError: as for ``read_seed``.
        WeightsError: not maeface's weights.
    """
    seed = read_seed(folder)
    if seed is None:
        return
    if fold is not None and seed != SYNTHAU_SEED:
        raise ConfigError(f"--fold is of SynthAU, which has seed {SYNTHAU_SEED}; {folder} has seed {seed}")
    for tool, weights in tools.items():
        if seed in training_seeds(weights):
            raise ConfigError(
                f"{tool} learned from the people of {folder}, who are of seed {seed}; render others, such as "
                f"SynthAU's (seed {SYNTHAU_SEED})"
            )
        tested = _tested_fold(weights)
        if seed == SYNTHAU_SEED and tested is not None and fold != tested:
            raise ConfigError(f"{tool} learned from the other folds of SynthAU; give --fold {tested}")


def _tested_fold(weights: str) -> str | None:
    """Return the fold of SynthAU that was left out of a training; None if it was no such training."""
    settings = json.loads(read_metadata(find(weights)).provenance.get("settings", "{}"))
    left_out = set(settings.get("data", {}).get("test_subjects", ()))
    return next((fold for fold, names in _folds().items() if set(names) == left_out), None)


def _folds() -> dict[str, tuple[str, ...]]:
    return facts.protocol("synthau", "threefold")


def subjects_of(fold: str) -> tuple[str, ...]:
    """Return the subjects of a fold of SynthAU.

    Raises:
        ConfigError: no such fold.
    """
    checks.require_choice("fold", fold, list(_folds()))
    return _folds()[fold]


def folds_of(folder: Path, subjects: Sequence[str]) -> tuple[NDArray[np.str_] | None, list[str]]:
    """Return the fold of SynthAU of each face, and a remark on how many of its people there are.

    Args:
        folder: of renders.
        subjects: of the faces, (N,).

    Returns:
        (N,) folds, or None if the faces are not all of SynthAU.
    """
    folds = {subject: fold for fold, names in _folds().items() for subject in names}
    if read_seed(folder) != SYNTHAU_SEED or not set(subjects) <= folds.keys():
        return None, []
    found = np.array([folds[subject] for subject in subjects])
    return found, [f"SynthAU: {len(set(subjects))} of its {len(folds)} people."]
