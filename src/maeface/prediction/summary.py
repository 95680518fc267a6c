"""The summary of a prediction, in a line or two."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maeface import checks, portable
from maeface.prediction.extras import ENDINGS, FILMS, Made

FEW_FILMS = 3
"""Films up to which there are more lines than one about each."""
MORE_FILMS = "more about each film: .summary.csv, and with --report a page"
MANY = 8
"""Files up to which they are named; of more, the kinds are counted."""


@dataclass(frozen=True)
class Summary:
    """The result of a prediction.

    Attributes:
        out: the table, or the folder of tables; None if lines were printed.
        inputs: number of photos and videos.
        images: number of photos and frames that were read.
        faces: number of rows with a face.
        without_face: number of images without a face.
        skipped: number of rows of inputs and frames that could not be read, by reason.
        pictures: number of files that this run wrote to the folder of pictures.
        bad: number of inputs of which no image, or too small a fraction (``max_bad``), could be read.
        too_many_bad: whether these are more than ``max_bad`` allows.
        there: number of inputs whose table was there already.
        made: what was made of the finished tables.
        hint: what else may be made of them; "" for no such line.
    """

    out: Path | None
    inputs: int
    images: int
    faces: int
    without_face: int
    skipped: dict[str, int]
    pictures: int
    bad: int = 0
    too_many_bad: bool = False
    there: int = 0
    made: tuple[Made, ...] = ()
    hint: str = ""

    def __str__(self) -> str:
        """The counts, a line about each film, and the files that were made of the table."""
        line = f"{self.out or 'predicted'}: inputs: {self.inputs}"
        line += f" ({self.there} already there)" if self.there else ""
        line += f"; images: {self.images}; faces: {self.faces}"
        line += f"; without a face: {self.without_face}" if self.without_face else ""
        if self.skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items())
            line += f"; not read: {reasons}"
        line += f"; pictures: {self.pictures}" if self.pictures else ""
        lines = [line]
        if self.too_many_bad:
            lines.append(
                f"{self.bad} of {self.inputs} inputs could not be read, more than allowed (--max-bad)"
            )
        lines += _describe_films(self.made)
        lists = {
            "also written": [path for one in self.made for path in one.paths],
            "up to date": [path for one in self.made for path in one.current],
        }
        said = [_listed(what, paths, self.out) for what, paths in lists.items() if paths and self.out]
        said += [self.hint] if self.hint else []
        return "\n".join([*lines, *([""] if said else []), *said])


def _describe_films(made: Sequence[Made]) -> list[str]:
    """Return a line about each film, and more about a few films."""
    films = [film for one in made for film in one.films]
    if not films:
        return []
    notes = list(dict.fromkeys(one.note for one in made if one.note))
    if len(films) > FEW_FILMS:
        return ["", *(line for line, _ in films), MORE_FILMS, *notes]
    return [line for first, more in films for line in ("", first, *more)] + notes


def _listed(what: str, paths: Sequence[Path], out: Path) -> str:
    """Return the files that were made of ``out``, as paths from its folder; of many, their number."""
    if len(paths) <= MANY:
        where = "" if out.parent == Path() else f" in {out.parent}"
        return f"{what}{where}: {', '.join(portable.relative_path(path, out.parent) for path in paths)}"
    by_place: dict[Path, Counter[str]] = {}
    for path in paths:
        films = (folder for folder in path.parents if folder.name.endswith(FILMS))
        place = next(films, out if checks.is_folder_of_tables(out) else out.parent)
        by_place.setdefault(place, Counter())[_ending(path)] += 1
    counts = {
        place: ", ".join(f"{count} {ending}" for ending, count in kinds.items())
        for place, kinds in by_place.items()
    }
    return "\n".join(
        f"{what}: {listed}" if place == Path() else f"{what} in {place}: {listed}"
        for place, listed in counts.items()
    )


def _ending(path: Path) -> str:
    """Return what distinguishes a file from others that are made of the same table: ``.events.csv``."""
    return max((one for one in ENDINGS if path.name.endswith(one)), key=len, default=path.suffix)
