"""``maeface reproduce``: an experiment or a figure of the paper, whole.

What is made, and how, is a recipe; its ``kind`` says what it is of. Whatever it is, the same call goes on
where it was stopped, and repeats nothing that is finished.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from maeface import checks, config
from maeface.errors import ConfigError
from maeface.experiments import settings
from maeface.experiments.figures import drawing
from maeface.experiments.running import runner
from maeface.experiments.settings import Experiment, Figure

Recipe = Experiment | Figure
Outcome = runner.Summary | drawing.Drawn


def load(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """The settings of a recipe, of whatever kind it is.

    Raises:
        ConfigError: as ``config.load``.
    """
    values = config.read(recipe)
    if (verb := values.get("verb", "reproduce")) != "reproduce":
        raise ConfigError(f"{recipe} is a recipe of `maeface {verb}`; give it there")
    kind = values.get("kind")
    if kind == "experiment":
        return settings.load(recipe, overrides)
    if kind == "figure":
        return config.load(Figure, recipe, overrides)
    raise ConfigError(f"{recipe}: kind is {kind!r}; expected experiment or figure")


def run(
    recipe: Recipe,
    data: Path,
    out: Path,
    weights: Mapping[str, str] | None = None,
) -> Outcome:
    """Make what a recipe is of.

    Args:
        recipe: from ``load``.
        data: folder with what it is made from: datasets by name (``data/bp4d``, ...), as they are handed out
            or as ``prepare`` left them.
        out: folder for everything.
        weights: name -> file or packaged name of encoders to start from (``named``).

    Raises:
        ConfigError: ``data`` or ``weights`` lack something, or ``out`` holds a run with other settings.
        DataError: data that is damaged or laid out otherwise.
        WeightsError: weights that cannot be used.
        ResourceError: disk, memory, device, or ``out`` is in use.
    """
    checks.inputs([data], "folder", advice="give the folder with what it is made from (--data)")
    checks.output_folders(out)
    weights = weights or {}
    if isinstance(recipe, Figure):
        return drawing.run(recipe, data, out, weights)
    return runner.run(recipe, data, out, weights)


def named(given: Sequence[str]) -> dict[str, str]:
    """``--weights`` of the command line by name: ``FILE`` is called "weights", ``in1k=FILE`` "in1k".

    Raises:
        ConfigError: two of one name.
    """
    found: dict[str, str] = {}
    for text in given:
        match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9_-]*)=(.+)", text)
        name, file = (match[1], match[2]) if match and not Path(text).exists() else ("weights", text)
        if name in found:
            raise ConfigError(f"--weights: two are called {name!r}; name each, as in --weights in1k=FILE")
        found[name] = file
    return found
