"""The network that refines landmarks (``landmarks``), in PyTorch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maeface.faces.landmarks import CROP_PX, MEAN_SHAPE

# Channels and stride of each convolution.
_WIDTHS = ((16, 2), (24, 1), (32, 2), (32, 1), (64, 2), (64, 1), (96, 2))
_HIDDEN = 128


class LandmarkNet(nn.Module):
    """A network of seven convolutions and two linear layers, 0.33 M parameters.

    Untrained, it predicts ``MEAN_SHAPE``.
    """

    mean_shape: Tensor

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
        self.register_buffer("mean_shape", torch.tensor(MEAN_SHAPE), persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        """Predict the landmarks.

        Args:
            crops: (B, 3, 64, 64) float, RGB 0..255.

        Returns:
            (B, 5, 2) fractions of the crop's side from its centre, x right, y down; ordered as in ``Face``.
        """
        x = self.features(crops / 127.5 - 1).flatten(1)
        offsets: Tensor = self.points(F.relu(self.hidden(x)))
        return self.mean_shape + offsets.view(-1, 5, 2)
