"""The readers of datasets: from a dataset's name and folder to the files to prepare and their labels.

A reader is a module of this package with the dataset's name in ``facts``. It has

    class Options(config.Settings)                     the reader's options, each with a default
    def read(root: Path, options: Options) -> RawDataset

and raises ``ConfigError`` for a wrong option, ``DataError`` for a wrong file: one line that names the file
and the row, says what was expected and what was found, and what to do.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from maeface import config, facts, nested
from maeface.data.formats.photos import PAPER_IMAGES
from maeface.data.ingest.inputs import Input
from maeface.errors import ConfigError

PACKAGE = "maeface.data.readers"
TABLE = "table"
"""The reader of any table of labels, which belongs to no dataset."""


@dataclass(frozen=True)
class RawDataset:
    """Inputs and labels of a dataset as it is handed out.

    Attributes:
        inputs: the files to prepare, sorted by ``source``, which is the path relative to the folder, posix.
        labels: a row for each labelled image or frame; None for a source without labels. Columns: ``source``
            (str), ``frame`` (int64: 0 for an image file, the 0-based index for a video), ``subject`` (str),
            ``clip`` (str, such as "F001/T1"), ``AU06_o`` ... (float32, 0 or 1, NaN where missing),
            ``AU06_i`` ... (float32, 0 to 5, NaN where missing), ``AU06_L`` and ``AU06_R`` (likewise).
        notes: a line each: what was read, what was left out and why, with counts.
    """

    inputs: tuple[Input, ...]
    labels: pd.DataFrame | None
    notes: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """Return the names of the datasets that have a reader, sorted."""
    package = importlib.import_module(PACKAGE)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return tuple(sorted(modules & {*facts.datasets(), TABLE}))


def read(name: str, root: Path, overrides: Sequence[str] = ()) -> RawDataset:
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
            f"{name} has no reader; bring its labels as a table, "
            f"--dataset table --set labels=FILE (see `maeface datasets {name}`)"
        )
    if name not in names():
        raise ConfigError(f"no dataset {name!r} can be read; known are: {', '.join(names())}")
    if not root.is_dir():
        raise ConfigError(f"no such folder: {root}; give the folder of {name}")
    reader = importlib.import_module(f"{PACKAGE}.{name}")
    options = config.check(reader.Options, nested.apply_overrides(overrides), f"--dataset {name}")
    dataset: RawDataset = reader.read(root, options)
    labels = dataset.labels
    if labels is not None:
        labels = labels.sort_values(["source", "frame"], ignore_index=True)
    inputs = tuple(sorted(dataset.inputs, key=lambda item: item.source.encode()))
    return RawDataset(inputs, labels, dataset.notes)


def read_all(dataset: str, roots: Sequence[Path], overrides: Sequence[str] = ()) -> RawDataset:
    """Read one dataset, or several as one.

    Of several, sources, subjects and clips get the dataset's name in front, so that equal names stay apart;
    subjects that two datasets share (``facts.Dataset.same_people``) keep the name of the first of the two,
    so that they stay together.

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
    datasets = {
        name: read(name, root, _overrides_of(name, several, overrides))
        for name, root in zip(several, roots, strict=True)
    }
    if len(several) == 1:
        return datasets[several[0]]
    joined = _join(datasets)
    if all(name != TABLE and facts.dataset(name).kind == "faces" for name in several):
        images = sum(not item.video for item in joined.inputs)
        note = f"{images:,} images in all, {images / PAPER_IMAGES:.1%} of the paper's {PAPER_IMAGES:,}"
        return RawDataset(joined.inputs, joined.labels, (*joined.notes, note))
    return joined


def _overrides_of(name: str, several: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Return the overrides that name one of several datasets, without its name."""
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


def _join(datasets: Mapping[str, RawDataset]) -> RawDataset:
    inputs: list[Input] = []
    tables, notes = [], []
    for name, dataset in datasets.items():
        inputs += (item._replace(source=f"{name}/{item.source}") for item in dataset.inputs)
        notes += [f"{name}: {note}" for note in dataset.notes]
        labels = dataset.labels
        if labels is None:
            continue
        subjects = {
            subject: f"{_first_with(subject, name, list(datasets))}/{subject}"
            for subject in labels["subject"].unique()
        }
        renamed = {column: f"{name}/" + labels[column] for column in ("source", "clip")}
        tables.append(labels.assign(**renamed, subject=labels["subject"].map(subjects)))
    inputs.sort(key=lambda item: item.source.encode())
    joined = pd.concat(tables).sort_values(["source", "frame"], ignore_index=True) if tables else None
    return RawDataset(tuple(inputs), joined, tuple(notes))


def _first_with(subject: str, name: str, several: Sequence[str]) -> str:
    """Return the first of several datasets that has this person under this name."""
    for other in several[: several.index(name)]:
        pairs = [(other, name), (name, other)]
        if any(one != TABLE and subject in facts.dataset(one).same_people.get(two, ()) for one, two in pairs):
            return other
    return name
