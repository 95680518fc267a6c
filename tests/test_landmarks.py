import numpy as np
import pytest
import torch

from maeface.faces.geometry import to_image
from maeface.faces.landmark_net import LandmarkNet
from maeface.faces.landmarks import (
    CROP_PX,
    MAX_SHIFT,
    MEAN_SHAPE,
    PASSES,
    SQUARE_SIDE,
    landmark_square,
    refine_landmarks,
)
from maeface.faces.torch_detector import as_function

FACE = np.array([[40, 50], [72, 50], [56, 68], [43, 83], [69, 83]], np.float32)


class Oracle(LandmarkNet):
    """Knows where the points are: reads the crops' red and green, which hold x and y of the image."""

    def __init__(self, truth):
        super().__init__()
        self.truth, self.passes = truth, 0

    def forward(self, crops):
        self.passes += 1
        x, y = crops[:, 0], crops[:, 1]  # (B, 64, 64)
        found = []
        for across, down in zip(x, y, strict=True):
            for point in self.truth:
                away = (across - point[0]) ** 2 + (down - point[1]) ** 2
                row, column = divmod(int(away.argmin()), CROP_PX)
                found.append(((column + 0.5) / CROP_PX - 0.5, (row + 0.5) / CROP_PX - 0.5))
        return torch.tensor(found).view(len(crops), 5, 2)


def test_what_the_network_says_is_put_back_into_the_image():
    y, x = np.mgrid[:120, :120].astype(np.uint8)
    image = np.stack([x, y, x], axis=-1)
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    truth = ((FACE - 60) @ turn.T + 60).astype(np.float32)
    rough = truth + np.random.default_rng(0).normal(0, 2, (5, 2)).astype(np.float32)
    oracle = Oracle(truth)
    ((found, settled),) = refine_landmarks(as_function(oracle), [image], [rough])
    assert found.shape == (5, 2) and found.dtype == np.float32
    assert np.hypot(*(found - truth).T).max() < 1.6  # a px of the crop is about a px of the image
    assert oracle.passes == PASSES and settled
    assert refine_landmarks(as_function(oracle), [], []) == []


def test_an_untrained_network_says_where_points_usually_lie():
    network = LandmarkNet().eval()
    said = network(torch.rand(3, 3, CROP_PX, CROP_PX) * 255)
    assert said.shape == (3, 5, 2) and torch.equal(said[1], torch.tensor(MEAN_SHAPE))
    assert sum(p.numel() for p in network.parameters()) == 329_290


def test_the_square_follows_the_face():
    square = landmark_square(FACE)
    assert square.angle_deg == 0 and square.cx == 56 and square.cy == pytest.approx(66.5)
    seen = to_image((np.array(MEAN_SHAPE) + 0.5) * CROP_PX, square, CROP_PX)
    assert np.hypot(*(seen - FACE).T).max() < 5
    twice = landmark_square(2 * FACE)
    assert twice.side == pytest.approx(2 * square.side)
    mirrored = landmark_square(FACE[:, ::-1])  # lies on its side
    assert abs(mirrored.angle_deg) == pytest.approx(90)
    assert landmark_square(np.zeros((5, 2))).side == 1  # a point: nothing is divided by it


@pytest.mark.parametrize(("drift", "settles"), [(0.0, True), (0.95, True), (1.05, False), (3.0, False)])
@pytest.mark.parametrize("scale", [1, 2])
def test_points_settle_if_the_second_look_hardly_moves_them(drift, settles, scale):
    class Drifting(LandmarkNet):
        """Always sees the face this much further to the right, in units of what is allowed."""

        def forward(self, crops):
            return self.mean_shape + torch.tensor([drift * MAX_SHIFT / SQUARE_SIDE, 0.0]).expand(
                len(crops), 5, 2
            )

    square = landmark_square(FACE)
    usual = scale * to_image((np.array(MEAN_SHAPE) + 0.5) * CROP_PX, square, CROP_PX).astype(np.float32)
    ((found, settled),) = refine_landmarks(
        as_function(Drifting()), [np.zeros((300, 300, 3), np.uint8)], [usual]
    )
    assert settled == settles
    length = scale * square.side / SQUARE_SIDE
    assert found[:, 0] - usual[:, 0] == pytest.approx(PASSES * drift * MAX_SHIFT * length, abs=0.03 * length)
