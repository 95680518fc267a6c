"""The five points of a face, placed exactly: a small network looks again, upright and near.

The points of the embedded detector, which learned for half an hour, are loose. This network, which comes with
it, sees a square of 64 px around points that are roughly right, says where they are, and looks once more.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from maeface.faces.geometry import Square, crop, extent, eye_angle, to_image

CROP_PX = 64
LOOKS = 2
# Side of the square, in sizes of the face (``geometry.extent``): from the brows to the chin.
SIDE = 2.1
# The points of a face settle: the second look moves them by 1 % of its size, in 99 of 100 faces by less than
# this (docs/detector.md). Of what is no face it moves most by more.
SETTLED = 0.08
# Where the points of most faces lie, as shares of the side from the middle; a face differs by a little.
USUAL = ((-0.165, -0.17), (0.165, -0.17), (0.0, 0.02), (-0.135, 0.165), (0.135, 0.165))

# Channels and stride of each convolution.
_WIDTHS = ((16, 2), (24, 1), (32, 2), (32, 1), (64, 2), (64, 1), (96, 2))
_HIDDEN = 128


class PointNet(nn.Module):
    """Seven convolutions and two linear layers, 0.33 M parameters."""

    usual: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width, stride in _WIDTHS:
            conv = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            inputs = width
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(inputs * (CROP_PX // 16) ** 2, _HIDDEN)
        self.points = nn.Linear(_HIDDEN, 10)
        nn.init.zeros_(self.points.weight)
        nn.init.zeros_(self.points.bias)
        self.register_buffer("usual", torch.tensor(USUAL), persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        """Where the points are.

        Args:
            crops: (B, 3, 64, 64) float, RGB 0..255.

        Returns:
            (B, 5, 2) shares of the crop's side from its middle, x right, y down; ordered as in ``Face``.
        """
        x = self.features(crops / 127.5 - 1).flatten(1)
        offsets: Tensor = self.points(F.relu(self.hidden(x)))
        return self.usual + offsets.view(-1, 5, 2)


def surroundings(points: NDArray[np.floating]) -> Square:
    """The square around five points (5, 2), finite, that the network looks at, turned with the eyes."""
    x, y, size = extent(points)
    return Square(x, y, max(SIDE * size, 1.0), eye_angle(points))


@torch.inference_mode()
def refine(
    network: PointNet, image: NDArray[np.uint8], points: Sequence[NDArray[np.float32]]
) -> list[tuple[NDArray[np.float32], bool]]:
    """The points of an image's faces, looked at again.

    Args:
        network: in evaluation mode.
        image: (H, W, 3) uint8 RGB.
        points: (5, 2) px of each face, roughly.

    Returns:
        of each face its points (5, 2) px, and whether they settled: False tells that it is none.
    """
    found, settled = list(points), [True] * len(points)
    for _ in range(LOOKS if found else 0):
        squares = [surroundings(one) for one in found]
        crops = torch.from_numpy(np.stack([crop(image, square, CROP_PX) for square in squares]))
        said = network(crops.to(network.usual.device).permute(0, 3, 1, 2).float()).cpu().numpy()
        before = np.stack(found)
        found = [
            to_image((one + 0.5) * CROP_PX, square, CROP_PX).astype(np.float32)
            for one, square in zip(said, squares, strict=True)
        ]
        moved = np.linalg.norm(np.stack(found) - before, axis=-1).mean(axis=1)  # px
        settled = [
            bool(far <= SETTLED * square.side / SIDE) for far, square in zip(moved, squares, strict=True)
        ]
    return list(zip(found, settled, strict=True))
