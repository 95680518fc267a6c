"""Plan an experiment: every training, its settings, its encoder and its folder."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from maeface import config, facts, nested
from maeface.errors import ConfigError, DataError
from maeface.experiments.reporting.results import FOLDER
from maeface.experiments.settings import Experiment, Row, Tree
from maeface.train.run import MAY_CHANGE

PRETRAINED = "pretrained"
ALL_SUBJECTS = "all"
"""Name of the one fold of an experiment without a protocol."""
MAX_NAMES = 6
"""Subjects that a message names."""

TrainingSettings = TypeVar("TrainingSettings", config.Finetune, config.Pretrain)


@dataclass(frozen=True)
class Encoder:
    """Where the encoder of a row comes from.

    Attributes:
        row: the row whose pre-training makes it; empty where weights are given.
        name: the name in ``--weights``, or "random".
        weights: a file, the name of packaged weights or "random"; empty where a pre-training makes them, or
            where they are missing.
    """

    row: str = ""
    name: str = ""
    weights: str = ""

    @property
    def missing(self) -> str:
        """The option that has to be added; empty if nothing is missing."""
        if self.row or self.weights:
            return ""
        return f"give --weights {'' if self.name == 'weights' else self.name + '='}FILE"


@dataclass(frozen=True)
class Fold:
    """The test subjects of a fold; training uses all other subjects of the dataset.

    Attributes:
        name: as in the protocol.
        test: test subjects that the data have.
        note: which test subjects are missing; empty if none is.
    """

    name: str
    test: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class PlannedPart:
    """One training of an experiment.

    Attributes:
        benchmark: the experiment of one dataset, protocol and task that it belongs to.
        row: of the experiment.
        fold: with the test subjects.
        seed: of the training.
        settings: of the fine-tuning.
        encoder: where it comes from.
        folder: relative to the folder of the experiment.
    """

    benchmark: Experiment
    row: Row
    fold: Fold
    seed: int
    settings: config.Finetune
    encoder: Encoder
    folder: Path

    def __str__(self) -> str:
        """Describe the part in a few words."""
        benchmark = self.benchmark
        test = f"{benchmark.tested or benchmark.protocol} {self.fold.name}"
        trained = " and ".join(benchmark.trained_on)
        return f"{self.row.name}, {trained} {benchmark.task}, {test}, seed {self.seed}"


def plan_parts(
    benchmark: Experiment, subjects: Sequence[str], weights: Mapping[str, str], several: bool
) -> Iterator[PlannedPart]:
    """Yield the parts of one benchmark, fold by fold within a row; also those whose encoder is missing.

    Args:
        benchmark: from ``settings.split_benchmarks``.
        subjects: subjects of the labelled faces of its dataset.
        weights: name -> file, packaged name or "random".
        several: whether the experiment has other benchmarks, so that this one needs a folder of its own.

    Raises:
        ConfigError: wrong settings of a row, no such protocol or fold.
        DataError: the data have no test subject of the protocol.
    """
    folds = plan_folds(benchmark, subjects)
    for row in benchmark.rows:
        settings = finetune_settings(benchmark, row)
        base = Path(FOLDER, benchmark.name, row.name) if several else Path(FOLDER, row.name)
        for fold in folds:
            for seed in benchmark.seeds:
                data = settings.data.model_copy(update={"test_subjects": fold.test})
                run = settings.run.model_copy(update={"seed": seed})
                yield PlannedPart(
                    benchmark,
                    row,
                    fold,
                    seed,
                    settings.model_copy(update={"data": data, "run": run}),
                    find_encoder(row, weights),
                    base / f"{fold.name}-s{seed}",
                )


def plan_folds(benchmark: Experiment, subjects: Sequence[str]) -> list[Fold]:
    """Return the folds of a benchmark that have test subjects among ``subjects``.

    Raises:
        ConfigError: no such protocol or fold.
        DataError: no test subject of the protocol is among ``subjects``.
    """
    if benchmark.tested:
        return [Fold(ALL_SUBJECTS, ())]
    protocol = facts.protocol(benchmark.dataset, benchmark.protocol)
    if unknown := sorted(set(benchmark.folds) - set(protocol)):
        raise ConfigError(
            f"protocol {benchmark.protocol} of {benchmark.dataset} has no fold {', '.join(unknown)}; "
            f"it has {', '.join(protocol)}"
        )
    available, folds = set(subjects), []
    for name, tested in protocol.items():
        test = tuple(subject for subject in tested if subject in available)
        if not test or (benchmark.folds and name not in benchmark.folds):
            continue
        missing = [subject for subject in tested if subject not in available]
        note = f"{name}: {len(missing)} of {len(tested)} test subjects are missing" if missing else ""
        folds.append(Fold(name, test, f"{note} ({_shorten(missing)})" if note else ""))
    if not folds:
        raise DataError(
            f"{benchmark.dataset}: the data have none of the test subjects of protocol {benchmark.protocol}; "
            f"the labelled faces show {_shorten(sorted(available))}"
        )
    return folds


def find_missing_folds(benchmark: Experiment, subjects: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the folds that have no test subject among ``subjects``."""
    if benchmark.tested:
        return ()
    names = benchmark.folds or tuple(facts.protocol(benchmark.dataset, benchmark.protocol))
    planned = {fold.name for fold in plan_folds(benchmark, subjects)}
    return tuple(name for name in names if name not in planned)


def check_shared_subjects(benchmark: Experiment) -> tuple[str, ...]:
    """Return a note on subjects that are in the training and in the tested dataset; empty if none is.

    Raises:
        ConfigError: some are, and ``same_people`` does not allow it; or both are the same dataset.
    """
    lines, tested = [], benchmark.tested
    for name in benchmark.trained_on:
        if name == tested:
            raise ConfigError(f"--train and --test are both {name}: test on another dataset")
        both = facts.dataset(name).same_people.get(tested) or facts.dataset(tested).same_people.get(name)
        if not both:
            continue
        line = f"{len(both)} subjects are in {name} and in {tested} ({', '.join(both)})"
        if not benchmark.same_people:
            raise ConfigError(
                f"{line}: the test would show subjects of the training; --set same_people=true allows it"
            )
        lines.append(f"{line}: the test shows subjects of the training")
    return tuple(lines)


def finetune_settings(benchmark: Experiment, row: Row) -> config.Finetune:
    """Return the settings of a row's fine-tuning, without fold and seed.

    Raises:
        ConfigError: an unknown key, a value out of its range, or datasets without a common action unit.
    """
    fixed: Tree = {
        "title": f"{benchmark.name}, {row.name}",
        "selection": benchmark.selection,
        "patience": None,
        "model": {"task": benchmark.task, "aus": _aus(benchmark)},
    }
    settings = _resolve(config.Finetune, benchmark, row, "finetune", fixed)
    data = settings.data
    if data.folds is not None or data.train_subjects or data.test_subjects:
        raise ConfigError(
            f"{benchmark.name}, row {row.name}: finetune.data: the protocol sets folds, train_subjects and "
            "test_subjects; leave them out, and choose with --set protocol=... or --set folds=..."
        )
    if settings.model.task != benchmark.task:
        raise ConfigError(
            f"{benchmark.name}, row {row.name}: finetune.model.task is {settings.model.task}, but the "
            f"experiment's task is {benchmark.task}; leave it out"
        )
    return settings


def pretrain_settings(experiment: Experiment, row: Row) -> config.Pretrain:
    """Return the settings of a row's own pre-training; ``init`` is still a name in ``--weights``.

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """
    return _resolve(config.Pretrain, experiment, row, "pretrain", {"title": f"{experiment.name}, {row.name}"})


def find_encoder(row: Row, weights: Mapping[str, str]) -> Encoder:
    """Return where the encoder of a row comes from; ``weights`` as for ``plan_parts``."""
    kind, _, other = row.init.partition(":")
    if kind == PRETRAINED:
        return Encoder(row=other or row.name)
    return find_weights(row.init, weights)


def find_weights(name: str, weights: Mapping[str, str]) -> Encoder:
    """Return the encoder with this name in ``weights``; "random" is always available."""
    return Encoder(name=name, weights="random" if name == "random" else weights.get(name, ""))


def hash_settings(settings: config.Finetune | config.Pretrain, inputs: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all settings and inputs that influence a training.

    A finished part with the same hash need not be trained again.
    """
    flat = nested.flatten(settings.model_dump(mode="json"))
    values = {key: value for key, value in flat.items() if key not in MAY_CHANGE}
    text = json.dumps({"settings": values, "inputs": dict(inputs)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _aus(benchmark: Experiment) -> tuple[int, ...]:
    """Return the action units of the task; of a test on another dataset, those that all datasets have."""
    names = [*benchmark.trained_on, *([benchmark.tested] if benchmark.tested else [])]
    datasets = [facts.dataset(name) for name in names]
    aus = [one.aus_occurrence if benchmark.task == "detection" else one.aus_intensity for one in datasets]
    shared = tuple(au for au in aus[0] if all(au in other for other in aus))
    if len(names) > 1 and not shared:
        lists = [", ".join(facts.au_name(au) for au in one) or "none" for one in aus]
        raise ConfigError(
            f"{' and '.join(names)} share no action unit for {benchmark.task}; "
            f"they have {', and '.join(lists)}"
        )
    return shared


def _resolve(
    kind: type[TrainingSettings], experiment: Experiment, row: Row, section: str, fixed: Tree
) -> TrainingSettings:
    """Merge defaults, experiment and row, apply ``epochs_factor``, then merge the overrides."""
    where = f"{experiment.name}, row {row.name}: {section}"
    values = nested.merge(kind().model_dump(), fixed)
    values = nested.merge(values, getattr(experiment, section))
    values = nested.merge(values, getattr(row, section))
    values = _scale_epochs(config.check(kind, values, where), experiment.epochs_factor).model_dump()
    return config.check(kind, nested.merge(values, experiment.forced.get(section, {})), where)


def _scale_epochs(settings: TrainingSettings, factor: float) -> TrainingSettings:
    if factor == 1:
        return settings
    optim = settings.optim.model_copy(
        update={
            "epochs": max(1, round(settings.optim.epochs * factor)),
            "warmup_epochs": settings.optim.warmup_epochs * factor,
        }
    )
    every = max(1, round(settings.run.evaluate_every * factor))
    run = settings.run.model_copy(update={"evaluate_every": every})
    return settings.model_copy(update={"optim": optim, "run": run})


def _shorten(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
