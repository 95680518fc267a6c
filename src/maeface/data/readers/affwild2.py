"""Aff-Wild2, action unit part: videos from the web, coded by frame, in a training and a validation set.

Reads the annotations, at most three folders below DIR, and cropped images or videos::

    AU_Detection_Challenge/Train_Set/48-30-720x1280.txt ...         (older releases: AU_Set/)
    AU_Detection_Challenge/Validation_Set/video5_left.txt ...
    cropped_aligned/48-30-720x1280/00001.jpg ...                    or  batch1/48-30-720x1280.mp4 ...

An annotation has a header, ``AU1,AU2,...,AU26``, and then a row a frame: the first row is frame 1, image
00001.jpg. 0 and 1 are labels, -1 is a missing label; columns are identified by their names. A frame without a
cropped image (no face was detected) loses its label. The release does not name the subjects: each annotated
track counts as a subject of its own. In a video of two people the tracks end in ``_left`` and ``_right``;
these need the cropped images, and are left out where videos are read.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maeface import config, facts
from maeface.data.formats import facs, integer_table, listing
from maeface.data.formats.listing import File
from maeface.data.ingest.inputs import Input
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import DataError

ANNOTATIONS = ("AU_Detection_Challenge", "AU_Set")
PARTS = {"train": "Train_Set", "validation": "Validation_Set"}
CROPPED = ("cropped_aligned", "cropped_aligned_images/cropped_aligned", "cropped_aligned_images")
VIDEOS = (".mp4", ".avi")
DEPTH = 3
"""How many folders deep the annotations are searched for."""
SIDES = ("_left", "_right")


class Options(config.Settings):
    """Options of the reader."""

    partial: bool = False
    """Accept annotated tracks without images or video."""
    images: Literal["auto", "cropped", "videos"] = "auto"
    """The dataset's cropped and aligned faces, or its videos; ``auto``: the crops where there are any."""
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


def read(root: Path, options: Options) -> RawDataset:
    """Read the action unit part of Aff-Wild2.

    Raises:
        DataError: no annotations or more than one folder of them, a header without the dataset's action
            units, a label that is not 0, 1 or -1, tracks without images, or a track in both sets.
    """
    dataset = facts.dataset("affwild2")
    annotations = _find_annotations(root)
    tracks = list(_read_tracks(annotations, options.part, dataset.aus_occurrence))
    crops = None if options.images == "videos" else _find_crops(root, options.images == "cropped")
    if crops is None:
        inputs, rows, values, notes = _from_videos(root, tracks, options.partial)
    else:
        inputs, rows, values, notes = _from_crops(root, crops, tracks, options)
    if not rows:
        raise DataError(f"{annotations} has no label, other than -1, of an image or frame that is there")
    columns = np.concatenate(values).T
    labels = facs.label_table(rows, dict(zip(dataset.aus_occurrence, columns, strict=True)), {})
    subjects = len({row.subject for row in rows})
    return RawDataset(
        tuple(inputs), labels, (f"Aff-Wild2: {len(labels)} labelled frames of {subjects} tracks", *notes)
    )


_Read = tuple[list[Input], list[facs.LabelledImage], list[NDArray[np.float32]], list[str]]


def _from_crops(root: Path, crops: str, tracks: Sequence[_Track], options: Options) -> _Read:
    inputs: list[Input] = []
    rows: list[facs.LabelledImage] = []
    values: list[NDArray[np.float32]] = []
    missing: list[str] = []
    unlabelled = faceless = 0
    for track in tracks:
        files = listing.number_files(root / crops / track.name)
        if not files:
            missing.append(track.name)
            continue
        if 0 in files:
            raise DataError(
                f"{root / crops / track.name / files[0].name}: frames count from 1; expected 00001.jpg"
            )
        labelled: NDArray[np.bool_] = np.any(~np.isnan(track.values), axis=1)
        with_label, without = _split(files, labelled)
        unlabelled += len(without)
        faceless += int(labelled.sum()) - len(with_label)
        for number, file in files.items():
            if number in without and not options.unlabelled:
                continue
            item = listing.image_input(root, f"{crops}/{track.name}/{file.name}", file.size)
            inputs.append(item)
            if number not in without:
                rows.append(facs.LabelledImage(item.source, track.name, track.clip))
        values.append(track.values[np.array(with_label, dtype=np.int64) - 1])
    listing.refuse_missing(
        root / crops,
        [track.name for track in tracks],
        {track.name for track in tracks} - {*missing},
        options.partial,
        "tracks",
    )
    notes = facs.missing_notes(unlabelled, options.unlabelled, what="images")
    if faceless:
        notes.append(f"{faceless} labels of frames without a cropped image, left out")
    if missing:
        notes.append(f"{len(missing)} tracks have no image")
    return inputs, rows, values, notes


def _split(files: dict[int, File], labelled: NDArray[np.bool_]) -> tuple[list[int], set[int]]:
    """Return the numbers of the images with a label, ascending, and of those without."""
    with_label = [number for number in files if number <= len(labelled) and labelled[number - 1]]
    return with_label, set(files) - set(with_label)


def _from_videos(root: Path, tracks: Sequence[_Track], partial: bool) -> _Read:
    videos = _find_videos(root)
    inputs: list[Input] = []
    rows: list[facs.LabelledImage] = []
    values: list[NDArray[np.float32]] = []
    sided = [track for track in tracks if track.name not in videos and track.name.endswith(SIDES)]
    single = [track for track in tracks if track not in sided]
    listing.refuse_missing(root, [track.name for track in single], videos, partial, "videos")
    for track in single:
        frames = np.flatnonzero(np.any(~np.isnan(track.values), axis=1))
        if track.name not in videos or not len(frames):
            continue
        item = listing.video_input(root, videos[track.name], frames)
        inputs.append(item)
        rows += [facs.LabelledImage(item.source, track.name, track.clip, int(frame)) for frame in frames]
        values.append(track.values[frames])
    notes = []
    if sided:
        notes.append(
            f"{len(sided)} tracks, such as {sided[0].name}, are one of two people in a video: left out, "
            "they need the crops"
        )
    if missing := sum(track.name not in videos for track in single):
        notes.append(f"{missing} tracks have no video")
    return inputs, rows, values, notes


def _find_annotations(root: Path) -> Path:
    """Return the folder of annotations.

    Raises:
        DataError: there is none, or there are several.
    """
    folders: list[Path] = []
    level = [root]
    for _ in range(DEPTH):
        level = [
            folder / name
            for folder in level
            for name in listing.list_folders(folder)
            if not name.startswith("cropped")
        ]
        folders += [folder for folder in level if folder.name in ANNOTATIONS and listing.list_folders(folder)]
    if len(folders) == 1:
        return folders[0]
    expected = " or ".join(f"{name}/Train_Set" for name in ANNOTATIONS)
    if folders:
        raise DataError(
            f"{root} has annotations in {folders[0]} and in {folders[1]}; keep one of them in this folder"
        )
    raise DataError(
        f"{root} has no annotations of action units; expected {expected}, at most {DEPTH} folders down"
    )


def _read_tracks(annotations: Path, part: str, aus: Sequence[int]) -> Iterator[_Track]:
    paths: dict[str, Path] = {}
    for name in PARTS.values() if part == "both" else (PARTS[part],):
        files = listing.list_files(annotations / name, (".txt",))
        if not files:
            raise DataError(f"{annotations / name} has no annotation; expected a .txt file for each track")
        for file in files:
            path = annotations / name / file.name
            other = paths.setdefault(path.stem, path)
            if other is not path:
                raise DataError(
                    f"{path} is in Train_Set too; a track belongs to one of the sets, remove one file"
                )
            yield _Track(path.stem, f"{name}/{path.stem}", path, _read_values(path, aus))


def _read_values(path: Path, aus: Sequence[int]) -> NDArray[np.float32]:
    """Read the labels of a track, (frames, AUs), 0, 1 or NaN."""
    table = integer_table.read(path, header=True)
    if missing := [f"AU{au}" for au in aus if f"AU{au}" not in table.names]:
        raise DataError(
            f"{path}, line 1: the header lacks {', '.join(missing)}; "
            f"expected {','.join(f'AU{au}' for au in aus)}"
        )
    columns = [
        integer_table.label_column(table, table.names.index(f"AU{au}"), f"AU{au}", 1, missing=(-1,))
        for au in aus
    ]
    return np.stack(columns, axis=1)


def _find_crops(root: Path, required: bool) -> str | None:
    """Return the folder of cropped images; None to read videos."""
    folder = next((name for name in CROPPED if listing.list_folders(root / name)), None)
    if folder is None and required:
        raise DataError(f"{root} has no cropped images; expected {CROPPED[0]}/ with a folder for each track")
    return folder


def _find_videos(root: Path) -> dict[str, Path]:
    """Return every video below a folder by its name without the suffix.

    Raises:
        DataError: two of one name.
    """
    videos: dict[str, Path] = {}
    for folder, below, names in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith((".", "cropped")))
        for name in sorted(names):
            if name.startswith(".") or not name.lower().endswith(VIDEOS):
                continue
            path = Path(folder, name)
            other = videos.setdefault(path.stem, path)
            if other is not path:
                raise DataError(
                    f"{other} and {path} have the same name; keep the one that the annotations are of"
                )
    return videos
