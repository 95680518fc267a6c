"""UNBC-McMaster Shoulder Pain: patients who move a painful shoulder, FACS-coded by frame.

Reads, as the archives unpack::

    Images/042-ll042/ll042t1aaaff/ll042t1aaaff001.png ...
    Frame_Labels/FACS/042-ll042/ll042t1aaaff/ll042t1aaaff001_facs.txt ...    one a frame

A label file has four numbers a line: action unit, intensity, and two that are not read. An action unit that
is not listed is absent, so an empty file is a face without any. Present means intensity 1 or more. Eye
closure (AU43) has no degrees: it is present where it is listed, and gets no intensity. A frame without a
file has no label.
"""

from collections.abc import Mapping
from pathlib import Path

from maeface import config, facts
from maeface.data.formats import facs, listing
from maeface.data.ingest.inputs import Input
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import DataError
from maeface.files import natural_key

CODES = "Frame_Labels/FACS"
ENDING = "_facs.txt"


class Options(config.Settings):
    """Options of the reader."""

    partial: bool = False
    """Accept missing subjects and images."""
    images: str = "Images"
    """The folder of images in DIR, for instance one of crops with the same names."""
    unlabelled: bool = False
    """Also the frames without labels, for pre-training."""


def read(root: Path, options: Options) -> RawDataset:
    """Read UNBC-McMaster.

    Raises:
        DataError: a folder that is missing, a label without its image, or a file that lists no action units.
    """
    dataset = facts.dataset("unbc")
    images = listing.first_folder(root, (options.images,), "images")
    folder = images.relative_to(root).as_posix()
    labels = listing.first_folder(root, (CODES,), "FACS labels")
    inputs: list[Input] = []
    rows: list[facs.LabelledImage] = []
    codes: list[Mapping[int, float]] = []
    missing: list[str] = []
    unlabelled = 0
    for subject in facs.list_subjects(root, labels, dataset, options.partial):
        names = {*listing.list_folders(labels / subject), *listing.list_folders(images / subject)}
        for session in sorted(names, key=natural_key):
            clip = f"{subject}/{session}"
            label_files = {
                file.name.removesuffix(ENDING): file for file in listing.list_files(labels / clip, (ENDING,))
            }
            for file in listing.list_files(images / clip):
                label = label_files.pop(Path(file.name).stem, None)
                unlabelled += label is None
                if label is None and not options.unlabelled:
                    continue
                item = listing.image_input(root, f"{folder}/{clip}/{file.name}", file.size)
                inputs.append(item)
                if label is not None:
                    rows.append(facs.LabelledImage(item.source, subject, clip))
                    codes.append(facs.read_codes(labels / clip / label.name, 4))
            missing += [f"{folder}/{clip}/{stem}.png" for stem in label_files]
    facs.refuse_missing_images(root, missing, options.partial)
    if not rows:
        raise DataError(
            f"{labels} has no label of an image of {images}; expected the same names and {ENDING}"
        )
    values = {au: facs.intensities(codes, au) for au in {*dataset.aus_occurrence, *dataset.aus_intensity}}
    assert dataset.threshold is not None, "datasets/unbc.toml has a threshold"
    occurrence = {
        au: facs.occurrence_from(values[au], dataset.threshold)
        if au in dataset.aus_intensity
        else facs.occurrence_if_listed(codes, au)
        for au in dataset.aus_occurrence
    }
    intensity = {au: values[au] for au in dataset.aus_intensity}
    notes = [
        f"UNBC-McMaster: {len(rows)} labelled frames of {len({row.clip for row in rows})} sequences, "
        f"{len({row.subject for row in rows})} subjects"
    ]
    notes += facs.missing_notes(unlabelled, options.unlabelled, len(missing))
    return RawDataset(
        tuple(inputs),
        facs.label_table(rows, occurrence, intensity),
        (*notes, *facs.other_codes_notes(codes, values)),
    )
