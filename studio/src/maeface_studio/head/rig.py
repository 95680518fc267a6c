"""A 3D head with FACS-like shapes: vertices, landmarks and exact labels from action unit intensities.

The rig is ICT-FaceKit (MIT), packed as one ``.npz``: a neutral head, 57 expression shapes, 50 identity
modes. Coordinates are centimetres, x to the viewer's right, y up, z towards the viewer.

V vertices of the head, T triangles.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maeface.errors import DataError
from maeface_studio.head.mesh import Floats, Ints, MeshPart, join_triangles

AU_SHAPES: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.4},
    2: {"browOuterUp": 1.15},
    4: {"browDown": 1.4},
    5: {"eyeWide": 1.3, "eyeBlink": -0.14},
    6: {"cheekSquint": 0.9, "cheekRaiser": 0.9},
    7: {"eyeSquint": 1.35, "eyeBlink": 0.14},
    9: {"noseSneer": 1.1, "browDown": 0.25, "mouthUpperUp": -0.35},
    10: {"mouthUpperUp": 0.9},
    12: {"mouthSmile": 0.9, "cheekSquint": 0.18},
    14: {"mouthDimple": 1.2, "mouthPress": 0.25},
    15: {"mouthFrown": 1.0},
    17: {"mouthShrugLower": 1.0},
    18: {"mouthPucker": 1.1},
    20: {"mouthStretch": 1.0},
    23: {
        "mouthPress": 0.35,
        "mouthRollLower": 0.6,
        "mouthRollUpper": 0.6,
        "mouthPucker": 0.1,
        "mouthClose": 0.02,
    },
    24: {"mouthPress": 1.35, "mouthRollLower": 0.3, "mouthRollUpper": 0.3, "mouthShrugLower": 0.12},
    26: {"jawOpen": 0.5},
    28: {"mouthRollLower": 1.2, "mouthRollUpper": 1.1, "mouthPress": 0.2, "mouthClose": 0.03},
    43: {"eyeBlink": 1.0},
}
"""What each AU does at its greatest intensity. A name without ``_L``/``_R`` stands for both sides."""

PARTED_SHAPES: dict[str, float] = {"mouthLowerDown": 0.8, "mouthUpperUp": 0.35}
"""Shapes that part the lips without the jaw (AU25).

The label of AU25 is measured on the head, see ``lip_gap_to_intensity``."""

INTENSITY_WEIGHTS = (0.0, 0.12, 0.30, 0.52, 0.76, 1.0)
"""Fraction of the greatest excursion at FACS intensities 0, A, B, C, D, E; linear in between."""

EARLY_WEIGHTS = (0.0, 0.22, 0.46, 0.66, 0.84, 1.0)
"""The same for ``EARLY_AUS``."""

EARLY_AUS = (5, 7, 14, 15, 17, 18, 20, 23, 24, 28)
"""AUs of small movements: with ``INTENSITY_WEIGHTS`` their B could hardly be seen."""

LIP_GAP_CM = (0.0, 0.10, 0.30, 0.65, 1.10, 1.80)
"""Lip gap in cm over the subject's neutral one at AU25 intensities 0 to 5; linear in between."""

WEIGHT_RANGE = (-0.4, 1.4)
"""Least and greatest weight of a shape: shapes are linear, and look right up to a little over 1."""

RESTING_SHAPES: dict[str, tuple[float, float]] = {
    "eyeBlink": (0.02, 0.26),
    "eyeSquint": (0.0, 0.28),
    "eyeWide": (0.0, 0.15),
    "cheekSquint": (0.0, 0.15),
    "browDown": (-0.20, 0.32),
    "browInnerUp": (-0.15, 0.22),
    "browOuterUp": (-0.12, 0.20),
    "noseSneer": (0.0, 0.10),
    "mouthSmile": (-0.08, 0.12),
    "mouthFrown": (-0.06, 0.20),
    "mouthPress": (0.0, 0.15),
    "mouthUpperUp": (-0.04, 0.06),
    "mouthShrugLower": (-0.05, 0.12),
    "mouthRollLower": (0.0, 0.15),
    "mouthRollUpper": (0.0, 0.15),
    "jawForward": (-0.25, 0.25),
}
"""Ranges of the shape weights of faces at rest (uniform): heavier lids, corners of the mouth up or down.

The rig's own head is wide-eyed. No AU is labelled for these."""

SIDED_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 20, 43)
"""AUs that one side of the face can show alone."""

AUS: tuple[int, ...] = tuple(sorted({*AU_SHAPES, 25}))
"""The labelled action units."""

OCCURRENCE = 2
"""Least intensity at which an AU occurs (the convention of DISFA)."""

FACE_BOX_CM = ((-7.4, 7.4), (-7.7, 9.6), 1.0)
"""Range of x, range of y and least z of the neutral vertices inside the box of a face detector:
ear to ear, hairline to chin."""

_KEYS = (
    "neutral faces faces_uv uv face_material materials expression_deltas expression_names identity_deltas"
).split()


@dataclass(frozen=True)
class Rig:
    """The head: neutral vertices, expression shapes, identity modes, materials and landmarks."""

    neutral: Floats
    """(V, 3) cm."""
    expressions: Mapping[str, Floats]
    """Displacement at weight 1 of each shape, (V, 3) cm."""
    identity: Floats
    """Displacement per standard deviation of each identity mode, (modes, V, 3) cm."""
    parts: Mapping[str, MeshPart]
    """By name of the material."""
    skin: Ints
    """Triangles of face and back of head together, for normals without a seam, (T, 3)."""
    landmarks: Ints
    """The 68 landmark vertices (iBUG order)."""
    box_vertices: Ints
    """Vertices whose projection spans the face box."""

    def pose(self, identity: Sequence[float], shapes: Mapping[str, float]) -> Floats:
        """Return the head of an identity with an expression.

        Args:
            identity: coefficients in standard deviations, (modes,).
            shapes: weight per shape; a name without ``_L``/``_R`` stands for both sides.

        Returns:
            (V, 3) in cm.
        """
        head = self.neutral + np.tensordot(
            np.asarray(identity, np.float32), self.identity[: len(identity)], axes=1
        )
        return self.deform(head, shapes)

    def deform(self, head: Floats, shapes: Mapping[str, float]) -> Floats:
        """Return a head (V, 3) with weighted shapes added, named as for ``pose``."""
        for name, value in shapes.items():
            for shape in (name,) if name in self.expressions else (f"{name}_L", f"{name}_R"):
                head = head + np.float32(value) * self.expressions[shape]
        return np.asarray(head, np.float32)

    def lip_gap(self, vertices: Floats) -> float:
        """Return the mean height in cm of the opening between the lips, over its middle third."""
        upper, lower = vertices[self.landmarks[61:64]], vertices[self.landmarks[[67, 66, 65]]]
        return float(np.clip(upper[:, 1] - lower[:, 1], 0, None).mean())


def load(path: Path) -> Rig:
    """Read a packed rig, and the landmark indices (``vertex_indices.json``) beside it.

    Raises:
        DataError: if a file is missing, or is not such a rig.
    """
    indices = path.with_name("vertex_indices.json")
    for file in (path, indices):
        if not file.is_file():
            raise DataError(
                f"no rig file {file}; get ict_facekit.npz and vertex_indices.json (studio/docs/render.md)"
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


def intensity_to_weight(au: int, intensity: float) -> float:
    """Return the shape weight of a FACS intensity on 0..5 (``INTENSITY_WEIGHTS``, ``EARLY_WEIGHTS``)."""
    return float(np.interp(intensity, range(6), _weights(au)))


def weight_to_intensity(au: int, weight: float) -> float:
    """Return the FACS intensity on 0..5 of a shape weight on 0..1: the inverse of ``intensity_to_weight``."""
    return float(np.interp(weight, _weights(au), range(6)))


def side_factors(asymmetry: float) -> tuple[float, float]:
    """Return how far the person's left and right side move, as fractions of the stronger one.

    Args:
        asymmetry: -1..1, left minus right as a fraction of their sum; 1 is the left side alone.
    """
    return (1 + asymmetry) / (1 + abs(asymmetry)), (1 - asymmetry) / (1 + abs(asymmetry))


def shape_weights(
    intensities: Mapping[int, float], asymmetry: Mapping[int, float], parting: float = 0.0
) -> dict[str, float]:
    """Return the shape weights of AU intensities.

    Args:
        intensities: AU -> intensity on 0..5, of the stronger side.
        asymmetry: AU -> left minus right as a fraction of their sum, see ``side_factors``.
        parting: 0..1, how far ``PARTED_SHAPES`` draw the lips apart.

    Returns:
        Shape name with side -> weight. The sum over the AUs is clipped to ``WEIGHT_RANGE``.
    """
    weights: dict[str, float] = {}

    def add(shape: str, value: float, asymmetry: float) -> None:
        if shape in _WITHOUT_SIDES:
            weights[shape] = weights.get(shape, 0.0) + value
            return
        for side, factor in zip(("_L", "_R"), side_factors(asymmetry), strict=True):
            weights[shape + side] = weights.get(shape + side, 0.0) + value * factor

    for au, intensity in intensities.items():
        for shape, gain in AU_SHAPES[au].items():
            add(shape, gain * intensity_to_weight(au, intensity), asymmetry.get(au, 0.0))
    for shape, gain in PARTED_SHAPES.items() if parting else ():
        add(shape, gain * parting, asymmetry.get(25, 0.0))
    return {shape: min(max(value, WEIGHT_RANGE[0]), WEIGHT_RANGE[1]) for shape, value in weights.items()}


def draw_resting_shapes(rng: np.random.Generator, factor: float = 1.0) -> dict[str, float]:
    """Draw the shape weights of a person's face at rest, the same on both sides.

    Args:
        rng: for the draws.
        factor: how far people differ: of the half widths of ``RESTING_SHAPES`` about their middles.
    """
    drawn = {name: float(rng.uniform(low, high)) for name, (low, high) in RESTING_SHAPES.items()}
    return {
        name: value + (factor - 1) * (value - sum(RESTING_SHAPES[name]) / 2) for name, value in drawn.items()
    }


def side_intensities(au: int, intensity: float, asymmetry: float) -> tuple[float, float]:
    """Return the intensities on 0..5 of the person's left and right side.

    Args:
        au: which action unit.
        intensity: 0..5, of the stronger side.
        asymmetry: left minus right as a fraction of their sum, see ``side_factors``.
    """
    weight = intensity_to_weight(au, intensity)
    left, right = (weight_to_intensity(au, weight * factor) for factor in side_factors(asymmetry))
    return left, right


def lip_gap_to_intensity(gap_cm: float) -> float:
    """Return the AU25 intensity on 0..5 of a lip gap in cm over the neutral one (``LIP_GAP_CM``)."""
    return float(np.interp(gap_cm, LIP_GAP_CM, range(6)))


def _weights(au: int) -> tuple[float, ...]:
    return EARLY_WEIGHTS if au in EARLY_AUS else INTENSITY_WEIGHTS


_WITHOUT_SIDES = frozenset(
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
        rows = material == index
        parts[name] = _triangulate(faces[rows], faces_uv[rows], uv)
    names = [str(name) for name in data["expression_names"]]
    (x0, x1), (y0, y1), z0 = FACE_BOX_CM
    x, y, z = neutral.T
    inside = (x > x0) & (x < x1) & (y > y0) & (y < y1) & (z > z0)
    inside &= np.isin(np.arange(len(neutral)), parts["M_Face"].vertices)
    return Rig(
        neutral=neutral,
        expressions=dict(zip(names, np.asarray(data["expression_deltas"], np.float32), strict=True)),
        identity=np.asarray(data["identity_deltas"], np.float32),
        parts=parts,
        skin=join_triangles(parts["M_Face"], parts["M_BackHead"]),
        landmarks=landmarks,
        box_vertices=np.flatnonzero(inside).astype(np.int32),
    )


def _triangulate(quads: Ints, quads_uv: Ints, uv: Floats) -> MeshPart:
    """Turn quads (Q, 4), -1 for no corner, into triangles over unique pairs of vertex and texture point."""
    corners = np.stack([quads, quads_uv], -1)  # (Q, 4, 2)
    second = corners[quads[:, 3] >= 0][:, [0, 2, 3]]
    triangles = np.concatenate([corners[:, :3], second])  # (T, 3, 2)
    pairs, inverse = np.unique(triangles.reshape(-1, 2), axis=0, return_inverse=True)
    points = uv[pairs[:, 1]]
    return MeshPart(
        vertices=pairs[:, 0].astype(np.int32),
        uv=np.asarray(points - np.floor(points.min(0)), np.float32),
        triangles=inverse.reshape(-1, 3).astype(np.int32),
    )
