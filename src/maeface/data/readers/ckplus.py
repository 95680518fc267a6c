"""CK+ (Extended Cohn-Kanade): sequences from a neutral face to a peak, FACS-coded at the peak.

Reads, as the archives unpack::

    cohn-kanade-images/S005/001/S005_001_00000001.png ... S005_001_00000011.png
    FACS/S005/001/S005_001_00000011_facs.txt       one a sequence, for its last frame; "AU intensity" a line

A listed action unit is present, one that is not listed is absent (intensity 0). An intensity of 0 means
that the coder gave none: present, intensity missing. Only the peak has labels; the frames before it have
none. Other projects differ: OpenGraphAU counts only intensities above 1 as present, py-feat reads an
intensity of 0 as 1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maeface import config, facts
from maeface.data.formats import facs, listing
from maeface.data.formats.listing import File
from maeface.data.ingest.inputs import Input
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import DataError
from maeface.files import natural_key

IMAGES = ("cohn-kanade-images",)
CODES = ("FACS", "FACS_labels")
ENDING = "_facs.txt"


class Options(config.Settings):
    """Options of the reader."""

    partial: bool = False
    """Accept missing subjects and images, and labels of other frames than the last."""
    neutral: bool = False
    """Also the first frame of each sequence, as a face without any action unit: the dataset calls it
    neutral, but it is not coded."""
    unlabelled: bool = False
    """Also the frames without labels, for pre-training."""


@dataclass(frozen=True)
class _Sequence:
    subject: str
    name: str
    folder: str
    files: tuple[File, ...]
    peak: int | None
    codes: Mapping[int, float]

    @property
    def clip(self) -> str:
        return f"{self.subject}/{self.name}"


def read(root: Path, options: Options) -> RawDataset:
    """Read CK+.

    Raises:
        DataError: a folder that is missing, more than one label in a sequence, a label without its image or
            not on the last frame, or a file that is no list of action units and intensities.
    """
    dataset = facts.dataset("ckplus")
    images = listing.first_folder(root, IMAGES, "images")
    labels = listing.first_folder(root, CODES, "FACS labels")
    sequences = [
        sequence
        for subject in facs.list_subjects(root, labels, dataset, options.partial)
        for sequence in _find_sequences(images, labels, subject, options.partial)
    ]
    inputs: list[Input] = []
    rows: list[facs.LabelledImage] = []
    codes: list[Mapping[int, float]] = []
    unlabelled = 0
    for sequence in sequences:
        labelled = {} if sequence.peak is None else {sequence.peak: sequence.codes}
        if options.neutral and sequence.files and sequence.peak != 0:
            labelled[0] = {}
        for number, file in enumerate(sequence.files):
            if number not in labelled:
                unlabelled += 1
                if not options.unlabelled:
                    continue
            item = listing.image_input(root, f"{sequence.folder}/{file.name}", file.size)
            inputs.append(item)
            if number in labelled:
                rows.append(facs.LabelledImage(item.source, sequence.subject, sequence.clip))
                codes.append(labelled[number])
    if not rows:
        raise DataError(f"{labels} has no label; expected S005/001/S005_001_00000011{ENDING} and the like")
    values = {au: facs.intensities(codes, au) for au in {*dataset.aus_occurrence, *dataset.aus_intensity}}
    occurrence = {au: facs.occurrence_if_listed(codes, au) for au in dataset.aus_occurrence}
    intensity = {}
    for au in dataset.aus_intensity:
        scored = (values[au] > 0) | np.array([au not in image for image in codes])
        intensity[au] = np.where(scored, values[au], np.nan).astype(np.float32)
    return RawDataset(
        tuple(inputs),
        facs.label_table(rows, occurrence, intensity),
        (*_notes(sequences, options, unlabelled), *facs.other_codes_notes(codes, values)),
    )


def _find_sequences(images: Path, labels: Path, subject: str, partial: bool) -> Iterator[_Sequence]:
    names = {*listing.list_folders(labels / subject), *listing.list_folders(images / subject)}
    for name in sorted(names, key=natural_key):
        files = tuple(listing.list_files(images / subject / name))
        folder = labels / subject / name
        coded = listing.list_files(folder, (ENDING,))
        if len(coded) > 1:
            raise DataError(
                f"{folder}: {coded[0].name} and {coded[1].name}; "
                "expected one label, of the peak; remove the other"
            )
        peak, codes = None, {}
        if coded:
            label = folder / coded[0].name
            peak = _peak(images / subject / name, label, files, partial)
            codes = facs.read_codes(label, 2)
        yield _Sequence(subject, name, f"{images.name}/{subject}/{name}", files, peak, codes)


def _peak(folder: Path, label: Path, files: tuple[File, ...], partial: bool) -> int | None:
    """Return the position of the labelled frame; None where its image is missing."""
    stem = label.name.removesuffix(ENDING)
    position = next((number for number, file in enumerate(files) if Path(file.name).stem == stem), None)
    if position is None:
        facs.refuse_missing_images(folder, [f"{stem}.png"], partial)
    elif position != len(files) - 1 and not partial:
        raise DataError(
            f"{label} is of frame {stem}, but the last frame is {files[-1].name}; expected the label on the "
            "last one, the peak; copy the sequence again, or accept it with --set partial=true"
        )
    return position


def _notes(sequences: list[_Sequence], options: Options, unlabelled: int) -> Iterator[str]:
    subjects = len({sequence.subject for sequence in sequences})
    labelled = sum(sequence.peak is not None for sequence in sequences)
    yield f"CK+: {labelled} labelled peaks of {len(sequences)} sequences, {subjects} subjects"
    if options.neutral:
        yield "the first frame of each sequence is used as neutral, which is not coded"
    yield from facs.missing_notes(unlabelled, options.unlabelled)
    if labelled < len(sequences):
        yield f"{len(sequences) - labelled} sequences have no label at an image"
