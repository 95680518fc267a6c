"""Tables that the benchmark makes: of weights, and of MediaPipe, whose rows of clips are the reference."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maeface import checks, console, files
from maeface.data import manifest
from maeface.data.ingest.images import SkippedInputs, UnreadableInput, read_inputs
from maeface.data.ingest.inputs import Input
from maeface.errors import DataError
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import WeightsSource, locate_detector_weights
from maeface.faces.live_following import LiveFollower
from maeface.prediction.chimeras import SIDED
from maeface.prediction.columns import au_columns
from maeface.prediction.crops import predict_crops
from maeface.prediction.predictor import Predictor
from maeface_studio.weights import blendshapes, measurements
from maeface_studio.weights.bench.clips import BOX

BACKBONE = "mobilenet0.25"


def write(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as Parquet."""
    with files.atomic(path) as temporary:
        table.to_parquet(temporary, index=False)
    return path


@dataclass(frozen=True)
class Maker:
    """Makes MediaPipe's tables, each unless it is there already.

    Attributes:
        folder: for all tables.
        task: MediaPipe's ``face_landmarker.task``.
        fps: of clips, read at most this many frames per second; None: all.
        detector: weights of the face detector.
    """

    folder: Path
    task: Path | None
    fps: float | None
    detector: WeightsSource

    def path(self, tool: str, name: str) -> Path:
        """Return the path of a tool's table of a set."""
        return self.folder / f"{tool}-{name}.parquet"

    def read_photos(self, photos: Sequence[Path]) -> Path:
        """Return the path of the table of the largest face of photographs."""

        def make(task: Path) -> pd.DataFrame:
            return blendshapes.read_blendshapes(photos, task, detector=self.open_detector())

        return self._keep("portraits", {"photos": _hash(photos)}, make)

    def measure_renders(self, folder: Path) -> Path:
        """Return the path of the table of the crops of a prepared folder."""

        def make(task: Path) -> pd.DataFrame:
            return measurements.measure_crops([folder], task)

        return self._keep(
            "renders", {"crops": manifest.load(folder)["id"].tolist(), "folder": str(folder.absolute())}, make
        )

    def follow_clips(self, clips: Sequence[Input]) -> Path:
        """Return the path of the table of all faces of clips; see ``follow_blendshapes``."""

        def make(task: Path) -> pd.DataFrame:
            return follow_blendshapes(clips, task, self.fps, self.open_detector())

        names, hashes = [clip.source for clip in clips], _hash([Path(clip.path) for clip in clips])
        return self._keep("clips", {"fps": self.fps, "names": names, "clips": hashes}, make)

    def open_detector(self) -> Detector:
        """Return the face detector."""
        return Detector(locate_detector_weights(BACKBONE, self.detector))

    def _keep(self, name: str, made_of: Mapping[str, Any], make: Callable[[Path], pd.DataFrame]) -> Path:
        """Return the path of a table; make it unless it is there, made of the same."""
        assert self.task is not None
        path = self.path("mediapipe", name)
        record = path.with_suffix(".json")
        wanted = {"task": _hash([self.task]), "detector": self.detector, **made_of}
        if path.is_file() and record.is_file() and json.loads(record.read_text("utf-8")) == wanted:
            console.note(f"{path} is used again")
            return path
        record.unlink(missing_ok=True)
        write(make(self.task), path)
        files.write_json(record, wanted)
        return path


def _hash(paths: Sequence[Path]) -> list[list[str]]:
    """Return the name and the SHA-256 of each file."""
    checks.require_inputs(paths)
    return [[path.name, files.sha256(path)] for path in paths]


def predict_photos(weights: str, photos: Sequence[Path], detector: WeightsSource) -> pd.DataFrame:
    """Predict the largest face of photographs, in full precision on the CPU."""
    with Predictor(weights, "cpu", faces="largest", precision="fp32", detector=detector) as predictor:
        return predictor(photos)


def predict_clips(
    weights: str, clips: Sequence[Input], fps: float | None, detector: WeightsSource
) -> pd.DataFrame:
    """Predict all faces of clips, in full precision on the CPU; ``input`` has the names of the clips."""
    with Predictor(weights, "cpu", precision="fp32", detector=detector) as predictor:
        tables = [predictor(Path(clip.path), fps=fps).assign(input=clip.source) for clip in clips]
    return pd.concat(tables, ignore_index=True)


def predict_renders(weights: str, folder: Path, rows: pd.DataFrame, sides: bool = False) -> pd.DataFrame:
    """Predict stored crops, rows of the manifest, and call action units by the weights' own thresholds.

    Args:
        weights: a file, or the name of packaged weights.
        folder: of the crops.
        rows: of its manifest.
        sides: also predict left and right, if the weights have intensities for it.
    """
    with Predictor(weights, "cpu", aligned=True, precision="fp32") as predictor:
        aus, task = predictor.metadata.aus, predictor.metadata.task
    sides = sides and task != "detection" and not set(aus).isdisjoint(SIDED)
    table = predict_crops([folder], rows, weights, "cpu", "fp32", sides=sides)
    names = au_columns(aus, task)
    values = predictor.to_columns(table[names[len(aus) :]].to_numpy(np.float32))
    of_sides = table.drop(columns=names, errors="ignore")
    return pd.concat([of_sides, pd.DataFrame(values, columns=names)], axis=1)


def follow_blendshapes(
    clips: Sequence[Input], task: Path, fps: float | None, detector: Detector
) -> pd.DataFrame:
    """Return MediaPipe's results for each face of clips, with the person and the box.

    Args:
        clips: videos.
        task: ``face_landmarker.task``.
        fps: read at most this many frames per second; None: all.
        detector: of faces.

    Returns:
        The columns of ``blendshapes.read_blendshapes``, and ``time_s``, ``track`` (a number for each person
        of a clip) and ``x1 y1 x2 y2`` in px.

    Raises:
        ConfigError: not MediaPipe's file.
        DataError: there is no face.
        ResourceError: mediapipe is not installed.
    """
    rows: list[dict[str, Any]] = []
    with (
        blendshapes.FaceLandmarker(task) as landmarker,
        console.progress("read", len(clips), "clips") as advance,
    ):
        for clip in clips:
            rows += _follow(clip, LiveFollower(detector), landmarker, fps)
            advance(1)
    if not rows:
        raise DataError(f"no face in {', '.join(clip.source for clip in clips)}")
    return pd.DataFrame(rows)


def _follow(
    clip: Input, follower: LiveFollower, landmarker: blendshapes.FaceLandmarker, fps: float | None
) -> Iterator[dict[str, Any]]:
    for image in read_inputs([clip], 1, fps, SkippedInputs()):
        if isinstance(image, UnreadableInput):
            continue
        frame = image.frame
        located, tracks = follower.update(frame.rgb, frame.time_s)
        for number, (face, track) in enumerate(zip(located, tracks, strict=True)):
            where = {"source": image.name, "frame": frame.index, "face": number}
            box = dict(zip(BOX, map(float, face.face.box), strict=True))
            measured = blendshapes.measure_square(landmarker, frame.rgb, face.square)
            yield where | {"time_s": frame.time_s, "track": track} | box | measured
