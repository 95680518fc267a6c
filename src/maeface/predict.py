"""``maeface predict``: action units of photos and videos, as a table, with pictures.

Faces are detected and cropped as in ``prepare``, pixel for pixel; the model's own preprocessing follows.
Inputs are read in small batches, so memory does not grow with their number or length.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maeface import checks, console, files
from maeface.config import Precision
from maeface.data.ingest.images import SkippedInputs, SourceImage, UnreadableInput, read_inputs
from maeface.data.ingest.inputs import Input, find_inputs, note_unused_options
from maeface.errors import DataError
from maeface.faces.detector_weights import WeightsSource
from maeface.faces.finder import FaceChoice
from maeface.prediction import table_writer
from maeface.prediction.predictor import Predictor
from maeface.prediction.record import make_record, now, record_path, shorten_record
from maeface.prediction.rows import NO_FACE, ImagePrediction, table
from maeface.prediction.table_writer import Writer
from maeface.report.lines import describe_faces


@dataclass(frozen=True)
class Summary:
    """The result of a prediction.

    Attributes:
        out: the table; None if lines were printed.
        inputs: number of photos and videos.
        images: number of photos and frames that were read.
        faces: number of rows with a face.
        without_face: number of images without a face.
        skipped: number of inputs that could not be read, by reason.
        pictures: number of files written to the folder of pictures.
        too_many_bad: whether more inputs could not be read than ``max_bad`` allows.
        damaged_films: number of videos with frames that could not be read.
    """

    out: Path | None
    inputs: int
    images: int
    faces: int
    without_face: int
    skipped: dict[str, int]
    pictures: int
    too_many_bad: bool = False
    damaged_films: int = 0

    def __str__(self) -> str:
        """One line, and a second one if too many inputs could not be read."""
        line = f"{self.out or 'predicted'}: inputs: {self.inputs}; images: {self.images}; faces: {self.faces}"
        line += f"; without a face: {self.without_face}" if self.without_face else ""
        if self.skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items())
            line += f"; not read: {reasons}"
        line += f"; films with damage: {self.damaged_films}" if self.damaged_films else ""
        line += f"; pictures: {self.pictures}" if self.pictures else ""
        if self.too_many_bad:
            bad = sum(self.skipped.values())
            line += f"\n{bad} of {self.inputs} inputs could not be read, more than allowed (--max-bad)"
        return line


def run(
    inputs: Sequence[Path],
    weights: Path | str | None,
    out: Path | None,
    pictures: Path | None = None,
    every: int = 1,
    fps: float | None = None,
    faces: FaceChoice = "all",
    aligned: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    detector: WeightsSource = "auto",
    max_bad: float = 1.0,
) -> Summary:
    """Predict action units of photos and videos.

    Args:
        inputs: files and folders, which are searched recursively. Those that cannot be read are skipped with
            a message.
        weights: a file, or the name of packaged weights; None for the default, see ``Predictor``.
        out: the table, ``.csv`` or ``.parquet``, with its record beside it (``prediction.record``). It has a
            row for each face, and one with face -1 for an image without a face and for an input that cannot
            be read. None: print a line for each face.
        pictures: folder for a picture of each photo, with boxes and AU bars; None for none.
        every: read every n-th frame of a video.
        fps: read at most this many frames per second of a video, instead of ``every``.
        faces: faces of an image to predict: "all" (best score first), the "largest", or the most "central".
        aligned: True if the images are face crops already; then no face is detected.
        device: "auto", "cpu", "cuda" or "cuda:N"; see ``Predictor``.
        precision: of the AU model: "auto", "fp32" or "bf16"; see ``Predictor``.
        detector: "auto", "public" or "embedded"; see ``Predictor``.
        max_bad: largest fraction of the inputs, 0 to 1, that may be unreadable; see ``Summary.too_many_bad``.

    Raises:
        ConfigError: an input does not exist, ``out`` has another extension, or an option is out of range.
        DataError: none of the inputs could be read.
        WeightsError: the file is not an AU model, or is damaged.
        ResourceError: there is no such device, the disk is full, or there are no weights for the face
            detector and no network.
    """
    checks.require_writable_file(out, "predictions", table_writer.SUFFIXES)
    checks.require_writable_folders(pictures)
    checks.require_sampling(every, fps)
    checks.require_fraction("max_bad", max_bad)
    sidecar = record_path(out) if out else None
    checks.require_writable_file(sidecar, "the record", (".json",))
    started = now()
    listing = find_inputs(inputs, [output for output in (out, sidecar, pictures) if output is not None])
    predictor = Predictor(weights, device, aligned, faces, precision, detector)
    face_options = {"faces": faces != "all", "detector": detector != "auto"} if aligned else {}
    note_unused_options(listing, every, fps, face_options, pictures is not None)
    options = {"every": every, "fps": fps, "faces": faces, "aligned": aligned, "device": device}
    options |= {"precision": precision, "detector": detector, "max_bad": max_bad}

    def record(statuses: Counter[str]) -> dict[str, Any]:
        return make_record(predictor, listing, options, statuses, started)

    return _run(predictor, listing, out, pictures, every, fps, max_bad, record)


def _run(
    predictor: Predictor,
    listing: Sequence[Input],
    out: Path | None,
    pictures: Path | None,
    every: int,
    fps: float | None,
    max_bad: float,
    record: Callable[[Counter[str]], dict[str, Any]],
) -> Summary:
    skipped = SkippedInputs()
    target = _open_table(out, predictor, record) if out else nullcontext(_printer(predictor))
    images = count = drawn = 0
    with console.progress("predict", len(listing), "inputs") as advance, target as write:
        for batch in predictor.stream(read_inputs(listing, every, fps, skipped, advance)):
            write(table(batch, predictor.columns))
            images += sum(isinstance(prediction.image, SourceImage) for prediction in batch)
            count += sum(len(prediction.crops) for prediction in batch)
            advance(0, f"{images} images, {count} faces")
            if pictures is not None:
                drawn += _draw(batch, predictor, pictures)
        if not images:
            raise DataError(f"none of {len(listing)} inputs could be read: {skipped}")
        empty = write.statuses[NO_FACE]
    reasons = dict(skipped.reasons.most_common())
    too_many_bad = sum(reasons.values()) > max_bad * len(listing)
    return Summary(
        out, len(listing), images, count, empty, reasons, drawn, too_many_bad, skipped.damaged_films
    )


@contextmanager
def _open_table(
    out: Path, predictor: Predictor, record: Callable[[Counter[str]], dict[str, Any]]
) -> Iterator[Writer]:
    """Open the table, and write its record beside it after the table; neither after an error."""
    sidecar = record_path(out)
    with files.atomic(sidecar) as temporary:
        with table_writer.writer(out, predictor.columns) as write:
            yield write
            values = record(write.statuses)
            write.record = shorten_record(values)
            temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            sidecar.unlink(missing_ok=True)  # so that no table stands beside the record of another


def _printer(predictor: Predictor) -> Writer:
    """Return a writer that prints a line for each face."""
    thresholds = dict(zip(predictor.metadata.aus, predictor.metadata.thresholds, strict=False))

    def show(rows: pd.DataFrame, _: bool) -> None:
        if lines := list(describe_faces(rows, thresholds)):
            console.print_result("\n".join(lines))

    return Writer(show)


def _draw(batch: Sequence[ImagePrediction], predictor: Predictor, folder: Path) -> int:
    """Write a picture of each photo, named as the photo; return how many."""
    from maeface.report import figures

    aus, task = predictor.metadata.aus, predictor.metadata.task
    threshold = predictor.metadata.thresholds or 0.5
    count = 0
    for prediction in batch:
        if isinstance(prediction.image, UnreadableInput) or prediction.image.video:
            continue
        bars = [
            figures.FaceBars(
                box=tuple(crop.face.box),
                score=np.nan if predictor.detector is None else crop.face.score,
                probabilities=None if task == "intensity" else values[: len(aus)],
                intensities=None if task == "detection" else values[-len(aus) :],
            )
            for crop, values in zip(prediction.crops, prediction.values, strict=True)
        ]
        picture = figures.au_bars(prediction.image.frame.rgb, aus, bars, threshold)
        name = Path(prediction.image.name)
        files.write_bytes(folder / name.with_name(f"{name.name}.png"), figures.png(picture))
        count += 1
    return count
