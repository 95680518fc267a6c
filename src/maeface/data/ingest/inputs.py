"""The inputs of a preparation or a prediction: one sorted list of files, and its units of work."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path, PurePath
from typing import NamedTuple

from maeface import checks, console, portable
from maeface.data.manifest import IMAGE_SUFFIXES, escape
from maeface.errors import ConfigError, DataError
from maeface.faces import media


class Input(NamedTuple):
    """One file.

    Attributes:
        source: its name in the manifest.
        path: of the file.
        size: bytes; -1 if not known.
        video: whether it is read as a video.
        frames: of a video, the ascending [start, stop) spans of 0-based frames to read; () for all.
        offset: the image is ``size`` bytes from here in a file of many records; None: the whole file.
        points: the dataset's own five landmarks of the face (x, y in px: eyes, nose, corners of the mouth,
            each from left to right in the image); () to detect the face.
    """

    source: str
    path: str
    size: int
    video: bool
    frames: tuple[tuple[int, int], ...] = ()
    offset: int | None = None
    points: tuple[tuple[float, float], ...] = ()


class Unit(NamedTuple):
    """A unit of work: some photos or one video, for one shard and one part of the manifest."""

    name: str
    inputs: tuple[Input, ...]


def find_inputs(sources: Sequence[Path], outputs: Sequence[Path] = ()) -> list[Input]:
    """Return all files of the sources, sorted by name.

    Folders are searched recursively (links too, but not in a circle); names that begin with a dot and the
    ``outputs`` are left out, and a file that is named twice counts once. Every other file is listed, so that
    it gets a row in the result.

    Args:
        sources: files and folders.
        outputs: files and folders of results, which are not inputs.

    Raises:
        ConfigError: no source, one that does not exist, or a folder that is source and output.
        DataError: no file in any of the sources.
    """
    if not sources:
        raise ConfigError("no input; give files or folders")
    bases: dict[str, str] = {}  # absolute path -> the folder that its name is relative to
    excluded = {os.path.realpath(output) for output in outputs}
    checks.require_inputs(sources)
    for source in sources:
        path = os.path.abspath(source)  # noqa: PTH100 - resolve() would follow links
        if source.is_dir():
            if os.path.realpath(path) in excluded:
                raise ConfigError(f"{source} is both source and output; choose another folder for the output")
            for file in _walk(path, (os.path.realpath(path),), excluded):
                bases.setdefault(file, path)
        else:
            bases.setdefault(path, str(Path(path).parent))
    if not bases:
        raise DataError(f"no file in {', '.join(map(str, sources))}; give a folder with photos or videos")
    names = _names(bases)
    listed = (Input(names[path], path, _size(path), is_video(path)) for path in bases)
    return sorted(listed, key=lambda item: item.source.encode())


def split_into_units(inputs: Sequence[Input], per_shard: int | None = None) -> list[Unit]:
    """Split inputs into units: the photos by ``per_shard``, then each video by itself; names by position.

    Without ``per_shard`` there are about 64 shards of photos, of 32 to 1024 photos each: small enough that
    many cores end together and little is repeated after an interruption, large enough for few files.
    """
    photos = [item for item in inputs if not item.video]
    per_shard = per_shard or min(max(32, math.ceil(len(photos) / 64)), 1024)
    groups = [tuple(photos[start : start + per_shard]) for start in range(0, len(photos), per_shard)]
    groups += [(item,) for item in inputs if item.video]
    width = max(5, len(str(len(groups) - 1)))
    return [Unit(f"{number:0{width}d}", group) for number, group in enumerate(groups)]


def note_unused_options(
    inputs: Sequence[Input],
    every: int,
    fps: float | None,
    face_options: Mapping[str, bool] | None = None,
    pictures: bool = False,
) -> None:
    """Show which options have no effect on these inputs, a line each.

    Args:
        inputs: the files.
        every: of a video, every n-th frame; 1 is the default.
        fps: of a video, at most so many frames a second; None is the default.
        face_options: if no face is detected: {option of the face detection: whether it was changed}.
        pictures: whether pictures are made.
    """
    videos = sum(item.video for item in inputs)
    notes = [checks.describe_unused(face_options or {}, "the images are ready crops (aligned)")]
    if not videos:
        notes.append(
            checks.describe_unused({"every": every != 1, "fps": fps is not None}, "no input is a video")
        )
    elif pictures:
        notes.append(
            f"pictures are made of photos; {videos} of {len(inputs)} inputs are videos and have none"
        )
    for note in filter(None, notes):
        console.note(note)


def _walk(folder: str, parents: tuple[str, ...], excluded: set[str]) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError:
        yield folder  # gets a row that says that it cannot be read
        return
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if not _is_folder(entry):
            if os.path.realpath(entry.path) not in excluded:
                yield entry.path
            continue
        real = os.path.realpath(entry.path)
        if real in excluded:
            continue
        if real in parents:
            yield entry.path  # a link to a parent folder gets a row
        else:
            yield from _walk(entry.path, (*parents, real), excluded)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _names(bases: dict[str, str], kind: type[PurePath] = Path) -> dict[str, str]:
    """Return names relative to the sources, with as many parent folders as make them unique.

    Where file systems ignore the case, unique without it: results are named by them. A folder on a file
    system that does not may have two names that differ in nothing else.
    """
    parents = {base: portable.folders_of(kind(base)) for base in set(bases.values())}
    longest = max(map(len, parents.values()))
    keys: tuple[Callable[[str], str], ...] = (portable.fold_name, str)
    for key, folders in product(keys, range(longest + 1)):
        names = {}
        for path, base in bases.items():
            above = parents[base][-folders:] if folders else ()
            names[path] = escape(kind(*above, kind(path).relative_to(base)))
        if len(set(map(key, names.values()))) == len(names):
            return names
    raise AssertionError("absolute paths differ")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - millions of times
    except OSError:
        return -1


def is_video(path: str) -> bool:
    """Return whether a file is read as a video.

    By its content, but a file with the suffix of a photo is not opened: listing millions has to be fast.
    """
    file = Path(path)
    return file.suffix.lower() not in IMAGE_SUFFIXES and media.detect_kind(file) == "video"
