"""Networks as files of ``torch.export``, which PyTorch loads without maeface."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from maeface.faces.anchors import ANCHOR_SIDES, STRIDES
from maeface.faces.landmark_net import LandmarkNet
from maeface.faces.retinaface import RetinaFace, decode
from maeface.faces.torch_detector import TorchNetworks, load_weights
from maeface.model.au import AUModel
from maeface.model.file_format.encoding import FLOATS, from_levels, to_levels
from maeface.model.file_format.metadata import Metadata
from maeface.model.preprocessing import normalize
from maeface.runtime.backends import Network

SUFFIX = ".pt2"
EXAMPLE_BATCH = 2
"""Of the example that the exporter sees; it would take a batch of 1 for a constant."""
EXAMPLE_PX = (96, 128)


class AUValues(nn.Module):
    """An AU model from its input, or from crops, to what a table has; see ``au_graph``.

    Args:
        model: the AU model; changed in place.
        metadata: of its weights.
        from_pixels: take ``crops`` (B, H, W, 3) uint8 RGB of any sides.
        precision: of weights and computation: "fp32", "fp16" or "bf16"; "int8": matrices are kept in 8 bits,
            and it computes in float32.
    """

    def __init__(self, model: AUModel, metadata: Metadata, from_pixels: bool, precision: str) -> None:
        super().__init__()
        self._settings, self._from_pixels, self._dtype = (
            metadata.preprocessing,
            from_pixels,
            FLOATS.get(precision, torch.float32),
        )
        self.model = model.to(self._dtype)
        if self.model.unlike is not None:
            self.model.unlike.float()
        if precision == "int8":
            for part in model.requires_grad_(False).modules():
                if isinstance(part, nn.Linear | nn.Conv2d):
                    parametrize.register_parametrization(part, "weight", Levels())

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, O) float32."""
        settings = self._settings
        if self._from_pixels:
            size = (settings.image_size, settings.image_size)
            x = images.permute(0, 3, 1, 2).float() / 255
            x = F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
            images = normalize(x, settings.mean, settings.std)
        views = [images, images.flip(3)] if settings.mirror else [images]
        return torch.stack([self._values(view) for view in views]).mean(dim=0)

    def _values(self, images: Tensor) -> Tensor:
        features = self.model.features(images.to(self._dtype))
        parts = list(self.model.forward_head(features).values().values())
        if self.model.unlike is not None:
            parts.append(self.model.unlike(features.float())[:, None])
        return torch.cat(parts, dim=1)


class Levels(nn.Module):
    """How a matrix is kept as whole numbers of 8 bits; see ``encoding``."""

    def forward(self, levels: Tensor, scale: Tensor) -> Tensor:
        """Return the matrix, to compute with."""
        return from_levels(levels, scale)

    def right_inverse(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is kept of the matrix."""
        return to_levels(matrix)


class Candidates(nn.Module):
    """RetinaFace from pixels (B, H, W, 3) uint8 RGB to candidates (B, A, 15); see ``retinaface_graph``."""

    mean: Tensor

    def __init__(self, networks: TorchNetworks) -> None:
        super().__init__()
        self.network = networks.network.to(memory_format=torch.contiguous_format)
        self.register_buffer("mean", networks.mean)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return box, landmarks and score of every anchor."""
        x = pixels.permute(0, 3, 1, 2).flip(1).float() - self.mean
        logits, boxes, landmarks = self.network(x)
        anchors = _anchors(pixels.shape[1], pixels.shape[2])
        anchors = anchors[None].expand(pixels.shape[0], -1, -1).flatten(0, 1)
        box, points = decode(anchors, boxes.flatten(0, 1), landmarks.flatten(0, 1))
        scores = (logits[..., 1] - logits[..., 0]).sigmoid().flatten()
        rows = torch.cat([box, points.flatten(1), scores[:, None]], dim=1)
        return rows.reshape(pixels.shape[0], -1, rows.shape[1])


def _anchors(height: int, width: int) -> Tensor:
    """Return ``anchors.make_anchors`` as operations of PyTorch, for sides that the exporter does not know."""
    rows = []
    for stride, sides in zip(STRIDES, ANCHOR_SIDES, strict=True):
        y = (torch.arange((height + stride - 1) // stride) + 0.5) * stride
        x = (torch.arange((width + stride - 1) // stride) + 0.5) * stride
        grid = torch.meshgrid(y, x, torch.tensor(sides, dtype=torch.float32), indexing="ij")
        rows.append(torch.stack([grid[1], grid[0], grid[2]], dim=-1).flatten(0, 2))
    return torch.cat(rows)


class Points(nn.Module):
    """The landmark network from crops (B, 64, 64, 3) uint8 RGB to (B, 10)."""

    def __init__(self, network: LandmarkNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> Tensor:
        """Return x and y of each landmark, as fractions of the crop's side from its centre."""
        return self.network(crops.permute(0, 3, 1, 2).float()).flatten(1)  # type: ignore[no-any-return]


def detector_modules(weights: Path) -> tuple[Candidates, Points]:
    """Return the networks of an embedded face detector as modules in evaluation mode."""
    networks = TorchNetworks(weights, "mobilenet0.25", "cpu")
    points = load_weights(RetinaFace("mobilenet0.25"), weights)
    assert points is not None, weights
    return Candidates(networks).eval(), Points(points).eval()


def write(path: Path, module: nn.Module, image_size: int, from_pixels: bool, any_sides: bool) -> None:
    """Export a module with one input to a file, for batches of any size.

    Args:
        path: the file.
        module: in evaluation mode.
        image_size: side of the input, px, if that is fixed.
        from_pixels: whether the input is (B, H, W, 3) uint8, not (B, 3, H, W) float32.
        any_sides: whether H and W may be any.
    """
    sides = EXAMPLE_PX if any_sides else (image_size, image_size)
    example = (
        torch.zeros(EXAMPLE_BATCH, *sides, 3, dtype=torch.uint8)
        if from_pixels
        else torch.zeros(EXAMPLE_BATCH, 3, *sides)
    )
    shapes: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}  # named: an error if it cannot change
    if any_sides:
        shapes |= {1: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO}
    with torch.no_grad():
        program = torch.export.export(
            module.eval().requires_grad_(False), (example,), dynamic_shapes=(shapes,)
        )
    torch.export.save(program, path)


def open_file(path: Path) -> Network:
    """Return an exported file as a function of arrays."""
    module = torch.export.load(path).module()

    @torch.inference_mode()
    def run(values: NDArray[Any]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = module(torch.from_numpy(np.ascontiguousarray(values))).numpy()
        return result

    return run
