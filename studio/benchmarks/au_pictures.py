"""Draw the pictures of `maeface aus`: one person from the front, each AU at intensities 0 to 5.

uv run python studio/benchmarks/au_pictures.py ict_facekit.npz src/maeface/au_pictures
"""

import sys
from pathlib import Path

from maeface import facts
from maeface_studio.camera.scene import Studio
from maeface_studio.cast.subjects import draw_subject
from maeface_studio.head import rig
from maeface_studio.head.rig import AUS
from maeface_studio.output import contact_sheets

SIZE = 160
SHOWN = 41
"""Number of the subject, whose brows, lids and lips nothing covers."""


def main(rig_file: Path, out: Path, shown: int = SHOWN, aus: tuple[int, ...] = tuple(AUS)) -> None:
    """Write AU01.jpg ... AU43.jpg, with the intensities above the faces."""
    studio, subject = Studio(rig.load(rig_file), 336), draw_subject(0, shown)
    for au in aus:
        strip = contact_sheets.draw_intensities(studio, 0, subject, au, SIZE, contact_sheets.FRONTAL)
        picture = contact_sheets.label_rows([strip], [f"AU{au}"])
        picture.save(out / f"{facts.au_name(au)}.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
