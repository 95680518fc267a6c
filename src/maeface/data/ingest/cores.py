"""The number of processor cores that this process may use, also in a container."""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def count_cores(root: Path = Path("/")) -> int:
    """Return how many processor cores this process may use, at least 1.

    These are the cores of its affinity mask, or fewer if a control group (a container) limits its CPU time:
    ``cpu.max`` of version 2, ``cpu.cfs_quota_us`` of version 1. A part of a core counts as one.

    Args:
        root: the folder with ``proc`` and ``sys``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(limit) for limit in _cpu_limits(root))]))


def _cpu_limits(root: Path) -> Iterator[float]:
    """Yield the limits in cores of this process's control groups and of those above them."""
    groups = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    for line in ["0::/", *lines]:  # in a container the folder of its own group is often the topmost one
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = [name for name in path.split("/") if name not in ("", "..")]
        for base in (
            (groups, groups / "unified") if not controllers else (groups / "cpu", groups / controllers)
        ):
            for depth in range(len(names) + 1):
                folder = base.joinpath(*names[:depth])
                yield from _cpu_limit(folder, "cpu.max")
                yield from _cpu_limit(folder, "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _cpu_limit(folder: Path, *names: str) -> Iterator[float]:
    """Yield quota / period of a control group, read from one or two files; nothing without a limit."""
    try:
        quota, period = " ".join((folder / name).read_text() for name in names).split()
        if int(quota) > 0 and int(period) > 0:  # without a limit: "max" or -1
            yield int(quota) / int(period)
    except (OSError, ValueError):
        return
