"""The running mean of the weights over the steps (an exponential moving average), used instead of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from maeface.train import sharding
from maeface.train.checkpoint import Learner


def copy(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights of a model, by name; the mean before the first step is one."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def copy_of_used(learner: Learner) -> dict[str, Tensor]:
    """Return a copy of the weights that are used: the mean, if there is one, else the model's."""
    if learner.mean is None:
        return copy(learner.model)
    return {name: value.clone() for name, value in learner.mean.items()}


@torch.no_grad()
def update(learner: Learner, decay: float | None, step: int) -> None:
    """Move the mean towards the weights after a step.

    The decay grows to its value, as (1 + step) / (10 + step), so that the first steps are forgotten soon.

    Args:
        learner: its ``mean`` is changed in place.
        decay: fraction of the mean that stays; None: there is no mean.
        step: number of the step, from 0.
    """
    if decay is not None and learner.mean is not None:
        stays = min(decay, (1 + step) / (10 + step))
        weights = learner.model.state_dict()
        mean = [sharding.own(value) for value in learner.mean.values()]
        torch._foreach_lerp_(mean, [sharding.own(weights[name]) for name in learner.mean], 1 - stays)


@contextmanager
def applied(learner: Learner, device: torch.device) -> Iterator[None]:
    """Give the model the mean of its weights, if there is one, within the ``with`` block.

    Of a model in parts, its ``whole`` one gets them, on a device; all ranks do this together.
    """
    if learner.whole is not None:
        with sharding.gathered(learner.mean or learner.model.state_dict(), learner.whole, device):
            yield
        return
    if learner.mean is None:
        yield
        return
    own = copy(learner.model)
    learner.model.load_state_dict(learner.mean)
    try:
        yield
    finally:
        learner.model.load_state_dict(own)
