"""A run: its folder, its device and precision, the processes that train together, and how it is stopped.

RUN/settings.json         the settings as resolved, and the inputs (data, labels, initial weights)
RUN/environment.json      versions, device, commit, command line
RUN/weights.safetensors   the trained model, once the run is finished
RUN/milestones/           the weights every few epochs, if asked for
RUN/log.jsonl, what ``run.log`` asks for, RUN/checkpoints/, and files of the verb
"""

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from maeface import config, console, files, nested
from maeface.errors import ConfigError
from maeface.model import weights
from maeface.model.au import AUModel
from maeface.model.device import choose_device, computes_bf16
from maeface.model.mae import MAE
from maeface.train import checkpoint

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
        "run.checkpoint_every_s",
        "run.milestone_every",
        "run.log",
    }
)
"""Settings that may differ when a run goes on: they change speed and rounding, not what is learned."""
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
PACKAGES = ("maeface", "torch", "torchvision", "timm", "numpy", "pillow", "simplejpeg", "safetensors")


@dataclass
class Stop:
    """Set by SIGTERM or Ctrl-C: the exit code to end with after this step; a second signal ends at once."""

    code: int = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.code:
            raise SystemExit(self.code)
        self.code = EXIT_CODES[signal.Signals(number)]


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
    """

    folder: Path
    settings: config.Run
    device: torch.device
    bf16: bool
    rank: int = 0
    world: int = 1
    stop: Stop = field(default_factory=Stop)

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def autocast(self) -> torch.autocast:
        """Return the context of the run's precision, for forward passes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def describe(self) -> str:
        """Return device, precision and number of processes in a few words."""
        many = f", {self.world} processes" if self.world > 1 else ""
        return f"{self.device.type}, {'bf16' if self.bf16 else 'fp32'}{many}"

    def broadcast(self, value: Any) -> Any:  # noqa: ANN401 - whatever pickles
        """Return rank 0's value on every rank."""
        if self.world == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


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

    Raises:
        ConfigError: the folder holds a run with other settings or inputs.
        ResourceError: another process runs in the folder; no such device.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    with ExitStack() as stack:
        device = choose_device(settings.run.device)
        if world > 1:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            stack.callback(dist.destroy_process_group)
        if rank == 0:
            stack.enter_context(files.lock(folder))
            _claim_folder(folder, settings, inputs, device)
        if world > 1:
            dist.barrier()
        if device.type == "cpu":
            stack.enter_context(_deterministic())
        run = Run(folder, settings.run, device, computes_bf16(settings.run.precision, device), rank, world)
        stack.enter_context(_listening(run.stop))
        yield run


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
    if not path.is_file():
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


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return versions, device, commit and command line, which are needed to repeat a run."""
    cuda = device.type == "cuda"
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
        "command": sys.argv,
    }


def _commit() -> str | None:
    """Return the commit of the source tree; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None


@contextmanager
def _deterministic() -> Iterator[None]:
    """Use only deterministic operations: on the CPU, where they cost nothing; on a GPU they are slow."""
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        memory.fill_uninitialized_memory = fill


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
