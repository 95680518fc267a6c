"""Prepared datasets: taken from the data folder as they are, or prepared from what it holds."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maeface import config, console, facts, prepare
from maeface.data import manifest
from maeface.errors import ConfigError, InUseError
from maeface.experiments.settings import Tree

FOLDER = "prepared"
LABELS = "labels.parquet"
WAIT_S = 10.0
"""Seconds between looks at what another process is doing."""


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared dataset with labels.

    Attributes:
        name: of ``facts.dataset``.
        folder: written by ``prepare``.
        labels: its table of labels.
    """

    name: str
    folder: Path
    labels: Path

    def subjects(self) -> tuple[str, ...]:
        """Return the subjects that have labels, sorted."""
        return tuple(sorted({str(name) for name in self._subject_column().dropna()}))

    def note(self) -> str:
        """Return a remark if the number of labelled frames is not the dataset's; else an empty text."""
        expected = facts.dataset(self.name).frames
        count = len(self._subject_column())
        if expected is None or abs(count - expected) <= 0.01 * expected:
            return ""
        return f"{self.name}: these data have {count:,} labelled frames; the dataset has {expected:,}"

    def _subject_column(self) -> "pd.Series[Any]":
        return pd.read_parquet(self.labels, columns=["subject"])["subject"]


def has_dataset(name: str, data: Path) -> bool:
    """Return whether the data folder has a dataset, raw or prepared."""
    return (data / name).is_dir()


def describe_missing(name: str, data: Path) -> str:
    """Return a line that says which folder of a dataset is missing and what it has to contain."""
    if name not in facts.datasets():
        return f"{data} has no folder {name} with face images"
    title = facts.dataset(name).title
    return f"{data} has no folder {name} ({title}); `maeface datasets {name}` says what it must contain"


def prepare_dataset(
    name: str, data: Path, out: Path, settings: Tree, options: Mapping[str, Any]
) -> PreparedDataset:
    """Return a dataset of the data folder with its labels; prepare it into ``out`` if needed.

    Args:
        name: of the dataset, and of its folder in ``data``.
        data: the data folder.
        out: folder of the experiment.
        settings: of ``prepare``.
        options: of the dataset's reader.

    Raises:
        ConfigError: no such dataset, prepared without labels, or a wrong setting.
        DataError: another layout, or damaged files.
        ResourceError: disk.
    """
    folder = data / name
    if not (folder / manifest.FILE).is_file():
        folder = out / FOLDER / name
        _prepare([data / name], folder, settings, dataset=name, options=format_options(options))
    elif settings or options:
        console.note(f"{folder} is prepared already: settings of prepare and of its reader have no effect")
    if not (folder / LABELS).is_file():
        raise ConfigError(
            f"{folder} is prepared but has no {LABELS}; prepare it with `maeface prepare --dataset {name}`"
        )
    return PreparedDataset(name, folder, folder / LABELS)


def format_options(options: Mapping[str, Any]) -> list[str]:
    """Return the options of a reader as ``key=value``, as on the command line."""
    return [f"{key}={json.dumps(value)}" for key, value in options.items()]


def prepare_faces(name: str, data: Path, out: Path, settings: Tree) -> Path:
    """Return a prepared folder of face images without labels; prepare it into ``out`` if needed."""
    folder = data / name
    if (folder / manifest.FILE).is_file():
        return folder
    target = out / FOLDER / name
    _prepare([folder], target, settings)
    return target


def _prepare(sources: Sequence[Path], folder: Path, settings: Tree, **options: Any) -> None:  # noqa: ANN401
    """Run ``prepare``; wait while another process does it, and then find it done."""
    checked, told = config.check(prepare.Settings, settings, "prepare"), False
    console.note(f"prepare {folder.name}")
    while True:
        try:
            console.note(str(prepare.run(sources, folder, checked, **options)))
            return
        except InUseError:
            if not told:
                console.note(f"waiting for another process that prepares {folder}")
            told = True
            time.sleep(WAIT_S)
