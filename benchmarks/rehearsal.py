"""Run the paper's experiments on the miniature datasets, with a small network and few epochs.

uv run python benchmarks/rehearsal.py MINIATURE OUT --weights WEIGHTS [NAME ...]

MINIATURE is written by studio/benchmarks/miniature.py (bp4d, bp4dplus, disfa, and faces for table6). WEIGHTS
is a small encoder. A masked autoencoder trained on some thousand renders is not enough for 600 labelled
faces (docs/rehearsal.md). `maeface-nano` is enough, because it was trained on labels of other rendered
people. The command of each experiment is printed; it goes from the raw files to OUT/NAME/report.html. A run
that was stopped is continued by the same command.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

TRAINING = (
    "finetune.model.size=nano",
    "finetune.model.image_size=64",
    "finetune.model.patch_size=8",
    "finetune.model.drop_path=0",
    "finetune.data.crop_scale=[0.85,1.0]",
    "finetune.data.randaugment=",
    "finetune.optim.batch=16",
    "finetune.optim.base_lr=12e-3",
    "finetune.optim.layer_decay=0.9",
    "finetune.run.workers=0",
)
EPOCHS = ("finetune.optim.epochs=10", "finetune.optim.warmup_epochs=1", "finetune.run.evaluate_every=2")
"""The same for all rows; in the paper, training from scratch has ten times as many epochs."""

PRETRAINING = (
    "pretrain.model.size=nano",
    "pretrain.model.image_size=64",
    "pretrain.model.patch_size=8",
    "pretrain.model.decoder_depth=2",
    "pretrain.model.decoder_width=96",
    "pretrain.model.decoder_heads=4",
    "pretrain.data.crop_scale=[0.8,1.0]",
    "pretrain.optim.epochs=10",
    "pretrain.optim.warmup_epochs=1",
    "pretrain.optim.batch=32",
    "pretrain.optim.base_lr=16e-3",
    "pretrain.run.workers=0",
    "pretrain.run.evaluate_every=10",
)

ONLY = {
    "table5": ('of=["ex5"]',),
    "table6": ('of=["ex5"]', 'folds=["P1"]', *PRETRAINING),
    "fig7": ('of=["ex5"]', 'folds=["P1"]', "epochs_factor=0.5"),
}
"""Tables 5, 6 and Figure 7 have several benchmarks; only one of them is run."""

NOTE = "note=rendered people in the layout of the dataset (studio/benchmarks/miniature.py), not the dataset"
NAMES = ("ex1", "ex2", "ex3", "ex4", "ex5", "table5", "table6", "fig7")


def make_command(name: str, miniature: Path, out: Path, weights: str) -> list[str]:
    """Return the command line of one experiment."""
    encoder = ["--weights", "in1k=random" if name == "table6" else weights]
    epochs = () if name == "fig7" else EPOCHS  # rows of fig7 differ in their epochs
    changes = [NOTE, *TRAINING, *epochs, *ONLY.get(name, ())]
    sets = [text for change in changes for text in ("--set", change)]
    return ["reproduce", name, "--data", str(miniature), "--out", str(out / name), *encoder, *sets]


def main() -> None:
    """Read the command line and run the experiments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("miniature", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    arguments = parser.parse_intermixed_args()
    for name in arguments.names or NAMES:
        words = make_command(name, arguments.miniature, arguments.out, arguments.weights)
        print(f"maeface {shlex.join(words)}", flush=True)
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "maeface", *words], check=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
