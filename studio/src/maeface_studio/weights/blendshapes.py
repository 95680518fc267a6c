"""MediaPipe's blendshapes of real faces, and the action units that they resemble.

MediaPipe's Face Landmarker (Apache-2.0) returns 52 coefficients from 0 to 1, named as ARKit's blendshapes,
and 478 points of a face. Several blendshapes move a face as one action unit does (``SHAPES``). So MediaPipe
is a model to compare with, and a source of pseudo-labels for faces that nobody has coded.

Faces are detected, numbered and turned upright as in ``maeface prepare``, so that rows match its manifest.
As a command, with the extra ``teacher``::

    python -m maeface_studio.weights.blendshapes face_landmarker.task SOURCE ... --out labels.parquet
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import checks, console, facts, files
from maeface.data.ingest.images import SkippedInputs, SourceImage, UnreadableInput, read_inputs
from maeface.data.ingest.inputs import find_inputs
from maeface.errors import ConfigError, DataError, MaefaceError, ResourceError
from maeface.faces import finder, geometry
from maeface.faces.detector import Detector
from maeface.prediction import table_writer

SHAPES: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        1: ("browInnerUp",),
        2: ("browOuterUpLeft", "browOuterUpRight"),
        4: ("browDownLeft", "browDownRight"),
        5: ("eyeWideLeft", "eyeWideRight"),
        6: ("cheekSquintLeft", "cheekSquintRight"),
        7: ("eyeSquintLeft", "eyeSquintRight"),
        9: ("noseSneerLeft", "noseSneerRight"),
        10: ("mouthUpperUpLeft", "mouthUpperUpRight"),
        12: ("mouthSmileLeft", "mouthSmileRight"),
        14: ("mouthDimpleLeft", "mouthDimpleRight"),
        15: ("mouthFrownLeft", "mouthFrownRight"),
        16: ("mouthLowerDownLeft", "mouthLowerDownRight"),
        17: ("mouthShrugLower",),
        18: ("mouthPucker",),
        20: ("mouthStretchLeft", "mouthStretchRight"),
        22: ("mouthFunnel",),
        24: ("mouthPressLeft", "mouthPressRight"),
        26: ("jawOpen",),
        28: ("mouthRollLower", "mouthRollUpper"),
        43: ("eyeBlinkLeft", "eyeBlinkRight"),
    }
)
"""The blendshapes whose mean is the score of an action unit. AU25 is measured on the points instead."""

AUS = tuple(sorted({*SHAPES, 25}))

# Numbers of MediaPipe's points: the middle of the inner edge of each lip, and the corners of the mouth.
UPPER_LIP, LOWER_LIP, LEFT_CORNER, RIGHT_CORNER = 13, 14, 61, 291
GAP_PARTED = 0.04
"""Gap between the lips, in widths of the mouth, at which AU25 is 0.5; few portraits have about this gap."""
ENLARGEMENT, SIDE = 1.6, 384
"""MediaPipe expects a whole head: the square of the crop is enlarged by the factor, to this side in px."""


@dataclass(frozen=True)
class Blendshapes:
    """MediaPipe's result for one face.

    Attributes:
        coefficients: 0..1 by the name of the blendshape.
        points: (478, 3) float32: x, y in px of the image, and depth in the same unit, smaller is nearer.
        yaw_deg: yaw of the head in degrees; positive towards the right-hand side of the image.
    """

    coefficients: Mapping[str, float]
    points: NDArray[np.float32]
    yaw_deg: float

    @property
    def lip_gap(self) -> float:
        """Distance of the inner edges of the lips, in widths of the mouth; 0 where they touch."""
        gap = np.linalg.norm(self.points[UPPER_LIP] - self.points[LOWER_LIP])
        return float(gap / np.linalg.norm(self.points[LEFT_CORNER] - self.points[RIGHT_CORNER]))

    def action_units(self) -> dict[int, float]:
        """Return the score 0..1 of each action unit, in ascending order of their numbers."""
        values = self.coefficients
        scores = {au: float(np.mean([values[name] for name in names])) for au, names in SHAPES.items()}
        return dict(sorted({**scores, 25: self.lip_gap / (self.lip_gap + GAP_PARTED)}.items()))


class FaceLandmarker:
    """MediaPipe's Face Landmarker, as a context manager.

    Args:
        task: ``face_landmarker.task``, from MediaPipe's model page.

    Raises:
        ConfigError: no such file, or not MediaPipe's.
        ResourceError: mediapipe is not installed.
    """

    def __init__(self, task: Path) -> None:
        try:
            import mediapipe
            from mediapipe.tasks import python as tasks
        except ImportError as error:
            raise ResourceError(
                "blendshapes need mediapipe; install it: uv pip install 'maeface-studio[teacher]'"
            ) from error
        if not task.is_file():
            raise ConfigError(f"no such file: {task}; expected MediaPipe's face_landmarker.task")
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=task.read_bytes()),
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            self._landmarker: Any = tasks.vision.FaceLandmarker.create_from_options(options)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"{task} is not MediaPipe's face_landmarker.task") from error
        self._image = mediapipe.Image
        self._format = mediapipe.ImageFormat.SRGB

    def __call__(self, image: NDArray[np.uint8]) -> Blendshapes | None:
        """Return the result for the most prominent face of an RGB uint8 image (H, W, 3), or None."""
        result = self._landmarker.detect(
            self._image(image_format=self._format, data=np.ascontiguousarray(image))
        )
        if not result.face_blendshapes:
            return None
        height, width = image.shape[:2]
        points = np.array([[p.x, p.y, p.z] for p in result.face_landmarks[0]], dtype=np.float32)
        rotation = np.asarray(result.facial_transformation_matrixes[0])[:3, :3]
        return Blendshapes(
            coefficients={shape.category_name: float(shape.score) for shape in result.face_blendshapes[0]},
            points=points * np.array([width, height, width], dtype=np.float32),
            yaw_deg=float(np.degrees(np.arctan2(rotation[0, 2], rotation[2, 2]))),
        )

    def close(self) -> None:
        """Free MediaPipe's graph."""
        self._landmarker.close()

    def __enter__(self) -> Self:
        """Return the landmarker."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free MediaPipe's graph."""
        self.close()


def read_blendshapes(
    sources: Sequence[Path],
    task: Path,
    faces: finder.FaceChoice = "largest",
    every: int = 1,
    select: Callable[[str], bool] = lambda name: True,
    detector: Detector | None = None,
) -> pd.DataFrame:
    """Return MediaPipe's results for photographs and videos, a row per face, as labels and predictions.

    Args:
        sources: files and folders, as given to ``maeface prepare``.
        task: ``face_landmarker.task``.
        faces: which faces of an image, as in ``maeface prepare``.
        every: of a video, take every n-th frame.
        select: returns whether a file is read, by its name without folders; all by default.
        detector: of faces; None for RetinaFace's public weights, or the packaged ones where these are not.

    Returns:
        ``source frame face`` as in the manifest, ``AU01_p``... (the score, 0..1), ``AU01_i``... (5 times the
        score, as a rough intensity: the two scales were not fitted to each other), ``lip_gap``, ``yaw_deg``
        and the 52 coefficients by name. NaN where RetinaFace detects a face and MediaPipe does not.

    Raises:
        ConfigError: no such source or task file.
        DataError: ``select`` leaves no file.
        ResourceError: mediapipe or the weights of the face detector are missing.
    """
    checks.require_sampling(every, None)
    items = [item for item in find_inputs(sources) if select(Path(item.source).name)]
    if not items:
        raise DataError("no file is left; held-out portraits are read with --held-out only")
    skipped = SkippedInputs()
    rows: list[dict[str, Any]] = []
    with FaceLandmarker(task) as landmarker, console.progress("read", len(items), "inputs") as advance:
        detector = detector or Detector()
        for image in read_inputs(items, every, None, skipped, advance):
            if isinstance(image, UnreadableInput):
                continue
            rows += _rows(image, finder.find_crops(detector, [image.frame.rgb], faces=faces)[0], landmarker)
    return pd.DataFrame(rows)


def _rows(
    image: SourceImage, crops: Iterable[finder.FaceCrop], landmarker: FaceLandmarker
) -> Iterator[dict[str, Any]]:
    for number, crop in enumerate(crops):
        where = {"source": image.name, "frame": image.frame.index, "face": number}
        yield where | measure_square(landmarker, image.frame.rgb, crop.square)


def measure_square(
    landmarker: FaceLandmarker, image: NDArray[np.uint8], square: geometry.Square
) -> dict[str, float]:
    """Return the scores and coefficients of the face in a square, as in ``read_blendshapes``.

    Args:
        landmarker: MediaPipe's.
        image: (H, W, 3) uint8 RGB.
        square: of the face's crop, in px of ``image``; MediaPipe is shown a larger one.
    """
    wide = geometry.Square(square.cx, square.cy, square.side * ENLARGEMENT, square.angle_deg)
    result = landmarker(geometry.crop(image, wide, SIDE))
    scores = result.action_units() if result else dict.fromkeys(AUS, np.nan)
    row = {f"{facts.au_name(au)}_p": score for au, score in scores.items()}
    row |= {f"{facts.au_name(au)}_i": facts.INTENSITY_MAX * score for au, score in scores.items()}
    if result:
        row |= {"lip_gap": result.lip_gap, "yaw_deg": result.yaw_deg, **result.coefficients}
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Read photographs and videos and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m maeface_studio.weights.blendshapes", description=read_blendshapes.__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("task", type=Path, help="face_landmarker.task")
    parser.add_argument("sources", type=Path, nargs="+", help="photos, videos, folders")
    parser.add_argument("--out", type=Path, required=True, help="a .csv or .parquet file")
    parser.add_argument("--faces", choices=("largest", "central", "all"), default="largest")
    parser.add_argument("--every", type=int, default=1, help="of a video, take every n-th frame")
    parser.add_argument("--held-out", action="store_true", help="read only the held-out portraits")
    options = parser.parse_args(arguments)
    held_out = facts.held_out_portraits()
    try:
        table_writer.check_suffix(options.out)
        table = read_blendshapes(
            options.sources,
            options.task,
            options.faces,
            options.every,
            select=lambda name: (name in held_out) == options.held_out,
        )
        with files.atomic(options.out) as temporary:
            if options.out.suffix.lower() == ".csv":
                table.to_csv(temporary, index=False)
            else:
                table.to_parquet(temporary, index=False)
    except MaefaceError as error:
        parser.exit(1, f"error: {error}\n")
    console.note(f"{options.out}: {len(table)} faces; not found by MediaPipe: {table['AU12_p'].isna().sum()}")


if __name__ == "__main__":
    main()
