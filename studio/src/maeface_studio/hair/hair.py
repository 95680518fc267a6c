"""Hair as strands: scalp, brows, lashes and beard of a subject, on the head at rest.

N strands of P points each, T triangles of the face, R roots.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface_studio.cast.look import Look
from maeface_studio.hair import scalp
from maeface_studio.hair.roots import Roots, scatter
from maeface_studio.head.rig import Floats, Ints, Part, Rig
from maeface_studio.head.skull import skull
from maeface_studio.skin.canvas import Canvas, soft
from maeface_studio.skin.paint import hair_share
from maeface_studio.skin.pigment import HAIR_TONES, linear, skin_tone

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
"""What ``Look.hair_style`` counts; their measures are in ``scalp.STYLES``."""

BEARDS = ("full", "full", "circle", "moustache", "goatee", "chin strap")
"""What is drawn for ``Look.beard`` above 0.5."""

WHITE = (172, 170, 166)
"""sRGB of a hair without pigment."""

SHORT_POINTS = 4
"""Points of a strand of brow, lash or beard."""


class Strands(NamedTuple):
    """Strands of one kind of hair."""

    points: Floats
    """(N, P, 3) cm on the head at rest, root first; P is ``SHORT_POINTS``, on the scalp the style's."""
    root: Ints
    """(N,) the vertex of the head that a strand moves with."""
    radius: Floats
    """(N,) cm at the root; it tapers to the tip."""
    colour: Floats
    """(N, 3) linear RGB."""


def grow(
    look: Look, canvas: Canvas, rig: Rig, head: Floats, normals: Floats, rng: np.random.Generator
) -> dict[str, Strands]:
    """Grow all hair of a subject.

    Args:
        look: style, lengths, densities, tone and grey.
        canvas: where brows and lips lie.
        rig: the head's rig.
        head: (V, 3) cm, the subject at rest.
        normals: (V, 3), outwards.
        rng: for the draws; the same state grows the same hair.

    Returns:
        "scalp", "brows", "lashes" and "beard", each left out where nothing grows. At most about 14,000
        strands.
    """
    streams = rng.spawn(4)
    face = _Face(rig, canvas, head, normals)
    grown = {
        "scalp": _scalp(look, face, streams[0]),
        "brows": _brows(look, face, streams[1]),
        "lashes": _lashes(look, face, streams[2]),
        "beard": _beard(look, face, streams[3]),
    }
    return {name: strands for name, strands in grown.items() if len(strands.points)}


class _Face(NamedTuple):
    """The head that hair grows on."""

    rig: Rig
    canvas: Canvas
    head: Floats
    normals: Floats

    @property
    def part(self) -> Part:
        return self.rig.parts["M_Face"]

    @property
    def triangles(self) -> Ints:
        """(T, 3) vertices of the head."""
        return np.asarray(self.part.vertices[self.part.triangles], np.int32)

    def texel(self, uv: Floats, of: NDArray[np.generic]) -> Floats:
        """The value of a mask (F, F) at texture coordinates (..., 2)."""
        at = np.clip((uv * of.shape[0]).astype(int), 0, of.shape[0] - 1)
        return np.asarray(of[at[..., 1], at[..., 0]], np.float32)

    def roots(self, density: Floats, count: int, rng: np.random.Generator) -> tuple[Roots, Floats]:
        """Draw roots by a density per triangle (T,), with their texture coordinates (R, 2)."""
        used = np.flatnonzero(density > 0)
        roots, chosen, share = scatter(
            self.rig, self.head, self.normals, self.triangles[used], density[used], count, rng
        )
        corners = self.part.uv[self.part.triangles[used][chosen]] if len(chosen) else np.zeros((0, 3, 2))
        return roots, np.asarray((corners * share[..., None]).sum(1), np.float32)


def _scalp(look: Look, face: _Face, rng: np.random.Generator) -> Strands:
    points, root, tuft = scalp.grow(look, face.rig, face.head, face.normals, skull(face.rig, face.head), rng)
    colour = _colour(look, len(root), look.grey, rng) * np.exp(0.5 * (tuft - 0.5))[:, None]
    # Hair is finest along the hairline.
    depth = hair_share(face.rig.neutral[root], look.baldness)
    fine = (0.027 if look.hair_style == 1 else 0.042) * np.clip(0.6 + 0.4 * depth, 0.6, 1)
    radius = fine * rng.uniform(0.7, 1.3, len(root))
    return Strands(points, root, radius.astype(np.float32), np.clip(colour, 0.002, 0.9).astype(np.float32))


def _brows(look: Look, face: _Face, rng: np.random.Generator) -> Strands:
    """Upwards at the inner end, outwards further on, and from both edges towards the middle line."""
    middle = face.part.uv[face.part.triangles].mean(1)
    near = np.abs(face.texel(middle, face.canvas.brow)) < look.brow_cm + 0.4
    roots, uv = face.roots(near.astype(np.float32), 2400, rng)
    height, along = face.texel(uv, face.canvas.brow), face.texel(uv, face.canvas.brow_along)
    half = look.brow_cm * np.interp(along, [-0.1, 0.0, 0.1, 0.6, 1.0, 1.06], [0.2, 0.8, 1.0, 0.85, 0.3, -0.6])
    dense = soft((half - np.abs(height)) / 0.07) * (0.30 + 0.70 * look.brow)
    dense *= np.interp(along, [-0.06, 0.12, 0.7, 1.0], [0.25, 0.9, 1.0, 0.7])
    kept = rng.uniform(size=len(dense)) < dense
    roots, height, along, half = roots.only(kept), height[kept], along[kept], half[kept]
    lean = height / np.maximum(half, 0.08)
    angle = np.interp(along, [-0.05, 0.1, 0.35, 1.0], [76, 48, 17, -2]) - 24 * np.clip(lean, -1, 1)
    angle = np.radians(angle + rng.normal(0, 9, len(angle)))
    side = np.sign(roots.place[:, 0])
    way = np.stack([side * np.cos(angle), np.sin(angle), np.zeros(len(angle))], -1)
    bend = np.stack([side * 0.8, np.full(len(side), -0.25), np.full(len(side), -0.25)], -1)
    length = rng.uniform(0.40, 0.76, len(side)) * (0.75 + 0.5 * look.brow_cm)
    points = _short(roots, way, bend, length, 0.12)
    colour = 0.62 * _colour(look, len(side), 0.45 * look.grey, rng)
    colour += 0.12 * skin_tone(look.melanin, look.redness)  # finer than a pixel
    return Strands(points, roots.vertex, _radius(0.019, len(side), rng), colour.astype(np.float32))


def _lashes(look: Look, face: _Face, rng: np.random.Generator) -> Strands:
    """Along the margins of the lids, which are where the rig's modelled lashes touch the skin."""
    parts = []
    for eye in (face.rig.landmarks[36:42], face.rig.landmarks[42:48]):
        for upper, count, length in (
            (True, int(44 + 40 * look.lash), 0.55),
            (False, int(12 + 14 * look.lash), 0.23),
        ):
            margin = _margin(face.rig, eye, upper)
            along = np.sort(rng.uniform(0.04, 0.97, count)) * (len(margin) - 1)
            low = np.minimum(along.astype(int), len(margin) - 2)
            share = (along - low)[:, None]
            at = face.head[margin[low]] * (1 - share) + face.head[margin[low + 1]] * share
            parts.append(_lid(at, along / (len(margin) - 1), upper, length * (0.7 + 0.4 * look.lash), rng))
            parts[-1] = (parts[-1][0], margin[low + (share[:, 0] > 0.5)])
    points, root = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    colour = _colour(look, len(root), 0.0, rng) * (0.4 - 0.35 * look.makeup)
    colour += 0.2 * (1 - look.makeup) * skin_tone(look.melanin, look.redness)  # finer than a pixel
    radius = _radius(0.012 + 0.012 * look.lash, len(root), rng)
    return Strands(
        points.astype(np.float32), root.astype(np.int32), radius, np.clip(colour, 0.002, 1).astype(np.float32)
    )


def _margin(rig: Rig, eye: Ints, upper: bool) -> Ints:
    """Vertices of a lid's margin from the viewer's left to right."""
    lash, skin = (np.unique(rig.parts[name].vertices) for name in ("M_EyeLashes", "M_Face"))
    marks = rig.neutral[eye]
    near = skin[np.abs(rig.neutral[skin] - marks.mean(0)).max(1) < 2.6]
    lash = lash[np.abs(rig.neutral[lash] - marks.mean(0)).max(1) < 2.6]
    apart = ((rig.neutral[near][:, None] - rig.neutral[lash][None]) ** 2).sum(2).min(1)
    touching = near[apart < 1e-4]
    x, y, _ = rig.neutral[touching].T
    corners = marks[marks[:, 0].argsort()][[0, -1]]
    line = np.interp(x, corners[:, 0], corners[:, 1])
    lid = touching[(y > line + 0.05) if upper else (y < line - 0.05)]
    return np.asarray(lid[rig.neutral[lid][:, 0].argsort()], np.int32)


def _lid(
    at: Floats, along: Floats, upper: bool, length_cm: float, rng: np.random.Generator
) -> tuple[Floats, Ints]:
    count, middle = len(at), at.mean(0)
    fan = (at[:, 0] - middle[0]) / 1.4
    fan = fan + 0.25 * np.sign(middle[0])  # the outer ones sweep outwards
    up = 0.16 if upper else -0.30
    way = np.stack([0.55 * fan, np.full(count, up), np.full(count, 1.0)], -1) + rng.normal(
        0, 0.10, (count, 3)
    )
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    curl = np.array([0, 0.62 if upper else -0.35, -0.25], np.float32)
    length = (
        length_cm * rng.uniform(0.65, 1.1, count) * (0.6 + 0.4 * np.sin(np.pi * np.clip(along, 0.1, 0.9)))
    )
    t = np.linspace(0, 1, SHORT_POINTS)[None, :, None]
    points = at[:, None] + length[:, None, None] * (way[:, None] * t + curl * t**2 * 0.7)
    return points.astype(np.float32), np.zeros(count, np.int32)


def _beard(look: Look, face: _Face, rng: np.random.Generator) -> Strands:
    """Stubble below 0.5, above it one of ``BEARDS``; never on the lips."""
    kind = BEARDS[int(rng.integers(len(BEARDS)))]
    full = look.beard > 0.5
    count = int(2600 + 2600 * (look.beard - 0.5) / 0.5) if full else int(8500 * max(look.beard - 0.1, 0))
    places = face.rig.neutral[face.triangles].mean(1)
    middle = face.part.uv[face.part.triangles].mean(1)
    area = _beard_area(kind if full else "full", places) * (face.texel(middle, face.canvas.lips) < 0.3)
    roots, uv = face.roots(area.astype(np.float32), count, rng)
    bare = face.texel(uv, face.canvas.lips) < 0.15
    roots = roots.only(bare)
    x, y, _ = roots.place.T
    lip = (y > -3.2) & (np.abs(x) < 2.9)
    way = np.stack(
        [
            np.where(lip, 0.75 * np.clip(x, -1, 1), 0.10 * np.sign(x)),
            np.where(lip, -0.75, -1.0),
            np.where(y < -6, 0.35, 0.0),
        ],
        -1,
    ) + rng.normal(0, 0.22, (len(x), 3))
    longest = 0.4 + 2.1 * ((look.beard - 0.5) / 0.5) ** 2 if full else 0.10 + 0.12 * look.beard
    chin = np.clip((-3.0 - y) / 3.5, 0, 1) * np.clip(1.2 - np.abs(x) / 7, 0.3, 1)
    length = (
        longest * rng.uniform(0.6, 1.1, len(x)) * np.where(lip, min(1.0, 0.75 / longest), 0.45 + 0.55 * chin)
    )
    bend = np.stack([-0.15 * np.sign(x), np.full(len(x), -0.6), np.full(len(x), -0.1)], -1)
    points = _short(roots, way, bend, length, 0.32 if full else 0.9)
    colour = _colour(look, len(x), min(1.2 * look.grey, 1.0), rng) * 0.85
    if not full:  # finer than a pixel, so its colour is mixed with the skin's
        colour = 0.45 * colour + 0.55 * skin_tone(look.melanin, look.redness)
    radius = _radius(0.030 if full else 0.012, len(x), rng)
    return Strands(points, roots.vertex, radius, colour.astype(np.float32))


def _beard_area(kind: str, places: Floats) -> Floats:
    """How densely a beard grows at places (..., 3) on the neutral head, 0..1."""
    x, y, z = np.moveaxis(places, -1, 0)
    x = np.abs(x)
    moustache = (
        soft((-1.35 - y) / 0.15) * soft((3.0 - x) / 0.2) * (y > -4.6) * (z > 8) * soft((x - 0.15) / 0.1)
    )
    jaw = soft((-3.6 + np.clip(x - 2.4, 0, 9) * 0.95 - y) / 0.35) * soft((x - 1.2) / 0.2 + (-4.9 - y) / 0.2)
    jaw = jaw * (z > 1.6) * (y > -10.5) * (y < 2.0)
    chin = soft((-5.3 - y) / 0.25) * soft((y + 10.0) / 0.7) * soft((2.3 - x) / 0.25) * (z > 5)
    corner = soft((3.3 - x) / 0.15) * soft((x - 2.2) / 0.2) * (y < -2.6) * (y > -6.5) * (z > 7)
    strap = jaw * soft((-5.2 + np.clip(x - 2.4, 0, 9) * 1.4 - y) / 0.3)
    areas = {
        "full": np.maximum(jaw, np.maximum(moustache, chin)),
        "circle": np.maximum(np.maximum(moustache, chin), corner),
        "moustache": moustache,
        "goatee": chin,
        "chin strap": np.maximum(strap, chin * (y < -6.5)),
    }
    return np.asarray(areas[kind], np.float32)


def _short(roots: Roots, way: Floats, bend: Floats, length: Floats, stand: float) -> Floats:
    """Short strands lying along the skin: ``stand`` is how much they rise from it; (N, SHORT_POINTS, 3)."""
    flat = way - (way * roots.normal).sum(1, keepdims=True) * roots.normal
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    bent = bend - (bend * roots.normal).sum(1, keepdims=True) * roots.normal
    t = np.linspace(0, 1, SHORT_POINTS)[None, :, None]
    rise = stand * np.sin(1.9 * t) * roots.normal[:, None]
    path = (flat[:, None] + rise / np.maximum(t, 0.3)) * t + 0.35 * bent[:, None] * t**2
    return np.asarray(roots.at[:, None] + length[:, None, None] * path, np.float32)


def _radius(cm: float, count: int, rng: np.random.Generator) -> Floats:
    return np.asarray(cm * rng.uniform(0.7, 1.25, count), np.float32)


def _colour(look: Look, count: int, grey: float, rng: np.random.Generator) -> Floats:
    """Strands of the subject's tone, a share of them white, (count, 3)."""
    tone = linear(np.array(HAIR_TONES[look.hair])) * np.exp(rng.normal(0, 0.28, (count, 1)))
    white = linear(np.array(WHITE)) * rng.uniform(0.5, 1.0, (count, 1))
    turned = (rng.uniform(size=(count, 1)) < 1.05 * grey - 0.05) * rng.uniform(0.4, 1, (count, 1))
    share = 0.35 * grey + (1 - 0.35 * grey) * turned  # from afar the two run together
    return np.asarray(tone + (white - tone) * share, np.float32)
