"""Comparison of the embedded face detector with the public one: `uv run python benchmarks/finder.py PHOTOS`.

PHOTOS holds `congress/` (portraits, one face each) and `group/` (a montage of 4 x 3 portraits, a photograph
of a room full of people). Counts the faces of the public weights that the embedded ones find too
(intersection over union of at least 0.5), the faces that only the embedded ones find, and the distances
between their landmarks, as a fraction of the distance between the eyes.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from maeface.faces import media
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED, locate_detector_weights
from maeface.faces.finder import find_crops
from maeface.faces.geometry import Face

MIN_OVERLAP = 0.5


@dataclass(frozen=True)
class Comparison:
    """How a detector's faces match those of a reference detector.

    Attributes:
        expected: number of faces of the reference.
        matched: how many of these the detector finds too.
        extra: faces that only the detector finds.
        single: photos in which the detector finds one face, which matches the reference's.
        errors: (matched, 5) distances between the landmarks / distance between the eyes.
    """

    expected: int
    matched: int
    extra: int
    single: int
    errors: NDArray[np.float64]

    def __str__(self) -> str:
        """One line."""
        line = f"found {self.matched:4d} of {self.expected:4d}, {self.extra:3d} extra"
        if len(self.errors):
            each = " ".join(f"{100 * value:.1f}" for value in self.errors.mean(axis=0))
            line += f"; landmarks apart {100 * self.errors.mean():.2f} % of the eyes' distance ({each})"
            line += f", 95 % of faces under {100 * np.quantile(self.errors.mean(axis=1), 0.95):.1f} %"
        return line


def overlap(a: Face, b: Face) -> float:
    """Return the intersection over union of two faces' boxes."""
    sides = np.minimum(a.box[2:], b.box[2:]) - np.maximum(a.box[:2], b.box[:2])
    intersection = float(np.clip(sides, 0, None).prod())
    areas = float((a.box[2:] - a.box[:2]).prod() + (b.box[2:] - b.box[:2]).prod())
    return intersection / (areas - intersection)


def detect(detector: Detector, path: Path) -> list[Face]:
    """Return all faces of a photo, as `prepare --faces all` does."""
    return [crop.face for crop in find_crops(detector, [media.read_image(path)], 32, "all")[0]]


def compare(reference: Detector, detector: Detector, paths: Sequence[Path]) -> Comparison:
    """Compare a detector with a reference on photos."""
    expected = matched = extra = single = 0
    errors = []
    for path in paths:
        truth, faces = detect(reference, path), detect(detector, path)
        nearest = [(face, max(faces, key=lambda one: overlap(face, one), default=None)) for face in truth]
        pairs = [(a, b) for a, b in nearest if b is not None and overlap(a, b) >= MIN_OVERLAP]
        expected += len(truth)
        matched += len(pairs)
        extra += len(faces) - len(pairs)
        single += len(faces) == len(pairs) == 1
        for a, b in pairs:
            eyes = np.hypot(*(a.landmarks[1] - a.landmarks[0]))
            errors.append(np.hypot(*(a.landmarks - b.landmarks).T) / eyes)
    return Comparison(expected, matched, extra, single, np.array(errors).reshape(-1, 5))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder that holds congress/ and group/")
    parser.add_argument("--weights", type=Path, default=EMBEDDED)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--held-out", type=Path, help="file with the names of portraits not used in training")
    parser.add_argument("--every", type=int, default=1, help="use only every n-th portrait")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    public = Detector(locate_detector_weights("mobilenet0.25", "public"))
    embedded = Detector(arguments.weights, threshold=arguments.threshold)
    group = arguments.photos / "group"
    for name in ("congress_montage_12", "situation_room"):
        print(f"{name:<24}{compare(public, embedded, [group / f'{name}.jpg'])}")
    portraits = sorted((arguments.photos / "congress").glob("*.jpg"))[:: arguments.every]
    if arguments.held_out:
        names = set(arguments.held_out.read_text(encoding="utf-8").split())
        held_out = [path for path in portraits if path.name in names]
        print(f"{'portraits, held out':<24}{compare(public, embedded, held_out)}")
    if not arguments.held_out or arguments.every == 1:
        comparison = compare(public, embedded, portraits)
        print(f"{'portraits':<24}{comparison}")
        print(f"{comparison.single} of {len(portraits)} portraits give exactly the one face")
    # Clothes under the chin: there is no face in these strips.
    strips = [media.read_image(path)[210:, :, :] for path in portraits]
    false_positives = sum(bool(faces) for faces in embedded.find(strips))
    print(f"{false_positives} of {len(strips)} strips of clothes give a face")


if __name__ == "__main__":
    main()
