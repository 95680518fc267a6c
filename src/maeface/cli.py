"""The command line ``maeface``: one command for each verb, and the exit codes.

Exit codes: 0 success; 1 success, but more files were dropped than allowed; 2 wrong usage or settings; 3 wrong
input; 4 wrong weights or checkpoint; 5 disk, memory, device or lock not available; 130 interrupted;
143 terminated.
"""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from maeface import checks, config, console, options, predict_options, process
from maeface.errors import ConfigError, MaefaceError, is_out_of_memory
from maeface.options import INPUT, OUTPUT

app = typer.Typer(
    help="Facial action units (AUs) from photos and videos, with masked autoencoders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the command line ``maeface``."""
    run(app, "maeface")


def run(commands: typer.Typer, name: str) -> None:
    """Run a command line called ``name``, and end the process with an exit code."""
    process.wait_without_spinning()
    try:
        with process.stopped_by_signals(), checks.name_options():
            commands()
    except process.Stopped as stopped:
        console.note(f"{name}: stopped by {stopped.name}")
        raise
    except MaefaceError as error:
        if os.environ.get("MAEFACE_DEBUG"):
            raise
        console.note(f"{name}: {error}")
        sys.exit(error.exit_code)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        console.note(f"{name}: out of memory; use a smaller batch, fewer workers or a smaller model")
        sys.exit(5)


@app.callback(invoke_without_command=True)
def _options(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        console.print_result(version("maeface"))
        raise typer.Exit


@app.command()
def datasets(
    name: Annotated[
        str | None, typer.Argument(help="A dataset, to see all facts about it. Default: list all datasets.")
    ] = None,
) -> None:
    """List the supported datasets: labels, folds, licence, how to obtain and prepare them."""
    from maeface import datasets as verb

    console.print_result(verb.render(verb.run(name)))


@app.command()
def prepare(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE", help="Photos, videos, or folders of them; with --dataset, its folder."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the crops and the manifest.", rich_help_panel=OUTPUT)],
    dataset: options.Dataset = None,
    overrides: options.DatasetOptions = None,
    every: options.Every = 1,
    fps: options.Fps = None,
    size: options.Size = 256,
    faces: options.Faces = "largest",
    min_face: options.MinFace = 32.0,
    aligned: options.Aligned = False,
    min_side: options.MinSide = 32,
    threshold: options.Threshold = 0.5,
    backbone: options.Backbone = "mobilenet0.25",
    detector: options.Detector = "auto",
    jpeg_quality: options.JpegQuality = 95,
    workers: options.Workers = None,
    file_timeout: options.FileTimeout = 1800.0,
    ray: options.Ray = None,
    device: options.Device = "auto",
    backend: options.Backend = "auto",
    max_bad: options.MaxBad = 1.0,
) -> None:
    """Detect, align and crop the faces of photos and videos."""
    arguments = locals()
    checks.require_inputs(sources)
    checks.require_writable_folders(out)
    checks.require_sampling(every, fps)
    from maeface import prepare as verb

    values = {name: value for name, value in arguments.items() if name in verb.Settings.model_fields}
    settings = config.check(verb.Settings, values)
    summary = verb.run(sources, out, settings, dataset=dataset, options=overrides or ())
    console.print_result(str(summary))
    if summary.too_many_bad:
        raise typer.Exit(1)


@app.command()
def pretrain(
    recipe: options.Recipe,
    data: options.Data,
    out: options.RunFolder,
    init: Annotated[
        str | None, typer.Option(help="Initial weights: a file, a name or 'random'. Default: the recipe's.")
    ] = None,
    overrides: options.Overrides = None,
) -> None:
    """Pre-train a masked autoencoder (MAE) on faces without labels."""
    checks.require_inputs(data, "folder", advice="give a folder that `maeface prepare` wrote")
    checks.require_weights([init], ConfigError)
    checks.require_writable_folders(out)
    from maeface import pretrain as verb

    changes = [*(overrides or []), *([f"init={init}"] if init else [])]
    console.print_result(str(verb.run(config.load(config.Pretrain, recipe, changes), data, out)))


@app.command()
def finetune(
    recipe: options.Recipe,
    data: options.Data,
    init: Annotated[
        str,
        typer.Option(
            help="Initial weights: a file, the name of weights that come with maeface, or 'random'."
        ),
    ],
    out: options.RunFolder,
    labels: options.Labels = None,
    guide: options.Guide = None,
    seeds: options.Seeds = None,
    overrides: options.Overrides = None,
) -> None:
    """Train a network on AU labels: occurrence, intensity, or both."""
    checks.require_inputs(data, "folder", advice="give a folder that `maeface prepare` wrote")
    checks.require_inputs([labels], "labels file")
    checks.require_inputs([guide], "file", advice="a guide is a Parquet table with a column id")
    checks.require_weights([init], ConfigError)
    checks.require_writable_folders(out)
    from maeface import finetune as verb

    settings = config.load(config.Finetune, recipe, overrides or ())
    given = (settings, data, labels or checks.find_labels(data), init, out, guide)
    if seeds is None:
        console.print_result(str(verb.run(*given)))
    else:
        console.print_result(verb.render_seeds(verb.run_seeds(options.parse_seeds(seeds), *given)))


@app.command()
def evaluate(
    labels: Annotated[Path, typer.Option(help="Table of labels, CSV or Parquet.")],
    predictions: Annotated[
        Path, typer.Option(help="Table of predictions, CSV or Parquet, from maeface or another tool.")
    ],
    threshold: Annotated[float, typer.Option(help="Probability from which an AU counts as present.")] = 0.5,
    out: Annotated[
        Path | None, typer.Option(help="Also write the scores to this .csv or .json file.")
    ] = None,
) -> None:
    """Compare predictions with labels: F1, ICC, MSE, MAE and more for each AU."""
    process.require_one("evaluate", "; it compares two tables in seconds")
    checks.require_inputs([labels], "labels file")
    checks.require_inputs([predictions], "predictions file")
    checks.require_writable_file(out, "scores", (".csv", ".json"))
    from maeface import evaluate as verb

    console.print_result(verb.render(verb.run(labels, predictions, threshold, out)))


@app.command()
def predict(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Photos, videos, or folders of them.", rich_help_panel=INPUT),
    ] = None,
    every: options.Every = 1,
    fps: options.Fps = None,
    aligned: options.Aligned = False,
    faces: options.Faces = "all",
    track: predict_options.Track = None,
    min_face: options.MinFace = 32.0,
    face_threshold: predict_options.FaceThreshold = 0.5,
    detector: options.Detector = "auto",
    weights: options.Weights = None,
    au_thresholds: predict_options.AUThresholds = None,
    sides: predict_options.Sides = False,
    neutral: predict_options.Neutral = None,
    smooth_s: predict_options.Smooth = 0.0,
    out: options.Tables = None,
    events: predict_options.Events = True,
    formats: predict_options.Formats = None,
    annotations: predict_options.Annotations = None,
    max_bad: options.MaxBad = 1.0,
    pictures: options.Pictures = None,
    report: predict_options.Report = False,
    timeline: predict_options.Timeline = False,
    video: predict_options.Video = False,
    explain: predict_options.Explain = None,
    all_aus: predict_options.AllAUs = False,
    camera: predict_options.Camera = None,
    realtime: predict_options.Realtime = False,
    camera_size: predict_options.CameraSize = "",
    seconds: predict_options.Seconds = None,
    device: options.Device = "auto",
    backend: options.Backend = "auto",
    precision: options.Precision = "auto",
    workers: options.Workers = None,
    file_timeout: options.FileTimeout = 1800.0,
    ray: options.Ray = None,
) -> None:
    """Predict the AUs of the faces in photos and videos, or of a camera."""
    arguments = locals()
    checks.require_inputs(inputs or ())
    checks.require_weights([weights])
    if camera is None:
        checks.require_writable_tables(out)
    checks.require_writable_folders(pictures)
    checks.require_sampling(every, fps)
    from maeface import predict as verb

    arguments["au_thresholds"] = predict_options.join_au_thresholds(au_thresholds)
    arguments["explain"] = predict_options.parse_aus(explain, pictures is not None)
    summary, has_table = verb.run_command(arguments)
    (console.print_result if has_table else console.note)(str(summary))  # else stdout has the lines
    if getattr(summary, "too_many_bad", False):
        raise typer.Exit(1)


@app.command()
def aus(
    name: Annotated[
        str | None,
        typer.Argument(metavar="AU", help="An AU, such as AU12, to see all about it. Default: list all."),
    ] = None,
    weights: options.Weights = None,
) -> None:
    """Explain the AUs: what one sees, and how far the weights are to be trusted on real people."""
    checks.require_weights([weights])
    from maeface import aus as verb

    console.print_result(verb.render(verb.run(name, weights)))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results and report.html.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split by subject and the training.")] = 0,
    overrides: options.Overrides = None,
) -> None:
    """Run all steps in minutes, on rendered faces that come with maeface."""
    checks.require_writable_folders(out)
    from maeface import demo as verb

    summary = verb.run(out, seed, overrides or ())
    console.print_result(verb.render(summary))
    console.print_result(f"{summary.report}, in {summary.seconds:.0f} s")


@app.command()
def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            help="An experiment of the paper (ex1 to ex5, table5, table6, fig7), a figure (fig1, fig3, ...), "
            "'cross' (train on one dataset, test on another), 'lodo' (leave one dataset out), or a TOML file."
        ),
    ],
    data: Annotated[
        Path, typer.Option(help="Folder with the datasets in bp4d, disfa, ...; original or prepared.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for all results. The same command resumes it.")],
    weights: options.NamedWeights = None,
    selection: options.Selection = "validation",
    train: Annotated[str | None, typer.Option(help="Training dataset of 'cross'.")] = None,
    test: Annotated[str | None, typer.Option(help="Test dataset of 'cross'.")] = None,
    overrides: options.Overrides = None,
) -> None:
    """Run an experiment of the paper, or draw one of its figures."""
    checks.require_inputs([data], "folder", advice="give the folder with the datasets (--data)")
    checks.require_weights(text if Path(text).exists() else text.rpartition("=")[2] for text in weights or ())
    checks.require_writable_folders(out)
    from maeface import reproduce as verb

    changes = [*(overrides or []), *(["selection=test"] if selection == "paper" else [])]
    changes += [f"{key}={value}" for key, value in (("dataset", train), ("tested", test)) if value]
    experiment = verb.load(name, changes)
    console.print_result(str(verb.run(experiment, data, out, verb.parse_weights(weights or ()))))


@app.command()
def plan(
    recipe: options.Recipe,
    gpus: options.Gpus = 1,
    gpu: options.Gpu = "h100",
    images: options.Images = None,
    overrides: options.Overrides = None,
) -> None:
    """Estimate memory, time and disk of a training on GPUs."""
    from maeface import plan as verb

    console.print_result(verb.render(verb.run(verb.load(recipe, overrides or ()), gpus, gpu, images)))


if __name__ == "__main__":
    main()
