"""The training of the embedded detector: from random weights to a file of half-precision numbers.

Canvas ``i`` is a function of (seed, i) and step ``s`` of (seed, s), so a run that was stopped goes on where
it was: it composes the newest canvases again and draws as it would have drawn. A quarter of each batch is
new; the rest are recent canvases, mirrored and disturbed in another way each time.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_safetensors
from torch import Tensor

from maeface import console, files
from maeface.distillation.canvas import Canvas, compose
from maeface.distillation.cutouts import Material, collect
from maeface.distillation.targets import Answers, ask, disturb, loss, mirrored, network_input
from maeface.errors import WeightsError
from maeface.faces.detector import Detector
from maeface.faces.download import retinaface_weights
from maeface.faces.retinaface import RetinaFace

WARM_UP = 200  # steps
FINE_WARM_UP = 100
MARGIN = 0.85  # taken off the logit in the file: clothes of the training's portraits score up to about 0.7
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
        exclude: names of files that must not be learned from.
        checkpoint_every_s: time between checkpoints.
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
    exclude: tuple[str, ...] = ()
    checkpoint_every_s: float = 120.0

    def shortened(self, steps: int) -> "Settings":
        """The same with fewer (or more) steps, in the same proportions."""
        part = steps / self.steps
        return replace(
            self, steps=steps, coarse=round(self.coarse * part), horizon=max(1, round(self.horizon * part))
        )

    def phase(self, step: int) -> Phase:
        """What holds at ``step``."""
        if step < self.coarse:
            rate = self.rate * min(1.0, (step + 1) / WARM_UP) * _cosine(step / self.horizon)
            return Phase(rate, 2.0, 2.0, 1.0, 0.998)
        done = step - self.coarse
        rate = (
            self.fine_rate * min(1.0, (done + 1) / FINE_WARM_UP) * _cosine(done / (self.steps - self.coarse))
        )
        return Phase(rate, 5.0, 10.0, 0.25, 0.995)


def train(
    sources: Sequence[Path],
    out: Path,
    settings: Settings | None = None,
    seed: int = 0,
    teacher: Path | None = None,
) -> Path:
    """Teach a new network what another one answers.

    The same call goes on with a run that was stopped: beside ``out`` lies its checkpoint, until it is done.

    Args:
        sources: photographs, videos, folders of them, tar files of photographs; their faces are pasted.
        out: the file to write, ``.safetensors``.
        settings: how; None for the defaults.
        seed: of the initial weights and of all draws.
        teacher: weights of the teacher; None for the public ones, downloaded if they are not at hand.

    Returns:
        ``out``.

    Raises:
        ConfigError: a source does not exist.
        DataError: there is no face in the sources.
        WeightsError: the teacher's weights, or the checkpoint, are wrong.
        ResourceError: the teacher's weights are not there and cannot be had.
    """
    settings = settings or Settings()
    detector = Detector(teacher or retinaface_weights("mobilenet0.25", "public"))
    learner = _Learner(settings, seed)
    checkpoint = out.with_suffix(".ckpt")
    begun = learner.restore(checkpoint)
    material = collect(sources, detector, settings.exclude)
    stock = _Stock(material, detector.network, settings, seed)
    saved = time.monotonic()
    with console.progress("distil", settings.steps, "steps", begun) as advance:
        for step in range(begun, settings.steps):
            note = learner.learn(step, *stock.batch(step))
            advance(1, note)
            if time.monotonic() - saved > settings.checkpoint_every_s:
                learner.save(checkpoint, step + 1)
                write(out, learner.mean)
                saved = time.monotonic()
    write(out, learner.mean)
    checkpoint.unlink(missing_ok=True)
    return out


def write(path: Path, network: RetinaFace) -> None:
    """Write the weights as safetensors: kernels as float16, the few other numbers (variances!) as float32."""
    state = {name: value.half() if value.ndim > 1 else value for name, value in network.state_dict().items()}
    for name in [name for name in state if name.startswith("ClassHead") and name.endswith("bias")]:
        state[name] = state[name] - torch.tensor([0.0, MARGIN] * 2)
    header = {
        "maeface": "RetinaFace mobilenet0.25, by maeface.distillation"
    }  # of several, the order would vary
    files.write_bytes(path, to_safetensors(state, header))


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


class _Learner:
    """The student, its optimiser, and the mean of its weights."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        torch.manual_seed(seed)
        self.network, self.mean = RetinaFace(), RetinaFace()
        for head in self.network.ClassHead:  # faces are rare, so that the first steps need not learn that
            weight, bias = head.parameters()
            torch.nn.init.normal_(weight, std=0.01)
            bias.data.copy_(torch.tensor([PRIOR_LOGIT, -PRIOR_LOGIT] * 2))
        self.mean.load_state_dict(self.network.state_dict())
        self.mean.eval().requires_grad_(False)
        flat = [p for p in self.network.parameters() if p.ndim == 1]
        deep = [p for p in self.network.parameters() if p.ndim > 1]
        groups = [{"params": deep, "weight_decay": settings.decay}, {"params": flat, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.rate)
        self.smooth = [math.nan] * 3

    def learn(self, step: int, pixels: Tensor, targets: tuple[Tensor, Tensor, Tensor]) -> str:
        """One step; says how it goes."""
        phase = self.settings.phase(step)
        for group in self.optimizer.param_groups:
            group["lr"] = phase.rate
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = self.network(network_input(pixels))
        parts = loss(outputs, targets, phase.corner)
        self.optimizer.zero_grad()
        (parts[0] + phase.boxes * parts[1] + phase.points * parts[2]).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.step()
        keep = min(phase.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(
                self.mean.state_dict().values(), self.network.state_dict().values(), strict=True
            ):
                mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)
        for i, value in enumerate(parts):
            before, new = self.smooth[i], float(value.detach())
            self.smooth[i] = new if math.isnan(before) else 0.98 * before + 0.02 * new
        return "faces {:.3f}, boxes {:.3f}, points {:.3f}".format(*self.smooth)

    def save(self, path: Path, step: int) -> None:
        """Write what ``restore`` reads."""
        state = {
            "step": step,
            "settings": _identity(self.settings),
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with files.atomic(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path: Path) -> int:
        """The step to go on with."""
        if not path.is_file():
            return 0
        try:
            state = torch.load(path, weights_only=True)
            if state["settings"] != _identity(self.settings):
                raise WeightsError(
                    f"{path} belongs to a training with other settings; delete it to start anew"
                )
            self.network.load_state_dict(state["network"])
            self.mean.load_state_dict(state["mean"])
            self.optimizer.load_state_dict(state["optimizer"])
            return int(state["step"])
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, UnpicklingError) as error:
            raise WeightsError(
                f"{path} is no checkpoint of this training; delete it to start anew"
            ) from error


def _identity(settings: Settings) -> str:
    return repr(sorted((k, v) for k, v in asdict(settings).items() if k != "checkpoint_every_s"))


def _cosine(part: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * part)) + 0.005
