"""The weights that come with the package, and how any weights are named."""

from importlib import resources
from pathlib import Path

from maeface.errors import WeightsError
from maeface.model.storage import PART, SUFFIX, files_of

DEFAULT = "maeface-nano"
"""What predicts where no weights are named."""


def folder() -> Path:
    """Where the package keeps its weights."""
    return Path(str(resources.files("maeface") / "zoo"))


def names() -> tuple[str, ...]:
    """The names of the weights that come with the package, sorted."""
    found = set()
    for file in folder().glob(f"*{SUFFIX}"):
        part = PART.fullmatch(file.name)
        found.add(part["name"] if part else file.stem)
    return tuple(sorted(found))


def find(weights: str | Path | None = None) -> Path:
    """Where weights lie that are named by a path or by the name of some that come with the package.

    Args:
        weights: a text is one of ``names()`` or else a path (``./maeface-nano`` is always a path); a ``Path``
            is a path; None stands for ``DEFAULT``.

    Returns:
        What the functions that load take. A path is handed back as it is, for them to say what is wrong.

    Raises:
        WeightsError: a bare name of neither; none were named and the package has no default.
    """
    known = names()
    if weights is None:
        if DEFAULT not in known:
            raise WeightsError(
                f"no weights were named, and {DEFAULT} does not come with this package; give a file that "
                "`maeface finetune` wrote"
            )
        weights = DEFAULT
    if isinstance(weights, str) and weights in known:
        return folder() / f"{weights}{SUFFIX}"
    path = Path(weights)
    bare = isinstance(weights, str) and not path.suffix and path.name == weights
    if bare and not path.exists() and files_of(path) == (path,):
        listed = ", ".join(known) or "none"
        raise WeightsError(f"no weights {weights!r}: no such file, and the package comes with: {listed}")
    return path
