"""The face detector: RetinaFace with preparation of the images and non-maximum suppression."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from maeface.errors import ConfigError, ResourceError, WeightsError
from maeface.faces.detector_weights import locate_detector_weights
from maeface.faces.geometry import Face
from maeface.faces.landmarks import LandmarkNet, refine_landmarks
from maeface.faces.retinaface import (
    BACKBONES,
    MEAN_BGR,
    Backbone,
    RetinaFace,
    decode,
    fuse_batch_norms,
    make_anchors,
    parameter_shapes,
)

__all__ = ["Detector", "RetinaFace"]

# Longer images are shrunk to this for detection, px. Faces under about 10 px of the shrunk image are missed.
MAX_SIDE = 2048
NMS_OVERLAP = 0.4
GPU_BATCH_PIXELS = 32 * 640 * 640
LANDMARK_PREFIX = "points."  # of the landmark network's parameters in a file
_MAX_CACHED_SHAPES = 64


class Detector:
    """A face detector.

    If the file of weights holds a landmark network too (the embedded one does), it refines the landmarks, and
    faces whose landmarks do not converge are dropped.

    On a CPU the network runs on one image at a time: its layers are so small that a batch saves nothing, and
    the result for an image cannot depend on the other images. On a GPU images of one shape share a batch.

    Args:
        weights: a public checkpoint, or an embedded one as ``maeface-studio`` writes it; None for
            ``locate_detector_weights(backbone)``.
        backbone: ``mobilenet0.25`` or ``resnet50``.
        device: a torch device.
        precision: ``float32``, or ``bfloat16`` for the convolutions; ``auto`` is float32, because
            bfloat16 moves boxes by more than a pixel.
        threshold: lowest score of a face, 0..1.

    Raises:
        ConfigError: an unknown backbone or precision.
        WeightsError: the file is not such a checkpoint.
        ResourceError: the weights cannot be obtained, or the device is not available.
    """

    def __init__(
        self,
        weights: Path | None = None,
        backbone: Backbone = "mobilenet0.25",
        device: str | torch.device = "cpu",
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        threshold: float = 0.5,
    ) -> None:
        if backbone not in BACKBONES:
            raise ConfigError(
                f"unknown backbone {backbone!r} of the face detector; choose one of {', '.join(BACKBONES)}"
            )
        if precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(
                f"unknown precision {precision!r} of the face detector; choose auto, float32 or bfloat16"
            )
        self.threshold = threshold
        self.bfloat16 = precision == "bfloat16"
        network = RetinaFace(backbone)
        landmark_net = load_weights(network, weights or locate_detector_weights(backbone))
        try:
            self.device = torch.device(device)
            network = fuse_batch_norms(network.eval()).requires_grad_(False).to(self.device)
            self.network = network.to(memory_format=torch.channels_last)
            if landmark_net is not None:
                landmark_net = fuse_batch_norms(landmark_net.eval()).requires_grad_(False).to(self.device)
            self.landmark_net = landmark_net
        except (RuntimeError, AssertionError) as error:
            raise ResourceError(
                f"the face detector cannot use device {device!s}: {str(error).splitlines()[0]}"
            ) from error
        self._mean = torch.tensor(MEAN_BGR, device=self.device).view(3, 1, 1)
        self._anchors: dict[tuple[int, int], Tensor] = {}

    def find(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        """Return the faces of each image, best score first; an empty list for an image without a face.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.
        """
        shapes: dict[tuple[int, int], list[int]] = {}
        shrunk = [_shrink(image) for image in images]
        for i, image in enumerate(shrunk):
            shapes.setdefault(image.shape[:2], []).append(i)
        faces: list[list[Face]] = [[] for _ in images]
        for (height, width), indices in shapes.items():
            batch = 1 if self.device.type == "cpu" else max(1, GPU_BATCH_PIXELS // (height * width))
            for start in range(0, len(indices), batch):
                chunk = indices[start : start + batch]
                for i, rows in zip(chunk, self._detect([shrunk[i] for i in chunk]), strict=True):
                    detected = _to_faces(rows, shrunk[i].shape[:2], images[i].shape[:2])
                    faces[i] = self._refine(images[i], detected)
        return faces

    def _refine(self, image: NDArray[np.uint8], faces: list[Face]) -> list[Face]:
        """Refine the landmarks, if there is a network for it; drop faces where they do not converge."""
        if self.landmark_net is None:
            return faces
        refined = refine_landmarks(self.landmark_net, image, [face.landmarks for face in faces])
        return [
            replace(face, landmarks=landmarks)
            for face, (landmarks, converged) in zip(faces, refined, strict=True)
            if converged
        ]

    @torch.inference_mode()
    def _detect(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Return rows of box, landmarks and score (N, 15) for each image; the images have one shape."""
        pixels = torch.from_numpy(np.stack(images)).to(self.device)  # (B, H, W, 3)
        x = pixels.permute(0, 3, 1, 2).flip(1).float().sub_(self._mean)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits, boxes, landmarks = self.network(x)
        scores = (logits[..., 1].float() - logits[..., 0].float()).sigmoid()  # (B, A)
        anchors = self._cached_anchors(images[0].shape[0], images[0].shape[1])
        rows = []
        for i in range(len(images)):
            above = torch.nonzero(scores[i] > self.threshold).squeeze(1)
            box, points = decode(anchors[above], boxes[i, above].float(), landmarks[i, above].float())
            row = torch.cat([box, points.flatten(1), scores[i, above, None]], dim=1)
            row = row[torch.isfinite(row).all(dim=1)]
            candidates = cast(NDArray[np.float32], row.cpu().numpy())
            keep = non_maximum_suppression(candidates[:, :4], candidates[:, 14], NMS_OVERLAP)
            rows.append(candidates[keep])
        return rows

    def _cached_anchors(self, height: int, width: int) -> Tensor:
        anchors = self._anchors.get((height, width))
        if anchors is None:
            if len(self._anchors) >= _MAX_CACHED_SHAPES:
                self._anchors.clear()
            anchors = self._anchors[height, width] = make_anchors(height, width).to(self.device)
        return anchors


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


def load_weights(network: RetinaFace, path: Path) -> LandmarkNet | None:
    """Load a checkpoint, public or ``.safetensors``, into ``network``, by name and strictly.

    Returns:
        the landmark network, if the file holds one too.

    Raises:
        WeightsError: the file cannot be read, or its names or shapes differ from the network's.
    """
    try:
        data = path.read_bytes()
        state: Any = (
            safetensors.torch.load(data)
            if path.suffix == ".safetensors"
            else torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        )
    except FileNotFoundError as error:
        raise WeightsError(f"no face detector weights at {path}") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes may raise any exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path} is not a RetinaFace checkpoint: {reason}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} is not a RetinaFace checkpoint: expected a dictionary of tensors")
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    landmark_state = {
        name.removeprefix(LANDMARK_PREFIX): state.pop(name)
        for name in list(state)
        if name.startswith(LANDMARK_PREFIX)
    }
    _load_state(network, state, path, "this backbone", "choose the backbone it was made for")
    if not landmark_state:
        return None
    landmark_net = LandmarkNet()
    _load_state(landmark_net, landmark_state, path, "the landmark network", "get the file again")
    return landmark_net


def _load_state(network: nn.Module, state: dict[str, Tensor], path: Path, target: str, advice: str) -> None:
    expected = dict(parameter_shapes(network))
    wrong = [
        name
        for name in expected.keys() | state.keys()
        if name not in state or tuple(state[name].shape) != expected.get(name)
    ]
    if wrong:
        raise WeightsError(
            f"{path} does not fit {target}: {len(wrong)} of {len(expected)} parameters are missing, "
            f"unexpected or of another shape, for example {min(wrong)}; {advice}"
        )
    network.load_state_dict(state)


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= MAX_SIDE:
        return image
    size = (max(1, round(width * MAX_SIDE / longest)), max(1, round(height * MAX_SIDE / longest)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


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
