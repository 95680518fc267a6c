"""CASIA-WebFace: 494,414 photos of 10,575 people, as folders or as MXNet's record files.

Reads ``0000045/001.jpg`` and the like, or the record files of InsightFace's ``faces_webface_112x112``:
``train.rec``, ``train.idx`` and ``property`` (people, height, width), 490,623 faces of 10,572 people, aligned
and cropped to 112 x 112 px. Their ``train.lst`` lists the original photos and is not read. Identities are not
used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from maeface import config
from maeface.data.formats import integer_table, listing, photos
from maeface.data.ingest import records
from maeface.data.ingest.inputs import Input
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import DataError

LAYOUT = "a folder a person (0000045/001.jpg), or train.rec with train.idx"
WITHOUT_PEOPLE = "who is in a photo is left out, so pre-training holds out photos for validation, not people"


class Options(config.Settings):
    """Options of the reader."""

    form: Literal["auto", "folders", "records"] = "auto"
    """Folders of photos or record files; ``auto``: the one that DIR has."""


def read(root: Path, options: Options) -> RawDataset:
    """Read CASIA-WebFace.

    Raises:
        DataError: neither form is in the folder, both are, or a record file is damaged.
    """
    files = [] if options.form == "folders" else _list_record_files(root)
    images = [] if options.form == "records" else list(photos.list_photos(root))
    people = {item.source.rpartition("/")[0] for item in images} - {""}
    if files and people:
        raise DataError(
            f"{root} holds {files[0]} and folders of photos, which are the same faces; "
            "choose with --set form=records or --set form=folders"
        )
    if files:
        return _read_records(root, files)
    if not people:
        raise DataError(
            f"{root} is not CASIA-WebFace: expected {LAYOUT}; got {photos.describe_contents(root)}"
        )
    inside = [item for item in images if "/" in item.source]
    notes = [photos.count_note("casia", len(inside)), f"{len(people):,} folders of people; {WITHOUT_PEOPLE}"]
    if len(inside) < len(images):
        notes.append(f"{len(images) - len(inside):,} images outside the folders of people are left out")
    return RawDataset(tuple(inside), None, tuple(notes))


def _list_record_files(root: Path) -> list[str]:
    """Return the record files of a folder or, where it has none, of the folders in it."""
    files = [file.name for file in listing.list_files(root, [".rec"])]
    return files or [
        f"{name}/{file.name}"
        for name in listing.list_folders(root)
        for file in listing.list_files(root / name, [".rec"])
    ]


def _read_records(root: Path, files: Sequence[str]) -> RawDataset:
    inputs: list[Input] = []
    notes: list[str] = []
    for name in files:
        rec = root / name
        idx = rec.with_suffix(".idx")
        index = records.read_index(rec, idx if idx.is_file() else None)
        if not index.images:
            raise DataError(f"{rec} holds no image in {index.without_image} records; get it again")
        path = str(rec)
        inputs += [
            Input(f"{name}/{image.key:07d}", path, image.size, video=False, offset=image.offset)
            for image in index.images
        ]
        notes += _index_notes(rec, index, idx.is_file())
    return RawDataset(tuple(inputs), None, (photos.count_note("casia", len(inputs)), *notes, WITHOUT_PEOPLE))


def _index_notes(rec: Path, index: records.RecordIndex, indexed: bool) -> list[str]:
    notes = [f"{rec.name}: {len(index.images):,} images, {index.without_image:,} records without one"]
    if not indexed:
        notes.append(f"there is no {rec.with_suffix('.idx').name}; the records were found one after another")
    if index.announced not in (None, len(index.images)):
        notes.append(f"record 0 of {rec.name} announces {index.announced:,} images: some are not there")
    if index.outside:
        notes.append(f"{index.outside:,} bytes of {rec.name} belong to no row of its index and are left out")
    if (rec.parent / "property").is_file():
        notes.append(_property_note(rec.parent / "property"))
    return notes


def _property_note(path: Path) -> str:
    values = integer_table.read(path).values[0]
    if len(values) != 3:
        raise DataError(f"{path}: expected people,height,width, got {len(values)} numbers")
    people, height, width = values.tolist()
    return (
        f"{people:,} people; faces are cut to {width} x {height} px already: "
        "take them as they are with --aligned, or have RetinaFace detect them again"
    )
