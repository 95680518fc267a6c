"""What MediaPipe measures of a face, as numbers that do not change when it is mirrored, moved or enlarged.

The numbers make a guide (``data.guide``) and, as action units, labels that are believed where they are sure
(``data.teacher``). They are read from stored crops, of photographs and of renders alike. As a command, with
the extra ``teacher`` installed::

    python -m maeface_studio.weights.measures face_landmarker.task PREPARED ... --out measures.parquet
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
"""Lengths between MediaPipe's points, the mean of both sides of the face, in widths of an eye pair."""

EYES: Pairs = ((33, 263), (133, 362))
CORNERS, LIPS, CHIN, BROW = (61, 291), (13, 14), 152, 168

NOT_MIRRORED = ("eyeLook", "jawLeft", "jawRight", "mouthLeft", "mouthRight", "_neutral")
"""Blendshapes that say where somebody looks or moves to, not which muscle moves."""

SIDE, MARGIN = 256, 64
GREY = (110, 110, 110)
"""MediaPipe looks for a whole head: a crop is shown to it at ``SIDE`` px with so wide a grey margin."""


def of(reading: blendshapes.Reading) -> dict[str, float]:
    """The measures of one face: blendshapes 0..1, the means of left and right, then lengths."""
    sides: dict[str, list[float]] = {}
    for name, value in reading.shapes.items():
        if not name.startswith(NOT_MIRRORED):
            sides.setdefault(name.removesuffix("Left").removesuffix("Right"), []).append(value)
    points = reading.points
    unit = _mean_length(points, EYES)
    lengths = {name: _mean_length(points, pairs) / unit for name, pairs in LENGTHS.items()}
    up = points[BROW] - points[CHIN]
    lift = points[list(CORNERS)].mean(axis=0) - points[list(LIPS)].mean(axis=0)
    lengths["corners_up"] = float(lift @ up / np.linalg.norm(up)) / unit
    return {name: float(np.mean(values)) for name, values in sides.items()} | lengths


def _mean_length(points: NDArray[np.float32], pairs: Pairs) -> float:
    return float(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in pairs]))


def table(folders: Sequence[Path], task: Path) -> pd.DataFrame:
    """What MediaPipe reads of every crop of prepared folders.

    Args:
        folders: prepared folders.
        task: MediaPipe's ``face_landmarker.task``.

    Returns:
        A row a face that it reads: ``id``, ``AU01_p``... (see ``blendshapes.SHAPES``), and the measures.

    Raises:
        ConfigError: no such folder, or not MediaPipe's file.
        DataError: it reads none of the faces.
        ResourceError: mediapipe is not installed.
    """
    loaded = [(Shards(folder), manifest.load(folder)) for folder in folders]
    rows: list[dict[str, Any]] = []
    total = sum(len(faces) for _, faces in loaded)
    with blendshapes.Reader(task) as reader, console.progress("measure", total, "faces") as advance:
        for shards, faces in loaded:
            places = zip(faces["shard"], faces["offset"], faces["size"], strict=True)
            for name, (shard, offset, size) in zip(faces["id"], places, strict=True):
                data = shards.read_range(str(shard), int(offset), int(size))
                reading = reader(_shown(media.decode_image(data, "jpeg", 1)))
                if reading is not None:
                    aus = {f"{facts.au_name(au)}_p": score for au, score in reading.aus().items()}
                    rows.append({"id": name, **aus, **of(reading)})
                advance(1)
    if not rows:
        raise DataError(f"MediaPipe reads no face of {', '.join(map(str, folders))}")
    return pd.DataFrame(rows)


def write(folders: Sequence[Path], task: Path, out: Path) -> Path:
    """Write ``table`` as Parquet, unless ``out`` is there already."""
    if not out.is_file():
        measured = table(folders, task)
        with files.atomic(out) as temporary:
            measured.to_parquet(temporary, index=False)
    return out


def _shown(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A crop as MediaPipe is shown it, (SIDE + 2 MARGIN) px square."""
    resized = Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(ImageOps.expand(resized, MARGIN, GREY))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the faces of prepared folders and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m maeface_studio.weights.measures", description=table.__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("task", type=Path, help="face_landmarker.task")
    parser.add_argument("folders", type=Path, nargs="+", help="prepared folders")
    parser.add_argument(
        "--out", type=Path, required=True, help="a .parquet file; left as it is if it is there"
    )
    given = parser.parse_args(arguments)
    try:
        write(given.folders, given.task, given.out)
    except MaefaceError as error:
        parser.exit(1, f"error: {error}\n")
    console.say(f"{given.out}: {len(pd.read_parquet(given.out, columns=['id']))} faces")


if __name__ == "__main__":
    main()
