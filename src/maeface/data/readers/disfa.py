"""DISFA: one video a subject, 12 action units with intensity, a text file each.

    ActionUnit_Labels/SN001/SN001_au1.txt       lines frame,intensity; frames from 1
    Videos_LeftCamera/LeftVideoSN001_comp.avi   or Video_RightCamera/RightVideoSN001_comp.avi
    SN001/0.png or SN001/00001.jpg              or images, counted from 0 or from 1

Each label file is identified by the action unit in its name. Occurrence is an intensity of ``threshold`` or
more (2, as is usual in the literature). There must be as many frames as labels; only where a subject's
labels are one frame shorter than the other subjects' may the video be as long as theirs (SN010).
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
from maeface.data.formats import clips, integer_table, listing
from maeface.data.formats.clips import ImageClip, VideoClip
from maeface.data.ingest.inputs import Input
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import DataError

LABELS = ("ActionUnit_Labels", "Labels", "labels")
CAMERAS = {
    "left": ("Videos_LeftCamera", "Video_LeftCamera", "LeftCamera"),
    "right": ("Video_RightCamera", "Videos_RightCamera", "RightCamera"),
}
PICTURES = (".", "Images", "images", "Frames", "frames", "img")


class Options(config.Settings):
    """Options of the reader."""

    camera: Literal["left", "right"] = "left"
    """Which of the two videos of a subject; it does not apply to images."""
    kind: Literal["auto", "videos", "images"] = "auto"
    """auto: the videos where there is a folder of them, else images."""
    pictures: str = ""
    """The folder, below DIR, of the videos, or of the subjects' folders of images; "": it is searched for."""
    threshold: Annotated[int, Field(ge=1, le=5)] | None = None
    """Present is an intensity of this or more; None: 2, as is usual in the literature."""
    dropped: bool = False
    """Leave out the 4,670 frames that other projects drop for lack of landmarks (``disfa_dropped.toml``)."""
    partial: bool = False
    """Accept missing subjects."""


def read(root: Path, options: Options) -> RawDataset:
    """Read DISFA.

    Raises:
        DataError: a folder, a subject or a label file is missing or wrong, or frames and labels differ in
            number.
    """
    dataset = facts.dataset("disfa")
    folder = listing.first_folder(root, LABELS, "labels")
    labelled = [name for name in listing.list_folders(folder) if re.fullmatch(dataset.subjects, name)]
    listing.refuse_unknown_subjects(folder, dataset.subject_names, labelled, dataset.title)
    listing.refuse_missing(root, dataset.subject_names, labelled, options.partial, "subjects (labels)")
    recordings = _find_recordings(root, options, labelled)
    subjects = [subject for subject in labelled if recordings.has(subject)]
    listing.refuse_missing(root, labelled, subjects, options.partial, f"subjects ({recordings.kind})")
    levels = {subject: _read_levels(folder / subject, subject, dataset.aus_intensity) for subject in subjects}
    rows = {subject: len(next(iter(columns.values()))) for subject, columns in levels.items()}
    longest = max(rows.values())
    threshold = options.threshold or dataset.threshold
    assert threshold is not None
    leave_out = read_dropped() if options.dropped else {}
    inputs: list[Input] = []
    tables = []
    spare = 0
    bases: dict[int, str] = {}
    for subject in subjects:
        frames, base = recordings.open(subject, rows[subject], longest, folder / subject)
        _refuse_other_base(recordings, bases, subject, base)
        spare += frames.count - rows[subject]
        kept = np.setdiff1d(np.arange(rows[subject]), leave_out.get(subject, ()))
        subject_inputs, sources, indices = frames.take(kept + base)
        inputs += subject_inputs
        keys = {"source": sources, "frame": indices, "subject": subject, "clip": subject}
        tables.append(pd.DataFrame(keys | _label_columns(levels[subject], kept, threshold)))
    labels = pd.concat(tables, ignore_index=True)
    notes = [f"{len(labels)} labelled frames of {len(subjects)} subjects; {recordings.kind}"]
    notes.append(f"present is an intensity of {threshold:g} or more")
    if options.dropped:
        left_out = sum(rows.values()) - len(labels)
        notes.append(f"{left_out} frames left out that other projects drop for lack of landmarks")
    if spare:
        notes.append(f"{spare} frames after the last label, left out")
    return RawDataset(tuple(inputs), labels, tuple(notes))


def read_dropped() -> dict[str, NDArray[np.int64]]:
    """Read which 0-based frames other projects leave out, by subject; spans in the file include their end."""
    text = (resources.files("maeface.data.readers") / "disfa_dropped.toml").read_text("utf-8")
    spans: dict[str, list[list[int]]] = tomllib.loads(text)["frames"]
    return {
        subject: np.concatenate([np.arange(first, last + 1) for first, last in pairs])
        for subject, pairs in spans.items()
    }


@dataclass(frozen=True)
class _Recordings:
    """The recordings of the subjects: videos, or folders of images.

    Attributes:
        root: of the dataset.
        videos: {subject: video}; empty if there are images.
        folder: of the subjects' folders, relative to ``root``, posix.
        kind: for messages.
    """

    root: Path
    videos: Mapping[str, Path]
    folder: str
    kind: str

    def has(self, subject: str) -> bool:
        return subject in self.videos or (not self.videos and self._image_folder(subject).is_dir())

    def open(self, subject: str, rows: int, longest: int, labels: Path) -> tuple[ImageClip | VideoClip, int]:
        """Return the frames of a subject, and the number of the first.

        Args:
            subject: one that ``has`` recordings.
            rows: the length of the subject's label files.
            longest: the length of the longest label file.
            labels: the folder of the label files, for messages.

        Raises:
            DataError: frames and labels differ in number.
        """
        if self.videos:
            path = self.videos[subject]
            frames: ImageClip | VideoClip = VideoClip(
                self.root, path, 0, clips.count_frames(path, exactly=rows)
            )
            base, where = 0, str(path)
        else:
            where = str(self._image_folder(subject))
            files = listing.number_files(self._image_folder(subject))
            base = min(files, default=0)
            relative = self._image_folder(subject).relative_to(self.root).as_posix()
            frames = ImageClip(self.root, relative, files)
            if files and (base > 1 or max(files) - base + 1 != len(files)):
                raise DataError(
                    f"{where}: images {base} to {max(files)}, {len(files)} in all; expected one for every "
                    "frame, counted from 0 or from 1"
                )
        if frames.count != rows and not rows + 1 == frames.count == longest:
            raise DataError(
                f"{labels}: {rows} label rows a file, but {where} has {frames.count} frames; expected as "
                "many; get both again, because a missing frame shifts the labels"
            )
        return frames, base

    def _image_folder(self, subject: str) -> Path:
        return self.root / self.folder / subject


def _find_recordings(root: Path, options: Options, subjects: list[str]) -> _Recordings:
    if options.kind != "images":
        candidates = (options.pictures,) if options.pictures else CAMERAS[options.camera]
        for name in candidates:
            if listing.list_files(root / name, clips.VIDEOS):
                return _Recordings(
                    root, _find_videos(root / name, options.camera), name, f"videos, {options.camera} camera"
                )
        other = "right" if options.camera == "left" else "left"
        other_folder = next((name for name in CAMERAS[other] if (root / name).is_dir()), None)
        if other_folder and not options.pictures and not _find_image_folder(root, PICTURES, subjects):
            raise DataError(
                f"{root} has no {CAMERAS[options.camera][0]} with videos, but {other_folder}: "
                f"--set camera={other}"
            )
    folder = None
    if options.kind != "videos":
        image_folders = (options.pictures,) if options.pictures else PICTURES
        folder = _find_image_folder(root, image_folders, subjects)
    if folder is None:
        where = options.pictures or CAMERAS[options.camera][0]
        videos = f"videos of the {options.camera} camera in {where}"
        images = f"folders of images such as {Path(options.pictures, subjects[0])}"
        expected = {"videos": videos, "images": images}.get(options.kind, f"{videos}, or {images}")
        raise DataError(f"{root}: no frames found; expected {expected} (say where: --set pictures=FOLDER)")
    return _Recordings(root, {}, folder, "images")


def _find_image_folder(root: Path, candidates: tuple[str, ...], subjects: list[str]) -> str | None:
    return next(
        (name for name in candidates if any((root / name / subject).is_dir() for subject in subjects)), None
    )


def _find_videos(folder: Path, camera: str) -> dict[str, Path]:
    videos: dict[str, Path] = {}
    for file in listing.list_files(folder, clips.VIDEOS):
        name = re.search(r"(?i)^(left|right)?.*(SN[0-9]{3})", file.name)
        if name is None:
            continue
        if name[1] and name[1].lower() != camera:
            raise DataError(
                f"{folder / file.name} is of the {name[1].lower()} camera, not of the {camera} one; "
                f"move it to its folder or --set camera={name[1].lower()}"
            )
        subject = name[2].upper()
        if subject in videos:
            raise DataError(f"{folder}: {videos[subject].name} and {file.name} are both of {subject}")
        videos[subject] = folder / file.name
    return videos


def _refuse_other_base(recordings: _Recordings, bases: dict[int, str], subject: str, base: int) -> None:
    bases.setdefault(base, subject)
    if len(bases) > 1:
        raise DataError(
            f"{recordings.root}: images of {bases[0]} count from 0, those of {bases[1]} from 1; expected the "
            "same everywhere; is a first image missing?"
        )


def _read_levels(folder: Path, subject: str, aus: tuple[int, ...]) -> dict[int, NDArray[np.float32]]:
    """Read {action unit: intensities of all frames in order, (N,) float32}, from one file each."""
    files: dict[int, str] = {}
    for file in listing.list_files(folder, [".txt", ".csv"]):
        name = re.fullmatch(rf"(?i){subject}_au0*([0-9]+)\.(?:txt|csv)", file.name)
        if name and files.setdefault(int(name[1]), file.name) != file.name:
            raise DataError(f"{folder}: {files[int(name[1])]} and {file.name} are of one action unit")
    levels = {}
    for au in aus:
        path = folder / files.get(au, f"{subject}_au{au}.txt")
        if au not in files:
            raise DataError(f"{path} is missing; expected a file for each of the {len(aus)} action units")
        table = integer_table.read(path, columns=2)
        frames = table.values[:, 0]
        wrong = frames != np.arange(1, len(frames) + 1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"{table.location(row)}: frame {frames[row]}; expected {row + 1}, counted from 1")
        levels[au] = integer_table.label_column(table, 1, facts.au_name(au), 5)
        first = levels[aus[0]]
        if len(levels[au]) != len(first):
            raise DataError(
                f"{path} has {len(levels[au])} rows, {files[aus[0]]} has {len(first)}; "
                "all must have the same length"
            )
    return levels


def _label_columns(
    levels: Mapping[int, NDArray[np.float32]], frames: NDArray[np.int64], threshold: float
) -> dict[str, NDArray[np.float32]]:
    columns = {}
    for au, level in levels.items():
        kept = level[frames]
        present = np.where(np.isnan(kept), np.nan, kept >= threshold)
        columns[f"{facts.au_name(au)}_o"] = present.astype(np.float32)
        columns[f"{facts.au_name(au)}_i"] = kept
    return dict(sorted(columns.items(), key=lambda column: (column[0][-1] == "i", column[0])))
