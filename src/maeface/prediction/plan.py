"""The units of a prediction, in the order of its inputs, and what is left of them for a later run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from maeface.data.ingest.inputs import Input, Unit
from maeface.prediction.parts import Key, Place, key_of, part_name

INDEX_SUFFIX = ".npz"
PHOTOS_TOGETHER = 32
FEW_PHOTOS, UNITS = 4, 64


def plan_units(inputs: Sequence[Input]) -> Iterator[Unit]:
    """Yield units in the order of the inputs: photos side by side, and each film.

    The sizes depend on the inputs only, not on the number of processes, because numbers can differ in the
    last digit between batches of different sizes. Up to 32 photos are together; fewer if there are few, so
    that many cores end together. Nothing is read here.
    """
    photos = sum(not item.video for item in inputs)
    together = min(max(FEW_PHOTOS, math.ceil(photos / UNITS)), PHOTOS_TOGETHER)
    group: list[Input] = []
    for item in inputs:
        if group and (item.video or len(group) == together):
            yield make_unit(group)
            group = []
        if item.video:
            yield make_unit([item])
        else:
            group.append(item)
    if group:
        yield make_unit(group)


def index_path(folder: Path, film: Input) -> Path:
    """Return the path of the index of a film, or of that of a segment, in a folder of parts."""
    name = part_name([film._replace(frames=())])
    return folder / f"_{name}{INDEX_SUFFIX}"  # readers of the parts leave out names that begin with "_"


def index_files(folder: Path) -> Iterator[Path]:
    """Yield the files of indexes in a folder."""
    return folder.glob(f"_*{INDEX_SUFFIX}")


def make_unit(inputs: Sequence[Input]) -> Unit:
    """Return the unit of inputs, with the name of its part."""
    return Unit(part_name(inputs), tuple(inputs))


def leave_out_finished(unit: Unit, finished: Mapping[Key, Place]) -> list[Unit]:
    """Return what is left to do of a unit.

    That is one unit, or nothing. If an earlier run has begun to do the unit file by file, because one of them
    crashed or hung a process, it goes on file by file.
    """
    missing = [item for item in unit.inputs if key_of(item) not in finished]
    if not missing:
        return []
    places = [finished[key_of(item)] for item in unit.inputs if key_of(item) in finished]
    if any(place.entry.alone for place in places):
        return [make_unit([item]) for item in missing]
    return [make_unit(missing)]
