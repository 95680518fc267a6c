"""Who is shown: shape, sex, age, skin, hair and what is worn, drawn at random and balanced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maeface_studio.cast.draws import between, generator, happens, pick
from maeface_studio.cast.look import CLOTH_TONES, IRIS_TONES, Look
from maeface_studio.hair.hair import HAIR_STYLES
from maeface_studio.worn.things import CLOTHES, GLASSES, HATS

IDENTITY_MODES = 50
YEARS = (18, 80)
"""``Look.age`` of 0 and of 1."""

MASCULINE = (-0.74, -0.13, 0.33, 0.19, 0.27, -0.24, 0.01, 0.0, 0.18)
"""Direction in the first shape modes in which jaw, chin, brow ridge, nose grow, and lips and eyes shrink.

Measured on the rig's landmarks: the sum of the modes' effects on 12 lengths that differ between the
sexes, each effect in standard deviations of its length.
"""

SEX_SHIFT = 0.6
"""How far men and women are moved along ``MASCULINE``, in standard deviations; they overlap widely."""

BENCHMARK_SUBJECTS = 120
"""How many subjects SynthAU, the benchmark, has."""

FOLDS = 3

SKIN_BANDS = ("very light", "light", "intermediate", "tan", "brown", "dark")
"""Sixths of ``Look.melanin``."""

_TONE_WEIGHTS = (  # black, dark brown, brown, light brown, blond, red; by skin: light, middle, dark
    (0.08, 0.22, 0.28, 0.20, 0.14, 0.08),
    (0.36, 0.36, 0.20, 0.05, 0.02, 0.01),
    (0.72, 0.24, 0.04, 0.0, 0.0, 0.0),
)
_IRIS_WEIGHTS = ((0.08, 0.18, 0.18, 0.16, 0.22, 0.18), (0.4, 0.35, 0.15, 0.06, 0.02, 0.02), (0.7, 0.3))
_STYLES: Mapping[str, tuple[float, float]] = {  # weight for men, for women
    "shaved": (0.12, 0.01),
    "crew cut": (0.30, 0.03),
    "side parting": (0.20, 0.05),
    "swept back": (0.11, 0.06),
    "curly": (0.09, 0.13),
    "bob": (0.0, 0.20),
    "long straight": (0.03, 0.17),
    "long wavy": (0.04, 0.16),
    "tied back": (0.04, 0.14),
    "fringe": (0.07, 0.05),
}
_HAIR_CM = {
    "shaved": 0.1,
    "crew cut": 0.5,
    "side parting": 1.1,
    "swept back": 1.2,
    "curly": 2.0,
    "fringe": 1.4,
}
_SHORT = ("shaved", "crew cut", "side parting", "swept back")
_GLASSES_WEIGHTS = {"none": 0.0, "sunglasses": 0.3}
_HAT_WEIGHTS = {"none": 0.0, "helmet": 0.25, "headscarf": 1.0}


@dataclass(frozen=True)
class Subject:
    """A drawn identity."""

    name: str
    number: int
    identity: tuple[float, ...]
    """Shape, 50 coefficients in standard deviations."""
    look: Look
    sex: str = "f"
    """``f`` or ``m``: which way shape, hair, beard and make-up were drawn."""

    @property
    def years(self) -> float:
        """Age in years."""
        return YEARS[0] + (YEARS[1] - YEARS[0]) * self.look.age


def subject(seed: int, number: int) -> Subject:
    """Draw subject ``number`` (from 0).

    Skin, sex and age run through three sequences that fill their ranges evenly and independently of one
    another over any run of subjects (multiples of irrational numbers, modulo 1).
    """
    rng = generator(seed, 1, number)
    starts = generator(seed, 0).uniform(size=3)
    skin, sex, age = ((number + 0.5) * step + start for step, start in zip(_STEPS, starts, strict=True))
    melanin, male, age = skin % 1.0, sex % 1.0 < 0.5, (age % 1.0) ** 1.25
    identity = np.clip(rng.standard_normal(IDENTITY_MODES), -2.2, 2.2) * 0.85
    identity[: len(MASCULINE)] += np.array(MASCULINE) * (SEX_SHIFT if male else -SEX_SHIFT)
    look = _look(rng, float(melanin), male, float(age))
    name = f"S{number + 1:03d}"
    return Subject(name, number, tuple(identity.tolist()), look, "m" if male else "f")


def fold(number: int) -> int:
    """The fold of SynthAU, from 0, in which subject ``number`` (from 0) is tested."""
    return number % FOLDS


_STEPS = (0.6180339887, 0.7548776662, 0.3247179572)
"""Of the golden ratio and of the plastic number: their multiples spread evenly, also against each other."""


def _look(rng: np.random.Generator, melanin: float, male: bool, age: float) -> Look:
    band = 0 if melanin < 0.3 else 1 if melanin < 0.55 else 2
    bald = male and happens(rng, 0.06 + 0.5 * age)
    baldness = between(rng, 0.35, 1.0) if bald else between(rng, 0, 0.1 + 0.2 * age * male)
    style = _style(rng, melanin, male, baldness)
    dyed = not male and happens(rng, 0.35)
    grey = 0.0 if dyed else float(np.clip((age - 0.36) / 0.55 + rng.normal(0, 0.18), 0, 1))
    beard = (
        (between(rng, 0.0, 0.15), between(rng, 0.2, 0.5), between(rng, 0.55, 1.0))[
            pick(rng, (0.4, 0.28, 0.32))
        ]
        if male
        else 0.0
    )
    made_up = not male and happens(rng, 0.6)
    painted = made_up and happens(rng, 0.6)
    return Look(
        melanin=melanin,
        redness=between(rng, 0, 1),
        hair=pick(rng, _TONE_WEIGHTS[0 if dyed and band < 2 and happens(rng, 0.3) else band]),
        iris=min(pick(rng, _IRIS_WEIGHTS[band]), len(IRIS_TONES) - 1),
        cloth=int(rng.integers(len(CLOTH_TONES))),
        baldness=baldness,
        hair_cm=_HAIR_CM.get(style, 1.8) * between(rng, 0.8, 1.2),
        brow=between(rng, 0.55, 0.95) - 0.15 * age * (not male),
        brow_cm=between(rng, 0.30, 0.52) if male else between(rng, 0.20, 0.38),
        beard=beard,
        freckles=between(rng, 0, 1) ** 3 * (1.0 if band == 0 else 0.5),
        makeup=between(rng, 0.1, 1.0) if made_up else 0.0,
        lip_red=0.2 + 0.8 * between(rng, 0, 1) ** 1.7 if painted else between(rng, 0, 0.2),
        lash=between(rng, 0.4, 0.7) if male else between(rng, 0.55, 0.95),
        gloss=between(rng, 0, 1),
        age=age,
        moles=between(rng, 0, 1) ** 2 * (0.6 + 0.4 * age),
        glasses=_worn(rng, GLASSES, _GLASSES_WEIGHTS, 0.14 + 0.26 * age),
        hat=_worn(rng, HATS, _HAT_WEIGHTS | ({"headscarf": 0.1} if male else {}), 0.06),
        hair_style=HAIR_STYLES.index(style),
        grey=grey,
        clothes=int(rng.integers(len(CLOTHES))),
    )


def _style(rng: np.random.Generator, melanin: float, male: bool, baldness: float) -> str:
    """Who is balding has short hair; dark skin goes with curls more often."""
    weights = []
    for style in HAIR_STYLES:
        weight = _STYLES.get(style, (0.05, 0.05))[0 if male else 1]
        if melanin > 0.6:
            weight *= {"curly": 3.0, "shaved": 2.0, "long straight": 0.4, "side parting": 0.4}.get(style, 1.0)
        if baldness > 0.5 and style not in _SHORT:
            weight = 0.0
        weights.append(weight)
    return HAIR_STYLES[pick(rng, weights)]


def _worn(rng: np.random.Generator, kinds: Sequence[str], weights: Mapping[str, float], chance: float) -> int:
    kind = pick(rng, [weights.get(name, 1.0) for name in kinds])
    return kind if happens(rng, chance) else 0


def shares(people: Sequence[Subject]) -> dict[str, dict[str, float]]:
    """How a cast is made up: each kind's share of sexes, ages, skins, glasses, hats, hair, beards."""
    kinds: dict[str, list[str]] = {
        "sex": [who.sex for who in people],
        "age": [_decades(who.years) for who in people],
        "skin": [SKIN_BANDS[min(int(who.look.melanin * 6), 5)] for who in people],
        "glasses": [GLASSES[who.look.glasses] for who in people],
        "hat": [HATS[who.look.hat] for who in people],
        "hair": [HAIR_STYLES[who.look.hair_style] for who in people],
        "beard": [_beard(who) for who in people],
    }
    return {
        name: {kind: found.count(kind) / len(found) for kind in sorted(set(found))}
        for name, found in kinds.items()
    }


def _decades(years: float) -> str:
    low = 18 if years < 30 else int(years // 10) * 10 if years < 70 else 70
    return f"{low}-{29 if low == 18 else 80 if low == 70 else low + 9}"


def _beard(who: Subject) -> str:
    return "none" if who.look.beard < 0.15 else "stubble" if who.look.beard <= 0.5 else "beard"
