"""Draw the contact sheets of docs/synth.md, to look at what `maeface synth` makes.

uv run python benchmarks/synth_sheets.py ict_facekit.npz docs/images
"""

import sys
import time
from pathlib import Path

from maeface.studio import cast, rig, sheet
from maeface.studio.scene import Studio


def main(rig_file: Path, out: Path) -> None:
    """Write synth_aus.jpg (one subject, each AU at 0 to 5) and synth_cast.jpg (24 subjects)."""
    head = rig.load(rig_file)
    started = time.perf_counter()
    aus = sheet.aus(Studio(head, 156, 16), 0, cast.subject(0, 4), 104, range(6))
    aus.save(out / "synth_aus.jpg", quality=85, optimize=True)
    people = sheet.people(Studio(head, 192, 16), 0, 24, 8, 128)
    people.save(out / "synth_cast.jpg", quality=88, optimize=True)
    count = 6 * len(rig.AUS) + 24
    print(f"{count} pictures in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
