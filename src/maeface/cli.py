"""The door: one thin command a verb. Turns errors into one line and an exit code.

Exit codes: 0 done; 1 done, with more items skipped than allowed; 2 usage or settings; 3 input;
4 weights or checkpoint; 5 environment (disk, memory, device, lock); 130 interrupted; 143 terminated.
"""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from maeface import config, console
from maeface.errors import MaefaceError

app = typer.Typer(
    help="Facial action units from photos and videos: prepare, pre-train, fine-tune, evaluate, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Faces = Literal["largest", "central", "all"]
Device = Literal["auto", "cpu", "cuda"]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting, e.g. --set optim.epochs=5. Repeatable."
    ),
]
Data = Annotated[
    list[Path], typer.Option("--data", help="A prepared folder, or a folder of face crops. Repeatable.")
]
Every = Annotated[int, typer.Option(min=1, help="Of a video, take every n-th frame.")]
Fps = Annotated[float | None, typer.Option(min=0.001, help="Of a video, take this many frames a second.")]
Aligned = Annotated[bool, typer.Option("--aligned", help="The images are ready face crops: find no faces.")]


def main() -> None:
    """Run the command line; the only place that ends the process."""
    try:
        app()
    except MaefaceError as error:
        if os.environ.get("MAEFACE_DEBUG"):
            raise
        console.say(f"maeface: {error}")
        sys.exit(error.exit_code)
    except MemoryError:
        console.say("maeface: out of memory; use a smaller batch, fewer workers or a smaller model")
        sys.exit(5)


@app.callback(invoke_without_command=True)
def _options(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        console.show(version("maeface"))
        raise typer.Exit


@app.command()
def prepare(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Photos, videos, or folders of them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the crops and the manifest.")],
    every: Every = 1,
    fps: Fps = None,
    size: Annotated[int, typer.Option(min=16, help="Side of a crop, in pixels.")] = 256,
    faces: Annotated[Faces, typer.Option(help="Which faces of an image to keep.")] = "largest",
    aligned: Aligned = False,
    min_side: Annotated[int, typer.Option(min=1, help="Drop images with a side below this, in pixels.")] = 32,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores if not given.")] = None,
    device: Annotated[Device, typer.Option(help="Where faces are found.")] = "auto",
    max_bad: Annotated[
        float, typer.Option(min=0, max=1, help="Exit 1 if a larger share of the inputs is dropped.")
    ] = 1.0,
) -> None:
    """Photos and videos in, aligned face crops out: clean, detect, turn, crop, store."""


@app.command()
def pretrain(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or a TOML file.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the run; the same command goes on with it.")],
    init: Annotated[str | None, typer.Option(help="Weights to start from; 'random' for none.")] = None,
    overrides: Set = None,
) -> None:
    """Learn faces without labels: a masked autoencoder."""
    from maeface import pretrain as verb

    changes = [*(overrides or []), *([f"init={init!r}"] if init else [])]
    verb.run(config.load(config.Pretrain, recipe, changes), data, out)


if __name__ == "__main__":
    main()
