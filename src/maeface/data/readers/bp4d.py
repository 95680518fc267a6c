"""BP4D-Spontaneous: occurrence and intensity by frame number, frames as images or in videos.

    AUCoding/AU_OCC/F001_T1.csv           header 0,1,2,...: the frame, then action units by number; 0, 1, 9
    AU Intensity Codes3.0/AU06/F001_T1*   no header; frame, intensity; 9 is missing; the names' ends vary
    F001/T1/2440.jpg                      frames, padded or not; or a video: F001_T1.avi, 2F01_01.avi

Columns are identified by the names in the header, not by position. 9 is a missing label. A frame is
labelled if it is in the occurrence file, or has an intensity. Frames without a label are left out.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maeface import facts
from maeface.data.formats import clips, integer_table, listing
from maeface.data.formats.clips import ClipOptions, Clips
from maeface.data.ingest.inputs import Input
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import DataError
from maeface.files import natural_key

OCCURRENCE = ("AUCoding/AU_OCC", "AU_OCC", "AUCoding")
INTENSITY = ("AU Intensity Codes3.0", "AUCoding/AU Intensity Codes3.0", "AUCoding/AU_INT", "AU_INT")
PICTURES = (
    ".",
    "2D+3D",
    "Sequences(2D+3D)",
    "BP4D",
    "BP4D-Spontaneous",
    "Images",
    "images",
    "Videos",
    "videos",
)
TASK_CODES = {1: "T1", 3: "T2", 7: "T3", 8: "T4", 9: "T5", 10: "T6", 11: "T7", 13: "T8"}
"""Tasks as the older release numbers its videos: 2F01_13.avi is F001, T8."""


class Options(ClipOptions):
    """Options of the reader."""

    intensity: bool | None = None
    """Read the intensity files; by default if their folder exists."""


def read(root: Path, options: Options) -> RawDataset:
    """Read BP4D.

    Raises:
        DataError: a folder or a file that is missing or filled otherwise; see ``assemble``.
    """
    dataset = facts.dataset("bp4d")
    codings = read_occurrence(listing.first_folder(root, OCCURRENCE, "occurrence files"), dataset)
    refuse_incomplete(root, list(codings), dataset.subject_names, options.partial)
    folder = next((root / name for name in INTENSITY if (root / name).is_dir()), None)
    notes = []
    if options.intensity is not False and folder is not None:
        codings = _with_intensities(codings, folder, dataset.aus_intensity, options.partial)
    elif options.intensity:
        listing.first_folder(root, INTENSITY, "intensity files")
    else:
        notes.append("no intensities: " + ("not chosen" if folder else f"no folder {INTENSITY[0]}"))
    frames = clips.find_clips(root, options.pictures or PICTURES, list(codings), TASK_CODES)
    return assemble(root, codings, frames, options, notes)


@dataclass(frozen=True)
class _Lines:
    """Frame numbers of a file, (M,), and the lines that they are in."""

    path: Path
    numbers: NDArray[np.int64]
    lines: NDArray[np.int64]


@dataclass(frozen=True)
class Coding:
    """The labels of a clip (N frames).

    Attributes:
        path: the occurrence file.
        lines: of each file the line of each labelled frame, for messages.
        numbers: (N,) int64, frames as the files number them, ascending.
        columns: {"AU06_o": (N,) float32, NaN where missing}.
    """

    path: Path
    lines: tuple[_Lines, ...]
    numbers: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float32]]

    def location(self, number: int) -> str:
        """Return the first file that labels a frame, and the line."""
        file = next(file for file in self.lines if number in file.numbers)
        return f"{file.path}, line {file.lines[int(np.argmax(file.numbers == number))]}"


def read_occurrence(folder: Path, dataset: facts.Dataset) -> dict[str, Coding]:
    """Read the occurrence files of a folder: {clip ("F001/T1"): labels}, in natural order.

    Raises:
        DataError: no file, one with another name or content, or two of one clip.
    """
    codings: dict[str, Coding] = {}
    for file in listing.list_files(folder, [".csv"]):
        name = re.fullmatch(rf"({dataset.subjects})_(T[0-9]+).*", Path(file.name).stem)
        if name is None:
            raise DataError(
                f"{folder / file.name}: expected a name such as F001_T1.csv; move other files away"
            )
        clip = f"{name[1]}/{name[2]}"
        if clip in codings:
            raise DataError(f"{folder}: {codings[clip].path.name} and {file.name} are both of {clip}")
        listing.refuse_unknown_subjects(folder / file.name, dataset.subject_names, [name[1]], dataset.title)
        codings[clip] = _read_occurrence_file(folder / file.name, dataset.aus_occurrence)
    if not codings:
        raise DataError(f"{folder} has no occurrence file; expected such as {folder / 'F001_T1.csv'}")
    return codings


def refuse_incomplete(root: Path, present: Sequence[str], subjects: Sequence[str], partial: bool) -> None:
    """Refuse missing subjects, and clips that other subjects have, unless ``partial``.

    Raises:
        DataError: something is missing; up to eight are named.
    """
    pairs = [clip.split("/") for clip in present]
    listing.refuse_missing(root, subjects, (subject for subject, _ in pairs), partial, "subjects")
    tasks = sorted({task for _, task in pairs}, key=natural_key)
    coded = sorted({subject for subject, _ in pairs})
    every = [f"{subject}/{task}" for subject in coded for task in tasks]
    listing.refuse_missing(root, every, present, partial, "occurrence files")


def assemble(
    root: Path,
    codings: Mapping[str, Coding],
    recordings: Clips,
    options: ClipOptions,
    notes: Sequence[str] = (),
) -> RawDataset:
    """Join labels and frames of all clips.

    Raises:
        DataError: a clip without frames, or a label without its frame.
    """
    with_frames = [clip for clip in codings if clip in recordings]
    listing.refuse_missing(root, list(codings), with_frames, options.partial, "clips (frames or a video)")
    inputs: list[Input] = []
    tables: list[pd.DataFrame] = []
    counts: Counter[str] = Counter()
    counts["labelled clips without frames or a video, left out"] += len(codings) - len(with_frames)
    for clip in with_frames:
        coding = codings[clip]
        frames = recordings.open(clip, options.first_frame, int(coding.numbers[-1]))
        present = frames.has(coding.numbers)
        if not present.all() and not options.skip_missing:
            number = coding.numbers[int(np.argmin(present))]
            raise DataError(
                f"{coding.location(number)}: frame {number} is labelled, but {frames.describe()}; "
                "complete it, or leave such labels out: --set skip_missing=true"
            )
        counts["labels of frames that do not exist, left out"] += int((~present).sum())
        numbers = coding.numbers[present]
        clip_inputs, sources, indices = frames.take(numbers)
        inputs += clip_inputs
        counts["frames without a label, left out"] += frames.count - len(numbers)
        columns = {name: values[present] for name, values in coding.columns.items()}
        keys = {"source": sources, "frame": indices, "subject": clip.split("/")[0], "clip": clip}
        tables.append(pd.DataFrame(keys | columns))
    labels = pd.concat(tables, ignore_index=True)
    counted = [f"{count} {what}" for what, count in counts.items() if count]
    return RawDataset(tuple(inputs), labels, (*_summary(labels), *counted, *notes))


def _summary(labels: pd.DataFrame) -> list[str]:
    """Return a line about the labelled frames, and one about missing labels."""
    values = labels.filter(regex="_[oi]$")
    missing = int(values.isna().to_numpy().sum())
    subjects, clips = labels["subject"].nunique(), labels["clip"].nunique()
    lines = [f"{len(labels)} labelled frames of {subjects} subjects in {clips} clips"]
    if missing:
        lines.append(f"{missing} of {values.size} labels are not known (9 or none) and are masked")
    return lines


def _read_occurrence_file(path: Path, aus: Sequence[int]) -> Coding:
    table = integer_table.read(path, header=True)
    columns_of: dict[int, int] = {}
    for column, name in enumerate(table.names):
        number = re.fullmatch(r"(?:au_?)?0*([0-9]+)", name.strip('"').lower(), re.ASCII)
        if number and columns_of.setdefault(int(number[1]), column) != column:
            raise DataError(
                f"{path}, line 1: the column {name} is there twice; expected a header such as 0,1,2,..."
            )
    frame = columns_of.get(0, 0 if not table.names[0].strip('"').isdigit() else None)  # "0", or a word
    if frame is None:
        raise DataError(f"{path}, line 1: no column 0 (the frame); expected a header such as 0,1,2,...")
    if absent := [str(au) for au in aus if au not in columns_of]:
        raise DataError(f"{path}, line 1: no column of AU {', '.join(absent)}; expected one by that name")
    numbers = integer_table.frame_column(table, frame)
    order = np.argsort(numbers, kind="stable")
    columns = {
        f"{facts.au_name(au)}_o": integer_table.label_column(table, columns_of[au], facts.au_name(au), 1)[
            order
        ]
        for au in aus
    }
    lines = _Lines(path, numbers.copy(), table.lines)  # a view would keep all hundred columns
    return Coding(path, (lines,), numbers[order], columns)


def _with_intensities(
    codings: Mapping[str, Coding], folder: Path, aus: Sequence[int], partial: bool
) -> dict[str, Coding]:
    """Return the codings with the intensities of a folder added."""
    files = {au: _find_intensity_files(folder, au, list(codings), partial) for au in aus}
    joined = {}
    for clip, coding in codings.items():
        read = {f"{facts.au_name(au)}_i": _read_intensity_file(files[au].get(clip), au) for au in aus}
        series = {name: (numbers, values) for name, (numbers, values, _) in read.items()}
        lines = (*coding.lines, *(labelled for *_, labelled in read.values() if labelled is not None))
        union = np.unique(np.concatenate([file.numbers for file in lines]))
        columns = {name: (coding.numbers, values) for name, values in coding.columns.items()} | series
        aligned = {name: _align(*column, union) for name, column in columns.items()}
        joined[clip] = replace(coding, lines=lines, numbers=union, columns=aligned)
    return joined


def _align(
    numbers: NDArray[np.int64], values: NDArray[np.float32], union: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the values of frames ``numbers`` at the ascending frames ``union``; NaN where there is none."""
    if np.array_equal(numbers, union):
        return values
    aligned = np.full(len(union), np.nan, np.float32)
    shared = np.isin(numbers, union)
    aligned[np.searchsorted(union, numbers[shared])] = values[shared]
    return aligned


def _find_intensity_files(folder: Path, au: int, clips: Sequence[str], partial: bool) -> dict[str, Path]:
    """Return {clip: file} of an action unit; by the first characters of the name, as its end varies."""
    names = [name for name in listing.list_folders(folder) if re.fullmatch(rf"(?i)au_?0*{au}", name)]
    if not names and not partial:
        raise DataError(f"{folder} has no folder {facts.au_name(au)}; complete it, or --set partial=true")
    files: dict[str, Path] = {}
    for name in names:
        for file in listing.list_files(folder / name, [".csv", ".txt"]):
            start = re.match(r"([FM][0-9]{3})_(T[0-9]+)(?![0-9])", file.name)
            if start is None:
                raise DataError(
                    f"{folder / name / file.name}: expected a name that begins such as F001_T1; "
                    "move other files away"
                )
            clip = f"{start[1]}/{start[2]}"
            if clip in files:
                raise DataError(f"{folder / name}: {files[clip].name} and {file.name} are both of {clip}")
            files[clip] = folder / name / file.name
    missing = [clip for clip in clips if clip not in files]
    if missing and not partial:
        name = missing[0].replace("/", "_")
        raise DataError(
            f"{folder / facts.au_name(au)} has no file {name}* ({len(missing)} of {len(clips)} missing); "
            "complete it, or --set partial=true"
        )
    return files


def _read_intensity_file(
    path: Path | None, au: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], _Lines | None]:
    """Read frame numbers and intensities, and the lines of those that are not missing; empty for None."""
    if path is None:
        return np.zeros(0, np.int64), np.zeros(0, np.float32), None
    table = integer_table.read(path, columns=2)
    numbers, values = (
        integer_table.frame_column(table),
        integer_table.label_column(table, 1, facts.au_name(au), 5),
    )
    labelled = ~np.isnan(values)
    return numbers, values, _Lines(path, numbers[labelled], table.lines[labelled])
