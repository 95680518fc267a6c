"""The state of a training: the model, its optimizer and a moving average of its weights, with checkpoints."""

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
Model = TypeVar("Model", bound=nn.Module)


class TrainingState(Generic[Model]):
    """A model in training. It is restored from its checkpoint if there is one.

    Args:
        make: returns the model; it is called after seeding.
        decay: weight decay of all weights except biases and norms.
        seed: of the initial weights.
        checkpoint: path of the checkpoint.
        identity: what distinguishes this training from others; a checkpoint of another one is refused.

    Attributes:
        step: the next step.
        model: in training mode.
        average: the exponential moving average of the model, in evaluation mode.

    Raises:
        WeightsError: the checkpoint is of another training, or damaged.
    """

    def __init__(
        self,
        make: Callable[[], Model],
        decay: float,
        seed: int,
        checkpoint: Path,
        identity: Mapping[str, object],
    ) -> None:
        self.checkpoint, self.identity = checkpoint, repr(sorted(identity.items()))
        torch.manual_seed(seed)
        self.model = make().train()
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        vectors = [p for p in self.model.parameters() if p.ndim == 1]
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups)
        self.step = self._restore()
        self._saved_at = time.monotonic()

    def update(self, loss: Tensor, rate: float, average: float, step: int) -> None:
        """Make one step of the optimizer.

        Args:
            loss: scalar.
            rate: learning rate.
            average: decay of the moving average of the weights; less is used in the first steps.
            step: number of the step, from 0.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        decay = min(average, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(
                self.average.state_dict().values(), self.model.state_dict().values(), strict=True
            ):
                mean.lerp_(value, 1 - decay) if mean.is_floating_point() else mean.copy_(value)

    def save(self, step: int, every_s: float = 0.0) -> None:
        """Write the checkpoint after ``step`` steps, if the last one is at least ``every_s`` seconds old."""
        if time.monotonic() - self._saved_at < every_s:
            return
        state = {
            "step": step,
            "identity": self.identity,
            "network": self.model.state_dict(),
            "mean": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with files.atomic(self.checkpoint) as temporary:
            torch.save(state, temporary)
        self._saved_at = time.monotonic()

    def _restore(self) -> int:
        """Load the checkpoint, if there is one, and return the number of its step."""
        path = self.checkpoint
        if not path.is_file():
            return 0
        try:
            state = torch.load(path, weights_only=True)
            if state["identity"] != self.identity:
                raise WeightsError(
                    f"{path} belongs to a training with other settings or faces; delete it to start anew"
                )
            self.model.load_state_dict(state["network"])
            self.average.load_state_dict(state["mean"])
            self.optimizer.load_state_dict(state["optimizer"])
            return int(state["step"])
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, UnpicklingError) as error:
            raise WeightsError(
                f"{path} is no checkpoint of this training; delete it to start anew"
            ) from error


def cosine_decay(progress: float) -> float:
    """Return a factor that falls from 1 at progress 0 to nearly 0 at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * progress)) + 0.005


def running_mean(mean: float, value: float) -> float:
    """Return the exponential running mean of a loss for display; a NaN mean starts with the value."""
    return value if math.isnan(mean) else 0.98 * mean + 0.02 * value
