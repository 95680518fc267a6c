"""The command line ``maeface-studio``."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from maeface import checks, console, options, process
from maeface.errors import ConfigError

app = typer.Typer(
    help="Make what maeface ships: rendered faces with labels, the weights, and the face detector.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Layout = Literal["bp4d", "bp4dplus", "disfa"]
FILE_NAME = re.compile(r"[\w.-]+\.\w+")


def main() -> None:
    """Run the command line ``maeface-studio``."""
    process.run_commands(app, "maeface-studio")


@app.command()
def render(
    rig: Annotated[Path, typer.Option(help="The 3D head, ict_facekit.npz.")],
    out: Annotated[Path, typer.Option(help="Folder for the crops, the manifest and the labels.")],
    subjects: Annotated[int, typer.Option(help="Number of people.")] = 40,
    first_subject: Annotated[
        int, typer.Option(help="Number of the first of them, from 0: for one cast in several folders.")
    ] = 0,
    images: Annotated[int, typer.Option(help="Stills of each person.")] = 20,
    clips: Annotated[int, typer.Option(help="Clips of each person.")] = 0,
    clip_subjects: Annotated[
        int | None, typer.Option(help="Number of people with clips; all if not given.")
    ] = None,
    clip_frames: Annotated[int, typer.Option(help="Frames of a clip.")] = 48,
    clip_fps: Annotated[float, typer.Option("--fps", help="Frames per second of a clip.")] = 24.0,
    size: Annotated[int, typer.Option(help="Side of a crop in pixels.")] = 224,
    seed: Annotated[int, typer.Option(help="Seed of all random draws; another seed gives other people.")] = 0,
    quality: Annotated[int, typer.Option(help="JPEG quality of the crops, 1 to 95.")] = 90,
    one_sided: Annotated[
        float, typer.Option(help="Fraction of the AUs of the stills that one side of the face shows, 0 to 1.")
    ] = 0.0,
    resting: Annotated[
        float, typer.Option(help="How far people differ at rest, 0 to 2; 1 is the usual range.")
    ] = 1.0,
    frames: Annotated[bool, typer.Option("--frames", help="Also write the whole frames, as PNG.")] = False,
    layout: Annotated[
        Layout | None, typer.Option(help="Also write the clips in the layout of this dataset.")
    ] = None,
    shapes: Annotated[
        Path | None,
        typer.Option(
            help="A second set of shapes to blend with the rig's for each person, makehuman_shapes.npz."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of processes; one per core if not given.")
    ] = None,
) -> None:
    """Render faces with exact action unit labels."""
    from maeface_studio.output.render import run
    from maeface_studio.output.settings import Settings

    settings = Settings(
        subjects=subjects,
        first_subject=first_subject,
        images=images,
        clips=clips,
        clip_subjects=clip_subjects,
        clip_frames=clip_frames,
        fps=clip_fps,
        size=size,
        seed=seed,
        quality=quality,
        one_sided=one_sided,
        resting=resting,
        frames=frames,
        layout=layout,
    )
    console.print_result(str(run(rig, out, settings, workers, shapes)))


@app.command()
def weights(
    name: Annotated[
        str,
        typer.Argument(
            help="maeface-nano-96, maeface-nano-motion, maeface-nano, maeface-tiny, or a recipe (TOML)."
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder with rig/, photos/ and videos/.")],
    out: Annotated[Path, typer.Option(help="Folder for all results; the same command continues in it.")],
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="MediaPipe's face_landmarker.task, or a table of labels or predictions of the real faces."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe. Repeatable."),
    ] = None,
) -> None:
    """Make the packaged weights: render, prepare, pre-train, fine-tune, pack and score."""
    from maeface_studio.weights.make import list_results, run
    from maeface_studio.weights.recipe import load

    checks.require_writable_folders(out)
    for result in list_results(run(load(name, overrides or ()), data, out, teacher)):
        console.print_result(result)


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="FILE|NAME", help="Weights of an AU model.")],
    photos: Annotated[Path, typer.Option(help="Folder of the official portraits.")],
    renders: Annotated[
        Path,
        typer.Option(help="Folder that 'maeface-studio render' wrote, with people who are in no training."),
    ],
    write: Annotated[
        bool,
        typer.Option("--write", help="Write calibration, checks and thresholds into the weights."),
    ] = False,
    detector: options.Detector = "embedded",
    false_alarms: Annotated[
        float, typer.Option(help="Largest fraction of faces without an AU that may be called present.")
    ] = 0.03,
    diagram: Annotated[
        Path | None,
        typer.Option(help="File for a picture of how often probabilities come true, .png."),
    ] = None,
) -> None:
    """Check the AUs of weights on faces that they did not learn from; calibrate, and choose thresholds."""
    checks.require_inputs([photos, renders], "folder")
    checks.require_weights([name])
    checks.require_writable_file(diagram, "diagrams", (".png",))
    from maeface_studio.weights import check as command

    given = name, photos, renders, write, detector, false_alarms, diagram
    console.print_result(command.render(command.run(*given)))


@app.command()
def unlike(
    name: Annotated[
        str, typer.Argument(metavar="FILE|NAME", help="Weights of an AU model; they are changed.")
    ],
    real: Annotated[
        list[Path],
        typer.Option(help="Prepared folder of real faces that the weights learned from. Repeatable."),
    ],
    renders: Annotated[
        list[Path],
        typer.Option(help="Folder of the renders that the weights learned from. Repeatable."),
    ],
) -> None:
    """Measure the training faces of weights, so that predictions say which faces are unlike them."""
    checks.require_inputs([*real, *renders], "folder")
    checks.require_weights([name])
    from maeface_studio.weights.unlike import run

    console.print_result(str(run(name, real, renders)))


@app.command()
def bench(
    tools: Annotated[
        list[str],
        typer.Argument(
            metavar="TOOL",
            help="Weights (FILE or NAME), 'mediapipe', or NAME=PATH: a table, or a folder of tables.",
        ),
    ],
    photos: Annotated[Path | None, typer.Option(help="Folder of the official portraits.")] = None,
    renders: Annotated[
        Path | None, typer.Option(help="Prepared folder with labels.parquet, of people unknown to the tools.")
    ] = None,
    fold: Annotated[str | None, typer.Option(help="Of the renders, only this test fold of SynthAU.")] = None,
    videos: Annotated[
        list[Path] | None, typer.Option(help="A clip, or a folder of clips. Repeatable.")
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(help="CSV with source, track, person: tracks of clips that are one person."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="MediaPipe's face_landmarker.task, for clips and for 'mediapipe'.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Read at most this many frames per second of a clip.")
    ] = None,
    detector: options.Detector = "embedded",
    tables: Annotated[
        Path | None, typer.Option(help="Folder for the tables that are made; MediaPipe's are used again.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for all scores, .csv.")] = None,
) -> None:
    """Score the AUs of weights and of other tools on renders, on portraits and within clips."""
    from maeface_studio.weights.bench import command, scores

    given = tools, photos, renders, fold, videos or (), people, teacher, fps, detector, tables, out
    console.print_result(scores.render(command.run(*given)))


@app.command()
def detector(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE", help="Photographs, videos, folders, tar files of JPEGs."),
    ],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    exclude: Annotated[
        list[Path] | None,
        typer.Option(help="A text, CSV or JSON file with names of files not to learn from. Repeatable."),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Weights of the teacher; the public RetinaFace if not given.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="An earlier file: keep its detection of faces, train only the points."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(help="An earlier file: go on from its weights, with the second phase only."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and of all random draws.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps of the detection of faces.")
    ] = None,
    place_steps: Annotated[int | None, typer.Option(min=0, help="Training steps of the points.")] = None,
) -> None:
    """Train the embedded face detector on the outputs of a teacher."""
    if keep and steps:
        raise ConfigError("--steps has no effect with --keep, which trains only the points; give one of them")
    checks.require_inputs(sources)
    checks.require_writable_file(out, "detectors", (".safetensors",))
    import torch

    from maeface_studio.detector.training import Settings, run

    torch.set_num_threads(1)  # with more threads the result depends on the number of cores
    excluded = {name for path in exclude or () for name in FILE_NAME.findall(_read_text(path))}
    settings = Settings(exclude=tuple(sorted(excluded)))
    if steps:
        settings = replace(settings, detection=settings.detection.with_steps(steps))
    if place_steps is not None:
        settings = replace(settings, landmarks=replace(settings.landmarks, steps=place_steps))
    console.print_result(str(run(sources, out, settings, seed, teacher, keep, start)))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the names in {path}: {error}") from error


if __name__ == "__main__":
    main()
