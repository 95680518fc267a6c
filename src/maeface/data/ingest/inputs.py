"""What is to be prepared: files and folders to one sorted list, and that list cut into units of work."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from maeface import checks, console
from maeface.data.manifest import IMAGE_SUFFIXES, escape
from maeface.errors import ConfigError, DataError
from maeface.faces import media


class Input(NamedTuple):
    """One file.

    Attributes:
        source: its name in the manifest.
        path: where it lies.
        size: bytes; -1 where that cannot be told.
        video: whether it is taken for a video.
        frames: of a video, the ascending [start, stop) spans of 0-based frames to look at; () for all.
        offset: the image is ``size`` bytes from here in a file of many records; None: the whole file.
        points: the dataset's own five points of the face (x, y in px: eyes, nose, corners of the mouth, as
            seen from the left); () to have the face found.
    """

    source: str
    path: str
    size: int
    video: bool
    frames: tuple[tuple[int, int], ...] = ()
    offset: int | None = None
    points: tuple[tuple[float, float], ...] = ()


class Unit(NamedTuple):
    """What is done in one piece: some photos or one video; it becomes one shard and one part of the table."""

    name: str
    inputs: tuple[Input, ...]


def find(sources: Sequence[Path], outputs: Sequence[Path] = ()) -> list[Input]:
    """All files of the sources, sorted by name.

    Folders are entered (links to folders too, but never in a circle), names that begin with a dot and the
    ``outputs`` are passed over, and a file that is named twice counts once. Everything else is listed,
    whatever it is, so that it gets a row.

    Args:
        sources: files and folders.
        outputs: where results go: files and folders.

    Raises:
        ConfigError: no source, one that does not exist, or a folder that is source and output.
        DataError: nothing to prepare.
    """
    if not sources:
        raise ConfigError("nothing to prepare; give files or folders")
    bases: dict[str, str] = {}  # absolute path -> the folder that its name is relative to
    avoid = {os.path.realpath(output) for output in outputs}
    checks.inputs(sources)
    for source in sources:
        path = os.path.abspath(source)  # noqa: PTH100 - resolve() would follow links
        if source.is_dir():
            if os.path.realpath(path) in avoid:
                raise ConfigError(f"{source} is both source and output; choose another folder for the output")
            for file in _walk(path, (os.path.realpath(path),), avoid):
                bases.setdefault(file, path)
        else:
            bases.setdefault(path, str(Path(path).parent))
    if not bases:
        raise DataError(f"no file in {', '.join(map(str, sources))}; give a folder with photos or videos")
    names = _names(bases)
    listed = (Input(names[path], path, _size(path), is_video(path)) for path in bases)
    return sorted(listed, key=lambda item: item.source.encode())


def cut(inputs: Sequence[Input], per_shard: int | None = None) -> list[Unit]:
    """Cut a list into units: the photos by ``per_shard``, then each video by itself; names by position.

    Without ``per_shard`` there are about 64 shards of photos, of 32 to 1024 photos each: small enough that
    many cores end together and little is done again after a stop, large enough that files stay few.
    """
    photos = [item for item in inputs if not item.video]
    per_shard = per_shard or min(max(32, math.ceil(len(photos) / 64)), 1024)
    groups = [tuple(photos[start : start + per_shard]) for start in range(0, len(photos), per_shard)]
    groups += [(item,) for item in inputs if item.video]
    width = max(5, len(str(len(groups) - 1)))
    return [Unit(f"{number:0{width}d}", group) for number, group in enumerate(groups)]


def say_unused(
    found: Sequence[Input],
    every: int,
    fps: float | None,
    of_faces: Mapping[str, bool] | None = None,
    pictures: bool = False,
) -> None:
    """Say which choices of a caller do nothing for these inputs, a line each.

    Args:
        found: the inputs.
        every: of a video, take every n-th frame; 1 is no choice.
        fps: of a video, take at most so many frames a second; None is no choice.
        of_faces: where no face is looked for, by name whether a choice of how to find faces was made.
        pictures: whether pictures are asked for.
    """
    videos = sum(item.video for item in found)
    notes = [checks.unused(of_faces or {}, "the images are ready crops (aligned)")]
    if not videos:
        notes.append(checks.unused({"every": every != 1, "fps": fps is not None}, "no input is a video"))
    elif pictures:
        notes.append(f"pictures are made of photos; {videos} of {len(found)} inputs are videos and have none")
    for note in filter(None, notes):
        console.note(note)


def _walk(folder: str, above: tuple[str, ...], avoid: set[str]) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        yield folder  # becomes a row that says it cannot be read
        return
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if not _is_folder(entry):
            if os.path.realpath(entry.path) not in avoid:
                yield entry.path
            continue
        real = os.path.realpath(entry.path)
        if real in avoid:
            continue
        if real in above:
            yield entry.path  # a link to a folder above: a row, not a circle
        else:
            yield from _walk(entry.path, (*above, real), avoid)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _names(bases: dict[str, str]) -> dict[str, str]:
    """Names relative to the sources; with as many folders before them as it takes to tell all apart."""
    for folders in count():
        names = {}
        for path, base in bases.items():
            before = Path(base).parts[1:][-folders:] if folders else ()
            names[path] = escape(Path(*before, Path(path).relative_to(base)))
        if len(set(names.values())) == len(names):
            return names
    raise AssertionError("absolute paths differ")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - millions of times
    except OSError:
        return -1


def is_video(path: str) -> bool:
    """Whether a file is taken for a video.

    By content, but a file that is named as a photo is not opened for it: the list has to be quick.
    """
    file = Path(path)
    return file.suffix.lower() not in IMAGE_SUFFIXES and media.detect_kind(file) == "video"
