"""How far two readers of the held-out portraits agree, and the table of labels that comes of it.

``uv run python benchmarks/portraits/agreement.py`` prints, for each action unit, how often the two readings
are equal, Cohen's kappa with its 95 % bootstrap interval, how many portraits have the action unit by either
reading and by the settled labels. ``--write`` also writes ``src/maeface/datasets/portraits.csv``.

``settled.csv`` holds one decision for each disagreement: a third look at the portrait, with the two
answers unseen.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from maeface import facts, files, metrics

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "src" / "maeface" / "datasets" / "portraits.csv"
CODED = {"AU12": (12,), "AU25": (25,), "AU06": (6,), "AU04": (4,), "AU01_02": (1, 2), "AU43": (43,)}
"""What the readers coded and what it labels: raised brows are not told apart into inner and outer."""

Reading = dict[str, dict[str, int]]


def read(path: Path) -> Reading:
    """0 or 1 by file and what was coded."""
    with path.open(encoding="utf-8", newline="") as file:
        reading = {
            row["file"]: {name: int(row[name]) for name in CODED if row[name]} for row in csv.DictReader(file)
        }
    if reading.keys() != facts.held_out_portraits():
        raise SystemExit(f"{path} is not of the held-out portraits")
    return reading


def settle(one: Reading, two: Reading, decided: dict[tuple[str, str], int]) -> Reading:
    """What both say, and the decision where they differ."""
    settled: Reading = {}
    for name in sorted(one):
        settled[name] = {}
        for code in CODED:
            same = one[name][code] == two[name][code]
            if same == ((name, code) in decided):
                raise SystemExit(f"settled.csv: {name} {code} is {'no disagreement' if same else 'missing'}")
            settled[name][code] = one[name][code] if same else decided[name, code]
    return settled


def show(one: Reading, two: Reading, settled: Reading) -> None:
    """Print the agreement as a Markdown table."""
    names = sorted(one)
    first, second, final = (
        np.array([[reading[name][code] for code in CODED] for name in names])
        for reading in (one, two, settled)
    )
    kappa = metrics.bootstrap(lambda rows: metrics.kappa(first[rows], second[rows]), len(names))
    print(f"| coded ({len(names)} portraits) | equal | kappa [95 %] | reader A | reader B | settled |")
    print("|---|---|---|---|---|---|")
    for k, code in enumerate(CODED):
        interval = f"{kappa.value[k]:.2f} [{kappa.low[k]:.2f}, {kappa.high[k]:.2f}]"
        counts = " | ".join(str(int(table[:, k].sum())) for table in (first, second, final))
        print(f"| {code} | {np.mean(first[:, k] == second[:, k]):.1%} | {interval} | {counts} |")


def write(one: Reading, two: Reading, settled: Reading) -> None:
    """Write the table of labels."""
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
    """Print, and write if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    arguments = parser.parse_args()
    one, two = read(HERE / "reading_a.csv"), read(HERE / "reading_b.csv")
    with (HERE / "settled.csv").open(encoding="utf-8", newline="") as file:
        decided = {(row["file"], row["coded"]): int(row["present"]) for row in csv.DictReader(file)}
    settled = settle(one, two, decided)
    show(one, two, settled)
    if arguments.write:
        write(one, two, settled)


if __name__ == "__main__":
    main()
