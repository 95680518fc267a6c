"""What an experiment is: the recipe, and the overrides that reach every training of it.

    benchmark   a dataset, a protocol (its folds) and a task; a recipe has one, or names others' (``of``)
    row         how the encoder came about, and what is changed for it
    part        one benchmark, one row, one fold, one seed: one training

So an experiment is rows x benchmarks x folds x seeds.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from maeface import config
from maeface.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Tree = dict[str, Any]

REACH_ALL = ("finetune", "pretrain")
"""Sections whose overrides are laid over every row, whatever the row itself says."""


class Row(config.Settings):
    """One line of the experiment's table."""

    name: Name
    """Of the folder of its parts."""
    method: str = ""
    """What the paper's table calls it; empty: as ``name``."""
    init: str = "weights"
    """``weights`` (of ``--weights FILE``), another name (of ``--weights NAME=FILE``), ``random``,
    ``pretrained`` (by this row's own pre-training) or ``pretrained:ROW`` (by another's)."""
    published: dict[str, float] = Field(default_factory=dict)
    """Benchmark -> the mean that the paper prints, in the paper's unit."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the training faces that is learned from, where the row is a point of a curve."""
    finetune: Tree = Field(default_factory=dict)
    """What is other than in the experiment's ``finetune``, section by section."""
    pretrain: Tree = Field(default_factory=dict)


class Experiment(config.Settings):
    """A recipe of ``maeface reproduce`` of kind "experiment"."""

    verb: Literal["reproduce"] = "reproduce"
    kind: Literal["experiment"] = "experiment"
    name: Name = "experiment"
    title: str = ""
    cost: str = ""
    dataset: str = ""
    protocol: str = ""
    """Of ``facts.protocol``; empty: one fold that trains on everybody, for ``tested``."""
    task: Literal["detection", "intensity"] = "detection"
    tested: str = ""
    """Another dataset to test on, all of it; empty: the test subjects of ``dataset``."""
    same_people: bool = False
    """Allow ``tested`` to show people of ``dataset``."""
    of: tuple[str, ...] = ()
    """Recipes whose benchmarks these are, with their settings; ``dataset`` and so on are then theirs."""
    like: tuple[str, ...] = ()
    """Recipes of which the one with the same dataset and task, if any, gives the settings."""
    published: str = ""
    """The paper's table or figure (``facts.published``)."""
    seeds: tuple[int, ...] = (0,)
    folds: tuple[str, ...] = ()
    """Only these folds; empty: all."""
    selection: Literal["validation", "test"] = "validation"
    """Which part chooses the epoch: see ``config.Finetune``. ``--selection paper`` is "test"."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability from which an action unit counts as present. Paper silent: 0.5, as most of the field."""
    epochs_factor: Annotated[float, Field(gt=0)] = 1.0
    """Times the epochs, the warm-up and the epochs between evaluations of every row: for a rehearsal."""
    note: str = ""
    """What a reader of the numbers has to know, such as that the faces are rendered."""
    prepare: Tree = Field(default_factory=dict)
    """Settings of ``maeface prepare`` for what is not prepared yet."""
    options: dict[str, Tree] = Field(default_factory=dict)
    """Dataset -> options of its reader, such as ``options.disfa.camera``."""
    finetune: Tree = Field(default_factory=dict)
    """Settings of ``config.Finetune`` that all rows share."""
    pretrain: Tree = Field(default_factory=dict)
    """Settings of ``config.Pretrain`` that all rows share."""
    rows: tuple[Row, ...] = (Row(name="mae-face", method="MAE-Face"),)
    forced: Tree = Field(default_factory=dict)
    """Overrides of the command line, over everything else: ``finetune`` and ``pretrain``."""

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError("rows: two have one name")
        if not self.rows or not self.seeds:
            raise ValueError("rows and seeds need at least one each")
        if self.tested and self.protocol:
            raise ValueError(
                "a test on another dataset has no protocol; --train and --test are of cross, not of this"
            )
        if self.tested and self.selection == "test":
            raise ValueError(
                "across datasets the epoch is chosen on validation subjects of the training dataset; "
                "leave out --selection paper"
            )
        for row in self.rows:
            _, colon, other = row.init.partition(":")
            if colon and other not in names:
                raise ValueError(f"rows.{row.name}: init {row.init!r} names no row; rows are {names}")
        return self


class Figure(config.Settings):
    """A recipe of ``maeface reproduce`` of kind "figure"."""

    verb: Literal["reproduce"] = "reproduce"
    kind: Literal["figure"] = "figure"
    name: Name = "figure"
    title: str = ""
    cost: str = ""
    figure: Literal["reconstructions", "classes", "scores_and_classes", "clip"] = "reconstructions"
    """``reconstructions``: masked, painted and true faces (Fig. 1, 5, 8); ``classes``: how often each
    action unit is present (Fig. 4); ``scores_and_classes``: the same under the F1 of methods (Fig. 3);
    ``clip``: intensity over a clip, as labelled and as estimated (Fig. 6)."""
    datasets: tuple[str, ...] = ("faces",)
    """Folders of the data folder that are drawn from."""
    weights: tuple[str, ...] = ("weights",)
    """Names of masked autoencoders, of ``--weights NAME=FILE``: a column of pictures for each."""
    mask_ratios: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.75,)
    faces: Annotated[int, Field(ge=1)] = 6
    seed: int = 0
    """Draws the faces and the masks."""
    published: tuple[str, ...] = ()
    """Tables of the paper whose methods are shown."""
    methods: tuple[str, ...] = ()
    """Of these tables; empty: all."""
    of: str = ""
    """An experiment whose parts are shown; it is run first, unless it is finished."""
    subject: str = ""
    clip: str = ""
    """Of ``subject``; empty: the clip in which ``au`` varies most."""
    au: int = 12
    prepare: Tree = Field(default_factory=dict)
    options: dict[str, Tree] = Field(default_factory=dict)


def load(recipe: str, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment; overrides of its trainings are kept apart, to be laid over every row.

    Args:
        recipe: the name of a recipe of the package, or the path of a TOML file.
        overrides: ``key=value`` each. ``finetune.optim.epochs=2`` and ``pretrain....`` reach every row.

    Raises:
        ConfigError: as ``config.load``. The settings of the trainings are checked by ``plan``.
    """
    forced = [text for text in overrides if text.partition(".")[0].strip() in REACH_ALL]
    plain = [text for text in overrides if text not in forced]
    experiment = config.load(Experiment, recipe, plain)
    values = experiment.model_dump() | {"forced": merged(experiment.forced, config.assigned(forced))}
    if experiment.name == "experiment":
        values["name"] = Path(recipe).stem
    return config.check(Experiment, values, f"recipe {recipe}")


def benchmarks(experiment: Experiment) -> tuple[Experiment, ...]:
    """The experiment cut into those of one benchmark each: theirs under its own rows and choices.

    Raises:
        ConfigError: ``of`` names a recipe that is none or has no benchmark of its own.
    """
    if not experiment.of:
        return (_settled(experiment),)
    found = []
    for name in experiment.of:
        base = load(name)
        if base.of:
            raise ConfigError(f"{experiment.name}: of {name!r}: that recipe has no benchmark of its own")
        own = {key: getattr(base, key) for key in ("name", "dataset", "protocol", "task")}
        own |= {
            "of": (),
            "finetune": merged(base.finetune, experiment.finetune),
            "options": merged(base.options, experiment.options),
        }
        found.append(experiment.model_copy(update=own))
    return tuple(found)


def merged(under: Tree, over: Tree) -> Tree:
    """``over`` laid over ``under``, section by section."""
    return config.merge(under, over)


def _settled(experiment: Experiment) -> Experiment:
    """With the settings of the recipe that it is like."""
    for name in experiment.like:
        base = load(name)
        if (base.dataset, base.task) == (experiment.dataset, experiment.task):
            return experiment.model_copy(update={"finetune": merged(base.finetune, experiment.finetune)})
    return experiment
