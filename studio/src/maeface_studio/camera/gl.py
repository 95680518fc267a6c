"""Triangles and strands to pixels with OpenGL: on a GPU, or on a CPU through Mesa's llvmpipe.

What is drawn and how it is lit is decided elsewhere (scene, light); here are buffers, textures and passes.
V vertices of the head, R rays of light, F pixels a side of the picture.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maeface_studio.camera.context import context, moderngl
from maeface_studio.camera.light import Lighting
from maeface_studio.head.mesh import frame
from maeface_studio.head.rig import Floats, Ints

OVERSAMPLE = 2
"""Pixels drawn a side for each one of the picture."""

SHADOW_TEXELS = 192
SHADOW_COLUMNS = 6
SHADOW_RADIUS_CM = 17.0
SHADOW_BIAS = 0.008
"""Of the depth of a shadow map (twice the radius): about 0.27 cm, the soft edge of a contact."""

_RAYS = 32


@dataclass(frozen=True)
class Finish:
    """How a surface takes light."""

    roughness: float
    specular: float
    """Reflectance seen straight on."""
    bleed: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """How far light creeps round the terminator under the surface, per colour."""
    opacity: float = 1.0


@dataclass(frozen=True)
class Surface:
    """A mesh to draw: what stays the same over a subject's pictures."""

    corners: Ints
    """Vertex of the head for each corner of the mesh, (P,)."""
    uv: Floats | None
    """(P, 2)"""
    triangles: Ints
    """(T, 3), into ``corners``."""
    finish: Finish
    colours: Any
    """A texture, or (3,) linear RGB."""
    heights: bool = False
    gloss: Any = None


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from, in the head's axes."""

    view: Floats
    """(4, 4) head to clip space."""
    eye: Floats
    """(3,) cm"""
    pixel: float
    """What a pixel spans at unit distance, cm."""


class Renderer:
    """Draws heads into pictures of ``frame`` px a side.

    Raises:
        ResourceError: no OpenGL 3.3 is to be had.
    """

    def __init__(self, frame: int) -> None:
        self.frame = frame
        self.context = context()
        side = frame * OVERSAMPLE
        self._picture = self.context.framebuffer(
            [self.context.texture((side, side), 4, dtype="f2")], self.context.depth_renderbuffer((side, side))
        )
        across = SHADOW_TEXELS * SHADOW_COLUMNS
        down = SHADOW_TEXELS * -(-_RAYS // SHADOW_COLUMNS)
        self._depths = self.context.depth_texture((across, down))
        self._depths.compare_func = ""
        self._depths.filter = (moderngl().NEAREST, moderngl().NEAREST)
        self._shadow = self.context.framebuffer(depth_attachment=self._depths)
        self._depth = self._program("depth.vert", "depth.frag")
        self._visibility = self._program("visibility.vert", varyings=("lamps", "sky"))
        self._surface = self._program("surface.vert", "surface.frag")
        self._strand = self._program("strand.vert", "strand.frag")
        self._heights = self.context.texture((1, 1), 1, dtype="f4")
        corners = np.array([[0, -1], [0, 1], [1, -1], [1, 1]], np.float32)
        self._corners = self.context.buffer(corners.tobytes())

    def texture(self, image: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - moderngl's
        """A texture of (H, W, 3) or (H, W) uint8, row 0 at v = 0."""
        channels = 1 if image.ndim == 2 else image.shape[2]
        made = self.context.texture(image.shape[1::-1], channels, np.ascontiguousarray(image), alignment=1)
        return self._filtered(made)

    def heights(self, field: Floats) -> None:
        """The height field (H, W) in cm of the surfaces that have one, until the next."""
        if self._heights.size != field.shape[::-1]:
            self._heights.release()
            self._heights = self.context.texture(field.shape[::-1], 1, dtype="f4")
        self._heights.write(np.ascontiguousarray(field, np.float32))
        self._filtered(self._heights)

    def visibility(
        self, places: Floats, normals: Floats, casters: Ints, lighting: Lighting
    ) -> tuple[Floats, Floats]:
        """What of the light reaches each vertex past the triangles ``casters`` (T, 3).

        Returns:
            (V, 3) the share of each lamp, 0..1; (V, 3) the irradiance from all sides, linear RGB.
        """
        gl, rays = self.context, lighting.rays
        towards = _towards(rays.direction)
        vertices = gl.buffer(np.ascontiguousarray(places, np.float32))
        index = gl.buffer(np.ascontiguousarray(casters, np.int32))
        array = gl.vertex_array(self._depth, [(vertices, "3f", "place")], index)
        self._shadow.use()
        self._shadow.viewport = (0, 0, *self._depths.size)
        self._shadow.clear(depth=1.0)
        gl.enable_only(moderngl().DEPTH_TEST | moderngl().CULL_FACE)  # what faces the light hides the rest
        gl.cull_face = "back"
        for i, matrix in enumerate(towards):
            row, column = divmod(i, SHADOW_COLUMNS)
            self._shadow.viewport = (
                column * SHADOW_TEXELS,
                row * SHADOW_TEXELS,
                SHADOW_TEXELS,
                SHADOW_TEXELS,
            )
            self._depth["ray"].write(_columns(matrix))
            array.render()
        program = self._visibility
        self._depths.use(0)
        _set(program, depths=0, rays=len(rays.direction), columns=SHADOW_COLUMNS, tile=SHADOW_TEXELS)
        _set(program, bias=SHADOW_BIAS)
        program["towards"].write(_padded(np.swapaxes(towards, 1, 2)))
        program["direction"].write(_padded(rays.direction))
        program["light"].write(_padded(rays.light))
        program["share"].write(_padded(rays.share))
        both = gl.buffer(np.ascontiguousarray(np.concatenate([places, normals], 1), np.float32))
        out = gl.buffer(reserve=len(places) * 24)
        reached = gl.vertex_array(program, [(both, "3f 3f", "place", "normal")])
        reached.transform(out, vertices=len(places))
        values = np.frombuffer(out.read(), np.float32).reshape(-1, 6)
        for used in (array, reached, vertices, index, both, out):
            used.release()
        return values[:, :3].copy(), values[:, 3:].copy()

    def begin(self, camera: Camera, lighting: Lighting) -> None:
        """Start a picture: nothing drawn, this camera, these lamps."""
        self._picture.use()
        self._picture.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        lamps = lighting.lamps
        for program in (self._surface, self._strand):
            program["view"].write(_columns(camera.view))
            program["eye"].write(np.asarray(camera.eye, np.float32))
            program["lamp_count"] = len(lamps.direction)
            program["lamp"].write(_padded(lamps.direction, 3))
            program["glow"].write(_padded(lamps.glow, 3))
        self._surface["spread"].write(_padded(lamps.spread, 3))
        self._strand["pixel"] = camera.pixel / OVERSAMPLE

    def surface(self, surface: Surface, vertices: Floats) -> None:
        """Draw a mesh.

        Args:
            surface: the mesh and its finish.
            vertices: (V, 12) of the head: place, normal, share of the lamps, light from all sides.
        """
        gl, program, finish = self.context, self._surface, surface.finish
        corners = len(surface.corners)
        uv = surface.uv if surface.uv is not None else np.zeros((corners, 2), np.float32)
        data = np.concatenate([vertices[surface.corners], uv], 1, dtype=np.float32)
        buffer = gl.buffer(np.ascontiguousarray(data))
        index = gl.buffer(np.ascontiguousarray(surface.triangles, np.int32))
        names = ("place", "normal", "lamps", "sky", "uv")
        array = gl.vertex_array(program, [(buffer, "3f 3f 3f 3f 2f", *names)], index)
        plain = isinstance(surface.colours, np.ndarray)
        for unit, (name, texture) in enumerate(
            (
                ("colours", None if plain else surface.colours),
                ("heights", self._heights),
                ("gloss", surface.gloss),
            )
        ):
            program[name] = unit
            if texture is not None:
                texture.use(unit)
        program["tint"] = tuple(map(float, surface.colours)) if plain else (1.0, 1.0, 1.0)
        _set(program, painted=float(not plain), bumpy=float(surface.heights))
        _set(program, glossy=float(surface.gloss is not None))
        _set(program, roughness=finish.roughness, specular=finish.specular, opacity=finish.opacity)
        program["bleed"] = finish.bleed
        flags = moderngl().DEPTH_TEST | (moderngl().BLEND if finish.opacity < 1 else 0)
        gl.enable_only(flags)
        gl.blend_func = moderngl().ONE, moderngl().ONE_MINUS_SRC_ALPHA
        self._picture.depth_mask = finish.opacity >= 1
        array.render()
        self._picture.depth_mask = True
        for used in (array, buffer, index):
            used.release()

    def segments(self, points: Floats, radius: Floats, colour: Floats) -> Any:  # noqa: ANN401 - moderngl's
        """Strands (N, P, 3) with radius (N,) cm and linear colour (N, 3) as a buffer to draw often."""
        count, length = points.shape[:2]
        share = np.linspace(0, 1, length, dtype=np.float32)
        taper = radius[:, None] * (1 - 0.8 * share)
        rows = np.empty((count, length - 1, 12), np.float32)
        rows[..., :3], rows[..., 3:6] = points[:, :-1], points[:, 1:]
        rows[..., 6], rows[..., 7] = taper[:, :-1], taper[:, 1:]
        rows[..., 8:11] = colour[:, None]
        rows[..., 11] = share[1:]
        return self.context.buffer(rows)

    def strands(self, segments: Any, per_strand: int, rooted: Floats, deep: float) -> None:  # noqa: ANN401
        """Draw strands.

        Args:
            segments: as ``segments`` made them.
            per_strand: segments a strand.
            rooted: (N, 12) at each root: how far it has moved, normal, lamps, light from all sides.
            deep: how much darker a strand is at its root, 0..1.
        """
        gl, program = self.context, self._strand
        data = gl.buffer(np.repeat(np.asarray(rooted, np.float32), per_strand, axis=0))
        program["deep"] = deep
        array = gl.vertex_array(
            program,
            [
                (self._corners, "2f", "corner"),
                (segments, "3f 3f 2f 3f 1f/i", "start", "end", "radii", "dye", "along"),
                (data, "3f 3f 3f 3f/i", "moved", "normal", "lamps", "sky"),
            ],
        )
        gl.enable_only(moderngl().DEPTH_TEST)
        array.render(moderngl().TRIANGLE_STRIP, vertices=4, instances=len(rooted) * per_strand)
        array.release()
        data.release()

    def finish(self) -> Floats:
        """The picture, (F, F, 4) linear RGB with alpha, premultiplied."""
        drawn = self._picture.color_attachments[0]
        drawn.build_mipmaps(max_level=1)  # a box of OVERSAMPLE x OVERSAMPLE pixels
        raw = np.frombuffer(drawn.read(level=1), np.float16)
        pixels = raw.reshape(self.frame, self.frame, 4).astype(np.float32)
        return np.ascontiguousarray(pixels[::-1])

    def _filtered(self, texture: Any) -> Any:  # noqa: ANN401
        texture.build_mipmaps()
        texture.filter = (moderngl().LINEAR_MIPMAP_LINEAR, moderngl().LINEAR)
        texture.repeat_x = texture.repeat_y = False
        return texture

    def _program(self, vertex: str, fragment: str | None = None, varyings: Iterable[str] = ()) -> Any:  # noqa: ANN401
        folder = resources.files("maeface_studio.camera") / "shaders"
        sources = [(folder / name).read_text(encoding="utf-8") for name in (vertex, fragment) if name]
        options: dict[str, Any] = {"varyings": tuple(varyings)} if fragment is None else {}
        return self.context.program(*sources, **options)


def _towards(directions: Floats) -> Floats:
    """Head to the square seen along each ray, (R, 4, 4); depth grows away from the light."""
    matrices = np.zeros((len(directions), 4, 4), np.float32)
    for matrix, forward in zip(matrices, directions, strict=True):
        basis = np.stack([*frame(forward), -forward]) / SHADOW_RADIUS_CM
        matrix[:3, :3] = basis
        matrix[:3, 3] = -basis @ _MIDDLE
        matrix[3, 3] = 1
    return matrices


_MIDDLE = np.array([0.0, -0.5, 1.5], np.float32)


def _columns(matrix: Floats) -> bytes:
    return np.ascontiguousarray(matrix.T, np.float32).tobytes()


def _padded(rows: Floats, count: int = _RAYS) -> bytes:
    full = np.zeros((count, *rows.shape[1:]), np.float32)
    full[: len(rows)] = rows
    return full.tobytes()


def _set(program: Any, **values: float) -> None:  # noqa: ANN401
    for name, value in values.items():
        program[name] = value


def joined(parts: Sequence[Floats]) -> Floats:
    """Columns side by side as float32."""
    return np.concatenate(parts, axis=1, dtype=np.float32)
