"""The projection of the head into the picture: the camera, and the face's true box and points.

``turn`` is the (3, 3) rotation of the head, ``frame`` the side of the picture in px.
"""

from collections.abc import Callable

import numpy as np

from maeface_studio.camera.renderer import Camera
from maeface_studio.cast.views import View
from maeface_studio.head.mesh import Floats
from maeface_studio.head.rig import Rig

CENTRE = np.array([0.0, 0.8, 4.0], np.float32)
"""Middle of the head in cm: the head turns about it, and the camera points to it."""


def make_camera(view: View, turn: Floats, frame: int) -> Camera:
    """Return the camera of a view, in the axes of the head."""
    near, far = max(view.distance - 30, 5.0), view.distance + 30
    zoom = 2 * view.distance / view.height
    project = np.zeros((4, 4), np.float32)
    project[0, 0] = project[1, 1] = zoom
    project[2, 2], project[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
    project[3, 2] = -1
    shift = np.array([view.shift[0], view.shift[1], 0], np.float32)
    place = np.eye(4, dtype=np.float32)
    place[:3, :3] = turn
    place[:3, 3] = shift - turn @ CENTRE - np.array([0, 0, view.distance], np.float32)
    eye = (np.array([0, 0, view.distance], np.float32) - shift) @ turn + CENTRE
    return Camera(project @ place, eye, view.height / view.distance / frame)


def project_points(points: Floats, view: View, turn: Floats, frame: int) -> Floats:
    """Project points of the head, (N, 3) cm, into the picture, (N, 2) px."""
    at = (points - CENTRE) @ turn.T + np.array([view.shift[0], view.shift[1], 0], np.float32)
    focal = view.distance / view.height * frame
    depth = view.distance - at[:, 2]
    x, y = focal * at[:, 0] / depth, focal * at[:, 1] / depth
    return np.stack([frame / 2 + x, frame / 2 - y], -1).astype(np.float32)


def face_box(head: Floats, rig: Rig, project: Callable[[Floats], Floats]) -> Floats:
    """Return the box of the face, (4,) x1 y1 x2 y2 in px: from ear to ear and from hairline to chin."""
    points = project(head[rig.box_vertices])
    return np.concatenate([points.min(0), points.max(0)])


def face_points(head: Floats, rig: Rig, project: Callable[[Floats], Floats]) -> Floats:
    """Return left eye, right eye, nose, left and right corner of the mouth, (5, 2) px."""
    marks = head[rig.landmarks]
    face = np.stack([marks[36:42].mean(0), marks[42:48].mean(0), marks[30], marks[48], marks[54]])
    return project(face)
