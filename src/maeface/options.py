"""Arguments and options that several commands of the command line share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from maeface import checks

Faces = Literal["largest", "central", "all"]
Backbone = Literal["mobilenet0.25", "resnet50"]
Layout = Literal["bp4d", "bp4dplus", "disfa"]

Recipe = Annotated[str, typer.Argument(help="The name of a recipe, or a TOML file.")]
Run = Annotated[Path, typer.Option("--out", help="Folder of the run; the same command goes on with it.")]
Detector = Annotated[
    Literal["auto", "public", "embedded"],
    typer.Option(
        help="Weights that find the faces: the public ones (downloaded once), the package's own (embedded), "
        "or auto: the public ones where they are at hand, without a download."
    ),
]
Where = Annotated[
    str,
    typer.Option(
        "--device", metavar="|".join(checks.DEVICES), callback=checks.device, help="Where the networks run."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting, e.g. --set optim.epochs=5. Repeatable."
    ),
]
Data = Annotated[
    list[Path], typer.Option("--data", help="A prepared folder, or a folder of face crops. Repeatable.")
]
Every = Annotated[int, typer.Option("--every", min=1, help="Of a video, take every n-th frame.")]
Fps = Annotated[
    float | None,
    typer.Option("--fps", min=0.001, help="Of a video, take at most so many frames a second instead."),
]
Aligned = Annotated[bool, typer.Option("--aligned", help="The images are ready face crops: find no faces.")]
