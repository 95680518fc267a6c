"""Time of the networks of a prediction on each back end: `uv run python benchmarks/backends.py`.

Prints milliseconds on one thread: the detector for images of two sizes, the landmark network for a face,
and the AU model for a view of a face. Each is the least of several runs: other programs only add time.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED
from maeface.prediction.predictor import Predictor
from maeface.runtime.backends import BACKENDS, Backend, is_installed

FACES = 32


def measure(run: Callable[[], object], runs: int) -> float:
    """Return the least time of several runs in milliseconds, after three that are not counted."""
    times = []
    for k in range(runs + 3):
        start = time.perf_counter()
        run()
        times += [time.perf_counter() - start] if k >= 3 else []
    return min(times) * 1e3


def measure_networks(backend: Backend, precision: str, weights: Path | None, runs: int) -> list[float]:
    """Return the times of the networks in milliseconds."""
    rng = np.random.default_rng(0)
    detector_precision = "bfloat16" if precision == "bf16" else "float32"
    detector = Detector(EMBEDDED, precision=detector_precision, backend=backend, threads=1)
    predictor = Predictor(weights, "cpu", True, precision=precision, backend=backend, threads=1)
    settings = predictor.metadata.preprocessing
    crops = rng.integers(0, 256, (FACES, settings.image_size, settings.image_size, 3), dtype=np.uint8)
    times = []
    for shape in ((1, 192, 192, 3), (1, 360, 640, 3)):
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        times.append(measure(lambda image=image: detector.networks.detect(image, 0.5), runs))
    face = rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    times.append(measure(lambda: detector.landmark_net(face), runs))
    views = FACES * (2 if settings.mirror else 1)
    return [*times, measure(lambda: predictor.predict_crops(crops), runs // 3) / views]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="an AU model; default: the packaged weights")
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    print(f"{'':24}{'192 x 192':>12}{'360 x 640':>12}{'landmarks':>12}{'AUs, a view':>12}")
    for backend in (name for name in BACKENDS if name != "auto" and is_installed(name)):
        for precision in ("fp32",) if backend == "onnxruntime" else ("fp32", "bf16"):
            times = measure_networks(backend, precision, arguments.weights, arguments.runs)
            print(
                f"{backend + ' ' + precision:24}" + "".join(f"{value:12.2f}" for value in times), flush=True
            )


if __name__ == "__main__":
    main()
