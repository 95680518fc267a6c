"""``maeface predict``: action units of photos and videos, as a table, with pictures.

Faces are found and cut as ``prepare`` does it, pixel for pixel; the model's own preprocessing follows.
Inputs stream through in small batches, so memory does not grow with their number or length.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from maeface import checks, console, facts, files
from maeface.config import Precision
from maeface.data import inputs as listing
from maeface.data import predictions, shots
from maeface.data.predictions import WHERE, Writer
from maeface.data.seen import BOX, Seen, table
from maeface.data.shots import Shot, Unread
from maeface.errors import DataError
from maeface.faces import finder
from maeface.faces.detector import Detector
from maeface.faces.download import Weights, retinaface_weights
from maeface.faces.finder import Faces
from maeface.model import pixels
from maeface.model.device import choose_device, computes_bf16
from maeface.model.weights import find, load_au
from maeface.report.lines import lines

Call = Callable[[Tensor], list[Tensor]]

IMAGES_TOGETHER = 32
PIXELS_TOGETHER = 50_000_000
FACES_TOGETHER = 64


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
        too_many_bad: more inputs could not be read than ``max_bad`` allows.
    """

    out: Path | None
    inputs: int
    images: int
    faces: int
    without_face: int
    skipped: dict[str, int]
    pictures: int
    too_many_bad: bool = False

    def __str__(self) -> str:
        """One line for people, and a second if too much could not be read."""
        line = f"{self.out or 'predicted'}: inputs: {self.inputs}; images: {self.images}; faces: {self.faces}"
        line += f"; without a face: {self.without_face}" if self.without_face else ""
        if self.skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items())
            line += f"; not read: {reasons}"
        line += f"; pictures: {self.pictures}" if self.pictures else ""
        if self.too_many_bad:
            bad = sum(self.skipped.values())
            line += f"\n{bad} of {self.inputs} inputs could not be read, more than allowed (--max-bad)"
        return line


class Predictor:
    """A model and a face detector, ready for use.

    Args:
        weights: a file that ``maeface finetune`` wrote, or the name of weights that come with the package;
            None: ``maeface-nano``, which does.
        device: "auto" (a GPU if there is one), "cpu", "cuda", or one of several GPUs: "cuda:0", "cuda:1", ...
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
        ConfigError: a choice that there is not; the allowed ones are listed.
        WeightsError: not the weights of an AU model, or damaged.
        ResourceError: no such device; no face detector weights and no network.
    """

    def __init__(
        self,
        weights: Path | str | None = None,
        device: str | torch.device = "auto",
        aligned: bool = False,
        faces: Faces = "all",
        precision: Precision = "auto",
        detector: Weights = "auto",
    ) -> None:
        checks.choice("faces", faces, get_args(Faces))
        checks.choice("detector", detector, get_args(Weights))
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
            images: one or several of: paths; uint8 arrays, RGB (H, W, 3), RGBA (H, W, 4) or grey (H, W);
                uint8 tensors (3, H, W); Pillow images; the bytes of a photo, or a binary file with them.
            every: of a video, take every n-th frame.
            fps: of a video, take at most so many frames a second instead.

        Returns:
            A row a face, and a row with face -1 for an image without one and for an input that cannot be
            read, as ``maeface predict`` writes it: ``input`` (file name, or the number of the image in
            memory), ``frame``, ``time_s``, ``face`` (0 = best score), ``status`` ("ok", "no_face", or why it
            cannot be read), box in px, ``score``, ``AU01_p``... 0..1, ``AU01_i``... 0..5. Files come first,
            by name, then images in memory.

        Raises:
            ConfigError: no such file, or ``every`` or ``fps`` means nothing.
            DataError: not an image, or no input could be read. (Of several, those that cannot be are skipped
                with a line.)
        """
        return pd.concat(
            [table(seen, self.columns) for seen in self.stream(shots.of(images, every, fps))],
            ignore_index=True,
        )

    def embed(
        self, images: shots.Images | Iterable[shots.Images], every: int = 1, fps: float | None = None
    ) -> tuple[pd.DataFrame, NDArray[np.float32]]:
        """The features that the model's head reads, (N, D), and the N rows (without AUs) they belong to.

        Arguments and errors as for a call. Features of a row without a face are NaN.
        """
        rows, features = [], []
        for seen in self.stream(shots.of(images, every, fps), lambda inputs: [self.model.features(inputs)]):
            rows.append(table(seen, self.columns[: len(WHERE) + len(BOX) + 1]))
            empty = np.full((1, self.metadata.encoder.width), np.nan, dtype=np.float32)
            features += [one.values if one.crops else empty for one in seen]
        return pd.concat(rows, ignore_index=True), np.concatenate(features)

    def stream(self, source: Iterable[Shot | Unread], call: Call | None = None) -> Iterator[list[Seen]]:
        """Shots to what the model says of them, a batch at a time, in their order.

        Args:
            source: photos and frames, and what stands for inputs that cannot be read.
            call: (B, 3, I, I) model inputs to outputs (B, ...); None for AU probabilities and intensities.
        """
        for batch in shots.batches(source, IMAGES_TOGETHER, PIXELS_TOGETHER):
            yield self._see(batch, call or self._aus)

    def _see(self, batch: list[Shot | Unread], call: Call) -> list[Seen]:
        images = [shot.frame.rgb for shot in batch if isinstance(shot, Shot)]
        if self.detector is None or not images:
            found = [[finder.aligned(image, min(image.shape[:2]))] for image in images]
        else:
            found = finder.find_crops(self.detector, images, faces=self.faces)
        values = self._values([crop.pixels for crops in found for crop in crops], call)
        of_images = iter(found)
        of_all = [next(of_images) if isinstance(shot, Shot) else [] for shot in batch]
        ends = np.cumsum([len(crops) for crops in of_all])
        return [
            Seen(shot, crops, values[end - len(crops) : end])
            for shot, crops, end in zip(batch, of_all, ends, strict=True)
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
            inputs = torch.cat([pixels.to_input(x, how.image_size, how.mean, how.std) for x in tensors])
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
    max_bad: float = 1.0,
) -> Summary:
    """Predict action units of photos and videos.

    Args:
        inputs: files and folders, entered recursively. Those that cannot be read are skipped with a line.
        weights: a file, or the name of weights that come with the package; None: see ``Predictor``.
        out: the table, ``.csv`` or ``.parquet``: a row a face, and one with face -1 for an image without
            and for an input that cannot be read; None: a line a face on stdout instead.
        pictures: folder for a picture of each photo, with boxes and AU bars; None for none.
        every: of a video, take every n-th frame.
        fps: of a video, take at most so many frames a second instead.
        faces: which faces of an image: "all" by score, the "largest" or the most "central".
        aligned: the images are ready face crops; no face is looked for.
        device: "auto", "cpu", "cuda" or "cuda:N"; see ``Predictor``.
        precision: of the AU model: "auto", "fp32" or "bf16"; see ``Predictor``.
        detector: "auto", "public" or "embedded"; see ``Predictor``.
        max_bad: share of the inputs that may be unreadable, 0..1, before ``Summary.too_many_bad`` says so.

    Raises:
        ConfigError: no such input, ``out`` of another kind, or a choice or number that there is not.
        DataError: none of the inputs could be read.
        WeightsError: not the weights of an AU model, or damaged.
        ResourceError: no such device, a full disk, no face detector weights and no network.
    """
    checks.output_file(out, "predictions", predictions.SUFFIXES)
    checks.output_folders(pictures)
    checks.sampling(every, fps)
    checks.share("max_bad", max_bad)
    found = listing.find(inputs, [output for output in (out, pictures) if output is not None])
    predictor = Predictor(weights, device, aligned, faces, precision, detector)
    of_faces = {"faces": faces != "all", "detector": detector != "auto"} if aligned else {}
    listing.say_unused(found, every, fps, of_faces, pictures is not None)
    return _run(predictor, found, out, pictures, every, fps, max_bad)


def _run(
    predictor: Predictor,
    found: Sequence[listing.Input],
    out: Path | None,
    pictures: Path | None,
    every: int,
    fps: float | None,
    max_bad: float,
) -> Summary:
    skipped = shots.Skipped()
    target = predictions.writer(out, predictor.columns) if out else nullcontext(_printer(predictor))
    images = count = drawn = 0
    with console.progress("predict", len(found), "inputs") as advance, target as write:
        for seen in predictor.stream(shots.read(found, every, fps, skipped, advance)):
            write(table(seen, predictor.columns))
            images += sum(isinstance(one.shot, Shot) for one in seen)
            count += sum(len(one.crops) for one in seen)
            advance(0, f"{images} images, {count} faces")
            if pictures is not None:
                drawn += _draw(seen, predictor, pictures)
        if not images:
            raise DataError(f"none of {len(found)} inputs could be read: {skipped}")
        empty = write.rows - count - skipped.reasons.total()
    reasons = dict(skipped.reasons.most_common())
    too_many_bad = sum(reasons.values()) > max_bad * len(found)
    return Summary(out, len(found), images, count, empty, reasons, drawn, too_many_bad)


def _printer(predictor: Predictor) -> Writer:
    """Takes tables of rows as a file does, and prints them."""
    thresholds = dict(zip(predictor.metadata.aus, predictor.metadata.thresholds, strict=False))

    def show(rows: pd.DataFrame, _: bool) -> None:
        if told := list(lines(rows, thresholds)):
            console.show("\n".join(told))

    return Writer(show)


def _draw(seen: Sequence[Seen], predictor: Predictor, folder: Path) -> int:
    """A picture of each photo, named as the photo; returns how many."""
    from maeface.report import figures  # matplotlib takes a second to come

    aus, task = predictor.metadata.aus, predictor.metadata.task
    threshold = predictor.metadata.thresholds or 0.5
    count = 0
    for one in seen:
        if isinstance(one.shot, Unread) or one.shot.video:
            continue
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
        count += 1
    return count
