"""The position on the neutral head of each texel of the textures, and masks of regions of the face.

F texels a side of the face's texture, B of the back's, E of the eye's; T triangles.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maeface_studio.head.curves import sample_segments
from maeface_studio.head.mesh import Floats, Ints, MeshPart
from maeface_studio.head.rig import Rig

FACE_TEXELS = 1024
BACK_TEXELS = 256
EYE_TEXELS = 256
FAR = 9.0
"""Any greater distance is clipped to this, cm."""


@dataclass(frozen=True, eq=False)
class TexelMaps:
    """The position on the neutral head of each texel, and region masks; the same for all subjects."""

    face: Floats
    """(F, F, 3) cm."""
    back: Floats
    """(B, B, 3) cm."""
    eye: Floats
    """(E, E, 2) cm from the axis of the left eye (the other eye is its mirror image)."""
    landmarks: Floats
    """The 68 landmarks, (68, 3) cm."""
    lips: Floats
    """(F, F) 0..1, soft at the edge; the inner side of the lips is included."""
    lip_depth: Floats
    """(F, F) cm inside the border of the lips, negative outside."""
    mouth_depth: Floats
    """(F, F) cm inside the line on which the lips meet, negative outside."""
    brow_height: Floats
    """(F, F) cm above the middle line of the brow; 9 where there is none."""
    brow_position: Floats
    """(F, F) 0 at the inner to 1 at the outer end of the brow."""
    lid_depth: Floats
    """(F, F) cm from the edge of the lids towards the eyeball, negative on the face."""
    zones: Mapping[str, Floats]
    """Regions of the face, (F, F) 0..1, soft: flush, orbit, beard, cheeks, oily, forehead, rim, nostrils."""
    ear: NDArray[np.bool_]
    """(F, F)."""
    mouth_lining: NDArray[np.bool_]
    """Triangles of the back part that line mouth and eye sockets, (T,)."""


def build_texel_maps(rig: Rig) -> TexelMaps:
    """Compute the maps of a rig; takes a few seconds."""
    face_part, back_part, eye_part = (rig.parts[n] for n in ("M_Face", "M_BackHead", "M_ScleraLeft"))
    face = _positions(face_part, rig.neutral, FACE_TEXELS)
    eye = _positions(eye_part, rig.neutral, EYE_TEXELS)
    apex = rig.neutral[eye_part.vertices][rig.neutral[eye_part.vertices][:, 2].argmax()]
    landmarks = rig.neutral[rig.landmarks]
    points = _landmark_texels(face_part, rig.landmarks)
    lip_depth = _depth(face, landmarks, points, range(48, 60))
    lid_depth = np.maximum(
        _depth(face, landmarks, points, range(36, 42)), _depth(face, landmarks, points, range(42, 48))
    )
    brow_height, brow_position = _brows(face, landmarks)
    v, u = np.mgrid[:FACE_TEXELS, :FACE_TEXELS].astype(np.float32) / FACE_TEXELS
    ear = (np.abs(u - 0.5) > 0.38) & (v > 0.42) & (v < 0.7)
    x, y, z = rig.neutral[back_part.vertices][back_part.triangles].mean(1).T
    lining = (np.abs(x) < 6) & (y > -9) & (y < 7) & (z > 0)
    lips = soft_step((lip_depth + 0.02) / 0.07)
    return TexelMaps(
        face=face,
        back=_positions(back_part, rig.neutral, BACK_TEXELS),
        eye=eye[..., :2] - apex[:2],
        landmarks=landmarks,
        lips=lips,
        lip_depth=lip_depth,
        mouth_depth=_depth(face, landmarks, points, range(60, 68)),
        brow_height=brow_height,
        brow_position=brow_position,
        lid_depth=lid_depth,
        zones=_zones(face, lips, ear),
        ear=ear,
        mouth_lining=lining,
    )


def soft_step(x: Floats) -> Floats:
    """Return a step from 0 to 1, soft over about -2..2."""
    return np.asarray(0.5 + 0.5 * np.tanh(x), np.float32)


def bell(distance: Floats) -> Floats:
    """Return a Gaussian bell, 1 at distance 0."""
    return np.asarray(np.exp(-(distance**2)), np.float32)


def nearest_point(positions: Floats, line: Floats) -> tuple[Floats, Ints]:
    """Return the distance in cm of positions (..., 3) to the nearest of points (N, 3), and its index."""
    flat, line = positions.reshape(-1, 3).astype(np.float32), line.astype(np.float32)
    square = (line**2).sum(-1) - 2 * flat @ line.T
    index = square.argmin(-1)
    least = np.take_along_axis(square, index[:, None], -1)[:, 0] + (flat**2).sum(-1)
    shape = positions.shape[:-1]
    return np.sqrt(np.maximum(least, 0)).reshape(shape), index.astype(np.int32).reshape(shape)


def texel_window(points: Floats, margin: float) -> tuple[slice, slice]:
    """Return the rows and columns around texture points (N, 2; column, row), with a margin in texels."""
    low = np.clip(points.min(0) - margin, 0, FACE_TEXELS).astype(int)
    high = np.clip(points.max(0) + margin + 1, 0, FACE_TEXELS).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _landmark_texels(part: MeshPart, landmarks: Ints) -> Floats:
    """Return the column and row of each landmark in the face's texture, (68, 2)."""
    order = np.argsort(part.vertices, kind="stable")
    index = order[np.clip(np.searchsorted(part.vertices, landmarks, sorter=order), 0, len(order) - 1)]
    return np.asarray(part.uv[index] * FACE_TEXELS, np.float32)


def _depth(face: Floats, landmarks: Floats, points: Floats, ring: range) -> Floats:
    """Return how deep inside a closed line through landmarks each texel lies, (F, F) cm; -9 far outside.

    Args:
        face: (F, F, 3) cm.
        landmarks: (68, 3) cm.
        points: their column and row, (68, 2).
        ring: the landmarks of the line.
    """
    curve = sample_segments(np.concatenate([points[list(ring)], landmarks[list(ring)]], -1), closed=True)
    image = Image.new("1", (FACE_TEXELS, FACE_TEXELS))
    ImageDraw.Draw(image).polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in curve[:, :2]], fill=1)
    rows, columns = texel_window(curve[:, :2], 60)
    distance, _ = nearest_point(face[rows, columns], curve[:, 2:])
    depth = np.full(face.shape[:2], -FAR, np.float32)
    depth[rows, columns] = np.where(np.asarray(image)[rows, columns], distance, -distance)
    return depth


def _brows(face: Floats, landmarks: Floats) -> tuple[Floats, Floats]:
    """Return ``brow_height`` and ``brow_position``; the brow runs a little below the landmarks."""
    height = np.full(face.shape[:2], FAR, np.float32)
    position = np.full(face.shape[:2], FAR, np.float32)
    for line in (landmarks[22:27], landmarks[17:22][::-1]):
        inner, outer = abs(line[0, 0]) - 0.25, abs(line[-1, 0])
        side = np.sign(line[0, 0])
        x = face[..., 0] * side
        middle = np.interp(x, np.abs(line[:, 0]), line[:, 1]) - 0.75 - 0.1 * np.clip(x - 4.5, 0, 2)
        region = (
            (x > inner - 0.4)
            & (x < outer + 0.5)
            & (face[..., 2] > 5.5)
            & (np.abs(face[..., 1] - middle) < 1.5)
        )
        height = np.where(region, face[..., 1] - middle, height)
        position = np.where(region, (x - inner) / (outer - inner), position)
    return height.astype(np.float32), position.astype(np.float32)


def _zones(face: Floats, lips: Floats, ear: NDArray[np.bool_]) -> dict[str, Floats]:
    x, y, z = np.moveaxis(face, -1, 0)
    side = np.abs(x)
    cheeks = bell(np.hypot((side - 4.4) / 2.1, (y + 0.3) / 1.8)) * (z > 4)
    nose = bell(np.hypot(x / 1.5, (y - 0.1) / 1.2)) * (z > 10) + 0.5 * bell(
        np.hypot(x / 0.9, (y - 2.0) / 1.4)
    )
    chin = bell(np.hypot(x / 1.6, (y + 6.2) / 1.0)) * (z > 8)
    orbit = np.maximum(
        bell(np.hypot((side - 3.1) / 1.75, (y - 2.75) / 0.85)),
        0.35 * bell(np.hypot((side - 3.2) / 1.6, (y - 4.2) / 0.5)),
    ) * (z > 7)
    inner = bell(np.hypot((side - 1.75) / 0.5, (y - 3.0) / 0.6)) * (z > 8)
    nostrils = bell(np.hypot((side - 0.62) / 0.30, (y + 0.95) / 0.20)) * (z > 9) * (z < 12.4)
    forehead = soft_step((y - 6.3) / 0.5) * soft_step((5.5 - side) / 0.8) * (z > 3)
    # Moustache, chin, jaw, and the cheek below a line from the corner of the mouth to the sideburn.
    line = -3.6 + np.clip(side - 2.4, 0, 9) * 0.95
    low = (
        soft_step((line - y) / 0.5)
        * soft_step((side - 1.0) / 0.3 + (-4.9 - y) / 0.3)
        * soft_step((z - 1.8) / 0.5)
    )
    moustache = soft_step((-1.45 - y) / 0.2) * soft_step((2.9 - side) / 0.3) * (y > -4) * (z > 8)
    throat = soft_step((-5.2 - y) / 0.4) * soft_step((y + 9.5) / 1.2) * (z > 4)
    under = soft_step((y + 9.0) / 0.7)
    beard = np.maximum(np.maximum(low, moustache), throat) * under * (1 - lips) * ~ear
    return {
        "flush": np.asarray(np.clip(0.8 * cheeks + nose + 0.45 * chin + 0.7 * ear, 0, 1.2), np.float32),
        "orbit": np.asarray(np.maximum(orbit, 0.8 * inner), np.float32),
        "beard": np.asarray(beard, np.float32),
        "cheeks": np.asarray(np.clip(cheeks + nose, 0, 1), np.float32),
        "oily": np.asarray(np.clip(nose + 0.7 * bell(np.hypot(x / 3.0, (y - 7.4) / 1.4)) + chin, 0, 1)),
        "forehead": np.asarray(forehead, np.float32),
        "rim": np.asarray(soft_step((np.hypot(side / 5.6, (y - 1.0) / 7.5) - 1) / 0.15), np.float32),
        "nostrils": np.asarray(nostrils, np.float32),
    }


def _positions(part: MeshPart, neutral: Floats, side: int) -> Floats:
    """Return the position on the neutral head of each texel of a texture, (side, side, 3) cm."""
    corners = part.uv[part.triangles].astype(np.float64) * side - 0.5  # the middle of texel i is at i
    low = np.clip(np.ceil(corners.min(1)), 0, side - 1).astype(np.int64)
    high = np.clip(np.floor(corners.max(1)), -1, side - 1).astype(np.int64)
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
    barycentric = np.stack([1 - second - third, second, third], -1)[inside].astype(np.float32)
    positions = np.zeros((side, side, 3), np.float32)
    covered = np.zeros((side, side), np.float32)
    vertices = neutral[part.vertices][part.triangles[triangle]].astype(np.float32)
    positions[row, column] = (barycentric[..., None] * vertices).sum(1)
    covered[row, column] = 1.0
    return _fill_gaps(positions, covered)


def _fill_gaps(positions: Floats, covered: Floats) -> Floats:
    """Give texels that no triangle covers the mean of the covered ones around, coarser the farther away."""
    if covered.shape[0] == 1 or covered.all():
        return positions
    parts = [(slice(i, None, 2), slice(j, None, 2)) for i in (0, 1) for j in (0, 1)]
    count = np.sum([covered[part] for part in parts], axis=0)
    total = np.sum([positions[part] * covered[part][..., None] for part in parts], axis=0)
    coarse = _fill_gaps(total / np.maximum(count, 1)[..., None], np.minimum(count, 1))
    fine = np.repeat(np.repeat(coarse, 2, 0), 2, 1)
    return np.where(covered[..., None] > 0, positions, fine).astype(np.float32)
