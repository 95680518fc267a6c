"""The licence of weights: what it is, and what follows from the weights that a training started from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from maeface.errors import ConfigError
from maeface.model import public_encoders, zoo
from maeface.model.file_format.metadata import HEADER_KEY, Start
from maeface.model.file_format.parts import files_of

FREE = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0", "ISC", "MIT", "Unlicense"}
)
"""Licences, by their SPDX names, under which weights may be used and changed for any purpose."""
NOT_STATED = "not stated"
"""What readers see for an empty licence."""
PACKAGED = "Apache-2.0"
"""Of the weights in ``zoo``, also those whose metadata are older than the field."""


def is_free(licence: str) -> bool:
    """Return whether weights with this licence may be used for any purpose; False if it is not stated."""
    return licence in FREE


def licence_of(path: Path) -> str:
    """Return the licence of a weights file; empty if it is not known.

    It is what the metadata of the file state, or that of a public encoder with the name of the file.
    """
    if public := public_encoders.licence_of(path):
        return public
    try:
        with safe_open(files_of(path)[0], "np") as file:
            header = (file.metadata() or {}).get(HEADER_KEY, "{}")
        stated = str(json.loads(header)["metadata"].get("licence", ""))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""  # PyTorch's own format, or damaged: loading says so
    return stated or (PACKAGED if path.parent == zoo.folder() else "")


def start_of(init: str, inputs: Mapping[str, Any]) -> Start | None:
    """Return the weights that a training starts from; None for random ones.

    Args:
        init: "random", or weights by path or name.
        inputs: ``init`` and ``init_sha256``, from ``train.run.describe_inputs``.
    """
    if init == "random":
        return None
    licence = licence_of(zoo.find(init))
    return Start(name=inputs["init"], sha256=inputs["init_sha256"], licence=licence)


def inherit(stated: str, start: Start | None) -> str:
    """Return the licence of weights that were trained from others.

    Args:
        stated: what their maker says; empty for nothing.
        start: what they were trained from.

    Returns:
        The start's licence if that is known and not free; else what is stated. A free start makes nothing
        free: the data may have a licence too.

    Raises:
        ConfigError: the start's licence is known and not free, and another is stated.
    """
    if start is None or not start.licence or is_free(start.licence):
        return stated
    if stated not in ("", start.licence):
        raise ConfigError(
            f"licence: these weights would derive from {start.name}, whose licence is {start.licence}, so "
            f"they cannot be {stated}; leave licence out, or start from other weights"
        )
    return start.licence
