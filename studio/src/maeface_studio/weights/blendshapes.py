"""A second opinion on real faces: MediaPipe's blendshapes, read as action units.

MediaPipe's Face Landmarker (Apache-2.0) gives 52 coefficients from 0 to 1, named as ARKit's shapes, and 478
points of a face. Several of the shapes move a face as one action unit does. Its readings are a peer to
measure against, and weak labels for faces that nobody has coded: a teacher for the action units that it
knows, and only those. Which these are has to be measured; see ``SHAPES``.

Faces are found, numbered and turned upright as ``maeface prepare`` does it, so rows meet its manifest.
As a command, with the extra ``teacher`` installed::

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
from maeface.data.ingest import inputs, shots
from maeface.data.tables import predictions
from maeface.errors import ConfigError, DataError, MaefaceError, ResourceError
from maeface.faces import finder, geometry
from maeface.faces.detector import Detector

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
"""The blendshapes whose mean stands for an action unit. AU25 is measured on the points; see ``Reading``."""

AUS = tuple(sorted({*SHAPES, 25}))

# Of MediaPipe's points: the middle of the inner edge of either lip, and the outer corners of the mouth.
UPPER_LIP, LOWER_LIP, LEFT_CORNER, RIGHT_CORNER = 13, 14, 61, 291
GAP_PARTED = 0.04
"""Gap between the lips, in widths of the mouth, at which AU25 is 0.5: few portraits have just that."""
AROUND, SIDE = 1.6, 384
"""MediaPipe wants the whole head: it is shown the crop's square so many times as wide, at so many px."""


@dataclass(frozen=True)
class Reading:
    """What MediaPipe says of one face.

    Attributes:
        shapes: coefficient 0..1 by name of the blendshape.
        points: (478, 3) float32: x, y in px of the image, and depth in the same unit, smaller is nearer.
        yaw_deg: turn of the head; positive towards the right-hand side of the image.
    """

    shapes: Mapping[str, float]
    points: NDArray[np.float32]
    yaw_deg: float

    @property
    def lip_gap(self) -> float:
        """Between the lips' inner edges, in widths of the mouth; 0 where they touch."""
        gap = np.linalg.norm(self.points[UPPER_LIP] - self.points[LOWER_LIP])
        return float(gap / np.linalg.norm(self.points[LEFT_CORNER] - self.points[RIGHT_CORNER]))

    def aus(self) -> dict[int, float]:
        """Score 0..1 by action unit, ascending."""
        scores = {au: float(np.mean([self.shapes[name] for name in names])) for au, names in SHAPES.items()}
        return dict(sorted({**scores, 25: self.lip_gap / (self.lip_gap + GAP_PARTED)}.items()))


class Reader:
    """MediaPipe's Face Landmarker, ready for use; close it after.

    Args:
        task: ``face_landmarker.task``, from MediaPipe's model page.

    Raises:
        ConfigError: no such file, or another.
        ResourceError: mediapipe is not installed.
    """

    def __init__(self, task: Path) -> None:
        try:
            import mediapipe
            from mediapipe.tasks import python as tasks
        except ImportError as error:
            raise ResourceError(
                "blendshapes need mediapipe; install it: pip install 'maeface[teacher]'"
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

    def __call__(self, image: NDArray[np.uint8]) -> Reading | None:
        """Read the most prominent face of an RGB uint8 image (H, W, 3); None where MediaPipe finds none."""
        result = self._landmarker.detect(
            self._image(image_format=self._format, data=np.ascontiguousarray(image))
        )
        if not result.face_blendshapes:
            return None
        height, width = image.shape[:2]
        points = np.array([[p.x, p.y, p.z] for p in result.face_landmarks[0]], dtype=np.float32)
        turned = np.asarray(result.facial_transformation_matrixes[0])[:3, :3]
        return Reading(
            shapes={shape.category_name: float(shape.score) for shape in result.face_blendshapes[0]},
            points=points * np.array([width, height, width], dtype=np.float32),
            yaw_deg=float(np.degrees(np.arctan2(turned[0, 2], turned[2, 2]))),
        )

    def close(self) -> None:
        """Free MediaPipe's graph."""
        self._landmarker.close()

    def __enter__(self) -> Self:
        """The reader."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def table(
    sources: Sequence[Path],
    task: Path,
    faces: finder.Faces = "largest",
    every: int = 1,
    wanted: Callable[[str], bool] = lambda name: True,
) -> pd.DataFrame:
    """MediaPipe's readings of photos and videos, a row a face, as labels and as predictions.

    Args:
        sources: files and folders, as given to ``maeface prepare``.
        task: ``face_landmarker.task``.
        faces: which faces of an image, as in ``maeface prepare``.
        every: of a video, take every n-th frame.
        wanted: file names (without folders) to read; all by default.

    Returns:
        ``source frame face`` as in the manifest, ``AU01_p``... (the score, 0..1), ``AU01_i``... (5 times it:
        a coefficient is the share of a shape's full movement, as intensity is of the muscle's, but the two
        scales were never fitted to each other), ``lip_gap``, ``yaw_deg`` and the 52 coefficients by name.
        NaN where RetinaFace finds a face and MediaPipe none.

    Raises:
        ConfigError: no such source or task file.
        ResourceError: mediapipe or the face detector's weights are not at hand.
    """
    checks.sampling(every, None)
    found = [item for item in inputs.find(sources) if wanted(Path(item.source).name)]
    if not found:
        raise DataError("no file to read is left; the held-out portraits are read by themselves")
    skipped = shots.Skipped()
    rows: list[dict[str, Any]] = []
    with Reader(task) as reader, console.progress("read", len(found), "inputs") as advance:
        detector = Detector()
        for shot in shots.read(found, every, None, skipped, advance):
            if isinstance(shot, shots.Unread):
                continue
            rows += _rows(shot, finder.find_crops(detector, [shot.frame.rgb], faces=faces)[0], reader)
    return pd.DataFrame(rows)


def _rows(shot: shots.Shot, crops: Iterable[finder.FaceCrop], reader: Reader) -> Iterator[dict[str, Any]]:
    for number, crop in enumerate(crops):
        square = crop.square
        wide = geometry.Square(square.cx, square.cy, square.side * AROUND, square.angle_deg)
        reading = reader(geometry.crop(shot.frame.rgb, wide, SIDE))
        row: dict[str, Any] = {"source": shot.name, "frame": shot.frame.index, "face": number}
        scores = reading.aus() if reading else dict.fromkeys(AUS, np.nan)
        row |= {f"{facts.au_name(au)}_p": score for au, score in scores.items()}
        row |= {f"{facts.au_name(au)}_i": facts.INTENSITY_MAX * score for au, score in scores.items()}
        if reading:
            row |= {"lip_gap": reading.lip_gap, "yaw_deg": reading.yaw_deg, **reading.shapes}
        yield row


def main(arguments: Sequence[str] | None = None) -> None:
    """Read sources and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m maeface_studio.weights.blendshapes", description=table.__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("task", type=Path, help="face_landmarker.task")
    parser.add_argument("sources", type=Path, nargs="+", help="photos, videos, folders")
    parser.add_argument("--out", type=Path, required=True, help="a .csv or .parquet file")
    parser.add_argument("--faces", choices=("largest", "central", "all"), default="largest")
    parser.add_argument("--every", type=int, default=1, help="of a video, take every n-th frame")
    parser.add_argument("--held-out", action="store_true", help="read the held-out portraits, and only them")
    given = parser.parse_args(arguments)
    held_out = facts.held_out_portraits()
    try:
        predictions.check_suffix(given.out)
        read = table(
            given.sources,
            given.task,
            given.faces,
            given.every,
            wanted=lambda name: (name in held_out) == given.held_out,
        )
        with files.atomic(given.out) as temporary:
            if given.out.suffix.lower() == ".csv":
                read.to_csv(temporary, index=False)
            else:
                read.to_parquet(temporary, index=False)
    except MaefaceError as error:
        parser.exit(1, f"error: {error}\n")
    console.say(f"{given.out}: {len(read)} faces; not read by MediaPipe: {read['AU12_p'].isna().sum()}")


if __name__ == "__main__":
    main()
