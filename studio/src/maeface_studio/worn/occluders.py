"""What gets between the camera and a face: hands, things that are held, a scarf, a lock of hair."""

from collections.abc import Callable, Sequence

import numpy as np

from maeface_studio.head.rig import Floats, Rig
from maeface_studio.head.skull import Skull, kept, shift, skull
from maeface_studio.worn.solids import Colour, Mesh, Thing, capsule, joined, sheet, smooth, thing, tube

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


class Scene:
    """The head that something is held before: its outside, its places, and which side is used."""

    def __init__(self, rig: Rig, head: Floats, skin: Colour, hair: Colour, rng: np.random.Generator) -> None:
        self.rig, self.head, self.skin, self.hair, self.rng = rig, head, skin, hair, rng
        self.side = 1.0 if rng.uniform() < 0.5 else -1.0
        self.outside: Skull = skull(rig, head)

    def line(self, points: Sequence[Sequence[float]], by: Sequence[float] = _CHIN, count: int = 10) -> Floats:
        """A smooth line (count, 3) on this head and side, given at the viewer's right of the neutral one."""
        placed = smooth(points, count) + shift(self.rig, self.head, np.array(by))
        placed[:, 0] *= self.side
        return placed

    def pick(self, colours: Sequence[Colour]) -> Colour:
        """One of the colours."""
        return colours[int(self.rng.integers(len(colours)))]


def held(kind: int, scene: Scene) -> list[Thing]:
    """What ``things.OCCLUDERS`` calls ``kind``, at least 1."""
    return _MAKERS[kind - 1](scene)


def _finger(scene: Scene, points: Sequence[Sequence[float]], thick: float, by: Sequence[float]) -> Mesh:
    line = scene.line(points, by, 12)
    share = np.linspace(0, 1, 12)
    knuckles = 1 + 0.07 * np.cos((share * 2.2) * 2 * np.pi)
    return capsule(line, thick * (1 - 0.22 * share) * knuckles, 10)


def _arm(scene: Scene, points: Sequence[Sequence[float]], wide: float, by: Sequence[float] = _CHIN) -> Mesh:
    line = scene.line(points, by, 12)
    return capsule(line, np.linspace(wide, wide * 1.35, 12), 14)


def _hand_at_chin(scene: Scene) -> list[Thing]:
    """A loose fist under the chin, the thumb along the jaw."""
    parts = [_arm(scene, [[0.9, -11.2, 9.4], [2.6, -14.5, 9.6], [5.5, -24, 9.0]], 2.5)]
    for i in range(4):
        x, y = -2.3 + 1.65 * i, -9.4 + 0.22 * abs(i - 1.3)
        parts.append(
            _finger(
                scene,
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
    parts.append(_finger(scene, [[3.6, -12.0, 10.0], [4.7, -9.4, 9.4], [4.9, -6.9, 8.7]], 0.92, _CHIN))
    return [thing(joined(parts), scene.skin, roughness=0.5)]


def _hand_at_cheek(scene: Scene) -> list[Thing]:
    """The cheekbone's outer side rests in a palm, fingers up the temple."""
    by = (6.6, -2.0, 5.0)
    parts = [_arm(scene, [[6.4, -7.4, 6.2], [8.0, -12.0, 7.0], [10.5, -24, 8.0]], 2.3, by)]
    for i, reach in enumerate((5.2, 6.4, 5.8, 4.2)):
        z = 7.6 - 1.55 * i
        path = smooth(
            [
                [6.6, -7.0, z - 0.4],
                [7.4, -3.6, z - 0.9],
                [7.7, -6.6 + 0.7 * reach, z - 1.3],
                [7.6, -6.0 + reach, z - 1.5],
            ],
            12,
        )
        path = path + shift(scene.rig, scene.head, np.array(by))
        path[:, 0] *= scene.side
        on = kept(scene.outside, path, 0.55, 0.9)
        parts.append(capsule(on, 0.85 * (1 - 0.2 * np.linspace(0, 1, 12)), 10))
    parts.append(_finger(scene, [[5.8, -8.6, 7.6], [4.6, -8.4, 9.0], [3.4, -8.0, 10.3]], 0.95, _CHIN))
    return [thing(joined(parts), scene.skin, roughness=0.5)]


def _finger_at_mouth(scene: Scene) -> list[Thing]:
    """A forefinger at the corner of the mouth, the others curled below the chin."""
    by = (2.5, -3.5, 10.2)
    parts = [
        _finger(
            scene, [[4.9, -10.4, 10.6], [4.3, -8.0, 11.5], [3.5, -5.9, 11.3], [3.1, -4.7, 10.9]], 0.86, by
        )
    ]
    for i in range(3):
        x, y = 4.2 - 0.6 * i, -10.6 - 1.15 * i
        parts.append(
            _finger(
                scene,
                [[x + 1.8, y, 9.8], [x + 0.2, y + 0.1, 11.9], [x - 1.4, y, 11.2], [x - 1.5, y - 0.2, 10.0]],
                0.84,
                _CHIN,
            )
        )
    parts.append(_arm(scene, [[5.2, -12.2, 9.2], [6.4, -16.0, 9.0], [9.0, -25, 8.5]], 2.3))
    return [thing(joined(parts), scene.skin, roughness=0.5)]


def _microphone(scene: Scene) -> list[Thing]:
    ball = scene.line([[1.2, -7.9, 15.6], [1.3, -8.4, 15.9]], count=4)
    handle = scene.line([[1.4, -9.6, 16.0], [2.6, -15.0, 18.0], [4.5, -24, 21.0]])
    return [
        thing(capsule(ball, 1.75, 18), _STEEL, roughness=0.5, metal=0.6),
        thing(capsule(handle, np.linspace(1.15, 0.85, len(handle)), 14), _BLACK, roughness=0.4),
        thing(joined(_grip(scene, [1.9, -13.0, 17.2])), scene.skin, roughness=0.5),
    ]


def _grip(scene: Scene, at: Sequence[float]) -> list[Mesh]:
    """Four fingers and a thumb about something upright."""
    x, y, z = at
    parts = []
    for i in range(4):
        h = y - 1.65 * i
        parts.append(
            _finger(
                scene,
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
            scene,
            [[x + 2.2, y - 2.5, z - 2.0], [x, y + 0.3, z - 2.0], [x - 1.8, y + 0.8, z - 0.8]],
            0.9,
            _CHIN,
        )
    )
    parts.append(
        _arm(scene, [[x + 2.6, y - 3.0, z - 2.2], [x + 4, y - 8, z - 3], [x + 7, y - 16, z - 5]], 2.4)
    )
    return parts


def _cup(scene: Scene) -> list[Thing]:
    """A cup just below the lower lip."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
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
            np.stack([r * np.cos(turn), np.full(28, y), 15.6 + r * np.sin(turn) - 0.18 * (y + 6.4)], -1)
        )
    body = np.stack(rows) + shift(scene.rig, scene.head, np.array(_CHIN))
    return [
        thing(sheet(body, closed=True), scene.pick(_CUPS), roughness=0.3),
        thing(joined(_cup_fingers(scene)), scene.skin, roughness=0.5),
    ]


def _cup_fingers(scene: Scene) -> list[Mesh]:
    parts = []
    for i in range(4):
        h = -8.2 - 1.6 * i
        parts.append(
            _finger(
                scene, [[4.6, h - 0.3, 14.2], [4.3, h, 16.8], [2.6, h, 19.6], [0.4, h, 20.3]], 0.84, _CHIN
            )
        )
    parts.append(_arm(scene, [[5.0, -12.0, 14.0], [7.0, -17, 13.0], [10, -26, 11.0]], 2.4))
    return parts


def _phone(scene: Scene) -> list[Thing]:
    """Held to the ear, the lower end towards the mouth."""
    by = (7.4, 0.0, 4.0)
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
    rows = rows + shift(scene.rig, scene.head, np.array(by))
    rows[..., 0] *= scene.side
    fingers = []
    for i in range(4):
        at = top + along * (4.6 + 1.75 * i)
        lead = [
            at - half * 1.25 + out * 2,
            at - half * 1.05 - out * 1.0 + [1.0, 0, 0],
            at + np.array([1.7, 0.2, 0.3]),
            at + half * 0.95 + [1.0, 0.1, 0],
        ]
        fingers.append(_finger(scene, [p.tolist() for p in lead], 0.84, by))
    wrist = (top + along * 9 - half * 1.2).tolist()
    fingers.append(_arm(scene, [wrist, [12, -14, 0], [14, -26, 2]], 2.5, by))
    return [
        thing(sheet(rows, closed=True), _BLACK, roughness=0.2),
        thing(joined(fingers), scene.skin, roughness=0.5),
    ]


def _scarf(scene: Scene) -> list[Thing]:
    """Wound round the neck up to the chin."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    rolls = []
    for y, wide, front, thick in ((-9.6, 6.9, 9.2, 1.5), (-11.8, 7.6, 9.0, 1.8), (-14.2, 8.6, 9.2, 2.0)):
        tilt = scene.rng.uniform(-0.5, 0.5)
        x, z = wide * np.sin(turn), -1.2 + np.where(np.cos(turn) > 0, front, 7.2) * np.cos(turn)
        ring = np.stack([x, y - 0.6 * np.cos(turn) + tilt * np.sin(turn), z], -1)
        ring = ring + shift(scene.rig, scene.head, np.array(_CHIN)) * [0, 1, 1]
        bulge = thick * (1 + 0.10 * np.sin(5 * turn + scene.rng.uniform(0, 6)) + 0.06 * np.sin(11 * turn))
        rolls.append(tube(ring, bulge, 14, closed=True))
    return [thing(joined(rolls), scene.pick(_KNITS), roughness=0.95)]


def _lock(scene: Scene) -> list[Thing]:
    """A lock of hair from the hairline past the outer half of one eye to the cheek."""
    by = (4.5, 3.0, 9.0)
    drift, hairs = scene.rng.uniform(0, 1.0), []
    for _ in range(44):
        a, b = scene.rng.normal(0, 1, 2)
        end = -1.5 + 1.2 * abs(b)
        path = [
            [2.2 + 0.5 * a, 10.0, 9.0], [3.6 + 0.50 * a + drift, 7.5, 10.6],
            [4.9 + 0.45 * a + 0.2 * b + drift, 3.6, 10.0],
            [5.6 + 0.25 * a + 0.4 * b + drift, end, 9.2],
        ]  # fmt: skip
        on = kept(scene.outside, scene.line(path, by, 12), 0.15)
        hairs.append(tube(on, np.linspace(0.035, 0.012, 12), 3))
    return [thing(joined(hairs), scene.hair, roughness=0.4)]


_MAKERS: tuple[Callable[[Scene], list[Thing]], ...] = (
    _hand_at_chin,
    _hand_at_cheek,
    _finger_at_mouth,
    _microphone,
    _cup,
    _phone,
    _scarf,
    _lock,
)
