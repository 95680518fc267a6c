"""The training of the embedded detector's second network, which places the points of a face.

Its faces are those that canvases are composed of, with the teacher's points. The faces of step ``s`` are a
function of (seed, s).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from maeface import console
from maeface.faces.points import CROP_PX, PointNet, surroundings
from maeface_studio.detector.cutouts import Material, lit
from maeface_studio.detector.learner import CHECKPOINT_EVERY_S, Learner, cosine, smoothed
from maeface_studio.detector.targets import disturb

WARM_UP = 200  # steps
_MIRRORED = [1, 0, 2, 4, 3]  # left and right change places
# Errors are counted in distances of the eyes, but in no shorter one than this share of the crop.
_LEAST_EYES = 0.15
_MOST_ERROR = 1.0  # of the eyes' distance: what is further off (a hidden face) teaches nothing


@dataclass(frozen=True)
class Settings:
    """Of a training.

    Attributes:
        steps: of the optimiser.
        batch: faces a step.
        rate: highest learning rate, after the warm-up; a cosine leads to nearly zero.
        decay: weight decay.
        average: of the weights: what each step keeps of the mean so far.
    """

    steps: int = 20000
    batch: int = 64
    rate: float = 2e-3
    decay: float = 1e-3
    average: float = 0.998


def train(learner: Learner[PointNet], material: Material, settings: Settings, seed: int) -> PointNet:
    """Teach a network where the teacher sees the points of the material's faces.

    Args:
        learner: what is taught.
        material: faces with their points.
        settings: how.
        seed: of all draws.

    Returns:
        the mean of its weights, in evaluation mode.
    """
    smooth = math.nan
    with console.progress("place", settings.steps, "steps", learner.begun) as advance:
        for step in range(learner.begun, settings.steps):
            random = np.random.default_rng([seed, 2, step])
            pixels, targets = zip(*(sample(material, random) for _ in range(settings.batch)), strict=True)
            crops = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()
            error = off(learner.network(crops), torch.from_numpy(np.stack(targets)).float())
            rate = settings.rate * min(1.0, (step + 1) / WARM_UP) * cosine(step / settings.steps)
            learner.update(error, rate, settings.average, step)
            learner.put_by(step + 1, CHECKPOINT_EVERY_S)
            smooth = smoothed(smooth, float(error.detach()))
            advance(1, f"points {100 * smooth:.1f} % of the eyes' distance off")
    learner.put_by(settings.steps)
    return learner.mean


def off(said: Tensor, truth: Tensor) -> Tensor:
    """How far points (B, 5, 2) are off, as a share of the distance of the eyes; scalar."""
    eyes = (truth[:, 1] - truth[:, 0]).norm(dim=-1).clamp(min=_LEAST_EYES)
    apart: Tensor = (said - truth).norm(dim=-1) / eyes[:, None]  # (B, 5)
    return apart.clamp(max=_MOST_ERROR).mean()


def sample(material: Material, random: Generator) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A face as ``PointNet`` sees one, around points that are a little or more off.

    Returns:
        (64, 64, 3) uint8 RGB, and its points (5, 2) in shares of the side from the middle.
    """
    cutout = material.draw(random)
    around = surroundings(cutout.points)
    loose = 1.0 if random.random() < 0.5 else 0.25  # as the first look finds it, and the second
    side = around.side * math.exp(random.normal(0, 0.12 * loose))
    angle = math.radians(around.angle_deg + random.normal(0, 12 * loose))
    middle = np.array([around.cx, around.cy]) + random.normal(0, 0.07 * loose, 2) * around.side
    narrow = random.uniform(0.65, 0.95) if random.random() < 0.3 else 1.0
    mirror = -1.0 if random.random() < 0.5 else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shear = np.array([[1.0, random.uniform(-0.08, 0.08)], [0.0, 1.0]])
    forward = turn @ shear @ np.diag([mirror / narrow, 1.0]) * side  # shares of the crop to px of the image

    points = (cutout.points - middle) @ np.linalg.inv(forward).T
    if mirror < 0:
        points = points[_MIRRORED]
    level = int(np.clip(round(math.log2(side / CROP_PX)), 0, len(cutout.levels) - 1))
    shrink = 2**level
    step, start = forward / CROP_PX / shrink, (middle - forward @ [0.5, 0.5]) / shrink
    data = (*step[0].tolist(), float(start[0]), *step[1].tolist(), float(start[1]))
    crop = lit(cutout.levels[level], random).transform(
        (CROP_PX, CROP_PX), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC
    )
    return disturb(np.array(_spoilt(crop, random)), random), points


def _spoilt(crop: Image.Image, random: Generator) -> Image.Image:
    """Now and then as of a small face, with something before it, or cut off by the border of the image."""
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
