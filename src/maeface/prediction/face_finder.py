"""The faces of images, cropped for a network: of photos, of films, and crops that are ready."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from maeface.config import Precision
from maeface.data.ingest.images import GroupLimits, SourceImage, UnreadableInput
from maeface.faces import finder
from maeface.faces.detector import Detector
from maeface.faces.finder import FaceChoice, FaceCrop
from maeface.faces.following import follow_faces
from maeface.faces.imaging import Image

ON_GPU = GroupLimits(batches=64, images=1024, pixels=200_000_000)
"""Blocks, frames and pixels of frames that a GPU works on together. A process holds two such groups, the next
one too: 0.6 GB and a block (0.15 GB and a frame) each. Smaller copies of the frames that are worked on take a
third of their memory. For each face of 64 frames there is a window of 110 kB."""
CROPS_TOGETHER = 4096
"""Faces whose crops a process holds, and those of one block more: 0.6 GB with crops of 224 px."""
Batch = list[SourceImage | UnreadableInput]
"""Photos, or frames of one block of a film; see ``batch_images``."""


class FaceFinder:
    """Finds and crops faces.

    Args:
        detector: of the faces of photos; None if the images are crops already.
        weights: of the detector.
        bf16: whether the detector of films may compute in bfloat16: OpenVINO is faster then.
        threads: of the detector, as for ``Detector``.
        faces: which faces of an image, as for ``finder.find_crops``.
        min_face: side of the smallest face that is searched for in films, px.
        size: side of the crops of films, px.

    Attributes:
        film_precision: precision of the detector of films, "fp32" or "bf16"; None without a detector.
        on_device: whether frames of films are copied to the detector's device, and many blocks followed
            together.
    """

    def __init__(
        self,
        detector: Detector | None,
        weights: Path | None,
        bf16: bool,
        threads: int | None,
        faces: FaceChoice,
        min_face: float,
        size: int,
    ) -> None:
        self._detector, self._weights, self._threads = detector, weights, threads
        self._faces, self._min_face, self._size = faces, min_face, size
        self.film_precision: Precision | None = None
        if detector is not None:
            self.film_precision = "bf16" if bf16 and detector.backend == "openvino" else "fp32"
        self.on_device = detector is not None and detector.device != "cpu"

    @cached_property
    def film_detector(self) -> Detector:
        """The detector of the faces of films."""
        assert self._detector is not None
        if self.film_precision == "fp32":
            return self._detector
        return Detector(
            self._weights,
            precision="bfloat16",
            threshold=self._detector.threshold,
            backend=self._detector.backend,
            threads=self._threads,
        )

    @property
    def limits(self) -> GroupLimits:
        """How many batches are worked on together; on a CPU each is by itself."""
        return ON_GPU if self.on_device else GroupLimits()

    def film_frames(self, group: Sequence[Batch]) -> list[list[Image]]:
        """Return the frames of each block, where they are followed; [] for photos, and for ready crops."""
        images = [images_of(batch) for batch in group]
        if self._detector is None or not any(image.video for some in images for image in some):
            return []
        arrays = [image.frame.rgb for some in images for image in some]
        frames: list[Image] = [*arrays]
        if self.on_device:
            from maeface.faces.device_frames import upload

            frames = [*upload(arrays, self.film_detector.device)]
        rest = iter(frames)
        return [[next(rest) for _ in some] for some in images]

    def find(
        self, group: Sequence[Batch], frames: Sequence[Sequence[Image]]
    ) -> Iterator[tuple[Sequence[Batch], list[list[FaceCrop]]]]:
        """Yield the batches of a group, some at a time, with the crops of each of their images.

        Args:
            group: a batch of photos, or blocks of films, which are followed side by side and then cropped as
                many at a time as have ``CROPS_TOGETHER`` faces.
            frames: their ``film_frames``.
        """
        if not frames:
            yield group, self._find_in_photos([image for batch in group for image in images_of(batch)])
            return
        located = follow_faces(self.film_detector, frames, self._faces, self._min_face)
        start = faces = 0
        for stop, block in enumerate(located, 1):
            faces += sum(map(len, block))
            if faces >= CROPS_TOGETHER or stop == len(located):
                flat = [frame for some in frames[start:stop] for frame in some]
                of_frames = [found for some in located[start:stop] for found in some]
                yield group[start:stop], finder.crop_faces(flat, of_frames, self._size)
                start, faces = stop, 0

    def _find_in_photos(self, images: Sequence[SourceImage]) -> list[list[FaceCrop]]:
        pixels = [image.frame.rgb for image in images]
        if self._detector is None:
            return [[finder.centre_crop(one, min(one.shape[:2]))] for one in pixels]
        return finder.find_crops(self._detector, pixels, faces=self._faces) if pixels else []


def images_of(batch: Batch) -> list[SourceImage]:
    """Return the images of a batch, without the entries for what is missing."""
    return [image for image in batch if isinstance(image, SourceImage)]
