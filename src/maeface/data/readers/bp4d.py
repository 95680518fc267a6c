"""BP4D-Spontaneous: occurrence and intensity by frame number, frames as images or in videos.

    AUCoding/AU_OCC/F001_T1.csv           header 0,1,2,...: the frame, then action units by number; 0, 1, 9
    AU Intensity Codes3.0/AU06/F001_T1*   no header; frame, intensity; 9 is not known; the names' ends vary
    F001/T1/2440.jpg                      frames, padded or not; or a video: F001_T1.avi, 2F01_01.avi

Columns are found by the header's names, never by place. 9 is not known. A frame is labelled if it is in the
occurrence file, or has a known intensity. Frames without a label are left out.
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
from maeface.data.formats import clips, parsing
from maeface.data.formats.clips import Choices, Pictures
from maeface.data.ingest.inputs import Input
from maeface.data.readers.reading import Reading
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


class Options(Choices):
    """What may be chosen of BP4D."""

    intensity: bool | None = None
    """Read the intensity files; None: where their folder is there."""


def read(root: Path, options: Options) -> Reading:
    """Read BP4D; see ``readers.reading``."""
    known = facts.dataset("bp4d")
    tables = occurrences(root, parsing.first_folder(root, OCCURRENCE, "occurrence files"), known)
    complete(root, list(tables), known.subject_names, options.partial)
    folder = next((root / name for name in INTENSITY if (root / name).is_dir()), None)
    notes = []
    if options.intensity is not False and folder is not None:
        tables = _with_intensities(tables, folder, known.aus_intensity, options.partial)
    elif options.intensity:
        parsing.first_folder(root, INTENSITY, "intensity files")
    else:
        notes.append("no intensities: " + ("not asked for" if folder else f"no folder {INTENSITY[0]}"))
    pictures = clips.find(root, options.pictures or PICTURES, list(tables), TASK_CODES)
    return assemble(root, tables, pictures, options, notes)


@dataclass(frozen=True)
class _Lines:
    """Frame numbers of a file, (M,), and the lines that they stand in."""

    path: Path
    numbers: NDArray[np.int64]
    lines: NDArray[np.int64]


@dataclass(frozen=True)
class Coding:
    """The labels of a clip (N frames).

    Attributes:
        path: the occurrence file.
        lines: of each file where a frame with a label stands, for messages.
        numbers: (N,) int64, frames as the files number them, ascending.
        columns: {"AU06_o": (N,) float32, NaN where not known}.
    """

    path: Path
    lines: tuple[_Lines, ...]
    numbers: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float32]]

    def where(self, number: int) -> str:
        """The first file that labels a frame, and the line."""
        file = next(file for file in self.lines if number in file.numbers)
        return f"{file.path}, line {file.lines[int(np.argmax(file.numbers == number))]}"


def occurrences(root: Path, folder: Path, known: facts.Dataset) -> dict[str, Coding]:
    """The occurrence files of a folder: clip ("F001/T1") -> labels, in natural order.

    Raises:
        DataError: no file, one that is named or filled otherwise, two of one clip.
    """
    codings: dict[str, Coding] = {}
    for file in parsing.listed(folder, [".csv"]):
        name = re.fullmatch(rf"({known.subjects})_(T[0-9]+).*", Path(file.name).stem)
        if name is None:
            raise DataError(
                f"{folder / file.name}: expected a name such as F001_T1.csv; move other files away"
            )
        clip = f"{name[1]}/{name[2]}"
        if clip in codings:
            raise DataError(f"{folder}: {codings[clip].path.name} and {file.name} are both of {clip}")
        parsing.refuse_strangers(folder / file.name, known.subject_names, [name[1]], known.title)
        codings[clip] = _occurrence(folder / file.name, known.aus_occurrence)
    if not codings:
        raise DataError(f"{folder} has no occurrence file; expected such as {folder / 'F001_T1.csv'}")
    return codings


def complete(root: Path, there: Sequence[str], subjects: Sequence[str], partial: bool) -> None:
    """Refuse missing subjects, and clips that other subjects have, unless ``partial``.

    Raises:
        DataError: something is missing; up to eight are named.
    """
    pairs = [clip.split("/") for clip in there]
    parsing.refuse_missing(root, subjects, (subject for subject, _ in pairs), partial, "subjects")
    tasks = sorted({task for _, task in pairs}, key=natural_key)
    people = sorted({subject for subject, _ in pairs})
    every = [f"{subject}/{task}" for subject in people for task in tasks]
    parsing.refuse_missing(root, every, there, partial, "occurrence files")


def assemble(
    root: Path, codings: Mapping[str, Coding], pictures: Pictures, options: Choices, notes: Sequence[str] = ()
) -> Reading:
    """Labels and pictures of all clips to one reading.

    Raises:
        DataError: a clip without pictures, or a label of a frame that is not there.
    """
    shown = [clip for clip in codings if clip in pictures]
    parsing.refuse_missing(root, list(codings), shown, options.partial, "clips (frames or a video)")
    inputs: list[Input] = []
    tables: list[pd.DataFrame] = []
    counts: Counter[str] = Counter()
    counts["labelled clips without frames or a video, left out"] += len(codings) - len(shown)
    for clip in shown:
        coding = codings[clip]
        frames = pictures.of(clip, options.first_frame, int(coding.numbers[-1]))
        there = frames.has(coding.numbers)
        if not there.all() and not options.skip_missing:
            number = coding.numbers[int(np.argmin(there))]
            raise DataError(
                f"{coding.where(number)}: frame {number} is labelled, but {frames.describe()}; complete it, "
                "or leave such labels out: --set skip_missing=true"
            )
        counts["labels of frames that are not there, left out"] += int((~there).sum())
        numbers = coding.numbers[there]
        new, sources, indices = frames.take(numbers)
        inputs += new
        counts["frames without a label, left out"] += frames.count - len(numbers)
        columns = {name: values[there] for name, values in coding.columns.items()}
        keys = {"source": sources, "frame": indices, "subject": clip.split("/")[0], "clip": clip}
        tables.append(pd.DataFrame(keys | columns))
    labels = pd.concat(tables, ignore_index=True)
    left_out = [f"{count} {what}" for what, count in counts.items() if count]
    return Reading(tuple(inputs), labels, (*summary(labels), *left_out, *notes))


def summary(labels: pd.DataFrame) -> list[str]:
    """What the labels hold: a line on the frames, and one on what is not known."""
    values = labels.filter(regex="_[oi]$")
    unknown = int(values.isna().to_numpy().sum())
    subjects, clips = labels["subject"].nunique(), labels["clip"].nunique()
    lines = [f"{len(labels)} labelled frames of {subjects} subjects in {clips} clips"]
    if unknown:
        lines.append(f"{unknown} of {values.size} labels are not known (9 or none) and are masked")
    return lines


def _occurrence(path: Path, aus: Sequence[int]) -> Coding:
    table = parsing.ints(path, header=True)
    at: dict[int, int] = {}
    for column, name in enumerate(table.names):
        number = re.fullmatch(r"(?:au_?)?0*([0-9]+)", name.strip('"').lower(), re.ASCII)
        if number and at.setdefault(int(number[1]), column) != column:
            raise DataError(
                f"{path}, line 1: the column {name} is there twice; expected a header such as 0,1,2,..."
            )
    frame = at.get(0, 0 if not table.names[0].strip('"').isdigit() else None)  # "0", or a word
    if frame is None:
        raise DataError(f"{path}, line 1: no column 0 (the frame); expected a header such as 0,1,2,...")
    if lacking := [str(au) for au in aus if au not in at]:
        raise DataError(f"{path}, line 1: no column of AU {', '.join(lacking)}; expected one by that name")
    numbers = parsing.unique_frames(table, frame)
    order = np.argsort(numbers, kind="stable")
    columns = {
        f"{facts.au_name(au)}_o": parsing.labels(table, at[au], facts.au_name(au), 1)[order] for au in aus
    }
    lines = _Lines(path, numbers.copy(), table.lines)  # a view would keep all hundred columns
    return Coding(path, (lines,), numbers[order], columns)


def _with_intensities(
    codings: Mapping[str, Coding], folder: Path, aus: Sequence[int], partial: bool
) -> dict[str, Coding]:
    """The codings with the intensities of the folder beside them."""
    files = {au: _intensity_files(folder, au, list(codings), partial) for au in aus}
    joined = {}
    for clip, coding in codings.items():
        found = {f"{facts.au_name(au)}_i": _intensity(files[au].get(clip), au) for au in aus}
        series = {name: (numbers, values) for name, (numbers, values, _) in found.items()}
        lines = (*coding.lines, *(known for *_, known in found.values() if known is not None))
        union = np.unique(np.concatenate([file.numbers for file in lines]))
        columns = {name: (coding.numbers, values) for name, values in coding.columns.items()} | series
        placed = {name: _placed(*column, union) for name, column in columns.items()}
        joined[clip] = replace(coding, lines=lines, numbers=union, columns=placed)
    return joined


def _placed(
    numbers: NDArray[np.int64], values: NDArray[np.float32], wanted: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Values by frame number at the ascending numbers that are wanted; NaN where there is none."""
    if np.array_equal(numbers, wanted):
        return values
    found = np.full(len(wanted), np.nan, np.float32)
    there = np.isin(numbers, wanted)
    found[np.searchsorted(wanted, numbers[there])] = values[there]
    return found


def _intensity_files(folder: Path, au: int, wanted: Sequence[str], partial: bool) -> dict[str, Path]:
    """Clip -> file of an action unit; by the first characters of its name, as the end varies."""
    names = [n for n in parsing.folders(folder) if re.fullmatch(rf"(?i)au_?0*{au}", n)]
    if not names and not partial:
        raise DataError(f"{folder} has no folder {facts.au_name(au)}; complete it, or --set partial=true")
    found: dict[str, Path] = {}
    for name in names:
        for file in parsing.listed(folder / name, [".csv", ".txt"]):
            start = re.match(r"([FM][0-9]{3})_(T[0-9]+)(?![0-9])", file.name)
            if start is None:
                raise DataError(
                    f"{folder / name / file.name}: expected a name that begins such as F001_T1; "
                    "move other files away"
                )
            clip = f"{start[1]}/{start[2]}"
            if clip in found:
                raise DataError(f"{folder / name}: {found[clip].name} and {file.name} are both of {clip}")
            found[clip] = folder / name / file.name
    lacking = [clip for clip in wanted if clip not in found]
    if lacking and not partial:
        name = lacking[0].replace("/", "_")
        raise DataError(
            f"{folder / facts.au_name(au)} has no file {name}* ({len(lacking)} of {len(wanted)} missing); "
            "complete it, or --set partial=true"
        )
    return found


def _intensity(path: Path | None, au: int) -> tuple[NDArray[np.int64], NDArray[np.float32], _Lines | None]:
    """Frame numbers and intensities of a file, and where those that are known stand; none without one."""
    if path is None:
        return np.zeros(0, np.int64), np.zeros(0, np.float32), None
    table = parsing.ints(path, columns=2)
    numbers, values = parsing.unique_frames(table), parsing.labels(table, 1, facts.au_name(au), 5)
    known = ~np.isnan(values)
    return numbers, values, _Lines(path, numbers[known], table.lines[known])
