"""A shot to pixels: the head of a subject in action, in its light, and where its face lies in the picture."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface_studio.camera.camera import develop
from maeface_studio.camera.gl import Camera, Finish, Renderer, Surface, joined
from maeface_studio.camera.light import Lighting, lighting
from maeface_studio.cast import speech
from maeface_studio.cast.cast import Action, Shot
from maeface_studio.cast.draws import generator
from maeface_studio.cast.people import Subject
from maeface_studio.cast.views import View
from maeface_studio.hair import hair
from maeface_studio.head import rig as rigs
from maeface_studio.head.mesh import normals_of, rotation, split, whole
from maeface_studio.head.rig import Floats, Rig
from maeface_studio.skin import wrinkles
from maeface_studio.skin.canvas import Canvas, canvas
from maeface_studio.skin.paint import Look, textures
from maeface_studio.worn import things

CENTRE = np.array([0.0, 0.8, 4.0], np.float32)
"""Middle of the head in cm: what the head turns about and the camera looks at."""

_GUMS, _TEETH, _BAG = (0.42, 0.10, 0.09), (0.62, 0.56, 0.45), (0.16, 0.025, 0.023)
_INNER = ("M_GumsTongue", "M_Teeth", "M_ScleraLeft", "M_ScleraRight")
"""What is not skin."""
_BOUNCED = {"M_GumsTongue": 0.07, "M_Teeth": 0.13}
"""Light that reaches the inside of the mouth from its own walls, which shadows alone leave black."""
_ROOT_SHADE = {"scalp": 0.6, "brows": 0.15, "lashes": 0.0, "beard": 0.45}


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


class _Hair(NamedTuple):
    segments: Any
    per_strand: int
    root: NDArray[np.int32]
    deep: float


@dataclass(frozen=True)
class Actor:
    """A subject ready to be shot: what stays the same over its pictures."""

    subject: Subject
    resting: dict[str, float]
    """Shape weights of the face at rest."""
    rest: Floats
    """The head at rest, (V, 3) cm."""
    gap_cm: float
    """Between the lips at rest."""
    surfaces: tuple[Surface, ...]
    bump: Floats
    folds: Floats
    """(K, F, F) cm, see ``wrinkles``."""
    hair: tuple[_Hair, ...]
    worn: tuple[things.Thing, ...]

    def release(self) -> None:
        """Free the memory of the graphics library; its context must be the current one."""
        for surface in self.surfaces:
            for texture in (surface.colours, surface.gloss):
                if texture is not None and not isinstance(texture, np.ndarray):
                    texture.release()
        for some in self.hair:
            some.segments.release()


class Studio:
    """Renders shots of one rig.

    Args:
        rig: the head.
        frame: side of the picture in px.

    Raises:
        ResourceError: no OpenGL is to be had.
    """

    def __init__(self, rig: Rig, frame: int) -> None:
        self.rig, self.frame = rig, frame
        self._canvas: Canvas = canvas(rig)
        self._renderer = Renderer(frame)
        self._actors: dict[tuple[Subject, int], Actor] = {}
        self._bag, self._outside = split(rig.parts["M_BackHead"], self._canvas.mouth_bag)
        self._casters = whole(rig.parts["M_Face"], self._outside)
        inner = [rig.parts[name] for name in _INNER]
        self._inner = whole(*inner)
        self._within = np.setdiff1d(self._inner, rig.skin)
        self._bounced = np.zeros((len(rig.neutral), 1), np.float32)
        for name, share in _BOUNCED.items():
            inside = rig.parts[name].vertices
            front = np.clip((rig.neutral[inside, 2] - 7.0) / 3.0, 0.1, 1.0)
            self._bounced[inside, 0] = share * front

    def actor(self, subject: Subject, seed: int) -> Actor:
        """Paint and dress a subject; the last two are kept, and one before them can no longer be shot."""
        key = (subject, seed)
        if key not in self._actors:
            with self._renderer.context:  # there may be another studio in this process
                if len(self._actors) == 2:
                    self._actors.pop(next(iter(self._actors))).release()
                self._actors[key] = self._dressed(subject, seed)
        return self._actors[key]

    def _dressed(self, subject: Subject, seed: int) -> Actor:
        rng = generator(seed, 5, subject.number)
        look, resting = subject.look, rigs.resting(generator(seed, 9, subject.number))
        rest = self.rig.vertices(subject.identity, resting)
        painted = textures(look, self._canvas, rng)
        grown = hair.grow(look, self._canvas, self.rig, rest, normals_of(rest, self.rig.skin), rng)
        strands = tuple(
            _Hair(
                self._renderer.segments(some.points, some.radius, some.colour),
                some.points.shape[1] - 1,
                some.root,
                _ROOT_SHADE[name],
            )
            for name, some in grown.items()
            if len(some.root)
        )
        return Actor(
            subject,
            resting,
            rest,
            self.rig.lip_gap(rest),
            self._surfaces(look, painted),
            painted.bump,
            wrinkles.personal(self._canvas, generator(seed, 10, subject.number)),
            strands,
            tuple(things.worn(look, self.rig, rest)),
        )

    def head(self, actor: Actor, action: Action) -> tuple[Floats, dict[int, float]]:
        """The head of an actor in action, in its own axes, and the AU intensities that are true of it."""
        parting = rigs.weight(action.intensities.get(25, 0.0))
        posed = {au: level for au, level in action.intensities.items() if au != 25}
        weights = rigs.shape_weights(posed, action.asymmetry, parting)
        for shape, value in action.speech.items():
            weights[shape] = weights.get(shape, 0.0) + value
        for name, there in actor.resting.items():  # lids that hang by a fifth close by the other four
            for shape in (f"{name}_L", f"{name}_R"):
                if shape in weights:
                    weights[shape] *= 1 - max(there, 0.0)
        vertices = self.rig.moved(actor.rest, weights | _gaze(*action.gaze))
        gap = self.rig.lip_gap(vertices) - actor.gap_cm
        return vertices, speech.told(posed, action.speech) | {25: rigs.parted(gap)}

    def shoot(self, actor: Actor, view: View, action: Action, seed: int) -> Picture:
        """Take one picture."""
        head, intensities = self.head(actor, action)
        turn = rotation(view.yaw, view.pitch, view.roll)
        light = lighting(view, turn)
        with self._renderer.context:
            rendered = self._render(actor, head, intensities, self._camera(view, turn), light, view)
        rng = generator(seed, 6)
        return Picture(
            develop(rendered, view, actor.subject.look.melanin, rng),
            self._box(head, view, turn),
            self._points(head, view, turn),
            intensities,
        )

    def take(self, shot: Shot, seed: int) -> Picture:
        """Take a shot of the cast."""
        return self.shoot(self.actor(shot.subject, seed), shot.view, shot.action, shot.seed)

    def _render(
        self,
        actor: Actor,
        head: Floats,
        intensities: dict[int, float],
        camera: Camera,
        light: Lighting,
        view: View,
    ) -> Floats:
        drawn = self._renderer
        moved = head - actor.rest
        about = list(actor.worn)
        if view.occluder:
            at_random, look = generator(view.backdrop.seed, 8), actor.subject.look
            about += things.occluder(view.occluder, self.rig, actor.rest, at_random, look)
        normals = normals_of(head, self.rig.skin)
        normals[self._within] = normals_of(head, self._inner)[self._within]
        placed = [_follow(thing, moved) for thing in about]
        places, across, casters = _gathered(head, normals, self._casters, about, placed)
        lamps, sky = drawn.visibility(places, across, casters, light)
        sky[: len(head)] += self._bounced
        drawn.begin(camera, light)
        weights = wrinkles.weights(intensities, actor.subject.look.age)
        drawn.heights(actor.bump + np.tensordot(weights, actor.folds, axes=1))
        lit = joined([places, across, lamps, sky])
        for surface in actor.surfaces:
            drawn.surface(surface, lit)
        solid, clear = _solid_and_clear(about, len(head))
        for surface in solid:
            drawn.surface(surface, lit)
        for some in actor.hair:
            rooted = joined([moved[some.root], *(part[some.root] for part in (normals, lamps, sky))])
            drawn.strands(some.segments, some.per_strand, rooted, some.deep)
        for surface in clear:
            drawn.surface(surface, lit)
        return drawn.finish()

    def _surfaces(self, look: Look, painted: Any) -> tuple[Surface, ...]:  # noqa: ANN401 - Textures
        new = self._renderer.texture
        oil = look.gloss * (1 - 0.5 * look.melanin)
        skin = Finish(0.54 - 0.12 * oil, 0.028 + 0.010 * oil, (0.32, 0.16, 0.10))
        cloth, wet = Finish(0.75, 0.03, (0.05, 0.05, 0.05)), Finish(0.10, 0.03, (0.15, 0.12, 0.10))
        eye = new(painted.eye)
        parts = self.rig.parts

        def made(part: rigs.Part, finish: Finish, colours: Any, **more: Any) -> Surface:  # noqa: ANN401
            return Surface(part.vertices, part.uv, part.triangles, finish, colours, **more)

        return (
            made(parts["M_Face"], skin, new(painted.face), heights=True, gloss=new(painted.wet)),
            made(self._outside, cloth, new(painted.back)),
            made(self._bag, Finish(0.4, 0.03), np.array(_BAG)),
            made(parts["M_GumsTongue"], Finish(0.3, 0.04, (0.2, 0.1, 0.1)), np.array(_GUMS)),
            made(parts["M_Teeth"], Finish(0.22, 0.045, (0.1, 0.1, 0.1)), np.array(_TEETH)),
            made(parts["M_ScleraLeft"], wet, eye),
            made(parts["M_ScleraRight"], wet, eye),
        )

    def _camera(self, view: View, turn: Floats) -> Camera:
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
        return Camera(project @ place, eye, view.height / view.distance / self.frame)

    def _project(self, points: Floats, view: View, turn: Floats) -> Floats:
        at = (points - CENTRE) @ turn.T + np.array([view.shift[0], view.shift[1], 0], np.float32)
        focal = view.distance / view.height * self.frame
        depth = view.distance - at[:, 2]
        x, y = focal * at[:, 0] / depth, focal * at[:, 1] / depth
        return np.stack([self.frame / 2 + x, self.frame / 2 - y], -1).astype(np.float32)

    def _box(self, head: Floats, view: View, turn: Floats) -> Floats:
        points = self._project(head[self.rig.boxed], view, turn)
        return np.concatenate([points.min(0), points.max(0)])

    def _points(self, head: Floats, view: View, turn: Floats) -> Floats:
        marks = head[self.rig.landmarks]
        face = np.stack([marks[36:42].mean(0), marks[42:48].mean(0), marks[30], marks[48], marks[54]])
        return self._project(face, view, turn)


def _follow(thing: things.Thing, moved: Floats) -> Floats:
    """Where a thing is when the vertex that holds it has moved."""
    return thing.vertices + moved[thing.anchor] if thing.anchor >= 0 else thing.vertices


def _gathered(
    head: Floats,
    normals: Floats,
    casters: NDArray[np.int32],
    about: list[things.Thing],
    placed: list[Floats],
) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Head and things as one list of vertices, their normals, and the triangles that cast shadows."""
    triangles, first = [casters], len(head)
    for thing in about:
        if thing.opacity > 0.5:
            triangles.append(thing.triangles + first)
        first += len(thing.vertices)
    return (
        np.concatenate([head, *placed]).astype(np.float32),
        np.concatenate([normals, *(thing.normals for thing in about)]).astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
    )


def _solid_and_clear(about: list[things.Thing], first: int) -> tuple[list[Surface], list[Surface]]:
    """Things as surfaces, whose vertices follow the head's from ``first``: solid ones, and clear ones."""
    solid: list[Surface] = []
    clear: list[Surface] = []
    for thing in about:
        corners = np.arange(first, first + len(thing.vertices), dtype=np.int32)
        colour = np.asarray(thing.colour) * (1 - 0.8 * thing.metal)
        finish = Finish(thing.roughness, 0.04 + 0.6 * thing.metal, opacity=thing.opacity)
        surface = Surface(corners, None, thing.triangles, finish, colour)
        (solid if thing.opacity >= 1 else clear).append(surface)
        first += len(thing.vertices)
    return solid, clear


def _gaze(right: float, up: float) -> dict[str, float]:
    """Shape weights of a gaze to the viewer's right and up; left and right are the person's own."""
    turn = (
        {"eyeLookIn_R": right, "eyeLookOut_L": right}
        if right >= 0
        else {"eyeLookIn_L": -right, "eyeLookOut_R": -right}
    )
    return turn | ({"eyeLookUp": up} if up >= 0 else {"eyeLookDown": -up})
