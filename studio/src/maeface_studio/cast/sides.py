"""Action units that one side of the face shows alone, or much more than the other."""

import numpy as np

from maeface_studio.cast.random_draws import bernoulli, uniform
from maeface_studio.head.rig import SIDED_AUS

ONE_SIDED = (0.6, 1.0)
"""Range of the asymmetry of an AU of one side: at 1 the other side does not move."""


def draw_one_sided(rng: np.random.Generator, fraction: float) -> dict[int, float]:
    """Draw the asymmetry of the AUs that are of one side, see ``actions.Action``.

    Args:
        rng: for the draws.
        fraction: probability of each AU of ``SIDED_AUS``.
    """
    drawn = {
        au: (bernoulli(rng, fraction), bernoulli(rng, 0.5), uniform(rng, *ONE_SIDED)) for au in SIDED_AUS
    }
    return {au: size if left else -size for au, (chosen, left, size) in drawn.items() if chosen}
