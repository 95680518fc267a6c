"""Which samples a training step sees, and the random numbers of each: functions of seed, epoch and sample.

The samples of a step are a function of seed, epoch and position, and the augmentation of a sample is one of
seed, epoch and sample. So a training resumes from its step alone, and the numbers of workers and devices do
not matter.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

Stream = Literal["order", "augment", "mask", "step"]
STREAMS: dict[Stream, int] = {"order": 0, "augment": 1, "mask": 2, "step": 3}


def keyed_generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Return a random generator for a key: the same key always gives the same numbers.

    Args:
        seed: of the run.
        stream: what the numbers are for.
        key: up to three integers: epoch, sample, step.
    """
    counter = [0, *key, *[0] * (3 - len(key))]  # the low word counts the numbers
    return np.random.Generator(np.random.Philox(key=[seed, STREAMS[stream]], counter=counter))


@dataclass(frozen=True)
class BatchOrder:
    """The samples of each optimiser step, shuffled in each epoch.

    Attributes:
        count: samples.
        batch: samples of a step.
        seed: of the run.
        drop_last: leave out the last, smaller batch of an epoch, unless it is the only one.
        groups: (count,) int64, the group of each sample, such as its clip; -1 for none. None: no groups.
        together: samples of a group that follow each other, drawn anew in each epoch.
    """

    count: int
    batch: int
    seed: int
    drop_last: bool = False
    groups: np.ndarray | None = field(default=None, compare=False)
    together: int = 1
    _orders: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        if self.drop_last and self.count >= self.batch:
            return self.count // self.batch
        return -(-self.count // self.batch)

    def indices(self, step: int) -> tuple[int, np.ndarray]:
        """Return the epoch of a step, counted from 0, and its samples, (at most ``batch``,) int64."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch
        order = _permutation(self.count, self.seed, epoch)
        if self.groups is not None:
            if epoch not in self._orders:
                self._orders.clear()
                self._orders[epoch] = _bring_together(order, self.groups, self.together)
            order = self._orders[epoch]
        return epoch, order[start : start + self.batch]


def pair(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an order in which samples that are to be mixed follow each other, and the partner of each.

    Samples with the same known labels are paired first, since the label of a mixture is known only where both
    are. Those that are left are paired with the most similar ones. A sample that shares no known label with
    the one beside it, and a last one alone, is its own partner.

    Args:
        known: (n, O) bool, which labels of each sample are known.

    Returns:
        Positions in ``known`` (n,) int64, and for each of them the place of its partner in this order (n,).
    """
    patterns = np.unique(known, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(patterns, kind="stable")
    sorted_patterns = patterns[order]
    first, last = (np.searchsorted(sorted_patterns, sorted_patterns, side) for side in ("left", "right"))
    alone = (np.arange(len(order)) == last - 1) & ((last - first) % 2 == 1)
    order = np.concatenate([order[~alone], order[alone]])
    partner = np.arange(len(order)) ^ 1
    partner[partner == len(order)] -= 1
    common = (known[order] & known[order[partner]]).any(axis=1)
    return order, np.where(common, partner, np.arange(len(order)))


@lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return keyed_generator(seed, "order", epoch).permutation(count)


def _bring_together(order: np.ndarray, groups: np.ndarray, together: int) -> np.ndarray:
    """Return an order in which up to ``together`` samples of a group follow the first of them."""
    members = np.argsort(groups[order], kind="stable")  # places in the order, group by group
    owners = groups[order][members]
    starts = np.searchsorted(owners, owners)
    ranks = np.arange(len(order)) - starts  # within the group
    places = np.empty(len(order), np.int64)
    places[members] = np.where(owners < 0, members, members[starts + ranks // together * together])
    return order[np.argsort(places, kind="stable")]
