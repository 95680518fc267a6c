"""Measure weights for the model card, and write its tables.

uv run --all-packages --extra teacher python studio/benchmarks/model_card NAME --data DIR --renders RENDERS
    --teacher face_landmarker.task --out OUT [--card MODEL_CARD.md]

NAME is the name of packaged weights, after ``maeface-studio check NAME --write``. DIR has ``photos/`` and
``videos/``; RENDERS are those of ``check``. Measured are ``check`` and ``bench`` (beside
``maeface-nano-motion`` and MediaPipe), the portraits by group and on worse pictures
(``benchmarks/zero_shot.py``), and pictures of people at rest and of a group. What is measured is kept in
OUT, by the hash of the weights, and not measured again; so are MediaPipe's results. With ``--card``, each
table of the card is replaced between its two comments; else all are printed.
"""

import argparse
from pathlib import Path

import measures
from blocks import Card

from maeface import files
from maeface.model import weights


def fill(page: str, blocks: dict[str, str]) -> str:
    """Return a page with its blocks replaced.

    Raises:
        SystemExit: the page lacks one.
    """
    for name, block in blocks.items():
        begin, end = f"<!-- {name}: made by studio/benchmarks/model_card -->", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise SystemExit(f"the card has no block '{name}'; expected {begin} and {end}")
        page = f"{before}{begin}\n{block}\n\n{end}{after}"
    return page


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of packaged weights")
    for option in ("data", "renders", "teacher", "out"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--card", type=Path)
    options = parser.parse_args()
    given = measures.Given(options.name, options.data, options.renders, options.teacher, options.out)
    kept = given.out / files.sha256(weights.find(given.name))[:12]
    kept.mkdir(parents=True, exist_ok=True)
    card = Card(
        given.name,
        measures.keep(kept / "scores.csv", lambda: measures.measure_scores(given)),
        measures.keep(kept / "checks.csv", lambda: measures.measure_checks(given, kept / "calibration.png")),
        measures.keep(kept / "pictures.csv", lambda: measures.measure_pictures(given)),
        measures.keep(given.out / "mediapipe.csv", lambda: measures.measure_peer(given)),
        measures.keep(kept / "others.csv", lambda: measures.measure_others(given)),
    )
    blocks = card.blocks()
    if options.card:
        files.write_text(options.card, fill(options.card.read_text("utf-8"), blocks))
    else:
        print("\n\n".join(f"{name}\n\n{block}" for name, block in blocks.items()))


if __name__ == "__main__":
    main()
