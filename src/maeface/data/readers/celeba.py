"""CelebA: 202,599 photos of 10,177 well-known people.

``img_celeba`` has the originals, ``img_align_celeba`` the same photos turned by the eyes and cut to
178 x 218 px; both number them 000001.jpg to 202599.jpg, with or without the folder ``Img`` above.
``list_eval_partition.txt`` (alone or in ``Eval``) has a line an image: its name and 0 (train, 162,770),
1 (validation, 19,867) or 2 (test, 19,962). The tables of the copy on
Kaggle, the same with commas and a line of names, are read as well.

``list_landmarks_celeba.txt`` (alone or in ``Anno``; ``list_landmarks_align_celeba.txt`` for the turned and
cut photos) has the number of images, the names of the columns, and a line an image: its name and x and y of
the left eye, the right eye, the nose, the left and the right corner of the mouth, as seen, in px. With the
option ``landmarks`` the crops are made from these points, and no face is looked for.

The paper is silent on these choices: all three parts are taken, and the originals where both forms are there,
because its own three steps (find, turn, cut) are then done here.
"""

import math
import re
from pathlib import Path
from typing import Literal

from maeface import config
from maeface.data.formats import photos
from maeface.data.ingest.inputs import Input
from maeface.data.readers.reading import Reading
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
    """What to take."""

    images: Literal["auto", "original", "aligned"] = "auto"
    """``img_celeba``, ``img_align_celeba``, or the first of the two that is there."""
    partition: Literal["all", "train", "val", "test"] = "all"
    """Of the makers' own parts, one or all."""
    landmarks: bool = False
    """Cut the faces out by the makers' own five points; false: by RetinaFace, as the paper does."""


def read(root: Path, options: Options) -> Reading:
    """Read it.

    Raises:
        DataError: no folder of images, a list that an option needs is not there, or a list is wrong.
    """
    form, folder, found = _images(root, options)
    notes = [f"taken from {folder}; its attributes and who is in a photo are left out"]
    parts = _partition(root)
    if parts is None and options.partition != "all":
        raise DataError(f"{root} has no {PARTITION}.txt, which the option partition needs; or leave it out")
    taken = found
    if parts is not None:
        names = {_stem(item.source) for item in found}
        gone = [name for name in parts if name not in names]
        if gone:
            notes.append(f"listed in {PARTITION} but not there: {photos.such_as(gone)}")
        if options.partition != "all":
            wanted = PARTS[options.partition]
            taken = [item for item in found if parts.get(_stem(item.source)) == wanted]
            notes.append(f"partition {options.partition}: {len(found) - len(taken):,} other images left out")
    if not taken:
        raise DataError(f"{root / folder} has no image of the partition {options.partition}")
    if form == "original" and any((root / other).is_dir() for other in FORMS["aligned"]):
        notes.append("img_align_celeba is there too and is left out: it shows the same photos")
    if options.landmarks:
        points = _landmarks(root, form)
        lacking = [item.source for item in taken if _stem(item.source) not in points]
        taken = [item._replace(points=points.get(_stem(item.source), ())) for item in taken]
        notes.append("faces are cut out by the makers' own landmarks, not by RetinaFace")
        if lacking:
            notes.append(f"without landmarks, and looked at by RetinaFace: {photos.such_as(lacking)}")
    return Reading(tuple(taken), None, (photos.counted("celeba", len(taken)), *notes))


def _images(root: Path, options: Options) -> tuple[str, str, list[Input]]:
    """The form, its folder and its images."""
    forms = tuple(FORMS) if options.images == "auto" else (options.images,)
    for form in forms:
        for folder in FORMS[form]:
            if found := list(photos.below(root, folder)):
                return form, folder, found
    expected = " or ".join(FORMS[form][0] for form in forms)
    raise DataError(
        f"{root} is not CelebA: expected {expected} with 000001.jpg ...; got {photos.contents(root)}"
    )


def _stem(source: str) -> str:
    return Path(source).stem


def _partition(root: Path) -> dict[str, int] | None:
    """The part of each image by the stem of its name; None: no such list."""
    path = _table(root, PARTITION)
    if path is None:
        return None
    parts: dict[str, int] = {}
    for number, cells in _rows(path):
        if len(cells) != 2 or cells[1] not in ("0", "1", "2"):
            raise DataError(
                f"{path} line {number}: expected a name and 0, 1 or 2, got {' '.join(cells)[:60]!r}"
            )
        stem = Path(cells[0]).stem
        if stem in parts:
            raise DataError(f"{path} line {number}: {cells[0]} is there a second time; get the list again")
        parts[stem] = int(cells[1])
    return parts


def _landmarks(root: Path, form: str) -> dict[str, tuple[tuple[float, float], ...]]:
    """The five points of each image by the stem of its name."""
    path = _table(root, LANDMARKS[form])
    if path is None:
        raise DataError(
            f"{root} has no {LANDMARKS[form]}.txt, which the option landmarks needs for {FORMS[form][0]}"
        )
    points: dict[str, tuple[tuple[float, float], ...]] = {}
    for number, cells in _rows(path):
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


def _table(root: Path, name: str) -> Path | None:
    candidates = (root / f"{place}{name}{ending}" for ending in (".txt", ".csv") for place in PLACES)
    return next((path for path in candidates if path.is_file()), None)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line numbers and cells of a list, without the lines before the first image."""
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
