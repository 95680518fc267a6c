"""What a subject wears, and what gets in front of the face, as meshes on the head at rest."""

import numpy as np

from maeface.errors import DataError
from maeface_studio.cast.look import CLOTH_TONES, Look
from maeface_studio.head.rig import Floats, Rig
from maeface_studio.skin.pigment import HAIR_TONES, linear, skin_tone
from maeface_studio.worn import occluders
from maeface_studio.worn.clothes import clothes
from maeface_studio.worn.glasses import glasses
from maeface_studio.worn.hats import hat
from maeface_studio.worn.solids import Colour, Thing

__all__ = ["CLOTHES", "GLASSES", "HATS", "OCCLUDERS", "Thing", "occluder", "worn"]

GLASSES = (
    "none",
    "round wire",
    "rectangle",
    "thick black",
    "half-rim",
    "aviator",
    "browline",
    "rimless",
    "sunglasses",
)
"""What ``Look.glasses`` counts; all but the last leave the eyes to be seen."""

HATS = ("none", "beanie", "baseball cap", "brimmed hat", "headscarf", "helmet")
"""What ``Look.hat`` counts."""

CLOTHES = ("crew neck", "V neck", "shirt", "shirt and tie", "suit", "hoodie")
"""What ``Look.clothes`` counts."""

OCCLUDERS = (
    "none",
    "hand at the chin",
    "hand at the cheek",
    "finger at the mouth's corner",
    "microphone",
    "cup",
    "phone",
    "scarf",
    "lock of hair",
)
"""What ``View.occluder`` counts."""


def worn(look: Look, rig: Rig, head: Floats) -> list[Thing]:
    """Clothes, hat and glasses of a subject.

    Args:
        look: what is worn, by ``CLOTHES``, ``HATS`` and ``GLASSES``.
        rig: the head's rig.
        head: (V, 3) cm, the subject at rest.

    Returns:
        Meshes, opaque ones first.

    Raises:
        DataError: a style that does not exist.
    """
    for name, style, styles in (
        ("glasses", look.glasses, GLASSES),
        ("hat", look.hat, HATS),
        ("clothes", look.clothes, CLOTHES),
    ):
        _known(name, style, styles)
    tint = int(look.gloss * 9973)  # any number that differs between subjects
    things = clothes(look.clothes, _linear(linear(np.array(CLOTH_TONES[look.cloth]))), tint, rig, head)
    if look.hat:
        things += hat(look.hat, tint // 7, rig, head)
    if look.glasses:
        things += glasses(look.glasses, tint // 11, rig, head)
    return sorted(things, key=lambda thing: thing.opacity < 1)


def occluder(
    kind: int, rig: Rig, head: Floats, rng: np.random.Generator, look: Look | None = None
) -> list[Thing]:
    """Something in front of the face that leaves most of it to be seen.

    Args:
        kind: by ``OCCLUDERS``.
        rig: the head's rig.
        head: (V, 3) cm, the subject at rest.
        rng: for side, colour and small differences.
        look: whose hand and hair they are; drawn where not given.

    Raises:
        DataError: a kind that does not exist.
    """
    _known("occluder", kind, OCCLUDERS)
    if kind == 0:
        return []
    melanin = look.melanin if look is not None else float(rng.uniform())
    tone = look.hair if look is not None else int(rng.integers(4))
    scene = occluders.Scene(
        rig, head, _linear(skin_tone(melanin, 0.5)), _linear(linear(np.array(HAIR_TONES[tone]))), rng
    )
    return occluders.held(kind, scene)


def _known(name: str, style: int, styles: tuple[str, ...]) -> None:
    if not 0 <= style < len(styles):
        raise DataError(f"no {name} {style}: expected 0 to {len(styles) - 1} ({', '.join(styles)})")


def _linear(rgb: Floats) -> Colour:
    red, green, blue = (float(c) for c in rgb)
    return red, green, blue
