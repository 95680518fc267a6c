"""What the readers of the pre-training sources share: all photos below a folder, and the count to report."""

import os
from collections.abc import Iterator
from pathlib import Path

from maeface import facts
from maeface.data.formats import parsing
from maeface.data.ingest.inputs import Input
from maeface.data.manifest import IMAGE_SUFFIXES

PAPER_IMAGES = 2_170_000
"""Section 4: AffectNet, CASIA-WebFace, IMDB-WIKI and CelebA together."""

# More than can be decoded: what is refused later gets a row in the manifest that says so.
SUFFIXES = IMAGE_SUFFIXES | {".tif", ".tiff", ".gif", ".jpe", ".jfif"}


def below(root: Path, folder: str = "") -> Iterator[Input]:
    """All photos in ``folder`` of ``root`` and in the folders below it, which may be links, but not circles.

    Raises:
        DataError: a folder cannot be read.
    """
    yield from _below(root, folder, ())


def _below(root: Path, folder: str, above: tuple[str, ...]) -> Iterator[Input]:
    here = root / folder
    real = os.path.realpath(here)
    if real in above:
        return
    prefix = f"{folder}/" if folder else ""
    for file in parsing.listed(here, SUFFIXES):
        yield parsing.image(root, prefix + file.name, file.size)
    for name in parsing.folders(here):
        yield from _below(root, prefix + name, (*above, real))


def counted(name: str, count: int) -> str:
    """The line that compares a count with what is known of the dataset and with the paper's total."""
    known = facts.dataset(name)
    of = "" if known.images is None else f" of the {known.images:,} that its makers count"
    return (
        f"{known.title}: {count:,} images{of}; the paper pre-trains on {PAPER_IMAGES:,} from its four sources"
    )


def contents(root: Path) -> str:
    """What lies in a folder, for messages: its first names."""
    names = [
        *(f"{name}/" for name in parsing.folders(root)),
        *(file.name for file in parsing.listed(root, [""])),
    ]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"


def such_as(names: list[str]) -> str:
    """The number of names and the first of them, for messages: ``"3 (such as a.jpg)"``."""
    return f"{len(names):,} (such as {names[0]})"
