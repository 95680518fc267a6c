"""A network, its optimiser and the mean of its weights, which can be put by and taken up again."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from maeface import files
from maeface.errors import WeightsError

CHECKPOINT_EVERY_S = 120.0
Network = TypeVar("Network", bound=nn.Module)


class Learner(Generic[Network]):
    """What is trained. Where there is a checkpoint it goes on from there.

    Args:
        make: makes the network, after seeding.
        decay: weight decay of all but biases and norms.
        seed: of the initial weights.
        checkpoint: where it is put by.
        identity: what the training is, by name; a checkpoint of another one is refused.

    Attributes:
        begun: the step to go on with.
        network: in training mode.
        mean: the mean of its weights, in evaluation mode.

    Raises:
        WeightsError: the checkpoint is of another training, or damaged.
    """

    def __init__(
        self,
        make: Callable[[], Network],
        decay: float,
        seed: int,
        checkpoint: Path,
        identity: Mapping[str, object],
    ) -> None:
        self.checkpoint, self.identity = checkpoint, repr(sorted(identity.items()))
        torch.manual_seed(seed)
        self.network = make().train()
        self.mean = copy.deepcopy(self.network).eval().requires_grad_(False)
        flat = [p for p in self.network.parameters() if p.ndim == 1]
        deep = [p for p in self.network.parameters() if p.ndim > 1]
        groups = [{"params": deep, "weight_decay": decay}, {"params": flat, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups)
        self.begun = self._restore()
        self._saved = time.monotonic()

    def update(self, loss: Tensor, rate: float, average: float, step: int) -> None:
        """One step down a loss.

        Args:
            loss: scalar.
            rate: learning rate.
            average: what the mean of the weights keeps of itself; less in the first steps.
            step: number of the step, from 0.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.step()
        keep = min(average, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(
                self.mean.state_dict().values(), self.network.state_dict().values(), strict=True
            ):
                mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)

    def put_by(self, step: int, every_s: float = 0.0) -> None:
        """Write the checkpoint after ``step`` steps, unless there is one of the last ``every_s`` seconds."""
        if time.monotonic() - self._saved < every_s:
            return
        state = {
            "step": step,
            "identity": self.identity,
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with files.atomic(self.checkpoint) as temporary:
            torch.save(state, temporary)
        self._saved = time.monotonic()

    def _restore(self) -> int:
        path = self.checkpoint
        if not path.is_file():
            return 0
        try:
            state = torch.load(path, weights_only=True)
            if state["identity"] != self.identity:
                raise WeightsError(
                    f"{path} belongs to a training with other settings or faces; delete it to start anew"
                )
            self.network.load_state_dict(state["network"])
            self.mean.load_state_dict(state["mean"])
            self.optimizer.load_state_dict(state["optimizer"])
            return int(state["step"])
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, UnpicklingError) as error:
            raise WeightsError(
                f"{path} is no checkpoint of this training; delete it to start anew"
            ) from error


def cosine(part: float) -> float:
    """From 1 at 0 to nearly 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * part)) + 0.005


def smoothed(before: float, new: float) -> float:
    """A value that follows another slowly, for people to read; NaN before the first."""
    return new if math.isnan(before) else 0.98 * before + 0.02 * new
