"""Compare the numbers of two checkouts of maeface, to see that a refactoring changed none.

    uv run python benchmarks/compare_versions.py BEFORE AFTER --photos DIR --videos DIR --out OUT

BEFORE and AFTER are checkouts. In each, photos and videos are predicted and prepared, and a small masked
autoencoder is pre-trained and fine-tuned on the packaged sample (2 epochs each, one thread, fixed seed).
The output says for each result whether it is equal: table columns that both versions have, bytes of prepared
files, losses of every step, bytes of the weights.
"""

import argparse
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

PHOTOS = 30
SMALL = {
    "model.size": "nano",
    "model.image_size": "64",
    "model.patch_size": "8",
    "model.decoder_depth": "2",
    "model.decoder_width": "96",
    "model.decoder_heads": "4",
}
SHORT = {
    "optim.batch": "32",
    "optim.warmup_epochs": "1",
    "optim.epochs": "2",
    "run.seed": "3",
    "run.workers": "0",
}


def commands(photos: Path, videos: Path, out: Path, sample: Path) -> Iterator[list[str]]:
    """Yield the commands whose results are compared; both versions know them."""
    some = [str(path) for path in sorted(photos.rglob("*.jpg"))[:PHOTOS]]
    clips = [str(path) for path in sorted(videos.iterdir()) if path.suffix in {".mp4", ".mov", ".mpg"}]
    yield ["predict", *some, "--out", str(out / "photos.csv")]
    yield ["predict", *clips, "--every", "5", "--out", str(out / "clips.csv")]
    yield ["prepare", *some, clips[0], "--out", str(out / "prepared"), "--faces", "all"]
    yield [
        "pretrain",
        "mae-face",
        "--data",
        str(sample),
        "--out",
        str(out / "mae"),
        *_overrides(SMALL | SHORT),
    ]
    yield [
        *("finetune", "detection", "--data", str(sample), "--out", str(out / "au")),
        *("--init", str(out / "mae" / "weights.safetensors"), *_overrides(SHORT)),
    ]


def run_version(checkout: Path, photos: Path, videos: Path, out: Path, sample: Path) -> None:
    """Run the commands in a checkout, with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment.pop("VIRTUAL_ENV", None)
    for command in commands(photos, videos, out, sample):
        subprocess.run(["uv", "run", "maeface", *command], cwd=checkout, env=environment, check=True)


def compare(before: Path, after: Path) -> Iterator[tuple[str, bool]]:
    """Yield the name of each result, and whether both versions have the same."""
    for name in ("photos.csv", "clips.csv"):
        tables = [pd.read_csv(folder / name) for folder in (before, after)]
        shared = [column for column in tables[0] if column in tables[1]]
        yield (
            f"{name}: {len(tables[0])} rows, {len(shared)} columns",
            tables[0][shared].equals(tables[1][shared]),
        )
    for path in sorted((before / "prepared").rglob("*.*")):
        name = path.relative_to(before)
        yield str(name), _digest(path) == _digest(after / name)
    for run in ("mae", "au"):
        losses = [_losses(folder / run / "log.jsonl") for folder in (before, after)]
        yield f"{run}: losses of {len(losses[0])} lines", losses[0] == losses[1]
        weights = [_digest(folder / run / "weights.safetensors") for folder in (before, after)]
        yield f"{run}: weights.safetensors", weights[0] == weights[1]


def main() -> None:
    """Read the command line, run both versions and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    photos, videos, out = (path.resolve() for path in (arguments.photos, arguments.videos, arguments.out))
    sample = arguments.before.resolve() / "src" / "maeface" / "sample"
    for name, checkout in (("before", arguments.before), ("after", arguments.after)):
        run_version(checkout.resolve(), photos, videos, out / name, sample)
    for result, equal in compare(out / "before", out / "after"):
        print(f"{'equal' if equal else 'DIFFERENT':10} {result}")


def _overrides(settings: dict[str, str]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _losses(path: Path) -> list[object]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [[row.get(key) for key in ("step", "loss", "validation_loss")] for row in rows]


if __name__ == "__main__":
    main()
