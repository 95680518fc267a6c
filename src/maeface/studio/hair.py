"""Hair as strands: scalp, brows, lashes and beard of a subject, on the head at rest.

N strands of P points each.
"""

from typing import NamedTuple

from maeface.studio.rig import Floats, Ints

HAIR_STYLES = (
    "shaved",
    "crew cut",
    "side parting",
    "swept back",
    "curly",
    "bob",
    "long straight",
    "long wavy",
    "tied back",
    "fringe",
)
"""What ``Look.hair_style`` counts."""


class Strands(NamedTuple):
    """Strands of one kind of hair."""

    points: Floats
    """(N, P, 3) cm on the head at rest, root first."""
    root: Ints
    """(N,) the vertex of the head that a strand moves with."""
    radius: Floats
    """(N,) cm at the root; it tapers to the tip."""
    colour: Floats
    """(N, 3) linear RGB."""
