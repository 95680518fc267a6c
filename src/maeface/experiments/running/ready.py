"""Datasets ready to learn from: as they lie prepared in the data folder, or prepared from what lies there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maeface import config, console, facts, prepare
from maeface.data import manifest
from maeface.errors import ConfigError
from maeface.experiments.settings import Tree

FOLDER = "prepared"
LABELS = "labels.parquet"


@dataclass(frozen=True)
class Ready:
    """A prepared dataset with labels.

    Attributes:
        name: of ``facts.dataset``.
        folder: that ``prepare`` wrote.
        labels: its table of labels.
    """

    name: str
    folder: Path
    labels: Path

    def subjects(self) -> tuple[str, ...]:
        """Who has labels, sorted."""
        return _subjects(self.labels)

    def note(self) -> str:
        """A line where there are more or fewer labels than the dataset is known to have; else empty."""
        known = facts.dataset(self.name).frames
        there = len(_column(self.labels, "subject"))
        if known is None or abs(there - known) <= 0.01 * known:
            return ""
        return f"{self.name}: {there:,} labelled frames are there; the dataset is known to have {known:,}"


def there(name: str, data: Path) -> bool:
    """Whether the data folder has a dataset, raw or prepared."""
    return (data / name).is_dir()


def lacking(name: str, data: Path) -> str:
    """What to do about a dataset that is not there, in a line."""
    if name not in facts.datasets():
        return f"{data} has no folder {name} with face images"
    title = facts.dataset(name).title
    return f"{data} has no folder {name} ({title}); `maeface datasets {name}` says what it must contain"


def dataset(name: str, data: Path, out: Path, how: Tree, options: Mapping[str, Any]) -> Ready:
    """A dataset of the data folder with its labels, prepared into ``out`` if it is not.

    Args:
        name: of the dataset, and of its folder in ``data``.
        data: the data folder.
        out: of the experiment.
        how: settings of ``prepare``.
        options: of the dataset's reader.

    Raises:
        ConfigError: not there, prepared without labels, or a setting that is wrong.
        DataError: laid out otherwise, or damaged.
        ResourceError: disk, or the folder is in use.
    """
    folder = data / name
    if not (folder / manifest.FILE).is_file():
        folder = out / FOLDER / name
        settings = config.check(prepare.Settings, how, "prepare")
        console.say(f"prepare {name}")
        console.say(
            str(prepare.run([data / name], folder, settings, dataset=name, options=overrides(options)))
        )
    elif how or options:
        console.say(f"{folder} is prepared already: settings of prepare and of its reader do not count")
    if not (folder / LABELS).is_file():
        raise ConfigError(
            f"{folder} is prepared but has no {LABELS}; prepare it with `maeface prepare --dataset {name}`"
        )
    return Ready(name, folder, folder / LABELS)


def overrides(options: Mapping[str, Any]) -> list[str]:
    """Options of a reader as its command line has them, ``key=value``."""
    return [f"{key}={json.dumps(value)}" for key, value in options.items()]


def faces(name: str, data: Path, out: Path, how: Tree) -> Path:
    """Face images without labels, prepared into ``out`` if they are not."""
    folder = data / name
    if (folder / manifest.FILE).is_file():
        return folder
    target = out / FOLDER / name
    console.say(str(prepare.run([folder], target, config.check(prepare.Settings, how, "prepare"))))
    return target


def _subjects(labels: Path) -> tuple[str, ...]:
    return tuple(sorted({str(name) for name in _column(labels, "subject").dropna()}))


def _column(labels: Path, name: str) -> "pd.Series[Any]":
    return pd.read_parquet(labels, columns=[name])[name]
