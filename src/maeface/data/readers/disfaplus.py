"""DISFA+ (Extended DISFA): nine of DISFA's people pose action units on cue, coded by frame.

DIR must contain, as the archive unpacks::

    Images/SN001/A1_AU1_TrailNo_2/000.jpg ...
    Labels/SN001/A1_AU1_TrailNo_2/AU1.txt ... AU26.txt     twelve files a trial

A label file has comments ("#") and then a line a frame: ``000.jpg     2``, intensity 0 to 5. What is taken:
each trial is a clip; present means intensity 2 or more, as in DISFA. All nine subjects are in DISFA too,
under the same names: who learned from one of the two must not be tested on the same person in the other.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maeface import config, facts
from maeface.data.formats import facs, parsing
from maeface.data.ingest.inputs import Input
from maeface.data.readers.reading import Reading
from maeface.errors import DataError
from maeface.files import natural_key

LABELS = "Labels"


class Options(config.Settings):
    """What is taken of DISFA+."""

    partial: bool = False
    """Take what is there where subjects, images or lines of labels are missing."""
    images: str = "Images"
    """The folder of images in DIR, for instance one of crops with the same names."""
    unlabelled: bool = False
    """Also the frames without labels, for pre-training."""


def read(root: Path, options: Options) -> Reading:
    """Read DISFA+.

    Raises:
        DataError: a folder or a file that is missing, files of a trial that do not list the same frames, an
            intensity that is none, or a label without its image.
    """
    known = facts.dataset("disfaplus")
    aus = tuple(sorted({*known.aus_occurrence, *known.aus_intensity}))
    images = parsing.first_folder(root, (options.images,), "images")
    folder = images.relative_to(root).as_posix()
    labels = parsing.first_folder(root, (LABELS,), "labels")
    inputs: list[Input] = []
    rows: list[facs.Image] = []
    absent: list[str] = []
    parts: list[NDArray[np.float32]] = []
    left = 0
    for subject in facs.subjects(root, labels, known, options.partial):
        for trial in _trials(labels, images, subject, options.partial):
            clip = f"{subject}/{trial}"
            coded = _trial(labels / clip, aus, options.partial)
            for file in parsing.listed(images / clip):
                values = coded.pop(file.name, None)
                left += values is None
                if values is None and not options.unlabelled:
                    continue
                item = parsing.image(root, f"{folder}/{clip}/{file.name}", file.size)
                inputs.append(item)
                if values is not None:
                    rows.append(facs.Image(item.source, subject, clip))
                    parts.append(values)
            absent += [f"{folder}/{clip}/{name}" for name in coded]
    facs.refuse_absent(root, absent, options.partial)
    if not rows:
        raise DataError(
            f"{labels} has no label of an image of {images}; expected lines such as '000.jpg     2'"
        )
    columns = dict(zip(aus, np.array(parts, dtype=np.float32).T, strict=True))
    assert known.threshold is not None, "datasets/disfaplus.toml has a threshold"
    notes = [
        f"DISFA+: {len(rows)} labelled frames of {len({row.clip for row in rows})} trials, "
        f"{len({row.subject for row in rows})} subjects, all of whom are in DISFA too"
    ]
    notes += facs.remainder(left, options.unlabelled, len(absent))
    return Reading(
        tuple(inputs),
        facs.table(
            rows,
            {au: facs.present(columns[au], known.threshold) for au in known.aus_occurrence},
            {au: columns[au] for au in known.aus_intensity},
        ),
        tuple(notes),
    )


def _trials(labels: Path, images: Path, subject: str, partial: bool) -> list[str]:
    """The trials of a subject; those without images, or without labels, are refused unless ``partial``."""
    coded, seen = parsing.folders(labels / subject), parsing.folders(images / subject)
    if not partial:
        parsing.refuse_missing(images / subject, coded, seen, partial, "trials")
        parsing.refuse_missing(labels / subject, seen, coded, partial, "trials")
    return sorted({*coded, *seen}, key=natural_key)


def _trial(folder: Path, aus: tuple[int, ...], partial: bool) -> dict[str, NDArray[np.float32]]:
    """Name of the image -> (12,) intensities, NaN where not known."""
    found: dict[str, NDArray[np.float32]] = {}
    if not folder.is_dir():
        return found  # only where partial
    for column, au in enumerate(aus):
        path = folder / f"AU{au}.txt"
        if not path.is_file():
            if partial:
                continue
            raise DataError(
                f"{path} is missing; expected one file for each of AU{', AU'.join(map(str, aus))}"
            )
        values = _intensities(path)
        if found and not partial and values.keys() != found.keys():
            name = sorted(values.keys() ^ found.keys(), key=natural_key)[0]
            has, lacks = (
                (path.name, "the files before it") if name in values else ("the files before it", path.name)
            )
            raise DataError(f"{path}: {name} is in {has} but not in {lacks}; copy the trial's labels again")
        for name, value in values.items():
            found.setdefault(name, np.full(len(aus), np.nan, dtype=np.float32))[column] = value
    return found


def _intensities(path: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for line, cells in facs.lines(path):
        if len(cells) != 2 or not re.fullmatch(r"-?\d{1,9}", cells[1], re.ASCII):
            raise DataError(f"{path}, line {line}: {' '.join(cells)!r}; expected an image and a whole number")
        name, intensity = cells[0], int(cells[1])
        if name in found:
            raise DataError(f"{path}, line {line}: {name} is there a second time; remove one line")
        if not 0 <= intensity <= facts.INTENSITY_MAX and intensity not in parsing.UNKNOWN:
            raise DataError(
                f"{path}, line {line}: {path.stem} is {intensity}; expected 0 to 5, or 9 for not known"
            )
        found[name] = np.nan if intensity in parsing.UNKNOWN else float(intensity)
    return found
