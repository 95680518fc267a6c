"""A 3D head with FACS-like shapes: action unit intensities in, vertices, landmarks and true labels out.

The rig is ICT-FaceKit (MIT), packed as one ``.npz``: a neutral head, 57 expression shapes, 50 identity
modes. Coordinates are centimetres, x to the viewer's right, y up, z towards the viewer.

Shape letters: V vertices of the head, A action units, T triangles.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maeface.errors import DataError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int32]

AU_SHAPES: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.4},
    2: {"browOuterUp": 1.15},
    4: {"browDown": 1.3},
    5: {"eyeWide": 1.0},
    6: {"cheekSquint": 0.9, "cheekRaiser": 0.9},
    7: {"eyeSquint": 1.3},
    9: {"noseSneer": 1.1, "browDown": 0.25, "mouthUpperUp": -0.35},
    10: {"mouthUpperUp": 0.9},
    12: {"mouthSmile": 0.9},
    14: {"mouthDimple": 1.0},
    15: {"mouthFrown": 1.0},
    17: {"mouthShrugLower": 1.0},
    18: {"mouthPucker": 0.8},
    20: {"mouthStretch": 1.0},
    23: {"mouthPress": 0.3, "mouthRollLower": 0.4, "mouthRollUpper": 0.4},
    24: {"mouthPress": 1.0},
    26: {"jawOpen": 0.5},
    28: {"mouthRollLower": 1.0, "mouthRollUpper": 1.0},
    43: {"eyeBlink": 1.0},
}
"""What each AU does at its greatest intensity. A name without ``_L``/``_R`` stands for both sides."""

PARTED_SHAPES: dict[str, float] = {"mouthLowerDown": 0.8, "mouthUpperUp": 0.35}
"""Parts the lips without the jaw (AU25); whether the lips are parted is measured, see ``parted``."""

INTENSITY_WEIGHTS = (0.0, 0.12, 0.30, 0.52, 0.76, 1.0)
"""Share of the greatest excursion at FACS intensities 0, A, B, C, D, E; linear in between."""

LIP_GAP_CM = (0.0, 0.10, 0.30, 0.65, 1.10, 1.80)
"""Lip gap over the subject's neutral at AU25 intensities 0 to 5; linear in between."""

WEIGHT_RANGE = (-0.4, 1.4)
"""No shape is used beyond this: they are linear, and a little over 1 still looks right on brows and lids."""

RESTING: dict[str, tuple[float, float]] = {
    "eyeBlink": (0.02, 0.26),
    "eyeSquint": (0.0, 0.22),
    "browDown": (-0.10, 0.22),
    "browInnerUp": (-0.10, 0.12),
    "mouthSmile": (-0.06, 0.08),
    "mouthFrown": (-0.04, 0.12),
    "mouthPress": (0.0, 0.12),
    "jawForward": (-0.25, 0.25),
}
"""How faces at rest differ beyond their bones: lids that hang, corners of the mouth that point up or down.

Weights of shapes, even between the two. The rig's own head is wide-eyed. No AU is labelled for these."""

AUS: tuple[int, ...] = tuple(sorted({*AU_SHAPES, 25}))
"""The labelled action units."""

OCCURRENCE = 2
"""An AU occurs from this intensity on (DISFA's rule)."""

BOX_CM = ((-7.4, 7.4), (-7.7, 9.6), 1.0)
"""x, y and least z of the neutral vertices in a face detector's box: ear to ear, hairline to chin."""

_KEYS = (
    "neutral faces faces_uv uv face_material materials expression_deltas expression_names identity_deltas"
).split()


@dataclass(frozen=True)
class Part:
    """One material of the head as a triangle mesh; a vertex on a seam of the texture comes twice."""

    vertices: Ints
    """Index into the vertices of the head, (P,)."""
    uv: Floats
    """Texture coordinates on 0..1 within the part's own tile, (P, 2)."""
    triangles: Ints
    """(T, 3), into ``vertices``."""


@dataclass(frozen=True)
class Rig:
    """The head: neutral vertices (V, 3), shapes by name, identity modes, parts by material, landmarks."""

    neutral: Floats
    expressions: Mapping[str, Floats]
    identity: Floats
    parts: Mapping[str, Part]
    skin: Ints
    """Triangles of face and back of head together, for normals without a seam, (T, 3)."""
    landmarks: Ints
    """The 68 landmark vertices (iBUG order)."""
    boxed: Ints
    """Vertices whose projection spans the face box."""

    def vertices(self, identity: Sequence[float], shapes: Mapping[str, float]) -> Floats:
        """The head of an identity with an expression.

        Args:
            identity: coefficients in standard deviations, (modes,).
            shapes: weight per shape; a name without ``_L``/``_R`` stands for both sides.

        Returns:
            (V, 3) in cm.
        """
        head = self.neutral + np.tensordot(
            np.asarray(identity, np.float32), self.identity[: len(identity)], axes=1
        )
        return self.moved(head, shapes)

    def moved(self, head: Floats, shapes: Mapping[str, float]) -> Floats:
        """A head (V, 3) with more of some shapes, named as for ``vertices``."""
        for name, value in shapes.items():
            for shape in (name,) if name in self.expressions else (f"{name}_L", f"{name}_R"):
                head = head + np.float32(value) * self.expressions[shape]
        return np.asarray(head, np.float32)

    def lip_gap(self, vertices: Floats) -> float:
        """Height of the opening between the lips in cm, over its middle third; 0 where they overlap."""
        upper, lower = vertices[self.landmarks[61:64]], vertices[self.landmarks[[67, 66, 65]]]
        return float(np.clip(upper[:, 1] - lower[:, 1], 0, None).mean())


def load(path: Path) -> Rig:
    """Read a packed rig and the landmark indices (``vertex_indices.json``) beside it.

    Raises:
        DataError: a file is missing, or is not such a rig.
    """
    indices = path.with_name("vertex_indices.json")
    for file in (path, indices):
        if not file.is_file():
            raise DataError(
                f"no rig file {file}; get ict_facekit.npz and vertex_indices.json (docs/synth.md)"
            )
    try:
        with np.load(path, allow_pickle=False) as stored:
            data = {key: stored[key] for key in _KEYS}
        landmarks = np.array(json.loads(indices.read_text())["idx_to_landmark_verts"], np.int32)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is not a packed ICT-FaceKit rig with {indices.name} beside it: {error}"
        ) from None
    return _assemble(data, landmarks)


def weight(intensity: float) -> float:
    """Shape weight of a FACS intensity on 0..5 (``INTENSITY_WEIGHTS``)."""
    return float(np.interp(intensity, range(6), INTENSITY_WEIGHTS))


def shape_weights(
    intensities: Mapping[int, float], asymmetry: Mapping[int, float], parting: float = 0.0
) -> dict[str, float]:
    """The rig's shape weights for AU intensities.

    Args:
        intensities: AU -> intensity on 0..5, the mean of both sides.
        asymmetry: AU -> share by which the left side exceeds the mean (and the right falls short of it).
        parting: 0..1, lips drawn apart by ``PARTED_SHAPES``.

    Returns:
        Shape name with side -> weight, within ``WEIGHT_RANGE`` however many AUs pull at a shape.
    """
    weights: dict[str, float] = {}

    def add(shape: str, value: float, lean: float) -> None:
        if shape in _MIDDLE:
            weights[shape] = weights.get(shape, 0.0) + value
            return
        for side, share in (("_L", 1 + lean), ("_R", 1 - lean)):
            weights[shape + side] = weights.get(shape + side, 0.0) + value * share

    for au, intensity in intensities.items():
        for shape, gain in AU_SHAPES[au].items():
            add(shape, gain * weight(intensity), asymmetry.get(au, 0.0))
    for shape, gain in PARTED_SHAPES.items() if parting else ():
        add(shape, gain * parting, asymmetry.get(25, 0.0))
    return {shape: min(max(value, WEIGHT_RANGE[0]), WEIGHT_RANGE[1]) for shape, value in weights.items()}


def resting(rng: np.random.Generator) -> dict[str, float]:
    """The shape weights of one person's face at rest (``RESTING``), the same on both sides."""
    return {name: float(rng.uniform(low, high)) for name, (low, high) in RESTING.items()}


def parted(gap_cm: float) -> float:
    """AU25 intensity on 0..5 of a lip gap over the neutral one (``LIP_GAP_CM``)."""
    return float(np.interp(gap_cm, LIP_GAP_CM, range(6)))


_MIDDLE = frozenset(
    (
        "jawOpen jawLeft jawRight jawForward mouthClose mouthPucker mouthFunnel mouthLeft mouthRight "
        "mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper"
    ).split()
)


def _assemble(data: Mapping[str, NDArray[np.generic]], landmarks: Ints) -> Rig:
    neutral = np.asarray(data["neutral"], np.float32)
    faces, faces_uv = np.asarray(data["faces"]), np.asarray(data["faces_uv"])
    uv, material = np.asarray(data["uv"], np.float32), np.asarray(data["face_material"])
    parts = {}
    for index, name in enumerate(str(name) for name in data["materials"]):
        chosen = material == index
        parts[name] = _part(faces[chosen], faces_uv[chosen], uv)
    names = [str(name) for name in data["expression_names"]]
    skin = [parts[name].vertices[parts[name].triangles] for name in ("M_Face", "M_BackHead")]
    (x0, x1), (y0, y1), z0 = BOX_CM
    x, y, z = neutral.T
    inside = (x > x0) & (x < x1) & (y > y0) & (y < y1) & (z > z0)
    inside &= np.isin(np.arange(len(neutral)), parts["M_Face"].vertices)
    return Rig(
        neutral=neutral,
        expressions=dict(zip(names, np.asarray(data["expression_deltas"], np.float32), strict=True)),
        identity=np.asarray(data["identity_deltas"], np.float32),
        parts=parts,
        skin=np.concatenate(skin).astype(np.int32),
        landmarks=landmarks,
        boxed=np.flatnonzero(inside).astype(np.int32),
    )


def _part(quads: Ints, quads_uv: Ints, uv: Floats) -> Part:
    """Quads (padded with -1) to triangles whose corners are unique pairs of vertex and texture point."""
    corners = np.stack([quads, quads_uv], -1)  # (Q, 4, 2)
    second = corners[quads[:, 3] >= 0][:, [0, 2, 3]]
    triangles = np.concatenate([corners[:, :3], second])  # (T, 3, 2)
    pairs, inverse = np.unique(triangles.reshape(-1, 2), axis=0, return_inverse=True)
    points = uv[pairs[:, 1]]
    return Part(
        vertices=pairs[:, 0].astype(np.int32),
        uv=np.asarray(points - np.floor(points.min(0)), np.float32),
        triangles=inverse.reshape(-1, 3).astype(np.int32),
    )
