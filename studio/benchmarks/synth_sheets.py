"""Draw the contact sheets of the documentation of `maeface-studio render`.

uv run python studio/benchmarks/synth_sheets.py ict_facekit.npz studio/docs/images [makehuman_shapes.npz]
"""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from maeface_studio.camera.scene import Studio
from maeface_studio.cast.subjects import draw_subject
from maeface_studio.head import blending, rig
from maeface_studio.head.rig import AUS
from maeface_studio.output import contact_sheets

SIZE, SMALL = 160, 120
SHOWN = (3, 10, 25, 34)
"""Numbers of the subjects that show the AUs: both sexes, several skin tones and ages."""


def main(rig_file: Path, out: Path, shapes_file: Path | None = None) -> None:
    """Write synth_aus.jpg (one subject, each AU at 0 to 5), synth_au01.jpg ... (each AU on four subjects),
    synth_cast.jpg (40 subjects), synth_clips.jpg (nine tasks).
    """  # noqa: D205
    head = rig.load(rig_file)
    studio = Studio(head, 336, None if shapes_file is None else blending.load(shapes_file, head))
    subjects = [draw_subject(0, number) for number in SHOWN]

    def save(name: str, picture: Image.Image) -> None:
        picture.save(out / f"{name}.jpg", quality=78, optimize=True)

    started = time.perf_counter()
    save("synth_cast", contact_sheets.draw_people(studio, 0, 40, 8, SIZE))
    save("synth_clips", contact_sheets.draw_clips(studio, 0, subjects, 8, 128))
    # One subject after the other, so that each is painted once.
    strips = [
        [contact_sheets.draw_intensities(studio, 0, subject, au, SMALL) for au in AUS] for subject in subjects
    ]
    for au, rows in zip(AUS, zip(*strips, strict=True), strict=True):
        save(f"synth_au{au:02d}", contact_sheets.label_rows(rows, [subject.name for subject in subjects]))
    small = [np.asarray(Image.fromarray(strip).resize((6 * 104, 104))) for strip in strips[0]]
    save("synth_aus", contact_sheets.label_rows(small, [f"AU{au:02d}" for au in AUS], columns=2))
    count = 40 + 9 * 8 + 6 * len(AUS) * len(SHOWN)
    print(f"{count} pictures in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
