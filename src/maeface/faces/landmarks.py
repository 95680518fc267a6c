"""A small network that refines the five landmarks of a face.

It comes with the embedded detector, whose own landmarks are imprecise. It sees a crop of 64 px around
approximate landmarks, upright, and predicts their positions; this is done twice. Where the second pass still
moves the landmarks far, the detection is rejected as a false positive.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from maeface.faces.geometry import Square, crop, eye_angle, measure_face, to_image

CROP_PX = 64
PASSES = 2
# Side of the crop, in sizes of the face (``geometry.measure_face``): from the brows to the chin.
SQUARE_SIDE = 2.1
# Largest mean shift of a face's landmarks in the last pass, in sizes of the face. In 99 of 100 faces the
# shift is smaller, the median is 0.01; in most false positives it is larger (studio/docs/detector.md).
MAX_SHIFT = 0.08
# Mean positions of the landmarks, as fractions of the crop's side from its centre.
MEAN_SHAPE = ((-0.165, -0.17), (0.165, -0.17), (0.0, 0.02), (-0.135, 0.165), (0.135, 0.165))

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


def landmark_square(landmarks: NDArray[np.floating]) -> Square:
    """Return the square that the network sees for landmarks (5, 2) in px, finite; rotated with the eyes."""
    x, y, size = measure_face(landmarks)
    return Square(x, y, max(SQUARE_SIDE * size, 1.0), eye_angle(landmarks))


@torch.inference_mode()
def refine_landmarks(
    network: LandmarkNet, image: NDArray[np.uint8], landmarks: Sequence[NDArray[np.float32]]
) -> list[tuple[NDArray[np.float32], bool]]:
    """Refine the landmarks of the faces of an image.

    Args:
        network: in evaluation mode.
        image: (H, W, 3) uint8 RGB.
        landmarks: (5, 2) px of each face, approximate.

    Returns:
        for each face its landmarks (5, 2) px, and whether they converged: the last pass moved them by at most
        ``MAX_SHIFT``. False suggests that it is not a face.
    """
    refined, converged = list(landmarks), [True] * len(landmarks)
    for _ in range(PASSES if refined else 0):
        squares = [landmark_square(face) for face in refined]
        crops = torch.from_numpy(np.stack([crop(image, square, CROP_PX) for square in squares]))
        outputs = network(crops.to(network.mean_shape.device).permute(0, 3, 1, 2).float()).cpu().numpy()
        before = np.stack(refined)
        refined = [
            to_image((output + 0.5) * CROP_PX, square, CROP_PX).astype(np.float32)
            for output, square in zip(outputs, squares, strict=True)
        ]
        shifts = np.linalg.norm(np.stack(refined) - before, axis=-1).mean(axis=1)  # px
        converged = [
            bool(shift <= MAX_SHIFT * square.side / SQUARE_SIDE)
            for shift, square in zip(shifts, squares, strict=True)
        ]
    return list(zip(refined, converged, strict=True))
