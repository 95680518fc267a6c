"""Where the face detector's weights lie: at hand, in the package, or where the one download puts them."""

import functools
import hashlib
import os
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal, get_args

from maeface import console, files
from maeface.errors import ConfigError, ResourceError, WeightsError

Weights = Literal["auto", "public", "embedded"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
EMBEDDED = Path(__file__).parent / "weights" / "retinaface-maeface.safetensors"
EMBEDDED_BACKBONE = "mobilenet0.25"

FOLDER_VARIABLE = "MAEFACE_WEIGHTS"
TIMEOUT_S = 30
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Published:
    """A public checkpoint: its name, and where known its address and hash."""

    name: str
    address: str | None = None
    sha256: str | None = None


PUBLISHED = {
    "mobilenet0.25": Published(
        "retinaface_mobilenet0.25_Final.pth",
        "https://raw.githubusercontent.com/foamliu/InsightFace-v2/"
        "e07b738adecb69b81ac9b8750db964cee673e175/retinaface/weights/mobilenet0.25_Final.pth",
        "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
    ),
    "resnet50": Published("Resnet50_Final.pth"),
}


def retinaface_weights(backbone: str, which: Weights = "auto") -> Path:
    """The checkpoint of ``backbone``.

    Args:
        backbone: as ``RetinaFace`` takes it.
        which: ``public``: from the folder ``MAEFACE_WEIGHTS``, the cache, or one download. ``embedded``: the
            project's own, which come with the package. ``auto``: the public ones where they are at hand, else
            the embedded ones, and a line that says so; nothing is downloaded.

    Raises:
        ConfigError: an unknown backbone or choice, or one that is not embedded.
        WeightsError: the file there is not the published one.
        ResourceError: it is nowhere and cannot be downloaded.
    """
    if backbone not in PUBLISHED:
        raise ConfigError(
            f"unknown backbone {backbone!r} of the face detector; choose one of {', '.join(PUBLISHED)}"
        )
    if which not in WEIGHTS:
        raise ConfigError(
            f"unknown weights {which!r} of the face detector; choose one of {', '.join(WEIGHTS)}"
        )
    if which == "embedded":
        return _embedded(backbone)
    published = PUBLISHED[backbone]
    at_hand = _at_hand(published)
    if at_hand is not None:
        return at_hand
    if which == "auto" and backbone == EMBEDDED_BACKBONE:
        _say_embedded(published.name)
        return _embedded(backbone)
    if published.address is None:
        raise ResourceError(
            f"the face detector needs {published.name} (RetinaFace, {backbone}, from the release of "
            f"biubug6/Pytorch_Retinaface); put it in a folder and set {FOLDER_VARIABLE} to that folder"
        )
    path = cache_folder() / published.name
    files.write_bytes(path, _download(published, path))
    return path


def kind(path: Path) -> Weights:
    """Whether ``path`` is that of the embedded weights or of others."""
    return "embedded" if path == EMBEDDED else "public"


def _embedded(backbone: str) -> Path:
    if backbone != EMBEDDED_BACKBONE:
        raise ConfigError(
            f"no weights of {backbone} come with the package, only of {EMBEDDED_BACKBONE}; "
            "choose that backbone, or the public weights"
        )
    return EMBEDDED


def _at_hand(published: Published) -> Path | None:
    """Where the public checkpoint lies on this machine."""
    folder = os.environ.get(FOLDER_VARIABLE)
    for path in ([Path(folder) / published.name] if folder else []) + [cache_folder() / published.name]:
        if path.is_file():
            _check(path, published)
            return path
    return None


@functools.cache
def _say_embedded(name: str) -> None:
    """Once a process."""
    console.say(
        f"faces are found with the package's own detector; {name} is neither in the cache nor in a folder "
        f"that {FOLDER_VARIABLE} names (--detector public downloads it)"
    )


def cache_folder() -> Path:
    """``maeface`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maeface"


def _download(published: Published, path: Path) -> bytes:
    assert published.address is not None
    console.say(f"downloading {published.name} to {path}")
    try:
        with urllib.request.urlopen(published.address, timeout=TIMEOUT_S) as answer:
            data: bytes = answer.read(MAX_BYTES)
    except (OSError, HTTPException) as error:  # URLError and timeouts are OSError
        reason = getattr(error, "reason", None) or error
        raise ResourceError(
            f"cannot download the face detector's weights ({reason}); put {published.name} "
            f"(sha256 {published.sha256}, from {published.address}) "
            f"at {path}, or in a folder that {FOLDER_VARIABLE} names"
        ) from error
    got = hashlib.sha256(data).hexdigest()
    if got != published.sha256:
        raise WeightsError(
            f"{published.address} gave a file with sha256 {got}, expected {published.sha256}; "
            "nothing was kept"
        )
    return data


def _check(path: Path, published: Published) -> None:
    if published.sha256 is None:
        return
    try:
        got = files.sha256(path)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    if got != published.sha256:
        raise WeightsError(
            f"{path} has sha256 {got}, expected {published.sha256}; delete it or put the right file there"
        )
