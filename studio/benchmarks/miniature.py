"""Make BP4D, BP4D+ and DISFA in miniature: rendered people in the own layouts of these, all subjects.

uv run --extra synth python benchmarks/miniature.py ict_facekit.npz OUT [bp4d bp4dplus disfa faces ...]

OUT/bp4d, OUT/bp4dplus and OUT/disfa are what `maeface prepare --dataset` and `maeface reproduce --data OUT`
read. OUT/faces, made only where it is named, are unlabelled stills of other people, to pre-train on.
OUT/made/NAME has the same frames as crops with all that is known of them. The people of the four differ.
The same command goes on where it was stopped, and passes over what is there.
"""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

from maeface import files
from maeface_studio.output import render

SIZE = 128
"""Of the crops that are made on the way, in px; a whole frame has 1.5 times as many, 192."""

MADE = {
    "bp4d": render.Settings(
        subjects=41, images=0, clips=8, clip_frames=4, fps=1.5, size=SIZE, seed=101, layout="bp4d"
    ),
    "bp4dplus": render.Settings(
        subjects=140, images=0, clips=2, clip_frames=4, fps=1.5, size=SIZE, seed=102, layout="bp4dplus"
    ),
    "disfa": render.Settings(
        subjects=27, images=0, clips=8, clip_frames=5, fps=2, size=SIZE, seed=103, layout="disfa"
    ),
    "faces": render.Settings(subjects=160, images=8, size=SIZE, seed=104, frames=True),
}
"""1,312, 1,120 and 1,080 frames of clips; and 1,280 stills. A clip spans two to three seconds, so that
the head moves and an expression comes and goes."""


def make(rig: Path, out: Path, name: str, subjects: int | None, workers: int | None) -> None:
    """Make one of them, and put its folder in place once it is whole."""
    begun, settings = time.monotonic(), MADE[name]
    if subjects:
        settings = replace(settings, subjects=subjects)
    if (out / name).is_dir():
        print(f"{out / name} is there")
        return
    made = out / "made" / name
    summary = render.run(rig, made, settings, workers)
    files.remove_temporary(made)
    shutil.move(made / (settings.layout or "frames"), out / name)
    seconds = time.monotonic() - begun
    print(f"{out / name}: {summary.images} frames of {summary.subjects} subjects, {seconds:.0f} s")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rig", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MADE)}; the first three")
    parser.add_argument("--subjects", type=int, help="fewer of each, to try it (then: --set partial=true)")
    parser.add_argument("--workers", type=int, help="processes; one a core if not given")
    given = parser.parse_args()
    for name in given.names or ("bp4d", "bp4dplus", "disfa"):
        if name not in MADE:
            parser.error(f"{name} is not one of {', '.join(MADE)}")
        make(given.rig, given.out, name, given.subjects, given.workers)


if __name__ == "__main__":
    main()
