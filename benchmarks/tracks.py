"""Numbers of people in films against the truth: `uv run python benchmarks/tracks.py VIDEOS`.

VIDEOS holds the shared clips. Films are the clips with known people, and montages of two or three clips that
move as tiles on a canvas: people who cross, leave and come back, change sides out of view, take turns before
the camera, or are replaced by another one. The brightness of each tile changes slowly by a fifth. Below a
clip, its lowest row goes on, as clothes do. The embedded detector finds the faces.

For each film and frame rate, it prints the people, the numbers given to them, the switches (a person gets the
number of another one), the fragments (a person gets another new number), and the numbers of false detections.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from maeface.faces import media
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED
from maeface.faces.finder import find_crops
from maeface.faces.geometry import Face
from maeface.faces.tracking import Tracker, describe

FPS = 30
CANVAS, TILE, CLOTHES = (640, 360), (220, 240), 64  # width, height; the part that goes on
MIDDLE, LEFT, RIGHT = 320.0, 130.0, 510.0  # x of tiles; these two are off the canvas:
OFF_LEFT, OFF_RIGHT = -160.0, 800.0
GROUPS = (
    ("grid_pwij3p.mpg", "grid_sbia1a.mpg", "grid_bbaf2n.mpg"),
    ("grid_brbk7n.mpg", "grid_lbbc2a.mpg", "grid_lwbsza.mpg"),
    ("grid_lrwp9a.mpg", "grid_lbax4n.mpg", "grid_swiz3n.mpg"),
    ("grid_bbaf2n.mpg", "grid_sbwe5n.mpg", "grid_pwij3p.mpg"),
)

Path_ = Sequence[tuple[float, float]]  # (time in s, x of the tile's centre), linear in between
Sighting = tuple[
    str | None, NDArray[np.float32], NDArray[np.float16]
]  # person (None: no face), box, descriptor
Film = list[tuple[float, list[Sighting]]]


def crossing(approach_s: float, wait_s: float) -> tuple[Path_, Path_]:
    """Return the paths of two people who change sides; they wait while one hides the other."""
    meet, part, end = approach_s, approach_s + wait_s, 2 * approach_s + wait_s
    return (
        ((0, LEFT), (1, LEFT), (1 + meet, MIDDLE), (1 + part, MIDDLE), (1 + end, RIGHT), (2 + end, RIGHT)),
        ((0, RIGHT), (1, RIGHT), (1 + meet, MIDDLE), (1 + part, MIDDLE), (1 + end, LEFT), (2 + end, LEFT)),
    )


STAYS: Path_ = ((0, MIDDLE), (5, MIDDLE))
COMES_BACK: Path_ = ((0, RIGHT), (1, RIGHT), (2, OFF_RIGHT), (3, OFF_LEFT), (4, LEFT), (5, LEFT))
GOES: Path_ = ((0, LEFT), (1, LEFT), (2, OFF_LEFT), (5, OFF_LEFT))
COMES: Path_ = ((0, OFF_LEFT), (3, OFF_LEFT), (4, LEFT), (5, LEFT))
SWAPS = (
    ((0, LEFT), (1, LEFT), (2, OFF_LEFT), (3, OFF_RIGHT), (4, RIGHT), (5, RIGHT)),
    ((0, RIGHT), (1, RIGHT), (2, OFF_RIGHT), (3, OFF_LEFT), (4, LEFT), (5, LEFT)),
)
_CUT = 1e-6
TURNS = tuple(
    [
        (float(second + edge), MIDDLE if (second + turn) % 2 else OFF_LEFT)
        for second in range(5)
        for edge in (0, 1 - _CUT)
    ]
    for turn in (0, 1)
)
# The paths of the people, from the back to the front.
SCENES: dict[str, Sequence[Path_]] = {
    "cross, hidden 0.4 s": crossing(1, 0),
    "cross, hidden 2 s": crossing(2, 1.2),
    "cross before a third": (STAYS, *crossing(1.5, 0)),
    "leave, come back": (STAYS, COMES_BACK),
    "swap sides unseen": SWAPS,
    "take turns": TURNS,
    "replaced by another": (GOES, COMES, ((0, RIGHT), (5, RIGHT))),
}


class Finder:
    """Finds and describes the faces of pictures."""

    def __init__(self) -> None:
        self.detector = Detector(EMBEDDED)

    def __call__(self, rgb: NDArray[np.uint8]) -> list[tuple[Face, NDArray[np.float16]]]:
        """Return all faces of a picture with their descriptors."""
        crops = find_crops(self.detector, [rgb], 32, "all")[0]
        return [(crop.face, describe(rgb, crop.face)) for crop in crops]


@dataclass(frozen=True)
class Tile:
    """A clip at the size of a tile.

    Attributes:
        name: the person.
        frames: (T, H, W, 3) uint8.
        centre: x, y of the face's centre in the first frame, relative to the tile's centre, in px.
        side: the face's longer side, px.
    """

    name: str
    frames: NDArray[np.uint8]
    centre: NDArray[np.float64]
    side: float

    @classmethod
    def read(cls, path: Path, finder: Finder) -> "Tile":
        """Read a clip."""
        size = (TILE[0], TILE[1] - CLOTHES)
        clip = np.stack([np.array(Image.fromarray(f.rgb).resize(size)) for f in media.read_frames(path)])
        frames = np.pad(clip, ((0, 0), (0, CLOTHES), (0, 0), (0, 0)), mode="edge")
        canvas = np.zeros((CANVAS[1], CANVAS[0], 3), np.uint8)
        canvas[: TILE[1], : TILE[0]] = frames[0]
        box = finder(canvas)[0][0].box.astype(np.float64)
        centre = (box[:2] + box[2:]) / 2 - np.array(TILE) / 2
        return cls(path.stem, frames, centre, float((box[2:] - box[:2]).max()))

    def at(self, time_s: float) -> NDArray[np.uint8]:
        """Return a frame; the clip goes forth and back at 25 fps, and its brightness changes."""
        last = len(self.frames) - 1
        k = round(25 * time_s) % (2 * last)
        gain = 0.9 + 0.1 * math.sin(math.pi * time_s / 2 + ord(self.name[-1]))
        return (self.frames[k if k <= last else 2 * last - k] * gain).astype(np.uint8)


def whose(
    box: NDArray[np.float32], tiles: Sequence[Tile], middles: Sequence[tuple[float, float]]
) -> str | None:
    """Return the person whose face is nearest and not hidden by a tile in front; None if none is near."""
    centre = (box[:2].astype(np.float64) + box[2:]) / 2
    best, name = 0.5, None
    for k, tile in enumerate(tiles):
        truth = tile.centre + middles[k]
        if any((abs(truth - front) < np.array(TILE) / 2).all() for front in middles[k + 1 : len(tiles)]):
            continue
        miss = float(np.hypot(*(truth - centre))) / tile.side
        if miss < best:
            best, name = miss, tile.name
    return name


def middles_at(paths: Sequence[Path_], time_s: float) -> list[tuple[float, float]]:
    """Return the centres of the tiles."""
    return [(float(np.interp(time_s, *np.array(path).T)), CANVAS[1] / 2) for path in paths]


def montage(tiles: Sequence[Tile], paths: Sequence[Path_], finder: Finder) -> Film:
    """Draw a montage at 30 fps and find the faces; the last tiles are in front."""
    film: Film = []
    for time_s in (k / FPS for k in range(round(paths[0][-1][0] * FPS))):
        canvas = np.full((CANVAS[1], CANVAS[0], 3), 96, np.uint8)
        middles = middles_at(paths, time_s)
        for tile, (x, y) in zip(tiles, middles, strict=False):
            left, top = round(x - TILE[0] / 2), round(y - TILE[1] / 2)
            inside = slice(max(-left, 0), max(min(TILE[0], CANVAS[0] - left), 0))
            pixels = tile.at(time_s)[:, inside]
            canvas[top : top + TILE[1], max(left, 0) : max(left, 0) + pixels.shape[1]] = pixels
        film.append(
            (time_s, [(whose(face.box, tiles, middles), face.box, view) for face, view in finder(canvas)])
        )
    return film


def clip(path: Path, who: Callable[[float, NDArray[np.float32]], str | None], finder: Finder) -> Film:
    """Find the faces of a clip; ``who`` gets the time and a box."""
    return [
        (frame.time_s, [(who(frame.time_s, face.box), face.box, view) for face, view in finder(frame.rgb)])
        for frame in media.read_frames(path)
    ]


def _side(line: float, per_s: float = 0.0) -> Callable[[float, NDArray[np.float32]], str]:
    return lambda time_s, box: "left" if box[0] + box[2] < 2 * (line + per_s * time_s) else "right"


def _large(_: float, box: NDArray[np.float32]) -> str | None:
    return "man" if box[2] - box[0] > 100 else None  # the letters of the title are smaller


# Who is where, as seen in the frames: people do not cross in the first two.
CLIPS: dict[str, Callable[[float, NDArray[np.float32]], str | None]] = {
    "intel_head-pose-face-detection-female-and-male.mp4": _side(200),
    "intel_face-demographics-walking.mp4": _side(304, -22),
    "pyfeat_face_noface.mov": _large,
    "pyfeat_noface_face.mov": _large,
}


@dataclass
class Score:
    """What went right and wrong in a film; films add up."""

    people: int = 0
    numbers: int = 0
    switches: int = 0
    fragments: int = 0
    false: int = 0
    sightings: int = 0
    wrong: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def __str__(self) -> str:
        return (
            f"people {self.people:3d}  numbers {self.numbers:3d}  switches {self.switches:3d}  "
            f"fragments {self.fragments:3d}  of false detections {self.false:3d}  "
            f"wrong {self.wrong:4d} of {self.sightings:5d} sightings"
        )


def evaluate(film: Film, every: int) -> Score:
    """Number the faces of every n-th frame, and compare with the truth.

    A number belongs to the person who has it first.
    """
    tracker, score = Tracker(), Score()
    owners: dict[int, str] = {}
    last: dict[str, int] = {}
    false = set()
    for time_s, seen in film[::every]:
        boxes = np.array([box for _, box, _ in seen])
        views = np.array([view for _, _, view in seen])
        for (person, _, _), number in zip(seen, tracker.update(time_s, boxes, views).tolist(), strict=True):
            if person is None:
                false.add(number)
                continue
            owner = owners.setdefault(number, person)
            score.sightings += 1
            score.wrong += owner != person
            score.switches += owner != person and last.get(person) != number
            last[person] = number
    score.people, score.numbers, score.false = len(last), len(owners), len(false - set(owners))
    score.fragments = len(owners) - len(set(owners.values()))
    return score


def films(videos: Path, groups: int, finder: Finder) -> Iterator[tuple[str, int, Film]]:
    """Yield the kind, the frame rate and the faces of each film."""
    for name, who in CLIPS.items():
        film = clip(videos / name, who, finder)
        yield name, round((len(film) - 1) / film[-1][0]), film
    for group in GROUPS[:groups]:
        tiles = [Tile.read(videos / name, finder) for name in group]
        for name, paths in SCENES.items():
            yield name, FPS, montage(tiles[: len(paths)], paths, finder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path, help="folder with the shared clips")
    parser.add_argument(
        "--groups", type=int, default=len(GROUPS), help="montages of the first n groups of people"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scores: dict[tuple[str, int], Score] = {}
    for name, rate, film in films(arguments.videos, arguments.groups, Finder()):
        for fps in (rate, 10, 2):
            every = max(round(rate / fps), 1)
            scores[name, fps] = scores.get((name, fps), Score()) + evaluate(film, every)
    for (name, fps), score in scores.items():
        print(f"{name:<52}{fps:3d} fps  {score}")


if __name__ == "__main__":
    main()
