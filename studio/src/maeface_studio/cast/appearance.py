"""The appearance of a subject as numbers and styles, from which skin, hair and clothes are made.

The styles are drawn as integers and index tables of colours and meshes, so members keep their numbers.
"""

from enum import IntEnum
from typing import NamedTuple


class HairTone(IntEnum):
    """Colour of the hair before it turns grey."""

    BLACK = 0
    DARK_BROWN = 1
    BROWN = 2
    LIGHT_BROWN = 3
    BLOND = 4
    RED = 5


class IrisTone(IntEnum):
    """Colour of the iris."""

    DARK_BROWN = 0
    BROWN = 1
    HAZEL = 2
    GREEN = 3
    GREY_BLUE = 4
    BLUE = 5


class ClothTone(IntEnum):
    """Colour of the outer garment."""

    BLACK = 0
    GREY = 1
    WHITE = 2
    NAVY = 3
    BURGUNDY = 4
    GREEN = 5
    TAN = 6


class HairStyle(IntEnum):
    """Cut of the scalp hair."""

    SHAVED = 0
    CREW_CUT = 1
    SIDE_PARTING = 2
    SWEPT_BACK = 3
    CURLY = 4
    BOB = 5
    LONG_STRAIGHT = 6
    LONG_WAVY = 7
    TIED_BACK = 8
    FRINGE = 9


class Glasses(IntEnum):
    """Glasses; only sunglasses hide the eyes."""

    NONE = 0
    ROUND_WIRE = 1
    RECTANGLE = 2
    THICK_BLACK = 3
    HALF_RIM = 4
    AVIATOR = 5
    BROWLINE = 6
    RIMLESS = 7
    SUNGLASSES = 8


class Hat(IntEnum):
    """Hats and headscarves."""

    NONE = 0
    BEANIE = 1
    BASEBALL_CAP = 2
    BRIMMED_HAT = 3
    HEADSCARF = 4
    HELMET = 5


class Clothes(IntEnum):
    """Cut of the outer garment."""

    CREW_NECK = 0
    V_NECK = 1
    SHIRT = 2
    SHIRT_AND_TIE = 3
    SUIT = 4
    HOODIE = 5


class Appearance(NamedTuple):
    """The appearance of a subject; numbers are on 0..1 unless a unit is given."""

    melanin: float
    redness: float
    hair: HairTone
    iris: IrisTone
    cloth: ClothTone
    baldness: float
    hair_cm: float
    """How far the scalp hair stands out."""
    brow: float
    """Density of the brows."""
    brow_cm: float
    """Half the height of the brows."""
    beard: float
    """Up to 0.5 stubble, above it a beard."""
    freckles: float
    makeup: float
    lip_red: float
    lash: float
    """Density and length of the lashes."""
    gloss: float
    age: float
    """0 to 1 for 18 to 80 years."""
    moles: float
    glasses: Glasses
    hat: Hat
    hair_style: HairStyle
    grey: float
    """Fraction of grey hair."""
    clothes: Clothes = Clothes.CREW_NECK
