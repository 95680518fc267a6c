"""Checkpoints: one safetensors file a step, whole or not there, the last two kept.

RUN/checkpoints/00001234.safetensors    tensors, and as metadata the state (JSON) and a SHA-256 of both
"""

import errno
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from maeface import console, files
from maeface.errors import WeightsError

FOLDER = "checkpoints"
SUFFIX = ".safetensors"
KEPT = 2


def save(run_folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write the checkpoint of a step and remove all but the last two.

    Raises:
        ResourceError: the disk is full or cannot be written; the checkpoints before are intact.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state, sort_keys=True)
    path = run_folder / FOLDER / f"{step:08d}{SUFFIX}"
    with files.atomic(path) as temporary:
        try:
            save_file(held, temporary, metadata={"state": text, "sha256": _digest(held, text)})
        except SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from error
    for old in _paths(run_folder)[:-KEPT]:
        if old != path:
            old.unlink(missing_ok=True)


def latest(run_folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors (on the CPU) and state of the newest checkpoint that is whole; None if there is none at all.

    Raises:
        WeightsError: there are checkpoints, and none can be read.
    """
    paths = _paths(run_folder)
    for path in reversed(paths):
        try:
            return _read(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            console.say(f"checkpoint {path} is damaged ({error}); trying the one before")
    if paths:
        raise WeightsError(f"no checkpoint of {run_folder} can be read; start again in another folder")
    return None


def present(run_folder: Path) -> bool:
    """Whether the folder has a checkpoint, damaged or not."""
    return bool(_paths(run_folder))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    tensors = load_file(path)
    if _digest(tensors, metadata["state"]) != metadata["sha256"]:
        raise ValueError("its sha256 is another")
    return tensors, json.loads(metadata["state"])


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(np.ascontiguousarray(tensor.reshape(-1).view(torch.uint8).numpy()).data)
    return digest.hexdigest()


def _paths(run_folder: Path) -> list[Path]:
    """Oldest first."""
    found = (run_folder / FOLDER).glob(f"[0-9]*{SUFFIX}")
    return sorted(found, key=lambda path: int(path.stem))
