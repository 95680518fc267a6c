"""The door of the datasets: a name and a folder to what there is to prepare and to learn from it.

A reader is a module of this package, named as its dataset in ``facts``. It has

    class Options(config.Settings)                  what a user may choose, a default for each
    def read(root: Path, options: Options) -> Reading

and raises ``ConfigError`` for a wrong choice, ``DataError`` for a wrong file: one line that names the file
and the row, says what was expected and what was got, and what to do.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from maeface import config, facts
from maeface.data.formats.photos import PAPER_IMAGES
from maeface.data.ingest.inputs import Input
from maeface.errors import ConfigError

PACKAGE = "maeface.data.readers"
TABLE = "table"
"""The reader that belongs to no dataset."""


@dataclass(frozen=True)
class Reading:
    """What a dataset's folder holds.

    Attributes:
        inputs: the files to prepare, sorted by ``source``, which is the path relative to the folder, posix.
        labels: a row for each labelled image or frame; None for a source without labels. Columns: ``source``
            (str), ``frame`` (int64: 0 for an image file, the 0-based index for a video), ``subject`` (str),
            ``clip`` (str, such as "F001/T1"), ``AU06_o`` ... (float32, 0 or 1, NaN where not known),
            ``AU06_i`` ... (float32, 0 to 5, NaN where not known).
        notes: a line each: what was read, what was left out and why, with counts.
    """

    inputs: tuple[Input, ...]
    labels: pd.DataFrame | None
    notes: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """The datasets that can be read, sorted."""
    package = importlib.import_module(PACKAGE)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return tuple(sorted(modules & {*facts.datasets(), TABLE}))


def read(name: str, root: Path, overrides: Sequence[str] = ()) -> Reading:
    """Read the folder of a dataset as it is distributed.

    Args:
        name: of the dataset, one of ``names()``.
        root: its folder.
        overrides: options of the reader, ``key=value`` each, as from ``--set``.

    Raises:
        ConfigError: no such dataset, folder or option.
        DataError: the folder is not laid out as the dataset is, or a label is wrong.
    """
    if name in facts.datasets() and name not in names():
        raise ConfigError(
            f"{name} is known, but not how its files are laid out: bring its labels as a table, "
            f"--dataset table --set labels=FILE (see `maeface datasets {name}`)"
        )
    if name not in names():
        raise ConfigError(f"no dataset {name!r} can be read; known are: {', '.join(names())}")
    if not root.is_dir():
        raise ConfigError(f"no such folder: {root}; give the folder of {name}")
    reader = importlib.import_module(f"{PACKAGE}.{name}")
    options = config.check(reader.Options, config.assigned(overrides), f"--dataset {name}")
    reading: Reading = reader.read(root, options)
    labels = reading.labels
    if labels is not None:
        labels = labels.sort_values(["source", "frame"], ignore_index=True)
    inputs = tuple(sorted(reading.inputs, key=lambda item: item.source.encode()))
    return Reading(inputs, labels, reading.notes)


def read_all(dataset: str, roots: Sequence[Path], overrides: Sequence[str] = ()) -> Reading:
    """Read one dataset, or several as one.

    Of several, sources, subjects and clips get the dataset's name in front, so that equal names stay apart;
    people whom two datasets share (``facts.Dataset.same_people``) keep the first one's, so that they stay
    together.

    Args:
        dataset: a name, or several with commas between.
        roots: a folder for each name.
        overrides: options, ``key=value``; of several datasets, ``dataset.key=value``.

    Raises:
        ConfigError: see ``read``; folders and names are not as many; a name twice.
        DataError: see ``read``.
    """
    several = [name.strip() for name in dataset.split(",")]
    if len(several) != len(roots):
        raise ConfigError(
            f"--dataset {dataset} names {len(several)}, but {len(roots)} folders are given; give one for each"
        )
    if len(set(several)) != len(several):
        raise ConfigError(f"--dataset {dataset} has a name twice; prepare them one by one")
    readings = {
        name: read(name, root, _of(name, several, overrides))
        for name, root in zip(several, roots, strict=True)
    }
    if len(several) == 1:
        return readings[several[0]]
    joined = _join(readings)
    if all(name != TABLE and facts.dataset(name).kind == "faces" for name in several):
        images = sum(not item.video for item in joined.inputs)
        share = f"{images:,} images in all, {images / PAPER_IMAGES:.1%} of the paper's {PAPER_IMAGES:,}"
        return Reading(joined.inputs, joined.labels, (*joined.notes, share))
    return joined


def _of(name: str, several: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The overrides that mean one of several datasets, without its name."""
    chosen = []
    for override in overrides:
        head, dot, rest = override.partition(".")
        if dot and head in several:
            chosen += [rest] if head == name else []
        elif len(several) > 1:
            raise ConfigError(f"--set {override}: of which dataset? write {several[0]}.{override}")
        else:
            chosen.append(override)
    return chosen


def _join(readings: Mapping[str, Reading]) -> Reading:
    inputs: list[Input] = []
    tables, notes = [], []
    for name, reading in readings.items():
        inputs += (item._replace(source=f"{name}/{item.source}") for item in reading.inputs)
        notes += [f"{name}: {note}" for note in reading.notes]
        if reading.labels is None:
            continue
        people = {
            who: f"{_first(name, who, list(readings))}/{who}" for who in reading.labels["subject"].unique()
        }
        renamed = {column: f"{name}/" + reading.labels[column] for column in ("source", "clip")}
        tables.append(reading.labels.assign(**renamed, subject=reading.labels["subject"].map(people)))
    inputs.sort(key=lambda item: item.source.encode())
    labels = pd.concat(tables).sort_values(["source", "frame"], ignore_index=True) if tables else None
    return Reading(tuple(inputs), labels, tuple(notes))


def _first(name: str, subject: str, several: Sequence[str]) -> str:
    """The first of several datasets that has this person under this name."""
    for other in several[: several.index(name)]:
        pairs = [(other, name), (name, other)]
        if any(one != TABLE and subject in facts.dataset(one).same_people.get(two, ()) for one, two in pairs):
            return other
    return name
