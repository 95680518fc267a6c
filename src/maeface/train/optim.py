"""AdamW with the paper's settings: parameter groups, layer decay, warm-up and cosine schedule (section 4).

Reference values of the official code: ``tests/reference/optim.json``.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from maeface.config import Optim
from maeface.errors import ResourceError

UNDECAYED = ("cls_token", "mask_token", "pos_embed")


def layer_of(name: str, depth: int) -> int:
    """Return a parameter's layer: 0 for what is before the blocks; i + 1 for block i; else depth + 1.

    Args:
        name: published parameter name (``blocks.0.attn.qkv.weight``), as it is or below ``encoder.`` or
            ``model.encoder.``.
        depth: transformer blocks of the encoder.
    """
    name = name.removeprefix("model.").removeprefix("encoder.")
    if name in ("cls_token", "pos_embed") or name.startswith(("patch_embed.", "norm_pre.")):
        return 0
    if name.startswith("blocks."):
        return int(name.split(".")[1]) + 1
    return depth + 1


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], depth: int, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Return groups of trained parameters, each with one learning-rate scale and one weight decay.

    Args:
        named: ``model.named_parameters()``; parameters without gradient are left out.
        depth: transformer blocks of the encoder.
        weight_decay: for matrices; biases, norms, tokens and positions have none.
        layer_decay: scale of a parameter = ``layer_decay ** (depth + 1 - layer)``.

    Returns:
        Groups for ``torch.optim.AdamW``, with the additional keys ``names`` and ``lr_scale``.
    """
    groups: dict[tuple[int, float], dict[str, Any]] = {}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        layer = layer_of(name, depth)
        undecayed = parameter.ndim <= 1 or name.rpartition(".")[2] in UNDECAYED
        decay = 0.0 if undecayed else weight_decay
        new = {
            "params": [],
            "names": [],
            "weight_decay": decay,
            "lr_scale": layer_decay ** (depth + 1 - layer),
        }
        group = groups.setdefault((layer, decay), new)
        group["params"].append(parameter)
        group["names"].append(name)
    return [groups[key] for key in sorted(groups)]


def learning_rate(epoch: float, settings: Optim) -> float:
    """Return the learning rate: linear warm-up from 0, then half a cosine to ``min_lr``.

    Args:
        epoch: epochs so far, with fractions; the rate changes at every step.
        settings: ``base_lr x batch / 256`` is the peak (equation 5).
    """
    peak = settings.base_lr * settings.batch / 256
    if epoch < settings.warmup_epochs:
        return peak * epoch / settings.warmup_epochs
    if settings.epochs <= settings.warmup_epochs:
        return peak
    angle = math.pi * (epoch - settings.warmup_epochs) / (settings.epochs - settings.warmup_epochs)
    return settings.min_lr + (peak - settings.min_lr) * 0.5 * (1.0 + math.cos(min(angle, math.pi)))


def adamw(model: nn.Module, depth: int, settings: Optim) -> torch.optim.AdamW:
    """Return AdamW on the parameter groups of a model; its learning rate is 0 until ``set_learning_rate``."""
    groups = parameter_groups(model.named_parameters(), depth, settings.weight_decay, settings.layer_decay)
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=1e-8, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group to ``rate`` times its scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def find_non_finite(values: list[Tensor]) -> Tensor:
    """Return 1.0 if any of the values is not finite, else 0.0; a scalar on the device, not waited for."""
    return 1.0 - torch.stack(torch._foreach_norm(values)).isfinite().all().float()


def step_unless(optimizer: torch.optim.AdamW, skipped: Tensor) -> None:
    """Do a step of a fused AdamW; where ``skipped`` (a scalar) is 1, weights and moments stay as they are."""
    # how torch's GradScaler tells it, so that nothing waits for the device
    optimizer.found_inf = skipped  # type: ignore[attr-defined]
    optimizer.step()


@contextmanager
def explain_full_memory(settings: Optim, world: int) -> Iterator[None]:
    """Turn an error of the GPU's memory into one that names the ``optim.micro_batch`` to set."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        own = -(-settings.batch // world)  # images of a step on one rank
        now = min(settings.micro_batch or own, own)
        if now == 1:
            raise ResourceError("the GPU's memory is full at 1 image; use a smaller model.size") from error
        smaller = next(n for n in range(now // 2, 0, -1) if settings.batch % n == 0)
        raise ResourceError(
            f"the GPU's memory is full at {now} images at once; set optim.micro_batch={smaller}: the same "
            "batch in more parts"
        ) from error
