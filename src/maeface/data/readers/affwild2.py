"""Aff-Wild2, action unit part: videos from the web, coded by frame, in a training and a validation set.

DIR must contain the annotations, anywhere down to three folders deep, and cropped images or videos::

    AU_Detection_Challenge/Train_Set/48-30-720x1280.txt ...         (older releases: AU_Set/)
    AU_Detection_Challenge/Validation_Set/video5_left.txt ...
    cropped_aligned/48-30-720x1280/00001.jpg ...                    or  batch1/48-30-720x1280.mp4 ...

An annotation has a header, ``AU1,AU2,...,AU26``, and then a row a frame: the first row is frame 1, image
00001.jpg. What is taken: 0 and 1 as they are, -1 as not known; columns by their names. A frame in which no
face was found has no cropped image, and its label is left out. The release does not say who is seen: each
annotated track counts as a person of its own. In a video of two people the tracks end in ``_left`` and
``_right``; these need the cropped images, and are left out where videos are read.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maeface import config, facts
from maeface.data.formats import facs, parsing
from maeface.data.formats.parsing import File
from maeface.data.ingest.inputs import Input
from maeface.data.readers.reading import Reading
from maeface.errors import DataError

ANNOTATIONS = ("AU_Detection_Challenge", "AU_Set")
PARTS = {"train": "Train_Set", "validation": "Validation_Set"}
CROPPED = ("cropped_aligned", "cropped_aligned_images/cropped_aligned", "cropped_aligned_images")
VIDEOS = (".mp4", ".avi")
DEPTH = 3
"""How many folders down the annotations are looked for."""
SIDES = ("_left", "_right")


class Options(config.Settings):
    """What is taken of Aff-Wild2."""

    partial: bool = False
    """Take what is there where annotated tracks have no images or video."""
    images: Literal["auto", "cropped", "videos"] = "auto"
    """The dataset's cropped and aligned faces, or its videos; ``auto``: the crops where they are there."""
    part: Literal["both", "train", "validation"] = "both"
    """Of the challenge's two annotated sets."""
    unlabelled: bool = False
    """Also the frames without labels, for pre-training; not where videos are read."""


@dataclass(frozen=True)
class _Track:
    name: str
    clip: str
    path: Path
    values: NDArray[np.float32]
    """(frames, AUs), 0, 1 or NaN."""


def read(root: Path, options: Options) -> Reading:
    """Read the action unit part of Aff-Wild2.

    Raises:
        DataError: no annotations or more than one folder of them, a header without the dataset's action
            units, a label that is not 0, 1 or -1, tracks without images, or a track in both sets.
    """
    known = facts.dataset("affwild2")
    annotations = _annotations(root)
    tracks = list(_tracks(annotations, options.part, known.aus_occurrence))
    crops = None if options.images == "videos" else _crops(root, options.images == "cropped")
    if crops is None:
        inputs, rows, values, notes = _from_videos(root, tracks, options.partial)
    else:
        inputs, rows, values, notes = _from_crops(root, crops, tracks, options)
    if not rows:
        raise DataError(f"{annotations} has no label, other than -1, of an image or frame that is there")
    columns = np.concatenate(values).T
    labels = facs.table(rows, dict(zip(known.aus_occurrence, columns, strict=True)), {})
    people = len({row.subject for row in rows})
    return Reading(
        tuple(inputs), labels, (f"Aff-Wild2: {len(labels)} labelled frames of {people} tracks", *notes)
    )


_Found = tuple[list[Input], list[facs.Image], list[NDArray[np.float32]], list[str]]


def _from_crops(root: Path, crops: str, tracks: Sequence[_Track], options: Options) -> _Found:
    inputs: list[Input] = []
    rows: list[facs.Image] = []
    values: list[NDArray[np.float32]] = []
    missing: list[str] = []
    left = faceless = 0
    for track in tracks:
        files = parsing.numbered(root / crops / track.name)
        if not files:
            missing.append(track.name)
            continue
        if 0 in files:
            raise DataError(
                f"{root / crops / track.name / files[0].name}: frames count from 1; expected 00001.jpg"
            )
        known: NDArray[np.bool_] = np.any(~np.isnan(track.values), axis=1)
        taken, bare = _split(files, known)
        left += len(bare)
        faceless += int(known.sum()) - len(taken)
        for number, file in files.items():
            if number in bare and not options.unlabelled:
                continue
            item = parsing.image(root, f"{crops}/{track.name}/{file.name}", file.size)
            inputs.append(item)
            if number not in bare:
                rows.append(facs.Image(item.source, track.name, track.clip))
        values.append(track.values[np.array(taken, dtype=np.int64) - 1])
    parsing.refuse_missing(
        root / crops,
        [track.name for track in tracks],
        {t.name for t in tracks} - {*missing},
        options.partial,
        "tracks",
    )
    notes = facs.remainder(left, options.unlabelled, what="images")
    if faceless:
        notes.append(f"{faceless} labels of frames without a cropped image, left out")
    if missing:
        notes.append(f"{len(missing)} tracks have no image")
    return inputs, rows, values, notes


def _split(files: dict[int, File], known: NDArray[np.bool_]) -> tuple[list[int], set[int]]:
    """Numbers of the images with a label, ascending, and of those without."""
    taken = [number for number in files if number <= len(known) and known[number - 1]]
    return taken, set(files) - set(taken)


def _from_videos(root: Path, tracks: Sequence[_Track], partial: bool) -> _Found:
    videos = _videos(root)
    inputs: list[Input] = []
    rows: list[facs.Image] = []
    values: list[NDArray[np.float32]] = []
    sided = [track for track in tracks if track.name not in videos and track.name.endswith(SIDES)]
    alone = [track for track in tracks if track not in sided]
    parsing.refuse_missing(root, [track.name for track in alone], videos, partial, "videos")
    for track in alone:
        frames = np.flatnonzero(np.any(~np.isnan(track.values), axis=1))
        if track.name not in videos or not len(frames):
            continue
        item = parsing.video(root, videos[track.name], frames)
        inputs.append(item)
        rows += [facs.Image(item.source, track.name, track.clip, int(frame)) for frame in frames]
        values.append(track.values[frames])
    notes = []
    if sided:
        notes.append(
            f"{len(sided)} tracks, such as {sided[0].name}, are one of two people in a video: left out, "
            "they need the crops"
        )
    if absent := sum(track.name not in videos for track in alone):
        notes.append(f"{absent} tracks have no video")
    return inputs, rows, values, notes


def _annotations(root: Path) -> Path:
    """The one folder of annotations.

    Raises:
        DataError: there is none, or several.
    """
    found: list[Path] = []
    level = [root]
    for _ in range(DEPTH):
        level = [
            folder / name
            for folder in level
            for name in parsing.folders(folder)
            if not name.startswith("cropped")
        ]
        found += [folder for folder in level if folder.name in ANNOTATIONS and parsing.folders(folder)]
    if len(found) == 1:
        return found[0]
    expected = " or ".join(f"{name}/Train_Set" for name in ANNOTATIONS)
    if found:
        raise DataError(
            f"{root} has annotations in {found[0]} and in {found[1]}; keep one of them in this folder"
        )
    raise DataError(
        f"{root} has no annotations of action units; expected {expected}, at most {DEPTH} folders down"
    )


def _tracks(annotations: Path, part: str, aus: Sequence[int]) -> Iterator[_Track]:
    seen: dict[str, Path] = {}
    for name in PARTS.values() if part == "both" else (PARTS[part],):
        files = parsing.listed(annotations / name, (".txt",))
        if not files:
            raise DataError(f"{annotations / name} has no annotation; expected a .txt file for each track")
        for file in files:
            path = annotations / name / file.name
            other = seen.setdefault(path.stem, path)
            if other is not path:
                raise DataError(
                    f"{path} is in Train_Set too; a track belongs to one of the sets, remove one file"
                )
            yield _Track(path.stem, f"{name}/{path.stem}", path, _values(path, aus))


def _values(path: Path, aus: Sequence[int]) -> NDArray[np.float32]:
    table = parsing.ints(path, header=True)
    if missing := [f"AU{au}" for au in aus if f"AU{au}" not in table.names]:
        raise DataError(
            f"{path}, line 1: the header lacks {', '.join(missing)}; "
            f"expected {','.join(f'AU{au}' for au in aus)}"
        )
    chosen = [parsing.labels(table, table.names.index(f"AU{au}"), f"AU{au}", 1, unknown=(-1,)) for au in aus]
    return np.stack(chosen, axis=1)


def _crops(root: Path, wanted: bool) -> str | None:
    """The folder of cropped images; None to read videos."""
    found = next((name for name in CROPPED if parsing.folders(root / name)), None)
    if found is None and wanted:
        raise DataError(f"{root} has no cropped images; expected {CROPPED[0]}/ with a folder for each track")
    return found


def _videos(root: Path) -> dict[str, Path]:
    """Every video of the folder by its name without the suffix.

    Raises:
        DataError: two of one name.
    """
    found: dict[str, Path] = {}
    for folder, below, names in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith((".", "cropped")))
        for name in sorted(names):
            if name.startswith(".") or not name.lower().endswith(VIDEOS):
                continue
            path = Path(folder, name)
            other = found.setdefault(path.stem, path)
            if other is not path:
                raise DataError(
                    f"{other} and {path} have one name; which one the annotations are of is not known"
                )
    return found
