"""What all subjects share when they are painted: the place on the neutral head of each texel, and masks.

F texels of the face's texture a side, B of the back's, E of the eye's, T triangles.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maeface_studio.head.rig import Floats, Ints, Part, Rig

FACE_TEXELS = 1024
BACK_TEXELS = 256
EYE_TEXELS = 256
FAR = 9.0
"""Stands for any greater distance, cm."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """Where each texel lies on the neutral head, and the masks that all subjects share."""

    face: Floats
    """(F, F, 3) cm."""
    back: Floats
    """(B, B, 3) cm."""
    eye: Floats
    """(E, E, 2) cm from the axis of the left eye (the other eye is its mirror image)."""
    marks: Floats
    """The 68 landmarks, (68, 3) cm."""
    lips: Floats
    """(F, F) 0..1, soft at the edge; the inner side of the lips too."""
    lip_depth: Floats
    """(F, F) cm inside the border of the lips, negative outside."""
    mouth_depth: Floats
    """(F, F) cm inside the line on which the lips meet, negative outside."""
    brow: Floats
    """(F, F) signed distance to the middle of the brow in cm, up is positive; 9 where there is none."""
    brow_along: Floats
    """(F, F) 0 at the inner to 1 at the outer end of the brow."""
    lash: Floats
    """(F, F) distance to the edge of the lids in cm."""
    lid_depth: Floats
    """(F, F) cm from the edge of the lids towards the eyeball, negative on the face."""
    zones: Mapping[str, Floats]
    """Parts of the face, (F, F) 0..1, soft: flush, orbit, beard, cheeks, oily, forehead, rim, nostrils."""
    ear: NDArray[np.bool_]
    mouth_bag: NDArray[np.bool_]
    """Triangles of the back part that line mouth and eye sockets, (T,)."""


def canvas(rig: Rig) -> Canvas:
    """Prepare what all subjects share; takes a few seconds."""
    face_part, back_part, eye_part = (rig.parts[n] for n in ("M_Face", "M_BackHead", "M_ScleraLeft"))
    face = _places(face_part, rig.neutral, FACE_TEXELS)
    eye = _places(eye_part, rig.neutral, EYE_TEXELS)
    apex = rig.neutral[eye_part.vertices][rig.neutral[eye_part.vertices][:, 2].argmax()]
    marks = rig.neutral[rig.landmarks]
    texels = _mark_texels(face_part, rig.landmarks)
    lip_depth = _depth(face, marks, texels, range(48, 60))
    lid_depth = np.maximum(
        _depth(face, marks, texels, range(36, 42)), _depth(face, marks, texels, range(42, 48))
    )
    brow, along = _brows(face, marks)
    v, u = np.mgrid[:FACE_TEXELS, :FACE_TEXELS].astype(np.float32) / FACE_TEXELS
    ear = (np.abs(u - 0.5) > 0.38) & (v > 0.42) & (v < 0.7)
    x, y, z = rig.neutral[back_part.vertices][back_part.triangles].mean(1).T
    bag = (np.abs(x) < 6) & (y > -9) & (y < 7) & (z > 0)
    lips = soft((lip_depth + 0.02) / 0.07)
    return Canvas(
        face=face,
        back=_places(back_part, rig.neutral, BACK_TEXELS),
        eye=eye[..., :2] - apex[:2],
        marks=marks,
        lips=lips,
        lip_depth=lip_depth,
        mouth_depth=_depth(face, marks, texels, range(60, 68)),
        brow=brow,
        brow_along=along,
        lash=np.abs(lid_depth),
        lid_depth=lid_depth,
        zones=_zones(face, lips, ear),
        ear=ear,
        mouth_bag=bag,
    )


def soft(x: Floats) -> Floats:
    """A step that is soft over about -2..2."""
    return np.asarray(0.5 + 0.5 * np.tanh(x), np.float32)


def bump(distance: Floats) -> Floats:
    """A bell of height 1 at 0."""
    return np.asarray(np.exp(-(distance**2)), np.float32)


def spline(points: Floats, closed: bool, steps: int = 16) -> Floats:
    """A Catmull-Rom curve through points (N, D), sampled ``steps`` times between each two."""
    if closed:
        padded = np.concatenate([points[-1:], points, points[:2]])
    else:
        padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate(pieces if closed else [*pieces, points[-1:]])


def nearest(places: Floats, line: Floats) -> tuple[Floats, Ints]:
    """Distance in cm of places (..., 3) to the nearest of a line's points (N, 3), and which it is."""
    flat, line = places.reshape(-1, 3).astype(np.float32), line.astype(np.float32)
    square = (line**2).sum(-1) - 2 * flat @ line.T
    which = square.argmin(-1)
    least = np.take_along_axis(square, which[:, None], -1)[:, 0] + (flat**2).sum(-1)
    shape = places.shape[:-1]
    return np.sqrt(np.maximum(least, 0)).reshape(shape), which.astype(np.int32).reshape(shape)


def window(points: Floats, margin: float) -> tuple[slice, slice]:
    """Rows and columns of the texels around texture points (N, 2; column, row) by a margin in texels."""
    low = np.clip(points.min(0) - margin, 0, FACE_TEXELS).astype(int)
    high = np.clip(points.max(0) + margin + 1, 0, FACE_TEXELS).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _mark_texels(part: Part, landmarks: Ints) -> Floats:
    """Column and row of each landmark in the face's texture, (68, 2)."""
    order = np.argsort(part.vertices, kind="stable")
    found = order[np.clip(np.searchsorted(part.vertices, landmarks, sorter=order), 0, len(order) - 1)]
    return np.asarray(part.uv[found] * FACE_TEXELS, np.float32)


def _depth(face: Floats, marks: Floats, texels: Floats, ring: range) -> Floats:
    """How deep inside a closed line through landmarks each texel lies, in cm; -9 far outside."""
    curve = spline(np.concatenate([texels[list(ring)], marks[list(ring)]], -1), closed=True)
    image = Image.new("1", (FACE_TEXELS, FACE_TEXELS))
    ImageDraw.Draw(image).polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in curve[:, :2]], fill=1)
    rows, columns = window(curve[:, :2], 60)
    distance, _ = nearest(face[rows, columns], curve[:, 2:])
    depth = np.full(face.shape[:2], -FAR, np.float32)
    depth[rows, columns] = np.where(np.asarray(image)[rows, columns], distance, -distance)
    return depth


def _brows(face: Floats, marks: Floats) -> tuple[Floats, Floats]:
    """The brow runs a little below the landmarks; distance is measured from its middle line."""
    height = np.full(face.shape[:2], FAR, np.float32)
    along = np.full(face.shape[:2], FAR, np.float32)
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
    return height.astype(np.float32), along.astype(np.float32)


def _zones(face: Floats, lips: Floats, ear: NDArray[np.bool_]) -> dict[str, Floats]:
    x, y, z = np.moveaxis(face, -1, 0)
    side = np.abs(x)
    cheeks = bump(np.hypot((side - 4.4) / 2.1, (y + 0.3) / 1.8)) * (z > 4)
    nose = bump(np.hypot(x / 1.5, (y - 0.1) / 1.2)) * (z > 10) + 0.5 * bump(
        np.hypot(x / 0.9, (y - 2.0) / 1.4)
    )
    chin = bump(np.hypot(x / 1.6, (y + 6.2) / 1.0)) * (z > 8)
    orbit = np.maximum(
        bump(np.hypot((side - 3.1) / 1.75, (y - 2.75) / 0.85)),
        0.35 * bump(np.hypot((side - 3.2) / 1.6, (y - 4.2) / 0.5)),
    ) * (z > 7)
    inner = bump(np.hypot((side - 1.75) / 0.5, (y - 3.0) / 0.6)) * (z > 8)
    nostrils = bump(np.hypot((side - 0.62) / 0.30, (y + 0.95) / 0.20)) * (z > 9) * (z < 12.4)
    forehead = soft((y - 6.3) / 0.5) * soft((5.5 - side) / 0.8) * (z > 3)
    # moustache, chin, jaw, and cheek below a line from the mouth's corner to the sideburn
    line = -3.6 + np.clip(side - 2.4, 0, 9) * 0.95
    low = soft((line - y) / 0.5) * soft((side - 1.0) / 0.3 + (-4.9 - y) / 0.3) * soft((z - 1.8) / 0.5)
    moustache = soft((-1.45 - y) / 0.2) * soft((2.9 - side) / 0.3) * (y > -4) * (z > 8)
    throat = soft((-5.2 - y) / 0.4) * soft((y + 9.5) / 1.2) * (z > 4)
    under = soft((y + 9.0) / 0.7)
    beard = np.maximum(np.maximum(low, moustache), throat) * under * (1 - lips) * ~ear
    return {
        "flush": np.asarray(np.clip(0.8 * cheeks + nose + 0.45 * chin + 0.7 * ear, 0, 1.2), np.float32),
        "orbit": np.asarray(np.maximum(orbit, 0.8 * inner), np.float32),
        "beard": np.asarray(beard, np.float32),
        "cheeks": np.asarray(np.clip(cheeks + nose, 0, 1), np.float32),
        "oily": np.asarray(np.clip(nose + 0.7 * bump(np.hypot(x / 3.0, (y - 7.4) / 1.4)) + chin, 0, 1)),
        "forehead": np.asarray(forehead, np.float32),
        "rim": np.asarray(soft((np.hypot(side / 5.6, (y - 1.0) / 7.5) - 1) / 0.15), np.float32),
        "nostrils": np.asarray(nostrils, np.float32),
    }


def _places(part: Part, neutral: Floats, texels: int) -> Floats:
    """The place on the neutral head that each texel covers, (texels, texels, 3) in cm."""
    corners = part.uv[part.triangles].astype(np.float64) * texels - 0.5  # texel i's middle is at i
    low = np.clip(np.ceil(corners.min(1)), 0, texels - 1).astype(np.int64)
    high = np.clip(np.floor(corners.max(1)), -1, texels - 1).astype(np.int64)
    size = np.maximum(high - low + 1, 0)
    count = size[:, 0] * size[:, 1]
    triangle = np.repeat(np.arange(len(count)), count)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    column = low[triangle, 0] + number % size[triangle, 0]
    row = low[triangle, 1] + number // size[triangle, 0]
    (ax, ay), (bx, by), (cx, cy) = (corners[:, i].T for i in range(3))
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    area = np.where(np.abs(area) < 1e-12, np.inf, area)
    dx, dy = column - ax[triangle], row - ay[triangle]
    second = (dx * (cy - ay)[triangle] - dy * (cx - ax)[triangle]) / area[triangle]
    third = (dy * (bx - ax)[triangle] - dx * (by - ay)[triangle]) / area[triangle]
    inside = (second >= -1e-6) & (third >= -1e-6) & (second + third <= 1 + 1e-6)
    triangle, row, column = triangle[inside], row[inside], column[inside]
    shares = np.stack([1 - second - third, second, third], -1)[inside].astype(np.float32)
    places = np.zeros((texels, texels, 3), np.float32)
    known = np.zeros((texels, texels), np.float32)
    ends = neutral[part.vertices][part.triangles[triangle]].astype(np.float32)
    places[row, column] = (shares[..., None] * ends).sum(1)
    known[row, column] = 1.0
    return _filled(places, known)


def _filled(places: Floats, known: Floats) -> Floats:
    """Texels that no triangle covers take the mean of the known ones about them, coarser the farther."""
    if known.shape[0] == 1 or known.all():
        return places
    parts = [(slice(i, None, 2), slice(j, None, 2)) for i in (0, 1) for j in (0, 1)]
    count = np.sum([known[part] for part in parts], axis=0)
    total = np.sum([places[part] * known[part][..., None] for part in parts], axis=0)
    coarse = _filled(total / np.maximum(count, 1)[..., None], np.minimum(count, 1))
    fine = np.repeat(np.repeat(coarse, 2, 0), 2, 1)
    return np.where(known[..., None] > 0, places, fine).astype(np.float32)
