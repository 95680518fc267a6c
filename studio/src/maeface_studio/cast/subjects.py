"""The subjects: shape, sex, age, skin, hair and what they wear, drawn at random and balanced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np

from maeface_studio.cast.appearance import (
    Appearance,
    Clothes,
    ClothTone,
    Glasses,
    HairStyle,
    HairTone,
    Hat,
    IrisTone,
)
from maeface_studio.cast.random_draws import bernoulli, categorical, keyed_generator, uniform

IDENTITY_MODES = 50
YEARS = (18, 80)
"""``Appearance.age`` of 0 and of 1."""

MASCULINE = (-0.74, -0.13, 0.33, 0.19, 0.27, -0.24, 0.01, 0.0, 0.18)
"""Direction in the first shape modes in which jaw, chin, brow ridge, nose grow, and lips and eyes shrink.

Measured on the rig's landmarks: the sum of the modes' effects on 12 lengths that differ between the
sexes, each effect in standard deviations of its length.
"""

SEX_SHIFT = 0.6
"""How far men and women are moved along ``MASCULINE``, in standard deviations; they overlap widely."""

SKIN_BANDS = ("very light", "light", "intermediate", "tan", "brown", "dark")
"""Sixths of ``Appearance.melanin``."""

_SEQUENCE_STEPS = (0.6180339887, 0.7548776662, 0.3247179572)
"""Of the golden ratio and of the plastic number: their multiples spread evenly, also against each other."""

_HAIR_TONE_WEIGHTS = (  # in the order of HairTone, for light, middle and dark skin
    (0.08, 0.22, 0.28, 0.20, 0.14, 0.08),
    (0.36, 0.36, 0.20, 0.05, 0.02, 0.01),
    (0.72, 0.24, 0.04, 0.0, 0.0, 0.0),
)
_IRIS_TONE_WEIGHTS = (  # in the order of IrisTone, for light, middle and dark skin
    (0.08, 0.18, 0.18, 0.16, 0.22, 0.18),
    (0.4, 0.35, 0.15, 0.06, 0.02, 0.02),
    (0.7, 0.3),
)
_HAIR_STYLE_WEIGHTS: Mapping[HairStyle, tuple[float, float]] = {  # for men, for women
    HairStyle.SHAVED: (0.12, 0.01),
    HairStyle.CREW_CUT: (0.30, 0.03),
    HairStyle.SIDE_PARTING: (0.20, 0.05),
    HairStyle.SWEPT_BACK: (0.11, 0.06),
    HairStyle.CURLY: (0.09, 0.13),
    HairStyle.BOB: (0.0, 0.20),
    HairStyle.LONG_STRAIGHT: (0.03, 0.17),
    HairStyle.LONG_WAVY: (0.04, 0.16),
    HairStyle.TIED_BACK: (0.04, 0.14),
    HairStyle.FRINGE: (0.07, 0.05),
}
_DARK_SKIN_STYLE_FACTORS: Mapping[HairStyle, float] = {
    HairStyle.CURLY: 3.0,
    HairStyle.SHAVED: 2.0,
    HairStyle.LONG_STRAIGHT: 0.4,
    HairStyle.SIDE_PARTING: 0.4,
}
_HAIR_CM: Mapping[HairStyle, float] = {
    HairStyle.SHAVED: 0.1,
    HairStyle.CREW_CUT: 0.5,
    HairStyle.SIDE_PARTING: 1.1,
    HairStyle.SWEPT_BACK: 1.2,
    HairStyle.CURLY: 2.0,
    HairStyle.FRINGE: 1.4,
}
_SHORT_STYLES = (HairStyle.SHAVED, HairStyle.CREW_CUT, HairStyle.SIDE_PARTING, HairStyle.SWEPT_BACK)
_GLASSES_WEIGHTS: Mapping[Glasses, float] = {Glasses.NONE: 0.0, Glasses.SUNGLASSES: 0.3}
_HAT_WEIGHTS: Mapping[Hat, float] = {Hat.NONE: 0.0, Hat.HELMET: 0.25, Hat.HEADSCARF: 1.0}
_HAT_WEIGHTS_OF_MEN: Mapping[Hat, float] = {**_HAT_WEIGHTS, Hat.HEADSCARF: 0.1}

Style = TypeVar("Style", bound=IntEnum)


@dataclass(frozen=True)
class Subject:
    """A person who is rendered."""

    name: str
    number: int
    identity: tuple[float, ...]
    """Coefficients of the 50 shape modes in standard deviations."""
    appearance: Appearance
    sex: str = "f"
    """``f`` or ``m``: which way shape, hair, beard and make-up were drawn."""

    @property
    def years(self) -> float:
        """Age in years."""
        return YEARS[0] + (YEARS[1] - YEARS[0]) * self.appearance.age


def draw_subject(seed: int, number: int) -> Subject:
    """Draw a subject.

    Skin, sex and age run through three sequences that fill their ranges evenly and independently of one
    another over any run of subjects (multiples of irrational numbers, modulo 1).

    Args:
        seed: of the whole cast.
        number: of the subject, from 0.
    """
    rng = keyed_generator(seed, 1, number)
    starts = keyed_generator(seed, 0).uniform(size=3)
    skin, sex, age = (
        (number + 0.5) * step + start for step, start in zip(_SEQUENCE_STEPS, starts, strict=True)
    )
    melanin, male, age = skin % 1.0, sex % 1.0 < 0.5, (age % 1.0) ** 1.25
    identity = np.clip(rng.standard_normal(IDENTITY_MODES), -2.2, 2.2) * 0.85
    identity[: len(MASCULINE)] += np.array(MASCULINE) * (SEX_SHIFT if male else -SEX_SHIFT)
    appearance = _draw_appearance(rng, float(melanin), male, float(age))
    name = f"S{number + 1:03d}"
    return Subject(name, number, tuple(identity.tolist()), appearance, "m" if male else "f")


def group_fractions(subjects: Sequence[Subject]) -> dict[str, dict[str, float]]:
    """Return the fraction of subjects in each group of sex, age, skin, glasses, hat, hair and beard."""
    groups: dict[str, list[str]] = {
        "sex": [subject.sex for subject in subjects],
        "age": [_age_group(subject.years) for subject in subjects],
        "skin": [SKIN_BANDS[min(int(subject.appearance.melanin * 6), 5)] for subject in subjects],
        "glasses": [_label(subject.appearance.glasses) for subject in subjects],
        "hat": [_label(subject.appearance.hat) for subject in subjects],
        "hair": [_label(subject.appearance.hair_style) for subject in subjects],
        "beard": [_beard_group(subject.appearance.beard) for subject in subjects],
    }
    return {
        name: {group: column.count(group) / len(column) for group in sorted(set(column))}
        for name, column in groups.items()
    }


def _draw_appearance(rng: np.random.Generator, melanin: float, male: bool, age: float) -> Appearance:
    band = 0 if melanin < 0.3 else 1 if melanin < 0.55 else 2
    bald = male and bernoulli(rng, 0.06 + 0.5 * age)
    baldness = uniform(rng, 0.35, 1.0) if bald else uniform(rng, 0, 0.1 + 0.2 * age * male)
    style = _draw_hair_style(rng, melanin, male, baldness)
    dyed = not male and bernoulli(rng, 0.35)
    grey = 0.0 if dyed else float(np.clip((age - 0.36) / 0.55 + rng.normal(0, 0.18), 0, 1))
    beard = _draw_beard(rng) if male else 0.0
    makeup = not male and bernoulli(rng, 0.6)
    lipstick = makeup and bernoulli(rng, 0.6)
    return Appearance(
        melanin=melanin,
        redness=uniform(rng, 0, 1),
        hair=HairTone(
            categorical(rng, _HAIR_TONE_WEIGHTS[0 if dyed and band < 2 and bernoulli(rng, 0.3) else band])
        ),
        iris=IrisTone(min(categorical(rng, _IRIS_TONE_WEIGHTS[band]), len(IrisTone) - 1)),
        cloth=ClothTone(int(rng.integers(len(ClothTone)))),
        baldness=baldness,
        hair_cm=_HAIR_CM.get(style, 1.8) * uniform(rng, 0.8, 1.2),
        brow=uniform(rng, 0.55, 0.95) - 0.15 * age * (not male),
        brow_cm=uniform(rng, 0.30, 0.52) if male else uniform(rng, 0.20, 0.38),
        beard=beard,
        freckles=uniform(rng, 0, 1) ** 3 * (1.0 if band == 0 else 0.5),
        makeup=uniform(rng, 0.1, 1.0) if makeup else 0.0,
        lip_red=0.2 + 0.8 * uniform(rng, 0, 1) ** 1.7 if lipstick else uniform(rng, 0, 0.2),
        lash=uniform(rng, 0.4, 0.7) if male else uniform(rng, 0.55, 0.95),
        gloss=uniform(rng, 0, 1),
        age=age,
        moles=uniform(rng, 0, 1) ** 2 * (0.6 + 0.4 * age),
        glasses=_draw_style(rng, Glasses, _GLASSES_WEIGHTS, 0.14 + 0.26 * age),
        hat=_draw_style(rng, Hat, _HAT_WEIGHTS_OF_MEN if male else _HAT_WEIGHTS, 0.06),
        hair_style=style,
        grey=grey,
        clothes=Clothes(int(rng.integers(len(Clothes)))),
    )


def _draw_beard(rng: np.random.Generator) -> float:
    none, stubble, beard = uniform(rng, 0.0, 0.15), uniform(rng, 0.2, 0.5), uniform(rng, 0.55, 1.0)
    return (none, stubble, beard)[categorical(rng, (0.4, 0.28, 0.32))]


def _draw_hair_style(rng: np.random.Generator, melanin: float, male: bool, baldness: float) -> HairStyle:
    """Draw a style: short for the balding, more often curly for dark skin."""
    weights = []
    for style in HairStyle:
        weight = _HAIR_STYLE_WEIGHTS[style][0 if male else 1]
        if melanin > 0.6:
            weight *= _DARK_SKIN_STYLE_FACTORS.get(style, 1.0)
        if baldness > 0.5 and style not in _SHORT_STYLES:
            weight = 0.0
        weights.append(weight)
    return HairStyle(categorical(rng, weights))


def _draw_style(
    rng: np.random.Generator, styles: type[Style], weights: Mapping[Style, float], p: float
) -> Style:
    """Draw one of the styles with probability p, otherwise the one numbered 0; a weight not given is 1."""
    style = styles(categorical(rng, [weights.get(style, 1.0) for style in styles]))
    return style if bernoulli(rng, p) else styles(0)


def _label(style: IntEnum) -> str:
    return style.name.lower().replace("_", " ")


def _age_group(years: float) -> str:
    low = 18 if years < 30 else int(years // 10) * 10 if years < 70 else 70
    return f"{low}-{29 if low == 18 else 80 if low == 70 else low + 9}"


def _beard_group(beard: float) -> str:
    return "none" if beard < 0.15 else "stubble" if beard <= 0.5 else "beard"
