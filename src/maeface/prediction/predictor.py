"""The predictor: images in, a table of action units out.

Faces are detected and cropped with the code of ``prepare``, so that a model gets the same pixels in training
and in use; the model's own preprocessing follows.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from maeface import checks, facts
from maeface.config import Precision
from maeface.data.ingest.images import ImageLike, SourceImage, UnreadableInput, batch_images, load_images
from maeface.faces import finder
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import WeightsSource, locate_detector_weights
from maeface.faces.finder import FaceChoice
from maeface.model import preprocessing
from maeface.model.device import choose_device, computes_bf16
from maeface.model.weights import find, load_model
from maeface.prediction.rows import BOX, ImagePrediction, table
from maeface.prediction.table_writer import WHERE

Call = Callable[[Tensor], list[Tensor]]

FACES_TOGETHER = 64


class Predictor:
    """An AU model with a face detector, ready to predict.

    Args:
        weights: a file written by ``maeface finetune``, or the name of packaged weights. None:
            ``maeface-nano``.
        device: "auto" (a GPU if there is one), "cpu", "cuda", or one of several GPUs: "cuda:0", "cuda:1", ...
        aligned: True if the images are face crops already; then no face is detected.
        faces: faces of an image to predict: "all" (best score first), the "largest", or the most "central".
        precision: precision of the AU model: "bf16" (several times faster on hardware that computes in it,
            different by some thousandths), "fp32", or "auto" (bf16 on such hardware).
        detector: weights of the face detector: "public" (downloaded once), "embedded" (part of the package),
            or "auto" (the public ones if they are on this machine, else the embedded ones).

    Attributes:
        metadata: the metadata of the weights: ``aus``, ``task``, ``thresholds``, ...
        columns: the columns of the table.
        weights: the path of the weights.
        detector_weights: the path of the face detector's weights; None if no face is detected.

    Raises:
        ConfigError: an unknown choice; the allowed ones are listed.
        WeightsError: the file is not an AU model, or is damaged.
        ResourceError: there is no such device, or no weights for the face detector and no network.
    """

    def __init__(
        self,
        weights: Path | str | None = None,
        device: str | torch.device = "auto",
        aligned: bool = False,
        faces: FaceChoice = "all",
        precision: Precision = "auto",
        detector: WeightsSource = "auto",
    ) -> None:
        checks.require_choice("faces", faces, get_args(FaceChoice))
        checks.require_choice("detector", detector, get_args(WeightsSource))
        self.device = choose_device(device)
        self.bf16 = computes_bf16(precision, self.device)
        self.weights = find(weights)
        model, self.metadata = load_model(self.weights)
        self.model = model.to(self.device)
        self.faces: FaceChoice = faces
        self.detector, self.detector_weights = None, None
        if not aligned:
            self.detector_weights = locate_detector_weights("mobilenet0.25", detector)
            self.detector = Detector(self.detector_weights, device=self.device)
        names = [facts.au_name(au) for au in self.metadata.aus]
        self.columns = [*WHERE, *BOX, "score"]
        self.columns += [f"{name}_p" for name in names if self.metadata.task != "intensity"]
        self.columns += [f"{name}_i" for name in names if self.metadata.task != "detection"]

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], every: int = 1, fps: float | None = None
    ) -> pd.DataFrame:
        """Predict photos, videos, folders of them, or images in memory.

        Args:
            images: one or several of these: paths; uint8 arrays, RGB (H, W, 3), RGBA (H, W, 4) or grey
                (H, W); uint8 tensors (3, H, W); Pillow images; the bytes of a photo, or a binary file.
            every: read every n-th frame of a video.
            fps: read at most this many frames per second of a video, instead of ``every``.

        Returns:
            The table that ``maeface predict`` writes. It has one row for each face, and one row with face -1
            for an image without a face and for an input that cannot be read. Columns: ``input`` (file name,
            or the number of the image in memory), ``frame``, ``time_s``, ``face`` (0 has the best score),
            ``status`` ("ok", "no_face", or the reason why the input cannot be read), the box in px,
            ``score``, ``AU01_p`` ... (0..1), ``AU01_i`` ... (0..5). Files come first, sorted by name, then
            images in memory.

        Raises:
            ConfigError: a file does not exist, or ``every`` or ``fps`` is out of range.
            DataError: an object is not an image, or no input could be read. (If only some cannot be read,
                they are skipped with a message.)
        """
        return pd.concat(
            [
                table(predictions, self.columns)
                for predictions in self.stream(load_images(images, every, fps))
            ],
            ignore_index=True,
        )

    def embed(
        self, images: ImageLike | Iterable[ImageLike], every: int = 1, fps: float | None = None
    ) -> tuple[pd.DataFrame, NDArray[np.float32]]:
        """Compute the features that the model's head reads.

        Takes the same arguments and raises the same errors as a call.

        Returns:
            The table of a call without its AU columns, N rows, and the features (N, D). The features of a row
            without a face are NaN.
        """
        rows, features = [], []
        for predictions in self.stream(
            load_images(images, every, fps), lambda inputs: [self.model.features(inputs)]
        ):
            rows.append(table(predictions, self.columns[: len(WHERE) + len(BOX) + 1]))
            empty = np.full((1, self.metadata.encoder.width), np.nan, dtype=np.float32)
            features += [one.values if one.crops else empty for one in predictions]
        return pd.concat(rows, ignore_index=True), np.concatenate(features)

    def stream(
        self, source: Iterable[SourceImage | UnreadableInput], call: Call | None = None
    ) -> Iterator[list[ImagePrediction]]:
        """Predict images batch by batch, in their order.

        Args:
            source: photos and frames, and the entries of inputs that cannot be read.
            call: a function from model inputs (B, 3, I, I) to outputs (B, ...); None for AU probabilities and
                intensities.
        """
        for batch in batch_images(source):
            yield self._predict(batch, call or self._aus)

    def _predict(self, batch: list[SourceImage | UnreadableInput], call: Call) -> list[ImagePrediction]:
        images = [image.frame.rgb for image in batch if isinstance(image, SourceImage)]
        if self.detector is None or not images:
            crops_by_image = [[finder.centre_crop(image, min(image.shape[:2]))] for image in images]
        else:
            crops_by_image = finder.find_crops(self.detector, images, faces=self.faces)
        values = self._values([crop.pixels for crops in crops_by_image for crop in crops], call)
        of_images = iter(crops_by_image)
        of_all = [next(of_images) if isinstance(image, SourceImage) else [] for image in batch]
        ends = np.cumsum([len(crops) for crops in of_all])
        return [
            ImagePrediction(image, crops, values[end - len(crops) : end])
            for image, crops, end in zip(batch, of_all, ends, strict=True)
        ]

    @torch.inference_mode()
    def _values(self, crops: list[NDArray[np.uint8]], call: Call) -> NDArray[np.float32]:
        """Return the outputs of F crops side by side, (F, K)."""
        settings = self.metadata.preprocessing
        values: list[NDArray[np.float32]] = []
        for start in range(0, len(crops), FACES_TOGETHER):
            group = crops[start : start + FACES_TOGETHER]
            one_side = len({crop.shape for crop in group}) == 1
            stacks = [np.stack(group)] if one_side else [crop[None] for crop in group]
            tensors = [torch.from_numpy(stack).to(self.device).permute(0, 3, 1, 2) for stack in stacks]
            inputs = torch.cat(
                [preprocessing.to_input(x, settings.image_size, settings.mean, settings.std) for x in tensors]
            )
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                outputs = call(inputs)
            values.append(torch.cat([output.float() for output in outputs], dim=1).cpu().numpy())
        return np.concatenate(values) if values else np.zeros((0, 0), dtype=np.float32)

    def _aus(self, inputs: Tensor) -> list[Tensor]:
        views = [inputs, inputs.flip(3)] if self.metadata.preprocessing.mirror else [inputs]
        outputs = [self.model(view) for view in views]
        kinds = [[output.probabilities() for output in outputs], [output.intensities() for output in outputs]]
        return [torch.stack(values).mean(dim=0) for values in kinds if values[0] is not None]
