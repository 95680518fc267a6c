"""The face detector: RetinaFace with preparation of the images and non-maximum suppression."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from maeface import files
from maeface.errors import ConfigError
from maeface.faces.detector_weights import BACKBONES, EMBEDDED, Backbone, locate_detector_weights
from maeface.faces.geometry import Face
from maeface.faces.imaging import Image, Stack, stack
from maeface.faces.landmarks import LandmarkFunction, move_landmarks, refine_landmarks
from maeface.faces.onnx_detector import OnnxNetworks
from maeface.runtime.backends import Backend, is_installed, require_backend
from maeface.runtime.choice import choose_backend

if TYPE_CHECKING:
    import torch

# Longer images are shrunk to this for detection, px. Faces under about 10 px of the shrunk image are missed.
MAX_SIDE = 2048
NMS_OVERLAP = 0.4
GPU_BATCH_PIXELS = 32 * 640 * 640
PROBE_SIDES = (192, 320)  # of the images that back ends are compared with, px


class Networks(Protocol):
    """The networks of a detector.

    Attributes:
        device: where they run, "cpu" or "cuda:N".
        landmark_net: the network that refines landmarks; None if the file of weights has none.
    """

    device: str
    landmark_net: LandmarkFunction | None

    def detect(self, images: Stack, threshold: float) -> list[NDArray[np.float32]]:
        """Return the candidates of each image (B, H, W, 3): rows (N, 15) of box, landmarks and score."""


class Detector:
    """A face detector.

    If the file of weights holds a landmark network too (the embedded one does), it refines the landmarks, and
    faces whose landmarks do not converge are dropped.

    On a CPU the networks run on one image at a time: their layers are so small that a batch saves nothing,
    and the result for an image cannot depend on the other images. On a GPU images of one shape share a batch.

    Args:
        weights: a public checkpoint, or an embedded one as ``maeface-studio`` writes it; None for
            ``locate_detector_weights(backbone)``.
        backbone: ``mobilenet0.25`` or ``resnet50``.
        device: "auto", "cpu", "cuda", "cuda:N", or a torch device.
        precision: ``float32``, or ``bfloat16`` for the detection; ``auto`` is float32, because bfloat16 moves
            boxes by more than a pixel. ONNX Runtime computes in float32 always.
        threshold: lowest score of a face, 0..1.
        backend: ``torch``, ``onnxruntime``, ``openvino``, or ``auto``: PyTorch on a GPU, else the fastest
            that is installed. Only PyTorch runs ``resnet50``.
        threads: of a CPU, for each image; None leaves it to PyTorch, and is 1 for other back ends.

    Attributes:
        backend: the back end that is used.
        device: the device that is used, "cpu" or "cuda:N".
        batched: whether several images share a batch.
        bfloat16: whether bfloat16 was asked for.
        landmark_net: the network that refines landmarks; None if the weights have none.

    Raises:
        ConfigError: an unknown backbone, precision or back end, or a back end that does not run the backbone
            or not on the device.
        WeightsError: the file is not such a checkpoint.
        ResourceError: the weights cannot be obtained, or the device is not available.
    """

    def __init__(
        self,
        weights: Path | None = None,
        backbone: Backbone = "mobilenet0.25",
        device: "str | torch.device" = "cpu",
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        threshold: float = 0.5,
        backend: Backend = "torch",
        threads: int | None = None,
    ) -> None:
        if backbone not in BACKBONES:
            raise ConfigError(
                f"unknown backbone {backbone!r} of the face detector; choose one of {', '.join(BACKBONES)}"
            )
        if precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(
                f"unknown precision {precision!r} of the face detector; choose auto, float32 or bfloat16"
            )
        self.threshold, self._threads = threshold, threads
        self.bfloat16 = precision == "bfloat16"
        path = weights or locate_detector_weights(backbone)
        self.backend, device = choose_detector_backend(backend, str(device), backbone, path, self.bfloat16)
        if self.backend == "torch":
            from maeface.faces.torch_detector import TorchNetworks

            self.networks: Networks = TorchNetworks(path, backbone, device, self.bfloat16, threads)
        else:
            self.networks = OnnxNetworks(path, self.backend, self.bfloat16, threads or 1)
        self.device = self.networks.device
        self.batched = self.device != "cpu"
        self.landmark_net = self.networks.landmark_net

    def find(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return the faces of each image, best score first; an empty list for an image without a face.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.
        """
        detected = self.detect(images)
        if self.batched:
            return self._refine(images, detected)
        return [self._refine([image], [faces])[0] for image, faces in zip(images, detected, strict=True)]

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Return the faces of each image as ``find`` does, but with RetinaFace's own landmarks."""
        shapes: dict[tuple[int, ...], list[int]] = {}
        shrunk = [_shrink(image) for image in images]
        for i, image in enumerate(shrunk):
            shapes.setdefault(image.shape[:2], []).append(i)
        faces: list[list[Face]] = [[] for _ in images]
        for (height, width), indices in shapes.items():
            batch = max(1, GPU_BATCH_PIXELS // (height * width)) if self.batched else 1
            for start in range(0, len(indices), batch):
                chunk = indices[start : start + batch]
                found = self.networks.detect(stack([shrunk[i] for i in chunk]), self.threshold)
                for i, rows in zip(chunk, found, strict=True):
                    keep = non_maximum_suppression(rows[:, :4], rows[:, 14], NMS_OVERLAP)
                    faces[i] = _to_faces(rows[keep], shrunk[i].shape[:2], images[i].shape[:2])
        return faces

    def move_landmarks(
        self, images: Sequence[Image], landmarks: Sequence[NDArray[np.float32]]
    ) -> list[tuple[NDArray[np.float32], float]]:
        """Move landmarks to where the landmark network sees them, in one fast pass.

        This is the packaged landmark network if the weights have none.

        Args:
            images: (H, W, 3) uint8 RGB, the image of each face.
            landmarks: (5, 2) px of each face, such as those of the frame before.

        Returns:
            for each face its landmarks (5, 2) px, and their mean shift in sizes of the face.
        """
        return move_landmarks(self._moving_net, images, landmarks, bilinear=True)

    @cached_property
    def _moving_net(self) -> LandmarkFunction:
        if self.landmark_net is not None:
            return self.landmark_net
        net = Detector(EMBEDDED, device=self.device, backend=self.backend, threads=self._threads).landmark_net
        assert net is not None, EMBEDDED
        return net

    def _refine(self, images: Sequence[Image], detected: list[list[Face]]) -> list[list[Face]]:
        """Refine the landmarks, if there is a network for it; drop faces where they do not converge."""
        if self.landmark_net is None:
            return detected
        pairs = [(i, face) for i, faces in enumerate(detected) for face in faces]
        refined = refine_landmarks(
            self.landmark_net, [images[i] for i, _ in pairs], [face.landmarks for _, face in pairs]
        )
        kept: list[list[Face]] = [[] for _ in images]
        for (i, face), (landmarks, converged) in zip(pairs, refined, strict=True):
            if converged:
                kept[i].append(replace(face, landmarks=landmarks))
        return kept


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def non_maximum_suppression(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], max_overlap: float
) -> NDArray[np.intp]:
    """Return the indices of the boxes to keep, best score first.

    The result is that of ``torchvision.ops.nms`` on a CPU, bit for bit; importing torchvision takes seconds.

    Args:
        boxes: (N, 4) x1 y1 x2 y2.
        scores: (N,); of equal scores the first comes first.
        max_overlap: largest intersection over union of two kept boxes.
    """
    first, last = boxes[:, :2], boxes[:, 2:]
    areas = (last - first).prod(axis=1)
    remaining = np.argsort(-scores, kind="stable")
    kept = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        sides = np.minimum(last[best], last[remaining]) - np.maximum(first[best], first[remaining])
        intersections = np.maximum(sides, 0).prod(axis=1)
        overlaps = intersections / (areas[best] + areas[remaining] - intersections)  # NaN of two empty boxes
        # in float64, because float32 would round max_overlap
        remaining = remaining[~(overlaps.astype(np.float64) > max_overlap)]
    return np.array(kept, dtype=np.intp)


def choose_detector_backend(
    asked: str, device: str, backbone: Backbone, weights: Path, bfloat16: bool = False
) -> tuple[Backend, str]:
    """Return the back end and the device of a detector; arguments and errors as for ``Detector``."""
    if backbone != "mobilenet0.25":
        if require_backend(asked) not in ("auto", "torch"):
            raise ConfigError(f"backend {asked} does not run the face detector's {backbone}; ask for torch")
        asked = "torch"

    def probe(backend: Backend) -> Callable[[], object]:
        networks = OnnxNetworks(weights, backend, False, 1)
        images = [np.zeros((1, side, side, 3), np.uint8) for side in PROBE_SIDES]
        return lambda: [networks.detect(image, 0.5) for image in images]

    chosen, device = choose_backend(asked, device, lambda: f"detector {files.sha256(weights)}", probe)
    if asked == "auto" and chosen == "onnxruntime" and bfloat16 and is_installed("openvino"):
        chosen = "openvino"  # the only one that computes in bfloat16
    return chosen, device


def _shrink(image: Image) -> Image:
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= MAX_SIDE:
        return image
    image = np.asarray(image)
    size = (max(1, round(width * MAX_SIDE / longest)), max(1, round(height * MAX_SIDE / longest)))
    resized = PillowImage.fromarray(image).resize(size, PillowImage.Resampling.BILINEAR, reducing_gap=2.0)
    return np.array(resized)


def _to_faces(rows: NDArray[np.float32], shape: tuple[int, ...], original: tuple[int, ...]) -> list[Face]:
    """Convert the network's rows to faces in px of the original image, with boxes clipped at its borders."""
    scale = np.array([original[1] / shape[1], original[0] / shape[0]], np.float32)
    limit = np.array([original[1], original[0]], np.float32)
    faces = []
    for row in rows:
        corners = np.clip(row[:4].reshape(2, 2) * scale, 0, limit)
        if (corners[1] - corners[0] < 1).any():
            continue
        faces.append(Face(corners.reshape(4), row[4:14].reshape(5, 2) * scale, float(row[14])))
    return faces
