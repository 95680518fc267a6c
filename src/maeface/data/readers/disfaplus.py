"""DISFA+ (Extended DISFA): nine of DISFA's subjects pose action units, coded by frame.

Reads, as the archive unpacks::

    Images/SN001/A1_AU1_TrailNo_2/000.jpg ...
    Labels/SN001/A1_AU1_TrailNo_2/AU1.txt ... AU26.txt     twelve files a trial

A label file has comments ("#") and then a line a frame: ``000.jpg     2``, intensity 0 to 5. Each trial is
a clip; present means intensity 2 or more, as in DISFA. All nine subjects are in DISFA too, under the same
names: a model that was trained on a subject of one dataset must not be tested on the same subject of the
other.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maeface import config, facts
from maeface.data.formats import facs, integer_table, listing
from maeface.data.ingest.inputs import Input
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import DataError
from maeface.files import natural_key

LABELS = "Labels"


class Options(config.Settings):
    """Options of the reader."""

    partial: bool = False
    """Accept missing subjects, images and lines of labels."""
    images: str = "Images"
    """The folder of images in DIR, for instance one of crops with the same names."""
    unlabelled: bool = False
    """Also the frames without labels, for pre-training."""


def read(root: Path, options: Options) -> RawDataset:
    """Read DISFA+.

    Raises:
        DataError: a folder or a file that is missing, files of a trial that do not list the same frames, an
            intensity that is none, or a label without its image.
    """
    dataset = facts.dataset("disfaplus")
    aus = tuple(sorted({*dataset.aus_occurrence, *dataset.aus_intensity}))
    images = listing.first_folder(root, (options.images,), "images")
    folder = images.relative_to(root).as_posix()
    labels = listing.first_folder(root, (LABELS,), "labels")
    inputs: list[Input] = []
    rows: list[facs.LabelledImage] = []
    missing: list[str] = []
    intensities: list[NDArray[np.float32]] = []
    unlabelled = 0
    for subject in facs.list_subjects(root, labels, dataset, options.partial):
        for trial in _list_trials(labels, images, subject, options.partial):
            clip = f"{subject}/{trial}"
            by_image = _read_trial(labels / clip, aus, options.partial)
            for file in listing.list_files(images / clip):
                values = by_image.pop(file.name, None)
                unlabelled += values is None
                if values is None and not options.unlabelled:
                    continue
                item = listing.image_input(root, f"{folder}/{clip}/{file.name}", file.size)
                inputs.append(item)
                if values is not None:
                    rows.append(facs.LabelledImage(item.source, subject, clip))
                    intensities.append(values)
            missing += [f"{folder}/{clip}/{name}" for name in by_image]
    facs.refuse_missing_images(root, missing, options.partial)
    if not rows:
        raise DataError(
            f"{labels} has no label of an image of {images}; expected lines such as '000.jpg     2'"
        )
    columns = dict(zip(aus, np.array(intensities, dtype=np.float32).T, strict=True))
    assert dataset.threshold is not None, "datasets/disfaplus.toml has a threshold"
    notes = [
        f"DISFA+: {len(rows)} labelled frames of {len({row.clip for row in rows})} trials, "
        f"{len({row.subject for row in rows})} subjects, all of whom are in DISFA too"
    ]
    notes += facs.missing_notes(unlabelled, options.unlabelled, len(missing))
    return RawDataset(
        tuple(inputs),
        facs.label_table(
            rows,
            {au: facs.occurrence_from(columns[au], dataset.threshold) for au in dataset.aus_occurrence},
            {au: columns[au] for au in dataset.aus_intensity},
        ),
        tuple(notes),
    )


def _list_trials(labels: Path, images: Path, subject: str, partial: bool) -> list[str]:
    """Return the trials of a subject; those without images or labels are refused unless ``partial``."""
    labelled, with_images = listing.list_folders(labels / subject), listing.list_folders(images / subject)
    if not partial:
        listing.refuse_missing(images / subject, labelled, with_images, partial, "trials")
        listing.refuse_missing(labels / subject, with_images, labelled, partial, "trials")
    return sorted({*labelled, *with_images}, key=natural_key)


def _read_trial(folder: Path, aus: tuple[int, ...], partial: bool) -> dict[str, NDArray[np.float32]]:
    """Read {name of the image: (12,) intensities, NaN where missing}."""
    by_image: dict[str, NDArray[np.float32]] = {}
    if not folder.is_dir():
        return by_image  # only where partial
    for column, au in enumerate(aus):
        path = folder / f"AU{au}.txt"
        if not path.is_file():
            if partial:
                continue
            raise DataError(
                f"{path} is missing; expected one file for each of AU{', AU'.join(map(str, aus))}"
            )
        values = _read_intensities(path)
        if by_image and not partial and values.keys() != by_image.keys():
            name = sorted(values.keys() ^ by_image.keys(), key=natural_key)[0]
            has, lacks = (
                (path.name, "the files before it") if name in values else ("the files before it", path.name)
            )
            raise DataError(f"{path}: {name} is in {has} but not in {lacks}; copy the trial's labels again")
        for name, value in values.items():
            by_image.setdefault(name, np.full(len(aus), np.nan, dtype=np.float32))[column] = value
    return by_image


def _read_intensities(path: Path) -> dict[str, float]:
    """Read {name of the image: intensity, NaN where missing} of one action unit."""
    by_image: dict[str, float] = {}
    for line, cells in facs.read_lines(path):
        if len(cells) != 2 or not re.fullmatch(r"-?\d{1,9}", cells[1], re.ASCII):
            raise DataError(f"{path}, line {line}: {' '.join(cells)!r}; expected an image and a whole number")
        name, intensity = cells[0], int(cells[1])
        if name in by_image:
            raise DataError(f"{path}, line {line}: {name} is there a second time; remove one line")
        if not 0 <= intensity <= facts.INTENSITY_MAX and intensity not in integer_table.MISSING_CODES:
            raise DataError(
                f"{path}, line {line}: {path.stem} is {intensity}; expected 0 to 5, or 9 for not known"
            )
        by_image[name] = np.nan if intensity in integer_table.MISSING_CODES else float(intensity)
    return by_image
