"""Drawing of triangles and hair strands with OpenGL, on a GPU or on a CPU (Mesa's llvmpipe).

Buffers, textures and drawing passes; ``scene`` says what is drawn, and ``light`` how it is lit.
Legend: V vertices of the head, R rays of light, F pixels of a side of the picture.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from maeface_studio.camera.light import Lighting
from maeface_studio.camera.opengl import create_context
from maeface_studio.head.mesh import Floats, Ints, perpendicular_axes

OVERSAMPLE = 2
"""Pixels are drawn at this multiple of the side of the picture, and averaged."""

SHADOW_TEXELS = 192
SHADOW_COLUMNS = 6
SHADOW_RADIUS_CM = 17.0
SHADOW_BIAS = 0.008
"""Fraction of the depth of a shadow map (twice the radius): 0.27 cm, over which shadows begin softly."""

_RAYS = 32


@dataclass(frozen=True)
class Finish:
    """How a surface reflects light.

    Attributes:
        roughness: of the surface, 0..1.
        specular: reflectance at normal incidence.
        bleed: how far light spreads under the surface into the shaded side, per colour.
        opacity: 0..1.
    """

    roughness: float
    specular: float
    bleed: tuple[float, float, float] = (0.0, 0.0, 0.0)
    opacity: float = 1.0


@dataclass(frozen=True)
class Surface:
    """A mesh to draw, without the positions of its vertices, which differ from picture to picture.

    Attributes:
        corners: (P,) vertex of the head for each corner of the mesh.
        uv: (P, 2) texture coordinates, or None.
        triangles: (T, 3) indices into ``corners``.
        finish: how it reflects light.
        colours: a texture, or (3,) linear RGB.
        heights: whether the height field of the subject is applied.
        gloss: a texture, or None.
    """

    corners: Ints
    uv: Floats | None
    triangles: Ints
    finish: Finish
    colours: Any
    heights: bool = False
    gloss: Any = None


@dataclass(frozen=True)
class Camera:
    """The position and projection of the camera, in the axes of the head.

    Attributes:
        view: (4, 4) from the head to clip space.
        eye: (3,) position of the camera in cm.
        pixel: width of a pixel in cm at unit distance.
    """

    view: Floats
    eye: Floats
    pixel: float


class Renderer:
    """A renderer of heads in pictures of ``frame`` px a side.

    Raises:
        ResourceError: no OpenGL 3.3 on this machine.
    """

    def __init__(self, frame: int) -> None:
        self.frame = frame
        self.context = create_context()
        side = frame * OVERSAMPLE
        self._picture = self.context.framebuffer(
            [self.context.texture((side, side), 4, dtype="f2")], self.context.depth_renderbuffer((side, side))
        )
        across = SHADOW_TEXELS * SHADOW_COLUMNS
        down = SHADOW_TEXELS * -(-_RAYS // SHADOW_COLUMNS)
        self._depths = self.context.depth_texture((across, down))
        self._depths.compare_func = ""
        self._depths.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self._shadow = self.context.framebuffer(depth_attachment=self._depths)
        self._depth = self._program("depth.vert", "depth.frag")
        self._visibility = self._program("visibility.vert", varyings=("lamps", "sky"))
        self._surface = self._program("surface.vert", "surface.frag")
        self._strand = self._program("strand.vert", "strand.frag")
        self._heights = self.context.texture((1, 1), 1, dtype="f4")
        corners = np.array([[0, -1], [0, 1], [1, -1], [1, 1]], np.float32)
        self._corners = self.context.buffer(corners.tobytes())

    def texture(self, image: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - moderngl has no types
        """Return a texture of an image, (H, W, 3) or (H, W) uint8, with row 0 at v = 0."""
        channels = 1 if image.ndim == 2 else image.shape[2]
        data = np.ascontiguousarray(image)
        return self._set_filter(self.context.texture(image.shape[1::-1], channels, data, alignment=1))

    def set_heights(self, field: Floats) -> None:
        """Set the height field, (H, W) in cm, of the surfaces that have one."""
        if self._heights.size != field.shape[::-1]:
            self._heights.release()
            self._heights = self.context.texture(field.shape[::-1], 1, dtype="f4")
        self._heights.write(np.ascontiguousarray(field, np.float32))
        self._set_filter(self._heights)

    def compute_visibility(
        self, positions: Floats, normals: Floats, casters: Ints, lighting: Lighting
    ) -> tuple[Floats, Floats]:
        """Compute the light that reaches each vertex and is not blocked by a triangle.

        Args:
            positions: (V, 3) cm.
            normals: (V, 3).
            casters: (T, 3) triangles that cast shadows.
            lighting: lamps and rays.

        Returns:
            (V, 3) fraction of the light of each lamp, 0..1; (V, 3) irradiance from all sides, linear RGB.
        """
        gl, rays = self.context, lighting.rays
        projections = _ray_projections(rays.direction)
        vertices = gl.buffer(np.ascontiguousarray(positions, np.float32))
        index = gl.buffer(np.ascontiguousarray(casters, np.int32))
        array = gl.vertex_array(self._depth, [(vertices, "3f", "position")], index)
        self._shadow.use()
        self._shadow.viewport = (0, 0, *self._depths.size)
        self._shadow.clear(depth=1.0)
        gl.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)  # front faces cast the shadows
        gl.cull_face = "back"
        for i, matrix in enumerate(projections):
            row, column = divmod(i, SHADOW_COLUMNS)
            self._shadow.viewport = (
                column * SHADOW_TEXELS,
                row * SHADOW_TEXELS,
                SHADOW_TEXELS,
                SHADOW_TEXELS,
            )
            self._depth["ray"].write(_to_column_major(matrix))
            array.render()
        program = self._visibility
        self._depths.use(0)
        _set_uniforms(program, depths=0, rays=len(rays.direction), columns=SHADOW_COLUMNS, tile=SHADOW_TEXELS)
        _set_uniforms(program, bias=SHADOW_BIAS)
        program["projection"].write(_pad(np.swapaxes(projections, 1, 2)))
        program["direction"].write(_pad(rays.direction))
        program["light"].write(_pad(rays.light))
        program["weight"].write(_pad(rays.weight))
        interleaved = gl.buffer(np.ascontiguousarray(np.concatenate([positions, normals], 1), np.float32))
        out = gl.buffer(reserve=len(positions) * 24)
        reached = gl.vertex_array(program, [(interleaved, "3f 3f", "position", "normal")])
        reached.transform(out, vertices=len(positions))
        values = np.frombuffer(out.read(), np.float32).reshape(-1, 6)
        for item in (array, reached, vertices, index, interleaved, out):
            item.release()
        return values[:, :3].copy(), values[:, 3:].copy()

    def begin(self, camera: Camera, lighting: Lighting) -> None:
        """Start an empty picture with a camera and lamps."""
        self._picture.use()
        self._picture.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        lamps = lighting.lamps
        for program in (self._surface, self._strand):
            program["view"].write(_to_column_major(camera.view))
            program["eye"].write(np.asarray(camera.eye, np.float32))
            program["lamp_count"] = len(lamps.direction)
            program["lamp"].write(_pad(lamps.direction, 3))
            program["irradiance"].write(_pad(lamps.irradiance, 3))
        self._surface["spread"].write(_pad(lamps.spread, 3))
        self._strand["pixel"] = camera.pixel / OVERSAMPLE

    def draw_surface(self, surface: Surface, vertices: Floats) -> None:
        """Draw a mesh.

        Args:
            surface: the mesh and its finish.
            vertices: (V, 12) of the head: position, normal, fraction of the lamps, light from all sides.
        """
        gl, program, finish = self.context, self._surface, surface.finish
        corners = len(surface.corners)
        uv = surface.uv if surface.uv is not None else np.zeros((corners, 2), np.float32)
        data = np.concatenate([vertices[surface.corners], uv], 1, dtype=np.float32)
        buffer = gl.buffer(np.ascontiguousarray(data))
        index = gl.buffer(np.ascontiguousarray(surface.triangles, np.int32))
        names = ("position", "normal", "lamps", "sky", "uv")
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
        _set_uniforms(program, painted=float(not plain), bumpy=float(surface.heights))
        _set_uniforms(program, glossy=float(surface.gloss is not None))
        _set_uniforms(program, roughness=finish.roughness, specular=finish.specular, opacity=finish.opacity)
        program["bleed"] = finish.bleed
        gl.enable_only(moderngl.DEPTH_TEST | (moderngl.BLEND if finish.opacity < 1 else 0))
        gl.blend_func = moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA
        self._picture.depth_mask = finish.opacity >= 1
        array.render()
        self._picture.depth_mask = True
        for item in (array, buffer, index):
            item.release()

    def strand_buffer(self, points: Floats, radius: Floats, colour: Floats) -> Any:  # noqa: ANN401 - moderngl has no types
        """Return strands (N, P, 3) with radius (N,) cm and linear colour (N, 3) as a buffer to draw."""
        count, length = points.shape[:2]
        along = np.linspace(0, 1, length, dtype=np.float32)  # 0 root, 1 tip
        taper = radius[:, None] * (1 - 0.8 * along)
        rows = np.empty((count, length - 1, 12), np.float32)
        rows[..., :3], rows[..., 3:6] = points[:, :-1], points[:, 1:]
        rows[..., 6], rows[..., 7] = taper[:, :-1], taper[:, 1:]
        rows[..., 8:11] = colour[:, None]
        rows[..., 11] = along[1:]
        return self.context.buffer(rows)

    def draw_strands(self, segments: Any, per_strand: int, roots: Floats, root_shade: float) -> None:  # noqa: ANN401
        """Draw strands.

        Args:
            segments: from ``strand_buffer``.
            per_strand: segments of a strand.
            roots: (N, 12) at each root: movement, normal, fraction of the lamps, light from all sides.
            root_shade: how much darker a strand is at its root, 0..1.
        """
        gl, program = self.context, self._strand
        data = gl.buffer(np.repeat(np.asarray(roots, np.float32), per_strand, axis=0))
        program["root_shade"] = root_shade
        array = gl.vertex_array(
            program,
            [
                (self._corners, "2f", "corner"),
                (segments, "3f 3f 2f 3f 1f/i", "start", "end", "radii", "dye", "along"),
                (data, "3f 3f 3f 3f/i", "moved", "normal", "lamps", "sky"),
            ],
        )
        gl.enable_only(moderngl.DEPTH_TEST)
        array.render(moderngl.TRIANGLE_STRIP, vertices=4, instances=len(roots) * per_strand)
        array.release()
        data.release()

    def read_picture(self) -> Floats:
        """Return the picture, (F, F, 4) linear RGB with alpha, premultiplied."""
        texture = self._picture.color_attachments[0]
        texture.build_mipmaps(max_level=1)  # averages OVERSAMPLE x OVERSAMPLE pixels
        raw = np.frombuffer(texture.read(level=1), np.float16)
        pixels = raw.reshape(self.frame, self.frame, 4).astype(np.float32)
        return np.ascontiguousarray(pixels[::-1])

    def _set_filter(self, texture: Any) -> Any:  # noqa: ANN401
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        texture.repeat_x = texture.repeat_y = False
        return texture

    def _program(self, vertex: str, fragment: str | None = None, varyings: Iterable[str] = ()) -> Any:  # noqa: ANN401
        folder = resources.files("maeface_studio.camera") / "shaders"
        sources = [(folder / name).read_text(encoding="utf-8") for name in (vertex, fragment) if name]
        options: dict[str, Any] = {"varyings": tuple(varyings)} if fragment is None else {}
        return self.context.program(*sources, **options)


def _ray_projections(directions: Floats) -> Floats:
    """Return the orthographic projection along each ray, (R, 4, 4); depth grows away from the light."""
    matrices = np.zeros((len(directions), 4, 4), np.float32)
    for matrix, forward in zip(matrices, directions, strict=True):
        basis = np.stack([*perpendicular_axes(forward), -forward]) / SHADOW_RADIUS_CM
        matrix[:3, :3] = basis
        matrix[:3, 3] = -basis @ _CENTRE
        matrix[3, 3] = 1
    return matrices


_CENTRE = np.array([0.0, -0.5, 1.5], np.float32)


def _to_column_major(matrix: Floats) -> bytes:
    return np.ascontiguousarray(matrix.T, np.float32).tobytes()


def _pad(rows: Floats, count: int = _RAYS) -> bytes:
    """Return rows as bytes, filled up with zeros to the length of the uniform array."""
    full = np.zeros((count, *rows.shape[1:]), np.float32)
    full[: len(rows)] = rows
    return full.tobytes()


def _set_uniforms(program: Any, **values: float) -> None:  # noqa: ANN401
    for name, value in values.items():
        program[name] = value


def join_columns(parts: Sequence[Floats]) -> Floats:
    """Return columns side by side as float32."""
    return np.concatenate(parts, axis=1, dtype=np.float32)
