"""What a subject wears, and what gets in front of the face, as meshes on the head at rest."""

from typing import NamedTuple

from maeface.studio.rig import Floats, Ints

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


class Thing(NamedTuple):
    """A mesh of one material."""

    vertices: Floats
    """(n, 3) cm."""
    normals: Floats
    """(n, 3) unit."""
    triangles: Ints
    """(m, 3)."""
    colour: tuple[float, float, float]
    """Linear RGB."""
    opacity: float
    roughness: float
    metal: float
    anchor: int
    """The vertex of the head whose displacement it follows; -1: none."""
