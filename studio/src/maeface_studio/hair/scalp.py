"""Scalp hair: where it grows, and how each style is cut and combed.

A strand starts on the scalp and goes on in small steps: combed at first, falling later, always outside the
head and beside the face. N strands of P points each, R roots.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from maeface_studio.cast.appearance import Appearance, HairStyle, Hat
from maeface_studio.hair.strands import Face, Roots, Strands, draw_colour, scatter_roots
from maeface_studio.head.mesh import Floats, Ints
from maeface_studio.head.skull import Skull, clamp_height, hairline_depth, identity_offset, measure_skull
from maeface_studio.worn.hats import HAT_RIMS

_STEPS = 18


class Style(NamedTuple):
    """How hair is cut and combed; directions are (to the side of the parting, up, forwards)."""

    top_cm: float
    side_cm: float
    top: tuple[float, float, float]
    """Direction in which the hair of the top is combed."""
    side: tuple[float, float, float]
    """Direction in which the hair of sides and back is combed."""
    lift: float
    """How steeply it leaves the scalp, 0 for flat."""
    layer_cm: float
    """Height above the scalp, for ``hair_cm`` = 1."""
    falls: float
    """How soon it falls, 0 for never."""
    clump: float
    wave_cm: float
    end_y: float
    """Height on the neutral head at which it is cut off, cm; -99 for nowhere."""
    strands: int
    points: int
    """P, points of a strand."""


STYLES: Mapping[HairStyle, Style] = {
    HairStyle.CREW_CUT: Style(
        1.3, 0.8, (0.0, 0.3, 0.6), (0.0, -0.4, -0.3), 1.1, 0.3, 0.0, 0.15, 0.0, -99, 8000, 4
    ),
    HairStyle.SIDE_PARTING: Style(
        6.2, 2.0, (1.0, 0.25, -0.25), (0.0, -0.7, -0.6), 0.7, 0.75, 0.2, 0.4, 0.12, -5.5, 7500, 6
    ),
    HairStyle.SWEPT_BACK: Style(
        8.0, 4.5, (0.05, 0.3, -1.0), (0.0, -0.2, -1.0), 0.8, 0.8, 0.1, 0.5, 0.1, -5.5, 7000, 6
    ),
    HairStyle.CURLY: Style(
        2.9, 2.4, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0, 1.0, 0.0, 0.12, 0.3, -99, 6500, 9
    ),
    HairStyle.BOB: Style(
        22.0, 18.0, (0.9, 0.2, -0.25), (0.0, -1.0, 0.0), 0.5, 1.0, 0.9, 0.5, 0.1, -7.2, 6200, 8
    ),
    HairStyle.LONG_STRAIGHT: Style(
        32.0, 27.0, (0.9, 0.2, -0.25), (0.0, -1.0, -0.05), 0.6, 0.7, 0.9, 0.55, 0.12, -17, 6000, 8
    ),
    HairStyle.LONG_WAVY: Style(
        31.0, 26.0, (0.9, 0.25, -0.25), (0.1, -1.0, 0.0), 0.6, 1.3, 0.8, 0.6, 0.55, -16, 6000, 9
    ),
    HairStyle.TIED_BACK: Style(
        24.0, 20.0, (0.0, 0.1, -1.0), (0.0, 0.1, -1.0), 0.2, 0.35, 0.3, 0.5, 0.05, -12, 6500, 7
    ),
    HairStyle.FRINGE: Style(
        19.0, 16.0, (0.6, 0.0, 0.1), (0.0, -1.0, 0.0), 0.4, 0.8, 1.0, 0.5, 0.08, -6.5, 6500, 8
    ),
}
"""The styles but ``SHAVED``."""

_PARTED = (HairStyle.BOB, HairStyle.LONG_STRAIGHT, HairStyle.LONG_WAVY)
_KNOT = np.array([0.0, 6.5, -9.0], np.float32)
"""Where tied hair meets, cm on the neutral head."""


def grow_scalp(appearance: Appearance, face: Face, rng: np.random.Generator) -> Strands:
    """Grow scalp hair.

    Args:
        appearance: style, length, baldness, tone, grey and hat.
        face: the head at rest.
        rng: for the draws.
    """
    style = STYLES.get(appearance.hair_style)
    if style is None or appearance.hair_cm <= 0 or appearance.hat == Hat.HEADSCARF:
        empty = np.zeros((0, 3), np.float32)
        return Strands(np.zeros((0, 2, 3), np.float32), np.zeros(0, np.int32), empty[:, 0], empty)
    points, root, tuft = _comb_and_cut(appearance, style, face, rng)
    colour = draw_colour(appearance, len(root), appearance.grey, rng) * np.exp(0.5 * (tuft - 0.5))[:, None]
    # Hair is finest along the hairline.
    depth = hairline_depth(face.rig.neutral[root], appearance.baldness)
    fine = 0.027 if appearance.hair_style == HairStyle.CREW_CUT else 0.042
    radius = fine * np.clip(0.6 + 0.4 * depth, 0.6, 1) * rng.uniform(0.7, 1.3, len(root))
    return Strands(points, root, radius.astype(np.float32), np.clip(colour, 0.002, 0.9).astype(np.float32))


def _comb_and_cut(
    appearance: Appearance, style: Style, face: Face, rng: np.random.Generator
) -> tuple[Floats, Ints, Floats]:
    """Return points (N, P, 3) in cm, the vertex (N,) each strand moves with, and its tuft (N,) on 0..1."""
    kind, skull = appearance.hair_style, measure_skull(face.rig, face.head)
    roots = _scatter_scalp_roots(appearance, face, rng)
    sides, fringe = _draw_sides(roots, kind, rng), _in_fringe(kind, roots)
    tuft, lead = _draw_tufts(roots.position + (30.0 * (sides > 0) + 60.0 * fringe)[:, None], rng)
    scale = float(0.75 + 0.25 * min(appearance.hair_cm, 2.5))
    if kind == HairStyle.CURLY:
        points = _curl(style, roots, scale * appearance.hair_cm**0.5, rng)
    else:
        knot = _KNOT + identity_offset(face.rig, face.head, _KNOT)
        points = _comb(appearance, style, roots, sides, skull, knot, scale, rng)
    points = _clump(points, tuft, lead, style.clump * np.where(fringe, 0.4, 1.0))
    if kind != HairStyle.CURLY:
        points = _wave(points, style.wave_cm, tuft, rng)
    points[:, 1:] = clamp_height(skull, points[:, 1:], 0.03)
    return _press_under_hat(points, skull, appearance.hat), roots.vertex, tuft


def _scatter_scalp_roots(appearance: Appearance, face: Face, rng: np.random.Generator) -> Roots:
    rig = face.rig
    positions = rig.neutral[rig.skin].mean(1)
    x, y, z = positions.T
    inner = (np.abs(x) < 5.6) & (y < 7) & (z > -2)  # the lining of mouth and sockets
    ear = (y < 4.0) & (z > -2.0) & (z < 2.4) & (np.abs(x) > 6.4)
    depth = hairline_depth(positions, appearance.baldness)
    top = np.clip((y - 10.0) / 2, 0, 1) * np.clip((z + 6) / 3, 0, 1)
    dense = np.clip(1 - 1.3 * appearance.baldness * top, 0.02, 1)
    if appearance.hair_style in _PARTED:  # all that covers the scalp at the parting starts there
        dense *= 1 + 3.5 * np.exp(-((x / 2.2) ** 2)) * np.clip((z + 3) / 4, 0, 1) * (y > 8)
    nape = np.clip((y + 5.2) / 0.8, 0, 1)
    density = np.clip(depth / 0.5, 0, 1) * dense * nape * ~(inner | ear)
    count = int(STYLES[appearance.hair_style].strands * (1 - 0.4 * appearance.baldness))
    return scatter_roots(rig, face.head, face.normals, rig.skin, density, count, rng)[0]


def _draw_sides(roots: Roots, style: HairStyle, rng: np.random.Generator) -> Floats:
    """Draw the side to which each root is combed, -1 or 1; (R,)."""
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    lines = {
        HairStyle.SIDE_PARTING: 3.0,
        HairStyle.BOB: rng.choice([0.0, 2.0, 2.5]),
        HairStyle.LONG_STRAIGHT: rng.choice([0.0, 0.0, 2.0]),
    }
    line = lines.get(style, 0.6)
    x, _, z = roots.neutral.T
    wobble = 0.15 * np.sin(2.1 * z) + rng.normal(0, 0.25, len(x))
    crown = np.where(z < -3, x, x - side * line + wobble)  # no parting behind the crown
    return np.where(crown > 0, 1.0, -1.0).astype(np.float32)


def _draw_tufts(positions: Floats, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Draw tufts of a dozen neighbours: a number on 0..1 (N,), and the strand that each follows (N,)."""
    if not len(positions):
        return np.zeros(0, np.float32), np.zeros(0, np.int32)
    leads = rng.choice(len(positions), max(len(positions) // 14, 1), replace=False)
    centre = positions[leads]
    distance = (centre**2).sum(1)[None] - 2 * positions @ centre.T
    nearest = distance.argmin(1)
    return rng.uniform(size=len(leads)).astype(np.float32)[nearest], leads[nearest].astype(np.int32)


def _comb(
    appearance: Appearance,
    style: Style,
    roots: Roots,
    sides: Floats,
    skull: Skull,
    knot: Floats,
    scale: float,
    rng: np.random.Generator,
) -> Floats:
    """Step from the roots in the direction of the comb, then down; (N, P, 3) cm."""
    count = len(roots.position)
    _, y, z = roots.neutral.T
    top = np.clip((y - 8.5 + np.where(z > 4, 0.45, 0.15) * (z - 4)) / 2.5, 0, 1).astype(np.float32)
    length = (style.side_cm + (style.top_cm - style.side_cm) * top) * scale * rng.uniform(0.8, 1.1, count)
    length *= np.clip((y + 6.0) / 10, 0.12, 1.0) if style.side_cm < 6 else 1.0
    length *= np.where((y < 4.2) & (z > -1.5) & (style.top[2] < -0.9), 0.12, 1.0)  # before the ears
    comb = top[:, None] * np.array(style.top, np.float32) + (1 - top[:, None]) * np.array(
        style.side, np.float32
    )
    comb = comb * np.stack([sides, np.ones(count), np.ones(count)], -1)
    comb = comb + rng.normal(0, 0.16, (count, 3))
    fringe = _in_fringe(appearance.hair_style, roots)
    forwards = np.stack([0.06 * roots.neutral[:, 0], np.full(count, -0.35), np.full(count, 0.8)], -1)
    comb = np.where(fringe[:, None], forwards, comb)
    layer = style.layer_cm * (0.35 + 0.65 * min(appearance.hair_cm, 2.5))
    layer = layer * rng.uniform(0.05, 1, count) * (0.55 + 0.45 * top)
    layer = np.where(fringe, 0.25 + 0.5 * layer, layer)
    veil = rng.uniform(6.4, 7.6, count)  # how near to the face each falls
    tip, direction = roots.position, _normalise(comb + style.lift * roots.normal)
    trace = [tip]
    for step in range(1, _STEPS + 1):
        t = step / _STEPS
        pull = _pull(appearance.hair_style, style, comb, tip, sides, knot, t)
        direction = _normalise(0.55 * direction + 0.45 * pull)
        tip = tip + direction * (length / _STEPS)[:, None]
        height = layer * min(1.0, t * 3)
        most = np.where(tip[:, 1] > 0, height + 0.35 + 0.5 * style.lift * min(length.mean(), 2.0) / 2, 99)
        tip = clamp_height(skull, tip, height + 0.04, most)
        tip = np.where(fringe[:, None], tip, _keep_beside_face(tip, veil * min(1.0, 3 * t), sides))
        trace.append(tip)
    end = np.full(count, style.end_y) + rng.normal(0, 0.8, count) * (style.end_y > -99)
    end = np.where(fringe, 6.6 + rng.normal(0, 0.3, count), end)
    fractions = np.linspace(0, 1, style.points) ** (1.6 if style.wave_cm < 0.3 else 1.3)
    return _cut(np.stack(trace, 1), end, fractions)


def _pull(
    kind: HairStyle, style: Style, comb: Floats, tip: Floats, sides: Floats, knot: Floats, t: float
) -> Floats:
    """Return the direction (N, 3) in which the tips (N, 3) are pulled at a fraction ``t`` of the length."""
    if kind == HairStyle.TIED_BACK:
        offset = knot - tip
        distance = np.linalg.norm(offset, axis=1, keepdims=True)
        return np.asarray(np.where(distance > 1.6, offset / distance, np.array([0, -1.0, -0.25])), np.float32)
    falls = min(1.0, style.falls * t * 2.2)
    aside = np.stack([sides, np.full(len(tip), -0.35), np.full(len(tip), -0.8)], -1)
    brow = np.clip((tip[:, 1:2] - 5.5) / 1.5, 0, 1) * np.clip((tip[:, 2:] - 2.0) / 2, 0, 1)
    brow *= 0.3 if kind == HairStyle.FRINGE else 1.0
    down = np.array([0, -1.0, 0]) * (1 - brow) + aside * brow  # what falls on the forehead is put aside
    return np.asarray(_normalise(comb) * (1 - falls) + down * falls, np.float32)


def _in_fringe(kind: HairStyle, roots: Roots) -> Floats:
    """Return whether each root belongs to a fringe, (R,)."""
    x, y, z = roots.neutral.T
    return np.asarray((kind == HairStyle.FRINGE) & (z > 3.2) & (y > 8.5) & (np.abs(x) < 5.6), bool)


def _keep_beside_face(points: Floats, veil: Floats, sides: Floats) -> Floats:
    """Move points (N, 3) beside a curve from the middle of the hairline to the cheekbone and down."""
    x, y, z = points.T
    least = np.interp(y, [-3.0, 3.0, 6.0, 8.0, 10.0], [1.0, 1.0, 0.9, 0.6, 0.0]) * veil
    face = (z > 1.5) & (y < 10)
    outwards = np.where(np.abs(x) > 1.0, np.sign(x), sides)
    x = np.where(face & (np.abs(x) < least), outwards * least, x)
    z = z - 0.3 * np.clip(z - 4.0, 0, None) * (y < 5)
    return np.asarray(np.stack([x, y, z], -1), np.float32)


def _cut(trace: Floats, end: Floats, fractions: Floats) -> Floats:
    """Cut strands (N, steps, 3) where they first fall below ``end`` (N,), and resample what is left.

    The fractions (P,) of the length lie close together at the root, where a strand bends round the head and
    must not cut into it.
    """
    count, steps, _ = trace.shape
    below = trace[..., 1] < end[:, None]
    last = np.where(below.any(1), np.maximum(below.argmax(1), 2), steps - 1).astype(np.float32)
    step = last[:, None] * fractions.astype(np.float32)
    low = np.minimum(step.astype(int), steps - 2)
    rows = np.arange(count)[:, None]
    t = (step - low)[..., None]
    return np.asarray(trace[rows, low] * (1 - t) + trace[rows, low + 1] * t, np.float32)


def _curl(style: Style, roots: Roots, scale: float, rng: np.random.Generator) -> Floats:
    """Return springs that stand out from the scalp, shorter towards the hairline; (N, P, 3) cm."""
    count = len(roots.position)
    t = np.linspace(0, 1, style.points, dtype=np.float32)[None, :, None]
    _, y, z = roots.neutral.T
    short = np.clip(0.35 + 0.12 * np.maximum(y - 4, -0.2 * z), 0.35, 1)
    length = style.top_cm * scale * short * rng.uniform(0.15, 1.0, count) ** 0.5
    out = _normalise(roots.normal + rng.normal(0, 0.30, (count, 3)))
    first = _normalise(np.cross(out, rng.normal(0, 1, (count, 3))))
    second = np.cross(out, first)
    turns = rng.uniform(1.2, 2.2, count)[:, None, None] * 2 * math.pi * t
    wide = np.minimum(t * 4, 1) * (rng.uniform(0.22, 0.5, count) * min(scale, 1.2))[:, None, None]
    spring = wide * (
        np.cos(turns) * first[:, None] + np.sin(turns) * second[:, None] - first[:, None] * (t < 0.01)
    )
    return np.asarray(roots.position[:, None] + out[:, None] * length[:, None, None] * t + spring, np.float32)


def _clump(points: Floats, tuft: Floats, lead: Ints, strength: Floats) -> Floats:
    """Pull strands towards the strand that leads their tuft, more so at the tip."""
    along = np.linspace(0, 1, points.shape[1], dtype=np.float32) ** 1.3
    pull = along[None, :, None] * (strength * (0.5 + 0.5 * tuft))[:, None, None]
    return np.asarray(points + (points[lead] - points) * pull, np.float32)


def _wave(points: Floats, wave_cm: float, tuft: Floats, rng: np.random.Generator) -> Floats:
    """Add waves across the strands, which grow towards the tip."""
    direction = np.gradient(points, axis=1)
    length = np.cumsum(np.linalg.norm(np.diff(points, axis=1, prepend=points[:, :1]), axis=2), 1)
    across = np.cross(direction, np.array([0.35, 0.2, 1.0], np.float32))
    across /= np.maximum(np.linalg.norm(across, axis=2, keepdims=True), 1e-6)
    phase = 40.0 * tuft[:, None] + rng.normal(0, 0.35, (len(points), 1))
    swing = wave_cm * np.clip(length / 14 - 0.15, 0, 1) * np.sin(length * 2 * math.pi / 8.5 + phase)
    return np.asarray(points + across * swing[..., None], np.float32)


def _press_under_hat(points: Floats, skull: Skull, hat: Hat) -> Floats:
    """Press what is above the rim of a hat against the skull."""
    if hat not in HAT_RIMS:
        return points
    height, slope = HAT_RIMS[hat]
    above = points[..., 1] - (height + slope * points[..., 2])
    flat = clamp_height(skull, points, 0.02, 0.15)
    pressed = np.clip(above / 0.8 + 0.8, 0, 1)[..., None]
    return np.asarray(points + (flat - points) * pressed, np.float32)


def _normalise(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6), np.float32)
