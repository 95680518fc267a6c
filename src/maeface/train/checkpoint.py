"""Checkpoints: what changes in training, saved to a file and restored from it.

RUN/checkpoints/00001234.safetensors    tensors, and as metadata the state (JSON) and a SHA-256 of both

There is one file a checkpoint, written whole or not at all; the last two are kept. Of a network in parts it
is a folder instead (``sharded_checkpoint``). Either goes on with any number of ranks, in parts or not.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from maeface import console
from maeface.errors import DataError, WeightsError
from maeface.model.file_format.fit import refuse_misfits
from maeface.model.file_format.storage import save_tensors
from maeface.train import ranks, sharded_checkpoint, sharding

FOLDER = "checkpoints"
SUFFIX = ".safetensors"
KEPT = 2
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Of AdamW, by the names that ``torch.optim`` gives them."""


@dataclass
class State:
    """The numbers that change in training.

    Attributes:
        step: optimiser steps so far.
        best_loss: lowest validation loss so far; None before the first evaluation.
        best_step: step of ``best_loss``.
        stale: evaluations since ``best_step``.
        finished: whether training has ended, by its number of epochs or by early stopping.
        skipped: steps that changed nothing, because their loss or gradient was not finite.
        skipped_in_row: how many of the last steps these were.
    """

    step: int = 0
    best_loss: float | None = None
    best_step: int = 0
    stale: int = 0
    finished: bool = False
    skipped: int = 0
    skipped_in_row: int = 0


@dataclass
class Learner:
    """Everything that changes in training.

    Attributes:
        model: the model that is trained.
        optimizer: of its parameters.
        state: the numbers.
        best: the best weights so far, by name; None before the first evaluation.
        mean: the running mean of the weights, by name (``ema``); None without one.
        whole: where ``model`` is in parts, the model that gets its weights when they are used; else None.
    """

    model: nn.Module
    optimizer: torch.optim.AdamW
    state: State = field(default_factory=State)
    best: dict[str, Tensor] | None = None
    mean: dict[str, Tensor] | None = None
    whole: nn.Module | None = None


class Saved(NamedTuple):
    """What was read from a checkpoint.

    Attributes:
        tensors: on the CPU; empty where they are in parts.
        state: the fields of ``State``.
        names: of the tensors that are in parts.
        folder: of the parts; None where there are none.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    names: list[str]
    folder: Path | None


def save(run_folder: Path, learner: Learner) -> None:
    """Write a checkpoint of a learner; called by rank 0, and by all ranks where the model is in parts.

    Raises:
        DataError: weights that are not finite; the checkpoint before is kept.
        ResourceError: the disk is full or cannot be written; the checkpoints before are intact.
    """
    weights = learner.model.state_dict()
    finite = all(bool(sharding.own(value).isfinite().all()) for value in weights.values())
    if learner.whole is not None:
        finite = all(ranks.gather(finite))
    if not finite:
        raise DataError(f"the weights are not finite after step {learner.state.step}; lower optim.base_lr")
    tensors = {f"model.{name}": value for name, value in weights.items()}
    tensors |= {f"best.{name}": value for name, value in (learner.best or {}).items()}
    tensors |= {f"mean.{name}": value for name, value in (learner.mean or {}).items()}
    for name, parameter in _trained_parameters(learner):
        for moment in MOMENTS:
            tensors[f"{moment}.{name}"] = learner.optimizer.state[parameter][moment]
    step, state = learner.state.step, asdict(learner.state)
    if learner.whole is None:
        write(run_folder, step, tensors, state)
        return
    path = run_folder / FOLDER / f"{step:08d}{sharded_checkpoint.SUFFIX}"
    sharded_checkpoint.write(path, tensors, state)
    ranks.first(lambda: _remove_old(run_folder, path))


def restore(run_folder: Path, learner: Learner, device: torch.device) -> bool:
    """Load the newest readable checkpoint of a run into a learner; return whether there is one.

    Rank 0 reads it, and all ranks get it; of parts, each rank reads what it needs.

    Raises:
        WeightsError: there are checkpoints, and none can be read; or it does not fit, because another version
            of maeface wrote it.
    """
    tensors: dict[str, Tensor] = {}

    def read() -> Saved | None:
        saved = read_latest(run_folder)
        tensors.update(saved.tensors if saved else {})
        return saved._replace(tensors={}) if saved else None

    saved = ranks.first(read)
    if saved is None:
        return False
    if saved.folder is None:
        whole = ranks.share(tensors, device)
    else:  # without values yet
        expected = _expected(learner, saved.names)
        whole = {key: torch.empty(expected.get(key, ()), device="meta") for key in saved.names}
    _refuse_misfits(run_folder / FOLDER, learner, whole, saved.state)
    learner.state = State(**saved.state)
    weights, parameters = learner.model.state_dict(), dict(_trained_parameters(learner))

    def like(key: str) -> Tensor:
        group, _, name = key.partition(".")
        return parameters[name] if group in MOMENTS else weights[name]

    if saved.folder is None:
        found = {key: sharding.part(tensor, like(key)) for key, tensor in whole.items()}
    else:
        found = {key: torch.empty_like(like(key), requires_grad=False) for key in saved.names}
        sharded_checkpoint.fill(saved.folder, found)
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in ("model", "best", "mean", *MOMENTS)}
    for key, tensor in found.items():
        group, _, name = key.partition(".")
        groups[group][name] = tensor
    learner.model.load_state_dict(groups["model"])
    learner.best, learner.mean = groups["best"] or None, groups["mean"] or None
    for name, parameter in parameters.items():
        learner.optimizer.state[parameter] = {
            "step": torch.tensor(float(learner.state.step - learner.state.skipped), device=device),
            **{moment: groups[moment][name] for moment in MOMENTS},
        }
    return True


def write(run_folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write the checkpoint of a step and remove all but the last two.

    Those of later steps are removed too: a run that was at this step could not read them.

    Raises:
        ResourceError: the disk is full or cannot be written; the checkpoints before are intact.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state, sort_keys=True)
    path = run_folder / FOLDER / f"{step:08d}{SUFFIX}"
    save_tensors(path, tensors, {"state": text, "sha256": hash_tensors(tensors, text)})
    _remove_old(run_folder, path)


def _remove_old(run_folder: Path, path: Path) -> None:
    """Keep a checkpoint that was just written and the one before it; remove all others, also later ones."""
    paths = _paths(run_folder)
    own = paths.index(path)
    for other in [*paths[: max(own + 1 - KEPT, 0)], *paths[own + 1 :]]:
        if other.suffix == SUFFIX:
            with suppress(OSError):  # it is tried again with the next checkpoint
                other.unlink()
        else:
            shutil.rmtree(other, ignore_errors=True)


def read_latest(run_folder: Path) -> Saved | None:
    """Return the newest intact checkpoint; None if there is none. Tensors in parts are not read yet.

    Raises:
        WeightsError: there are checkpoints, and none can be read.
    """
    paths = _paths(run_folder)
    for path in reversed(paths):
        try:
            return _read(path)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            console.note(f"checkpoint {path} is damaged ({error}); trying the one before")
    if paths:
        raise WeightsError(f"no checkpoint of {run_folder} can be read; start again in another folder")
    return None


def exists(run_folder: Path) -> bool:
    """Return whether the folder has a checkpoint, damaged or not."""
    return bool(_paths(run_folder))


def hash_tensors(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Return the SHA-256 of tensors, with their names and shapes, and of a text."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(np.ascontiguousarray(tensor.reshape(-1).view(torch.uint8).numpy()).data)
    return digest.hexdigest()


def _refuse_misfits(
    folder: Path, learner: Learner, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    """Refuse a checkpoint of another version; the message lists what differs."""
    if unknown := sorted(state.keys() - State.__dataclass_fields__.keys()):
        raise WeightsError(
            f"{folder} is of a newer maeface, with {', '.join(unknown)}; upgrade this one, or start again in "
            "another folder"
        )
    expected = _expected(learner, tensors)
    refuse_misfits(folder, expected, tensors, tensors.keys() - expected.keys())


def _expected(learner: Learner, names: Iterable[str]) -> dict[str, torch.Size]:
    """Return the shapes of a learner's tensors; ``names`` says whether there are best weights."""
    own = {name: value.shape for name, value in learner.model.state_dict().items()}
    trained = {name: value.shape for name, value in _trained_parameters(learner)}
    groups = {"model": own, **{moment: trained for moment in MOMENTS}}
    groups |= {} if learner.mean is None else {"mean": own}
    groups |= {"best": own} if any(name.startswith("best.") for name in names) else {}
    return {f"{group}.{name}": shape for group, shapes in groups.items() for name, shape in shapes.items()}


def _trained_parameters(learner: Learner) -> Iterator[tuple[str, nn.Parameter]]:
    for group in learner.optimizer.param_groups:
        yield from zip(group["names"], group["params"], strict=True)


def _read(path: Path) -> Saved:
    if path.suffix == sharded_checkpoint.SUFFIX:
        names, state = sharded_checkpoint.read_state(path)
        return Saved({}, state, names, path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}  # they map the file
    if hash_tensors(tensors, metadata["state"]) != metadata["sha256"]:
        raise ValueError("its sha256 is another")
    return Saved(tensors, json.loads(metadata["state"]), [], None)


def _paths(run_folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    paths = (run_folder / FOLDER).glob("[0-9]*")
    kinds = (SUFFIX, sharded_checkpoint.SUFFIX)
    return sorted((path for path in paths if path.suffix in kinds), key=lambda path: int(path.stem))
