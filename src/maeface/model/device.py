"""What a network runs on, and how precisely: one choice for every verb."""

import os
from typing import get_args

import torch

from maeface import checks
from maeface.config import Precision
from maeface.errors import ConfigError, ResourceError


def choose_device(asked: str | torch.device) -> torch.device:
    """Return what ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` stands for.

    ``cuda`` is a GPU of its own for each process under torchrun.

    Raises:
        ConfigError: another name, or one GPU for several processes under torchrun.
        ResourceError: a GPU is asked for that is not there.
    """
    name = checks.require_device(str(asked))
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ResourceError(f"device {name} is asked for, but PyTorch finds no GPU; ask for cpu")
    _, _, number = name.partition(":")
    if number and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError(f"device {name} is one GPU for several processes; ask for cuda, which is one each")
    device = torch.device("cuda", int(number or os.environ.get("LOCAL_RANK", "0")))
    if device.index >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise ResourceError(f"device {device} is asked for, but the last GPU is cuda:{last}; ask for that")
    torch.cuda.set_device(device)
    return device


def computes_bf16(asked: str, device: torch.device) -> bool:
    """Return whether to compute in bfloat16: as ``bf16`` and ``fp32`` say, ``auto`` as the hardware does.

    Raises:
        ConfigError: another precision.
    """
    checks.require_choice("precision", asked, get_args(Precision))
    if asked != "auto":
        return asked == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in probes)
