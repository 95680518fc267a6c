"""The face detector's weights: which file to use, and the download of the public one."""

import hashlib
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal, get_args

from maeface import console, files
from maeface.errors import ConfigError, ResourceError, WeightsError

Backbone = Literal["mobilenet0.25", "resnet50"]
BACKBONES: tuple[Backbone, ...] = get_args(Backbone)
WeightsSource = Literal["auto", "public", "embedded"]
SOURCES: tuple[WeightsSource, ...] = get_args(WeightsSource)
EMBEDDED = Path(__file__).parent / "weights" / "retinaface-maeface.safetensors"
EMBEDDED_BACKBONE = "mobilenet0.25"

LANDMARK_PREFIX = "points."
"""Of the landmark network's parameters in a file."""

TIMEOUT_S = 30
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class PublicCheckpoint:
    """A public checkpoint.

    Attributes:
        name: of the file.
        url: where it can be downloaded; None if it has to be fetched by hand.
        sha256: of the file; None if it is not checked.
    """

    name: str
    url: str | None = None
    sha256: str | None = None


PUBLIC_CHECKPOINTS = {
    "mobilenet0.25": PublicCheckpoint(
        "retinaface_mobilenet0.25_Final.pth",
        "https://raw.githubusercontent.com/foamliu/InsightFace-v2/"
        "e07b738adecb69b81ac9b8750db964cee673e175/retinaface/weights/mobilenet0.25_Final.pth",
        "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
    ),
    "resnet50": PublicCheckpoint("Resnet50_Final.pth"),
}


def locate_detector_weights(backbone: str, source: WeightsSource = "auto") -> Path:
    """Return the path of the detector's weights, and download them if necessary.

    Args:
        backbone: as in ``RetinaFace``.
        source: ``public``: the public weights, from the folder ``MAEFACE_WEIGHTS``, the cache, or a download.
            ``embedded``: the weights that come with the package. ``auto``: the public weights if they are
            already on this machine, else the embedded ones; nothing is downloaded.

    Raises:
        ConfigError: an unknown backbone or source, or embedded weights of a backbone that has none.
        WeightsError: a file that differs from the published one.
        ResourceError: the file is not on this machine and cannot be downloaded.
    """
    if backbone not in PUBLIC_CHECKPOINTS:
        raise ConfigError(
            f"unknown backbone {backbone!r} of the face detector; "
            f"choose one of {', '.join(PUBLIC_CHECKPOINTS)}"
        )
    if source not in SOURCES:
        raise ConfigError(
            f"unknown weights {source!r} of the face detector; choose one of {', '.join(SOURCES)}"
        )
    if source == "embedded":
        return _embedded(backbone)
    checkpoint = PUBLIC_CHECKPOINTS[backbone]
    local = _find_local(checkpoint)
    if local is not None:
        return local
    if source == "auto" and backbone == EMBEDDED_BACKBONE:
        return _embedded(backbone)
    if checkpoint.url is None:
        raise ResourceError(
            f"the face detector needs {checkpoint.name} (RetinaFace, {backbone}, from the release of "
            f"biubug6/Pytorch_Retinaface); put it in a folder and set {files.WEIGHTS_VARIABLE} to that folder"
        )
    path = files.cache_folder() / checkpoint.name
    files.write_bytes(path, _download(checkpoint, path))
    return path


def source_of(path: Path) -> WeightsSource:
    """Return ``embedded`` for the path of the embedded weights, ``public`` for any other."""
    return "embedded" if path == EMBEDDED else "public"


def _embedded(backbone: str) -> Path:
    if backbone != EMBEDDED_BACKBONE:
        raise ConfigError(
            f"no weights for {backbone} come with the package, only for {EMBEDDED_BACKBONE}; "
            "choose that backbone, or the public weights"
        )
    return EMBEDDED


def _find_local(checkpoint: PublicCheckpoint) -> Path | None:
    """Return the path of a public checkpoint on this machine, after a check of its hash."""
    for path in (folder / checkpoint.name for folder in files.weights_folders()):
        if path.is_file():
            _check_hash(path, checkpoint)
            return path
    return None


def _download(checkpoint: PublicCheckpoint, path: Path) -> bytes:
    assert checkpoint.url is not None
    console.note(f"downloading {checkpoint.name} to {path}")
    try:
        with urllib.request.urlopen(checkpoint.url, timeout=TIMEOUT_S) as response:
            data: bytes = response.read(MAX_BYTES)
    except (OSError, HTTPException) as error:  # URLError and timeouts are OSError
        reason = getattr(error, "reason", None) or error
        raise ResourceError(
            f"cannot download the face detector's weights ({reason}); put {checkpoint.name} "
            f"(sha256 {checkpoint.sha256}, from {checkpoint.url}) "
            f"at {path}, or in a folder that {files.WEIGHTS_VARIABLE} names"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != checkpoint.sha256:
        raise WeightsError(
            f"{checkpoint.url} gave a file with sha256 {digest}, expected {checkpoint.sha256}; "
            "the file was not saved"
        )
    return data


def _check_hash(path: Path, checkpoint: PublicCheckpoint) -> None:
    if checkpoint.sha256 is None:
        return
    try:
        digest = files.sha256(path)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    if digest != checkpoint.sha256:
        raise WeightsError(
            f"{path} has sha256 {digest}, expected {checkpoint.sha256}; delete it or put the right file there"
        )
