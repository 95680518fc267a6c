"""Weights on a model hub, by a name such as ``hf:ORG/NAME``: downloaded once, and checked."""

import json
import re
from pathlib import Path

from maeface import files
from maeface.errors import ConfigError, ResourceError, WeightsError, install_command

PREFIX = "hf:"
CONFIG = "config.json"
"""The file in a folder for a hub that has the SHA-256 of the weights."""
_NAME = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def is_name(weights: object) -> bool:
    """Return whether weights are given by a name of a model hub."""
    return isinstance(weights, str) and weights.startswith(PREFIX)


def fetch(name: str) -> Path:
    """Return the folder of weights on a model hub; they are downloaded if they are not on this machine.

    Args:
        name: ``hf:ORG/NAME``, or ``hf:ORG/NAME@REVISION`` for a branch, a tag or a commit.

    Raises:
        ConfigError: not such a name.
        ResourceError: huggingface_hub is not installed, or the download fails.
        WeightsError: the files are not those that ``maeface export --to hub`` wrote.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(f"weights are {name!r}; expected hf:ORG/NAME or hf:ORG/NAME@REVISION")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ResourceError(
            f"{name} needs huggingface_hub, which is not installed; install it "
            f"({install_command('hub')}), or download the files and give their folder"
        ) from error
    try:
        folder = snapshot_download(
            match["repository"], revision=match["revision"], allow_patterns=[CONFIG, "*.safetensors"]
        )
    except Exception as error:  # of the library, of its HTTP client, of the network
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ResourceError(
            f"cannot download {name} ({reason}); check name and network, or give the folder of the files"
        ) from error
    check(Path(folder), name)
    return Path(folder)


def check_folder(path: Path) -> None:
    """Compare the weights of a folder on this machine with its ``config.json``, if export wrote one.

    Args:
        path: of weights; anything but such a folder is passed over.

    Raises:
        WeightsError: see ``check``.
    """
    try:
        ours = "maeface" in json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):  # a file, other weights, or none
        return
    if ours:
        check(path, str(path))


def check(folder: Path, name: str) -> None:
    """Compare weights with the SHA-256 in the ``config.json`` beside them.

    Args:
        folder: with both.
        name: of the weights, for messages.

    Raises:
        WeightsError: no such file, a hash that does not match, or weights that it does not name.
    """
    try:
        hashes = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["maeface"]["sha256"]
        found = {file.name: files.sha256(file) for file in folder.glob("*.safetensors")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{name} has no {CONFIG} with the SHA-256 of the weights; expected files that `maeface export "
            "--to hub` wrote"
        ) from error
    if hashes != found:
        raise WeightsError(
            f"{name}: the weights do not have the SHA-256 that {CONFIG} gives; download them again"
        )
