"""Where the frames of a clip are: a folder of numbered images, or a video."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maeface import config
from maeface.data.formats import parsing
from maeface.data.ingest.inputs import Input
from maeface.errors import DataError
from maeface.faces import media

VIDEOS = (".avi", ".mp4", ".mov", ".mkv", ".wmv", ".m4v", ".mpg")


class Choices(config.Settings):
    """What may be chosen of a dataset whose labels count the frames of clips."""

    pictures: str = ""
    """The folder, below DIR, of the frames or the videos; "": it is looked for."""
    first_frame: Literal[0, 1] = 1
    """Of a video: the number by which the labels mean its first frame."""
    partial: bool = False
    """Take what is there, where subjects, clips or files of labels are missing."""
    skip_missing: bool = False
    """Leave out labels of frames that are not there, rather than refuse them."""


@dataclass(frozen=True)
class Images:
    """The numbered images of a clip.

    Attributes:
        root: of the dataset.
        folder: relative to ``root``, posix.
        files: number -> file, ascending.
    """

    root: Path
    folder: str
    files: Mapping[int, parsing.File]

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.files)

    def has(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which frames are there."""
        return np.isin(numbers, np.fromiter(self.files, np.int64, len(self.files)))

    def describe(self) -> str:
        """What is there, for messages."""
        where = self.root / self.folder
        if not self.files:
            return f"{where} has no image"
        return f"{where} has no such image (it has {min(self.files)} to {max(self.files)})"

    def take(self, numbers: NDArray[np.int64]) -> tuple[list[Input], list[str], NDArray[np.int64]]:
        """Inputs for some frames; and of each frame its source, and its index in that (0)."""
        names = [self.files[number] for number in numbers.tolist()]
        before = "" if self.folder == "." else f"{self.folder}/"
        inputs = [parsing.image(self.root, before + file.name, file.size) for file in names]
        return inputs, [item.source for item in inputs], np.zeros(len(numbers), np.int64)


@dataclass(frozen=True)
class Video:
    """The video of a clip.

    Attributes:
        root: of the dataset.
        path: the file.
        first: the number by which the labels mean its first frame.
        count: how many frames it has.
    """

    root: Path
    path: Path
    first: int
    count: int

    def has(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which frames are there."""
        there: NDArray[np.bool_] = (numbers >= self.first) & (numbers < self.first + self.count)
        return there

    def describe(self) -> str:
        """What is there, for messages."""
        return f"{self.path} has {self.count} frames ({self.first} to {self.first + self.count - 1})"

    def take(self, numbers: NDArray[np.int64]) -> tuple[list[Input], list[str], NDArray[np.int64]]:
        """One input for some frames; and of each frame its source, and its index in that."""
        frames = numbers - self.first
        if not len(frames):
            return [], [], frames
        whole = len(frames) == self.count
        item = parsing.video(self.root, self.path, None if whole else frames)
        return [item], [item.source] * len(frames), frames


@dataclass(frozen=True)
class Pictures:
    """What there is of each clip.

    Attributes:
        root: of the dataset.
        folders: clip -> folder of images, relative to ``root``, posix.
        videos: clip -> video.
    """

    root: Path
    folders: Mapping[str, str]
    videos: Mapping[str, Path]

    def __contains__(self, clip: object) -> bool:
        """Whether there are frames of a clip."""
        return clip in self.folders or clip in self.videos

    def of(self, clip: str, first: int, last: int) -> Images | Video:
        """The frames of a clip.

        Args:
            clip: which; it is there.
            first: the number by which the labels mean the first frame of a video.
            last: the greatest number of the labels.
        """
        if clip in self.folders:
            folder = self.folders[clip]
            return Images(self.root, folder, parsing.numbered(self.root / folder))
        count = frame_count(self.videos[clip], at_least=last - first + 1)
        return Video(self.root, self.videos[clip], first, count)


def find(
    root: Path, candidates: str | Sequence[str], clips: Sequence[str], codes: Mapping[int, str] | None = None
) -> Pictures:
    """Find folders ``F001/T1``, ``F001_T1``, or videos ``F001_T1.mp4``, ``F001/T1.mp4``, ``2F01_01.avi``.

    Args:
        root: of the dataset.
        candidates: folders below ``root``; the first in which anything is found is taken.
        clips: such as "F001/T1".
        codes: number in the name of a video -> task, where it has no "T".

    Raises:
        DataError: nothing is found.
    """
    candidates = [candidates] if isinstance(candidates, str) else candidates
    for candidate in candidates:
        folders = _folders(root, candidate, clips)
        videos = {clip: path for clip, path in _videos(root / candidate, codes or {}) if clip not in folders}
        if any(clip in folders or clip in videos for clip in clips):
            return Pictures(root, folders, videos)
    first = clips[0]
    raise DataError(
        f"{root}: no frames found; expected a folder {first} or a video {first.replace('/', '_')}.avi "
        f"or .mp4 below {', '.join(candidates)} (or say where: --set pictures=FOLDER)"
    )


def frame_count(path: Path, at_least: int = 0, exactly: int | None = None) -> int:
    """How many frames a video has: as its header says, counted where that is not what is wanted.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        count = media.frame_count(path)
        if count < at_least or (exactly is not None and count != exactly):
            count = media.frame_count(path, exact=True)
    except media.BadMedia as error:
        raise DataError(f"{path}: {error.detail or error.reason}; copy the video again") from error
    return count


def _folders(root: Path, candidate: str, clips: Sequence[str]) -> dict[str, str]:
    before = "" if candidate == "." else f"{candidate.rstrip('/')}/"
    found = {}
    for clip in clips:
        for name in (clip, clip.replace("/", "_")):
            if clip not in found and (root / f"{before}{name}").is_dir():
                found[clip] = f"{before}{name}"
    return found


def _videos(folder: Path, codes: Mapping[int, str]) -> Iterator[tuple[str, Path]]:
    """Clip and path of the videos of a folder, and of its subjects' folders.

    Raises:
        DataError: two videos of one clip.
    """
    found: dict[str, Path] = {}
    names = [("", file.name) for file in parsing.listed(folder, VIDEOS)]
    for subject in parsing.folders(folder):
        if re.fullmatch(r"[FM][0-9]{3}", subject):
            names += [(subject, file.name) for file in parsing.listed(folder / subject, VIDEOS)]
    for subject, name in names:
        clip = _clip(f"{subject}_{name}" if re.match(r"T[0-9]", name) else name, codes)
        if clip is None:
            continue
        other = found.setdefault(clip, folder / subject / name)
        if other != folder / subject / name:
            raise DataError(f"{folder}: {other.name} and {name} are both of {clip}; remove one of them")
        yield clip, other


def _clip(name: str, codes: Mapping[int, str]) -> str | None:
    """``F001_T1.mp4``, ``2F01_T1.avi`` and ``2F01_01.avi`` are all "F001/T1"; None for another name."""
    parts = re.fullmatch(r"2?([FM])([0-9]{2,3})_(T?)([0-9]{1,2})", Path(name).stem)
    if parts is None:
        return None
    letter, subject, tagged, number = parts.groups()
    task = f"T{int(number)}" if tagged else codes.get(int(number))
    return f"{letter}{int(subject):03d}/{task}" if task else None
