"""CelebA: 202,599 photos of 10,177 well-known people.

Reads ``img_celeba``, the originals, or ``img_align_celeba``, the same photos rotated by the eyes and
cropped to 178 x 218 px; both number them 000001.jpg to 202599.jpg, with or without the folder ``Img``
above. ``list_eval_partition.txt`` (alone or in ``Eval``) has a line an image: its name and 0 (train,
162,770), 1 (validation, 19,867) or 2 (test, 19,962). The tables of the copy on Kaggle, the same with commas
and a line of column names, are read as well.

``list_landmarks_celeba.txt`` (alone or in ``Anno``; ``list_landmarks_align_celeba.txt`` for the aligned
photos) has the number of images, the names of the columns, and a line an image: its name and x and y of the
left eye, the right eye, the nose, the left and the right corner of the mouth, as seen in the image, in px.
With the option ``landmarks`` the crops are made from these points, without face detection.

The paper is silent on these choices. By default all three parts are read, and the originals where DIR has
both forms, because the paper's three steps (detect, rotate, crop) are then done here.
"""

import math
import re
from pathlib import Path
from typing import Literal

from maeface import config
from maeface.data.formats import photos
from maeface.data.ingest.inputs import Input
from maeface.data.readers.raw_dataset import RawDataset
from maeface.errors import DataError

PARTS = {"train": 0, "val": 1, "test": 2}
FORMS = {
    "original": ("img_celeba", "Img/img_celeba"),
    "aligned": (
        "img_align_celeba",
        "Img/img_align_celeba",
        "img_align_celeba_png",
        "Img/img_align_celeba_png",
    ),
}
PLACES = ("", "Eval/", "Anno/")
PARTITION = "list_eval_partition"
LANDMARKS = {"original": "list_landmarks_celeba", "aligned": "list_landmarks_align_celeba"}


class Options(config.Settings):
    """Options of the reader."""

    images: Literal["auto", "original", "aligned"] = "auto"
    """``img_celeba``, ``img_align_celeba``, or the first of the two that DIR has."""
    partition: Literal["all", "train", "val", "test"] = "all"
    """Of the makers' own parts, one or all."""
    landmarks: bool = False
    """Crop the faces by the dataset's own five points; false: by RetinaFace, as the paper does."""


def read(root: Path, options: Options) -> RawDataset:
    """Read CelebA.

    Raises:
        DataError: no folder of images, a list that an option needs is missing, or a list is wrong.
    """
    form, folder, images = _find_images(root, options)
    notes = [f"photos of {folder}; its attributes and who is in a photo are left out"]
    parts = _read_partition(root)
    if parts is None and options.partition != "all":
        raise DataError(f"{root} has no {PARTITION}.txt, which the option partition needs; or leave it out")
    inputs = images
    if parts is not None:
        names = {_stem(item.source) for item in images}
        missing = [name for name in parts if name not in names]
        if missing:
            notes.append(f"listed in {PARTITION} but not there: {photos.describe_names(missing)}")
        if options.partition != "all":
            part = PARTS[options.partition]
            inputs = [item for item in images if parts.get(_stem(item.source)) == part]
            notes.append(
                f"partition {options.partition}: {len(images) - len(inputs):,} other images left out"
            )
    if not inputs:
        raise DataError(f"{root / folder} has no image of the partition {options.partition}")
    if form == "original" and any((root / other).is_dir() for other in FORMS["aligned"]):
        notes.append("img_align_celeba is left out: it has the same photos")
    if options.landmarks:
        points = _read_landmarks(root, form)
        without = [item.source for item in inputs if _stem(item.source) not in points]
        inputs = [item._replace(points=points.get(_stem(item.source), ())) for item in inputs]
        notes.append("faces are cropped by the dataset's own landmarks, not by RetinaFace")
        if without:
            notes.append(f"without landmarks, and cropped by RetinaFace: {photos.describe_names(without)}")
    return RawDataset(tuple(inputs), None, (photos.count_note("celeba", len(inputs)), *notes))


def _find_images(root: Path, options: Options) -> tuple[str, str, list[Input]]:
    """Return the form, its folder and its images."""
    forms = tuple(FORMS) if options.images == "auto" else (options.images,)
    for form in forms:
        for folder in FORMS[form]:
            if images := list(photos.list_photos(root, folder)):
                return form, folder, images
    expected = " or ".join(FORMS[form][0] for form in forms)
    raise DataError(
        f"{root} is not CelebA: expected {expected} with 000001.jpg ...; got {photos.describe_contents(root)}"
    )


def _stem(source: str) -> str:
    return Path(source).stem


def _read_partition(root: Path) -> dict[str, int] | None:
    """Read the part of each image by the stem of its name; None without such a list."""
    path = _find_list(root, PARTITION)
    if path is None:
        return None
    parts: dict[str, int] = {}
    for number, cells in _read_list(path):
        if len(cells) != 2 or cells[1] not in ("0", "1", "2"):
            raise DataError(
                f"{path} line {number}: expected a name and 0, 1 or 2, got {' '.join(cells)[:60]!r}"
            )
        stem = Path(cells[0]).stem
        if stem in parts:
            raise DataError(f"{path} line {number}: {cells[0]} is there a second time; get the list again")
        parts[stem] = int(cells[1])
    return parts


def _read_landmarks(root: Path, form: str) -> dict[str, tuple[tuple[float, float], ...]]:
    """Read the five points of each image by the stem of its name."""
    path = _find_list(root, LANDMARKS[form])
    if path is None:
        raise DataError(
            f"{root} has no {LANDMARKS[form]}.txt, which the option landmarks needs for {FORMS[form][0]}"
        )
    points: dict[str, tuple[tuple[float, float], ...]] = {}
    for number, cells in _read_list(path):
        try:
            values = [float(cell) for cell in cells[1:]]
        except ValueError:
            values = []
        if len(values) != 10 or not all(math.isfinite(value) for value in values):
            raise DataError(
                f"{path} line {number}: expected a name and 10 numbers, got {' '.join(cells)[:60]!r}"
            )
        points[Path(cells[0]).stem] = tuple(zip(values[::2], values[1::2], strict=True))
    return points


def _find_list(root: Path, name: str) -> Path | None:
    candidates = (root / f"{place}{name}{ending}" for ending in (".txt", ".csv") for place in PLACES)
    return next((path for path in candidates if path.is_file()), None)


def _read_list(path: Path) -> list[tuple[int, list[str]]]:
    """Read line numbers and cells of a list, without the lines before the first image."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    split = re.compile("," if path.suffix == ".csv" else r"\s+")
    rows = [(number, split.split(line.strip())) for number, line in enumerate(lines, 1) if line.strip()]
    first = next((i for i, (_, cells) in enumerate(rows) if re.fullmatch(r"\d+\.\w+", cells[0])), len(rows))
    if first == len(rows):
        raise DataError(f"{path} lists no image such as 000001.jpg; get it again")
    if first > 2:
        raise DataError(
            f"{path} line {rows[2][0]}: expected an image such as 000001.jpg, got {rows[2][1][0]!r}"
        )
    return rows[first:]
