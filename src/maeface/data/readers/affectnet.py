"""AffectNet: faces from web searches, about half of them labelled by people, the others by a network.

Reads the photos below ``Manually_Annotated_Images`` and ``Automatically_Annotated_Images`` (or the folders of
later copies, see ``LAYOUT``), and the lists ``training.csv``, ``validation.csv`` and
``automatically_annotated.csv`` only to say which photos are missing. Labels of expression are not used.

The dataset has 414,799 and 5,500 images labelled by people (training, validation) and 539,607 labelled by a
network: 959,906. The paper does not say which it used; its total of 2,170,000 images is reached only with
both (959,906 + 490,623 or 494,414 + 523,051 + 202,599 = 2,176,179 or 2,179,970; without the automatic ones
it would be 1.64 million). So the default is all of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pandas as pd

from maeface import config
from maeface.data.formats import photos
from maeface.data.ingest.inputs import Input
from maeface.data.manifest import escape
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import DataError

LAYOUT = (
    "Manually_Annotated_Images/ and Automatically_Annotated_Images/, human_annotated/ and "
    "no_human_annotated/, or train_set/images/ and val_set/images/"
)
# The beginning of a folder's name in lower case -> the part; the most specific first.
FOLDERS = (
    ("automatically_annotated", "automatic"),
    ("no_human_annotated", "automatic"),
    ("manually_annotated", "manual"),
    ("human_annotated", "manual"),
    ("train_set", "manual"),
    ("val_set", "manual"),
)
LISTS = {
    "training.csv": "manually_annotated_images",
    "validation.csv": "manually_annotated_images",
    "automatically_annotated.csv": "automatically_annotated_images",
}
COLUMN = "subDirectory_filePath"


class Options(config.Settings):
    """Options of the reader."""

    part: Literal["all", "manual", "automatic"] = "all"
    """The images labelled by people, by a network, or both (as the paper's count says)."""


def read(root: Path, options: Options) -> RawDataset:
    """Read AffectNet.

    Raises:
        DataError: none of its folders is there, or one of its lists is wrong.
    """
    parts: dict[str, list[Input]] = {"manual": [], "automatic": [], "": []}
    for item in photos.list_photos(root):
        parts[_part_of(item.source)].append(item)
    if not parts["manual"] and not parts["automatic"]:
        raise DataError(f"{root} is not AffectNet: expected {LAYOUT}; got {photos.describe_contents(root)}")
    chosen = ("manual", "automatic") if options.part == "all" else (options.part,)
    inputs = [item for part in chosen for item in parts[part]]
    if not inputs:
        raise DataError(
            f"{root} holds no image of the {options.part} part: expected {LAYOUT}; or choose --set part=all"
        )
    counts = ", ".join(f"{len(parts[part]):,} {part}" for part in chosen)
    notes = [
        photos.count_note("affectnet", len(inputs)),
        f"{counts}; expression, valence and arousal are left out",
    ]
    notes += [f"the {part} part is not there" for part in chosen if not parts[part]]
    if parts[""]:
        outside = [item.source for item in parts[""]]
        notes.append(f"images outside AffectNet's folders are left out: {photos.describe_names(outside)}")
    return RawDataset(tuple(inputs), None, (*notes, *_missing_notes(root, inputs)))


def _part_of(source: str) -> str:
    """Return "manual", "automatic", or "" for a photo outside the dataset's folders."""
    folders = [folder.lower().replace(" ", "_") for folder in source.split("/")[:-1]]
    for name, part in FOLDERS:
        if any(folder.startswith(name) for folder in folders):
            return part
    return ""


def _missing_notes(root: Path, inputs: list[Input]) -> Iterator[str]:
    """Yield notes about photos that AffectNet's own lists name and its folders lack."""
    by_folder: dict[str, set[str]] = {folder: set() for folder in LISTS.values()}
    for item in inputs:
        pieces = item.source.split("/")
        if len(pieces) >= 3:  # .../Manually_Annotated_Images/<number>/<name>
            by_folder.setdefault(pieces[-3].lower(), set()).add(f"{pieces[-2]}/{pieces[-1]}")
    for path in sorted(path for name in LISTS for path in (*root.glob(name), *root.glob(f"*/{name}"))):
        if not (present := by_folder[LISTS[path.name]]):
            continue  # the other part was chosen, or the photos are in other folders
        listed = _read_list(path)
        missing = [name for name in listed if name not in present]
        if missing:
            yield f"{path.name} lists {len(listed):,} images; not there are {photos.describe_names(missing)}"


def _read_list(path: Path) -> list[str]:
    try:
        names = pd.read_csv(path, usecols=[COLUMN], dtype=str, encoding="utf-8-sig", na_filter=False)[COLUMN]
    except (ValueError, OSError) as error:  # UnicodeDecodeError and ParserError are ValueErrors
        raise DataError(f"{path}: expected a column {COLUMN} separated by commas, got: {error}") from error
    if (empty := names == "").any():
        raise DataError(f"{path} row {int(empty.to_numpy().argmax()) + 2}: {COLUMN} is empty")
    return [escape(Path(name)) for name in names]
