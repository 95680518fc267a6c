"""RetinaFace's anchors, and the conversion of its outputs to boxes and landmarks."""

import numpy as np
from numpy.typing import NDArray

STRIDES = (8, 16, 32)
ANCHOR_SIDES = ((16, 32), (64, 128), (256, 512))  # px, for each stride
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
MEAN_BGR = (104.0, 117.0, 123.0)


def make_anchors(height: int, width: int) -> NDArray[np.float32]:
    """Return an image's anchors (A, 3): centre x, centre y and side in px; arguments in px."""
    rows = []
    for stride, sides in zip(STRIDES, ANCHOR_SIDES, strict=True):
        y = (np.arange(-(-height // stride), dtype=np.float32) + np.float32(0.5)) * stride
        x = (np.arange(-(-width // stride), dtype=np.float32) + np.float32(0.5)) * stride
        grid = np.meshgrid(y, x, np.array(sides, np.float32), indexing="ij")
        rows.append(np.stack([grid[1], grid[0], grid[2]], axis=-1).reshape(-1, 3))
    return np.concatenate(rows).astype(np.float32)


@np.errstate(over="ignore", invalid="ignore")
def decode(
    anchors: NDArray[np.float32], boxes: NDArray[np.float32], landmarks: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Convert the offsets of N anchors to pixels.

    Args:
        anchors: (N, 3) as ``make_anchors`` returns them.
        boxes: (N, 4) offsets of the centre and logarithms of the size.
        landmarks: (N, 10) offsets of the five landmarks.

    Returns:
        boxes (N, 4) as x1 y1 x2 y2 in px, landmarks (N, 10) in px.
    """
    variance, half_variance = np.float32(CENTRE_VARIANCE), np.float32(SIZE_VARIANCE)
    centre, side = anchors[:, :2], anchors[:, 2:]
    middle = centre + boxes[:, :2] * variance * side
    half = side * np.exp(boxes[:, 2:] * half_variance) / 2
    points = np.tile(centre, 5) + landmarks * variance * side
    return np.concatenate([middle - half, middle + half], axis=1), points
