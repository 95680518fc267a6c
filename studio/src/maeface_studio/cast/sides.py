"""Action units that one side of the face shows alone, or much more than the other."""

from collections.abc import Mapping

import numpy as np

from maeface_studio.cast.random_draws import bernoulli, uniform
from maeface_studio.head.rig import SIDED_AUS, intensity_to_weight, weight_to_intensity

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


def move_one_side(
    intensities: Mapping[int, float], asymmetry: Mapping[int, float], one_sided: Mapping[int, float]
) -> tuple[dict[int, float], dict[int, float]]:
    """Return intensities and asymmetry of an action in which one side has the intensity and the other less.

    Args:
        intensities: AU -> intensity on 0..5.
        asymmetry: AU -> fraction of the mean that the left side has more and the right side less.
        one_sided: the same, of the AUs that are to be of one side.

    Returns:
        The means of both sides, and the asymmetry.
    """
    means = {
        au: weight_to_intensity(intensity_to_weight(intensities[au]) / (1 + abs(one_sided[au])))
        for au in one_sided.keys() & intensities.keys()
    }
    return {**intensities, **means}, {**asymmetry, **one_sided}
