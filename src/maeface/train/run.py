"""A run: its folder, its device and precision, the processes that train together, and how it is stopped.

RUN/settings.json         the settings as resolved, and the inputs (data, labels, initial weights)
RUN/environment.json      versions, device, commit, command line
RUN/weights.safetensors   the trained model, once the run is finished
RUN/milestones/           the weights every few epochs, if asked for
RUN/log.jsonl, what ``run.log`` asks for, RUN/checkpoints/, and files of the verb
"""

import hashlib
import json
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from maeface import config, console, files, nested
from maeface.errors import ConfigError
from maeface.model import weights
from maeface.model.au import AUModel
from maeface.model.device import choose_device, computes_bf16
from maeface.model.mae import MAE
from maeface.process import SAME_S
from maeface.train import checkpoint, ranks
from maeface.train.compiling import Compilation
from maeface.train.environment import PACKAGES, describe_environment
from maeface.train.numerics import deterministic, tensor_float

SETTINGS = "settings.json"
WEIGHTS = "weights.safetensors"
MILESTONES = "milestones"
ENVIRONMENT = "environment.json"
MICRO_BATCH = "optim.micro_batch"
MAY_CHANGE = frozenset(
    {
        "title",
        "cost",
        "licence",
        MICRO_BATCH,
        "optim.max_skipped",
        "data.on_device",
        "run.workers",
        "run.device",
        "run.compile",
        "run.sharded",
        "run.checkpoint_every_s",
        "run.milestone_every",
        "run.log",
    }
)
"""Settings that may differ when a run goes on: they change speed and rounding, not what is learned."""
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
ORPHANS_S = 30.0
"""How long rank 0 waits for the folder: readers of a killed rank hold its lock until they notice its end."""


@dataclass
class Stop:
    """Set by SIGTERM or Ctrl-C: the exit code to end with after a step, or a batch of an evaluation.

    A second signal, a second later or more, ends at once: a process group and a parent send one request
    twice. Ranks end together, so for them a second signal changes nothing; ``torchrun`` sends another one to
    all whenever one has ended, and kills those that are left after 30 seconds.

    Attributes:
        code: 0 while there was no signal.
        alone: whether this process trains alone.
        since: when the first signal came.
    """

    code: int = 0
    alone: bool = True
    since: float = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if not self.code:
            self.code, self.since = EXIT_CODES[signal.Signals(number)], time.monotonic()
        elif self.alone and time.monotonic() - self.since >= SAME_S:
            raise SystemExit(self.code)


@dataclass(frozen=True)
class Run:
    """An open run.

    Attributes:
        folder: of the run's files.
        settings: seed, precision, workers, intervals.
        device: of this process.
        bf16: whether matrices are multiplied in bfloat16.
        rank: number of this process, 0 to ``world`` - 1; only 0 writes.
        world: processes that train together.
        stop: the exit code that a signal asked for.
        compilation: whether the functions of the training are compiled.
    """

    folder: Path
    settings: config.Run
    device: torch.device
    bf16: bool
    rank: int = 0
    world: int = 1
    stop: Stop = field(default_factory=Stop)
    compilation: Compilation = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compilation", Compilation(self.settings.compile, self.device))

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def end_if_stopped(self, before: int) -> None:
        """Raise SystemExit if a signal to any rank has stopped an evaluation; all ranks call it together.

        One that came ``before`` the evaluation, with that code, waits: the step is saved with its evaluation.
        """
        if code := max(ranks.gather(self.stop.code if self.stop.code != before else 0)):
            if self.writes:
                console.note("stopped in an evaluation; the same command continues from the last checkpoint")
            raise SystemExit(code)

    def autocast(self) -> torch.autocast:
        """Return the context of the run's precision, for forward passes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def describe(self) -> str:
        """Return device, precision and number of processes in a few words."""
        many = f", {self.world} processes" if self.world > 1 else ""
        return f"{self.device.type}, {'bf16' if self.bf16 else 'fp32'}{many}"


@contextmanager
def open_run(
    folder: Path,
    settings: config.Pretrain | config.Finetune,
    inputs: Mapping[str, Any],
) -> Iterator[Run]:
    """Open a run in a folder: a new one, or the one that the folder holds.

    Args:
        folder: of the run; created if it does not exist.
        settings: of the verb.
        inputs: data, labels and initial weights, as JSON; a run goes on only with the same.

    The block ends on all ranks together, so what rank 0 writes in it is there for all.

    Raises:
        ConfigError: the folder holds a run with other settings or inputs; the ranks have different ones.
        ResourceError: another process runs in the folder; no such device; another rank has ended.
    """
    with ExitStack() as stack:
        device = choose_device(settings.run.device)
        rank, world = stack.enter_context(ranks.open_group(device))
        bf16 = computes_bf16(settings.run.precision, device)
        ranks.agree(lambda: _describe(folder, settings, inputs, device, bf16))

        def claim() -> None:
            stack.enter_context(files.lock(folder, ORPHANS_S if world > 1 else 0))
            _claim_folder(folder, settings, inputs, device)

        ranks.first(claim)
        stack.enter_context(deterministic() if device.type == "cpu" else tensor_float(bf16))
        run = Run(folder, settings.run, device, bf16, rank, world, Stop(alone=world == 1))
        stack.enter_context(_listening(run.stop))
        yield run
        ranks.barrier()


def list_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return ``key: before -> now`` for every difference that is not in ``MAY_CHANGE``.

    Where frames of a clip are compared, which is done within a micro-batch, its size may not change either.
    """
    old, new = nested.flatten(before), nested.flatten(now)
    compared = any(key.startswith("relative.measures.") for key in new)
    keys = (old.keys() | new.keys()) - (MAY_CHANGE - {MICRO_BATCH} if compared else MAY_CHANGE)
    changed = sorted(key for key in keys if old.get(key) != new.get(key))
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in changed]


def is_finished(run: Run) -> bool:
    """Return whether the run has ended before; if so, print it."""
    path = run.folder / WEIGHTS
    if not ranks.first(path.is_file):
        return False
    if run.writes:
        console.note(f"{run.folder} is finished: {path}")
    return True


def describe_inputs(init: str, ids: Iterable[object]) -> dict[str, Any]:
    """Return the inputs that tell runs apart beside their settings: the initial weights and the faces.

    Args:
        init: "random", or weights by path or name.
        ids: of the faces, in their order.

    Raises:
        ConfigError: no such weights file.
        WeightsError: a name of no weights, or some of their parts are missing.
    """
    names = [str(value) for value in ids]
    inputs: dict[str, Any] = {
        "init": init,
        "faces": len(names),
        "ids": hashlib.sha256("\n".join(names).encode()).hexdigest()[:16],
    }
    if init != "random":
        paths = weights.files_of(weights.find(init))
        if not paths[0].is_file():
            raise ConfigError(f"no weights file {init} to start from; give a file, or 'random'")
        inputs |= {"init": Path(init).name, "init_sha256": " ".join(files.sha256(path) for path in paths)}
    return inputs


def save_weights(
    run: Run,
    settings: config.Pretrain | config.Finetune,
    model: MAE | AUModel,
    preprocessing: weights.Preprocessing,
    inputs: Mapping[str, Any],
    epoch: int | None = None,
    **fields: Any,  # noqa: ANN401 - of ``weights.describe``
) -> None:
    """Write ``weights.safetensors`` of a finished run, with settings and inputs in the metadata.

    With ``epoch``, write the weights after so many epochs of a run that goes on, to
    ``milestones/epoch-0010.safetensors``.
    """
    path = run.folder / WEIGHTS
    if epoch is not None:
        path = run.folder / MILESTONES / f"epoch-{epoch:04d}.safetensors"
        inputs = {**inputs, "epoch": epoch}
    provenance = {
        "recipe": settings.title,
        "settings": json.dumps(settings.model_dump(mode="json"), sort_keys=True),
        **{name: str(value) for name, value in inputs.items()},
    }
    weights.save(path, model, weights.describe(model, preprocessing, provenance=provenance, **fields))
    console.note(f"weights: {path}")


def _describe(
    folder: Path,
    settings: config.Pretrain | config.Finetune,
    inputs: Mapping[str, Any],
    device: torch.device,
    bf16: bool,
) -> dict[str, object]:
    """Return what has to be the same on all ranks."""
    return {
        "folder of the run": str(folder.resolve()),
        **nested.flatten(settings.model_dump(mode="json")),
        **{f"inputs.{name}": value for name, value in inputs.items()},
        **{f"version of {name}": version(name) for name in PACKAGES},
        "device": device.type,
        "precision": "bf16" if bf16 else "fp32",
    }


def _claim_folder(
    folder: Path, settings: config.Pretrain | config.Finetune, inputs: Mapping[str, Any], device: torch.device
) -> None:
    """Write settings and environment to the folder; refuse a folder that holds another run."""
    now = {"settings": settings.model_dump(mode="json"), "inputs": dict(inputs)}
    now = json.loads(json.dumps(now))
    finished = (folder / WEIGHTS).is_file()
    if finished or checkpoint.exists(folder):
        before = _read_settings(folder)
        _require_same_crops(folder, before["inputs"], now["inputs"])
        changed = list_differences(before["settings"], now["settings"])
        changed += list_differences(before["inputs"], now["inputs"])
        if changed:
            raise ConfigError(
                f"{folder} holds a run with other settings ({'; '.join(changed)}); "
                "give the same settings to go on with it, or another folder"
            )
    files.remove_temporary(
        folder, folder / checkpoint.FOLDER, folder / MILESTONES
    )  # temporary files of a killed run
    if not finished:
        files.write_json(folder / SETTINGS, now)
        files.write_json(folder / ENVIRONMENT, describe_environment(device))


def _require_same_crops(folder: Path, before: dict[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse other crops of the same faces; a run that was begun without a digest of them takes it over."""
    if "crops" in now and before.setdefault("crops", now["crops"]) != now["crops"]:
        if before.get("ids") == now.get("ids"):
            raise ConfigError(
                f"{folder} holds a run on other crops of the same faces: they were prepared anew, such as "
                "with another size or detector; give the crops that it began with, or another folder"
            )


def _read_settings(folder: Path) -> dict[str, Any]:
    try:
        before = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        return {"settings": dict(before["settings"]), "inputs": dict(before["inputs"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder} has a run but no readable {SETTINGS}, which would tell its settings; choose "
            "another folder"
        ) from error


@contextmanager
def _listening(stop: Stop) -> Iterator[None]:
    """Signals set ``stop`` while the run is open; only the main thread can listen."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in EXIT_CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
