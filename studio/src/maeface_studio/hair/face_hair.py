"""Hair of the face: brows, lashes and beard, as strands on the head at rest.

N strands of P points each, T triangles of the face.
"""

from enum import Enum, auto

import numpy as np

from maeface_studio.cast.appearance import Appearance
from maeface_studio.hair.strands import SHORT_POINTS, Face, Strands, draw_colour, draw_radius, short_strands
from maeface_studio.head.mesh import Floats, Ints
from maeface_studio.head.rig import Rig
from maeface_studio.skin.pigment import skin_tone
from maeface_studio.skin.texel_maps import soft_step


class BeardStyle(Enum):
    """Where a beard grows."""

    FULL = auto()
    CIRCLE = auto()
    MOUSTACHE = auto()
    GOATEE = auto()
    CHIN_STRAP = auto()


BEARD_DRAWS = (
    BeardStyle.FULL,
    BeardStyle.FULL,
    BeardStyle.CIRCLE,
    BeardStyle.MOUSTACHE,
    BeardStyle.GOATEE,
    BeardStyle.CHIN_STRAP,
)
"""What is drawn from uniformly for ``Appearance.beard`` above 0.5."""


def grow_brows(appearance: Appearance, face: Face, rng: np.random.Generator) -> Strands:
    """Grow brows: upwards at the inner end, outwards further on, from both edges to the middle line."""
    middle = face.part.uv[face.part.triangles].mean(1)
    near = np.abs(face.sample(middle, face.texels.brow_height)) < appearance.brow_cm + 0.4
    roots, uv = face.scatter_roots(near.astype(np.float32), 2400, rng)
    height, along = face.sample(uv, face.texels.brow_height), face.sample(uv, face.texels.brow_position)
    half = appearance.brow_cm * np.interp(
        along, [-0.1, 0.0, 0.1, 0.6, 1.0, 1.06], [0.2, 0.8, 1.0, 0.85, 0.3, -0.6]
    )
    dense = soft_step((half - np.abs(height)) / 0.07) * (0.30 + 0.70 * appearance.brow)
    dense *= np.interp(along, [-0.06, 0.12, 0.7, 1.0], [0.25, 0.9, 1.0, 0.7])
    mask = rng.uniform(size=len(dense)) < dense
    roots, height, along, half = roots.select(mask), height[mask], along[mask], half[mask]
    lean = height / np.maximum(half, 0.08)
    angle = np.interp(along, [-0.05, 0.1, 0.35, 1.0], [76, 48, 17, -2]) - 24 * np.clip(lean, -1, 1)
    angle = np.radians(angle + rng.normal(0, 9, len(angle)))
    side = np.sign(roots.neutral[:, 0])
    direction = np.stack([side * np.cos(angle), np.sin(angle), np.zeros(len(angle))], -1)
    bend = np.stack([side * 0.8, np.full(len(side), -0.25), np.full(len(side), -0.25)], -1)
    length = rng.uniform(0.40, 0.76, len(side)) * (0.75 + 0.5 * appearance.brow_cm)
    points = short_strands(roots, direction, bend, length, 0.12)
    colour = 0.62 * draw_colour(appearance, len(side), 0.45 * appearance.grey, rng)
    colour += 0.12 * skin_tone(appearance.melanin, appearance.redness)  # strands are finer than a pixel
    return Strands(points, roots.vertex, draw_radius(0.019, len(side), rng), colour.astype(np.float32))


def grow_lashes(appearance: Appearance, face: Face, rng: np.random.Generator) -> Strands:
    """Grow lashes along the margins of the lids, which are where the rig's modelled lashes touch the skin."""
    points, roots = [], []
    for eye in (face.rig.landmarks[36:42], face.rig.landmarks[42:48]):
        for upper, count, length in (
            (True, int(44 + 40 * appearance.lash), 0.55),
            (False, int(12 + 14 * appearance.lash), 0.23),
        ):
            margin = _lid_margin(face.rig, eye, upper)
            along = np.sort(rng.uniform(0.04, 0.97, count)) * (len(margin) - 1)
            low = np.minimum(along.astype(int), len(margin) - 2)
            t = (along - low)[:, None]
            start = face.head[margin[low]] * (1 - t) + face.head[margin[low + 1]] * t
            length_cm = length * (0.7 + 0.4 * appearance.lash)
            points.append(_lid_lashes(start, along / (len(margin) - 1), upper, length_cm, rng))
            roots.append(margin[low + (t[:, 0] > 0.5)])
    root = np.concatenate(roots)
    colour = draw_colour(appearance, len(root), 0.0, rng) * (0.4 - 0.35 * appearance.makeup)
    skin = skin_tone(appearance.melanin, appearance.redness)
    colour += 0.2 * (1 - appearance.makeup) * skin  # strands are finer than a pixel
    radius = draw_radius(0.012 + 0.012 * appearance.lash, len(root), rng)
    colour = np.clip(colour, 0.002, 1).astype(np.float32)
    return Strands(np.concatenate(points).astype(np.float32), root.astype(np.int32), radius, colour)


def _lid_margin(rig: Rig, eye: Ints, upper: bool) -> Ints:
    """Return the vertices of the margin of a lid, from the viewer's left to right."""
    lash, skin = (np.unique(rig.parts[name].vertices) for name in ("M_EyeLashes", "M_Face"))
    landmarks = rig.neutral[eye]
    near = skin[np.abs(rig.neutral[skin] - landmarks.mean(0)).max(1) < 2.6]
    lash = lash[np.abs(rig.neutral[lash] - landmarks.mean(0)).max(1) < 2.6]
    apart = ((rig.neutral[near][:, None] - rig.neutral[lash][None]) ** 2).sum(2).min(1)
    touching = near[apart < 1e-4]
    x, y, _ = rig.neutral[touching].T
    corners = landmarks[landmarks[:, 0].argsort()][[0, -1]]
    line = np.interp(x, corners[:, 0], corners[:, 1])
    lid = touching[(y > line + 0.05) if upper else (y < line - 0.05)]
    return np.asarray(lid[rig.neutral[lid][:, 0].argsort()], np.int32)


def _lid_lashes(
    start: Floats, along: Floats, upper: bool, length_cm: float, rng: np.random.Generator
) -> Floats:
    """Draw the lashes of a lid from their roots (N, 3), at ``along`` (N,) on 0..1; (N, SHORT_POINTS, 3)."""
    count, middle = len(start), start.mean(0)
    fan = (start[:, 0] - middle[0]) / 1.4
    fan = fan + 0.25 * np.sign(middle[0])  # the outer ones sweep outwards
    up = 0.16 if upper else -0.30
    direction = np.stack([0.55 * fan, np.full(count, up), np.full(count, 1.0)], -1)
    direction = direction + rng.normal(0, 0.10, (count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    curl = np.array([0, 0.62 if upper else -0.35, -0.25], np.float32)
    length = (
        length_cm * rng.uniform(0.65, 1.1, count) * (0.6 + 0.4 * np.sin(np.pi * np.clip(along, 0.1, 0.9)))
    )
    t = np.linspace(0, 1, SHORT_POINTS)[None, :, None]
    points = start[:, None] + length[:, None, None] * (direction[:, None] * t + curl * t**2 * 0.7)
    return np.asarray(points, np.float32)


def grow_beard(appearance: Appearance, face: Face, rng: np.random.Generator) -> Strands:
    """Grow stubble, or above 0.5 one of ``BEARD_DRAWS``; never on the lips."""
    style = BEARD_DRAWS[int(rng.integers(len(BEARD_DRAWS)))]
    full = appearance.beard > 0.5
    count = (
        int(2600 + 2600 * (appearance.beard - 0.5) / 0.5)
        if full
        else int(8500 * max(appearance.beard - 0.1, 0))
    )
    positions = face.rig.neutral[face.triangles].mean(1)
    middle = face.part.uv[face.part.triangles].mean(1)
    density = _beard_density(style if full else BeardStyle.FULL, positions) * (
        face.sample(middle, face.texels.lips) < 0.3
    )
    roots, uv = face.scatter_roots(density.astype(np.float32), count, rng)
    bare = face.sample(uv, face.texels.lips) < 0.15
    roots = roots.select(bare)
    x, y, _ = roots.neutral.T
    lip = (y > -3.2) & (np.abs(x) < 2.9)
    direction = np.stack(
        [
            np.where(lip, 0.75 * np.clip(x, -1, 1), 0.10 * np.sign(x)),
            np.where(lip, -0.75, -1.0),
            np.where(y < -6, 0.35, 0.0),
        ],
        -1,
    ) + rng.normal(0, 0.22, (len(x), 3))
    longest = 0.4 + 2.1 * ((appearance.beard - 0.5) / 0.5) ** 2 if full else 0.10 + 0.12 * appearance.beard
    chin = np.clip((-3.0 - y) / 3.5, 0, 1) * np.clip(1.2 - np.abs(x) / 7, 0.3, 1)
    length = (
        longest * rng.uniform(0.6, 1.1, len(x)) * np.where(lip, min(1.0, 0.75 / longest), 0.45 + 0.55 * chin)
    )
    bend = np.stack([-0.15 * np.sign(x), np.full(len(x), -0.6), np.full(len(x), -0.1)], -1)
    points = short_strands(roots, direction, bend, length, 0.32 if full else 0.9)
    colour = draw_colour(appearance, len(x), min(1.2 * appearance.grey, 1.0), rng) * 0.85
    if not full:  # strands are finer than a pixel, so their colour is mixed with the skin's
        colour = 0.45 * colour + 0.55 * skin_tone(appearance.melanin, appearance.redness)
    radius = draw_radius(0.030 if full else 0.012, len(x), rng)
    return Strands(points, roots.vertex, radius, colour.astype(np.float32))


def _beard_density(style: BeardStyle, positions: Floats) -> Floats:
    """Return the density of a beard at positions (..., 3) cm on the neutral head, 0..1."""
    x, y, z = np.moveaxis(positions, -1, 0)
    x = np.abs(x)
    moustache = (
        soft_step((-1.35 - y) / 0.15)
        * soft_step((3.0 - x) / 0.2)
        * (y > -4.6)
        * (z > 8)
        * soft_step((x - 0.15) / 0.1)
    )
    jaw = soft_step((-3.6 + np.clip(x - 2.4, 0, 9) * 0.95 - y) / 0.35) * soft_step(
        (x - 1.2) / 0.2 + (-4.9 - y) / 0.2
    )
    jaw = jaw * (z > 1.6) * (y > -10.5) * (y < 2.0)
    chin = soft_step((-5.3 - y) / 0.25) * soft_step((y + 10.0) / 0.7) * soft_step((2.3 - x) / 0.25) * (z > 5)
    corner = soft_step((3.3 - x) / 0.15) * soft_step((x - 2.2) / 0.2) * (y < -2.6) * (y > -6.5) * (z > 7)
    strap = jaw * soft_step((-5.2 + np.clip(x - 2.4, 0, 9) * 1.4 - y) / 0.3)
    densities = {
        BeardStyle.FULL: np.maximum(jaw, np.maximum(moustache, chin)),
        BeardStyle.CIRCLE: np.maximum(np.maximum(moustache, chin), corner),
        BeardStyle.MOUSTACHE: moustache,
        BeardStyle.GOATEE: chin,
        BeardStyle.CHIN_STRAP: np.maximum(strap, chin * (y < -6.5)),
    }
    return np.asarray(densities[style], np.float32)
