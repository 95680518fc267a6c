"""Time and memory of reading labels, and memory of a preparation, on a miniature of BP4D.

    python benchmarks/readers.py labels           BP4D's 328 occurrence and 5 x 328 intensity files
    python benchmarks/readers.py prepare 20000    memory of `prepare --dataset bp4d --aligned`

The images of a clip are hard links to one small JPEG. Peaks are those of the process and of
its workers (ru_maxrss).
"""

import argparse
import os
import resource
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
from PIL import Image

from maeface import facts, prepare
from maeface.data.readers import raw_dataset

TASKS = [f"T{number}" for number in range(1, 9)]


def write_bp4d(root: Path, frames: int, subjects: tuple[str, ...]) -> None:
    """Write BP4D with about ``frames`` labelled frames, numbered from 643; all images are the same file."""
    rng = np.random.default_rng(0)
    (root / "AUCoding/AU_OCC").mkdir(parents=True)
    face = Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    rows = -(-frames // (len(subjects) * len(TASKS)))
    numbers = np.arange(643, 643 + rows)
    for clip in [f"{subject}_{task}" for subject in subjects for task in TASKS]:
        table = np.column_stack(
            [numbers, np.where(np.arange(1, 100) <= 28, rng.integers(2, size=(rows, 99)), 9)]
        )
        header = ",".join(map(str, range(100)))
        np.savetxt(root / f"AUCoding/AU_OCC/{clip}.csv", table, "%d", ",", header=header, comments="")
        for au in (6, 10, 12, 14, 17):
            folder = root / f"AU Intensity Codes3.0/AU{au:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            values = np.column_stack([numbers, rng.integers(6, size=rows)])
            np.savetxt(folder / f"{clip}_AU{au:02d}.csv", values, "%d", ",")
        pictures = root / clip.replace("_", "/")
        pictures.mkdir(parents=True)
        face.save(pictures / f"{numbers[0]:04d}.jpg")
        for number in numbers[1:]:
            os.link(pictures / f"{numbers[0]:04d}.jpg", pictures / f"{number:04d}.jpg")


def measure_labels(root: Path, frames: int) -> None:
    """Print time and memory of reading everything but the images."""
    write_bp4d(root, frames, facts.dataset("bp4d").subject_names)
    for options in (["intensity=false"], []):
        times = []
        for _ in range(3):
            start = time.perf_counter(), time.process_time()
            dataset = raw_dataset.read("bp4d", root, options)
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        kind = options[0] if options else "with intensities"
        wall, cpu = ([f"{seconds:.1f}" for seconds in sorted(column)] for column in zip(*times, strict=True))
        say(f"{len(dataset.labels)} rows, {kind}: {' '.join(wall)} s, on the processor {' '.join(cpu)} s")
    tracemalloc.start()
    dataset = raw_dataset.read("bp4d", root)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    labelled = dataset.labels.memory_usage(deep=True).sum()
    say(f"kept {kept / 2**20:.0f} MiB (labels {labelled / 2**20:.0f}), peak {peak / 2**20:.0f} MiB")
    say(f"peak of the process {peak_mib(resource.RUSAGE_SELF):.0f} MiB")


def measure_preparation(root: Path, frames: int) -> None:
    """Print the memory of a preparation of ``frames`` frames."""
    write_bp4d(root / "raw", frames, facts.dataset("bp4d").subject_names)
    before = peak_mib(resource.RUSAGE_SELF)
    settings = prepare.Settings(aligned=True, size=16, min_side=16, workers=1)
    start = time.perf_counter()
    stop = threading.Event()
    sizes: list[float] = []
    sampler = threading.Thread(target=sample_memory, args=(stop, sizes))
    sampler.start()
    summary = prepare.run([root / "raw"], root / "out", settings, dataset="bp4d")
    seconds = time.perf_counter() - start
    stop.set()
    sampler.join()
    own, worker = peak_mib(resource.RUSAGE_SELF), peak_mib(resource.RUSAGE_CHILDREN)
    say(f"{summary.faces} frames, {seconds:.0f} s: peak {own:.0f} MiB ({before:.0f} before)")
    quarters = [sizes[int(fraction * (len(sizes) - 1))] for fraction in (0.25, 0.5, 0.75, 1)]
    say(f"after 25, 50, 75, 100 % of the time: {' '.join(f'{size:.0f}' for size in quarters)} MiB")
    say(f"peak of the worker {worker:.0f} MiB")


def sample_memory(stop: threading.Event, sizes: list[float]) -> None:
    """Append the resident memory in MiB to ``sizes`` twice a second, until ``stop`` is set."""
    while not stop.wait(0.5):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


def peak_mib(who: int) -> float:
    """Return the peak resident memory in MiB."""
    return resource.getrusage(who).ru_maxrss / 1024


def say(line: str) -> None:
    """Print a line and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=["labels", "prepare"])
    parser.add_argument("frames", type=int, nargs="?", default=147_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"labels": measure_labels, "prepare": measure_preparation}[arguments.benchmark](
            Path(folder), arguments.frames
        )


if __name__ == "__main__":
    main()
