"""The agreement of the two annotators of the real faces that the weights learn from.

``uv run python studio/benchmarks/annotations/agreement.py`` prints for portraits, Darwin's plates and
video frames how often the two annotators (``annotator_a.csv``, ``annotator_b.csv``) agree on each action
unit, Cohen's kappa, and the number of faces that show it. ``--write`` also writes ``annotations.csv``:
the codes on which both agree, and empty cells where they differ.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from maeface import facts, files, metrics

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "src" / "maeface_studio" / "weights" / "annotations.csv"
AUS = (1, 2, 4, 5, 6, 9, 10, 12, 15, 17, 18, 20, 24, 25, 26, 28, 43)
UNCLEAR = "x"

Annotation = dict[str, frozenset[int] | None]


def read_codes(path: Path) -> Annotation:
    """Read the action units that are present, by the id of the face; None if it was unclear."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["id"]: None
            if row["present"] == UNCLEAR
            else frozenset(int(au) for au in row["present"].split())
            for row in csv.DictReader(file)
        }


def to_array(annotation: Annotation, faces: Sequence[str]) -> np.ndarray:
    """Return 0 and 1, (faces, action units); NaN where the annotator could not tell."""
    rows = [
        [np.nan if (present := annotation[face]) is None else float(au in present) for au in AUS]
        for face in faces
    ]
    return np.array(rows)


def print_agreement(title: str, one: np.ndarray, two: np.ndarray) -> None:
    """Print the agreement as a Markdown table."""
    clear = ~(np.isnan(one) | np.isnan(two)).any(axis=1)
    first, second = one[clear], two[clear]
    kappa = metrics.kappa(first, second)
    print(
        f"| {title} (n = {clear.sum()} of {len(clear)}) | equal | kappa | annotator A | annotator B | both |"
    )
    print("|---|---|---|---|---|---|")
    for k, au in enumerate(AUS):
        a, b = first[:, k], second[:, k]
        if not (a.any() or b.any()):
            continue
        counts = f"{a.sum():.0f} | {b.sum():.0f} | {(a * b).sum():.0f}"
        print(f"| AU{au} | {np.mean(a == b):.1%} | {kappa[k]:.2f} | {counts} |")
    print(
        "Marked by neither:",
        ", ".join(str(au) for k, au in enumerate(AUS) if not (first + second)[:, k].any()),
    )


def main() -> None:
    """Print the agreement, and write the table if requested."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    arguments = parser.parse_args()
    a, b = read_codes(HERE / "annotator_a.csv"), read_codes(HERE / "annotator_b.csv")
    if a.keys() != b.keys() or any(face.split("#")[0] in facts.held_out_portraits() for face in a):
        raise SystemExit("the two annotators must have the same faces, and no held-out portrait")
    faces = sorted(a)
    one, two = to_array(a, faces), to_array(b, faces)
    still = np.array([face.split("#")[0].endswith(".jpg") for face in faces])
    plates = np.array([face.startswith("darwin-") for face in faces])
    print_agreement("portraits", one[still & ~plates], two[still & ~plates])
    print_agreement("faces of Darwin's plates", one[plates], two[plates])
    print_agreement("video frames", one[~still], two[~still])
    if arguments.write:
        both = pd.DataFrame(
            np.where(one == two, one, np.nan), columns=[f"{facts.au_name(au)}_o" for au in AUS]
        )
        both.insert(0, "id", faces)
        files.write_text(TABLE, both.to_csv(index=False, float_format="%.0f", lineterminator="\n"))


if __name__ == "__main__":
    main()
