"""RAF-AU: photographs from the web with blended expressions, FACS-coded by experts.

Reads, as the archive unpacks::

    RAFAU_label.txt                   an image a line: "0001.jpg 1+4+25", or "0002.jpg null"
    aligned/0001_aligned.jpg ...

Listed action units are present, others absent; ``null`` means none. A letter before a number names one side
of the face (``L12``, ``R12``) and is dropped. The faces are the dataset's own aligned ones; prepare them
with ``--aligned``, or without it to crop them as all other data. The subjects are not known: each
photograph counts as a subject of its own.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from maeface import config, facts
from maeface.data.formats import facs, listing
from maeface.data.ingest.inputs import Input
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import DataError

LABELS = "RAFAU_label.txt"
IMAGES = "aligned"
NONE = "null"


class Options(config.Settings):
    """Options of the reader."""

    partial: bool = False
    """Accept missing images."""
    unlabelled: bool = False
    """Also the images without labels, for pre-training."""


def read(root: Path, options: Options) -> RawDataset:
    """Read RAF-AU.

    Raises:
        DataError: no labels or no images, a malformed line, or an image that is labelled twice or missing.
    """
    dataset = facts.dataset("rafau")
    path = root / LABELS
    if not path.is_file():
        raise DataError(f"{path} is missing; expected a line an image, such as '0001.jpg 1+4+25'")
    images = listing.first_folder(root, (IMAGES,), "aligned images")
    codes_by_number = _read_labels(path)
    inputs: list[Input] = []
    rows: list[facs.LabelledImage] = []
    codes: list[Mapping[int, float]] = []
    unlabelled = 0
    for file in listing.list_files(images):
        name = Path(file.name).stem.removesuffix("_aligned")
        image_codes = codes_by_number.pop(int(name), None) if name.isdecimal() else None
        unlabelled += image_codes is None
        if image_codes is None and not options.unlabelled:
            continue
        item = listing.image_input(root, f"{IMAGES}/{file.name}", file.size)
        inputs.append(item)
        if image_codes is not None:
            rows.append(facs.LabelledImage(item.source, name, name))
            codes.append(image_codes)
    facs.refuse_missing_images(
        root, [f"{IMAGES}/{number:04d}_aligned.jpg" for number in codes_by_number], options.partial
    )
    if not rows:
        raise DataError(f"{images} has no image of {LABELS}; expected 0001_aligned.jpg and the like")
    labels = facs.label_table(rows, {au: facs.intensities(codes, au) for au in dataset.aus_occurrence}, {})
    notes = [
        f"RAF-AU: {len(rows)} labelled images, "
        f"{sum(not image for image in codes)} of them without any action unit"
    ]
    notes += facs.missing_notes(unlabelled, options.unlabelled, len(codes_by_number), "images")
    return RawDataset(tuple(inputs), labels, (*notes, *facs.other_codes_notes(codes, dataset.aus_occurrence)))


def _read_labels(path: Path) -> dict[int, dict[int, float]]:
    """Read {number of the image: {action unit: 1}}."""
    codes_by_number: dict[int, dict[int, float]] = {}
    for line, cells in facs.read_lines(path):
        image = re.fullmatch(r"(\d+)\.jpg", cells[0], re.ASCII | re.IGNORECASE)
        if image is None or len(cells) != 2:
            raise DataError(
                f"{path}, line {line}: {' '.join(cells)!r}; "
                "expected an image and its action units, such as '0001.jpg 1+4+25'"
            )
        units = {} if cells[1].lower() == NONE else _parse_units(path, line, cells[1])
        if int(image[1]) in codes_by_number:
            raise DataError(f"{path}, line {line}: {cells[0]} is there a second time; remove one line")
        codes_by_number[int(image[1])] = units
    return codes_by_number


def _parse_units(path: Path, line: int, text: str) -> dict[int, float]:
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
