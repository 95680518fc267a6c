"""Where a run takes place: versions, device and commit, which are needed to repeat it."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("maeface", "torch", "torchvision", "timm", "numpy", "pillow", "simplejpeg", "safetensors")


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return versions, device, commit and command line, which are needed to repeat a run."""
    cuda = device.type == "cuda"
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
        "command": sys.argv,
    }


def _commit() -> str | None:
    """Return the commit of the source tree; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None
