"""Make miniatures of BP4D, BP4D+ and DISFA: all subjects, as rendered people in the layouts of the datasets.

uv run python studio/benchmarks/miniature.py ict_facekit.npz OUT [bp4d bp4dplus disfa faces ...]

`maeface prepare --dataset` and `maeface reproduce --data OUT` read OUT/bp4d, OUT/bp4dplus and OUT/disfa.
OUT/faces, which is made only if it is named, has unlabelled stills for pre-training. OUT/made/NAME has the
same frames as prepared crops with labels. The four have different people. The same command continues an
interrupted run and skips finished datasets.
"""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

from maeface import files
from maeface_studio.output import render
from maeface_studio.output.settings import Settings

SIZE = 128
"""Side of the crops in px. The side of the whole frames is 1.5 times as long, 192 px."""

SETTINGS = {
    "bp4d": Settings(
        subjects=41, images=0, clips=8, clip_frames=4, fps=1.5, size=SIZE, seed=101, layout="bp4d"
    ),
    "bp4dplus": Settings(
        subjects=140, images=0, clips=2, clip_frames=4, fps=1.5, size=SIZE, seed=102, layout="bp4dplus"
    ),
    "disfa": Settings(
        subjects=27, images=0, clips=8, clip_frames=5, fps=2, size=SIZE, seed=103, layout="disfa"
    ),
    "faces": Settings(subjects=160, images=8, size=SIZE, seed=104, frames=True),
}
"""1,312, 1,120 and 1,080 frames of clips, and 1,280 stills. A clip lasts two to three seconds, so that
the head moves and an expression rises and falls."""


def make(rig: Path, out: Path, name: str, subjects: int | None, workers: int | None) -> None:
    """Make one dataset, and move it to its folder when it is finished."""
    start, settings = time.monotonic(), SETTINGS[name]
    if subjects:
        settings = replace(settings, subjects=subjects)
    if (out / name).is_dir():
        print(f"{out / name} exists")
        return
    rendered = out / "made" / name
    summary = render.run(rig, rendered, settings, workers)
    files.remove_temporary(rendered)
    shutil.move(rendered / (settings.layout or "frames"), out / name)
    seconds = time.monotonic() - start
    print(f"{out / name}: {summary.images} frames of {summary.subjects} subjects, {seconds:.0f} s")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rig", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(SETTINGS)}; default: the first three"
    )
    parser.add_argument(
        "--subjects", type=int, help="fewer subjects of each, as a trial (then: --set partial=true)"
    )
    parser.add_argument("--workers", type=int, help="number of processes; one per core if not given")
    options = parser.parse_args()
    for name in options.names or ("bp4d", "bp4dplus", "disfa"):
        if name not in SETTINGS:
            parser.error(f"{name} is not one of {', '.join(SETTINGS)}")
        make(options.rig, options.out, name, options.subjects, options.workers)


if __name__ == "__main__":
    main()
