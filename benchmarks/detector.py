"""Speed and success rate of face detection and cropping: `uv run python benchmarks/detector.py FOLDER`.

Prints images per second, one image at a time, from the JPEG file to the aligned crop and for each step, and
the number of photos that give a crop. The rate per second of processor time is printed too, because it
depends less on the other load of the machine.
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
from maeface.runtime.backends import BACKENDS


def measure_rate(label: str, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """Apply a function to each item, print its rate, and return the results."""
    start, cpu_start = time.perf_counter(), time.process_time()
    results = [function(item) for item in items]
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    rate, cpu_rate = len(items) / seconds, len(items) / cpu_seconds
    print(f"{label:<16}{rate:8.1f} images/s {cpu_rate:8.1f} images per second of processor time")
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="photos, one face each")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=None, help="use only the first N photos")
    parser.add_argument("--backbone", default="mobilenet0.25")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", default="torch", choices=BACKENDS)
    parser.add_argument("--size", type=int, default=256, help="side of the crops, px")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    detector = Detector(backbone=arguments.backbone, device=arguments.device, backend=arguments.backend)
    photos = sorted(path for path in arguments.folder.iterdir() if media.detect_kind(path) == "image")
    photos = photos[: arguments.limit]
    find_crops(detector, [media.read_image(photos[0])])  # warm-up: libraries are loaded here

    images = measure_rate("decode", media.read_image, photos)
    measure_rate("first pass", lambda image: detector.find([image]), images)
    measure_rate("find_crops", lambda image: find_crops(detector, [image], arguments.size), images)
    crops = measure_rate(
        "file to crop", lambda path: find_crops(detector, [media.read_image(path)], arguments.size)[0], photos
    )
    print(f"{sum(map(bool, crops))} of {len(photos)} photos give a crop; ", end="")
    print(f"{sum(faces[0].confirmed for faces in crops if faces)} of them are confirmed by the second pass")


if __name__ == "__main__":
    main()
