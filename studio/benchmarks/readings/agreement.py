"""How far two readers of the real faces that the weights learn from agree, and the table that comes of it.

``uv run python benchmarks/readings/agreement.py`` prints, for portraits and for video frames, how often the
two readings (``reading_a.csv``, ``reading_b.csv``) of each action unit are equal, Cohen's kappa, and how many
faces show it. ``--write`` also writes ``src/maeface_studio/weights/readings.csv``: what both say; where they
differ, nothing.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from maeface import facts, files, metrics

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "src" / "maeface_studio" / "weights" / "readings.csv"
CODED = (1, 2, 4, 5, 6, 9, 10, 12, 15, 17, 18, 20, 24, 25, 26, 28, 43)
NOT_TO_BE_READ = "x"

Reading = dict[str, frozenset[int] | None]


def read(path: Path) -> Reading:
    """The action units present by the face's id; None where a reader could not tell."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["id"]: None
            if row["present"] == NOT_TO_BE_READ
            else frozenset(int(au) for au in row["present"].split())
            for row in csv.DictReader(file)
        }


def coded(reading: Reading, faces: Sequence[str]) -> np.ndarray:
    """(faces, action units) of 0 and 1, NaN where the reader could not tell."""
    rows = [
        [np.nan if (seen := reading[face]) is None else float(au in seen) for au in CODED] for face in faces
    ]
    return np.array(rows)


def show(title: str, one: np.ndarray, two: np.ndarray) -> None:
    """Print the agreement as a Markdown table."""
    told = ~(np.isnan(one) | np.isnan(two)).any(axis=1)
    first, second = one[told], two[told]
    kappa = metrics.kappa(first, second)
    print(f"| {title} (n = {told.sum()} of {len(told)}) | equal | kappa | reader A | reader B | both |")
    print("|---|---|---|---|---|---|")
    for k, au in enumerate(CODED):
        a, b = first[:, k], second[:, k]
        if not (a.any() or b.any()):
            continue
        counts = f"{a.sum():.0f} | {b.sum():.0f} | {(a * b).sum():.0f}"
        print(f"| AU{au} | {np.mean(a == b):.1%} | {kappa[k]:.2f} | {counts} |")
    print(
        "Seen by nobody:",
        ", ".join(str(au) for k, au in enumerate(CODED) if not (first + second)[:, k].any()),
    )


def main() -> None:
    """Print, and write if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    arguments = parser.parse_args()
    a, b = read(HERE / "reading_a.csv"), read(HERE / "reading_b.csv")
    if a.keys() != b.keys() or any(face.split("#")[0] in facts.held_out_portraits() for face in a):
        raise SystemExit("the two readings must be of the same faces, and of none that is held out")
    faces = sorted(a)
    one, two = coded(a, faces), coded(b, faces)
    still = np.array([face.split("#")[0].endswith(".jpg") for face in faces])
    show("portraits", one[still], two[still])
    show("video frames", one[~still], two[~still])
    if arguments.write:
        both = pd.DataFrame(
            np.where(one == two, one, np.nan), columns=[f"{facts.au_name(au)}_o" for au in CODED]
        )
        both.insert(0, "id", faces)
        files.write_text(TABLE, both.to_csv(index=False, float_format="%.0f", lineterminator="\n"))


if __name__ == "__main__":
    main()
