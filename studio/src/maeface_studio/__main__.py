"""``maeface-studio``: render labelled faces, and make what maeface ships: its weights, its face detector."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from maeface import cli, console
from maeface.errors import ConfigError

app = typer.Typer(
    help="Render labelled faces, and make the weights and the face detector that maeface ships.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Layout = Literal["bp4d", "bp4dplus", "disfa"]
FILE_NAME = re.compile(r"[\w.-]+\.\w+")


def main() -> None:
    """Run the command line ``maeface-studio``."""
    cli.run(app, "maeface-studio")


@app.command()
def render(
    rig: Annotated[Path, typer.Option(help="The 3D head: ict_facekit.npz.")],
    out: Annotated[Path, typer.Option(help="Folder for the crops, the manifest and the labels.")],
    subjects: Annotated[int, typer.Option(help="How many people.")] = 40,
    images: Annotated[int, typer.Option(help="Stills of each.")] = 20,
    clips: Annotated[int, typer.Option(help="Clips of each.")] = 0,
    clip_subjects: Annotated[
        int | None, typer.Option(help="Clips of the first so many only; all if not given.")
    ] = None,
    clip_frames: Annotated[int, typer.Option(help="Frames of a clip.")] = 48,
    clip_fps: Annotated[float, typer.Option("--fps", help="Frames of a clip a second.")] = 24.0,
    size: Annotated[int, typer.Option(help="Side of a crop, in pixels.")] = 224,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    quality: Annotated[int, typer.Option(help="Of the JPEG crops, 1 to 95.")] = 90,
    frames: Annotated[bool, typer.Option("--frames", help="Also write the whole frames, as PNG.")] = False,
    layout: Annotated[
        Layout | None, typer.Option(help="Also write the clips as this dataset does, for its reader.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core if not given.")] = None,
) -> None:
    """Render faces with exact action unit labels."""
    from maeface_studio.output import render as verb

    fields = verb.Settings.__dataclass_fields__
    values = {name: value for name, value in locals().items() if name in fields} | {"fps": clip_fps}
    settings = verb.Settings(**values)
    console.show(str(verb.run(rig, out, settings, workers)))


@app.command()
def weights(
    name: Annotated[str, typer.Argument(help="maeface-nano, maeface-tiny, or a TOML recipe.")],
    data: Annotated[Path, typer.Option(help="Folder with rig/, photos/ and videos/.")],
    out: Annotated[Path, typer.Option(help="Folder for everything; the same command goes on with it.")],
    teacher: Annotated[
        Path | None,
        typer.Option(help="MediaPipe's face_landmarker.task, or a table of labels of the real faces."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe. Repeatable."),
    ] = None,
) -> None:
    """Make the weights that come with maeface, from rendering to scores."""
    from maeface_studio.weights import shipped as verb

    for result in verb.shown(verb.run(verb.load(name, overrides or ()), data, out, teacher)):
        console.show(result)


@app.command()
def detector(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="Photographs, videos, folders, tar files of JPEGs."),
    ],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    exclude: Annotated[
        list[Path] | None,
        typer.Option(help="A text, CSV or JSON file that names files not to learn from. Repeatable."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Weights of the teacher; the public RetinaFace if not given.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="An earlier file: keep how it finds faces, train only the points.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other canvases.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of learning to find faces, over both phases.")
    ] = None,
    place_steps: Annotated[int | None, typer.Option(min=1, help="Steps of learning the points.")] = None,
) -> None:
    """Train the face detector that comes with maeface from a teacher's answers."""
    if keep and steps:
        raise ConfigError("--steps is of learning to find faces, which --keep leaves out; give one of them")
    import torch

    from maeface_studio.detector.training import Settings, train

    torch.set_num_threads(1)  # so that the result does not depend on the machine's cores
    excluded = {name for path in exclude or () for name in FILE_NAME.findall(_read(path))}
    settings = Settings(exclude=tuple(sorted(excluded)))
    if steps:
        settings = replace(settings, finding=settings.finding.shortened(steps))
    if place_steps:
        settings = replace(settings, placing=replace(settings.placing, steps=place_steps))
    console.show(str(train(sources, out, settings, seed, teacher, keep)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the names in {path}: {error}") from error


if __name__ == "__main__":
    main()
