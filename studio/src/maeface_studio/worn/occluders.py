"""Occluders in front of the face: hands, objects that they hold, a scarf, a lock of hair."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from maeface_studio.cast.appearance import Appearance
from maeface_studio.cast.views import Occluder
from maeface_studio.head.curves import sample_curve
from maeface_studio.head.mesh import Floats
from maeface_studio.head.rig import Rig
from maeface_studio.head.skull import Skull, clamp_height, identity_offset, measure_skull
from maeface_studio.skin.pigment import HAIR_TONES, skin_tone, srgb_to_linear
from maeface_studio.worn.meshes import (
    Colour,
    MaterialMesh,
    Mesh,
    capsule_mesh,
    join_meshes,
    sheet_mesh,
    to_colour,
    tube_mesh,
    with_material,
)

Points = Sequence[Sequence[float]]

_KNITS: tuple[Colour, ...] = (
    (0.30, 0.04, 0.04),
    (0.06, 0.06, 0.07),
    (0.40, 0.36, 0.30),
    (0.04, 0.09, 0.16),
    (0.16, 0.12, 0.05),
)
_CUPS: tuple[Colour, ...] = ((0.75, 0.74, 0.72), (0.30, 0.17, 0.09), (0.04, 0.10, 0.22), (0.5, 0.05, 0.04))
_BLACK: Colour = (0.015, 0.015, 0.017)
_STEEL: Colour = (0.20, 0.20, 0.21)
_CHIN = (0.0, -7.6, 10.4)


class _Person:
    """The person who holds an occluder: head, colours, and the side of the face that is used."""

    def __init__(self, appearance: Appearance, rig: Rig, head: Floats, rng: np.random.Generator) -> None:
        self.rig, self.head, self.rng = rig, head, rng
        self.skin = to_colour(skin_tone(appearance.melanin, 0.5))
        self.hair = to_colour(srgb_to_linear(np.array(HAIR_TONES[appearance.hair])))
        self.side = 1.0 if rng.uniform() < 0.5 else -1.0
        self.skull: Skull = measure_skull(rig, head)

    def curve(self, points: Points, anchor: Sequence[float] = _CHIN, count: int = 10) -> Floats:
        """Return a curve (count, 3) in cm that follows this head.

        Args:
            points: (N, 3) on the viewer's right of the neutral head; mirrored for the other side.
            anchor: the point of the neutral head whose displacement the curve follows.
            count: how many points.
        """
        curve = sample_curve(points, count) + identity_offset(self.rig, self.head, np.array(anchor))
        curve[:, 0] *= self.side
        return curve

    def choose(self, colours: Sequence[Colour]) -> Colour:
        """Draw one of the colours."""
        return colours[int(self.rng.integers(len(colours)))]


def make_occluder(
    kind: Occluder, rig: Rig, head: Floats, rng: np.random.Generator, appearance: Appearance
) -> list[MaterialMesh]:
    """Return something in front of the face that leaves most of it visible; empty for ``NONE``.

    Args:
        kind: what it is.
        rig: the head's rig.
        head: (V, 3) cm, the subject at rest.
        rng: for side, colour and small differences.
        appearance: of the subject whose hand and hair they are.
    """
    if kind == Occluder.NONE:
        return []
    return _MAKERS[kind](_Person(appearance, rig, head, rng))


def _finger(
    person: _Person, points: Sequence[Sequence[float]], radius: float, anchor: Sequence[float]
) -> Mesh:
    line = person.curve(points, anchor, 12)
    t = np.linspace(0, 1, 12)
    knuckles = 1 + 0.07 * np.cos((t * 2.2) * 2 * np.pi)
    return capsule_mesh(line, radius * (1 - 0.22 * t) * knuckles, 10)


def _arm(
    person: _Person, points: Sequence[Sequence[float]], radius: float, anchor: Sequence[float] = _CHIN
) -> Mesh:
    line = person.curve(points, anchor, 12)
    return capsule_mesh(line, np.linspace(radius, radius * 1.35, 12), 14)


def _hand_at_chin(person: _Person) -> list[MaterialMesh]:
    """Return a loose fist under the chin, the thumb along the jaw."""
    parts = [_arm(person, [[0.9, -11.2, 9.4], [2.6, -14.5, 9.6], [5.5, -24, 9.0]], 2.5)]
    for i in range(4):
        x, y = -2.3 + 1.65 * i, -9.4 + 0.22 * abs(i - 1.3)
        parts.append(
            _finger(
                person,
                [
                    [x + 0.5, y - 2.6, 10.6],
                    [x + 0.1, y - 0.2, 12.2],
                    [x, y + 0.2, 10.9],
                    [x + 0.1, y - 1.0, 9.8],
                ],
                0.88 - 0.05 * abs(i - 1),
                _CHIN,
            )
        )
    parts.append(_finger(person, [[3.6, -12.0, 10.0], [4.7, -9.4, 9.4], [4.9, -6.9, 8.7]], 0.92, _CHIN))
    return [with_material(join_meshes(parts), person.skin, roughness=0.5)]


def _hand_at_cheek(person: _Person) -> list[MaterialMesh]:
    """Return a palm at the outer side of the cheekbone, the fingers up the temple."""
    anchor = (6.6, -2.0, 5.0)
    parts = [_arm(person, [[6.4, -7.4, 6.2], [8.0, -12.0, 7.0], [10.5, -24, 8.0]], 2.3, anchor)]
    for i, reach in enumerate((5.2, 6.4, 5.8, 4.2)):
        z = 7.6 - 1.55 * i
        path = sample_curve(
            [
                [6.6, -7.0, z - 0.4],
                [7.4, -3.6, z - 0.9],
                [7.7, -6.6 + 0.7 * reach, z - 1.3],
                [7.6, -6.0 + reach, z - 1.5],
            ],
            12,
        )
        path = path + identity_offset(person.rig, person.head, np.array(anchor))
        path[:, 0] *= person.side
        finger = clamp_height(person.skull, path, 0.55, 0.9)
        parts.append(capsule_mesh(finger, 0.85 * (1 - 0.2 * np.linspace(0, 1, 12)), 10))
    parts.append(_finger(person, [[5.8, -8.6, 7.6], [4.6, -8.4, 9.0], [3.4, -8.0, 10.3]], 0.95, _CHIN))
    return [with_material(join_meshes(parts), person.skin, roughness=0.5)]


def _finger_at_mouth(person: _Person) -> list[MaterialMesh]:
    """Return a forefinger at the corner of the mouth, the other fingers curled below the chin."""
    anchor = (2.5, -3.5, 10.2)
    parts = [
        _finger(
            person,
            [[4.9, -10.4, 10.6], [4.3, -8.0, 11.5], [3.5, -5.9, 11.3], [3.1, -4.7, 10.9]],
            0.86,
            anchor,
        )
    ]
    for i in range(3):
        x, y = 4.2 - 0.6 * i, -10.6 - 1.15 * i
        parts.append(
            _finger(
                person,
                [[x + 1.8, y, 9.8], [x + 0.2, y + 0.1, 11.9], [x - 1.4, y, 11.2], [x - 1.5, y - 0.2, 10.0]],
                0.84,
                _CHIN,
            )
        )
    parts.append(_arm(person, [[5.2, -12.2, 9.2], [6.4, -16.0, 9.0], [9.0, -25, 8.5]], 2.3))
    return [with_material(join_meshes(parts), person.skin, roughness=0.5)]


def _microphone(person: _Person) -> list[MaterialMesh]:
    ball = person.curve([[1.2, -7.9, 15.6], [1.3, -8.4, 15.9]], count=4)
    handle = person.curve([[1.4, -9.6, 16.0], [2.6, -15.0, 18.0], [4.5, -24, 21.0]])
    return [
        with_material(capsule_mesh(ball, 1.75, 18), _STEEL, roughness=0.5, metal=0.6),
        with_material(capsule_mesh(handle, np.linspace(1.15, 0.85, len(handle)), 14), _BLACK, roughness=0.4),
        with_material(join_meshes(_grip(person, [1.9, -13.0, 17.2])), person.skin, roughness=0.5),
    ]


def _grip(person: _Person, point: Sequence[float]) -> list[Mesh]:
    """Return four fingers and a thumb around something upright at a point (3,), and the arm."""
    x, y, z = point
    parts = []
    for i in range(4):
        h = y - 1.65 * i
        parts.append(
            _finger(
                person,
                [
                    [x + 2.4, h - 0.4, z - 1.8],
                    [x + 1.9, h, z + 1.0],
                    [x - 0.2, h, z + 1.9],
                    [x - 1.8, h, z + 0.6],
                ],
                0.86,
                _CHIN,
            )
        )
    parts.append(
        _finger(
            person,
            [[x + 2.2, y - 2.5, z - 2.0], [x, y + 0.3, z - 2.0], [x - 1.8, y + 0.8, z - 0.8]],
            0.9,
            _CHIN,
        )
    )
    parts.append(
        _arm(person, [[x + 2.6, y - 3.0, z - 2.2], [x + 4, y - 8, z - 3], [x + 7, y - 16, z - 5]], 2.4)
    )
    return parts


def _cup(person: _Person) -> list[MaterialMesh]:
    """Return a cup just below the lower lip, and the hand that holds it."""
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    rows = []
    for y, r in (
        (-14.5, 0.1),
        (-14.5, 2.9),
        (-10.0, 3.45),
        (-6.4, 3.7),
        (-6.3, 3.6),
        (-6.5, 3.5),
        (-13.5, 2.6),
        (-13.6, 0.1),
    ):
        rows.append(
            np.stack([r * np.cos(angle), np.full(28, y), 15.6 + r * np.sin(angle) - 0.18 * (y + 6.4)], -1)
        )
    body = np.stack(rows) + identity_offset(person.rig, person.head, np.array(_CHIN))
    return [
        with_material(sheet_mesh(body, closed=True), person.choose(_CUPS), roughness=0.3),
        with_material(join_meshes(_cup_fingers(person)), person.skin, roughness=0.5),
    ]


def _cup_fingers(person: _Person) -> list[Mesh]:
    parts = []
    for i in range(4):
        h = -8.2 - 1.6 * i
        parts.append(
            _finger(
                person, [[4.6, h - 0.3, 14.2], [4.3, h, 16.8], [2.6, h, 19.6], [0.4, h, 20.3]], 0.84, _CHIN
            )
        )
    parts.append(_arm(person, [[5.0, -12.0, 14.0], [7.0, -17, 13.0], [10, -26, 11.0]], 2.4))
    return parts


def _phone(person: _Person) -> list[MaterialMesh]:
    """Return a phone at the ear, its lower end towards the mouth, and the hand that holds it."""
    anchor = (7.4, 0.0, 4.0)
    top, end = np.array([9.3, 4.0, -0.4]), np.array([8.2, -8.4, 6.6])
    along = (end - top) / np.linalg.norm(end - top)
    across = np.cross(along, [1.0, 0.15, -0.1])
    across /= np.linalg.norm(across)
    out = np.cross(across, along) * 0.42
    half = across * 3.5
    corners = [np.stack([top - half, top + half, end + half, end - half]) + s * out for s in (1, -1)]
    rows = np.stack(
        [
            c.mean(0, keepdims=True).repeat(4, 0) if i in (0, 3) else c
            for i, c in enumerate((corners[0], corners[0], corners[1], corners[1]))
        ]
    )
    rows = rows + identity_offset(person.rig, person.head, np.array(anchor))
    rows[..., 0] *= person.side
    fingers = []
    for i in range(4):
        middle = top + along * (4.6 + 1.75 * i)
        joints = [
            middle - half * 1.25 + out * 2,
            middle - half * 1.05 - out * 1.0 + [1.0, 0, 0],
            middle + np.array([1.7, 0.2, 0.3]),
            middle + half * 0.95 + [1.0, 0.1, 0],
        ]
        fingers.append(_finger(person, [joint.tolist() for joint in joints], 0.84, anchor))
    wrist = (top + along * 9 - half * 1.2).tolist()
    fingers.append(_arm(person, [wrist, [12, -14, 0], [14, -26, 2]], 2.5, anchor))
    return [
        with_material(sheet_mesh(rows, closed=True), _BLACK, roughness=0.2),
        with_material(join_meshes(fingers), person.skin, roughness=0.5),
    ]


def _scarf(person: _Person) -> list[MaterialMesh]:
    """Return a scarf wound round the neck up to the chin."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    rolls = []
    for y, wide, front, thick in ((-9.6, 6.9, 9.2, 1.5), (-11.8, 7.6, 9.0, 1.8), (-14.2, 8.6, 9.2, 2.0)):
        tilt = person.rng.uniform(-0.5, 0.5)
        x, z = wide * np.sin(angle), -1.2 + np.where(np.cos(angle) > 0, front, 7.2) * np.cos(angle)
        ring = np.stack([x, y - 0.6 * np.cos(angle) + tilt * np.sin(angle), z], -1)
        ring = ring + identity_offset(person.rig, person.head, np.array(_CHIN)) * [0, 1, 1]
        bulge = thick * (1 + 0.10 * np.sin(5 * angle + person.rng.uniform(0, 6)) + 0.06 * np.sin(11 * angle))
        rolls.append(tube_mesh(ring, bulge, 14, closed=True))
    return [with_material(join_meshes(rolls), person.choose(_KNITS), roughness=0.95)]


def _lock_of_hair(person: _Person) -> list[MaterialMesh]:
    """Return a lock of hair from the hairline past the outer half of one eye to the cheek."""
    anchor = (4.5, 3.0, 9.0)
    drift, hairs = person.rng.uniform(0, 1.0), []
    for _ in range(44):
        a, b = person.rng.normal(0, 1, 2)
        end = -1.5 + 1.2 * abs(b)
        path = [
            [2.2 + 0.5 * a, 10.0, 9.0], [3.6 + 0.50 * a + drift, 7.5, 10.6],
            [4.9 + 0.45 * a + 0.2 * b + drift, 3.6, 10.0],
            [5.6 + 0.25 * a + 0.4 * b + drift, end, 9.2],
        ]  # fmt: skip
        strand = clamp_height(person.skull, person.curve(path, anchor, 12), 0.15)
        hairs.append(tube_mesh(strand, np.linspace(0.035, 0.012, 12), 3))
    return [with_material(join_meshes(hairs), person.hair, roughness=0.4)]


_MAKERS: Mapping[Occluder, Callable[[_Person], list[MaterialMesh]]] = {
    Occluder.HAND_AT_CHIN: _hand_at_chin,
    Occluder.HAND_AT_CHEEK: _hand_at_cheek,
    Occluder.FINGER_AT_MOUTH: _finger_at_mouth,
    Occluder.MICROPHONE: _microphone,
    Occluder.CUP: _cup,
    Occluder.PHONE: _phone,
    Occluder.SCARF: _scarf,
    Occluder.LOCK_OF_HAIR: _lock_of_hair,
}
