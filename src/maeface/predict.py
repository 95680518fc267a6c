"""``maeface predict``: action units of photos and videos, as a table, with pictures.

Faces are found and cut as ``prepare`` does it, pixel for pixel; the model's own preprocessing follows.
Inputs stream through in small batches, so memory does not grow with their number or length.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from maeface import console, facts, files
from maeface.config import Precision
from maeface.data.ingest import inputs as listing
from maeface.data.ingest import shots
from maeface.data.ingest.shots import Shot
from maeface.data.tables import predictions
from maeface.data.tables.predictions import WHERE, Writer
from maeface.errors import DataError
from maeface.faces import finder
from maeface.faces.detector import Detector
from maeface.faces.download import Weights, retinaface_weights
from maeface.faces.finder import FaceCrop, Faces
from maeface.model import preprocessing
from maeface.model.device import choose_device, computes_bf16
from maeface.model.weights import find, load_au
from maeface.report.lines import lines

Call = Callable[[Tensor], list[Tensor]]

IMAGES_TOGETHER = 32
PIXELS_TOGETHER = 50_000_000
FACES_TOGETHER = 64
BOX = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class Seen:
    """A shot and what the model says of it.

    Attributes:
        shot: the photo or frame.
        crops: its F faces, best score first.
        values: (F, K) float32: the AU columns of the table, or the features.
    """

    shot: Shot
    crops: list[FaceCrop]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Summary:
    """What a prediction came to.

    Attributes:
        out: the table; None where lines were printed.
        inputs: photos and videos.
        images: photos and frames that were looked at.
        faces: rows with a face.
        without_face: rows without one.
        skipped: inputs that could not be read, by reason.
        pictures: files written to the folder of pictures.
    """

    out: Path | None
    inputs: int
    images: int
    faces: int
    without_face: int
    skipped: dict[str, int]
    pictures: int

    def __str__(self) -> str:
        """One line for people."""
        line = f"{self.out or 'predicted'}: inputs: {self.inputs}; images: {self.images}; faces: {self.faces}"
        line += f"; without a face: {self.without_face}" if self.without_face else ""
        if self.skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items())
            line += f"; not read: {reasons}"
        return line + (f"; pictures: {self.pictures}" if self.pictures else "")


class Predictor:
    """A model and a face detector, ready for use.

    Args:
        weights: a file that ``maeface finetune`` wrote, or the name of weights that come with the package;
            None: ``maeface-nano``, which does.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        aligned: the images are ready face crops; no face is looked for.
        faces: which faces of an image: "all" by score, the "largest" or the most "central".
        precision: of the AU model: "bf16" (several times faster where the hardware computes in it, off by
            some thousandths), "fp32", or "auto" (bf16 on such hardware).
        detector: whose weights find the faces: "public" (downloaded once), "embedded" (the package's own), or
            "auto": the public ones where they are at hand.

    Attributes:
        metadata: what the file says of the model: ``aus``, ``task``, ``thresholds``, ...
        columns: of the table.

    Raises:
        WeightsError: not the weights of an AU model, or damaged.
        ResourceError: no such device; no face detector weights and no network.
    """

    def __init__(
        self,
        weights: Path | str | None = None,
        device: str = "auto",
        aligned: bool = False,
        faces: Faces = "all",
        precision: Precision = "auto",
        detector: Weights = "auto",
    ) -> None:
        self.device = choose_device(device)
        self.bf16 = computes_bf16(precision, self.device)
        model, self.metadata = load_au(find(weights))
        self.model = model.to(self.device)
        self.faces: Faces = faces
        self.detector = None
        if not aligned:
            self.detector = Detector(retinaface_weights("mobilenet0.25", detector), device=self.device)
        names = [facts.au_name(au) for au in self.metadata.aus]
        self.columns = [*WHERE, *BOX, "score"]
        self.columns += [f"{name}_p" for name in names if self.metadata.task != "intensity"]
        self.columns += [f"{name}_i" for name in names if self.metadata.task != "detection"]

    def __call__(
        self, images: shots.Images | Iterable[shots.Images], every: int = 1, fps: float | None = None
    ) -> pd.DataFrame:
        """Predict photos, videos, folders of them, or images in memory.

        Args:
            images: paths, or RGB uint8 (H, W, 3) arrays; one or several.
            every: of a video, take every n-th frame.
            fps: of a video, take at most so many frames a second instead.

        Returns:
            A row a face, and a row with face -1 for an image without one, as ``maeface predict`` writes it:
            ``input`` (file name, or the number of the array), ``frame``, ``time_s``, ``face`` (0 = best
            score), box in px, ``score``, ``AU01_p``... 0..1, ``AU01_i``... 0..5.

        Raises:
            ConfigError: no such file.
            DataError: no input could be read. (Of several, those that cannot be are skipped with a line.)
        """
        return pd.concat(
            [table(seen, self.columns) for seen in self.stream(shots.of(images, every, fps))],
            ignore_index=True,
        )

    def embed(
        self, images: shots.Images | Iterable[shots.Images], every: int = 1, fps: float | None = None
    ) -> tuple[pd.DataFrame, NDArray[np.float32]]:
        """The features that the model's head reads, (N, D), and the N rows (without AUs) they belong to.

        Arguments as for a call. Features of a row without a face are NaN.
        """
        rows, features = [], []
        for seen in self.stream(shots.of(images, every, fps), lambda inputs: [self.model.features(inputs)]):
            rows.append(table(seen, self.columns[: len(WHERE) + 5]))
            empty = np.full((1, self.metadata.encoder.width), np.nan, dtype=np.float32)
            features += [one.values if one.crops else empty for one in seen]
        return pd.concat(rows, ignore_index=True), np.concatenate(features)

    def stream(self, source: Iterable[Shot], call: Call | None = None) -> Iterator[list[Seen]]:
        """Shots to what the model says of them, a batch at a time, in their order.

        Args:
            source: photos and frames.
            call: (B, 3, I, I) model inputs to outputs (B, ...); None for AU probabilities and intensities.
        """
        batch: list[Shot] = []
        size = 0
        for shot in source:
            batch.append(shot)
            size += shot.frame.rgb.size // 3
            if len(batch) >= IMAGES_TOGETHER or size >= PIXELS_TOGETHER:
                yield self._see(batch, call or self._aus)
                batch, size = [], 0
        if batch:
            yield self._see(batch, call or self._aus)

    def _see(self, batch: list[Shot], call: Call) -> list[Seen]:
        images = [shot.frame.rgb for shot in batch]
        if self.detector is None:
            found = [[finder.aligned(image, min(image.shape[:2]))] for image in images]
        else:
            found = finder.find_crops(self.detector, images, faces=self.faces)
        values = self._values([crop.pixels for crops in found for crop in crops], call)
        ends = np.cumsum([len(crops) for crops in found])
        return [
            Seen(shot, crops, values[end - len(crops) : end])
            for shot, crops, end in zip(batch, found, ends, strict=True)
        ]

    @torch.inference_mode()
    def _values(self, crops: list[NDArray[np.uint8]], call: Call) -> NDArray[np.float32]:
        """(F, K) outputs of F crops, side by side."""
        how = self.metadata.preprocessing
        values: list[NDArray[np.float32]] = []
        for start in range(0, len(crops), FACES_TOGETHER):
            group = crops[start : start + FACES_TOGETHER]
            one_side = len({crop.shape for crop in group}) == 1
            stacks = [np.stack(group)] if one_side else [crop[None] for crop in group]
            tensors = [torch.from_numpy(stack).to(self.device).permute(0, 3, 1, 2) for stack in stacks]
            inputs = torch.cat(
                [preprocessing.to_input(x, how.image_size, how.mean, how.std) for x in tensors]
            )
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                outputs = call(inputs)
            values.append(torch.cat([output.float() for output in outputs], dim=1).cpu().numpy())
        return np.concatenate(values) if values else np.zeros((0, 0), dtype=np.float32)

    def _aus(self, inputs: Tensor) -> list[Tensor]:
        views = [inputs, inputs.flip(3)] if self.metadata.preprocessing.mirror else [inputs]
        outputs = [self.model(view) for view in views]
        kinds = [[output.probabilities() for output in outputs], [output.intensities() for output in outputs]]
        return [torch.stack(seen).mean(dim=0) for seen in kinds if seen[0] is not None]


def run(
    inputs: Sequence[Path],
    weights: Path | str | None,
    out: Path | None,
    pictures: Path | None = None,
    every: int = 1,
    fps: float | None = None,
    faces: Faces = "all",
    aligned: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    detector: Weights = "auto",
) -> Summary:
    """Predict action units of photos and videos.

    Args:
        inputs: files and folders, entered recursively. Those that cannot be read are skipped with a line.
        weights: a file, or the name of weights that come with the package; None: see ``Predictor``.
        out: the table, ``.csv`` or ``.parquet``: a row a face, and one with face -1 for an image without;
            None: a line a face on stdout instead.
        pictures: folder for a picture of each photo, with boxes and AU bars; None for none.
        every: of a video, take every n-th frame.
        fps: of a video, take at most so many frames a second instead.
        faces: which faces of an image: "all" by score, the "largest" or the most "central".
        aligned: the images are ready face crops; no face is looked for.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        precision: of the AU model: "auto", "fp32" or "bf16"; see ``Predictor``.
        detector: "auto", "public" or "embedded"; see ``Predictor``.

    Raises:
        ConfigError: no such input, or ``out`` of another kind.
        DataError: none of the inputs could be read.
        WeightsError: not the weights of an AU model, or damaged.
        ResourceError: no such device, a full disk, no face detector weights and no network.
    """
    if out is not None:
        predictions.check_suffix(out)
    found = listing.find(inputs, [output for output in (out, pictures) if output is not None])
    predictor = Predictor(weights, device, aligned, faces, precision, detector)
    skipped = shots.Skipped()
    target = predictions.writer(out, predictor.columns) if out else nullcontext(_printer(predictor))
    images = count = drawn = 0
    with (
        console.progress("predict", len(found), "inputs") as advance,
        target as write,
    ):
        for seen in predictor.stream(shots.read(found, every, fps, skipped, advance)):
            write(table(seen, predictor.columns))
            images += len(seen)
            count += sum(len(one.crops) for one in seen)
            advance(0, f"{images} images, {count} faces")
            if pictures is not None:
                drawn += _draw(seen, predictor, pictures)
        if not images:
            raise DataError(f"none of {len(found)} inputs could be read: {skipped}")
        empty = write.rows - count
    return Summary(out, len(found), images, count, empty, dict(skipped.reasons.most_common()), drawn)


def _printer(predictor: Predictor) -> Writer:
    """Takes tables of rows as a file does, and prints them."""
    thresholds = dict(zip(predictor.metadata.aus, predictor.metadata.thresholds, strict=False))
    return Writer(lambda rows, _: console.show("\n".join(lines(rows, thresholds))))


def table(seen: Sequence[Seen], columns: Sequence[str]) -> pd.DataFrame:
    """The rows of some shots: ``columns`` are ``WHERE``, the box, the score, and those of ``Seen.values``."""
    rows: list[tuple[Any, ...]] = []
    for one in seen:
        where = (one.shot.name, one.shot.frame.index, one.shot.frame.time_s)
        for k, crop in enumerate(one.crops):
            score = np.nan if np.isnan(crop.face.points).all() else crop.face.score  # NaN: a ready crop
            rows.append((*where, k, *crop.face.box, score, *one.values[k])[: len(columns)])
        if not one.crops:
            rows.append((*where, -1, *[np.nan] * (len(columns) - len(WHERE))))
    made = pd.DataFrame(rows, columns=list(columns))
    floats = dict.fromkeys(columns[len(WHERE) :], np.float32)
    return made.astype({"frame": np.int64, "time_s": np.float64, "face": np.int16, **floats})


def _draw(seen: Sequence[Seen], predictor: Predictor, folder: Path) -> int:
    """A picture of each photo, named as the photo; returns how many."""
    from maeface.report import figures

    aus, task = predictor.metadata.aus, predictor.metadata.task
    threshold = predictor.metadata.thresholds or 0.5
    photos = [one for one in seen if not one.shot.video]
    for one in photos:
        bars = [
            figures.FaceBars(
                box=tuple(crop.face.box),
                score=np.nan if predictor.detector is None else crop.face.score,
                probabilities=None if task == "intensity" else values[: len(aus)],
                intensities=None if task == "detection" else values[-len(aus) :],
            )
            for crop, values in zip(one.crops, one.values, strict=True)
        ]
        picture = figures.au_bars(one.shot.frame.rgb, aus, bars, threshold)
        name = Path(one.shot.name)
        files.write_bytes(folder / name.with_name(f"{name.name}.png"), figures.png(picture))
    return len(photos)
