"""Random numbers that are a function of a key, and the distributions that the studio draws from.

Every draw depends on (seed, subject, image) only, so an image does not depend on which others are rendered,
in which order, or by how many processes.
"""

from collections.abc import Sequence

import numpy as np


def keyed_generator(seed: int, *key: int) -> np.random.Generator:
    """Return the generator of a seed and a key; different keys are independent of each other."""
    return np.random.default_rng(np.random.SeedSequence((seed, *key)))


def clipped_normal(rng: np.random.Generator, std: float, limit: float) -> float:
    """Draw from a normal distribution of mean 0, clipped to -limit..limit."""
    return float(np.clip(rng.normal(0, std), -limit, limit))


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw uniformly from low..high."""
    return float(rng.uniform(low, high))


def bernoulli(rng: np.random.Generator, p: float) -> bool:
    """Draw True with probability p."""
    return bool(rng.uniform() < p)


def categorical(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """Draw an index in proportion to weights >= 0."""
    edges = np.cumsum(weights)
    return int(np.searchsorted(edges, rng.uniform() * edges[-1], side="right"))
