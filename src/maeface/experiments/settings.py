"""The settings of an experiment: its recipe, and the overrides that reach all of its trainings.

    benchmark   a dataset, a protocol (its folds) and a task; a recipe has one, or names recipes (``of``)
    row         where the encoder comes from, and which settings of the training differ
    part        one benchmark, one row, one fold and one seed: one training

An experiment is rows x benchmarks x folds x seeds.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from maeface import config, nested
from maeface.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Tree = dict[str, Any]

TRAINING_SECTIONS = ("finetune", "pretrain")
"""Sections whose overrides are merged into every row, after the row's own settings."""


class Row(config.Settings):
    """One line of the experiment's table."""

    name: Name
    """Also the name of the folder of its parts."""
    method: str = ""
    """Its name in the paper's table; empty: the same as ``name``."""
    init: str = "weights"
    """``weights`` (of ``--weights FILE``), another name (of ``--weights NAME=FILE``), ``random``,
    ``pretrained`` (by this row's own pre-training) or ``pretrained:ROW`` (by another row's)."""
    published: dict[str, float] = Field(default_factory=dict)
    """Benchmark -> the mean that the paper prints, in the paper's unit."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fraction of the training faces that is used, where the row is a point of a curve."""
    finetune: Tree = Field(default_factory=dict)
    """Settings that differ from the experiment's ``finetune``, section by section."""
    pretrain: Tree = Field(default_factory=dict)
    """Settings that differ from the experiment's ``pretrain``, section by section."""


class Experiment(config.Settings):
    """A recipe of ``maeface reproduce`` of kind "experiment"."""

    verb: Literal["reproduce"] = "reproduce"
    kind: Literal["experiment"] = "experiment"
    name: Name = "experiment"
    title: str = ""
    cost: str = ""
    dataset: str = ""
    protocol: str = ""
    """Of ``facts.protocol``; empty: one fold that trains on all subjects, to be tested on ``tested``."""
    task: Literal["detection", "intensity"] = "detection"
    tested: str = ""
    """Another dataset to test on, all of it; empty: the test subjects of ``dataset``."""
    also: tuple[str, ...] = ()
    """Further datasets to train on, with ``tested``."""
    leave_out: tuple[str, ...] = ()
    """Datasets of which each in turn is ``tested``, and all others are trained on."""
    same_people: bool = False
    """Allow ``tested`` to show subjects of ``dataset``."""
    of: tuple[str, ...] = ()
    """Recipes whose benchmarks and settings are used; ``dataset`` and so on then come from them."""
    like: tuple[str, ...] = ()
    """Recipes of which the one with the same dataset and task, if any, gives the settings."""
    published: str = ""
    """The paper's table or figure (``facts.published``)."""
    seeds: tuple[int, ...] = (0,)
    folds: tuple[str, ...] = ()
    """Only these folds; empty: all."""
    selection: Literal["validation", "test"] = "validation"
    """Which faces choose the epoch: see ``config.Finetune``. ``--selection paper`` is "test"."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability from which an action unit counts as present. Paper silent: 0.5, the usual value."""
    epochs_factor: Annotated[float, Field(gt=0)] = 1.0
    """Multiplies the epochs, the warm-up and the evaluation interval of every row: for a rehearsal."""
    note: str = ""
    """A remark that the report shows above the numbers, for example that the faces are rendered."""
    prepare: Tree = Field(default_factory=dict)
    """Settings of ``maeface prepare`` for datasets that are not prepared yet."""
    options: dict[str, Tree] = Field(default_factory=dict)
    """Dataset -> options of its reader, such as ``options.disfa.camera``."""
    finetune: Tree = Field(default_factory=dict)
    """Settings of ``config.Finetune`` that all rows share."""
    pretrain: Tree = Field(default_factory=dict)
    """Settings of ``config.Pretrain`` that all rows share."""
    rows: tuple[Row, ...] = (Row(name="mae-face", method="MAE-Face"),)
    forced: Tree = Field(default_factory=dict)
    """Overrides of the command line, ``finetune`` and ``pretrain``; they take precedence over all else."""

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The datasets whose faces are trained on."""
        return (self.dataset, *self.also)

    @model_validator(mode="after")
    def _check_consistency(self) -> "Experiment":
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError("rows: two rows have the same name")
        if not self.rows or not self.seeds:
            raise ValueError("rows and seeds need at least one each")
        if (self.tested or self.leave_out) and self.protocol:
            raise ValueError(
                "a test on another dataset has no protocol; --train and --test belong to the recipe cross"
            )
        if (self.tested or self.leave_out) and self.selection == "test":
            raise ValueError(
                "in a test on another dataset, validation subjects of the training dataset choose the "
                "epoch; leave out --selection paper"
            )
        if self.also and not self.tested:
            raise ValueError("also: training on further datasets needs another one to test on (tested)")
        if self.leave_out and (self.dataset or self.tested or self.of or len(set(self.leave_out)) < 2):
            raise ValueError(
                "leave_out: expected two datasets or more, and no dataset, tested or of beside it"
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
    """``reconstructions``: masked, reconstructed and original faces (Fig. 1, 5, 8); ``classes``: how often
    each action unit is present (Fig. 4); ``scores_and_classes``: the same with the F1 of methods (Fig. 3);
    ``clip``: labelled and predicted intensity over a clip (Fig. 6)."""
    datasets: tuple[str, ...] = ("faces",)
    """Folders of the data folder that the faces or labels are taken from."""
    weights: tuple[str, ...] = ("weights",)
    """Names of masked autoencoders, of ``--weights NAME=FILE``: a column of pictures for each."""
    mask_ratios: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.75,)
    faces: Annotated[int, Field(ge=1)] = 6
    seed: int = 0
    """Draws the faces and the masks."""
    published: tuple[str, ...] = ()
    """Tables of the paper whose methods are shown."""
    methods: tuple[str, ...] = ()
    """Methods of these tables that are shown; empty: all."""
    of: str = ""
    """An experiment whose parts are shown; it is run first, unless it is finished."""
    subject: str = ""
    clip: str = ""
    """A clip of ``subject``; empty: the clip in which ``au`` varies most."""
    au: int = 12
    prepare: Tree = Field(default_factory=dict)
    options: dict[str, Tree] = Field(default_factory=dict)


def load(recipe: str, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment; overrides of its trainings are kept apart, to be merged into every row.

    Args:
        recipe: the name of a recipe of the package, or the path of a TOML file.
        overrides: ``key=value`` each. ``finetune.optim.epochs=2`` and ``pretrain....`` reach every row.

    Raises:
        ConfigError: as ``config.load``. The settings of the trainings are checked by ``running.plan``.
    """
    forced = [text for text in overrides if text.partition(".")[0].strip() in TRAINING_SECTIONS]
    other = [text for text in overrides if text not in forced]
    experiment = config.load(Experiment, recipe, other)
    values = experiment.model_dump()
    values["forced"] = nested.merge(experiment.forced, nested.apply_overrides(forced))
    if experiment.name == "experiment":
        values["name"] = Path(recipe).stem
    return config.check(Experiment, values, f"recipe {recipe}")


def split_benchmarks(experiment: Experiment) -> tuple[Experiment, ...]:
    """Return one experiment for each benchmark, with the rows and choices of ``experiment``.

    Raises:
        ConfigError: ``of`` names something that is not a recipe, or a recipe without a benchmark of its own.
    """
    if names := experiment.leave_out:
        lists = [[name for name in names if name != tested] for tested in names]
        return tuple(
            _with_settings_of_like(
                experiment.model_copy(
                    update={
                        "name": f"{experiment.name}-{tested}",
                        **{"dataset": trained[0], "also": tuple(trained[1:]), "tested": tested},
                        "leave_out": (),
                    }
                )
            )
            for tested, trained in zip(names, lists, strict=True)
        )
    if not experiment.of:
        return (_with_settings_of_like(experiment),)
    benchmarks = []
    for name in experiment.of:
        base = load(name)
        if base.of:
            raise ConfigError(f"{experiment.name}: of {name!r}: that recipe has no benchmark of its own")
        update = {key: getattr(base, key) for key in ("name", "dataset", "protocol", "task")}
        update |= {
            "of": (),
            "finetune": nested.merge(base.finetune, experiment.finetune),
            "options": nested.merge(base.options, experiment.options),
        }
        benchmarks.append(experiment.model_copy(update=update))
    return tuple(benchmarks)


def _with_settings_of_like(experiment: Experiment) -> Experiment:
    """Add the settings of the recipe in ``like`` that has the same dataset and task."""
    for name in experiment.like:
        base = load(name)
        if (base.dataset, base.task) == (experiment.dataset, experiment.task):
            finetune = nested.merge(base.finetune, experiment.finetune)
            return experiment.model_copy(update={"finetune": finetune})
    return experiment
