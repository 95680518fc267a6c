"""Photos for pre-training: all below a folder, and the notes that their readers report."""

import os
from collections.abc import Iterator
from pathlib import Path

from maeface import facts
from maeface.data.formats import listing
from maeface.data.ingest.inputs import Input
from maeface.data.manifest import IMAGE_SUFFIXES

PAPER_IMAGES = 2_170_000
"""Section 4: AffectNet, CASIA-WebFace, IMDB-WIKI and CelebA together."""

# More than can be decoded: a file that is refused later gets a row in the manifest that says so.
SUFFIXES = IMAGE_SUFFIXES | {".tif", ".tiff", ".gif", ".jpe", ".jfif"}


def list_photos(root: Path, folder: str = "") -> Iterator[Input]:
    """Yield all photos in ``folder`` of ``root`` and below it; links are followed, circles are not.

    Raises:
        DataError: a folder cannot be read.
    """
    yield from _list_photos(root, folder, ())


def _list_photos(root: Path, folder: str, parents: tuple[str, ...]) -> Iterator[Input]:
    real = os.path.realpath(root / folder)
    if real in parents:
        return
    prefix = f"{folder}/" if folder else ""
    for file in listing.list_files(root / folder, SUFFIXES):
        yield listing.image_input(root, prefix + file.name, file.size)
    for name in listing.list_folders(root / folder):
        yield from _list_photos(root, prefix + name, (*parents, real))


def count_note(name: str, count: int) -> str:
    """Return a line that compares a count with the dataset's own and with the paper's total."""
    dataset = facts.dataset(name)
    of = "" if dataset.images is None else f" of the {dataset.images:,} that its makers count"
    return (
        f"{dataset.title}: {count:,} images{of}; "
        f"the paper pre-trains on {PAPER_IMAGES:,} from its four sources"
    )


def describe_contents(root: Path) -> str:
    """Return the first names in a folder, for messages."""
    names = [
        *(f"{name}/" for name in listing.list_folders(root)),
        *(file.name for file in listing.list_files(root, [""])),
    ]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"


def describe_names(names: list[str]) -> str:
    """Return the number of names and the first of them, for messages: ``"3 (such as a.jpg)"``."""
    return f"{len(names):,} (such as {names[0]})"
