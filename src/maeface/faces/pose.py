"""Head pose from the five landmarks of a face: yaw, pitch and roll.

A fixed 3D face of five points is fitted to the landmarks under weak perspective: rotated, scaled, moved, and
projected along the viewing axis. Angles are relative to the viewing direction at the face, so a person who
faces the camera has a yaw and a pitch of about 0. The errors are in ``docs/user_guide/quality.md``.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Left eye, right eye, nose, left and right corner of the mouth, as seen; x to the right, y up, z to the
# camera, in cm. They are not the mean of any heads, but the points with which angles come out best.
# 1. Those with the least errors for 900 heads of ICT-FaceKit with the studio's cast and expressions, yaw up
#    to 60, pitch up to 30 and roll up to 20 degrees, seen from 40 to 200 cm
#    (``studio/benchmarks/pose.py RIG fit``). The nose is 0.7 cm longer than the mean nose, because a camera
#    shows what is nearer to it larger.
# 2. Eyes 0.47 cm and mouth 0.15 cm higher: the packaged detector puts them so far above those of the mesh.
FACE_POINTS = np.array(
    [
        [-3.22, 3.83, -1.23],
        [3.22, 3.83, -1.23],
        [0.0, 0.26, 3.51],
        [-3.11, -3.33, -0.52],
        [3.11, -3.33, -0.52],
    ]
)
# Expressions move the corners of the mouth, so they count half.
_WEIGHTS = np.array([2.0, 2.0, 2.0, 1.0, 1.0]) / 8
_STEPS = 2  # of Gauss and Newton; more change the angles by about 0.1 degrees
_MAX_TURN = 0.5  # of a step, radians
_FLAT = 0.1  # landmarks nearer to one line or to one point than this fraction have no pose


def measure_pose(
    landmarks: NDArray[np.floating], face_points: NDArray[np.floating] = FACE_POINTS
) -> NDArray[np.float64]:
    """Return yaw, pitch and roll of heads in degrees.

    The head is turned first about its own vertical axis (yaw), then about the horizontal axis of the picture
    (pitch), then in the picture (roll). Call it once for many faces: 100 take little longer than one.

    Args:
        landmarks: (N, 5, 2) px, ordered as in ``Face``: left and right are those of the picture.
        face_points: (5, 3) the 3D face that is fitted, as ``FACE_POINTS``; its scale does not matter.

    Returns:
        (N, 3): yaw > 0 if the nose points to the right of the picture, which is the person's left; pitch > 0
        if it points up; roll > 0 if the head is rotated clockwise. NaN where landmarks are not finite, or lie
        on a line or in a point.
    """
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise ValueError(f"expected landmarks (N, 5, 2), got {points.shape}")
    face = np.asarray(face_points, np.float64)
    model: Floats = face - _WEIGHTS @ face
    poses = np.full((len(points), 3), np.nan)
    with np.errstate(all="ignore"):
        seen = points * [1.0, -1.0]
        seen -= (_WEIGHTS @ seen)[:, None]
        size = np.abs(seen).max(axis=(1, 2))
        usable = np.isfinite(size) & (size > 0)
        seen /= size[:, None, None]
    index = np.flatnonzero(usable)
    rotation, scale, flat = _fit_affine(seen[index], model)
    index, rotation, scale = index[~flat], rotation[~flat], scale[~flat]
    for _ in range(_STEPS):
        rotation, scale = _refine(seen[index], model, rotation, scale)
    poses[index] = _angles(rotation)
    return poses


def _fit_affine(seen: Floats, model: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return the rotations (N, 3, 3) and scales (N,) nearest to the affine fit, and where there is none."""
    weighted = model * _WEIGHTS[:, None]
    affine: Floats = np.swapaxes(seen, 1, 2) @ weighted @ np.linalg.inv(weighted.T @ model)
    left, stretch, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotation = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], axis=1)
    return rotation, stretch.mean(axis=1), ~(stretch[:, 1] > _FLAT * stretch[:, 0])


def _refine(seen: Floats, model: Floats, rotation: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Take one Gauss-Newton step towards the least squares of the distances in the picture."""
    turned = model @ np.swapaxes(rotation, 1, 2) * scale[:, None, None]
    x, y, z = turned[..., 0], turned[..., 1], turned[..., 2]
    zero = np.zeros_like(x)
    # How a rotation about the x, y and z axis, and a larger scale, move a point: (N, 10, 4)
    jacobian = np.stack(
        [np.stack([zero, z, -y, x], axis=-1), np.stack([-z, zero, x, y], axis=-1)], axis=2
    ).reshape(len(seen), 10, 4)
    weighted = np.swapaxes(jacobian, 1, 2) * np.repeat(_WEIGHTS, 2)
    rest = (seen - turned[..., :2]).reshape(len(seen), 10, 1)
    normal = weighted @ jacobian
    # A tiny damping keeps the matrix regular where an angle cannot be seen.
    normal += 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(4)
    step = np.asarray(np.linalg.solve(normal, weighted @ rest)[..., 0], np.float64)
    return _rotation(step[:, :3]) @ rotation, scale * np.exp(np.clip(step[:, 3], -0.5, 0.5))


def _rotation(vector: Floats) -> Floats:
    """Return the rotations (N, 3, 3) about vectors (N, 3) by their length in radians, limited."""
    angle = np.linalg.norm(vector, axis=1)
    x, y, z = (vector / np.maximum(angle, 1e-12)[:, None]).T
    angle = np.minimum(angle, _MAX_TURN)[:, None, None]
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    rotation: Floats = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return rotation


def _angles(rotation: Floats) -> Floats:
    """Return yaw, pitch and roll (N, 3) in degrees of rotations (N, 3, 3), with y up."""
    yaw = np.arctan2(-rotation[:, 2, 0], rotation[:, 2, 2])
    pitch = -np.arcsin(np.clip(rotation[:, 2, 1], -1, 1))
    roll = np.arctan2(rotation[:, 0, 1], rotation[:, 1, 1])
    angles: Floats = np.degrees(np.stack([yaw, pitch, roll], axis=-1))
    return angles
