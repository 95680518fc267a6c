"""Glasses that fit the eyes, nose and ears of a head."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from maeface_studio.cast.appearance import Glasses
from maeface_studio.head.curves import sample_curve
from maeface_studio.head.mesh import Floats
from maeface_studio.head.rig import Rig
from maeface_studio.head.skull import identity_offset
from maeface_studio.worn.meshes import (
    Colour,
    MaterialMesh,
    Mesh,
    join_meshes,
    sheet_mesh,
    tube_mesh,
    with_material,
)


class GlassesFrame(NamedTuple):
    """The shape (cm) and material of a pair of glasses."""

    width: float
    """Of one lens."""
    height: float
    square: float
    """Exponent of the outline, a superellipse: 2 is an ellipse, more is squarer."""
    rim: float
    """Half the thickness of the rim; 0 for none."""
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

FRAMES: Mapping[Glasses, GlassesFrame] = {
    Glasses.ROUND_WIRE: GlassesFrame(4.7, 4.3, 2.0, 0.07, 0.07, 0.0, 0.5, _METALS, _CLEAR, 0.05),
    Glasses.RECTANGLE: GlassesFrame(5.2, 3.2, 4.0, 0.09, 0.09, 0.0, 0.5, _METALS + _PLASTICS, _CLEAR, 0.05),
    Glasses.THICK_BLACK: GlassesFrame(5.2, 3.9, 3.4, 0.21, 0.26, 0.0, 0.0, _PLASTICS, _CLEAR, 0.05),
    Glasses.HALF_RIM: GlassesFrame(5.2, 3.1, 3.2, 0.0, 0.11, 0.0, 0.5, _METALS, _CLEAR, 0.05),
    Glasses.AVIATOR: GlassesFrame(5.6, 4.6, 2.4, 0.08, 0.08, 0.45, 0.5, _METALS, _CLEAR, 0.05),
    Glasses.BROWLINE: GlassesFrame(5.1, 3.8, 2.8, 0.06, 0.27, 0.0, 0.0, _PLASTICS, _CLEAR, 0.05),
    Glasses.RIMLESS: GlassesFrame(5.0, 3.2, 2.8, 0.0, 0.0, 0.0, 0.5, _METALS, _CLEAR, 0.05),
    Glasses.SUNGLASSES: GlassesFrame(5.7, 4.5, 2.8, 0.17, 0.20, 0.25, 0.0, _PLASTICS, _DARK, 0.88),
}

_OUTLINE_POINTS = 44


def make_glasses(kind: Glasses, tint: int, rig: Rig, head: Floats) -> list[MaterialMesh]:
    """Return a pair of glasses: the frame, then the lenses.

    Args:
        kind: any but ``NONE``.
        tint: any number; selects one of the colours of the frame.
        rig: the head's rig.
        head: (V, 3) cm at rest.
    """
    frame = FRAMES[kind]
    anchor = int(rig.landmarks[29])  # they rest on the nose, below what brows move
    landmarks = head[rig.landmarks]
    eyes = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    bridge = landmarks[27] + 0.35 * (landmarks[28] - landmarks[27])
    front = float(max(bridge[2] + 0.12, max(eye[2] for eye in eyes) + 1.55))
    solid, lenses = [], []
    for side, eye in zip((-1, 1), eyes, strict=True):
        middle = np.array(
            [bridge[0] + side * max(abs(eye[0] - bridge[0]), frame.width / 2 + 0.62), eye[1] - 0.3, front]
        )
        outline = _outline(frame, middle, side, float(bridge[0]))
        ear = np.array([side * 7.75, 3.7, -0.1], np.float32) + identity_offset(
            rig, head, np.array([side * 7.75, 3.85, 0.1])
        )
        solid += [*_rims(frame, outline, middle), _temple(frame, outline, middle, side, ear)]
        lenses.append(_lens(outline))
    inner = [_inner_edge(frame, eye, bridge) for eye in eyes]
    top = float(eyes[0][1] + eyes[1][1]) / 2 - 0.3 + 0.22 * frame.height
    solid.append(_bridge(frame, inner, top, front, bridge))
    colour = frame.colours[tint % len(frame.colours)]
    roughness = 0.4 if frame.metal > 0.4 else 0.35
    return [
        with_material(join_meshes(solid), colour, anchor, roughness, frame.metal),
        with_material(join_meshes(lenses), frame.lens, anchor, 0.05, 0.0, frame.opacity),
    ]


def _inner_edge(frame: GlassesFrame, eye: Floats, bridge: Floats) -> float:
    """Return the x of the inner edge of a lens."""
    side = np.sign(eye[0] - bridge[0])
    return float(bridge[0] + side * (max(abs(eye[0] - bridge[0]), frame.width / 2 + 0.62) - frame.width / 2))


def _outline(frame: GlassesFrame, middle: Floats, side: int, nose_x: float) -> Floats:
    """Return the edge of a lens, from the outer end over the top to the inner, (_OUTLINE_POINTS, 3) cm."""
    angle = np.linspace(0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    power = 2 / frame.square
    x = frame.width / 2 * np.sign(cos) * np.abs(cos) ** power
    y = frame.height / 2 * np.sign(sin) * np.abs(sin) ** power
    y = y - frame.drop * np.where(y < 0, 0.5 + 0.2 * cos, 0.15 * (cos < 0))
    x = x - 0.35 * np.clip(-y - 0.5, 0, 9) * (cos < 0) * -0.6  # room for the nose
    return _on_curved_front(np.stack([middle[0] + side * x, middle[1] + y], -1), middle, nose_x)


def _on_curved_front(points: Floats, middle: Floats, nose_x: float) -> Floats:
    """Place points (..., 2) on the curved front, which leans in at the cheeks."""
    x, y = points[..., 0] - nose_x, points[..., 1]
    z = middle[2] - 0.026 * x**2 + 0.09 * (y - middle[1])
    return np.asarray(np.concatenate([points, z[..., None]], -1), np.float32)


def _rims(frame: GlassesFrame, outline: Floats, middle: Floats) -> list[Mesh]:
    if frame.rim > 0:
        high = np.clip((outline[:, 1] - middle[1]) / frame.height * 3 + 0.4, 0, 1)
        return [tube_mesh(outline, frame.rim + (frame.top_rim - frame.rim) * high, closed=True)]
    if frame.top_rim > 0:
        return [tube_mesh(outline[: _OUTLINE_POINTS // 2 + 1], frame.top_rim)]
    return [tube_mesh(outline, 0.022, 4, closed=True)]  # the bare edge of the lens


def _temple(frame: GlassesFrame, outline: Floats, middle: Floats, side: int, ear: Floats) -> Mesh:
    hinge = outline[np.abs(outline[: _OUTLINE_POINTS // 4, 1] - middle[1] - 0.22 * frame.height).argmin()]
    out = np.array([ear[0] - 0.05 * side, hinge[1] + 0.05, hinge[2] - 1.1])
    out[0] = hinge[0] + 0.7 * (ear[0] - hinge[0])
    behind = ear + np.array([0.1 * side, -1.6, -1.3])
    line = sample_curve([hinge, out, (out + ear) / 2 + [0.25 * side, 0.15, 0], ear, behind], 18)
    return tube_mesh(line, 0.085 if frame.metal > 0.4 else 0.16, 6)


def _bridge(frame: GlassesFrame, inner: list[float], y: float, front: float, bridge: Floats) -> Mesh:
    left, right = (np.array([x, y, front - 0.026 * (x - bridge[0]) ** 2 + 0.05]) for x in inner)
    arch = (left + right) / 2 + [0, 0.18, 0.22]
    radius = max(frame.top_rim, 0.075) * (0.95 if frame.metal > 0.4 else 1.1)
    return tube_mesh(sample_curve([left, arch, right], 10), radius)


def _lens(outline: Floats) -> Mesh:
    centre = outline.mean(0)
    t = np.linspace(0.02, 1, 5)[:, None, None]
    points = centre + (outline - centre) * t
    points[..., 2] += 0.10 * (1 - t[..., 0] ** 2)
    return sheet_mesh(points, closed=True)
