"""DISFA: one film a subject, 12 action units with intensity, a text file each.

    ActionUnit_Labels/SN001/SN001_au1.txt       lines frame,intensity; frames from 1
    Videos_LeftCamera/LeftVideoSN001_comp.avi   or Video_RightCamera/RightVideoSN001_comp.avi
    SN001/0.png or SN001/00001.jpg              or images, counted from 0 or from 1

Each file is found by its action unit, never by the order of a listing. Occurrence is an intensity of
``threshold`` or more (2, as the field reads it). Frames and labels must be as many; only where a subject's
labels are one frame shorter than the others' may the film be as long as theirs (SN010).
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from maeface import config, facts
from maeface.data.formats import clips, parsing
from maeface.data.formats.clips import Images, Video
from maeface.data.ingest.inputs import Input
from maeface.data.readers.reading import Reading
from maeface.errors import DataError

LABELS = ("ActionUnit_Labels", "Labels", "labels")
CAMERAS = {
    "left": ("Videos_LeftCamera", "Video_LeftCamera", "LeftCamera"),
    "right": ("Video_RightCamera", "Videos_RightCamera", "RightCamera"),
}
PICTURES = (".", "Images", "images", "Frames", "frames", "img")


class Options(config.Settings):
    """What may be chosen of DISFA."""

    camera: Literal["left", "right"] = "left"
    """Of the two videos of a subject; for images it says nothing."""
    kind: Literal["auto", "videos", "images"] = "auto"
    """auto: the videos where there is a folder of them, else images."""
    pictures: str = ""
    """The folder, below DIR, of the videos, or of the subjects' folders of images; "": it is looked for."""
    threshold: Annotated[int, Field(ge=1, le=5)] | None = None
    """Present is an intensity of this or more; None: 2, as the field reads it."""
    dropped: bool = False
    """Leave out the 4,670 frames that others drop for want of landmarks (``disfa_dropped.toml``)."""
    partial: bool = False
    """Take what is there, where subjects are missing."""


def read(root: Path, options: Options) -> Reading:
    """Read DISFA; see ``readers.reading``."""
    known = facts.dataset("disfa")
    folder = parsing.first_folder(root, LABELS, "labels")
    people = [name for name in parsing.folders(folder) if re.fullmatch(known.subjects, name)]
    parsing.refuse_strangers(folder, known.subject_names, people, known.title)
    parsing.refuse_missing(root, known.subject_names, people, options.partial, "subjects (labels)")
    source = _find(root, options, people)
    shown = [subject for subject in people if source.has(subject)]
    parsing.refuse_missing(root, people, shown, options.partial, f"subjects ({source.what})")
    levels = {subject: _levels(folder / subject, subject, known.aus_intensity) for subject in shown}
    rows = {subject: len(next(iter(of.values()))) for subject, of in levels.items()}
    longest = max(rows.values())
    threshold = options.threshold or known.threshold
    assert threshold is not None
    leave_out = dropped() if options.dropped else {}
    inputs: list[Input] = []
    tables = []
    spare = 0
    bases: dict[int, str] = {}
    for subject in shown:
        frames, base = source.of(subject, rows[subject], longest, folder / subject)
        _same_base(source, bases, subject, base)
        spare += frames.count - rows[subject]
        keep = np.setdiff1d(np.arange(rows[subject]), leave_out.get(subject, ()))
        new, sources, indices = frames.take(keep + base)
        inputs += new
        keys = {"source": sources, "frame": indices, "subject": subject, "clip": subject}
        tables.append(pd.DataFrame(keys | _columns(levels[subject], keep, threshold)))
    labels = pd.concat(tables, ignore_index=True)
    notes = [f"{len(labels)} labelled frames of {len(shown)} subjects; {source.what}"]
    notes.append(f"present is an intensity of {threshold:g} or more")
    if options.dropped:
        left_out = sum(rows.values()) - len(labels)
        notes.append(f"{left_out} frames left out that others drop for want of landmarks")
    if spare:
        notes.append(f"{spare} frames behind the last label, left out")
    return Reading(tuple(inputs), labels, tuple(notes))


def dropped() -> dict[str, NDArray[np.int64]]:
    """Subject -> 0-based frames that others leave out; spans of the file are from and to, both meant."""
    text = (resources.files("maeface.data.readers") / "disfa_dropped.toml").read_text("utf-8")
    spans: dict[str, list[list[int]]] = tomllib.loads(text)["frames"]
    return {
        subject: np.concatenate([np.arange(first, last + 1) for first, last in pairs])
        for subject, pairs in spans.items()
    }


@dataclass(frozen=True)
class _Source:
    """Where the pictures of the subjects are: videos, or folders of images.

    Attributes:
        root: of the dataset.
        videos: subject -> video; empty if there are images.
        folder: of the subjects' folders, relative to ``root``, posix.
        what: for messages.
    """

    root: Path
    videos: Mapping[str, Path]
    folder: str
    what: str

    def has(self, subject: str) -> bool:
        return subject in self.videos or (not self.videos and self._images(subject).is_dir())

    def of(self, subject: str, rows: int, longest: int, labels: Path) -> tuple[Images | Video, int]:
        """The frames of a subject, and the number of the first.

        Args:
            subject: who.
            rows: of the subject's label files.
            longest: of any subject's label files.
            labels: the folder of the label files, for messages.

        Raises:
            DataError: frames and labels do not add up.
        """
        if self.videos:
            path = self.videos[subject]
            frames: Images | Video = Video(self.root, path, 0, clips.frame_count(path, exactly=rows))
            base, where = 0, str(path)
        else:
            where = str(self._images(subject))
            found = parsing.numbered(self._images(subject))
            base = min(found, default=0)
            relative = self._images(subject).relative_to(self.root).as_posix()
            frames = Images(self.root, relative, found)
            if found and (base > 1 or max(found) - base + 1 != len(found)):
                raise DataError(
                    f"{where}: images {base} to {max(found)}, {len(found)} in all; expected one for every "
                    "frame, counted from 0 or from 1"
                )
        if frames.count != rows and not rows + 1 == frames.count == longest:
            raise DataError(
                f"{labels}: {rows} label rows a file, but {where} has {frames.count} frames; expected as "
                "many; get both again, as a frame that is missing shifts the labels"
            )
        return frames, base

    def _images(self, subject: str) -> Path:
        return self.root / self.folder / subject


def _find(root: Path, options: Options, people: list[str]) -> _Source:
    if options.kind != "images":
        candidates = (options.pictures,) if options.pictures else CAMERAS[options.camera]
        for name in candidates:
            if parsing.listed(root / name, clips.VIDEOS):
                return _Source(
                    root, _videos(root / name, options.camera), name, f"videos, {options.camera} camera"
                )
        other = "right" if options.camera == "left" else "left"
        turned = next((name for name in CAMERAS[other] if (root / name).is_dir()), None)
        if turned and not options.pictures and not _image_folder(root, PICTURES, people):
            raise DataError(
                f"{root} has no {CAMERAS[options.camera][0]} with videos, but {turned}: --set camera={other}"
            )
    folder = None
    if options.kind != "videos":
        folder = _image_folder(root, (options.pictures,) if options.pictures else PICTURES, people)
    if folder is None:
        where = options.pictures or CAMERAS[options.camera][0]
        films = f"videos of the {options.camera} camera in {where}"
        images = f"folders of images such as {Path(options.pictures, people[0])}"
        expected = {"videos": films, "images": images}.get(options.kind, f"{films}, or {images}")
        raise DataError(f"{root}: no frames found; expected {expected} (say where: --set pictures=FOLDER)")
    return _Source(root, {}, folder, "images")


def _image_folder(root: Path, candidates: tuple[str, ...], people: list[str]) -> str | None:
    return next((name for name in candidates if any((root / name / who).is_dir() for who in people)), None)


def _videos(folder: Path, camera: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in parsing.listed(folder, clips.VIDEOS):
        name = re.search(r"(?i)^(left|right)?.*(SN[0-9]{3})", file.name)
        if name is None:
            continue
        if name[1] and name[1].lower() != camera:
            raise DataError(
                f"{folder / file.name} is of the {name[1].lower()} camera, asked for is the {camera} one; "
                f"move it to its folder or --set camera={name[1].lower()}"
            )
        subject = name[2].upper()
        if subject in found:
            raise DataError(f"{folder}: {found[subject].name} and {file.name} are both of {subject}")
        found[subject] = folder / file.name
    return found


def _same_base(source: _Source, bases: dict[int, str], subject: str, base: int) -> None:
    bases.setdefault(base, subject)
    if len(bases) > 1:
        raise DataError(
            f"{source.root}: images of {bases[0]} count from 0, those of {bases[1]} from 1; expected the "
            "same everywhere; is a first image missing?"
        )


def _levels(folder: Path, subject: str, aus: tuple[int, ...]) -> dict[int, NDArray[np.float32]]:
    """Action unit -> intensities of all frames in order, (N,) float32; from one file each, by its name."""
    files: dict[int, str] = {}
    for file in parsing.listed(folder, [".txt", ".csv"]):
        name = re.fullmatch(rf"(?i){subject}_au0*([0-9]+)\.(?:txt|csv)", file.name)
        if name and files.setdefault(int(name[1]), file.name) != file.name:
            raise DataError(f"{folder}: {files[int(name[1])]} and {file.name} are of one action unit")
    levels = {}
    for au in aus:
        path = folder / files.get(au, f"{subject}_au{au}.txt")
        if au not in files:
            raise DataError(f"{path} is missing; expected a file for each of the {len(aus)} action units")
        table = parsing.ints(path, columns=2)
        frames = table.values[:, 0]
        wrong = frames != np.arange(1, len(frames) + 1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"{table.where(row)}: frame {frames[row]}; expected {row + 1}, counted from 1")
        levels[au] = parsing.labels(table, 1, facts.au_name(au), 5)
        first = levels[aus[0]]
        if len(levels[au]) != len(first):
            raise DataError(
                f"{path} has {len(levels[au])} rows, {files[aus[0]]} has {len(first)}; all must be as long"
            )
    return levels


def _columns(
    levels: Mapping[int, NDArray[np.float32]], keep: NDArray[np.int64], threshold: float
) -> dict[str, NDArray[np.float32]]:
    columns = {}
    for au, level in levels.items():
        kept = level[keep]
        present = np.where(np.isnan(kept), np.nan, kept >= threshold)
        columns[f"{facts.au_name(au)}_o"] = present.astype(np.float32)
        columns[f"{facts.au_name(au)}_i"] = kept
    return dict(sorted(columns.items(), key=lambda column: (column[0][-1] == "i", column[0])))
