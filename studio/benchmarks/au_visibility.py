"""Measure how much of the picture each AU changes at 64 px, and draw the sheets to look at.

uv run python studio/benchmarks/au_visibility.py ict_facekit.npz out [AU ...]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maeface.faces.geometry import Face, crop, eye_angle, square_around
from maeface_studio.camera.scene import Studio
from maeface_studio.cast.actions import Action
from maeface_studio.cast.subjects import Subject, draw_subject
from maeface_studio.head import rig
from maeface_studio.head.rig import AUS
from maeface_studio.output import contact_sheets

SHOWN = (31, 41, 8)
"""Numbers of the subjects, whom neither glasses nor beard nor hat covers: 30, 45 and 65 years old, of light,
intermediate and dark skin."""
SIZE, SMALL = 224, 64
TOP = 0.05
"""Fraction of the pixels, those that change most, of the second measure."""
MEASURED = {"B": 2, "C": 3, "E": 5}

Faces = NDArray[np.uint8]


def render_levels(studio: Studio, subject: Subject, aus: Sequence[int]) -> dict[int, Faces]:
    """Return a subject from the front with each AU at intensities 0 to 5, (6, SIZE, SIZE, 3).

    All are cut where the face at rest is, with the same camera noise: they differ by the AU alone.
    """
    actor = studio.actor(subject, 0)
    rest = studio.render(actor, contact_sheets.FRONTAL, Action({}, {}, (0.0, 0.0)), 7)
    region = square_around(Face(rest.box, rest.points, 1.0), angle_deg=eye_angle(rest.points))
    faces = {}
    for au in aus:
        poses = [Action({au: float(level)}, {}, (0.0, 0.0)) for level in range(1, 6)]
        moved = [studio.render(actor, contact_sheets.FRONTAL, pose, 7) for pose in poses]
        faces[au] = np.stack([crop(picture.pixels, region, SIZE) for picture in (rest, *moved)])
    return faces


def shrink(faces: Faces) -> Faces:
    """Return faces (N, SIZE, SIZE, 3) at SMALL px."""
    size = (SMALL, SMALL)
    return np.stack([Image.fromarray(face).resize(size, Image.Resampling.BOX) for face in faces])


def measure_changes(faces: Faces) -> list[tuple[float, float]]:
    """Return the mean absolute difference to rest, 0 to 255, and that of the top pixels, by ``MEASURED``."""
    small = shrink(faces).astype(np.float64)
    changes = [np.sort(np.abs(small[level] - small[0]).mean(-1), axis=None) for level in MEASURED.values()]
    return [(float(one.mean()), float(one[-round(TOP * one.size) :].mean())) for one in changes]


def main(rig_file: Path, out: Path, aus: tuple[int, ...] = AUS) -> None:
    """Write AU01.png, ... (three subjects, 224 px and 64 px enlarged), and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    studio = Studio(rig.load(rig_file), 336)
    people = [render_levels(studio, draw_subject(0, number), aus) for number in SHOWN]
    names = " | ".join(MEASURED)
    print(f"| AU | {names} | top 5 %: {names} |\n|{' --- |' * (1 + 2 * len(MEASURED))}")
    for au in aus:
        changes = np.mean([measure_changes(faces[au]) for faces in people], axis=0)
        print(f"| {au} | " + " | ".join(f"{value:.2f}" for value in changes.T.ravel()) + " |")
        strips = []
        for faces in (levels[au] for levels in people):
            coarse = [np.asarray(Image.fromarray(one).resize((SIZE, SIZE), 0)) for one in shrink(faces)]
            strips += [np.concatenate(faces, axis=1), np.concatenate(coarse, axis=1)]
        sheet = contact_sheets.label_rows(strips, [f"AU{au}"] * len(strips))
        sheet.save(out / f"AU{au:02d}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rig", type=Path, help="ict_facekit.npz")
    parser.add_argument("out", type=Path, help="folder for the sheets")
    parser.add_argument("aus", type=int, nargs="*", metavar="AU", help="default: all")
    given = parser.parse_args()
    main(given.rig, given.out, tuple(given.aus) or AUS)
