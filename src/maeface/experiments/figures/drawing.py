"""A figure of the paper: gets the crops, labels, weights or parts that it needs, and has it drawn."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maeface import console, facts, files
from maeface.data.readers import raw_dataset
from maeface.errors import ConfigError
from maeface.experiments import settings
from maeface.experiments.figures import pictures
from maeface.experiments.reporting import results
from maeface.experiments.reporting.results import Part
from maeface.experiments.running import ready, runner
from maeface.experiments.settings import Figure
from maeface.model import weights as stored

LABELS = "labels"


@dataclass(frozen=True)
class Drawn:
    """What was drawn: the file."""

    path: Path

    def __str__(self) -> str:
        """Where it is."""
        return str(self.path)


def run(figure: Figure, data: Path, out: Path, weights: Mapping[str, str]) -> Drawn:
    """Draw a figure.

    Args:
        figure: from ``config.load(Figure, recipe)``.
        data: folder with the datasets by name, raw or prepared.
        out: folder for the figure and what it needs; for one of an experiment's parts also the experiment's.
        weights: name -> file or packaged name.

    Raises:
        ConfigError: a dataset or weights are missing.
        DataError: damaged data, or nothing to draw.
        WeightsError: weights that cannot be used.
        ResourceError: disk, memory, device.
    """
    if not data.is_dir():
        raise ConfigError(f"no such folder: {data}; give the folder with the datasets (--data)")
    if figure.of:
        parts = _parts(figure, data, out, weights)
        return Drawn(pictures.draw(figure, {}, {}, out, parts))
    there = [name for name in figure.datasets if ready.there(name, data)]
    for name in figure.datasets:
        if name not in there:
            console.say(f"left out: {ready.lacking(name, data)}")
    if not there:
        raise ConfigError(f"{figure.name}: {data} has none of {', '.join(figure.datasets)}")
    folder = _crops if figure.figure == "reconstructions" else _labels
    folders = {name: folder(name, figure, data, out) for name in there}
    models = {name: stored.find(path) for name, path in weights.items()}
    shown = figure.model_copy(update={"datasets": tuple(there)})
    return Drawn(pictures.draw(shown, folders, models, out))


def _parts(figure: Figure, data: Path, out: Path, weights: Mapping[str, str]) -> Sequence[Part]:
    """The parts of the experiment that is drawn: those that ``out`` holds, else it is run below ``out``."""
    record = out / runner.RECORD
    if record.is_file() and json.loads(record.read_text(encoding="utf-8"))["name"] == figure.of:
        if found := results.load(out):
            return found
    console.say(f"{figure.name} draws {figure.of}: it is run first, unless it is finished")
    console.say(str(runner.run(settings.load(figure.of), data, out / figure.of, weights)))
    return results.load(out / figure.of)


def _crops(name: str, figure: Figure, data: Path, out: Path) -> Path:
    if name in facts.datasets() and facts.dataset(name).kind == "au":
        return ready.dataset(name, data, out, figure.prepare, figure.options.get(name, {})).folder
    return ready.faces(name, data, out, figure.prepare)


def _labels(name: str, figure: Figure, data: Path, out: Path) -> Path:
    """A folder with the labels of a dataset; where it is not prepared, they are read without pictures."""
    if (data / name / ready.LABELS).is_file():
        return data / name
    read = raw_dataset.read(name, data / name, ready.overrides(figure.options.get(name, {})))
    if read.labels is None:
        raise ConfigError(f"{figure.name}: {name} has no labels")
    with files.atomic(out / LABELS / name / ready.LABELS) as temporary:
        read.labels.to_parquet(temporary, index=False)
    return out / LABELS / name
