"""Portraits per second through ``maeface prepare``: decode, both passes, crop, encode and write.

    uv run python benchmarks/prepare.py ../shared/photos/congress --workers 2 --runs 5

Every run prepares the whole folder into a new folder; the start of the processes is included. Runs with
RetinaFace alternate with runs on the same files as ready crops (without detection), so that a busy machine
affects both. The median of each is printed, also per second of CPU time.
"""

import argparse
import os
import platform
import resource
import statistics
import tempfile
from pathlib import Path

from maeface import prepare


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with_detection = prepare.Settings(workers=options.workers, device="cpu")
    ready_crops = with_detection.model_copy(update={"aligned": True})
    speeds: dict[str, list[tuple[float, float]]] = {"RetinaFace": [], "ready crops": []}
    for _ in range(options.runs):
        for name, settings in (("RetinaFace", with_detection), ("ready crops", ready_crops)):
            with tempfile.TemporaryDirectory() as folder:
                before = _cpu_seconds()
                summary = prepare.run([options.source], Path(folder), settings)
                speeds[name].append((summary.images_per_s, summary.images / (_cpu_seconds() - before)))
            print(f"{name}: {summary}, load {os.getloadavg()[0]:.1f}", flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"\n{options.workers} workers, {options.runs} runs each, {machine}")
    for name, rates in speeds.items():
        wall, cpu = (statistics.median(column) for column in zip(*rates, strict=True))
        low, high = min(rate[0] for rate in rates), max(rate[0] for rate in rates)
        print(f"{name:12} median {wall:6.1f} images/s ({low:.1f} to {high:.1f}); {cpu:6.1f} per CPU second")


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of its finished child processes."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
