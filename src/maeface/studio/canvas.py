"""What all subjects share when they are painted: the place on the neutral head of each texel, and masks.

F texels of the face's texture a side, E of the eye's, T triangles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maeface.studio.rig import Floats, Ints, Part, Rig

FACE_TEXELS = 448
BACK_TEXELS = 192
EYE_TEXELS = 128


@dataclass(frozen=True)
class Canvas:
    """Where each texel lies on the neutral head, and the masks that all subjects share."""

    face: Floats
    """(F, F, 3) cm."""
    back: Floats
    eye: Floats
    """(E, E, 2) cm from the axis of the left eye (the other eye is its mirror image)."""
    lips: Floats
    """(F, F) 0..1, soft at the edge."""
    brow: Floats
    """(F, F) signed distance to the middle of the brow in cm, up is positive; 9 where there is none."""
    brow_along: Floats
    """(F, F) 0 at the inner to 1 at the outer end of the brow."""
    lash: Floats
    """(F, F) distance to the edge of the lids in cm."""
    ear: NDArray[np.bool_]
    mouth_bag: NDArray[np.bool_]
    """Triangles of the back part that line mouth and eye sockets, (T,)."""


def canvas(rig: Rig) -> Canvas:
    """Prepare what all subjects share; takes about a second."""
    face_part, back_part, eye_part = (rig.parts[n] for n in ("M_Face", "M_BackHead", "M_ScleraLeft"))
    face = _places(face_part, rig.neutral, FACE_TEXELS)
    eye = _places(eye_part, rig.neutral, EYE_TEXELS)
    apex = rig.neutral[eye_part.vertices][rig.neutral[eye_part.vertices][:, 2].argmax()]
    marks = rig.neutral[rig.landmarks]
    lips = _lips(face, marks)
    brow, along = _brows(face, marks)
    v, u = np.mgrid[:FACE_TEXELS, :FACE_TEXELS] / FACE_TEXELS
    ear = (np.abs(u - 0.5) > 0.38) & (v > 0.42) & (v < 0.7)
    lids = np.concatenate([_ring(marks[36:42]), _ring(marks[42:48])])
    lash = _distance(face[..., :2], lids[:, :2])
    x, y, z = rig.neutral[back_part.vertices][back_part.triangles].mean(1).T
    bag = (np.abs(x) < 6) & (y > -9) & (y < 7) & (z > 0)
    return Canvas(
        face,
        _places(back_part, rig.neutral, BACK_TEXELS),
        eye[..., :2] - apex[:2],
        lips,
        brow,
        along,
        lash,
        ear,
        bag,
    )


def soft(x: Floats) -> Floats:
    """A step that is soft over about -2..2."""
    return np.asarray(0.5 + 0.5 * np.tanh(x), np.float32)


def _lips(face: Floats, marks: Floats) -> Floats:
    """Inside the outline of the lips; their inner side too."""
    outline = _ring(marks[48:60])[:, :2]
    near = _distance(face[..., :2], outline)
    signed = np.where(_inside(face[..., :2], outline), near, -near)
    return soft((signed + 0.06) / 0.10) * (face[..., 2] > 8.0)


def _brows(face: Floats, marks: Floats) -> tuple[Floats, Floats]:
    """The brow runs a little below the landmarks; distance is measured from its middle line."""
    height = np.full(face.shape[:2], 9.0, np.float32)
    along = np.full(face.shape[:2], 9.0, np.float32)
    for line in (marks[22:27], marks[17:22][::-1]):
        inner, outer = abs(line[0, 0]) - 0.25, abs(line[-1, 0])
        side = np.sign(line[0, 0])
        x = face[..., 0] * side
        middle = np.interp(x, np.abs(line[:, 0]), line[:, 1]) - 0.75 - 0.1 * np.clip(x - 4.5, 0, 2)
        here = (
            (x > inner - 0.4)
            & (x < outer + 0.5)
            & (face[..., 2] > 5.5)
            & (np.abs(face[..., 1] - middle) < 1.5)
        )
        height = np.where(here, face[..., 1] - middle, height)
        along = np.where(here, (x - inner) / (outer - inner), along)
    return height, along


def _ring(points: Floats, steps: int = 24) -> Floats:
    """A closed outline through ``points``, sampled densely."""
    share = np.linspace(0, 1, steps, endpoint=False)[:, None]
    return np.concatenate([a + (b - a) * share for a, b in zip(points, np.roll(points, -1, 0), strict=True)])


def _inside(points: Floats, outline: Floats) -> NDArray[np.bool_]:
    """Whether points (..., 2) lie inside a closed outline (even-odd rule)."""
    px, py = points[..., 0], points[..., 1]
    inside = np.zeros(px.shape, bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, 0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > py) != (y1 > py)) & (px < (x1 - x0) * (py - y0) / (y1 - y0) + x0)
    return inside


def _distance(points: Floats, outline: Floats) -> Floats:
    """Distance of points (..., 2) to the nearest of the outline's points."""
    nearest = np.full(points.shape[:-1], np.inf, np.float32)
    for x, y in outline:
        nearest = np.minimum(nearest, (points[..., 0] - x) ** 2 + (points[..., 1] - y) ** 2)
    return np.asarray(np.sqrt(nearest), np.float32)


def _places(part: Part, neutral: Floats, texels: int) -> Floats:
    """The place on the neutral head that each texel covers, (texels, texels, 3) in cm."""
    total = np.zeros((texels * texels, 3))
    count = np.zeros(texels * texels)
    steps = 14
    a, b = (grid.ravel() for grid in np.mgrid[0 : steps + 1, 0 : steps + 1] / steps)
    keep = a + b <= 1.0
    corners: Ints = part.triangles
    for i, j in zip(a[keep], b[keep], strict=True):
        shares = np.array([1 - i - j, i, j])
        uv = np.tensordot(shares, part.uv[corners], axes=(0, 1))
        place = np.tensordot(shares, neutral[part.vertices][corners], axes=(0, 1))
        at = np.clip((uv * texels).astype(int), 0, texels - 1)
        index = at[:, 1] * texels + at[:, 0]
        np.add.at(count, index, 1)
        np.add.at(total, index, place)
    known = count > 0
    total[known] /= count[known, None]
    return _filled(total.reshape(texels, texels, 3), known.reshape(texels, texels))


def _filled(places: NDArray[np.float64], known: NDArray[np.bool_]) -> Floats:
    """Texels between the samples take the mean of their neighbours, from the known ones outwards."""
    for _ in range(24):
        if known.all():
            break
        total, count = np.zeros_like(places), np.zeros(known.shape)
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            total += np.roll(places * known[..., None], (dy, dx), (0, 1))
            count += np.roll(known, (dy, dx), (0, 1))
        new = ~known & (count > 0)
        places[new] = total[new] / count[new, None]
        known = known | new
    return places.astype(np.float32)
