"""Checkpoints of a network in parts: each rank writes its own, and any number of ranks read them.

RUN/checkpoints/00001234.parts/
    shard-00001-model-*.safetensors ...    a file of each rank, as ``torch.distributed.checkpoint`` has them
    state.json                             the state, names of tensors, SHA-256 of each file and of all this

It is written to a temporary folder, which is renamed.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from maeface import files
from maeface.errors import ResourceError, WeightsError
from maeface.train import ranks

SUFFIX = ".parts"
STATE = "state.json"


def write(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint; called by all ranks.

    Args:
        path: of its folder, on storage that all ranks share.
        tensors: in parts or whole, by name.
        state: as JSON.

    Raises:
        ResourceError: the disk is full or cannot be written; on all ranks.
    """
    name = ranks.first(lambda: f".{os.getpid()}.{secrets.token_hex(8)}.tmp")
    temporary = path.with_name(name)
    try:
        save(
            {name: tensor.detach() for name, tensor in tensors.items()},
            storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True),
        )
    except CheckpointException as error:
        ranks.first(lambda: shutil.rmtree(temporary, ignore_errors=True))
        reason = next(iter(error.failures.values()))[0]
        raise ResourceError(f"cannot write {path}: {reason}") from error
    own = temporary.glob(f"shard-{dist.get_rank() + 1:05d}-*")
    hashes = ranks.gather({file.name: files.sha256(file) for file in own})

    def finish() -> None:
        hashed = {name: digest for part in hashes for name, digest in part.items()}
        saved = {"state": dict(state), "tensors": sorted(tensors), "sha256": hashed}
        files.write_json(temporary / STATE, {**saved, "own": _digest(saved)})
        files.rename_folder(temporary, path)

    ranks.first(finish)


def read_state(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Return the names of the tensors and the state of an intact checkpoint; called by one rank.

    Raises:
        OSError, ValueError, KeyError: it is damaged.
    """
    saved = json.loads((path / STATE).read_text(encoding="utf-8"))
    if saved.pop("own") != _digest(saved):
        raise ValueError(f"the sha256 of {STATE} is another")
    for name, digest in saved["sha256"].items():
        if files.sha256(path / name) != digest:
            raise ValueError(f"the sha256 of {name} is another")
    return list(saved["tensors"]), dict(saved["state"])


def _digest(saved: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(saved, sort_keys=True).encode()).hexdigest()


def fill(path: Path, tensors: dict[str, Tensor]) -> None:
    """Read the values of tensors, in parts or whole; called by all ranks.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        load(
            tensors,
            storage_reader=HuggingFaceStorageReader(str(path)),
            no_dist=not dist.is_initialized(),
        )
    except (CheckpointException, OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"checkpoint {path} cannot be read: {error}") from error
