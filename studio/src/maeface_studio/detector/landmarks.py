"""The training of the detector's second network, which places the five points (landmarks) of a face.

Its targets are the points that the teacher places on the faces of the cutouts. The faces of step ``s`` are a
function of (seed, s).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from maeface import console
from maeface.errors import WeightsError
from maeface.faces.landmark_net import LandmarkNet
from maeface.faces.landmarks import CROP_PX, landmark_square
from maeface.faces.retinaface import RetinaFace
from maeface.faces.torch_detector import load_weights
from maeface_studio.detector.augmentation import change_light, degrade
from maeface_studio.detector.cutouts import Material
from maeface_studio.detector.training_state import (
    CHECKPOINT_EVERY_S,
    TrainingState,
    cosine_decay,
    running_mean,
)

WARM_UP = 200  # steps
_MIRRORED = [1, 0, 2, 4, 3]  # left and right points are swapped
# Errors are divided by the distance of the eyes, or by this fraction of the crop where that is larger.
_MIN_EYE_DISTANCE = 0.15
_MAX_ERROR = 1.0  # in distances of the eyes; larger errors (of hidden faces) have no gradient


@dataclass(frozen=True)
class Settings:
    """Settings of the training.

    Attributes:
        steps: of the optimizer.
        batch: faces per step.
        rate: highest learning rate, after the warm-up; a cosine reduces it to nearly zero.
        decay: weight decay.
        average: decay of the exponential moving average of the weights.
    """

    steps: int = 20000
    batch: int = 64
    rate: float = 2e-3
    decay: float = 1e-3
    average: float = 0.998


def train(
    state: TrainingState[LandmarkNet], material: Material, settings: Settings, seed: int
) -> LandmarkNet:
    """Train a model to place the points of the faces in the material.

    Args:
        state: of the model.
        material: faces with their points.
        settings: of the training.
        seed: of all random draws.

    Returns:
        The moving average of the model, in evaluation mode.
    """
    mean = math.nan
    with console.progress("landmarks", settings.steps, "steps", state.step) as advance:
        for step in range(state.step, settings.steps):
            random = np.random.default_rng([seed, 2, step])
            pixels, targets = zip(
                *(draw_sample(material, random) for _ in range(settings.batch)), strict=True
            )
            crops = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()
            error = landmark_error(state.model(crops), torch.from_numpy(np.stack(targets)).float())
            rate = settings.rate * min(1.0, (step + 1) / WARM_UP) * cosine_decay(step / settings.steps)
            state.update(error, rate, settings.average, step)
            state.save(step + 1, CHECKPOINT_EVERY_S)
            mean = running_mean(mean, float(error.detach()))
            advance(1, f"error {100 * mean:.1f} % of the distance of the eyes")
    state.save(settings.steps)
    return state.average


def new_model(start: Path | None = None) -> LandmarkNet:
    """Return a model with random weights, or with those of a detector's file.

    Raises:
        WeightsError: the file has no such network.
    """
    if start is None:
        return LandmarkNet()
    model = load_weights(RetinaFace(), start)
    if model is None:
        raise WeightsError(f"{start} has no network that places points; start from a file that has one")
    return model


def landmark_error(points: Tensor, targets: Tensor) -> Tensor:
    """Return the mean distance of points (B, 5, 2) to targets, in distances of the eyes; scalar."""
    eyes = (targets[:, 1] - targets[:, 0]).norm(dim=-1).clamp(min=_MIN_EYE_DISTANCE)
    errors: Tensor = (points - targets).norm(dim=-1) / eyes[:, None]  # (B, 5)
    return errors.clamp(max=_MAX_ERROR).mean()


def draw_sample(material: Material, random: Generator) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Draw a face as ``LandmarkNet`` gets it, cropped around inexact points.

    Returns:
        (64, 64, 3) uint8 RGB, and its points (5, 2) as fractions of the side from the middle.
    """
    cutout = material.draw(random)
    square = landmark_square(cutout.points)
    spread = 1.0 if random.random() < 0.5 else 0.25  # of the points in the first and in the second pass
    side = square.side * math.exp(random.normal(0, 0.12 * spread))
    angle = math.radians(square.angle_deg + random.normal(0, 12 * spread))
    middle = np.array([square.cx, square.cy]) + random.normal(0, 0.07 * spread, 2) * square.side
    narrow = random.uniform(0.65, 0.95) if random.random() < 0.3 else 1.0
    mirror = -1.0 if random.random() < 0.5 else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shear = np.array([[1.0, random.uniform(-0.08, 0.08)], [0.0, 1.0]])
    forward = (
        turn @ shear @ np.diag([mirror / narrow, 1.0]) * side
    )  # fractions of the crop to px of the image

    points = (cutout.points - middle) @ np.linalg.inv(forward).T
    if mirror < 0:
        points = points[_MIRRORED]
    level = int(np.clip(round(math.log2(side / CROP_PX)), 0, len(cutout.levels) - 1))
    reduction = 2**level
    step, start = forward / CROP_PX / reduction, (middle - forward @ [0.5, 0.5]) / reduction
    data = (*step[0].tolist(), float(start[0]), *step[1].tolist(), float(start[1]))
    crop = change_light(cutout.levels[level], random).transform(
        (CROP_PX, CROP_PX), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC
    )
    return degrade(np.array(_obstruct(crop, random)), random), points


def _obstruct(crop: Image.Image, random: Generator) -> Image.Image:
    """Make some crops coarse as of a small face, partly covered, or cut off by the border of the image."""
    if random.random() < 0.25:
        small = int(random.integers(12, 48))
        crop = crop.resize((small, small), Image.Resampling.BOX).resize(crop.size, Image.Resampling.BICUBIC)
    if random.random() < 0.12:
        corner, extent = random.uniform(-8, 60, 2), random.uniform(8, 34, 2)
        colour = tuple(random.integers(0, 256, 3).tolist())
        ImageDraw.Draw(crop).rectangle((*corner.tolist(), *(corner + extent).tolist()), fill=colour)
    if random.random() < 0.15:
        edge = random.uniform(2, 34)
        side, rest = CROP_PX, CROP_PX - edge
        sides = ((0, 0, edge, side), (rest, 0, side, side), (0, 0, side, edge), (0, rest, side, side))
        ImageDraw.Draw(crop).rectangle(sides[int(random.integers(4))], fill=0)
    return crop
