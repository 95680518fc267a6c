"""The order of the samples and the source of every random draw.

Nothing is drawn from a stream that depends on what was drawn before: the order is a function of seed, epoch
and position, and what happens to a sample is one of seed, sample and epoch. So training goes on anywhere
from one integer, and workers, devices and restarts change nothing.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Stream = Literal["order", "augment", "mask", "step"]
STREAMS: dict[Stream, int] = {"order": 0, "augment": 1, "mask": 2, "step": 3}


def draws(seed: int, stream: Literal["order", "augment", "mask", "step"], *where: int) -> np.random.Generator:
    """A generator of its own for a place: the same place always gives the same numbers.

    Args:
        seed: of the run.
        stream: what is drawn.
        where: up to three integers: epoch, sample, step.
    """
    counter = [0, *where, *[0] * (3 - len(where))]  # the low word counts what is drawn
    return np.random.Generator(np.random.Philox(key=[seed, STREAMS[stream]], counter=counter))


@dataclass(frozen=True)
class Order:
    """Which samples each optimiser step sees.

    Attributes:
        count: samples.
        batch: samples a step.
        seed: of the run.
        whole: leave out the last, smaller batch of an epoch, if there is a whole one.
    """

    count: int
    batch: int
    seed: int
    whole: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch."""
        if self.whole and self.count >= self.batch:
            return self.count // self.batch
        return -(-self.count // self.batch)

    def indices(self, step: int) -> tuple[int, np.ndarray]:
        """The epoch of a step, counted from 0, and its samples (at most ``batch``,) int64."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch
        return epoch, _permutation(self.count, self.seed, epoch)[start : start + self.batch]


@lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return draws(seed, "order", epoch).permutation(count)
