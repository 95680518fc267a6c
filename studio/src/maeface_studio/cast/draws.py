"""Random numbers that belong to a key, and the few shapes of draws that the studio needs.

Every draw is a function of (seed, subject, image), so an image does not depend on which others are
made, in which order, or by how many processes.
"""

from collections.abc import Sequence

import numpy as np


def generator(seed: int, *key: int) -> np.random.Generator:
    """The random numbers that belong to a key, and to nothing else."""
    return np.random.default_rng(np.random.SeedSequence((seed, *key)))


def normal(rng: np.random.Generator, spread: float, limit: float) -> float:
    """Mean 0, standard deviation ``spread``, cut at ``limit`` on both sides."""
    return float(np.clip(rng.normal(0, spread), -limit, limit))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Even from ``low`` to ``high``."""
    return float(rng.uniform(low, high))


def happens(rng: np.random.Generator, chance: float) -> bool:
    """True with a chance of 0 to 1."""
    return bool(rng.uniform() < chance)


def pick(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """An index, in proportion to the weights."""
    edges = np.cumsum(weights)
    return int(np.searchsorted(edges, rng.uniform() * edges[-1], side="right"))
