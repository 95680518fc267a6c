"""The frames of clips: of each a folder of numbered images, or a video."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maeface import config
from maeface.data.formats import listing
from maeface.data.formats.listing import File
from maeface.data.ingest.inputs import Input
from maeface.errors import DataError
from maeface.faces import media

VIDEOS = (".avi", ".mp4", ".mov", ".mkv", ".wmv", ".m4v", ".mpg")


class ClipOptions(config.Settings):
    """Options of a reader whose labels count the frames of clips."""

    pictures: str = ""
    """The folder, below DIR, of the frames or the videos; by default it is searched for."""
    first_frame: Literal[0, 1] = 1
    """The number that the labels give to the first frame of a video."""
    partial: bool = False
    """Accept missing subjects, clips or label files."""
    skip_missing: bool = False
    """Ignore labels of frames that do not exist; otherwise they are an error."""


@dataclass(frozen=True)
class ImageClip:
    """A clip as a folder of numbered images.

    Attributes:
        root: of the dataset.
        folder: relative to ``root``, posix.
        files: number -> file, ascending.
    """

    root: Path
    folder: str
    files: Mapping[int, File]

    @property
    def count(self) -> int:
        """The number of frames."""
        return len(self.files)

    def has(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (N,) whether there is a frame of each of N numbers."""
        return np.isin(numbers, np.fromiter(self.files, np.int64, len(self.files)))

    def describe(self) -> str:
        """Return which frames the clip has, for messages."""
        folder = self.root / self.folder
        if not self.files:
            return f"{folder} has no image"
        return f"{folder} has no such image (it has {min(self.files)} to {max(self.files)})"

    def take(self, numbers: NDArray[np.int64]) -> tuple[list[Input], list[str], NDArray[np.int64]]:
        """Return the inputs of some frames, and of each frame its source and its index in that (0)."""
        files = [self.files[number] for number in numbers.tolist()]
        prefix = "" if self.folder == "." else f"{self.folder}/"
        inputs = [listing.image_input(self.root, prefix + file.name, file.size) for file in files]
        return inputs, [item.source for item in inputs], np.zeros(len(numbers), np.int64)


@dataclass(frozen=True)
class VideoClip:
    """A clip as a video.

    Attributes:
        root: of the dataset.
        path: the file.
        first: the number by which the labels mean its first frame.
        count: the number of frames.
    """

    root: Path
    path: Path
    first: int
    count: int

    def has(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (N,) whether there is a frame of each of N numbers."""
        present: NDArray[np.bool_] = (numbers >= self.first) & (numbers < self.first + self.count)
        return present

    def describe(self) -> str:
        """Return which frames the clip has, for messages."""
        return f"{self.path} has {self.count} frames ({self.first} to {self.first + self.count - 1})"

    def take(self, numbers: NDArray[np.int64]) -> tuple[list[Input], list[str], NDArray[np.int64]]:
        """Return one input for some frames, and of each frame its source and its index in that."""
        frames = numbers - self.first
        if not len(frames):
            return [], [], frames
        item = listing.video_input(self.root, self.path, None if len(frames) == self.count else frames)
        return [item], [item.source] * len(frames), frames


@dataclass(frozen=True)
class Clips:
    """The folder or the video of each clip of a dataset.

    Attributes:
        root: of the dataset.
        folders: clip -> folder of images, relative to ``root``, posix.
        videos: clip -> video.
    """

    root: Path
    folders: Mapping[str, str]
    videos: Mapping[str, Path]

    def __contains__(self, clip: object) -> bool:
        """Whether the dataset has frames of a clip."""
        return clip in self.folders or clip in self.videos

    def open(self, clip: str, first: int, last: int) -> ImageClip | VideoClip:
        """Return the frames of a clip.

        Args:
            clip: one that the dataset has.
            first: the number by which the labels mean the first frame of a video.
            last: the greatest number of the labels.
        """
        if clip in self.folders:
            folder = self.folders[clip]
            return ImageClip(self.root, folder, listing.number_files(self.root / folder))
        count = count_frames(self.videos[clip], at_least=last - first + 1)
        return VideoClip(self.root, self.videos[clip], first, count)


def find_clips(
    root: Path, candidates: str | Sequence[str], clips: Sequence[str], codes: Mapping[int, str] | None = None
) -> Clips:
    """Find folders ``F001/T1``, ``F001_T1``, or videos ``F001_T1.mp4``, ``F001/T1.mp4``, ``2F01_01.avi``.

    Args:
        root: of the dataset.
        candidates: folders below ``root``; the first that has any of the clips is used.
        clips: such as "F001/T1".
        codes: {number in the name of a video that has no "T": task}.

    Raises:
        DataError: no candidate has any of the clips.
    """
    candidates = [candidates] if isinstance(candidates, str) else candidates
    for candidate in candidates:
        folders = _find_folders(root, candidate, clips)
        videos = {
            clip: path for clip, path in _find_videos(root / candidate, codes or {}) if clip not in folders
        }
        if any(clip in folders or clip in videos for clip in clips):
            return Clips(root, folders, videos)
    first = clips[0]
    raise DataError(
        f"{root}: no frames found; expected a folder {first} or a video {first.replace('/', '_')}.avi "
        f"or .mp4 below {', '.join(candidates)} (or say where: --set pictures=FOLDER)"
    )


def count_frames(path: Path, at_least: int = 0, exactly: int | None = None) -> int:
    """Return the number of frames of a video: the header's, or, where that is not as expected, counted.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        count = media.count_frames(path)
        if count < at_least or (exactly is not None and count != exactly):
            count = media.count_frames(path, exact=True)
    except media.MediaError as error:
        raise DataError(f"{path}: {error.detail or error.reason}; copy the video again") from error
    return count


def _find_folders(root: Path, candidate: str, clips: Sequence[str]) -> dict[str, str]:
    prefix = "" if candidate == "." else f"{candidate.rstrip('/')}/"
    folders: dict[str, str] = {}
    for clip in clips:
        for name in (clip, clip.replace("/", "_")):
            if clip not in folders and (root / f"{prefix}{name}").is_dir():
                folders[clip] = f"{prefix}{name}"
    return folders


def _find_videos(folder: Path, codes: Mapping[int, str]) -> Iterator[tuple[str, Path]]:
    """Yield clip and path of the videos of a folder, and of its subjects' folders.

    Raises:
        DataError: two videos of one clip.
    """
    videos: dict[str, Path] = {}
    names = [("", file.name) for file in listing.list_files(folder, VIDEOS)]
    for subject in listing.list_folders(folder):
        if re.fullmatch(r"[FM][0-9]{3}", subject):
            names += [(subject, file.name) for file in listing.list_files(folder / subject, VIDEOS)]
    for subject, name in names:
        clip = _clip_name(f"{subject}_{name}" if re.match(r"T[0-9]", name) else name, codes)
        if clip is None:
            continue
        other = videos.setdefault(clip, folder / subject / name)
        if other != folder / subject / name:
            raise DataError(f"{folder}: {other.name} and {name} are both of {clip}; remove one of them")
        yield clip, other


def _clip_name(name: str, codes: Mapping[int, str]) -> str | None:
    """Return "F001/T1" for ``F001_T1.mp4``, ``2F01_T1.avi`` and ``2F01_01.avi``; None for another name."""
    parts = re.fullmatch(r"2?([FM])([0-9]{2,3})_(T?)([0-9]{1,2})", Path(name).stem)
    if parts is None:
        return None
    letter, subject, tagged, number = parts.groups()
    task = f"T{int(number)}" if tagged else codes.get(int(number))
    return f"{letter}{int(subject):03d}/{task}" if task else None
