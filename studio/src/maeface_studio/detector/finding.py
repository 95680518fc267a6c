"""The training of the embedded detector's first network, which finds faces.

Canvas ``i`` is a function of (seed, i) and step ``s`` of (seed, s), so a run that was stopped goes on where
it was: it composes the newest canvases again and draws as it would have drawn. A quarter of each batch is
new; the rest are recent canvases, mirrored and disturbed in another way each time.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maeface import console
from maeface.faces.retinaface import RetinaFace
from maeface_studio.detector.canvas import Canvas, compose
from maeface_studio.detector.cutouts import Material
from maeface_studio.detector.learner import CHECKPOINT_EVERY_S, Learner, cosine, smoothed
from maeface_studio.detector.targets import Answers, ask, disturb, loss, mirrored, network_input

WARM_UP = 200  # steps
FINE_WARM_UP = 100
PRIOR_LOGIT = 2.0


@dataclass(frozen=True)
class Phase:
    """What holds at a step.

    Attributes:
        rate: learning rate.
        boxes: weight of their loss; that of faces has weight 1.
        points: likewise.
        corner: see ``targets.loss``.
        average: of the weights: what each step keeps of the mean so far.
    """

    rate: float
    boxes: float
    points: float
    corner: float
    average: float


@dataclass(frozen=True)
class Settings:
    """Of a training. It has two parts: faces come first, and then boxes and points are made exact.

    Attributes:
        steps: of the optimiser.
        coarse: how many of them belong to the first part.
        horizon: length of the first part's cosine of learning rates; it is left before its end.
        batch: canvases a step, of the smaller size.
        sizes: sides of the canvases, px; every third step takes the second, a proportionally smaller batch.
        kept: canvases of the smaller size that are at hand at any time.
        fresh: how many of each batch are new.
        rate: highest learning rate of the first part, after its warm-up.
        fine_rate: highest learning rate of the second part, which a cosine leads to nearly zero.
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

    def shortened(self, steps: int) -> "Settings":
        """The same with fewer (or more) steps, in the same proportions."""
        part = steps / self.steps
        return replace(
            self, steps=steps, coarse=round(self.coarse * part), horizon=max(1, round(self.horizon * part))
        )

    def phase(self, step: int) -> Phase:
        """What holds at ``step``."""
        if step < self.coarse:
            rate = self.rate * min(1.0, (step + 1) / WARM_UP) * cosine(step / self.horizon)
            return Phase(rate, 2.0, 2.0, 1.0, 0.998)
        done = step - self.coarse
        rate = (
            self.fine_rate * min(1.0, (done + 1) / FINE_WARM_UP) * cosine(done / (self.steps - self.coarse))
        )
        return Phase(rate, 5.0, 10.0, 0.25, 0.995)


def train(
    learner: Learner[RetinaFace], material: Material, teacher: RetinaFace, settings: Settings, seed: int
) -> RetinaFace:
    """Teach a network what another one answers.

    Args:
        learner: its network is a ``student``.
        material: what canvases are composed of.
        teacher: in evaluation mode.
        settings: how.
        seed: of all draws.

    Returns:
        the mean of its weights, in evaluation mode.
    """
    stock, smooth = _Stock(material, teacher, settings, seed), [math.nan] * 3
    with console.progress("distil", settings.steps, "steps", learner.begun) as advance:
        for step in range(learner.begun, settings.steps):
            parts = learn(learner, settings.phase(step), step, *stock.batch(step))
            learner.put_by(step + 1, CHECKPOINT_EVERY_S)
            smooth = [smoothed(before, new) for before, new in zip(smooth, parts, strict=True)]
            advance(1, "faces {:.3f}, boxes {:.3f}, points {:.3f}".format(*smooth))
    learner.put_by(settings.steps)
    return learner.mean


def learn(
    learner: Learner[RetinaFace],
    phase: Phase,
    step: int,
    pixels: Tensor,
    targets: tuple[Tensor, Tensor, Tensor],
) -> list[float]:
    """One step; the losses of faces, boxes and points."""
    with torch.autocast("cpu", torch.bfloat16):
        outputs = learner.network(network_input(pixels))
    parts = loss(outputs, targets, phase.corner)
    whole = parts[0] + phase.boxes * parts[1] + phase.points * parts[2]
    learner.update(whole, phase.rate, phase.average, step)
    return [float(part.detach()) for part in parts]


class _Stock:
    """Canvases with their targets, always the newest ones."""

    def __init__(self, material: Material, teacher: RetinaFace, settings: Settings, seed: int) -> None:
        self.material, self.teacher, self.settings, self.seed = material, teacher, settings, seed
        self.made: dict[tuple[int, int], tuple[NDArray[np.uint8], Answers]] = {}

    def batch(self, step: int) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Pixels (B, S, S, 3) and targets (B, A), (B, A, 4), (B, A, 10) of a step."""
        large = step % 3 == 2
        size = self.settings.sizes[large]
        part = (self.settings.sizes[0] / size) ** 2
        turn = step // 3 if large else step - step // 3  # how often this size came before
        fresh = max(1, round(self.settings.fresh * part))
        newest = (turn + 1) * fresh  # numbers below this exist by now; a young run starts with fewer
        oldest = max(0, newest - round(self.settings.kept * part))
        random = np.random.default_rng([self.seed, 1, step])
        count = max(fresh, round(self.settings.batch * part))
        older = random.integers(oldest, newest, count - fresh).tolist()
        for gone in range(max(0, oldest - fresh), oldest):
            self.made.pop((size, gone), None)
        rows = [self._row(size, number, random) for number in [*older, *range(newest - fresh, newest)]]
        pixels, logits, boxes, points = (torch.stack(column) for column in zip(*rows, strict=True))
        return pixels, (logits.squeeze(-1), boxes, points)

    def _row(
        self, size: int, number: int, random: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if (size, number) not in self.made:
            canvas: Canvas = compose(self.material, size, self.seed, number)
            self.made[size, number] = canvas.pixels, ask(self.teacher, canvas)
        pixels, answers = self.made[size, number]
        pixels = disturb(pixels, random)
        targets = [
            torch.from_numpy(x).float() for x in (answers.logits[:, None], answers.boxes, answers.points)
        ]
        if random.random() < 0.5:
            pixels, targets = pixels[:, ::-1], [mirrored(x, size) for x in targets]
        return torch.from_numpy(pixels.copy()), targets[0], targets[1], targets[2]


def student() -> RetinaFace:
    """A new network."""
    network = RetinaFace()
    for head in network.ClassHead:  # faces are rare, so that the first steps need not learn that
        weight, bias = head.parameters()
        torch.nn.init.normal_(weight, std=0.01)
        bias.data.copy_(torch.tensor([PRIOR_LOGIT, -PRIOR_LOGIT] * 2))
    return network
