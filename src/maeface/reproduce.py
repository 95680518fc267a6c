"""``maeface reproduce``: a whole experiment or a figure of the paper.

A recipe says what is made; its ``kind`` is "experiment" or "figure". The same call continues where it was
stopped, and repeats nothing that is finished.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from maeface import checks, config, process
from maeface.errors import ConfigError
from maeface.experiments import settings
from maeface.experiments.figures import figure
from maeface.experiments.running import runner
from maeface.experiments.settings import Experiment, Figure
from maeface.paths import StrPath

Recipe = Experiment | Figure


def load(recipe: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read the settings of a recipe of either kind.

    Args:
        recipe: the name of a recipe of the package, or the path of a TOML file.
        overrides: ``key=value`` each, as from ``--set``.

    Raises:
        ConfigError: as ``config.load``, or a recipe of another verb.
    """
    values = config.read(recipe, "reproduce")
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
    data: StrPath,
    out: StrPath,
    weights: Mapping[str, str] | None = None,
) -> runner.Summary | Path:
    """Run an experiment, or draw a figure.

    Args:
        recipe: from ``load``.
        data: folder with the datasets by name (``data/bp4d``, ...), as they are handed out or as ``prepare``
            wrote them.
        out: folder for all results.
        weights: name -> file or packaged name of encoders to start from (``parse_weights``).

    Returns:
        A summary of the experiment, or the file of the figure.

    Raises:
        ConfigError: ``data`` or ``weights`` lack something, ``out`` holds a run with other settings, or
            ``torchrun`` has started several processes.
        DataError: data that are damaged or in another layout.
        WeightsError: weights that cannot be used.
        ResourceError: disk, memory, device, or ``out`` is in use.
    """
    data, out = Path(data), Path(out)
    process.require_one("reproduce", ", once for each GPU: the calls share the parts")
    checks.require_inputs([data], "folder", advice="give the folder with the datasets (--data)")
    checks.require_writable_folders(out)
    weights = weights or {}
    if isinstance(recipe, Figure):
        return figure.run(recipe, data, out, weights)
    return runner.run(recipe, data, out, weights)


def parse_weights(options: Sequence[str]) -> dict[str, str]:
    """Return the ``--weights`` options by name: ``FILE`` is called "weights", ``in1k=FILE`` "in1k".

    Raises:
        ConfigError: two have the same name.
    """
    weights: dict[str, str] = {}
    for option in options:
        match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9_-]*)=(.+)", option)
        if Path(option).exists():  # a file whose name has "=" in it
            match = None
        name, file = (match[1], match[2]) if match else ("weights", option)
        if name in weights:
            raise ConfigError(f"--weights: two are called {name!r}; name each, as in --weights in1k=FILE")
        weights[name] = file
    return weights
