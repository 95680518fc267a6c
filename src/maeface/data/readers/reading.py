"""The door of the datasets: a name and a folder to what there is to prepare and to learn from it.

A reader is a module of this package, named as its dataset in ``facts``. It has

    class Options(config.Settings)                  what a user may choose, a default for each
    def read(root: Path, options: Options) -> Reading

and raises ``ConfigError`` for a wrong choice, ``DataError`` for a wrong file: one line that names the file
and the row, says what was expected and what was got, and what to do.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from maeface import config, facts
from maeface.data.inputs import Input
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
