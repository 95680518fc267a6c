"""Rendering of a subject: the posed head, its light, the picture, and the face's true box and points."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maeface_studio.camera.light import Lighting, light_head
from maeface_studio.camera.projection import face_box, face_points, make_camera, project_points
from maeface_studio.camera.renderer import Camera, Finish, Renderer, Surface, join_columns
from maeface_studio.camera.sensor import develop
from maeface_studio.cast import speech
from maeface_studio.cast.actions import Action, PlannedImage
from maeface_studio.cast.appearance import Appearance
from maeface_studio.cast.random_draws import keyed_generator
from maeface_studio.cast.subjects import Subject
from maeface_studio.cast.views import View
from maeface_studio.hair.growth import grow_hair
from maeface_studio.head import rig as rigs
from maeface_studio.head.blending import MIDLINE_CM, SecondShapes, blend
from maeface_studio.head.mesh import (
    Floats,
    MeshPart,
    join_triangles,
    rotation_matrix,
    split_part,
    vertex_normals,
)
from maeface_studio.head.rig import Rig
from maeface_studio.skin import wrinkles
from maeface_studio.skin.texel_maps import TexelMaps, build_texel_maps
from maeface_studio.skin.textures import Textures, paint_textures
from maeface_studio.worn.meshes import MaterialMesh
from maeface_studio.worn.occluders import make_occluder
from maeface_studio.worn.outfit import make_outfit

_GUMS, _TEETH, _BAG = (0.42, 0.10, 0.09), (0.62, 0.56, 0.45), (0.16, 0.025, 0.023)
_INNER = ("M_GumsTongue", "M_Teeth", "M_ScleraLeft", "M_ScleraRight")
"""Parts of the rig that are not skin."""
_BOUNCED = {"M_GumsTongue": 0.07, "M_Teeth": 0.13}
"""Light that the walls of the mouth reflect to its inside, which would be black with shadows alone."""
_ROOT_SHADE = {"scalp": 0.6, "brows": 0.15, "lashes": 0.0, "beard": 0.45}


@dataclass(frozen=True)
class Picture:
    """A rendered frame with its ground truth.

    Attributes:
        pixels: (F, F, 3) RGB.
        box: (4,) x1 y1 x2 y2 in px: from ear to ear and from hairline to chin.
        points: (5, 2) px: left eye, right eye, nose, left and right corner of the mouth, as in the picture.
        intensities: AU -> intensity 0..5 of the stronger side (AU25 is measured between the lips).
    """

    pixels: NDArray[np.uint8]
    box: Floats
    points: Floats
    intensities: dict[int, float]


class _Strands(NamedTuple):
    segments: Any
    per_strand: int
    root: NDArray[np.int32]
    root_shade: float


@dataclass(frozen=True)
class Actor:
    """A subject with everything that is the same in all its pictures.

    Attributes:
        subject: who it is.
        rig: with the subject's own shapes.
        resting: shape weights of the face at rest.
        rest: (V, 3) the head at rest, in cm.
        gap_cm: distance between the lips at rest.
        surfaces: the meshes of the head.
        bump: (F, F) height field of the skin in cm.
        folds: (K, F, F) height fields of wrinkles in cm, see ``wrinkles``.
        hair: strands by the part of the head where they grow.
        worn: glasses, hat and clothes.
    """

    subject: Subject
    rig: Rig
    resting: dict[str, float]
    rest: Floats
    gap_cm: float
    surfaces: tuple[Surface, ...]
    bump: Floats
    folds: Floats
    hair: tuple[_Strands, ...]
    worn: tuple[MaterialMesh, ...]

    def release(self) -> None:
        """Free the buffers and textures; their OpenGL context must be the current one."""
        for surface in self.surfaces:
            for texture in (surface.colours, surface.gloss):
                if texture is not None and not isinstance(texture, np.ndarray):
                    texture.release()
        for strands in self.hair:
            strands.segments.release()


class Studio:
    """A renderer of subjects with one rig.

    Args:
        rig: the head.
        frame: side of the picture in px.
        second: shapes to blend with the rig's, in another way for each subject; None for the rig's alone.
        resting: how far people differ at rest, see ``rig.draw_resting_shapes``.

    Raises:
        ResourceError: no OpenGL 3.3 on this machine.
    """

    def __init__(
        self, rig: Rig, frame: int, second: SecondShapes | None = None, resting: float = 1.0
    ) -> None:
        self.rig, self.frame, self.second, self.resting = rig, frame, second, resting
        self._texels: TexelMaps = build_texel_maps(rig)
        self._left = np.clip(0.5 + self._texels.face[..., 0] / (2 * MIDLINE_CM), 0, 1).astype(np.float32)
        self._renderer = Renderer(frame)
        self._actors: dict[tuple[Subject, int], Actor] = {}
        self._bag, self._outside = split_part(rig.parts["M_BackHead"], self._texels.mouth_lining)
        self._casters = join_triangles(rig.parts["M_Face"], self._outside)
        inner = [rig.parts[name] for name in _INNER]
        self._inner = join_triangles(*inner)
        self._within = np.setdiff1d(self._inner, rig.skin)
        self._bounced = np.zeros((len(rig.neutral), 1), np.float32)
        for name, fraction in _BOUNCED.items():
            inside = rig.parts[name].vertices
            front = np.clip((rig.neutral[inside, 2] - 7.0) / 3.0, 0.1, 1.0)
            self._bounced[inside, 0] = fraction * front

    def actor(self, subject: Subject, seed: int) -> Actor:
        """Return a subject ready to be rendered; only the last two that were returned can be."""
        key = (subject, seed)
        if key not in self._actors:
            with self._renderer.context:  # another studio in this process may have another context
                if len(self._actors) == 2:
                    self._actors.pop(next(iter(self._actors))).release()
                self._actors[key] = self._prepare_actor(subject, seed)
        return self._actors[key]

    def _prepare_actor(self, subject: Subject, seed: int) -> Actor:
        rng = keyed_generator(seed, 5, subject.number)
        appearance = subject.appearance
        resting = rigs.draw_resting_shapes(keyed_generator(seed, 9, subject.number), self.resting)
        own, head = self.rig, self.rig.pose(subject.identity, {})
        if self.second is not None:
            own, head = blend(
                self.rig, self.second, subject.identity, keyed_generator(seed, 11, subject.number)
            )
        rest = own.deform(head, resting)
        painted = paint_textures(appearance, self._texels, rng)
        grown = grow_hair(appearance, self._texels, self.rig, rest, vertex_normals(rest, self.rig.skin), rng)
        strands = tuple(
            _Strands(
                self._renderer.strand_buffer(style.points, style.radius, style.colour),
                style.points.shape[1] - 1,
                style.root,
                _ROOT_SHADE[name],
            )
            for name, style in grown.items()
            if len(style.root)
        )
        return Actor(
            subject,
            own,
            resting,
            rest,
            self.rig.lip_gap(rest),
            self._head_surfaces(appearance, painted),
            painted.relief,
            wrinkles.draw_personal_folds(self._texels, keyed_generator(seed, 10, subject.number)),
            strands,
            tuple(make_outfit(appearance, self.rig, rest)),
        )

    def pose_head(self, actor: Actor, action: Action) -> tuple[Floats, dict[int, float]]:
        """Return the head in an action, (V, 3) cm in its own axes, and the AU intensities that it shows."""
        parting = rigs.intensity_to_weight(25, action.intensities.get(25, 0.0))
        posed = {au: level for au, level in action.intensities.items() if au != 25}
        weights = rigs.shape_weights(posed, action.asymmetry, parting)
        for shape, value in action.speech.items():
            weights[shape] = weights.get(shape, 0.0) + value
        for name, offset in actor.resting.items():  # lids that are partly closed at rest close less
            for shape in (f"{name}_L", f"{name}_R"):
                if shape in weights:
                    weights[shape] *= 1 - max(offset, 0.0)
        vertices = actor.rig.deform(actor.rest, weights | _gaze_weights(*action.gaze))
        gap = self.rig.lip_gap(vertices) - actor.gap_cm
        spoken = speech.add_spoken_intensities(posed, action.speech)
        return vertices, spoken | {25: rigs.lip_gap_to_intensity(gap)}

    def render(self, actor: Actor, view: View, action: Action, seed: int) -> Picture:
        """Render one picture; ``seed`` draws the noise of the camera."""
        head, intensities = self.pose_head(actor, action)
        turn = rotation_matrix(view.yaw, view.pitch, view.roll)
        light, age = light_head(view, turn), actor.subject.appearance.age
        folds = wrinkles.sum_folds(actor.folds, intensities, action.asymmetry, age, self._left)
        with self._renderer.context:
            camera = make_camera(view, turn, self.frame)
            rendered = self._draw(actor, head, actor.bump + folds, camera, light, view)
        project = partial(project_points, view=view, turn=turn, frame=self.frame)
        return Picture(
            develop(rendered, view, actor.subject.appearance.melanin, keyed_generator(seed, 6)),
            face_box(head, self.rig, project),
            face_points(head, self.rig, project),
            intensities,
        )

    def render_shot(self, shot: PlannedImage, seed: int) -> Picture:
        """Render a shot of the cast."""
        return self.render(self.actor(shot.subject, seed), shot.view, shot.action, shot.seed)

    def _draw(
        self,
        actor: Actor,
        head: Floats,
        heights: Floats,
        camera: Camera,
        light: Lighting,
        view: View,
    ) -> Floats:
        renderer = self._renderer
        moved = head - actor.rest
        about = list(actor.worn)
        if view.occluder:
            at_random, appearance = keyed_generator(view.backdrop.seed, 8), actor.subject.appearance
            about += make_occluder(view.occluder, self.rig, actor.rest, at_random, appearance)
        head_normals = vertex_normals(head, self.rig.skin)
        head_normals[self._within] = vertex_normals(head, self._inner)[self._within]
        placed = [_move_with_head(thing, moved) for thing in about]
        positions, normals, casters = _join_meshes(head, head_normals, self._casters, about, placed)
        lamps, sky = renderer.compute_visibility(positions, normals, casters, light)
        sky[: len(head)] += self._bounced
        renderer.begin(camera, light)
        renderer.set_heights(heights)
        vertices = join_columns([positions, normals, lamps, sky])
        for surface in actor.surfaces:
            renderer.draw_surface(surface, vertices)
        opaque, transparent = _object_surfaces(about, len(head))
        for surface in opaque:
            renderer.draw_surface(surface, vertices)
        for strands in actor.hair:
            at_roots = [values[strands.root] for values in (moved, head_normals, lamps, sky)]
            roots = join_columns(at_roots)
            renderer.draw_strands(strands.segments, strands.per_strand, roots, strands.root_shade)
        for surface in transparent:
            renderer.draw_surface(surface, vertices)
        return renderer.read_picture()

    def _head_surfaces(self, appearance: Appearance, painted: Textures) -> tuple[Surface, ...]:
        texture = self._renderer.texture
        oil = appearance.gloss * (1 - 0.5 * appearance.melanin)
        skin = Finish(0.54 - 0.12 * oil, 0.028 + 0.010 * oil, (0.32, 0.16, 0.10))
        cloth, eye_finish = Finish(0.75, 0.03, (0.05, 0.05, 0.05)), Finish(0.10, 0.03, (0.15, 0.12, 0.10))
        eye = texture(painted.eye)
        parts = self.rig.parts

        def surface(part: MeshPart, finish: Finish, colours: Any, **more: Any) -> Surface:  # noqa: ANN401
            return Surface(part.vertices, part.uv, part.triangles, finish, colours, **more)

        return (
            surface(parts["M_Face"], skin, texture(painted.face), heights=True, gloss=texture(painted.gloss)),
            surface(self._outside, cloth, texture(painted.back)),
            surface(self._bag, Finish(0.4, 0.03), np.array(_BAG)),
            surface(parts["M_GumsTongue"], Finish(0.3, 0.04, (0.2, 0.1, 0.1)), np.array(_GUMS)),
            surface(parts["M_Teeth"], Finish(0.22, 0.045, (0.1, 0.1, 0.1)), np.array(_TEETH)),
            surface(parts["M_ScleraLeft"], eye_finish, eye),
            surface(parts["M_ScleraRight"], eye_finish, eye),
        )


def _move_with_head(thing: MaterialMesh, moved: Floats) -> Floats:
    """Return the vertices of an object, moved with the vertex of the head that carries it."""
    return thing.vertices + moved[thing.anchor] if thing.anchor >= 0 else thing.vertices


def _join_meshes(
    head: Floats,
    normals: Floats,
    casters: NDArray[np.int32],
    about: list[MaterialMesh],
    placed: list[Floats],
) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Return the vertices and normals of head and objects, and the triangles that cast shadows."""
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


def _object_surfaces(about: list[MaterialMesh], first: int) -> tuple[list[Surface], list[Surface]]:
    """Return objects as surfaces, opaque and transparent ones; their vertices begin at ``first``."""
    opaque: list[Surface] = []
    transparent: list[Surface] = []
    for thing in about:
        corners = np.arange(first, first + len(thing.vertices), dtype=np.int32)
        colour = np.asarray(thing.colour) * (1 - 0.8 * thing.metal)
        finish = Finish(thing.roughness, 0.04 + 0.6 * thing.metal, opacity=thing.opacity)
        surface = Surface(corners, None, thing.triangles, finish, colour)
        (opaque if thing.opacity >= 1 else transparent).append(surface)
        first += len(thing.vertices)
    return opaque, transparent


def _gaze_weights(right: float, up: float) -> dict[str, float]:
    """Return the shape weights of a gaze to the viewer's right and up; shapes name the person's sides."""
    turn = (
        {"eyeLookIn_R": right, "eyeLookOut_L": right}
        if right >= 0
        else {"eyeLookIn_L": -right, "eyeLookOut_R": -right}
    )
    return turn | ({"eyeLookUp": up} if up >= 0 else {"eyeLookDown": -up})
