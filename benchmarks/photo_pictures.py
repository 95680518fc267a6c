"""Draw the pictures of photographs in README.md and docs/user_guide: bars, and explanations.

uv run python benchmarks/photo_pictures.py DIR/photos/congress docs/images

The first folder has the official portraits (where they come from: ``src/maeface/datasets/portraits.toml``),
the second one ``astronaut.jpg``. What the pictures show is printed, to compare the pages with it.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from maeface import predict
from maeface.prediction.extras import Extras

SMILE, CLOSED_LIPS = "A000055.jpg", "A000358.jpg"
EXPLAINED = {(SMILE, 12): "explain_au12", (SMILE, 6): "explain_au06", (CLOSED_LIPS, 25): "explain_absent"}


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    portraits = [given.portraits / name for name in (SMILE, CLOSED_LIPS)]
    with tempfile.TemporaryDirectory() as name:
        shown, whole = Path(name, "shown"), Path(name, "whole")
        options = {"detector": "embedded", "device": "cpu"}
        predict.run([given.out / "astronaut.jpg"], None, None, pictures=shown, **options)
        extras = Extras(all_aus=True, explain=sorted({au for _, au in EXPLAINED}))
        predict.run(portraits, None, None, pictures=whole, extras=extras, **options)
        shutil.copy(shown / "astronaut.jpg.png", given.out / "astronaut_bars.png")
        shutil.copy(whole / f"{SMILE}.png", given.out / "walkthrough_bars.png")
        for (portrait, au), target in EXPLAINED.items():
            with Image.open(whole / f"{portrait}.AU{au:02d}.png") as picture:
                picture.convert("RGB").save(given.out / f"{target}.jpg", quality=88)


if __name__ == "__main__":
    main()
