"""From a recipe and the data that are there to the parts: every training, its settings, its place."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from maeface import config, facts
from maeface.errors import ConfigError, DataError
from maeface.experiments.reporting.results import FOLDER
from maeface.experiments.running import cross
from maeface.experiments.settings import Experiment, Row, Tree, merged
from maeface.train.run import FREE

PRETRAINED = "pretrained"
EVERYBODY = "all"
"""The fold of an experiment without a protocol."""
SHOWN = 6

AnySettings = TypeVar("AnySettings", config.Finetune, config.Pretrain)


@dataclass(frozen=True)
class Start:
    """Where the encoder of a row comes from.

    Attributes:
        row: whose pre-training it is; empty for given weights.
        name: of ``--weights``, or "random".
        weights: file, packaged name or "random"; empty where a row's pre-training makes it, or it is lacking.
    """

    row: str = ""
    name: str = ""
    weights: str = ""

    @property
    def lacking(self) -> str:
        """What to do where nothing was given; empty if all is well."""
        if self.row or self.weights:
            return ""
        return f"give --weights {'' if self.name == 'weights' else self.name + '='}FILE"


@dataclass(frozen=True)
class Fold:
    """Who is tested; all others of the dataset are learned from.

    Attributes:
        name: as the protocol calls it.
        test: subjects that are there.
        note: what of the fold is not there; empty for nothing.
    """

    name: str
    test: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Part:
    """One training of an experiment.

    Attributes:
        benchmark: the experiment of one dataset, protocol and task that it belongs to.
        row: of the experiment.
        fold: who is tested.
        seed: of the training.
        settings: of the fine-tuning.
        start: where its encoder comes from.
        place: its folder, relative to the experiment's.
    """

    benchmark: Experiment
    row: Row
    fold: Fold
    seed: int
    settings: config.Finetune
    start: Start
    place: Path

    def __str__(self) -> str:
        """In a few words."""
        benchmark = self.benchmark
        where = benchmark.tested or benchmark.protocol
        what = f"{benchmark.dataset} {benchmark.task}, {where} {self.fold.name}"
        return f"{self.row.name}, {what}, seed {self.seed}"


def parts(
    benchmark: Experiment, subjects: Sequence[str], weights: Mapping[str, str], several: bool
) -> Iterator[Part]:
    """The parts of one benchmark, fold by fold within a row; also those whose start is lacking.

    Args:
        benchmark: from ``settings.benchmarks``.
        subjects: who the labelled faces of its dataset show.
        weights: as given, by name.
        several: whether the experiment has other benchmarks, so that folders must tell them apart.

    Raises:
        ConfigError: settings of a row that are wrong, no such protocol or fold.
        DataError: nobody of the protocol is there.
    """
    folds = folds_of(benchmark, subjects)
    for row in benchmark.rows:
        settings = finetuning(benchmark, row)
        base = Path(FOLDER, benchmark.name, row.name) if several else Path(FOLDER, row.name)
        for fold in folds:
            for seed in benchmark.seeds:
                data = settings.data.model_copy(update={"test_subjects": fold.test})
                run = settings.run.model_copy(update={"seed": seed})
                yield Part(
                    benchmark,
                    row,
                    fold,
                    seed,
                    settings.model_copy(update={"data": data, "run": run}),
                    start(row, weights),
                    base / f"{fold.name}-s{seed}",
                )


def folds_of(benchmark: Experiment, subjects: Sequence[str]) -> list[Fold]:
    """Who is tested in each fold, of those who are there.

    Raises:
        ConfigError: no such protocol or fold.
        DataError: nobody of the protocol is there, or nobody else to learn from.
    """
    if benchmark.tested:
        return [Fold(EVERYBODY, ())]
    protocol = facts.protocol(benchmark.dataset, benchmark.protocol)
    if unknown := sorted(set(benchmark.folds) - set(protocol)):
        raise ConfigError(
            f"protocol {benchmark.protocol} of {benchmark.dataset} has no fold {', '.join(unknown)}; "
            f"it has {', '.join(protocol)}"
        )
    there, found = set(subjects), []
    for name, tested in protocol.items():
        test = tuple(subject for subject in tested if subject in there)
        if not test or (benchmark.folds and name not in benchmark.folds):
            continue
        absent = [subject for subject in tested if subject not in there]
        note = f"{name}: {len(absent)} of {len(tested)} test subjects are not there" if absent else ""
        found.append(Fold(name, test, f"{note} ({_few(absent)})" if note else ""))
    if not found:
        raise DataError(
            f"{benchmark.dataset}: none of the test subjects of protocol {benchmark.protocol} is there; "
            f"the labelled faces show {_few(sorted(there))}"
        )
    return found


def absent(benchmark: Experiment, subjects: Sequence[str]) -> tuple[str, ...]:
    """Names of the folds that cannot be run, as none of their test subjects is there."""
    if benchmark.tested:
        return ()
    wanted = benchmark.folds or tuple(facts.protocol(benchmark.dataset, benchmark.protocol))
    there = {fold.name for fold in folds_of(benchmark, subjects)}
    return tuple(name for name in wanted if name not in there)


def finetuning(benchmark: Experiment, row: Row) -> config.Finetune:
    """The settings of a row's fine-tuning, without fold and seed.

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """
    known = facts.dataset(benchmark.dataset)
    aus = known.aus_occurrence if benchmark.task == "detection" else known.aus_intensity
    if benchmark.tested:
        aus = cross.shared_aus(benchmark)
    chosen: Tree = {
        "title": f"{benchmark.name}, {row.name}",
        "selection": benchmark.selection,
        "patience": None,
        "model": {"task": benchmark.task, "aus": aus},
    }
    settings = _laid(config.Finetune, benchmark, row, "finetune", chosen)
    how = settings.data
    if how.folds is not None or how.train_subjects or how.test_subjects:
        raise ConfigError(
            f"{benchmark.name}, row {row.name}: finetune.data: folds, train_subjects and test_subjects are "
            "the protocol's; leave them out, and choose with --set protocol=... or --set folds=..."
        )
    if settings.model.task != benchmark.task:
        raise ConfigError(
            f"{benchmark.name}, row {row.name}: finetune.model.task is {settings.model.task}, but the "
            f"experiment's task is {benchmark.task}; leave it out"
        )
    return settings


def pretraining(experiment: Experiment, row: Row) -> config.Pretrain:
    """The settings of a row's own pre-training; ``init`` is still a name of ``--weights``.

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """
    return _laid(config.Pretrain, experiment, row, "pretrain", {"title": f"{experiment.name}, {row.name}"})


def start(row: Row, weights: Mapping[str, str]) -> Start:
    """Where the encoder of a row comes from."""
    kind, _, other = row.init.partition(":")
    if kind == PRETRAINED:
        return Start(row=other or row.name)
    return given(row.init, weights)


def given(name: str, weights: Mapping[str, str]) -> Start:
    """Weights of the command line by their name; "random" needs none."""
    return Start(name=name, weights="random" if name == "random" else weights.get(name, ""))


def stamp(settings: config.Finetune | config.Pretrain, inputs: Mapping[str, Any]) -> str:
    """SHA-256 of all that counts: what a finished part has to have been made with, not to be made again."""
    values = {
        key: value
        for key, value in config.flatten(settings.model_dump(mode="json")).items()
        if key not in FREE
    }
    text = json.dumps({"settings": values, "inputs": dict(inputs)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _laid(
    kind: type[AnySettings], experiment: Experiment, row: Row, section: str, chosen: Tree
) -> AnySettings:
    """Defaults, the experiment, its row, made shorter; and what the command line says over all of it."""
    where = f"{experiment.name}, row {row.name}: {section}"
    values = merged(kind().model_dump(), chosen)
    values = merged(values, getattr(experiment, section))
    values = merged(values, getattr(row, section))
    values = _shortened(config.check(kind, values, where), experiment.epochs_factor).model_dump()
    return config.check(kind, merged(values, experiment.forced.get(section, {})), where)


def _shortened(settings: AnySettings, factor: float) -> AnySettings:
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


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
