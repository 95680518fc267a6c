"""``maeface plan``: memory, time and disk of a training on GPUs, before it is begun.

All of it follows from measurements of pre-training ViT-B on one H100. Another network is taken to cost in
proportion to its operations and its tokens, another GPU to be as fast as its data sheet says in comparison.
So all but the measured case are estimates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.table import Table

from maeface import config
from maeface.data.loading.on_device import SHARE
from maeface.errors import ConfigError
from maeface.model.vit import MLP_RATIO, SIZES

GIB = 2**30
IMAGES_PER_S = 3344.0
"""Pre-training of ViT-B with the default settings on one H100, bf16, batch 512, without compilation."""
MEMORY = {256: 13.5 * GIB, 1024: 48.7 * GIB}
"""Bytes in use on the same GPU, by the images in memory at once."""
VALUE_BYTES = 4
MOMENTS = 2
"""Values of the optimiser, of a parameter that is trained."""
STATE_BYTES = (2 + MOMENTS) * VALUE_BYTES
"""Of a parameter that is trained: its value, gradient and moments."""
CHECKPOINTS = 3
"""Two are kept, and another is written before the older one is removed."""
HEADROOM = 0.9
"""Fraction of a GPU's memory to fill, at most."""
CROP_SIDE = 224
CROP_BYTES = 23_000
"""A stored crop of 224 px, JPEG quality 95: the mean of 579 real faces."""
IMAGES = {"pretrain": 2_170_000, "finetune": 146_847}
"""Images where none are given: those of the paper's pre-training, and of BP4D."""


class GPU(NamedTuple):
    """A GPU: its dense matrix rate in bf16 (V100: fp16) by its data sheet, TFLOP/s; and its memory, GiB."""

    rate: float
    memory: int


GPUS = {
    "h100": GPU(989, 80),
    "h200": GPU(989, 141),
    "a100": GPU(312, 80),
    "a100-40gb": GPU(312, 40),
    "a30": GPU(165, 24),
    "l40s": GPU(362, 48),
    "rtx4090": GPU(165, 24),
    "v100": GPU(125, 32),
}


@dataclass(frozen=True)
class Plan:
    """What a training needs.

    Attributes:
        gpu: name of the GPU, of ``GPUS``.
        gpus: how many.
        images: number of training images.
        epochs: of the recipe.
        micro_batch: images in memory at once on one GPU.
        accumulation: micro-batches of one GPU in an optimiser step.
        memory: bytes in use on one GPU.
        images_per_s: of all GPUs; the loader has to deliver as many, unless they are on the device.
        days: of the whole training.
        crops: bytes of the stored crops.
        on_device: bytes of the decoded crops in the memory of each GPU (``data.on_device``); else 0.
        run: bytes of the run's weights, its milestones, its two checkpoints and a third one that is being
            written.
        measured: whether the rate was measured: pre-training of ViT-B on one H100.
    """

    gpu: str
    gpus: int
    images: int
    epochs: int
    micro_batch: int
    accumulation: int
    memory: float
    images_per_s: float
    days: float
    crops: float
    on_device: float
    run: float
    measured: bool


class _Cost(NamedTuple):
    """Of a network: parameters, how many are trained, operations of a step for an image, values to keep."""

    parameters: float
    trained: float
    operations: float
    kept: float


def load(recipe: str, overrides: Sequence[str] = ()) -> config.Pretrain | config.Finetune:
    """Return the settings of a recipe of either training, as ``config.load``."""
    verb = config.read(recipe, "pretrain", "finetune").get("verb", "pretrain")
    if verb == "finetune":
        return config.load(config.Finetune, recipe, overrides)
    if verb != "pretrain":
        raise ConfigError(f"{recipe} is a recipe of {verb}; expected one of pretrain or finetune")
    return config.load(config.Pretrain, recipe, overrides)


def run(
    settings: config.Pretrain | config.Finetune, gpus: int = 1, gpu: str = "h100", images: int | None = None
) -> Plan:
    """Return what a training needs.

    Args:
        settings: of the recipe.
        gpus: number of GPUs, which share a batch.
        gpu: a name of ``GPUS``.
        images: number of training images; None for ``IMAGES``.

    Raises:
        ConfigError: no such GPU, or a batch that the GPUs cannot share, or that does not fit one of them;
            or crops that do not fit (``data.on_device``).
    """
    if gpu not in GPUS:
        raise ConfigError(f"no figures of a GPU {gpu!r}; expected one of {', '.join(GPUS)} (--gpu)")
    if gpus < 1 or settings.optim.batch % gpus:
        raise ConfigError(
            f"{gpus} GPUs cannot share a batch of {settings.optim.batch}; give a divisor (--gpus)"
        )
    images = IMAGES[settings.verb] if images is None else images
    cost, reference = _cost(settings), _cost(config.Pretrain())
    (few, low), (many, high) = MEMORY.items()
    by_value = (high - low) / (many - few) / reference.kept
    copies = _copies(settings)
    weights = (1 + copies) * VALUE_BYTES * cost.parameters
    state = weights + (STATE_BYTES - VALUE_BYTES) * cost.trained
    if settings.run.sharded and gpus > 1:  # and, at most, whole gradients (4 bytes) or weights in bf16 (2)
        state = state / gpus + VALUE_BYTES * cost.parameters
    held = float(images * 3 * CROP_SIDE**2) if settings.data.on_device else 0.0
    if held > SHARE * GPUS[gpu].memory * GIB:
        raise ConfigError(
            f"data.on_device: {images:,} crops of {CROP_SIDE} px take {held / GIB:.1f} GiB, and may take "
            f"half of the {GPUS[gpu].memory} GiB of {gpu}; leave data.on_device out"
        )
    fixed = low - few * by_value * reference.kept - STATE_BYTES * reference.parameters + state + held
    share = settings.optim.batch // gpus
    room = GPUS[gpu].memory * GIB * HEADROOM
    sizes = [n for n in range(1, share + 1) if share % n == 0 and fixed + n * by_value * cost.kept <= room]
    if not sizes:
        raise ConfigError(
            f"not one image fits the {GPUS[gpu].memory} GiB of {gpu}; choose a smaller model.size"
        )
    most = settings.optim.micro_batch or share
    micro_batch = max(n for n in sizes if n <= most)  # 1 divides every share
    rate = IMAGES_PER_S * gpus * GPUS[gpu].rate / GPUS["h100"].rate * reference.operations / cost.operations
    return Plan(
        gpu=gpu,
        gpus=gpus,
        images=images,
        epochs=settings.optim.epochs,
        micro_batch=micro_batch,
        accumulation=share // micro_batch,
        memory=fixed + micro_batch * by_value * cost.kept,
        images_per_s=rate,
        days=images * settings.optim.epochs / rate / 86400,
        crops=float(images * CROP_BYTES),
        on_device=held,
        run=VALUE_BYTES * cost.parameters * (1 + _milestones(settings))
        + CHECKPOINTS * (weights + MOMENTS * VALUE_BYTES * cost.trained),
        measured=(gpu, gpus) == ("h100", 1) and cost == reference and _as_measured(settings.run),
    )


def _copies(settings: config.Pretrain | config.Finetune) -> int:
    """Return how often all weights are kept beside the trained ones: their mean, and the best so far."""
    best = isinstance(settings, config.Finetune) and (
        settings.selection == "test" or settings.data.validation
    )
    return (settings.optim.ema is not None) + bool(best)


def _milestones(settings: config.Pretrain | config.Finetune) -> int:
    every = settings.run.milestone_every
    return settings.optim.epochs // every if every else 0


def _as_measured(how: config.Run) -> bool:
    return how.precision in ("auto", "bf16") and how.compile is not True


def render(plan: Plan) -> Table:
    """Return the plan as a table for the terminal."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    batch = f"{plan.micro_batch} images at once"
    batch += f", {plan.accumulation} times a step" if plan.accumulation > 1 else ""
    whole = " of all GPUs, if they share the work without loss" if plan.gpus > 1 else ""
    source = "the loader has to deliver them"
    if plan.on_device:
        source = f"from crops that take {plan.on_device / GIB:.1f} GiB of each GPU"
    for name, value in (
        ("GPUs", f"{plan.gpus} x {plan.gpu}"),
        ("work", f"{plan.images:,} images x {plan.epochs} epochs"),
        ("memory of a GPU", f"{plan.memory / GIB:.1f} of {GPUS[plan.gpu].memory} GiB ({batch})"),
        ("images a second", f"{plan.images_per_s:,.0f}{whole}; {source}"),
        ("time", _time(plan.days)),
        ("disk", f"{_size(plan.crops)} of crops, {_size(plan.run)} of weights and checkpoints"),
        (
            "rate",
            "measured, not compiled"
            if plan.measured
            else "estimated from ViT-B on one H100; not measured, and too high for small networks",
        ),
    ):
        table.add_row(name, value)
    return table


def _cost(settings: config.Pretrain | config.Finetune) -> _Cost:
    """Return the cost of the network of a recipe; the backward pass costs twice the forward pass.

    A frozen encoder has none, and the values of one block are kept at a time; its head is not counted.
    """
    head = settings.model
    size, patch = head.image_size or 224, head.patch_size
    patches, values = (size // patch) ** 2, 3 * patch**2
    width, depth, _ = SIZES[head.size]
    kept = patches
    stacks = []
    if isinstance(head, config.MaskedAutoencoder):
        kept = max(int(patches * (1 - head.mask_ratio)), 1)
        stacks = [(head.decoder_width, head.decoder_depth, 1 + patches)]
    stacks.append((width, depth, 1 + kept))
    inner = 4 + 2 * MLP_RATIO  # matrices of a block, in units of width x width
    parameters = sum(inner * w**2 * d for w, d, _ in stacks) + width * values
    operations = sum(d * (2 * inner * n * w**2 + 4 * n**2 * w) for w, d, n in stacks)
    operations += 2 * kept * width * values
    if isinstance(head, config.MaskedAutoencoder):
        parameters += head.decoder_width * (width + values)
        operations += 2 * head.decoder_width * ((1 + kept) * width + (patches - kept) * values)
    if isinstance(head, config.Head) and head.frozen:
        return _Cost(parameters, 0.0, operations, float(width * (1 + kept)))
    return _Cost(parameters, parameters, 3 * operations, float(sum(w * d * n for w, d, n in stacks)))


def _time(days: float) -> str:
    for unit, of_a_day in (("days", 1), ("hours", 24)):
        if days * of_a_day >= 1:
            return f"{days * of_a_day:.1f} {unit}"
    return f"{max(days * 1440, 0.1):.1f} minutes"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{max(count / 1e6, 0.1):.1f} MB"
