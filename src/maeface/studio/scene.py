"""A shot to pixels: the head in the light, path-traced with Mitsuba, and where its face lies in the image."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maeface.errors import ResourceError
from maeface.studio import rig as rigs
from maeface.studio.canvas import Canvas, canvas
from maeface.studio.cast import Action, Shot, Subject, View, generator
from maeface.studio.light import develop, surroundings
from maeface.studio.paint import Textures, hair_share, linear, textures
from maeface.studio.rig import Floats, Part, Rig

VARIANT = "scalar_rgb"
SAMPLES = 16
DEPTH = 3
CENTRE = np.array([0.0, 0.8, 4.0], np.float32)
"""Middle of the head in cm: what the head turns about and the camera looks at."""

_SHADE = {"M_GumsTongue": (176, 84, 82), "M_Teeth": (214, 204, 184)}
_BAG = (110, 44, 42)


@dataclass(frozen=True)
class Picture:
    """A rendered frame with its truth."""

    pixels: NDArray[np.uint8]
    """(F, F, 3) RGB."""
    box: Floats
    """(4,) x1 y1 x2 y2 in px: ear to ear, hairline to chin."""
    points: Floats
    """(5, 2) px: left eye, right eye, nose, left and right corner of the mouth, as seen."""
    intensities: dict[int, float]
    """AU -> intensity on 0..5 as it is on the head (25 as measured between the lips)."""


@dataclass(frozen=True)
class Actor:
    """A subject ready to be shot: textures, and the lip gap when at rest."""

    subject: Subject
    textures: Textures
    hair: Floats
    """How far the scalp hair stands out at each vertex, (V,) cm."""
    gap_cm: float


class Studio:
    """Renders shots of one rig.

    Args:
        rig: the head.
        frame: side of the picture in px.
        samples: light paths per pixel; more is slower and less grainy.

    Raises:
        ResourceError: Mitsuba is not installed.
    """

    def __init__(self, rig: Rig, frame: int, samples: int = SAMPLES) -> None:
        self.rig, self.frame, self.samples = rig, frame, samples
        self._mitsuba = mitsuba()
        self._canvas: Canvas = canvas(rig)
        self._back = _split(rig.parts["M_BackHead"], self._canvas.mouth_bag)

    @lru_cache(maxsize=2)  # noqa: B019 - a studio lives as long as its process
    def actor(self, subject: Subject, seed: int) -> Actor:
        """Paint a subject; the last two are kept."""
        rng = generator(seed, 5, subject.number)
        look = subject.look
        depth = np.clip(hair_share(self.rig.neutral, look.baldness), 0, 2.5) / 2.5
        _, y, z = self.rig.neutral.T
        clear = np.clip(np.maximum((y - 5.0) / 2.0, (-2.5 - z) / 2.5), 0, 1)  # of the ears
        hair = depth * look.hair_cm * clear * np.clip((y + 6.5) / 2.0, 0, 1)
        rest = self.rig.vertices(subject.identity, {})
        return Actor(
            subject, textures(look, self._canvas, rng), hair.astype(np.float32), self.rig.lip_gap(rest)
        )

    def head(self, actor: Actor, action: Action) -> tuple[Floats, dict[int, float]]:
        """The head of an actor in action, in its own axes, and the AU intensities that are true of it."""
        parting = rigs.weight(action.intensities.get(25, 0.0))
        posed = {au: level for au, level in action.intensities.items() if au != 25}
        weights = rigs.shape_weights(posed, action.asymmetry, parting)
        vertices = self.rig.vertices(actor.subject.identity, weights | _gaze(*action.gaze))
        gap = self.rig.lip_gap(vertices) - actor.gap_cm
        return vertices, posed | {25: rigs.parted(gap)}

    def shoot(self, actor: Actor, view: View, action: Action, seed: int) -> Picture:
        """Render one picture."""
        head, intensities = self.head(actor, action)
        skin_normals = _normals(head, self.rig.skin)
        hairy = head + actor.hair[:, None] * skin_normals
        turn = _rotation(view)
        normals = _normals(hairy, self.rig.skin) @ turn.T
        place = np.array([view.shift[0], view.shift[1], 0], np.float32)
        placed, bald = ((points - CENTRE) @ turn.T + place for points in (hairy, head))
        scene = self._scene(actor, placed.astype(np.float32), normals.astype(np.float32), view)
        rendered = np.array(self._mitsuba.render(scene, spp=self.samples, seed=seed % 2**31), np.float32)
        rng = generator(seed, 6)
        return Picture(
            develop(rendered, view, actor.subject.look.melanin, rng),
            self._box(bald, view),
            self._points(bald, view),
            intensities,
        )

    def take(self, shot: Shot, seed: int) -> Picture:
        """Render a shot of the cast."""
        return self.shoot(self.actor(shot.subject, seed), shot.view, shot.action, shot.seed)

    def _project(self, points: Floats, view: View) -> Floats:
        focal = view.distance / view.height * self.frame
        depth = view.distance - points[:, 2]
        x, y = focal * points[:, 0] / depth, focal * points[:, 1] / depth
        return np.stack([self.frame / 2 + x, self.frame / 2 - y], -1).astype(np.float32)

    def _box(self, head: Floats, view: View) -> Floats:
        points = self._project(head[self.rig.boxed], view)
        return np.concatenate([points.min(0), points.max(0)])

    def _points(self, head: Floats, view: View) -> Floats:
        marks = head[self.rig.landmarks]
        face = np.stack([marks[36:42].mean(0), marks[42:48].mean(0), marks[30], marks[48], marks[54]])
        return self._project(face, view)

    def _scene(self, actor: Actor, head: Floats, normals: Floats, view: View) -> Any:  # noqa: ANN401 - Mitsuba's
        mi = self._mitsuba
        gloss = actor.subject.look.gloss
        skin = {"roughness": 0.58 - 0.14 * gloss, "specular": 0.16 + 0.18 * gloss}
        wet = {"roughness": 0.08, "specular": 0.5}
        bag, outside = self._back
        parts: dict[str, tuple[Part, Any, dict[str, float]]] = {
            "face": (self.rig.parts["M_Face"], actor.textures.face, skin),
            "back": (outside, actor.textures.back, {"roughness": 0.65, "specular": 0.2}),
            "bag": (bag, linear(np.array(_BAG)), {"roughness": 0.4, "specular": 0.3}),
            "left": (self.rig.parts["M_ScleraLeft"], actor.textures.eye, wet),
            "right": (self.rig.parts["M_ScleraRight"], actor.textures.eye, wet),
        }
        for name, shade in _SHADE.items():
            parts[name] = (
                self.rig.parts[name],
                linear(np.array(shade)),
                {"roughness": 0.25, "specular": 0.5},
            )
        scene: dict[str, Any] = {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": DEPTH, "hide_emitters": True},
            "light": {"type": "envmap", "bitmap": mi.Bitmap(surroundings(view)), "scale": 1.0},
            "sensor": self._camera(view),
        }
        for name, (part, colour, surface) in parts.items():
            smooth = normals if name in ("face", "back") else None
            scene[name] = _mesh(mi, name, part, head, smooth, _surface(mi, colour, surface))
        return mi.load_dict(scene)

    def _camera(self, view: View) -> dict[str, Any]:
        mi = self._mitsuba
        return {
            "type": "perspective",
            "fov": math.degrees(2 * math.atan(view.height / 2 / view.distance)),
            "to_world": mi.ScalarTransform4f().look_at([0, 0, view.distance], [0, 0, 0], [0, 1, 0]),
            "film": {
                "type": "hdrfilm",
                "width": self.frame,
                "height": self.frame,
                "pixel_format": "rgba",
                # no overlap between blocks: the sum does not depend on the order of threads
                "rfilter": {"type": "box"},
            },
            "sampler": {"type": "multijitter", "sample_count": self.samples},
        }


def mitsuba() -> ModuleType:
    """Mitsuba with its variant set.

    Raises:
        ResourceError: it is not installed, or cannot start here.
    """
    try:
        import mitsuba as mi

        mi.set_variant(VARIANT)
    except ImportError as error:
        raise ResourceError(
            f"rendering needs Mitsuba ({error}), which comes with: "
            "uv run --extra synth maeface synth --rig ict_facekit.npz --out faces"
        ) from None
    mi.set_log_level(mi.LogLevel.Error)
    return mi  # type: ignore[no-any-return,unused-ignore]


def _gaze(right: float, up: float) -> dict[str, float]:
    """Shape weights of a gaze to the viewer's right and up; left and right are the person's own."""
    turn = (
        {"eyeLookIn_R": right, "eyeLookOut_L": right}
        if right >= 0
        else {"eyeLookIn_L": -right, "eyeLookOut_R": -right}
    )
    return turn | ({"eyeLookUp": up} if up >= 0 else {"eyeLookDown": -up})


def _rotation(view: View) -> Floats:
    """Yaw (to the viewer's right), then pitch (up), then roll (clockwise as seen)."""
    yaw, pitch, roll = (math.radians(a) for a in (view.yaw, view.pitch, view.roll))
    cy, sy, cp, sp, cr, sr = *_cs(yaw), *_cs(-pitch), *_cs(-roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y, np.float32)


def _cs(angle: float) -> tuple[float, float]:
    return math.cos(angle), math.sin(angle)


def _normals(points: Floats, triangles: NDArray[np.int32]) -> Floats:
    """Unit vertex normals, weighted by area; (V, 3)."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    normals = np.stack(
        [
            np.bincount(triangles.ravel(), np.repeat(across[:, axis], 3), minlength=len(points))
            for axis in range(3)
        ],
        -1,
    )
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9), np.float32)


def _split(part: Part, chosen: NDArray[np.bool_]) -> tuple[Part, Part]:
    return tuple(Part(part.vertices, part.uv, part.triangles[rows]) for rows in (chosen, ~chosen))  # type: ignore[return-value]


def _surface(mi: ModuleType, colour: Floats, finish: Mapping[str, float]) -> Any:  # noqa: ANN401 - Mitsuba's
    if colour.ndim == 1:
        base: dict[str, Any] = {"type": "rgb", "value": [float(c) for c in colour]}
    else:
        # raw: the values are linear already; row 0 is v = 0, as painted
        base = {"type": "bitmap", "bitmap": mi.Bitmap(np.ascontiguousarray(colour)), "raw": True}
    return mi.load_dict({"type": "twosided", "inner": {"type": "principled", "base_color": base, **finish}})


def _mesh(mi: ModuleType, name: str, part: Part, head: Floats, normals: Floats | None, surface: Any) -> Any:  # noqa: ANN401
    properties = mi.Properties()
    properties["surface"] = surface
    mesh = mi.Mesh(
        name,
        len(part.vertices),
        len(part.triangles),
        has_vertex_normals=True,
        has_vertex_texcoords=True,
        props=properties,
    )
    if normals is None:
        normals = _normals(head[part.vertices], part.triangles)
        smooth = normals
    else:
        smooth = normals[part.vertices]
    values = mi.traverse(mesh)
    values["vertex_positions"] = head[part.vertices].ravel()
    values["vertex_normals"] = smooth.ravel()
    values["vertex_texcoords"] = part.uv.ravel()
    values["faces"] = part.triangles.astype(np.uint32).ravel()
    values.update()
    return mesh
