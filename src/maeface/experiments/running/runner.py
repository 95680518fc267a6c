"""Runs an experiment part by part, going on where it was stopped, and writes its report.

    OUT/experiment.json          what is run: settings, weights, notes, and which rows are not run and why
    OUT/prepared/<dataset>/      crops and labels, where DIR has the dataset as it is handed out
    OUT/pretrained/<row>/        of rows with a pre-training of their own
    OUT/parts/<row>/<fold>-s<seed>/   a part: au/ (the training), faces.parquet, and, last, part.json
    OUT/parts/<benchmark>/<row>/...   the same, where there are several benchmarks
    OUT/report.html, report.md, report.tex, scores.csv

A part with its ``part.json`` is never made again. Parts are taken one by one under a lock of their own, so
several processes may work on one OUT, each on a GPU of its own.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from maeface import console, files, pretrain
from maeface.errors import ConfigError, ResourceError, WeightsError
from maeface.experiments import settings
from maeface.experiments.reporting import report, results
from maeface.experiments.running import cross, plan, ready, training
from maeface.experiments.running.plan import Part
from maeface.experiments.running.ready import Ready
from maeface.experiments.settings import Experiment
from maeface.model import zoo

RECORD = "experiment.json"
PRETRAINED = "pretrained"
FACES = "faces"


@dataclass(frozen=True)
class Summary:
    """What came of an experiment.

    Attributes:
        out: its folder.
        parts: finished ones, of this run and of earlier ones.
        done: those of this run.
        elsewhere: parts that another process is at.
        missing: row or benchmark that was not run -> why.
    """

    out: Path
    parts: int
    done: int
    elsewhere: int
    missing: Mapping[str, str]

    def __str__(self) -> str:
        """A line for people, and one for each thing that was left out."""
        line = f"{self.out / 'report.html'}: {self.parts} parts, {self.done} of them new"
        if self.elsewhere:
            line += f"; {self.elsewhere} are with another process: give the same command when it has ended"
        return "\n".join([line, *_lines(self.missing)])


@dataclass
class _Sweep:
    """An experiment as it runs."""

    experiment: Experiment
    data: Path
    out: Path
    weights: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    encoders: dict[str, str] = field(default_factory=dict)


def run(experiment: Experiment, data: Path, out: Path, weights: Mapping[str, str]) -> Summary:
    """Run every part of an experiment that is not finished, then write its report.

    Args:
        experiment: from ``settings.load``.
        data: folder with the datasets by name, raw or prepared; ``faces`` are those of pre-trainings.
        out: folder of the experiment.
        weights: name -> file, packaged name or "random".

    Raises:
        ConfigError: a dataset, weights or a setting is missing or wrong, or ``out`` holds something else.
        DataError: damaged data, or data laid out otherwise.
        WeightsError: weights that cannot be used.
        ResourceError: disk, memory, device.
    """
    sweep = _Sweep(experiment, data, out, weights)
    singles = settings.benchmarks(experiment)
    _check(sweep, singles)
    datasets = _datasets(sweep, singles)
    todo = _parts(sweep, singles, datasets)
    _record(sweep)
    for line in (*sweep.notes, *_lines(sweep.missing)):
        console.say(line)
    done, left = 0, dict[str, str]()
    for number, part in enumerate(todo, start=1):
        console.say(f"part {number}/{len(todo)}: {part}")
        with ExitStack() as stack:
            try:
                stack.enter_context(files.exclusive(out / part.place))
            except ResourceError as error:
                console.say(f"left to the process that is at it: {error}")
                left[str(part)] = "another process is at it"
                continue
            init = _encoder(sweep, part)
            done += training.finish(part, out, datasets, init, _notes(part, datasets, experiment))
    found = _asked(sweep, singles, results.load(out))
    if found:
        report.write(out, experiment, found, sweep.missing | left)
    return Summary(out, len(found), done, len(left), sweep.missing)


def _asked(sweep: _Sweep, singles: Sequence[Experiment], found: Sequence[results.Part]) -> list[results.Part]:
    """Finished parts of this recipe, not those of other folds, seeds or protocols that ``out`` holds."""
    protocols = {(single.name, single.protocol, single.task) for single in singles}
    rows = {row.name for row in sweep.experiment.rows}
    folds, seeds = sweep.experiment.folds, sweep.experiment.seeds
    asked = [
        part
        for part in found
        if (part.experiment, part.protocol, part.task) in protocols
        and part.row in rows
        and part.seed in seeds
        and (not folds or part.fold in folds)
    ]
    if others := len(found) - len(asked):
        console.say(f"{others} finished parts of other folds, seeds or protocols are not in the report")
    return asked


def _check(sweep: _Sweep, singles: Sequence[Experiment]) -> None:
    """Everything that can be known to be wrong before anything is read."""
    experiment = sweep.experiment
    if not sweep.data.is_dir():
        raise ConfigError(f"no such folder: {sweep.data}; give the folder with the datasets (--data)")
    _before(sweep)
    used = {"weights"} if any(row.init == "weights" for row in experiment.rows) else set()
    for row in experiment.rows:
        begin = plan.start(row, sweep.weights)
        if begin.row:
            owner = next(one for one in experiment.rows if one.name == begin.row)
            used.add(plan.pretraining(experiment, owner).init)
        else:
            used.add(begin.name)
        for single in singles:
            plan.finetuning(single, row)
    if unused := sorted(set(sweep.weights) - used):
        raise ConfigError(
            f"no row of {experiment.name} starts from weights called {', '.join(unused)}; "
            f"its rows start from {', '.join(sorted(used))}"
        )
    for file in sweep.weights.values():
        if file != "random":
            path = zoo.find(file)  # of packaged weights there may be several files, and none of this name
            if file not in zoo.names() and not path.exists() and not [*path.parent.glob(f"{path.stem}-*")]:
                raise WeightsError(f"no such file: {path}; give the file of the weights (--weights)")
    for single in singles:
        if single.tested:
            sweep.notes.extend(cross.people(single))


def _datasets(sweep: _Sweep, singles: Sequence[Experiment]) -> dict[str, Ready]:
    """What the benchmarks need, prepared; of several benchmarks, those whose data is not there are left out.

    Raises:
        ConfigError: nothing that is needed is there.
    """
    found: dict[str, Ready] = {}
    for single in singles:
        for name in filter(None, (single.dataset, single.tested)):
            if name in found:
                continue
            if ready.there(name, sweep.data):
                how = sweep.experiment.prepare, single.options.get(name, {})
                found[name] = ready.dataset(name, sweep.data, sweep.out, *how)
            elif len(singles) == 1:
                raise ConfigError(ready.lacking(name, sweep.data))
            else:
                sweep.missing[single.name] = ready.lacking(name, sweep.data)
    if not found:
        raise ConfigError("; ".join(sweep.missing.values()))
    return found


def _parts(sweep: _Sweep, singles: Sequence[Experiment], datasets: Mapping[str, Ready]) -> list[Part]:
    """The parts that can be run, row by row within a benchmark; what cannot is noted once for each row.

    Raises:
        ConfigError: none can be run.
    """
    found: list[Part] = []
    for single in singles:
        if not {single.dataset, single.tested or single.dataset} <= set(datasets):
            continue
        subjects = datasets[single.dataset].subjects()
        for name in plan.absent(single, subjects):
            sweep.missing[f"{single.name}, fold {name}"] = "none of its test subjects is there"
        for part in plan.parts(single, subjects, sweep.weights, len(singles) > 1):
            if part.fold.note and part.fold.note not in sweep.notes:
                sweep.notes.append(part.fold.note)
            if not (why := _lacking(sweep, part)):
                found.append(part)
            else:
                sweep.missing[part.row.method or part.row.name] = why
    if not found:
        raise ConfigError(f"{sweep.experiment.name}: {'; '.join(sweep.missing.values())}")
    return found


def _lacking(sweep: _Sweep, part: Part) -> str:
    """What a part needs and was not given."""
    if not part.start.row:
        return part.start.lacking
    row = next(row for row in sweep.experiment.rows if row.name == part.start.row)
    init = plan.pretraining(sweep.experiment, row).init
    if lack := plan.given(init, sweep.weights).lacking:
        return f"{lack} for its pre-training to start from, or --weights {init}=random"
    if not (sweep.data / FACES).is_dir():
        return f"its pre-training needs face images in {sweep.data / FACES}"
    return ""


def _encoder(sweep: _Sweep, part: Part) -> str:
    """The weights that a part starts from; a pre-training that makes them is run, once."""
    if not (name := part.start.row):
        return part.start.weights
    if name not in sweep.encoders:
        experiment = sweep.experiment
        row = next(row for row in experiment.rows if row.name == name)
        how = plan.pretraining(experiment, row)
        how = how.model_copy(update={"init": plan.given(how.init, sweep.weights).weights})
        console.say(f"pre-training of {name}")
        faces = ready.faces(FACES, sweep.data, sweep.out, experiment.prepare)
        sweep.encoders[name] = str(pretrain.run(how, [faces], sweep.out / PRETRAINED / name))
    return sweep.encoders[name]


def _notes(part: Part, datasets: Mapping[str, Ready], experiment: Experiment) -> list[str]:
    """What a reader of the part's numbers has to know."""
    tested = part.benchmark.tested or part.benchmark.dataset
    return [line for line in (experiment.note, part.fold.note, datasets[tested].note()) if line]


def _before(sweep: _Sweep) -> None:
    """Refuse the folder of another experiment."""
    path, name = sweep.out / RECORD, sweep.experiment.name
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if before.get("name", name) != name:
        raise ConfigError(f"{sweep.out} holds experiment {before['name']}; choose another --out for {name}")


def _record(sweep: _Sweep) -> None:
    """Write down what is run here."""
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


def _lines(missing: Mapping[str, str]) -> list[str]:
    return [f"not run: {name}: {why}" for name, why in missing.items()]
