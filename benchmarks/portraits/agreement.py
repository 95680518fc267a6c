"""Agreement of the two annotators of the held-out portraits, and the table of labels.

``uv run python benchmarks/portraits/agreement.py`` prints for each action unit how often the two annotators
agree, Cohen's kappa with its 95 % bootstrap interval, and the number of portraits that show it by either
annotator and by the settled labels. ``--write`` also writes ``src/maeface/datasets/portraits.csv``.

``settled.csv`` holds one decision for each disagreement: a third look at the portrait, without knowing the
two codes.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from maeface import facts, files, metrics

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "src" / "maeface" / "datasets" / "portraits.csv"
CODED = {"AU12": (12,), "AU25": (25,), "AU06": (6,), "AU04": (4,), "AU01_02": (1, 2), "AU43": (43,)}
"""The codes and the action units that each labels; inner and outer brow raisers were coded together."""

Annotation = dict[str, dict[str, int]]


def read_codes(path: Path) -> Annotation:
    """Read the codes of an annotator: 0 or 1, by file name and code."""
    with path.open(encoding="utf-8", newline="") as file:
        annotation = {
            row["file"]: {name: int(row[name]) for name in CODED if row[name]} for row in csv.DictReader(file)
        }
    if annotation.keys() != facts.held_out_portraits():
        raise SystemExit(f"{path} must have exactly the held-out portraits")
    return annotation


def settle(one: Annotation, two: Annotation, decisions: dict[tuple[str, str], int]) -> Annotation:
    """Return the codes on which both agree, and the decisions where they differ."""
    settled: Annotation = {}
    for name in sorted(one):
        settled[name] = {}
        for code in CODED:
            equal = one[name][code] == two[name][code]
            if equal == ((name, code) in decisions):
                raise SystemExit(f"settled.csv: {name} {code} is {'no disagreement' if equal else 'missing'}")
            settled[name][code] = one[name][code] if equal else decisions[name, code]
    return settled


def print_agreement(one: Annotation, two: Annotation, settled: Annotation) -> None:
    """Print the agreement as a Markdown table."""
    names = sorted(one)
    first, second, final = (
        np.array([[annotation[name][code] for code in CODED] for name in names])
        for annotation in (one, two, settled)
    )
    kappa = metrics.bootstrap(lambda rows: metrics.kappa(first[rows], second[rows]), len(names))
    print(f"| coded ({len(names)} portraits) | equal | kappa [95 %] | annotator A | annotator B | settled |")
    print("|---|---|---|---|---|---|")
    for k, code in enumerate(CODED):
        interval = f"{kappa.value[k]:.2f} [{kappa.low[k]:.2f}, {kappa.high[k]:.2f}]"
        counts = " | ".join(str(int(table[:, k].sum())) for table in (first, second, final))
        print(f"| {code} | {np.mean(first[:, k] == second[:, k]):.1%} | {interval} | {counts} |")


def write_labels(one: Annotation, two: Annotation, settled: Annotation) -> None:
    """Write the settled labels; the last column names the action units on which the annotators differed."""
    columns = [f"{facts.au_name(au)}_o" for aus in CODED.values() for au in aus]
    lines = [",".join(["source", *columns, "settled"])]
    for name, values in settled.items():
        cells = [str(values[code]) for code, aus in CODED.items() for _ in aus]
        differ = [
            facts.au_name(au)
            for code, aus in CODED.items()
            for au in aus
            if one[name][code] != two[name][code]
        ]
        lines.append(",".join([name, *cells, " ".join(differ)]))
    files.write_text(TABLE, "\n".join(lines) + "\n")


def main() -> None:
    """Print the agreement, and write the labels if requested."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    arguments = parser.parse_args()
    one, two = read_codes(HERE / "annotator_a.csv"), read_codes(HERE / "annotator_b.csv")
    with (HERE / "settled.csv").open(encoding="utf-8", newline="") as file:
        decisions = {(row["file"], row["coded"]): int(row["present"]) for row in csv.DictReader(file)}
    settled = settle(one, two, decisions)
    print_agreement(one, two, settled)
    if arguments.write:
        write_labels(one, two, settled)


if __name__ == "__main__":
    main()
