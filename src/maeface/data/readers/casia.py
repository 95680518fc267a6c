"""CASIA-WebFace: 494,414 photos of 10,575 people, as folders or as MXNet's record files.

Record files are how it is usually shared: InsightFace's ``faces_webface_112x112`` with ``train.rec``,
``train.idx`` and ``property`` (people, height, width), 490,623 faces of 10,572 people, turned and cut to
112 x 112 px. Their ``train.lst`` lists the photos that the records were made from, and is not needed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from maeface import config
from maeface.data.formats import parsing, photos
from maeface.data.ingest import records
from maeface.data.ingest.inputs import Input
from maeface.data.readers.reading import Reading
from maeface.errors import DataError

LAYOUT = "a folder a person (0000045/001.jpg), or train.rec with train.idx"
WITHOUT_PEOPLE = "who is in a photo is left out, so pre-training holds out photos for validation, not people"


class Options(config.Settings):
    """What to take."""

    form: Literal["auto", "folders", "records"] = "auto"
    """Folders of photos or record files; ``auto``: whichever is there."""


def read(root: Path, options: Options) -> Reading:
    """Read it.

    Raises:
        DataError: neither form is there, both are, or a record file is damaged.
    """
    files = [] if options.form == "folders" else _record_files(root)
    found = [] if options.form == "records" else list(photos.below(root))
    people = {item.source.rpartition("/")[0] for item in found} - {""}
    if files and people:
        raise DataError(
            f"{root} holds {files[0]} and folders of photos, which are the same faces; "
            "choose with --set form=records or --set form=folders"
        )
    if files:
        return _records(root, files)
    if not people:
        raise DataError(f"{root} is not CASIA-WebFace: expected {LAYOUT}; got {photos.contents(root)}")
    inside = [item for item in found if "/" in item.source]
    notes = [photos.counted("casia", len(inside)), f"{len(people):,} folders of people; {WITHOUT_PEOPLE}"]
    if len(inside) < len(found):
        notes.append(f"{len(found) - len(inside):,} images outside the folders of people are left out")
    return Reading(tuple(inside), None, tuple(notes))


def _record_files(root: Path) -> list[str]:
    """The record files of a folder or, where it has none, of the folders in it."""
    here = [file.name for file in parsing.listed(root, [".rec"])]
    return here or [
        f"{name}/{file.name}"
        for name in parsing.folders(root)
        for file in parsing.listed(root / name, [".rec"])
    ]


def _records(root: Path, files: Sequence[str]) -> Reading:
    inputs: list[Input] = []
    notes: list[str] = []
    for name in files:
        rec = root / name
        idx = rec.with_suffix(".idx")
        known = records.index(rec, idx if idx.is_file() else None)
        if not known.images:
            raise DataError(f"{rec} holds no image in {known.without_image} records; get it again")
        path = str(rec)
        inputs += [
            Input(f"{name}/{place.key:07d}", path, place.size, video=False, offset=place.offset)
            for place in known.images
        ]
        notes += _said(rec, known, idx.is_file())
    return Reading(tuple(inputs), None, (photos.counted("casia", len(inputs)), *notes, WITHOUT_PEOPLE))


def _said(rec: Path, known: records.Records, indexed: bool) -> list[str]:
    notes = [f"{rec.name}: {len(known.images):,} images, {known.without_image:,} records without one"]
    if not indexed:
        notes.append(f"there is no {rec.with_suffix('.idx').name}; the records were found one after another")
    if known.announced not in (None, len(known.images)):
        notes.append(f"record 0 of {rec.name} announces {known.announced:,} images: some are not there")
    if known.outside:
        notes.append(f"{known.outside:,} bytes of {rec.name} belong to no row of its index and are left out")
    if (rec.parent / "property").is_file():
        notes.append(_property(rec.parent / "property"))
    return notes


def _property(path: Path) -> str:
    values = parsing.ints(path).values[0]
    if len(values) != 3:
        raise DataError(f"{path}: expected people,height,width, got {len(values)} numbers")
    people, height, width = values.tolist()
    return (
        f"{people:,} people; faces are cut to {width} x {height} px already: "
        "take them as they are with --aligned, or have RetinaFace look at them again"
    )
