"""The predictor: images in, a table of action units out.

Faces of photos are detected and cropped with the code of ``prepare``, so that a model gets the same pixels in
training and in use; the model's own preprocessing follows. Faces of videos are followed (``faces.following``)
and cropped at the size of the model's input.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from maeface import checks, facts
from maeface.config import Precision
from maeface.data.ingest.images import (
    ImageLike,
    SourceImage,
    UnreadableInput,
    batch_images,
    group_blocks,
    load_images,
)
from maeface.data.ingest.read_ahead import read_ahead
from maeface.faces import finder
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import WeightsSource, locate_detector_weights
from maeface.faces.finder import FaceChoice, FaceCrop
from maeface.faces.following import MIN_FACE, follow_faces
from maeface.faces.imaging import Image
from maeface.model.zoo import find
from maeface.prediction.networks import open_au_network
from maeface.prediction.rows import BOX, ImagePrediction, rows_of
from maeface.prediction.table_writer import WHERE
from maeface.prediction.tracks import number_tracks
from maeface.prediction.values import Crops, Output, to_values
from maeface.runtime.backends import Backend

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from maeface.model.au import AUModel


PIXELS_ON_GPU = 200_000_000
"""Pixels of the frames that a GPU works on together; a process holds twice as many, and their crops."""
Batch = list[SourceImage | UnreadableInput]


class Predictor:
    """An AU model with a face detector, ready to predict.

    Args:
        weights: a file written by ``maeface finetune``, or the name of packaged weights. None:
            ``maeface-nano``.
        device: "auto" (a GPU if there is one), "cpu", "cuda", or one of several GPUs: "cuda:0", "cuda:1", ...
        aligned: True if the images are face crops already; then no face is detected.
        faces: faces of an image to predict: "all" (best score first), the "largest", the most "central", or a
            number: so many of the largest.
        precision: precision of the AU model: "bf16" (several times faster on hardware that computes in it,
            different by some thousandths), "fp32", or "auto" (bf16 on such hardware).
        detector: weights of the face detector: "public" (downloaded once), "embedded" (part of the package),
            or "auto" (the public ones if they are on this machine, else the embedded ones).
        backend: what runs the networks: "torch", "openvino", "onnxruntime", or "auto" (PyTorch on a GPU, else
            the fastest of the others that are installed; then PyTorch is not even imported).
        threads: of a CPU; None leaves it to PyTorch, and is 1 for the other back ends.
        min_face: side of the smallest face that is searched for in videos, px; 0: as in photos.

    Attributes:
        metadata: the metadata of the weights: ``aus``, ``task``, ``thresholds``, ...
        columns: the columns of the table.
        weights: the path of the weights.
        detector: the face detector; None if no face is detected.
        detector_weights: the path of the face detector's weights; None if no face is detected.
        backend: the back end that is used.
        device: the device that is used: "cpu" or "cuda:N".
        precision: the precision of the AU model that is used: "fp32" or "bf16".
        films_on_device: whether frames of films are copied to the device, and many blocks followed together.

    Raises:
        ConfigError: an unknown choice; the allowed ones are listed.
        WeightsError: the file is not an AU model, or is damaged.
        ResourceError: there is no such device, the back end is not installed, or there are no weights for the
            face detector and no network.
    """

    def __init__(
        self,
        weights: Path | str | None = None,
        device: "str | torch.device" = "auto",
        aligned: bool = False,
        faces: FaceChoice = "all",
        precision: Precision = "auto",
        detector: WeightsSource = "auto",
        backend: Backend = "auto",
        threads: int | None = None,
        min_face: float = MIN_FACE,
    ) -> None:
        finder.require_face_choice(faces)
        checks.require_choice("detector", detector, get_args(WeightsSource))
        checks.require_choice("precision", precision, get_args(Precision))
        self.weights = find(weights)
        self.min_face, self._threads = min_face, threads
        name = checks.require_device(str(device))
        self._network = open_au_network(self.weights, name, precision, backend, threads)
        self.metadata = self._network.metadata
        self.backend, self.device = self._network.backend, self._network.device
        self.precision = self._network.precision
        self.faces: FaceChoice = faces
        self.films_on_device = self.device != "cpu"
        self.detector, self.detector_weights = None, None
        if not aligned:
            self.detector_weights = locate_detector_weights("mobilenet0.25", detector)
            self.detector = Detector(
                self.detector_weights, device=self.device, backend=self.backend, threads=threads
            )
        names = [facts.au_name(au) for au in self.metadata.aus]
        self.columns = [*WHERE, *BOX, "score"]
        self.columns += [f"{name}_p" for name in names if self.metadata.task != "intensity"]
        self.columns += [f"{name}_i" for name in names if self.metadata.task != "detection"]

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], every: int = 1, fps: float | None = None
    ) -> "pd.DataFrame":
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
            ``track`` (a number for each person of a video; NaN in photos), ``status`` ("ok", "no_face", or
            the reason why the input cannot be read), the box in px, ``score``, ``AU01_p`` ... (0..1),
            ``AU01_i`` ... (0..5). Files come first, sorted by name, then images in memory.

        Raises:
            ConfigError: a file does not exist, or ``every`` or ``fps`` is out of range.
            DataError: an object is not an image, or no input could be read. (If only some cannot be read,
                they are skipped with a message.)
        """
        return self._to_pandas(self.stream(load_images(images, every, fps)), self.columns)

    def embed(
        self, images: ImageLike | Iterable[ImageLike], every: int = 1, fps: float | None = None
    ) -> "tuple[pd.DataFrame, NDArray[np.float32]]":
        """Compute the features that the model's head reads.

        Takes the same arguments and raises the same errors as a call.

        Returns:
            The table of a call without its AU columns, N rows, and the features (N, D). The features of a row
            without a face are NaN.
        """
        empty = np.full((1, self.metadata.encoder.width), np.nan, dtype=np.float32)
        features: list[NDArray[np.float32]] = []

        def predict() -> Iterator[list[ImagePrediction]]:
            for batch in self.stream(load_images(images, every, fps), "features"):
                features.extend(one.values if one.crops else empty for one in batch)
                yield batch

        columns = self.columns[: len(WHERE) + len(BOX) + 1]
        return self._to_pandas(predict(), columns), np.concatenate(features)

    def _to_pandas(
        self, predictions: Iterable[Sequence[ImagePrediction]], columns: Sequence[str]
    ) -> "pd.DataFrame":
        """Return the rows of images as a pandas table; numbers that are missing are NaN."""
        pieces = number_tracks(rows_of(batch, columns) for batch in predictions)
        frame: pd.DataFrame = pa.concat_tables(pieces).to_pandas()
        return frame

    def stream(
        self, source: Iterable[SourceImage | UnreadableInput], output: Output = "head"
    ) -> Iterator[list[ImagePrediction]]:
        """Predict images batch by batch, in their order.

        Args:
            source: photos and frames, and the entries of inputs that cannot be read.
            output: "head" for AU probabilities and intensities, "features" for what the head reads.
        """
        groups = group_blocks(batch_images(source), PIXELS_ON_GPU if self.films_on_device else 0)
        pairs = ((group, self._film_frames(group)) for group in groups)
        for group, frames in read_ahead(pairs) if self.films_on_device else pairs:
            yield from self._predict(group, frames, output)

    def predict_crops(
        self, crops: Crops, output: Output = "head", mirror: bool = True
    ) -> NDArray[np.float32]:
        """Predict face crops, framed as ``faces.finder`` frames them.

        Args:
            crops: (F, S, S, 3) uint8 RGB, or F crops (S, S, 3) of any sides. Those of the model's own side,
                ``metadata.preprocessing.image_size``, are not resized.
            output: "head" for AU probabilities and intensities, "features" for what the head reads.
            mirror: whether to average with the mirror image, if the weights ask for it.

        Returns:
            (F, K) float32: the AU columns of the table, or the features; (0, K) without a crop.
        """
        if not len(crops):
            width = self.metadata.encoder.width
            columns = width if output == "features" else len(self.columns) - len(WHERE) - len(BOX) - 1
            return np.zeros((0, columns), np.float32)
        values = self._network.compute(crops, output, mirror)
        return to_values(values, self.metadata.task) if output == "head" else values

    @cached_property
    def model(self) -> "AUModel":
        """The AU model in PyTorch, in evaluation mode; with another back end it is loaded when first used."""
        from maeface.model.weights import load_model
        from maeface.prediction.torch_network import TorchNetwork

        network = self._network
        return network.model if isinstance(network, TorchNetwork) else load_model(self.weights)[0]

    def _predict(
        self, group: Sequence[Batch], frames: Sequence[Sequence[Image]], output: Output
    ) -> Iterator[list[ImagePrediction]]:
        """Predict a batch of photos, or blocks of films with their ``_film_frames``; yield batch by batch."""
        images = [image for batch in group for image in _images_of(batch)]
        found = iter(self._follow(frames) if frames else self._find_crops(images))
        of_all = [
            [next(found) if isinstance(image, SourceImage) else [] for image in batch] for batch in group
        ]
        crops_together = [crop.pixels for batch in of_all for crops in batch for crop in crops]
        # A film has many frames of the same face, and the mirror image doubles the time.
        values = self.predict_crops(crops_together, output, mirror=not any(one.video for one in images))
        start = 0
        for batch, crops_by_image in zip(group, of_all, strict=True):
            predictions = []
            for image, crops in zip(batch, crops_by_image, strict=True):
                predictions.append(ImagePrediction(image, crops, values[start : start + len(crops)]))
                start += len(crops)
            yield predictions

    def _film_frames(self, group: Sequence[Batch]) -> list[list[Image]]:
        """Return the frames of each block, on the device that follows faces; [] for photos, and for crops."""
        images = [_images_of(batch) for batch in group]
        if self.detector is None or not any(image.video for of_batch in images for image in of_batch):
            return []
        arrays = [image.frame.rgb for of_batch in images for image in of_batch]
        frames: list[Image] = [*arrays]
        if self.films_on_device:
            from maeface.faces.device_frames import upload

            frames = [*upload(arrays, self.device)]
        rest = iter(frames)
        return [[next(rest) for _ in of_batch] for of_batch in images]

    def _follow(self, blocks: Sequence[Sequence[Image]]) -> list[list[FaceCrop]]:
        """Return the crops of each frame of blocks of films."""
        located = follow_faces(self.film_detector, blocks, self.faces, self.min_face)
        frames = [frame for block in blocks for frame in block]
        faces = [faces for block in located for faces in block]
        return finder.crop_faces(frames, faces, self.metadata.preprocessing.image_size)

    def _find_crops(self, images: Sequence[SourceImage]) -> list[list[FaceCrop]]:
        """Return the crops of photos, or of images that are crops already."""
        pixels = [image.frame.rgb for image in images]
        if self.detector is None:
            return [[finder.centre_crop(one, min(one.shape[:2]))] for one in pixels]
        return finder.find_crops(self.detector, pixels, faces=self.faces)

    @property
    def film_detector_precision(self) -> Precision | None:
        """The precision of the face detector in videos: "fp32" or "bf16"; None if no face is detected.

        It is that of the AU model where this makes it faster. In photos it is always "fp32".
        """
        if self.detector is None:
            return None
        return "bf16" if self.backend == "openvino" and self.precision == "bf16" else "fp32"

    @cached_property
    def film_detector(self) -> Detector:
        """The face detector of videos."""
        assert self.detector is not None
        if self.film_detector_precision == "fp32":
            return self.detector
        return Detector(
            self.detector_weights,
            precision="bfloat16",
            threshold=self.detector.threshold,
            backend=self.backend,
            threads=self._threads,
        )


def _images_of(batch: Batch) -> list[SourceImage]:
    return [image for image in batch if isinstance(image, SourceImage)]
