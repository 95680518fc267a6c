"""What goes into a run and what comes out of it, by name and content."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maeface import config, console, files
from maeface.errors import ConfigError
from maeface.model import weights
from maeface.model.au import AUModel
from maeface.model.mae import MAE
from maeface.train.run import WEIGHTS, Run

FILE = WEIGHTS


def finished(run: Run) -> bool:
    """Whether the run in this folder has ended before; says so."""
    if not (run.folder / FILE).is_file():
        return False
    if run.writes:
        console.say(f"{run.folder} is finished: {run.folder / FILE}")
    return True


def inputs(init: str, ids: Iterable[object]) -> dict[str, Any]:
    """What tells one run from another beside its settings: the initial weights and the faces.

    Raises:
        ConfigError: no such weights file.
        WeightsError: a name of no weights, or some of its parts are missing.
    """
    names = [str(value) for value in ids]
    found: dict[str, Any] = {
        "init": init,
        "faces": len(names),
        "ids": hashlib.sha256("\n".join(names).encode()).hexdigest()[:16],
    }
    if init != "random":
        paths = weights.files_of(weights.find(init))
        if not paths[0].is_file():
            raise ConfigError(f"no weights file {init} to start from; give a file, or 'random'")
        found |= {"init": Path(init).name, "init_sha256": " ".join(files.sha256(path) for path in paths)}
    return found


def write_weights(
    run: Run,
    settings: config.Pretrain | config.Finetune,
    model: MAE | AUModel,
    preprocessing: weights.Preprocessing,
    inputs: Mapping[str, Any],
    **known: Any,  # noqa: ANN401 - of ``weights.describe``
) -> None:
    """Write ``weights.safetensors`` of a finished run, with its settings inside."""
    path = run.folder / FILE
    provenance = {
        "recipe": settings.title,
        "settings": json.dumps(settings.model_dump(mode="json"), sort_keys=True),
        **{name: str(value) for name, value in inputs.items()},
    }
    weights.save(path, model, weights.describe(model, preprocessing, provenance=provenance, **known))
    console.say(f"weights: {path}")
