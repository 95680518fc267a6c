"""Count the faces that the packaged detector and the public one find in photographs, in one table.

uv run python studio/benchmarks/detector_faces.py PHOTOS [--weights FILE]

PHOTOS holds ``congress/`` (portraits, one face each) and ``group/`` (a montage of twelve portraits, a room
full of people). Faces are found as by ``maeface prepare --faces all``. Rows:

- turned: the first portraits, in the four orientations; found if there is one face, with a box that overlaps
  that of the upright portrait, and the crop is upright.
- held out, turned: likewise, of portraits that no training may see.
- montage, room: faces that overlap a known one, and false ones.
- portraits: with a face, and false faces: all but one of each portrait.
- clothes: the portraits below the chin; each face is false.
- cut: the held-out portraits with a part of the face outside, at each of the four sides.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from maeface import facts
from maeface.faces import media
from maeface.faces.boxes import overlap
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED, locate_detector_weights
from maeface.faces.finder import LocatedFace, find_faces
from maeface.faces.geometry import Face
from maeface.faces.imaging import Image
from maeface.faces.search import turn_back

ROOM = (
    (67, 234, 118, 306),
    (299, 223, 340, 275),
    (427, 208, 476, 266),
    (451, 65, 491, 120),
    (568, 54, 608, 107),
    (690, 83, 733, 139),
    (694, 191, 750, 266),
    (716, 268, 781, 352),
    (766, 97, 808, 149),
    (823, 129, 863, 177),
    (817, 375, 916, 509),
    (874, 51, 926, 119),
)
"""The faces of the room that are whole, px: boxes of the public weights, checked by eye."""
MIN_OVERLAP, MAX_ANGLE = 0.4, 30.0
TURNED = 8
CLOTHES_FROM = 210  # row of a portrait of 275 px, below all chins
CUT_FRACTIONS = (0.33, 0.5)


def find(detector: Detector, images: Sequence[Image]) -> list[list[LocatedFace]]:
    """Return all faces of each image."""
    return [find_faces(detector, [image])[0] for image in images]


def count_known(found: Sequence[LocatedFace], known: Sequence[Sequence[float]]) -> tuple[int, int]:
    """Return how many known boxes are found, each by a face of its own, and the number of other faces."""
    left = [one.face.box for one in found]
    for box in known:
        overlaps = [overlap(np.array(box, np.float32), other) for other in left]
        if overlaps and max(overlaps) >= MIN_OVERLAP:
            left.pop(int(np.argmax(overlaps)))
    return len(found) - len(left), len(left)


def count_turned(detector: Detector, portraits: Sequence[Image], upright: Sequence[Face]) -> list[int]:
    """Return the number of portraits that are found upright, on each side, and upside down."""
    counts = []
    for quarters in range(4):
        found = find(detector, [np.ascontiguousarray(np.rot90(image, quarters)) for image in portraits])
        counts.append(
            sum(
                len(faces) == 1 and _is_turned(faces[0], face, quarters, image.shape)
                for faces, face, image in zip(found, upright, portraits, strict=True)
            )
        )
    return counts


def _is_turned(found: LocatedFace, upright: Face, quarters: int, shape: tuple[int, ...]) -> bool:
    back = turn_back(found.face, quarters, shape)
    angle = (found.square.angle_deg + 90 * quarters + 180) % 360 - 180
    return overlap(back.box, upright.box) >= MIN_OVERLAP and abs(angle) <= MAX_ANGLE


def cut(portraits: Sequence[Image], faces: Sequence[Face], fraction: float) -> Iterator[Image]:
    """Yield each portrait four times, each time with ``fraction`` of the face cut off at another side."""
    for image, face in zip(portraits, faces, strict=True):
        x1, y1, x2, y2 = face.box
        right, down = round(x2 - fraction * (x2 - x1)), round(y2 - fraction * (y2 - y1))
        left, up = round(x1 + fraction * (x2 - x1)), round(y1 + fraction * (y2 - y1))
        for part in (image[:, left:], image[:, :right], image[up:], image[:down]):
            yield np.ascontiguousarray(part)


def measure(weights: Path, truth: Detector, photos: Path, every: int) -> dict[str, str]:
    """Return the cells of a detector's column, by row."""
    detector = Detector(weights)
    paths = sorted((photos / "congress").glob("*.jpg"))
    portraits = [media.read_image(path) for path in paths[::every]]
    held_out = [media.read_image(path) for path in paths if path.name in facts.held_out_portraits()]
    held_out = held_out[:: 6 * every]
    room = media.read_image(photos / "group" / "situation_room.jpg")
    montage = media.read_image(photos / "group" / "congress_montage_12.jpg")
    rows = {}
    for name, images in (
        (f"turned heads, {TURNED} portraits", [media.read_image(path) for path in paths[:TURNED]]),
        (f"turned heads, {len(held_out)} held-out portraits", held_out),
    ):
        upright = [faces[0].face for faces in find(truth, images)]
        counts = count_turned(detector, images, upright)
        each = f"upright {counts[0]}, sides {counts[1]} + {counts[3]}, upside down {counts[2]}"
        rows[name] = f"{sum(counts)} of {4 * len(images)} ({each})"
    for name, image, known in (
        ("montage", montage, [one.face.box for one in find(truth, [montage])[0]]),
        ("room", room, ROOM),
    ):
        hits, false = count_known(find(detector, [image])[0], known)
        rows[name] = f"{hits} of {len(known)}, {false} false"
    found = find(detector, portraits)
    false = sum(max(0, len(faces) - 1) for faces in found)
    rows["portraits"] = f"{sum(map(bool, found))} of {len(portraits)}, {false} false"
    clothes = find(detector, [np.ascontiguousarray(image[CLOTHES_FROM:]) for image in portraits])
    rows["clothes"] = f"{sum(map(len, clothes))} false"
    upright = [faces[0].face for faces in find(truth, held_out)]
    for fraction in CUT_FRACTIONS:
        counts = [bool(faces) for faces in find(detector, list(cut(held_out, upright, fraction)))]
        rows[f"cut by {fraction:.0%}"] = f"{sum(counts)} of {len(counts)}"
    rows["size"] = f"{weights.stat().st_size / 1e6:.2f} MB"
    for name, image in (("ms a portrait", portraits[0]), ("ms the room", room)):
        rows[name] = f"{measure_ms(detector, image):.0f}"
    return rows


def measure_ms(detector: Detector, image: Image, times: int = 9) -> float:
    """Return the median processor time that an image takes, ms."""
    durations = []
    for _ in range(times):
        start = time.process_time()
        find_faces(detector, [image])
        durations.append(1000 * (time.process_time() - start))
    return float(np.median(durations))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder that holds congress/ and group/")
    parser.add_argument("--weights", type=Path, default=EMBEDDED, help="a file of maeface-studio detector")
    parser.add_argument("--every", type=int, default=1, help="use only every n-th portrait")
    parser.add_argument("--only", action="store_true", help="leave out the column of the public weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    public = locate_detector_weights("mobilenet0.25", "public")
    columns = {"packaged" if arguments.weights == EMBEDDED else arguments.weights.name: arguments.weights}
    if not arguments.only:
        columns["public"] = public
    truth = Detector(public)
    tables = {
        name: measure(weights, truth, arguments.photos, arguments.every) for name, weights in columns.items()
    }
    print(f"| faces | {' | '.join(tables)} |\n|---{'|---' * len(tables)}|")
    for row in next(iter(tables.values())):
        print(f"| {row} | {' | '.join(table[row] for table in tables.values())} |")


if __name__ == "__main__":
    main()
