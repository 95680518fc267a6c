"""A run: its folder, its device and precision, the processes that train together, and how it is stopped.

RUN/settings.json      the settings as resolved, and what went in (data, labels, initial weights)
RUN/environment.json   versions, device, commit, command line
RUN/log.jsonl, RUN/tensorboard/, RUN/checkpoints/, and what the verb writes
"""

import json
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from maeface import config, files
from maeface.errors import ConfigError
from maeface.model.device import choose_device, computes_bf16
from maeface.train import checkpoints

SETTINGS = "settings.json"
WEIGHTS = "weights.safetensors"
ENVIRONMENT = "environment.json"
FREE = frozenset(
    {
        "title",
        "cost",
        "optim.micro_batch",
        "run.workers",
        "run.device",
        "run.compile",
        "run.checkpoint_every_s",
    }
)
"""Settings that may differ when a run goes on: they change speed and rounding, not what is learned."""
EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
PACKAGES = ("maeface", "torch", "torchvision", "timm", "numpy", "pillow", "safetensors")


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
    """A run that is open.

    Attributes:
        folder: where it writes.
        settings: seed, precision, workers, intervals.
        device: what this process computes on.
        bf16: whether matrices are multiplied in bfloat16.
        rank: this process among ``world``; only 0 writes.
        world: how many processes train together.
        stop: whether a signal asked to end.
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
        """The precision of the run, for forward passes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def describe(self) -> str:
        """Where and how it computes, in a few words."""
        many = f", {self.world} processes" if self.world > 1 else ""
        return f"{self.device.type}, {'bf16' if self.bf16 else 'fp32'}{many}"

    def agree(self, value: Any) -> Any:  # noqa: ANN401 - whatever pickles
        """What rank 0 has, on every rank."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]


@contextmanager
def opened(
    folder: Path,
    settings: config.Pretrain | config.Finetune,
    inputs: Mapping[str, Any],
) -> Iterator[Run]:
    """Take a folder for a run, or go on with the run that is in it.

    Args:
        folder: made if it is not there.
        settings: of the verb.
        inputs: what goes in, as JSON: a run goes on only with the same.

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
            stack.enter_context(files.exclusive(folder))
            _claim(folder, settings, inputs, device)
        if world > 1:
            dist.barrier()
        if device.type == "cpu":
            stack.enter_context(_deterministic())
        run = Run(folder, settings.run, device, computes_bf16(settings.run.precision, device), rank, world)
        stack.enter_context(_listening(run.stop))
        yield run


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``key: before -> now`` for everything that counts and is not the same."""
    old, new = config.flatten(before), config.flatten(now)
    keys = sorted(key for key in old.keys() | new.keys() if key not in FREE and old.get(key) != new.get(key))
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys]


def _claim(
    folder: Path, settings: config.Pretrain | config.Finetune, inputs: Mapping[str, Any], device: torch.device
) -> None:
    """Write down what runs here, after a look at what ran here before."""
    now = {"settings": settings.model_dump(mode="json"), "inputs": dict(inputs)}
    now = json.loads(json.dumps(now))
    finished = (folder / WEIGHTS).is_file()
    if finished or checkpoints.present(folder):
        before = _read_settings(folder)
        changed = differences(before["settings"], now["settings"])
        changed += differences(before["inputs"], now["inputs"])
        if changed:
            raise ConfigError(
                f"{folder} holds a run with other settings ({'; '.join(changed)}); "
                "give the same settings to go on with it, or another folder"
            )
    files.clean(folder, folder / checkpoints.FOLDER)  # what a killed run was about to write
    if not finished:
        files.write_json(folder / SETTINGS, now)
        files.write_json(folder / ENVIRONMENT, environment(device))


def _read_settings(folder: Path) -> dict[str, Any]:
    try:
        before = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        return {"settings": dict(before["settings"]), "inputs": dict(before["inputs"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder} has a run but no readable {SETTINGS}, so there is no telling what they are of; "
            "choose another folder"
        ) from error


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, machine, commit and command: what one needs to know to repeat a run."""
    cuda = device.type == "cuda"
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "commit": _commit(),
        "command": sys.argv,
    }


def _commit() -> str | None:
    """The commit of the source tree that runs; None where it is an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


@contextmanager
def _deterministic() -> Iterator[None]:
    """Only operations that give the same bits every time. Free on the CPU; GPUs pay for it, so not there."""
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
