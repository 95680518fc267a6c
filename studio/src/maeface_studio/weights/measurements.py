"""MediaPipe's measurements of a face, independent of mirroring, position and size.

They are a guide in fine-tuning (``maeface.data.tables.guide``), and pseudo-labels of action units. They are
measured on stored crops, of photographs and of renders alike. As a command, with the extra ``teacher``::

    python -m maeface_studio.weights.measurements face_landmarker.task PREPARED ... --out measures.parquet
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageOps

from maeface import console, facts, files
from maeface.data import manifest
from maeface.data.shards import Shards
from maeface.errors import DataError, MaefaceError
from maeface.faces import media
from maeface_studio.weights import blendshapes

Pairs = tuple[tuple[int, int], ...]

LENGTHS: Mapping[str, Pairs] = {
    "mouth_width": ((61, 291),),
    "lip_gap": ((13, 14),),
    "lips_height": ((0, 17),),
    "upper_lip": ((0, 13),),
    "lower_lip": ((14, 17),),
    "philtrum": ((2, 0),),
    "chin": ((17, 152),),
    "jaw": ((1, 152),),
    "nose_width": ((129, 358),),
    "corner_to_nose": ((61, 129), (291, 358)),
    "corner_to_eye": ((61, 33), (291, 263)),
    "cheek_to_eye": ((50, 145), (280, 374)),
    "eye_opening": ((159, 145), (386, 374)),
    "inner_brow": ((55, 133), (285, 362)),
    "middle_brow": ((105, 159), (334, 386)),
    "outer_brow": ((70, 33), (300, 263)),
    "brows_apart": ((55, 285),),
}
"""Lengths between MediaPipe's points: the mean of both sides, divided by the mean length of ``EYES``."""

EYES: Pairs = ((33, 263), (133, 362))
CORNERS, LIPS, CHIN, BROW = (61, 291), (13, 14), 152, 168

NOT_MIRRORED = ("eyeLook", "jawLeft", "jawRight", "mouthLeft", "mouthRight", "_neutral")
"""Blendshapes that are left out: gaze and sideways movements, which are no action units."""

SIDE, MARGIN = 256, 64
GREY = (110, 110, 110)
"""MediaPipe expects a whole head: a crop is resized to ``SIDE`` px, with a grey margin of ``MARGIN`` px."""


def measure_face(face: blendshapes.Blendshapes) -> dict[str, float]:
    """Return the measurements of a face: blendshapes 0..1, the means of left and right, then lengths."""
    sides: dict[str, list[float]] = {}
    for name, value in face.coefficients.items():
        if not name.startswith(NOT_MIRRORED):
            sides.setdefault(name.removesuffix("Left").removesuffix("Right"), []).append(value)
    points = face.points
    unit = _mean_length(points, EYES)
    lengths = {name: _mean_length(points, pairs) / unit for name, pairs in LENGTHS.items()}
    up = points[BROW] - points[CHIN]
    lift = points[list(CORNERS)].mean(axis=0) - points[list(LIPS)].mean(axis=0)
    lengths["corners_up"] = float(lift @ up / np.linalg.norm(up)) / unit
    return {name: float(np.mean(values)) for name, values in sides.items()} | lengths


def _mean_length(points: NDArray[np.float32], pairs: Pairs) -> float:
    return float(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in pairs]))


def measure_crops(folders: Sequence[Path], task: Path) -> pd.DataFrame:
    """Measure every crop of prepared folders with MediaPipe.

    Args:
        folders: prepared folders.
        task: MediaPipe's ``face_landmarker.task``.

    Returns:
        A row for each face that MediaPipe finds: ``id``, ``AU01_p``... (see ``blendshapes.SHAPES``), and the
        measurements.

    Raises:
        ConfigError: no such folder, or not MediaPipe's file.
        DataError: MediaPipe finds none of the faces.
        ResourceError: mediapipe is not installed.
    """
    datasets = [(Shards(folder), manifest.load(folder)) for folder in folders]
    rows: list[dict[str, Any]] = []
    total = sum(len(faces) for _, faces in datasets)
    with (
        blendshapes.FaceLandmarker(task) as landmarker,
        console.progress("measure", total, "faces") as advance,
    ):
        for shards, faces in datasets:
            places = zip(faces["shard"], faces["offset"], faces["size"], strict=True)
            for name, (shard, offset, size) in zip(faces["id"], places, strict=True):
                data = shards.read_range(str(shard), int(offset), int(size))
                face = landmarker(_add_margin(media.decode_image(data, "jpeg", 1)))
                if face is not None:
                    aus = {f"{facts.au_name(au)}_p": score for au, score in face.action_units().items()}
                    rows.append({"id": name, **aus, **measure_face(face)})
                advance(1)
    if not rows:
        raise DataError(f"MediaPipe finds no face in the crops of {', '.join(map(str, folders))}")
    return pd.DataFrame(rows)


def write_measurements(folders: Sequence[Path], task: Path, out: Path) -> Path:
    """Write the table of ``measure_crops`` as Parquet, unless ``out`` exists."""
    if not out.is_file():
        table = measure_crops(folders, task)
        with files.atomic(out) as temporary:
            table.to_parquet(temporary, index=False)
    return out


def _add_margin(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a crop with a grey margin, a square of SIDE + 2 MARGIN px."""
    resized = Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(ImageOps.expand(resized, MARGIN, GREY))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the faces of prepared folders and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m maeface_studio.weights.measurements", description=measure_crops.__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("task", type=Path, help="face_landmarker.task")
    parser.add_argument("folders", type=Path, nargs="+", help="prepared folders")
    parser.add_argument("--out", type=Path, required=True, help="a .parquet file; kept if it exists")
    options = parser.parse_args(arguments)
    try:
        write_measurements(options.folders, options.task, options.out)
    except MaefaceError as error:
        parser.exit(1, f"error: {error}\n")
    console.note(f"{options.out}: {len(pd.read_parquet(options.out, columns=['id']))} faces")


if __name__ == "__main__":
    main()
