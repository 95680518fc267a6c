"""RAF-AU: photographs from the web with blended expressions, FACS-coded by experts.

DIR must contain, as the archive unpacks::

    RAFAU_label.txt                   an image a line: "0001.jpg 1+4+25", or "0002.jpg null"
    aligned/0001_aligned.jpg ...

What is taken: units that are listed are present, others absent; ``null`` means that there is none. A letter
before a number says where (``L12``, ``R12``: one side of the face), and is dropped. The faces are the
dataset's own aligned ones; prepare them with ``--aligned``, or without it to cut them as all other data. Who
is seen is not known: each photograph counts as a person of its own.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from maeface import config, facts
from maeface.data.formats import facs, parsing
from maeface.data.ingest.inputs import Input
from maeface.data.readers.reading import Reading
from maeface.errors import DataError

LABELS = "RAFAU_label.txt"
IMAGES = "aligned"
NONE = "null"


class Options(config.Settings):
    """What is taken of RAF-AU."""

    partial: bool = False
    """Take what is there where images are missing."""
    unlabelled: bool = False
    """Also the images without labels, for pre-training."""


def read(root: Path, options: Options) -> Reading:
    """Read RAF-AU.

    Raises:
        DataError: no labels or no images, a line that is none, an image that is labelled twice or is missing.
    """
    known = facts.dataset("rafau")
    path = root / LABELS
    if not path.is_file():
        raise DataError(f"{path} is missing; expected a line an image, such as '0001.jpg 1+4+25'")
    images = parsing.first_folder(root, (IMAGES,), "aligned images")
    waiting = _labels(path)
    inputs: list[Input] = []
    rows: list[facs.Image] = []
    coded: list[Mapping[int, float]] = []
    left = 0
    for file in parsing.listed(images):
        name = Path(file.name).stem.removesuffix("_aligned")
        found = waiting.pop(int(name), None) if name.isdecimal() else None
        left += found is None
        if found is None and not options.unlabelled:
            continue
        item = parsing.image(root, f"{IMAGES}/{file.name}", file.size)
        inputs.append(item)
        if found is not None:
            rows.append(facs.Image(item.source, name, name))
            coded.append(found)
    facs.refuse_absent(root, [f"{IMAGES}/{number:04d}_aligned.jpg" for number in waiting], options.partial)
    if not rows:
        raise DataError(f"{images} has no image of {LABELS}; expected 0001_aligned.jpg and the like")
    labels = facs.table(rows, {au: facs.column(coded, au) for au in known.aus_occurrence}, {})
    notes = [
        f"RAF-AU: {len(rows)} labelled images, "
        f"{sum(not found for found in coded)} of them without any action unit"
    ]
    notes += facs.remainder(left, options.unlabelled, len(waiting), "images")
    return Reading(tuple(inputs), labels, (*notes, *facs.others(coded, known.aus_occurrence)))


def _labels(path: Path) -> dict[int, dict[int, float]]:
    """Number of the image -> {action unit: 1}."""
    found: dict[int, dict[int, float]] = {}
    for line, cells in facs.lines(path):
        image = re.fullmatch(r"(\d+)\.jpg", cells[0], re.ASCII | re.IGNORECASE)
        if image is None or len(cells) != 2:
            raise DataError(
                f"{path}, line {line}: {' '.join(cells)!r}; "
                "expected an image and its action units, such as '0001.jpg 1+4+25'"
            )
        units = {} if cells[1].lower() == NONE else _units(path, line, cells[1])
        if int(image[1]) in found:
            raise DataError(f"{path}, line {line}: {cells[0]} is there a second time; remove one line")
        found[int(image[1])] = units
    return found


def _units(path: Path, line: int, text: str) -> dict[int, float]:
    units = {}
    for token in text.split("+"):
        unit = re.fullmatch(r"[A-Za-z]?([1-9]\d?)", token, re.ASCII)
        if unit is None:
            raise DataError(
                f"{path}, line {line}: {token!r} is no action unit; "
                f"expected numbers such as 1+4+L12, or {NONE}"
            )
        units[int(unit[1])] = 1.0
    return units
