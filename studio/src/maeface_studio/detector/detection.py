"""The training of the detector's first network, which detects faces.

Image ``i`` is a function of (seed, i) and step ``s`` of (seed, s). So a training that was stopped can be
continued: it composes the latest images again and repeats its random draws. A quarter of each batch is
new; the others are earlier images, mirrored and degraded differently each time.

Legend: B images, A anchors, S side of an image in px.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from maeface import console
from maeface.faces.anchors import STRIDES
from maeface.faces.retinaface import RetinaFace
from maeface.faces.torch_detector import load_weights
from maeface_studio.detector.augmentation import degrade
from maeface_studio.detector.composition import compose
from maeface_studio.detector.cutouts import Material
from maeface_studio.detector.targets import Targets, make_targets, mirror_targets, to_network_input
from maeface_studio.detector.training_state import (
    CHECKPOINT_EVERY_S,
    TrainingState,
    cosine_decay,
    running_mean,
)

MARGIN = 0.85  # subtracted from the logits of a face: clothes in the training portraits score up to about 0.7
WARM_UP = 200  # steps
FINE_WARM_UP = 100
PRIOR_LOGIT = 2.0
HINTS = 0.3
_LOGIT_RANGE = 7.0
_POSITIVE = 0.3
_CONTEXT = 64  # channels of RetinaFace's features
_HINT = "hint"


class Student(RetinaFace):
    """The network in training, with linear maps of its features to the teacher's (see ``hint_loss``)."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(_CONTEXT, _CONTEXT, kernel_size=1) for _ in STRIDES]
        for layer in layers:
            nn.init.zeros_(layer.weight)
        self.hint = nn.ModuleList(layers)

    def detector_state(self) -> dict[str, Tensor]:
        """Return the state of the detector, without the maps."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(_HINT)}


@dataclass(frozen=True)
class Phase:
    """The values of a schedule at one step.

    Attributes:
        rate: learning rate.
        boxes: weight of the loss of boxes; that of faces has weight 1.
        points: weight of the loss of points.
        hints: weight of the loss of features.
        corner: see ``detection_loss``.
        average: decay of the exponential moving average of the weights.
    """

    rate: float
    boxes: float
    points: float
    hints: float
    corner: float
    average: float


@dataclass(frozen=True)
class Settings:
    """Settings of the training, which has two phases: detection first, then exact boxes and points.

    Attributes:
        steps: of the optimizer, both phases together.
        coarse: steps of the first phase.
        horizon: length of the cosine decay of the first phase, which ends before it.
        batch: images per step, of the smaller size.
        sizes: sides of the images in px; every third step has the second, with a proportionally smaller
            batch.
        kept: number of images of the smaller size that are kept in memory.
        fresh: new images per batch.
        rate: highest learning rate of the first phase, after its warm-up.
        fine_rate: highest learning rate of the second phase, which a cosine reduces to nearly zero.
        decay: weight decay.
    """

    steps: int = 6500
    coarse: int = 4060
    horizon: int = 4500
    batch: int = 8
    sizes: tuple[int, int] = (256, 384)
    kept: int = 1500
    fresh: int = 2
    rate: float = 2.5e-3
    fine_rate: float = 1.2e-3
    decay: float = 1e-3

    def with_steps(self, steps: int) -> "Settings":
        """Return settings with another number of steps, and phases of the same proportions."""
        ratio = steps / self.steps
        return replace(
            self, steps=steps, coarse=round(self.coarse * ratio), horizon=max(1, round(self.horizon * ratio))
        )

    def phase(self, step: int) -> Phase:
        """Return the values of the schedule at ``step``."""
        if step < self.coarse:
            rate = self.rate * min(1.0, (step + 1) / WARM_UP) * cosine_decay(step / self.horizon)
            return Phase(rate, 2.0, 2.0, HINTS, 1.0, 0.998)
        fine_step, fine_steps = step - self.coarse, self.steps - self.coarse
        warm_up = min(1.0, (fine_step + 1) / FINE_WARM_UP)
        rate = self.fine_rate * warm_up * cosine_decay(fine_step / fine_steps)
        return Phase(rate, 5.0, 10.0, HINTS, 0.25, 0.995)


def train(
    state: TrainingState[Student], material: Material, teacher: RetinaFace, settings: Settings, seed: int
) -> Student:
    """Train a model on the outputs of a teacher.

    Args:
        state: of a model from ``new_model``.
        material: from which images are composed.
        teacher: in evaluation mode.
        settings: of the training.
        seed: of all random draws.

    Returns:
        The moving average of the model, in evaluation mode.
    """
    pool, means = _ImagePool(material, teacher, settings, seed), [math.nan] * 4
    with console.progress("detection", settings.steps, "steps", state.step) as advance:
        for step in range(state.step, settings.steps):
            losses = train_step(state, settings.phase(step), step, teacher, *pool.batch(step))
            state.save(step + 1, CHECKPOINT_EVERY_S)
            means = [running_mean(mean, loss) for mean, loss in zip(means, losses, strict=True)]
            advance(1, "faces {:.3f}, boxes {:.3f}, points {:.3f}, features {:.3f}".format(*means))
    state.save(settings.steps)
    return state.average


def train_step(
    state: TrainingState[Student],
    phase: Phase,
    step: int,
    teacher: RetinaFace,
    pixels: Tensor,
    targets: tuple[Tensor, Tensor, Tensor],
) -> list[float]:
    """Make one step; return the losses of faces, boxes, points and features."""
    images = to_network_input(pixels).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            known = teacher.contexts(images)
        contexts = state.model.contexts(images)
        outputs = state.model.predict(contexts)
        guessed = [layer(x) for layer, x in zip(state.model.hint, contexts, strict=True)]
    features = hint_loss(guessed, known)
    faces, boxes, points = detection_loss(outputs, targets, phase.corner)
    total = faces + phase.boxes * boxes + phase.points * points + phase.hints * features
    state.update(total, phase.rate, phase.average, step)
    return [float(loss.detach()) for loss in (faces, boxes, points, features)]


def detection_loss(
    outputs: tuple[Tensor, Tensor, Tensor], targets: tuple[Tensor, Tensor, Tensor], corner: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of faces, boxes and points, scalars.

    Faces: quality focal loss (Li et al. 2020, arXiv:2006.04388) of soft targets, and smooth L1 of the logits,
    which also teaches how unlike a face the other anchors are. Boxes and points: smooth L1, weighted by the
    probability of the target.

    Args:
        outputs: of the network: (B, A, 2), (B, A, 4), (B, A, 10).
        targets: (B, A), (B, A, 4), (B, A, 10).
        corner: smooth L1 of boxes and points is quadratic below this error, in units of the offsets.
    """
    face_logit = (outputs[0][..., 1] - outputs[0][..., 0]).float()
    target_logit, target_box, target_points = targets
    probability = target_logit.sigmoid()
    focus = (face_logit.sigmoid() - probability).abs().detach() ** 1.5
    weight = probability * (probability > _POSITIVE)
    total = weight.sum() + 1
    entropy = F.binary_cross_entropy_with_logits(face_logit, probability, reduction="none")
    difference = F.smooth_l1_loss(
        face_logit.clamp(min=-_LOGIT_RANGE),
        target_logit.clamp(-_LOGIT_RANGE, _LOGIT_RANGE),
        reduction="none",
    )
    faces = (focus * entropy).sum() / total * 2
    faces = faces + difference.mean() + 0.3 * (difference * weight).sum() / total
    boxes, points = (
        (F.smooth_l1_loss(output.float(), target, reduction="none", beta=corner).mean(-1) * weight).sum()
        / total
        for output, target in ((outputs[1], target_box), (outputs[2], target_points))
    )
    return faces, boxes, points


def hint_loss(features: Sequence[Tensor], known: Sequence[Tensor]) -> Tensor:
    """Return the mean squared error of features, as a fraction of the variance of the known ones; scalar.

    The teacher's features tell more than its outputs, which are the same wherever no face is (Romero et al.
    2015, arXiv:1412.6550).

    Args:
        features: of the student, mapped to the teacher's: (B, C, h, w) of each level.
        known: of the teacher, likewise.
    """
    errors = [
        F.mse_loss(x.float(), y.float()) / y.float().var().clamp(min=1e-6)
        for x, y in zip(features, known, strict=True)
    ]
    return torch.stack(errors).mean()


class _ImagePool:
    """The latest composed images with their targets."""

    def __init__(self, material: Material, teacher: RetinaFace, settings: Settings, seed: int) -> None:
        self.material, self.teacher, self.settings, self.seed = material, teacher, settings, seed
        self.images: dict[tuple[int, int], tuple[NDArray[np.uint8], Targets]] = {}

    def batch(self, step: int) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return pixels (B, S, S, 3) and targets (B, A), (B, A, 4), (B, A, 10) of a step."""
        is_large = step % 3 == 2
        size = self.settings.sizes[is_large]
        area_ratio = (self.settings.sizes[0] / size) ** 2
        earlier_steps = step // 3 if is_large else step - step // 3  # with this size
        fresh = max(1, round(self.settings.fresh * area_ratio))
        newest = (earlier_steps + 1) * fresh  # images with lower numbers exist at this step
        oldest = max(0, newest - round(self.settings.kept * area_ratio))
        random = np.random.default_rng([self.seed, 1, step])
        count = max(fresh, round(self.settings.batch * area_ratio))
        repeated = random.integers(oldest, newest, count - fresh).tolist()
        for expired in range(max(0, oldest - fresh), oldest):
            self.images.pop((size, expired), None)
        rows = [self._row(size, number, random) for number in [*repeated, *range(newest - fresh, newest)]]
        pixels, logits, boxes, points = (torch.stack(column) for column in zip(*rows, strict=True))
        return pixels, (logits.squeeze(-1), boxes, points)

    def _row(
        self, size: int, number: int, random: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if (size, number) not in self.images:
            image = compose(self.material, size, self.seed, number)
            self.images[size, number] = image.pixels, make_targets(self.teacher, image)
        pixels, targets = self.images[size, number]
        pixels = degrade(pixels, random)
        values = [
            torch.from_numpy(x).float() for x in (targets.logits[:, None], targets.boxes, targets.points)
        ]
        if random.random() < 0.5:
            pixels, values = pixels[:, ::-1], [mirror_targets(x, size) for x in values]
        return torch.from_numpy(pixels.copy()), values[0], values[1], values[2]


def new_model(start: Path | None = None) -> Student:
    """Return a model with random weights, or with those of a detector's file."""
    model = Student()
    for head in model.ClassHead:  # faces are rare: begin with a low probability
        weight, bias = head.parameters()
        torch.nn.init.normal_(weight, std=0.01)
        bias.data.copy_(torch.tensor([PRIOR_LOGIT, -PRIOR_LOGIT] * 2))
    if start is not None:
        detector = RetinaFace()
        load_weights(detector, start)
        model.load_state_dict(model.state_dict() | shift_logits(detector.state_dict(), -MARGIN))
    return model.to(memory_format=torch.channels_last)


def shift_logits(state: dict[str, Tensor], margin: float = MARGIN) -> dict[str, Tensor]:
    """Subtract ``margin`` from the logits of a face."""
    shift = torch.tensor([0.0, margin] * 2)
    return {
        name: value - shift if name.startswith("ClassHead") and name.endswith("bias") else value
        for name, value in state.items()
    }
