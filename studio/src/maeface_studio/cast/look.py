"""What a subject looks like, as numbers that skin, hair and clothes are made from."""

from typing import NamedTuple

IRIS_TONES = ((48, 28, 16), (74, 44, 22), (104, 78, 38), (86, 98, 62), (92, 112, 124), (84, 104, 122))
CLOTH_TONES = (
    (30, 32, 38),
    (90, 92, 96),
    (200, 198, 192),
    (38, 52, 92),
    (112, 34, 38),
    (44, 78, 56),
    (150, 120, 80),
)


class Look(NamedTuple):
    """How a subject looks; 0..1 unless said."""

    melanin: float
    redness: float
    hair: int
    """Index into ``pigment.HAIR_TONES``."""
    iris: int
    """Index into ``IRIS_TONES``."""
    cloth: int
    """Index into ``CLOTH_TONES``."""
    baldness: float
    hair_cm: float
    """How far the scalp hair stands out."""
    brow: float
    """How dense."""
    brow_cm: float
    """Half its height."""
    beard: float
    """Below 0.5 a shadow of stubble, above it a beard."""
    freckles: float
    makeup: float
    lip_red: float
    lash: float
    gloss: float
    age: float
    """0 to 1 for about 18 to 80 years."""
    moles: float
    glasses: int
    """Style; 0 for none."""
    hat: int
    """Style; 0 for none."""
    hair_style: int
    grey: float
    clothes: int = 0
    """Cut, into ``things.CLOTHES``."""
