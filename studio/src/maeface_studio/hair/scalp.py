"""Scalp hair: where it grows, and the way each style takes it.

A strand starts on the scalp and goes on in small steps: combed at first, falling later, always outside the
head and beside the face. N strands, R roots.
"""

import math
from typing import NamedTuple

import numpy as np

from maeface_studio.cast.look import Look
from maeface_studio.hair.roots import Roots, scatter
from maeface_studio.head.rig import Floats, Ints, Rig
from maeface_studio.head.skull import Skull, kept, shift
from maeface_studio.skin.paint import hair_share

_STEPS = 18

HAT_RIM = {1: (4.4, 0.44), 2: (5.2, 0.40), 3: (5.4, 0.36), 5: (4.0, 0.46)}
"""Hat -> height of its rim over z = 0 and its slope in z: what is above is hidden."""


class Style(NamedTuple):
    """How hair is cut and combed; directions are (towards the parted side, up, forward)."""

    top_cm: float
    side_cm: float
    top: tuple[float, float, float]
    """The way the hair over the parting or the crown is combed."""
    side: tuple[float, float, float]
    """The way the hair of the sides and the back is combed."""
    lift: float
    """How steeply it leaves the scalp."""
    layer_cm: float
    """How far it lies over the scalp, for ``hair_cm`` = 1."""
    falls: float
    """How soon its weight takes over."""
    clump: float
    wave_cm: float
    end_y: float
    """Where it is cut off, as a height on the neutral head; -99: nowhere."""
    strands: int
    points: int
    """Of a strand."""


STYLES: dict[int, Style] = {
    1: Style(1.3, 0.8, (0.0, 0.3, 0.6), (0.0, -0.4, -0.3), 1.1, 0.3, 0.0, 0.15, 0.0, -99, 8000, 4),
    2: Style(6.2, 2.0, (1.0, 0.25, -0.25), (0.0, -0.7, -0.6), 0.7, 0.75, 0.2, 0.4, 0.12, -5.5, 7500, 6),
    3: Style(8.0, 4.5, (0.05, 0.3, -1.0), (0.0, -0.2, -1.0), 0.8, 0.8, 0.1, 0.5, 0.1, -5.5, 7000, 6),
    4: Style(2.9, 2.4, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0, 1.0, 0.0, 0.12, 0.3, -99, 6500, 9),
    5: Style(22.0, 18.0, (0.9, 0.2, -0.25), (0.0, -1.0, 0.0), 0.5, 1.0, 0.9, 0.5, 0.1, -7.2, 6200, 8),
    6: Style(32.0, 27.0, (0.9, 0.2, -0.25), (0.0, -1.0, -0.05), 0.6, 0.7, 0.9, 0.55, 0.12, -17, 6000, 8),
    7: Style(31.0, 26.0, (0.9, 0.25, -0.25), (0.1, -1.0, 0.0), 0.6, 1.3, 0.8, 0.6, 0.55, -16, 6000, 9),
    8: Style(24.0, 20.0, (0.0, 0.1, -1.0), (0.0, 0.1, -1.0), 0.2, 0.35, 0.3, 0.5, 0.05, -12, 6500, 7),
    9: Style(19.0, 16.0, (0.6, 0.0, 0.1), (0.0, -1.0, 0.0), 0.4, 0.8, 1.0, 0.5, 0.08, -6.5, 6500, 8),
}
"""By ``Look.hair_style``; see ``hair.HAIR_STYLES``. 0 is shaved."""

CURLY, TIED, FRINGE = 4, 8, 9
_PARTED = (5, 6, 7)
_KNOT = np.array([0.0, 6.5, -9.0], np.float32)


def grow(
    look: Look, rig: Rig, head: Floats, normals: Floats, skull: Skull, rng: np.random.Generator
) -> tuple[Floats, Ints, Floats]:
    """Grow scalp hair.

    Args:
        look: style, length, baldness, hat.
        rig: the head's rig.
        head: (V, 3) cm at rest.
        normals: (V, 3).
        skull: its outside.
        rng: for the draws.

    Returns:
        Points (N, P, 3) in cm, the vertex (N,) each moves with, and the tuft (N,) it belongs to as a
        number on 0..1.
    """
    style = STYLES.get(look.hair_style)
    if style is None or look.hair_cm <= 0 or look.hat == 4:
        return np.zeros((0, 2, 3), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32)
    roots = _roots(look, rig, head, normals, rng)
    sides = _parted(style, roots, look, rng)
    tuft, lead = _tufts(roots.at + (30.0 * (sides > 0) + 60.0 * _fringe(look, roots))[:, None], rng)
    scale = float(0.75 + 0.25 * min(look.hair_cm, 2.5))
    if look.hair_style == CURLY:
        points = _curls(style, roots, scale * look.hair_cm**0.5, rng)
    else:
        points = _combed(look, style, roots, sides, skull, shift(rig, head, _KNOT), scale, rng)
    points = _clumped(points, tuft, lead, style.clump * np.where(_fringe(look, roots), 0.4, 1.0))
    if look.hair_style != CURLY:
        points = _waved(points, style.wave_cm, tuft, rng)
    points[:, 1:] = kept(skull, points[:, 1:], 0.03)
    return _under_hat(points, skull, look.hat), roots.vertex, tuft


def _roots(look: Look, rig: Rig, head: Floats, normals: Floats, rng: np.random.Generator) -> Roots:
    places = rig.neutral[rig.skin].mean(1)
    x, y, z = places.T
    inner = (np.abs(x) < 5.6) & (y < 7) & (z > -2)  # the lining of mouth and sockets
    ear = (y < 4.0) & (z > -2.0) & (z < 2.4) & (np.abs(x) > 6.4)
    depth = hair_share(places, look.baldness)
    top = np.clip((y - 10.0) / 2, 0, 1) * np.clip((z + 6) / 3, 0, 1)
    bare = np.clip(1 - 1.3 * look.baldness * top, 0.02, 1)
    if look.hair_style in _PARTED:  # all that covers the scalp at the parting starts there
        bare *= 1 + 3.5 * np.exp(-((x / 2.2) ** 2)) * np.clip((z + 3) / 4, 0, 1) * (y > 8)
    nape = np.clip((y + 5.2) / 0.8, 0, 1)
    density = np.clip(depth / 0.5, 0, 1) * bare * nape * ~(inner | ear)
    return scatter(
        rig,
        head,
        normals,
        rig.skin,
        density,
        int(STYLES[look.hair_style].strands * (1 - 0.4 * look.baldness)),
        rng,
    )[0]


def _parted(style: Style, roots: Roots, look: Look, rng: np.random.Generator) -> Floats:
    """To which side each root is combed, -1 or 1."""
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    line = {2: 3.0, 5: rng.choice([0.0, 2.0, 2.5]), 6: rng.choice([0.0, 0.0, 2.0])}.get(look.hair_style, 0.6)
    x, _, z = roots.place.T
    wobble = 0.15 * np.sin(2.1 * z) + rng.normal(0, 0.25, len(x))
    crown = np.where(z < -3, x, x - side * line + wobble)  # no parting behind the crown
    return np.where(crown > 0, 1.0, -1.0).astype(np.float32)


def _tufts(at: Floats, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Tufts of a dozen neighbours: a number on 0..1 per strand, and the strand each follows; (N,) both."""
    if not len(at):
        return np.zeros(0, np.float32), np.zeros(0, np.int32)
    leads = rng.choice(len(at), max(len(at) // 14, 1), replace=False)
    centre = at[leads]
    far = (centre**2).sum(1)[None] - 2 * at @ centre.T
    nearest = far.argmin(1)
    return rng.uniform(size=len(leads)).astype(np.float32)[nearest], leads[nearest].astype(np.int32)


def _combed(
    look: Look,
    style: Style,
    roots: Roots,
    sides: Floats,
    skull: Skull,
    moved: Floats,
    scale: float,
    rng: np.random.Generator,
) -> Floats:
    """Step from the roots along the comb's way, then down; (N, P, 3)."""
    count = len(roots.at)
    _, py, pz = roots.place.T
    top = np.clip((py - 8.5 + np.where(pz > 4, 0.45, 0.15) * (pz - 4)) / 2.5, 0, 1).astype(np.float32)
    length = (style.side_cm + (style.top_cm - style.side_cm) * top) * scale * rng.uniform(0.8, 1.1, count)
    length *= np.clip((py + 6.0) / 10, 0.12, 1.0) if style.side_cm < 6 else 1.0
    length *= np.where((py < 4.2) & (pz > -1.5) & (style.top[2] < -0.9), 0.12, 1.0)  # before the ears
    comb = top[:, None] * np.array(style.top, np.float32) + (1 - top[:, None]) * np.array(
        style.side, np.float32
    )
    comb = comb * np.stack([sides, np.ones(count), np.ones(count)], -1)
    comb = comb + rng.normal(0, 0.16, (count, 3))
    fringe = _fringe(look, roots)
    comb = np.where(
        fringe[:, None],
        np.stack([0.06 * roots.place[:, 0], np.full(count, -0.35), np.full(count, 0.8)], -1),
        comb,
    )
    layer = (
        style.layer_cm
        * (0.35 + 0.65 * min(look.hair_cm, 2.5))
        * rng.uniform(0.05, 1, count)
        * (0.55 + 0.45 * top)
    )
    layer = np.where(fringe, 0.25 + 0.5 * layer, layer)
    veil = rng.uniform(6.4, 7.6, count)  # how near to the face each falls
    at, way, trace = roots.at, _unit(comb + style.lift * roots.normal), [roots.at]
    for step in range(1, _STEPS + 1):
        share = step / _STEPS
        pull = _pull(look, style, comb, at, sides, moved, share)
        way = _unit(0.55 * way + 0.45 * pull)
        at = at + way * (length / _STEPS)[:, None]
        over = layer * min(1.0, share * 3)
        hugs = np.where(at[:, 1] > 0, over + 0.35 + 0.5 * style.lift * min(length.mean(), 2.0) / 2, 99)
        at = kept(skull, at, over + 0.04, hugs)
        at = np.where(fringe[:, None], at, _beside(at, veil * min(1.0, 3 * share), sides))
        trace.append(at)
    end = np.full(count, style.end_y) + rng.normal(0, 0.8, count) * (style.end_y > -99)
    end = np.where(fringe, 6.6 + rng.normal(0, 0.3, count), end)
    return _cut(
        np.stack(trace, 1), end, np.linspace(0, 1, style.points) ** (1.6 if style.wave_cm < 0.3 else 1.3)
    )


def _pull(
    look: Look, style: Style, comb: Floats, at: Floats, sides: Floats, moved: Floats, share: float
) -> Floats:
    if look.hair_style == TIED:
        to = _KNOT + moved - at
        far = np.linalg.norm(to, axis=1, keepdims=True)
        return np.asarray(np.where(far > 1.6, to / far, np.array([0, -1.0, -0.25])), np.float32)
    falls = min(1.0, style.falls * share * 2.2)
    aside = np.stack([sides, np.full(len(at), -0.35), np.full(len(at), -0.8)], -1)
    brow = np.clip((at[:, 1:2] - 5.5) / 1.5, 0, 1) * np.clip((at[:, 2:] - 2.0) / 2, 0, 1)
    brow *= 0.3 if look.hair_style == FRINGE else 1.0
    down = np.array([0, -1.0, 0]) * (1 - brow) + aside * brow  # what falls on the forehead is put aside
    return np.asarray(_unit(comb) * (1 - falls) + down * falls, np.float32)


def _fringe(look: Look, roots: Roots) -> Floats:
    x, y, z = roots.place.T
    chosen = (look.hair_style == FRINGE) & (z > 3.2) & (y > 8.5) & (np.abs(x) < 5.6)
    return np.asarray(chosen, bool)


def _beside(at: Floats, veil: Floats, sides: Floats) -> Floats:
    """Keep points off the face: beside a curve from the hairline's middle to the cheekbone and down."""
    x, y, z = at.T
    least = np.interp(y, [-3.0, 3.0, 6.0, 8.0, 10.0], [1.0, 1.0, 0.9, 0.6, 0.0]) * veil
    face = (z > 1.5) & (y < 10)
    away = np.where(np.abs(x) > 1.0, np.sign(x), sides)
    x = np.where(face & (np.abs(x) < least), away * least, x)
    z = z - 0.3 * np.clip(z - 4.0, 0, None) * (y < 5)
    return np.asarray(np.stack([x, y, z], -1), np.float32)


def _cut(trace: Floats, end: Floats, shares: Floats) -> Floats:
    """Strands cut where they first fall below ``end`` (N,), as points at ``shares`` (P,) of what is left.

    Shares lie close together at the root, where a strand bends round the head and must not cut into it.
    """
    count, steps, _ = trace.shape
    below = trace[..., 1] < end[:, None]
    last = np.where(below.any(1), np.maximum(below.argmax(1), 2), steps - 1).astype(np.float32)
    at = last[:, None] * shares.astype(np.float32)
    low = np.minimum(at.astype(int), steps - 2)
    rows = np.arange(count)[:, None]
    share = (at - low)[..., None]
    return np.asarray(trace[rows, low] * (1 - share) + trace[rows, low + 1] * share, np.float32)


def _curls(style: Style, roots: Roots, scale: float, rng: np.random.Generator) -> Floats:
    """Springs that stand out from the scalp, shorter towards the hairline; (N, P, 3)."""
    count = len(roots.at)
    t = np.linspace(0, 1, style.points, dtype=np.float32)[None, :, None]
    _, y, z = roots.place.T
    short = np.clip(0.35 + 0.12 * np.maximum(y - 4, -0.2 * z), 0.35, 1)
    length = style.top_cm * scale * short * rng.uniform(0.15, 1.0, count) ** 0.5
    out = _unit(roots.normal + rng.normal(0, 0.30, (count, 3)))
    first = _unit(np.cross(out, rng.normal(0, 1, (count, 3))))
    second = np.cross(out, first)
    turns = rng.uniform(1.2, 2.2, count)[:, None, None] * 2 * math.pi * t
    wide = np.minimum(t * 4, 1) * (rng.uniform(0.22, 0.5, count) * min(scale, 1.2))[:, None, None]
    spring = wide * (
        np.cos(turns) * first[:, None] + np.sin(turns) * second[:, None] - first[:, None] * (t < 0.01)
    )
    return np.asarray(roots.at[:, None] + out[:, None] * length[:, None, None] * t + spring, np.float32)


def _clumped(points: Floats, tuft: Floats, lead: Ints, share: Floats) -> Floats:
    """Draw strands towards the strand that leads their tuft, more so at the tip."""
    along = np.linspace(0, 1, points.shape[1], dtype=np.float32) ** 1.3
    pull = along[None, :, None] * (share * (0.5 + 0.5 * tuft))[:, None, None]
    return np.asarray(points + (points[lead] - points) * pull, np.float32)


def _waved(points: Floats, wave_cm: float, tuft: Floats, rng: np.random.Generator) -> Floats:
    way = np.gradient(points, axis=1)
    length = np.cumsum(np.linalg.norm(np.diff(points, axis=1, prepend=points[:, :1]), axis=2), 1)
    across = np.cross(way, np.array([0.35, 0.2, 1.0], np.float32))
    across /= np.maximum(np.linalg.norm(across, axis=2, keepdims=True), 1e-6)
    phase = 40.0 * tuft[:, None] + rng.normal(0, 0.35, (len(points), 1))
    swing = wave_cm * np.clip(length / 14 - 0.15, 0, 1) * np.sin(length * 2 * math.pi / 8.5 + phase)
    return np.asarray(points + across * swing[..., None], np.float32)


def _under_hat(points: Floats, skull: Skull, hat: int) -> Floats:
    if hat not in HAT_RIM:
        return points
    height, slope = HAT_RIM[hat]
    over = points[..., 1] - (height + slope * points[..., 2])
    flat = kept(skull, points, 0.02, 0.15)
    share = np.clip(over / 0.8 + 0.8, 0, 1)[..., None]
    return np.asarray(points + (flat - points) * share, np.float32)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6), np.float32)
