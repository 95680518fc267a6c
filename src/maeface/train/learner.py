"""What changes in training, and how it goes into a checkpoint and comes back."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from maeface import console
from maeface.errors import DataError
from maeface.train import checkpoints
from maeface.train.run import Run


@dataclass
class State:
    """Where a run stands; with model, moments and best weights it is all that a checkpoint holds.

    Attributes:
        step: optimiser steps done.
        best_loss: lowest validation loss so far; None before the first.
        best_step: when that was.
        stale: evaluations since then.
        finished: trained to the end, or stopped early.
    """

    step: int = 0
    best_loss: float | None = None
    best_step: int = 0
    stale: int = 0
    finished: bool = False


@dataclass
class Learner:
    """What changes in training."""

    model: nn.Module
    optimizer: torch.optim.AdamW
    state: State = field(default_factory=State)
    best: dict[str, Tensor] | None = None


def save(run: Run, learner: Learner) -> None:
    """Write a checkpoint of where the learner stands.

    Raises:
        DataError: weights that are not finite; the checkpoint before them is left.
    """
    if not run.writes:
        return
    if not all(bool(value.isfinite().all()) for value in learner.model.state_dict().values()):
        raise DataError(f"the weights are not finite after step {learner.state.step}; lower optim.base_lr")
    tensors = {f"model.{name}": value for name, value in learner.model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (learner.best or {}).items()}
    for name, parameter in _trained(learner):
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}.{name}"] = learner.optimizer.state[parameter][moment]
    checkpoints.save(run.folder, learner.state.step, tensors, asdict(learner.state))


def restore(run: Run, learner: Learner) -> None:
    """Put the learner where the newest checkpoint of the run stands; leave it if there is none."""
    held = checkpoints.latest(run.folder)
    if held is None:
        return
    tensors, state = held
    learner.state = State(**state)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "exp_avg": {}, "exp_avg_sq": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor.to(run.device)
    learner.model.load_state_dict(parts["model"])
    learner.best = parts["best"] or None
    for name, parameter in _trained(learner):
        learner.optimizer.state[parameter] = {
            "step": torch.tensor(float(learner.state.step), device=run.device),
            "exp_avg": parts["exp_avg"][name],
            "exp_avg_sq": parts["exp_avg_sq"][name],
        }
    if run.writes and not learner.state.finished:
        console.say(f"going on with {run.folder} after step {learner.state.step}")


def _trained(learner: Learner) -> Iterator[tuple[str, nn.Parameter]]:
    for group in learner.optimizer.param_groups:
        yield from zip(group["names"], group["params"], strict=True)
