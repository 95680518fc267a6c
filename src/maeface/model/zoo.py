"""The weights that come with the package, and the lookup of these and of public encoders by name or path."""

from importlib import resources
from pathlib import Path

from maeface.errors import WeightsError
from maeface.model import hub, public_encoders
from maeface.model.file_format.parts import PART, SUFFIX, files_of

DEFAULT = "maeface-nano-96"
"""Name of the weights that predict where none are named."""


def folder() -> Path:
    """Return the folder of the package's weights."""
    return Path(str(resources.files("maeface") / "zoo"))


def names() -> tuple[str, ...]:
    """Return the names of the weights that come with the package, sorted."""
    stems = set()
    for file in folder().glob(f"*{SUFFIX}"):
        part = PART.fullmatch(file.name)
        stems.add(part["name"] if part else file.stem)
    return tuple(sorted(stems))


def find(weights: str | Path | None = None) -> Path:
    """Return the path of weights that are given by path or by name.

    Args:
        weights: a text is one of ``names()``, of ``public_encoders.ENCODERS``, a name of a model hub
            (``hub.fetch``), or else a path (``./NAME`` is always a path); a ``Path`` is a path; None stands
            for ``DEFAULT``.

    Returns:
        A path for the functions that load, which check the file. A folder of ``maeface export --to hub`` is
        compared with its ``config.json`` here.

    Raises:
        WeightsError: a bare name that is none of these; a public encoder that is not on this machine; None,
            and the package has no default; files of a hub, or of a folder for one, that have changed.
        ConfigError, ResourceError: see ``hub.fetch``.
    """
    packaged = names()
    if weights is None:
        if DEFAULT not in packaged:
            raise WeightsError(
                f"no weights were named, and {DEFAULT} does not come with this package; give a file that "
                "`maeface finetune` wrote"
            )
        weights = DEFAULT
    if isinstance(weights, str) and weights in packaged:
        return folder() / f"{weights}{SUFFIX}"
    if isinstance(weights, str) and hub.is_name(weights):
        return hub.fetch(weights)
    path = Path(weights)
    bare = isinstance(weights, str) and not path.suffix and path.name == weights
    if bare and not path.exists() and files_of(path) == (path,):
        if weights in public_encoders.ENCODERS:
            return public_encoders.find(str(weights))
        choices = ", ".join(packaged) or "none"
        raise WeightsError(
            f"no weights {weights!r}: no such file, the package comes with: {choices}; and public encoders "
            f"to start from are: {', '.join(public_encoders.ENCODERS)}"
        )
    hub.check_folder(path)
    return path
