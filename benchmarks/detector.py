"""How fast, and how reliably, photos become crops: `uv run python benchmarks/detector.py FOLDER`.

Prints images a second, one image at a time, from JPEG file to aligned crop, with the part of each step, and
how many photos yield a crop. The processor's own time is printed too: on a busy machine it is the fairer one.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from maeface.faces import media
from maeface.faces.detector import Detector
from maeface.faces.finder import find_crops


def timed(label: str, work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """Apply ``work`` to each item and print its rate."""
    started, busy = time.perf_counter(), time.process_time()
    results = [work(item) for item in items]
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    rate, busy_rate = len(items) / seconds, len(items) / busy
    print(f"{label:<16}{rate:8.1f} images/s {busy_rate:8.1f} images per second of processor time")
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="photos, one face each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=None, help="take so many photos only")
    parser.add_argument("--backbone", default="mobilenet0.25")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    detector = Detector(backbone=arguments.backbone, device=arguments.device)
    paths = sorted(path for path in arguments.folder.iterdir() if media.kind(path) == "image")[
        : arguments.limit
    ]
    find_crops(detector, [media.read_image(paths[0])])  # the first image pays for loading libraries

    images = timed("decode", media.read_image, paths)
    timed("first look", lambda image: detector.find([image]), images)
    timed("find_crops", lambda image: find_crops(detector, [image], arguments.size), images)
    whole = timed(
        "file to crop", lambda path: find_crops(detector, [media.read_image(path)], arguments.size)[0], paths
    )
    print(f"{sum(map(bool, whole))} of {len(paths)} photos yield a crop; ", end="")
    print(f"{sum(found[0].looked_twice for found in whole if found)} of them with both looks")


if __name__ == "__main__":
    main()
