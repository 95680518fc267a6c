"""How near the embedded face detector comes to the public one: `uv run python benchmarks/finder.py PHOTOS`.

PHOTOS holds `congress/` (portraits, one face each) and `group/` (a montage of 4 x 3 portraits, a photograph
of a room full of people). Counts the faces of the public weights that the embedded ones find too (boxes
overlap by half), what else they find, and how far the five points lie apart, as a share of the distance of
the eyes.
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
from maeface.faces.download import EMBEDDED, retinaface_weights
from maeface.faces.finder import find_crops
from maeface.faces.geometry import Face

OVERLAP = 0.5


@dataclass(frozen=True)
class Comparison:
    """Of two detectors on some photos.

    Attributes:
        expected: faces of the first.
        found: those that the second finds too.
        extra: faces of the second alone.
        alone: photos with exactly one face by the second, and that the first's.
        apart: (found, 5) distances of the points / distance of the eyes.
    """

    expected: int
    found: int
    extra: int
    alone: int
    apart: NDArray[np.float64]


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(a.box[2:], b.box[2:]) - np.maximum(a.box[:2], b.box[:2])
    shared = float(np.clip(sides, 0, None).prod())
    return shared / (float((a.box[2:] - a.box[:2]).prod() + (b.box[2:] - b.box[:2]).prod()) - shared)


def faces(detector: Detector, path: Path) -> list[Face]:
    """All faces of a photo, as `prepare --faces all` takes them."""
    return [one.face for one in find_crops(detector, [media.read_image(path)], 32, "all")[0]]


def compare(public: Detector, embedded: Detector, paths: Sequence[Path]) -> Comparison:
    """Count over photos."""
    expected = found = extra = alone = 0
    apart = []
    for path in paths:
        truth, seen = faces(public, path), faces(embedded, path)
        pairs = [(one, max(seen, key=lambda other: overlap(one, other), default=None)) for one in truth]
        pairs = [(one, best) for one, best in pairs if best is not None and overlap(one, best) >= OVERLAP]
        expected, found, extra = expected + len(truth), found + len(pairs), extra + len(seen) - len(pairs)
        alone += len(seen) == len(pairs) == 1
        for one, best in pairs:
            eyes = np.hypot(*(one.points[1] - one.points[0]))
            apart.append(np.hypot(*(one.points - best.points).T) / eyes)
    return Comparison(expected, found, extra, alone, np.array(apart).reshape(-1, 5))


def show(name: str, result: Comparison) -> None:
    """One line."""
    line = f"{name:<24}found {result.found:4d} of {result.expected:4d}, {result.extra:3d} extra"
    if len(result.apart):
        each = " ".join(f"{100 * value:.1f}" for value in result.apart.mean(axis=0))
        line += f"; points apart {100 * result.apart.mean():.2f} % of the eyes' distance ({each})"
        line += f", 95 % of faces under {100 * np.quantile(result.apart.mean(axis=1), 0.95):.1f} %"
    print(line)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="holds congress/ and group/")
    parser.add_argument("--weights", type=Path, default=EMBEDDED)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--held-out", type=Path, help="names of portraits that were not learned from")
    parser.add_argument("--every", type=int, default=1, help="take each n-th portrait only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    public = Detector(retinaface_weights("mobilenet0.25", "public"))
    embedded = Detector(arguments.weights, threshold=arguments.threshold)
    group = arguments.photos / "group"
    for name in ("congress_montage_12", "situation_room"):
        show(name, compare(public, embedded, [group / f"{name}.jpg"]))
    paths = sorted((arguments.photos / "congress").glob("*.jpg"))[:: arguments.every]
    if arguments.held_out:
        names = set(arguments.held_out.read_text(encoding="utf-8").split())
        show("portraits, held out", compare(public, embedded, [p for p in paths if p.name in names]))
    if not arguments.held_out or arguments.every == 1:
        result = compare(public, embedded, paths)
        show("portraits", result)
        print(f"{result.alone} of {len(paths)} portraits give exactly the one face")
    empty = [media.read_image(path)[210:, :, :] for path in paths]  # under the chin: clothes, and no face
    print(f"{sum(bool(seen) for seen in embedded.find(empty))} of {len(empty)} strips of clothes give a face")


if __name__ == "__main__":
    main()
