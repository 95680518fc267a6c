"""A second set of shapes on the same vertices, blended with the rig's own, in another way for each subject.

People move differently: one lifts the lip corners more, another the cheeks. With two sets of shapes, made by
different artists, a network cannot learn one artist's smile by heart. The second set is MakeHuman's (CC0,
with parts of ICT-FaceKit, MIT), see studio/docs/render.md.

V vertices of the head.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maeface.errors import DataError
from maeface_studio.head.mesh import Floats
from maeface_studio.head.rig import Rig

REGIONS = {"brow": "brows", "eye": "eyes", "cheek": "eyes", "nose": "nose", "mouth": "mouth", "jaw": "mouth"}
"""Region of a shape, by the start of its name. A region has one weight, so that lids and lips meet."""

GAINS = {
    "browInnerUp": 1.3,
    "browOuterUp": 1.3,
    "mouthPucker": 1.6,
    "mouthRollLower": 1.3,
    "mouthRollUpper": 1.3,
    "mouthFunnel": 0.8,
    "eyeLook": 2.0,
}
"""Factors of shapes of the second set that are weaker or stronger than the rig's, by the start of a name."""

LARGEST_SHARES = {"mouthPress": 0.3, "noseSneer": 0.5, "mouthDimple": 0.6}
"""Largest shares of shapes of the second set that miss a part of their action unit."""

VARIANTS = {
    "browDown": "mhEyebrowsDown",
    "browInnerUp": "mhEyebrowsInnerUp",
    "browOuterUp": "mhEyebrowsExternUp",
    "eyeBlink": "mhEyeClosure",
    "eyeSquint": "mhEyeSlit",
    "eyeWide": "mhEyeOpenedUp",
    "mouthFrown": "mhMouthDepression",
    "mouthLowerDown": "mhMouthParling",
    "mouthSmile": "mhMouthCornerPuller",
    "mouthStretch": "mhMouthRetraction",
    "mouthUpperUp": "mhMouthElevation",
}
"""Further shapes of the second set that do the same as one of the rig's."""

LARGEST_VARIANT = 0.6
"""Largest fraction of the second set's share that goes to the variant."""

MIDLINE_CM = 1.0
"""Distance from the midline at which a shape of both sides belongs to one side entirely."""

STRENGTH_STD = 0.12
"""Standard deviation of the logarithm of a subject's strength of a movement, where nothing has to touch."""
TOUCHING = ("eyeBlink", "mouthClose", "mouthRoll", "jaw", "eyeLook")
"""Starts of names of shapes of fixed strength: else lids would not meet, or the label would be wrong."""


@dataclass(frozen=True)
class SecondShapes:
    """Shapes on the vertices of the rig.

    Attributes:
        expressions: displacement at weight 1 of each shape, (V, 3) cm.
        identity: displacement per standard deviation of each mode, (modes, V, 3) cm.
    """

    expressions: Mapping[str, Floats]
    identity: Floats


def load(path: Path, rig: Rig) -> SecondShapes:
    """Read a second set of shapes, ``makehuman_shapes.npz``.

    Raises:
        DataError: the file is missing, is damaged, or is of another head.
    """
    if not path.is_file():
        raise DataError(f"no file {path} with a second set of shapes (studio/docs/render.md)")
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = [str(name) for name in stored["expression_names"]]
            expressions = np.asarray(stored["expression_deltas"], np.float32)
            identity = np.asarray(stored["identity_deltas"], np.float32)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a set of shapes: {error}") from None
    for values in (expressions, identity):
        if values.ndim != 3 or values.shape[1:] != rig.neutral.shape:
            raise DataError(
                f"{path} has shapes of {values.shape[1:]} vertices, the rig has {rig.neutral.shape}"
            )
    sided = dict(zip(names, expressions, strict=True))
    for name in VARIANTS.values():
        if name in sided:  # one shape for both sides
            left = np.clip(0.5 + rig.neutral[:, :1] / (2 * MIDLINE_CM), 0, 1).astype(np.float32)
            sided[f"{name}_L"], sided[f"{name}_R"] = left * sided[name], (1 - left) * sided[name]
    return SecondShapes(sided, identity)


def blend(
    rig: Rig, second: SecondShapes, identity: tuple[float, ...], rng: np.random.Generator
) -> tuple[Rig, Floats]:
    """Return the rig with a subject's own shapes, and the subject's head without expression.

    Args:
        rig: with its own shapes.
        second: the other set.
        identity: coefficients of the rig's identity modes, in standard deviations.
        rng: draws one weight for each region, the strengths, and the head.

    Returns:
        The rig with blended expressions, and the head, (V, 3) cm.
    """
    shares = {region: float(rng.uniform()) for region in sorted(set(REGIONS.values()))}
    variants = {name: float(rng.uniform(0, LARGEST_VARIANT)) for name in VARIANTS}
    strengths = {
        name: float(np.exp(np.clip(rng.normal(0, STRENGTH_STD), -0.2, 0.2)))
        for name in sorted({name.removesuffix("_L").removesuffix("_R") for name in rig.expressions})
    }
    own = {
        name: _blend_shape(name, shape, second.expressions, shares, variants, strengths)
        for name, shape in rig.expressions.items()
    }
    share = float(rng.uniform())
    coefficients = 0.85 * np.clip(rng.standard_normal(len(second.identity)), -2.2, 2.2)
    head = (
        rig.neutral
        + np.sqrt(1 - share) * np.tensordot(identity, rig.identity[: len(identity)], axes=1)
        + np.sqrt(share) * np.tensordot(coefficients, second.identity, axes=1)
    )
    return replace(rig, expressions=own), np.asarray(head, np.float32)


def _blend_shape(
    name: str,
    shape: Floats,
    second: Mapping[str, Floats],
    shares: Mapping[str, float],
    variants: Mapping[str, float],
    strengths: Mapping[str, float],
) -> Floats:
    """Return a subject's shape: the rig's and the second set's, by the weight of the region."""
    stem, side = (name[:-2], name[-2:]) if name.endswith(("_L", "_R")) else (name, "")
    region = next((region for start, region in REGIONS.items() if name.startswith(start)), None)
    if region is None:  # pupils
        return shape
    strength = 1.0 if stem.startswith(TOUCHING) else strengths[stem]
    if name not in second:  # cheekRaiser: the second set has it in cheekSquint
        return np.asarray(strength * (1 - shares[region]) * shape, np.float32)
    share = min(shares[region], LARGEST_SHARES.get(stem, 1.0))
    gain = next((gain for start, gain in GAINS.items() if stem.startswith(start)), 1.0)
    other = gain * second[name]
    variant = second.get(f"{VARIANTS[stem]}{side}") if stem in VARIANTS else None
    if variant is not None:
        other = (1 - variants[stem]) * other + variants[stem] * variant
    return np.asarray(strength * ((1 - share) * shape + share * other), np.float32)
