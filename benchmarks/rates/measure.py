"""Measurements in turns, tables of them, and their place in a page; for the scripts in this folder.

Each variant is done once a round, so that a busy machine slows all of them down alike.
"""

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from maeface import files

LIBRARIES = ("maeface", "torch", "torchvision", "timm", "transformers", "openvino", "pillow", "simplejpeg")
clock = time.perf_counter
Key = TypeVar("Key", bound=Hashable)


class Variant(NamedTuple):
    """What is timed: ``run()``, which ends when all is computed, and the images that it takes."""

    run: Callable[[], object]
    images: int


class Rate(NamedTuple):
    """Images a second of one variant, one for each round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the median over the rounds."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        """Return the median and the range."""
        return f"{shown(self.median)} ({shown(min(self.values))} to {shown(max(self.values))})"


def shown(value: float) -> str:
    """Return a number with three digits, or all of them before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def in_turns(variants: Mapping[Key, Variant], rounds: int, seconds: float) -> dict[Key, Rate]:
    """Return the rate of each variant; a first round warms up.

    Args:
        variants: by any key.
        rounds: most rounds.
        seconds: no round is begun that would end later, but for the first.
    """
    taken: dict[Key, list[float]] = {key: [] for key in variants}
    began = time.monotonic()
    for round_ in range(rounds + 1):
        if round_ > 1 and (time.monotonic() - began) * (round_ + 1) / round_ > seconds:
            break
        for key, (run, images) in variants.items():
            start = clock()
            run()
            if round_:
                taken[key].append(images / (clock() - start))
    return {key: Rate(tuple(values)) for key, values in taken.items()}


def ratio(rate: Rate, other: Rate) -> Rate:
    """Return how much faster one variant is than another of the same rounds, round by round."""
    return Rate(tuple(a / b for a, b in zip(rate.values, other.values, strict=True)))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def describe_machine() -> str:
    """Return processor, cores, what they compute in, threads, and versions of the libraries."""
    cores = len(os.sched_getaffinity(0))
    kinds = [kind for kind, name in CPU_KINDS.items() if getattr(torch.cpu, name, bool)()]
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    libraries = ", ".join(f"{name} {found}" for name in LIBRARIES if (found := _version(name)))
    return (
        f"{gpu}{cores} cores of {_processor()} ({', '.join(kinds) or 'no bf16'}), {torch.get_num_threads()} "
        f"threads, Python {platform.python_version()}, {libraries}"
    )


CPU_KINDS = {"AMX": "_is_amx_tile_supported", "AVX512-bf16": "_is_avx512_bf16_supported"}


def describe_run(command: str, load: float) -> str:
    """Return date, command, machine and its load (mean of a minute) before and now."""
    now = os.getloadavg()[0]
    return (
        f"`{command}`, {datetime.date.today().isoformat()}. {describe_machine()}. "
        f"Load of the machine: {load:.1f} before and {now:.1f} after."
    )


def write_between(page: Path, name: str, text: str) -> None:
    """Replace what is between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` in a page.

    Raises:
        ValueError: the page has not each of them once.
    """
    before = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if before.count(begin) != 1 or before.count(end) != 1:
        raise ValueError(f"{page} needs one line {begin} and one line {end}")
    head, rest = before.split(begin)
    tail = rest.split(end)[1]
    files.write_text(page, f"{head}{begin}\n{text.strip()}\n{end}{tail}")


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
