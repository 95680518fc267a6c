"""Glasses fitted to eyes, nose and ears of a head."""

from typing import NamedTuple

import numpy as np

from maeface_studio.head.rig import Floats, Rig
from maeface_studio.head.skull import shift
from maeface_studio.worn.solids import Colour, Mesh, Thing, joined, sheet, smooth, thing, tube


class Frame(NamedTuple):
    """Measures of a pair, cm."""

    width: float
    """Of one lens."""
    height: float
    square: float
    """Roundness of the outline as the exponent of a superellipse: 2 is an ellipse."""
    rim: float
    """Half the rim's thickness; 0: none."""
    top_rim: float
    """The same along the upper half."""
    drop: float
    """How far the outer half hangs lower than the inner one, as on an aviator's."""
    metal: float
    colours: tuple[Colour, ...]
    lens: Colour
    opacity: float


_CLEAR, _DARK = (0.10, 0.12, 0.12), (0.012, 0.012, 0.014)
_METALS: tuple[Colour, ...] = (
    (0.40, 0.28, 0.12),
    (0.28, 0.28, 0.29),
    (0.06, 0.06, 0.065),
    (0.30, 0.22, 0.18),
)
_PLASTICS: tuple[Colour, ...] = (
    (0.010, 0.010, 0.012),
    (0.07, 0.03, 0.012),
    (0.02, 0.03, 0.07),
    (0.10, 0.012, 0.016),
)

FRAMES = (
    Frame(4.7, 4.3, 2.0, 0.07, 0.07, 0.0, 0.5, _METALS, _CLEAR, 0.05),
    Frame(5.2, 3.2, 4.0, 0.09, 0.09, 0.0, 0.5, _METALS + _PLASTICS, _CLEAR, 0.05),
    Frame(5.2, 3.9, 3.4, 0.21, 0.26, 0.0, 0.0, _PLASTICS, _CLEAR, 0.05),
    Frame(5.2, 3.1, 3.2, 0.0, 0.11, 0.0, 0.5, _METALS, _CLEAR, 0.05),
    Frame(5.6, 4.6, 2.4, 0.08, 0.08, 0.45, 0.5, _METALS, _CLEAR, 0.05),
    Frame(5.1, 3.8, 2.8, 0.06, 0.27, 0.0, 0.0, _PLASTICS, _CLEAR, 0.05),
    Frame(5.0, 3.2, 2.8, 0.0, 0.0, 0.0, 0.5, _METALS, _CLEAR, 0.05),
    Frame(5.7, 4.5, 2.8, 0.17, 0.20, 0.25, 0.0, _PLASTICS, _DARK, 0.88),
)
"""By ``Look.glasses`` - 1; see ``things.GLASSES``."""

_AROUND = 44


def glasses(kind: int, tint: int, rig: Rig, head: Floats) -> list[Thing]:
    """A pair of glasses.

    Args:
        kind: ``Look.glasses``, at least 1.
        tint: any number; which of the frame's colours.
        rig: the head's rig.
        head: (V, 3) cm at rest.
    """
    frame = FRAMES[kind - 1]
    anchor = int(rig.landmarks[29])  # they rest on the nose, below what brows move
    marks = head[rig.landmarks]
    eyes = marks[36:42].mean(0), marks[42:48].mean(0)
    bridge = marks[27] + 0.35 * (marks[28] - marks[27])
    front = float(max(bridge[2] + 0.12, max(eye[2] for eye in eyes) + 1.55))
    solid, panes = [], []
    for side, eye in zip((-1, 1), eyes, strict=True):
        middle = np.array(
            [bridge[0] + side * max(abs(eye[0] - bridge[0]), frame.width / 2 + 0.62), eye[1] - 0.3, front]
        )
        outline = _outline(frame, middle, side, float(bridge[0]))
        ear = np.array([side * 7.75, 3.7, -0.1], np.float32) + shift(
            rig, head, np.array([side * 7.75, 3.85, 0.1])
        )
        solid += [*_rims(frame, outline, middle), _temple(frame, outline, middle, side, ear)]
        panes.append(_pane(outline, middle))
    inner = [middle_x(frame, eye, bridge) for eye in eyes]
    top = float(eyes[0][1] + eyes[1][1]) / 2 - 0.3 + 0.22 * frame.height
    solid.append(_bridge(frame, inner, top, front, bridge))
    colour = frame.colours[tint % len(frame.colours)]
    shine = 0.4 if frame.metal > 0.4 else 0.35
    worn = [thing(joined(solid), colour, anchor, shine, frame.metal)]
    worn.append(thing(joined(panes), frame.lens, anchor, 0.05, 0.0, frame.opacity))
    return worn


def middle_x(frame: Frame, eye: Floats, bridge: Floats) -> float:
    """Where the inner edge of a lens lies across the face."""
    side = np.sign(eye[0] - bridge[0])
    return float(bridge[0] + side * (max(abs(eye[0] - bridge[0]), frame.width / 2 + 0.62) - frame.width / 2))


def _outline(frame: Frame, middle: Floats, side: int, nose_x: float) -> Floats:
    """The edge of a lens, from outer to inner over the top, (_AROUND, 3); wrapped about the face."""
    turn = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    cos, sin = np.cos(turn), np.sin(turn)
    power = 2 / frame.square
    x = frame.width / 2 * np.sign(cos) * np.abs(cos) ** power
    y = frame.height / 2 * np.sign(sin) * np.abs(sin) ** power
    y = y - frame.drop * np.where(y < 0, 0.5 + 0.2 * cos, 0.15 * (cos < 0))
    x = x - 0.35 * np.clip(-y - 0.5, 0, 9) * (cos < 0) * -0.6  # room for the nose
    return _curved(np.stack([middle[0] + side * x, middle[1] + y], -1), middle, nose_x)


def _curved(points: Floats, middle: Floats, nose_x: float) -> Floats:
    """Points (..., 2) put on the curved front, which leans in at the cheeks."""
    x, y = points[..., 0] - nose_x, points[..., 1]
    z = middle[2] - 0.026 * x**2 + 0.09 * (y - middle[1])
    return np.asarray(np.concatenate([points, z[..., None]], -1), np.float32)


def _rims(frame: Frame, outline: Floats, middle: Floats) -> list[Mesh]:
    if frame.rim > 0:
        high = np.clip((outline[:, 1] - middle[1]) / frame.height * 3 + 0.4, 0, 1)
        return [tube(outline, frame.rim + (frame.top_rim - frame.rim) * high, closed=True)]
    if frame.top_rim > 0:
        return [tube(outline[: _AROUND // 2 + 1], frame.top_rim)]
    return [tube(outline, 0.022, 4, closed=True)]  # the bare edge of the lens


def _temple(frame: Frame, outline: Floats, middle: Floats, side: int, ear: Floats) -> Mesh:
    at = int(np.abs(outline[: _AROUND // 4, 1] - middle[1] - 0.22 * frame.height).argmin())
    hinge = outline[at]
    out = np.array([ear[0] - 0.05 * side, hinge[1] + 0.05, hinge[2] - 1.1])
    out[0] = hinge[0] + 0.7 * (ear[0] - hinge[0])
    behind = ear + np.array([0.1 * side, -1.6, -1.3])
    line = smooth([hinge, out, (out + ear) / 2 + [0.25 * side, 0.15, 0], ear, behind], 18)
    thick = {True: 0.085, False: 0.16}[frame.metal > 0.4]
    return tube(line, thick, 6)


def _bridge(frame: Frame, inner: list[float], y: float, front: float, bridge: Floats) -> Mesh:
    left, right = (np.array([x, y, front - 0.026 * (x - bridge[0]) ** 2 + 0.05]) for x in inner)
    arch = (left + right) / 2 + [0, 0.18, 0.22]
    thick = max(frame.top_rim, 0.075) * (0.95 if frame.metal > 0.4 else 1.1)
    return tube(smooth([left, arch, right], 10), thick)


def _pane(outline: Floats, middle: Floats) -> Mesh:
    centre = outline.mean(0)
    share = np.linspace(0.02, 1, 5)[:, None, None]
    points = centre + (outline - centre) * share
    points[..., 2] += 0.10 * (1 - share[..., 0] ** 2)
    return sheet(points, closed=True)
