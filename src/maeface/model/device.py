"""What a network runs on, and how precisely: one choice for every verb."""

import os

import torch

from maeface.errors import ResourceError


def choose_device(asked: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device: a GPU of its own for each process under torchrun.

    Raises:
        ResourceError: a GPU is asked for and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise ResourceError("device cuda is asked for, but PyTorch finds no GPU; ask for cpu")
    if asked == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    return device


def computes_bf16(asked: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: ``bf16`` and ``fp32`` say so, ``auto`` is where the hardware does."""
    if asked != "auto":
        return asked == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)
