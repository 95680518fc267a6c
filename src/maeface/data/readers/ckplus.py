"""CK+ (Extended Cohn-Kanade): sequences from a neutral face to a peak, FACS-coded at the peak.

DIR must contain, as the archives unpack::

    cohn-kanade-images/S005/001/S005_001_00000001.png ... S005_001_00000011.png
    FACS/S005/001/S005_001_00000011_facs.txt       one a sequence, for its last frame; "AU intensity" a line

What is taken: a listed action unit is present, one that is not listed is absent (intensity 0). An intensity
of 0 means that the coder gave none: present, intensity not known. Only the peak has labels; the frames before
it stay without. Public projects differ: OpenGraphAU counts intensities above 1 alone as present, py-feat
makes an intensity of 0 a 1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maeface import config, facts
from maeface.data.formats import facs, parsing
from maeface.data.formats.parsing import File
from maeface.data.ingest.inputs import Input
from maeface.data.readers.reading import Reading
from maeface.errors import DataError
from maeface.files import natural_key

IMAGES = ("cohn-kanade-images",)
CODES = ("FACS", "FACS_labels")
ENDING = "_facs.txt"


class Options(config.Settings):
    """What is taken of CK+."""

    partial: bool = False
    """Take what is there where subjects or images are missing; labels off the last frame stay there."""
    neutral: bool = False
    """Also the first frame of each sequence, as a face without any action unit: the dataset says that it is
    neutral, but nobody coded it."""
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


def read(root: Path, options: Options) -> Reading:
    """Read CK+.

    Raises:
        DataError: a folder that is missing, more than one label in a sequence, a label without its image or
            not on the last frame, or a file that is no list of action units and intensities.
    """
    known = facts.dataset("ckplus")
    images = parsing.first_folder(root, IMAGES, "images")
    labels = parsing.first_folder(root, CODES, "FACS labels")
    sequences = [
        sequence
        for subject in facs.subjects(root, labels, known, options.partial)
        for sequence in _sequences(images, labels, subject, options.partial)
    ]
    inputs: list[Input] = []
    rows: list[facs.Image] = []
    coded: list[Mapping[int, float]] = []
    left = 0
    for sequence in sequences:
        chosen = {} if sequence.peak is None else {sequence.peak: sequence.codes}
        if options.neutral and sequence.files and sequence.peak != 0:
            chosen[0] = {}
        for number, file in enumerate(sequence.files):
            if number not in chosen:
                left += 1
                if not options.unlabelled:
                    continue
            item = parsing.image(root, f"{sequence.folder}/{file.name}", file.size)
            inputs.append(item)
            if number in chosen:
                rows.append(facs.Image(item.source, sequence.subject, sequence.clip))
                coded.append(chosen[number])
    if not rows:
        raise DataError(f"{labels} has no label; expected S005/001/S005_001_00000011{ENDING} and the like")
    values = {au: facs.column(coded, au) for au in {*known.aus_occurrence, *known.aus_intensity}}
    occurrence = {au: facs.listed(coded, au) for au in known.aus_occurrence}
    intensity = {}
    for au in known.aus_intensity:
        given = (values[au] > 0) | np.array([au not in found for found in coded])
        intensity[au] = np.where(given, values[au], np.nan).astype(np.float32)
    return Reading(
        tuple(inputs),
        facs.table(rows, occurrence, intensity),
        (*_notes(sequences, options, left), *facs.others(coded, values)),
    )


def _sequences(images: Path, labels: Path, subject: str, partial: bool) -> Iterator[_Sequence]:
    names = dict.fromkeys((*parsing.folders(labels / subject), *parsing.folders(images / subject)))
    for name in sorted(names, key=natural_key):
        files = tuple(parsing.listed(images / subject / name))
        found = parsing.listed(labels / subject / name, (ENDING,))
        if len(found) > 1:
            raise DataError(
                f"{labels / subject / name}: {found[0].name} and {found[1].name}; "
                "expected one label, of the peak; remove the other"
            )
        peak = (
            _peak(images / subject / name, labels / subject / name / found[0].name, files, partial)
            if found
            else None
        )
        codes = facs.codes(labels / subject / name / found[0].name, 2) if found else {}
        yield _Sequence(subject, name, f"{images.name}/{subject}/{name}", files, peak, codes)


def _peak(folder: Path, label: Path, files: tuple[File, ...], partial: bool) -> int | None:
    stem = label.name.removesuffix(ENDING)
    position = next((number for number, file in enumerate(files) if Path(file.name).stem == stem), None)
    if position is None:
        facs.refuse_absent(folder, [f"{stem}.png"], partial)
    elif position != len(files) - 1 and not partial:
        raise DataError(
            f"{label} is of frame {stem}, but the last frame is {files[-1].name}; expected the label on the "
            "last one, the peak; copy the sequence again, or keep it there with --set partial=true"
        )
    return position


def _notes(sequences: list[_Sequence], options: Options, left: int) -> Iterator[str]:
    subjects = len({sequence.subject for sequence in sequences})
    labelled = sum(sequence.peak is not None for sequence in sequences)
    yield f"CK+: {labelled} labelled peaks of {len(sequences)} sequences, {subjects} subjects"
    if options.neutral:
        yield "the first frame of each sequence is taken as neutral, which nobody coded"
    yield from facs.remainder(left, options.unlabelled)
    if labelled < len(sequences):
        yield f"{len(sequences) - labelled} sequences have no label at an image"
