"""UNBC-McMaster Shoulder Pain: people who move an aching shoulder, FACS-coded by frame.

DIR must contain, as the archives unpack::

    Images/042-ll042/ll042t1aaaff/ll042t1aaaff001.png ...
    Frame_Labels/FACS/042-ll042/ll042t1aaaff/ll042t1aaaff001_facs.txt ...    one a frame

A label file lists four numbers a line: action unit, intensity, and two that are not read. What is taken: a
unit that is not listed is absent, so an empty file is a face at rest. Present means intensity 1 or more. Eye
closure (AU43) has no degrees: it is present where it is listed, and gets no
intensity. A frame without a file stays
without a label.
"""

from collections.abc import Mapping
from pathlib import Path

from maeface import config, facts
from maeface.data.formats import facs, parsing
from maeface.data.ingest.inputs import Input
from maeface.data.readers.reading import Reading
from maeface.errors import DataError
from maeface.files import natural_key

CODES = "Frame_Labels/FACS"
ENDING = "_facs.txt"


class Options(config.Settings):
    """What is taken of UNBC-McMaster."""

    partial: bool = False
    """Take what is there where subjects or images are missing."""
    images: str = "Images"
    """The folder of images in DIR, for instance one of crops with the same names."""
    unlabelled: bool = False
    """Also the frames without labels, for pre-training."""


def read(root: Path, options: Options) -> Reading:
    """Read UNBC-McMaster.

    Raises:
        DataError: a folder that is missing, a label without its image, or a file that lists no action units.
    """
    known = facts.dataset("unbc")
    images = parsing.first_folder(root, (options.images,), "images")
    folder = images.relative_to(root).as_posix()
    labels = parsing.first_folder(root, (CODES,), "FACS labels")
    inputs: list[Input] = []
    rows: list[facs.Image] = []
    coded: list[Mapping[int, float]] = []
    absent: list[str] = []
    left = 0
    for subject in facs.subjects(root, labels, known, options.partial):
        names = {*parsing.folders(labels / subject), *parsing.folders(images / subject)}
        for session in sorted(names, key=natural_key):
            clip = f"{subject}/{session}"
            waiting = {
                file.name.removesuffix(ENDING): file for file in parsing.listed(labels / clip, (ENDING,))
            }
            for file in parsing.listed(images / clip):
                label = waiting.pop(Path(file.name).stem, None)
                left += label is None
                if label is None and not options.unlabelled:
                    continue
                item = parsing.image(root, f"{folder}/{clip}/{file.name}", file.size)
                inputs.append(item)
                if label is not None:
                    rows.append(facs.Image(item.source, subject, clip))
                    coded.append(facs.codes(labels / clip / label.name, 4))
            absent += [f"{folder}/{clip}/{stem}.png" for stem in waiting]
    facs.refuse_absent(root, absent, options.partial)
    if not rows:
        raise DataError(
            f"{labels} has no label of an image of {images}; expected the same names and {ENDING}"
        )
    values = {au: facs.column(coded, au) for au in {*known.aus_occurrence, *known.aus_intensity}}
    assert known.threshold is not None, "datasets/unbc.toml has a threshold"
    occurrence = {
        au: facs.present(values[au], known.threshold) if au in known.aus_intensity else facs.listed(coded, au)
        for au in known.aus_occurrence
    }
    intensity = {au: values[au] for au in known.aus_intensity}
    notes = [
        f"UNBC-McMaster: {len(rows)} labelled frames of {len({row.clip for row in rows})} sequences, "
        f"{len({row.subject for row in rows})} subjects"
    ]
    notes += facs.remainder(left, options.unlabelled, len(absent))
    return Reading(
        tuple(inputs), facs.table(rows, occurrence, intensity), (*notes, *facs.others(coded, values))
    )
