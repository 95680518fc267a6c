"""Images to faces: RetinaFace with what goes before the network and after it."""

import io
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from maeface.errors import ConfigError, ResourceError, WeightsError
from maeface.faces.download import retinaface_weights
from maeface.faces.geometry import Face
from maeface.faces.points import PointNet, refine
from maeface.faces.retinaface import (
    BACKBONES,
    MEAN_BGR,
    Backbone,
    RetinaFace,
    anchors,
    decode,
    fuse,
    parameter_shapes,
)

__all__ = ["Detector", "RetinaFace"]

# A longer image is shrunk to this for detection; faces under about 10 px of the shrunk image are lost.
MAX_SIDE = 2048
NMS_OVERLAP = 0.4
GPU_BATCH_PIXELS = 32 * 640 * 640
POINTS = "points."  # how the names of the network that places points begin
_CACHED_SHAPES = 64
_DAMAGED = (pickle.UnpicklingError, safetensors.SafetensorError)


class Detector:
    """Finds faces in images.

    Where the weights bring a second network (the embedded ones do), it places the points; where these
    do not settle, there is no face.

    On a CPU the network runs image by image: the layers are small enough that a batch gains nothing, and
    a face's numbers then cannot depend on the images beside it. On a GPU images of one shape share a batch.

    Args:
        weights: a public checkpoint, or one that ``distillation`` wrote; None takes
            ``retinaface_weights(backbone)``.
        backbone: ``mobilenet0.25`` or ``resnet50``.
        device: a torch device.
        precision: ``float32``, or ``bfloat16`` for the convolutions; ``auto`` is float32, because
            bfloat16 moves boxes by more than a pixel.
        threshold: least score, 0..1.

    Raises:
        ConfigError: an unknown backbone or precision.
        WeightsError: the file is not such a checkpoint.
        ResourceError: no weights at hand and no way to get them, or no such device.
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
        self.half = precision == "bfloat16"
        network = RetinaFace(backbone)
        placing = load(network, weights or retinaface_weights(backbone))
        try:
            self.device = torch.device(device)
            network = fuse(network.eval()).requires_grad_(False).to(self.device)
            self.network = network.to(memory_format=torch.channels_last)
            self.placing = fuse(placing.eval()).requires_grad_(False).to(self.device) if placing else None
        except (RuntimeError, AssertionError) as error:
            raise ResourceError(
                f"the face detector cannot use device {device!s}: {str(error).splitlines()[0]}"
            ) from error
        self._mean = torch.tensor(MEAN_BGR, device=self.device).view(3, 1, 1)
        self._anchors: dict[tuple[int, int], Tensor] = {}

    def find(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        """The faces of each image, best score first; no face is an empty list.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.
        """
        shapes: dict[tuple[int, int], list[int]] = {}
        shrunk = [_shrink(image) for image in images]
        for i, image in enumerate(shrunk):
            shapes.setdefault(image.shape[:2], []).append(i)
        found: list[list[Face]] = [[] for _ in images]
        for (height, width), members in shapes.items():
            batch = 1 if self.device.type == "cpu" else max(1, GPU_BATCH_PIXELS // (height * width))
            for start in range(0, len(members), batch):
                chunk = members[start : start + batch]
                for i, rows in zip(chunk, self._look([shrunk[i] for i in chunk]), strict=True):
                    found[i] = self._placed(images[i], _faces(rows, shrunk[i].shape[:2], images[i].shape[:2]))
        return found

    def _placed(self, image: NDArray[np.uint8], faces: list[Face]) -> list[Face]:
        """With a second network: the faces whose points settle, with the points as it sees them."""
        if self.placing is None:
            return faces
        looks = refine(self.placing, image, [face.points for face in faces])
        return [
            replace(face, points=points)
            for face, (points, settled) in zip(faces, looks, strict=True)
            if settled
        ]

    @torch.inference_mode()
    def _look(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Rows of box, points and score (N, 15) for each image of one shape."""
        pixels = torch.from_numpy(np.stack(images)).to(self.device)  # (B, H, W, 3)
        x = pixels.permute(0, 3, 1, 2).flip(1).float().sub_(self._mean)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits, boxes, points = self.network(x)
        scores = (logits[..., 1].float() - logits[..., 0].float()).sigmoid()  # (B, A)
        place = self._anchors_of(images[0].shape[0], images[0].shape[1])
        rows = []
        for i in range(len(images)):
            keep = torch.nonzero(scores[i] > self.threshold).squeeze(1)
            box, point = decode(place[keep], boxes[i, keep].float(), points[i, keep].float())
            row = torch.cat([box, point.flatten(1), scores[i, keep, None]], dim=1)
            row = row[torch.isfinite(row).all(dim=1)]
            found = cast(NDArray[np.float32], row.cpu().numpy())
            rows.append(found[suppress(found[:, :4], found[:, 14], NMS_OVERLAP)])
        return rows

    def _anchors_of(self, height: int, width: int) -> Tensor:
        known = self._anchors.get((height, width))
        if known is None:
            if len(self._anchors) >= _CACHED_SHAPES:
                self._anchors.clear()
            known = self._anchors[height, width] = anchors(height, width).to(self.device)
        return known


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def suppress(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], most_overlap: float
) -> NDArray[np.intp]:
    """Return which boxes to keep, best score first: each removes those that overlap it too much.

    The same as ``torchvision.ops.nms`` on a CPU, bit for bit; loading torchvision takes seconds.

    Args:
        boxes: (N, 4) x1 y1 x2 y2.
        scores: (N,); of equal ones the first comes first.
        most_overlap: the largest intersection over union that two kept boxes may have.
    """
    first, last = boxes[:, :2], boxes[:, 2:]
    areas = (last - first).prod(axis=1)
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        sides = np.minimum(last[best], last[left]) - np.maximum(first[best], first[left])
        shared = np.maximum(sides, 0).prod(axis=1)
        overlap = shared / (areas[best] + areas[left] - shared)  # NaN of two boxes without an area
        left = left[~(overlap.astype(np.float64) > most_overlap)]  # float32 would round the limit
    return np.array(kept, dtype=np.intp)


def load(network: RetinaFace, path: Path) -> PointNet | None:
    """Read a checkpoint, public or ``.safetensors``, into ``network``, by name and strictly.

    Returns:
        the network that places the points, where the file has one too.

    Raises:
        WeightsError: the file cannot be read, or its names or shapes are others.
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
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, *_DAMAGED) as error:
        raise WeightsError(f"{path} is not a RetinaFace checkpoint: {str(error).splitlines()[0]}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} is not a RetinaFace checkpoint: expected a dictionary of tensors")
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    points = {name.removeprefix(POINTS): state.pop(name) for name in list(state) if name.startswith(POINTS)}
    placing = PointNet() if points else None
    _fill(network, state, path, "this backbone", "choose the backbone it was made for")
    if placing is not None:
        _fill(placing, points, path, "the network that places points", "get the file anew")
    return placing


def _fill(network: nn.Module, state: dict[str, Tensor], path: Path, what: str, advice: str) -> None:
    expected = dict(parameter_shapes(network))
    wrong = [
        n
        for n in expected.keys() | state.keys()
        if n not in state or tuple(state[n].shape) != expected.get(n)
    ]
    if wrong:
        raise WeightsError(
            f"{path} does not fit {what}: {len(wrong)} of {len(expected)} parameters are missing, "
            f"left over or of another shape, for example {min(wrong)}; {advice}"
        )
    network.load_state_dict(state)


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= MAX_SIDE:
        return image
    size = (max(1, round(width * MAX_SIDE / longest)), max(1, round(height * MAX_SIDE / longest)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _faces(rows: NDArray[np.float32], shape: tuple[int, ...], original: tuple[int, ...]) -> list[Face]:
    """Rows of the network to faces in px of the original image; boxes are cut at the image's borders."""
    scale = np.array([original[1] / shape[1], original[0] / shape[0]], np.float32)
    limit = np.array([original[1], original[0]], np.float32)
    faces = []
    for row in rows:
        corners = np.clip(row[:4].reshape(2, 2) * scale, 0, limit)
        if (corners[1] - corners[0] < 1).any():
            continue
        faces.append(Face(corners.reshape(4), row[4:14].reshape(5, 2) * scale, float(row[14])))
    return faces
