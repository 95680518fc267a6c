"""The predictor: images in, a table of action units out.

Faces of photos are detected and cropped with the code of ``prepare``, so that a model gets the same pixels in
training and in use; the model's own preprocessing follows. Faces of videos are followed (``faces.following``)
and cropped at the size of the model's input.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self, get_args

import numpy as np
import pyarrow as pa

from maeface import checks
from maeface.config import Precision
from maeface.data.ingest import images as inputs
from maeface.data.ingest.images import ImageLike, SourceImage, UnreadableInput
from maeface.data.ingest.read_ahead import closed, read_ahead
from maeface.errors import ConfigError
from maeface.faces import finder, media, quality
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import WeightsSource, locate_detector_weights
from maeface.faces.following import MIN_FACE
from maeface.faces.imaging import Image
from maeface.model.zoo import find
from maeface.prediction import chimeras, rows
from maeface.prediction.columns import au_columns, choose_thresholds, face_columns, make_consistent
from maeface.prediction.face_finder import Batch, FaceFinder, images_of
from maeface.prediction.networks import CLOSED, compute_faces, open_au_network
from maeface.prediction.results import FrameResult, Progress, VideoResult, frames_of
from maeface.prediction.rows import ImagePrediction
from maeface.prediction.table_writer import WHERE
from maeface.prediction.tracks import number_tracks
from maeface.prediction.values import Crops, Floats, Output, Values, require_crops
from maeface.runtime.backends import Backend

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from maeface.model.au import AUModel


class Predictor:
    """An AU model with a face detector, ready to predict.

    Args:
        weights: a file of ``maeface finetune``, a folder of ``maeface export --to hub``, "hf:ORG/NAME", or
            the name of packaged weights. None: the packaged default, "maeface-nano-96".
        device: "auto" (a GPU if there is one), "cpu", "cuda", or one of several GPUs: "cuda:1", ...
        aligned: True if the images are face crops already; then no face is detected.
        faces: faces of an image to predict: "all" (best score first), the "largest", the most "central", or a
            number: so many of the largest.
        precision: precision of the AU model: "bf16" (several times faster on hardware that computes in it,
            different by some thousandths), "fp32", or "auto" (bf16 on such hardware).
        detector: weights of the face detector: "public" (downloaded once), "embedded" (part of the package),
            or "auto" (the public ones if they are on this machine, else the embedded ones).
        backend: what runs the networks: "torch", "openvino", "onnxruntime", or "auto" (PyTorch on a GPU, else
            the fastest of the others that are installed; then PyTorch is not even imported).
        threads: of a CPU, 1 or more; None leaves it to PyTorch, and is 1 for the other back ends.
        min_face: side of the smallest face that is searched for in videos, px; 0: as in photos.
        face_threshold: least score of a face, 0 to 1.
        au_thresholds: {action unit: probability from which it occurs}, or one for all; else the weights' own.
        sides: add intensities of the subject's left and right, ``AU12_L`` and ``AU12_R`` (``chimeras``).

    Several threads may use a predictor; its networks serve one at a time. ``close`` or the end of a ``with``
    block frees them.

    Attributes:
        metadata: the metadata of the weights: ``aus``, ``task``, ``thresholds``, ...
        thresholds: probability from which each action unit of ``metadata.aus`` occurs.
        columns, au_columns: the columns of the table, and those of them that are of action units.
        sides: the action units with columns of left and right, which are the last ones.
        weights: the path of the weights.
        detector, detector_weights: the face detector and the path of its weights; None if it is not needed.
        backend, device: in use; the device is "cpu" or "cuda:N".
        precision: of the AU model in use: "fp32" or "bf16".

    Raises:
        ConfigError: an unknown choice (the allowed ones are listed), or sides that are not possible.
        WeightsError: the file is not an AU model, or is damaged.
        ResourceError: no such device, a back end that is not installed, or no weights of the face detector.
    """

    def __init__(
        self,
        weights: Path | str | None = None,
        device: "str | torch.device" = "auto",
        aligned: bool = False,
        faces: finder.FaceChoice = "all",
        precision: Precision = "auto",
        detector: WeightsSource = "auto",
        backend: Backend = "auto",
        threads: int | None = None,
        min_face: float = MIN_FACE,
        face_threshold: float = 0.5,
        au_thresholds: Mapping[int, float] | float | None = None,
        sides: bool = False,
    ) -> None:
        finder.require_face_choice(faces)
        chimeras.refuse_ready_crops(sides, aligned)
        checks.require_choice("detector", detector, get_args(WeightsSource))
        checks.require_choice("precision", precision, get_args(Precision))
        checks.require_not_negative("min_face", min_face)
        checks.require_fraction("face_threshold", face_threshold)
        checks.require_positive("threads", 1 if threads is None else threads)
        self.weights = find(weights)
        self.min_face, self._threads = min_face, threads
        device = checks.require_device(str(device))
        network = self._network = open_au_network(self.weights, device, precision, backend, threads)
        self.metadata, self.backend = network.metadata, network.backend
        self.device, self.precision = network.device, network.precision
        self.faces: finder.FaceChoice = faces
        self.detector, self.detector_weights = None, None
        if not aligned:
            self.detector_weights = locate_detector_weights("mobilenet0.25", detector)
            self.detector = Detector(
                self.detector_weights,
                device=self.device,
                threshold=face_threshold,
                backend=self.backend,
                threads=threads,
            )
        self.thresholds = choose_thresholds(self.metadata, au_thresholds)
        self.sides = chimeras.sided_aus(self.metadata, sides)
        self.au_columns = au_columns(self.metadata.aus, self.metadata.task, self.sides)
        self.columns = [*WHERE, *face_columns(self.metadata.unlike is not None), *self.au_columns]

    def __repr__(self) -> str:
        return f"Predictor({self.weights.stem}, {self.backend} on {self.device}, {self.precision})"

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
            ``track`` (a number for each person of a video; NaN in photos), ``status`` ("ok", "low_quality",
            "no_face", or the reason why the input cannot be read), the box in px, ``score``, measures of
            quality, the five points, ``AU01`` ... (0 or 1), ``AU01_p`` ... (0..1), ``AU01_i`` ... (0..5).
            Files come first, sorted by name, then images in memory.

        Raises:
            ConfigError: a file does not exist, or ``every`` or ``fps`` is out of range.
            DataError: an object is not an image, or no input could be read. (If only some cannot be read,
                they are skipped with a message.)
        """
        return VideoResult(self._tables(inputs.load_images(images, every, fps), None, None)).to_pandas()

    def image(self, image: ImageLike) -> FrameResult:
        """Predict one photo.

        Args:
            image: a path, or an image in memory as for a call.

        Raises:
            ConfigError: the file does not exist, or it has several images, as a video or a folder.
            DataError: the object is not an image, or cannot be read.
        """
        results = self.images([image])
        result = next(results)
        if next(results, None) is not None:
            raise ConfigError("expected one photo, got several images; call video() or images() instead")
        return result

    def images(
        self, images: ImageLike | Iterable[ImageLike], progress: Progress | None = None
    ) -> Iterator[FrameResult]:
        """Predict photos and videos; yield each photo and each frame as soon as it is predicted.

        Args:
            images: as for a call.
            progress: called after each batch with the number of photos and frames so far, and None.

        Errors are those of a call, and are raised when the first image is asked for.
        """
        yield from frames_of(self._tables(inputs.load_images(images), progress, None))

    def video(
        self, path: Path | str, every: int = 1, fps: float | None = None, progress: Progress | None = None
    ) -> VideoResult:
        """Predict a video while its frames are iterated over; ``.to_pandas()`` returns the whole table.

        Args:
            path: of the video.
            every: read every n-th frame.
            fps: read at most this many frames per second, instead of ``every``.
            progress: called after each half a second of the video with the number of frames so far, and the
                number that the file says it has (None if it does not say).

        Errors are those of a call. If the file can be read in part, the frames that lack have a ``status``.
        """
        total = None
        if progress is not None and every == 1 and fps is None:
            with suppress(media.MediaError):  # its row will say why
                total = media.count_frames(Path(path))
        return VideoResult(self._tables(inputs.load_images(path, every, fps), progress, total))

    def _tables(
        self, source: Iterable[SourceImage | UnreadableInput], progress: Progress | None, total: int | None
    ) -> Iterator[pa.Table]:
        return number_tracks(rows.count_rows(self.stream(source), self.columns, progress, total))

    def close(self) -> None:
        """Free the networks; after it, predicting raises ``ResourceError``."""
        for name in ("_network", "detector", "face_finder", "model"):
            self.__dict__.pop(name, None)
        self._network = self.detector = CLOSED

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def embed(
        self, images: ImageLike | Iterable[ImageLike], every: int = 1, fps: float | None = None
    ) -> "tuple[pd.DataFrame, Floats]":
        """Compute the features that the model's head reads.

        Takes the same arguments and raises the same errors as a call.

        Returns:
            The table of a call without its AU columns, N rows; and (N, D) float32 features without a unit, D
            being ``metadata.encoder.width``; NaN in rows without a face.
        """
        empty = np.full((1, self.metadata.encoder.width), np.nan, dtype=np.float32)
        features: list[Floats] = []

        def predict() -> Iterator[list[ImagePrediction]]:
            for batch in self.stream(inputs.load_images(images, every, fps), "features"):
                features.extend(one.values if one.crops else empty for one in batch)
                yield batch

        columns = [*WHERE, *face_columns(unlike=False)]
        table = VideoResult(number_tracks(rows.rows_of(batch, columns) for batch in predict())).to_pandas()
        return table, np.concatenate(features)

    def stream(
        self, source: Iterable[SourceImage | UnreadableInput], output: Output = "head"
    ) -> Iterator[list[ImagePrediction]]:
        """Predict images batch by batch, in their order.

        Args:
            source: photos and frames, and the entries of inputs that cannot be read.
            output: "head" for AU probabilities and intensities, "features" for what the head reads.
        """
        on_device = self.face_finder.on_device
        groups = inputs.group_blocks(inputs.batch_images(source), self.face_finder.limits)
        pairs = ((group, self.face_finder.film_frames(group)) for group in groups)
        with closed(source), closed(read_ahead(pairs) if on_device else pairs) as items:
            for group, frames in items:
                yield from self._predict(group, frames, output)

    def predict_crops(self, crops: Crops, output: Output = "head", mirror: bool = True) -> Floats:
        """Predict face crops, framed as ``faces.finder`` frames them.

        Args:
            crops: (F, S, S, 3) uint8 RGB, or F crops (S, S, 3) of any sides. They are resized to the model's
                own side, ``metadata.preprocessing.image_size``.
            output: "head" for AU probabilities and intensities, "features" for what the head reads.
            mirror: whether to average with the mirror image, if the weights ask for it.

        Returns:
            (F, K) float32: probabilities (0..1) and intensities (0..5) as the network gives them, in order of
            ``au_columns`` between the occurrences and the sides, or the features; (0, K) without a crop.

        Raises:
            ConfigError, DataError: an unknown output; crops of another type or shape.
        """
        checks.require_choice("output", output, get_args(Output))
        require_crops(crops)
        return compute_faces(self._network, crops, output, mirror)[0]

    def predict_faces(self, crops: Crops, output: Output = "head", mirror: bool = True) -> Values:
        """Predict face crops; arguments as for ``predict_crops``.

        Returns:
            (F, K) float32: the AU columns of the table without those of the sides, or the features; and (F,)
            ``unlike``, from 0: how little a face is like those of the training. NaN: it is not known.
        """
        values, unlike = compute_faces(self._network, crops, output, mirror)
        return values if output == "features" else self.to_columns(values), unlike

    def to_columns(self, values: Floats) -> Floats:
        """Return the AU columns of the table, without those of the sides, for ``predict_crops``."""
        return make_consistent(values, self.metadata.task, self.thresholds)

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
        """Predict a batch of photos, or blocks of films with their frames; yield batch by batch."""
        film = any(image.video for batch in group for image in images_of(batch))
        for batches, crops_of_images in self.face_finder.find(group, frames):
            of_all = rows.crops_by_batch(batches, crops_of_images)
            faces = [crop for batch in of_all for crops in batch for crop in crops]
            # A film has many frames of the same face, and the mirror image doubles the time.
            values, unlike = self.predict_faces([face.pixels for face in faces], output, mirror=not film)
            measures = quality.measure_quality(faces, rows.shapes_of(batches, of_all), unlike)
            if output == "head":
                values = chimeras.add_sides(self, values, faces, measures, mirror=not film)
            yield from rows.join_predictions(batches, of_all, values, measures)

    @cached_property
    def face_finder(self) -> FaceFinder:
        """What finds and crops the faces."""
        size = self.metadata.preprocessing.image_size
        networks = (self.detector, self.detector_weights, self.precision == "bf16", self._threads)
        return FaceFinder(*networks, self.faces, self.min_face, size)
