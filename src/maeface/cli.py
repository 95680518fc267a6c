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

from maeface import checks, config, console, options, process
from maeface.errors import ConfigError, MaefaceError

app = typer.Typer(
    help="Facial action units from photos and videos: prepare, pre-train, fine-tune, evaluate, predict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the command line ``maeface``."""
    run(app, "maeface")


def run(commands: typer.Typer, name: str) -> None:
    """Run a command line called ``name``; the only place that ends the process."""
    process.wait_without_spinning()
    try:
        with process.stopped_by_signals():
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
        # torch.OutOfMemoryError by its name: the door does not load torch
        if not isinstance(error, MemoryError) and type(error).__name__ != "OutOfMemoryError":
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
        str | None,
        typer.Argument(help="A dataset, to see all that is known of it; all of them if not given."),
    ] = None,
) -> None:
    """What is known of each dataset: labels, folds, licence, how to get it and how to prepare it."""
    from maeface import datasets as verb

    console.print_result(verb.render(verb.run(name)))


@app.command()
def prepare(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...", help="Photos, videos, or folders of them; with --dataset, its folder."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the crops and the manifest.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Read SOURCE as this dataset is handed out, with its labels; several with commas between. "
            "`maeface datasets` lists them; 'table' is any CSV."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Of the dataset, e.g. --set camera=right. Repeatable."
        ),
    ] = None,
    every: options.Every = 1,
    fps: options.Fps = None,
    size: Annotated[int, typer.Option(help="Side of a crop, in pixels.")] = 256,
    faces: Annotated[options.Faces, typer.Option(help="Which faces of an image to keep.")] = "largest",
    aligned: options.Aligned = False,
    min_side: Annotated[int, typer.Option(help="Drop photos with a side below this, in pixels.")] = 32,
    threshold: Annotated[float, typer.Option(help="Least score of a face, 0 to 1.")] = 0.5,
    backbone: Annotated[
        options.Backbone, typer.Option(help="Network that finds the faces.")
    ] = "mobilenet0.25",
    detector: options.Detector = "auto",
    jpeg_quality: Annotated[int, typer.Option(help="Of the stored crops, 1 to 100.")] = 95,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core if not given.")] = None,
    device: options.Where = "auto",
    max_bad: Annotated[
        float, typer.Option(help="Exit 1 if a larger share of the files than this gives no face, 0 to 1.")
    ] = 1.0,
) -> None:
    """Photos and videos in, aligned face crops out: clean, detect, turn, crop, store."""
    given = locals()
    checks.inputs(sources)
    checks.output_folders(out)
    from maeface import prepare as verb

    values = {name: value for name, value in given.items() if name in verb.Settings.model_fields}
    settings = config.check(verb.Settings, values, "prepare")
    summary = verb.run(sources, out, settings, dataset=dataset, options=overrides or ())
    console.print_result(str(summary))
    if summary.too_many_bad:
        raise typer.Exit(1)


@app.command()
def pretrain(
    recipe: options.Recipe,
    data: options.Data,
    out: options.Run,
    init: Annotated[
        str | None, typer.Option(help="Weights to start from: a file, a name, or 'random'.")
    ] = None,
    overrides: options.Set = None,
) -> None:
    """Learn faces without labels: a masked autoencoder."""
    checks.inputs(data, "folder", advice="give a folder that `maeface prepare` wrote")
    checks.weights([init], ConfigError)
    checks.output_folders(out)
    from maeface import pretrain as verb

    changes = [*(overrides or []), *([f"init={init}"] if init else [])]
    console.print_result(str(verb.run(config.load(config.Pretrain, recipe, changes), data, out)))


@app.command()
def finetune(
    recipe: options.Recipe,
    data: options.Data,
    init: Annotated[str, typer.Option(help="Weights to start from: a file, a name, or 'random'.")],
    out: options.Run,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Table of labels, CSV or Parquet; if not given, those of the prepared folder (--data)."
        ),
    ] = None,
    guide: Annotated[
        Path | None, typer.Option(help="Table of measures of the faces, to be learned beside; Parquet.")
    ] = None,
    overrides: options.Set = None,
) -> None:
    """Learn action units from labelled crops: occurrence, intensity, or both."""
    checks.inputs(data, "folder", advice="give a folder that `maeface prepare` wrote")
    checks.inputs([labels], "labels file")
    checks.inputs([guide], "file", advice="a guide is a Parquet table with a column id")
    checks.weights([init], ConfigError)
    checks.output_folders(out)
    from maeface import finetune as verb

    settings = config.load(config.Finetune, recipe, overrides or ())
    console.print_result(str(verb.run(settings, data, labels or _labels_of(data), init, out, guide)))


def _labels_of(data: list[Path]) -> Path:
    """The labels that ``prepare --dataset`` left in the one prepared folder."""
    labels = data[0] / "labels.parquet"
    if len(data) > 1:
        raise ConfigError("--labels is needed with several --data folders; give one table for all of them")
    if not labels.is_file():
        raise ConfigError(f"{data[0]} has no {labels.name}; give --labels, or prepare it with --dataset")
    return labels


@app.command()
def evaluate(
    labels: Annotated[Path, typer.Option(help="Table of labels, CSV or Parquet.")],
    predictions: Annotated[
        Path, typer.Option(help="Table of predictions, CSV or Parquet, of maeface or another tool.")
    ],
    threshold: Annotated[float, typer.Option(help="Probability from which an AU counts as present.")] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Also write the scores, as .csv or .json.")] = None,
) -> None:
    """Score predictions against labels: F1, ICC, MSE, MAE and more for each action unit."""
    checks.inputs([labels], "labels file")
    checks.inputs([predictions], "predictions file")
    checks.output_file(out, "scores", (".csv", ".json"))
    from maeface import evaluate as verb

    console.print_result(verb.render(verb.run(labels, predictions, threshold, out)))


@app.command()
def predict(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Photos, videos, or folders of them.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The table: a .csv or a .parquet file; if not given, a line a face is printed."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="Weights of an AU model, as finetune writes them, or the name of some that come with the "
            "package; maeface-nano if not given.",
        ),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for a picture of each photo, with boxes and AU bars.")
    ] = None,
    every: options.Every = 1,
    fps: options.Fps = None,
    faces: Annotated[options.Faces, typer.Option(help="Which faces of an image to predict.")] = "all",
    aligned: options.Aligned = False,
    detector: options.Detector = "auto",
    device: options.Where = "auto",
    precision: Annotated[
        config.Precision, typer.Option(help="Of the AU model; auto: bf16 where the hardware computes in it.")
    ] = "auto",
    max_bad: Annotated[
        float, typer.Option(help="Exit 1 if a larger share of the inputs than this cannot be read, 0 to 1.")
    ] = 1.0,
) -> None:
    """Action units of photos and videos, as a table, with pictures."""
    checks.inputs(inputs)
    checks.weights([weights])
    checks.output_file(out, "predictions", (".csv", ".parquet"))
    checks.output_folders(pictures)
    checks.sampling(every, fps)
    from maeface import predict as verb

    summary = verb.run(
        inputs, weights, out, pictures, every, fps, faces, aligned, device, precision, detector, max_bad
    )
    write = console.print_result if out else console.note  # without --out, stdout has the lines
    write(str(summary))
    if summary.too_many_bad:
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the runs and report.html.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Another seed, another split and start.")] = 0,
    overrides: options.Set = None,
) -> None:
    """The whole way in minutes, on rendered faces that come with the package."""
    checks.output_folders(out)
    from maeface import demo as verb

    summary = verb.run(out, seed, overrides or ())
    console.print_result(verb.render(summary))
    console.print_result(f"{summary.report}, in {summary.seconds:.0f} s")


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="ex1 to ex5, table5, ..., fig1, ..., cross, or a TOML file.")],
    data: Annotated[Path, typer.Option(help="Folder with the datasets by name, raw or prepared.")],
    out: Annotated[Path, typer.Option(help="Folder for everything; the same command goes on with it.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE|NAME=FILE", help="The encoder, or several by their names. Repeatable."),
    ] = None,
    selection: Annotated[
        Literal["validation", "paper"], typer.Option(help="What picks the epoch; paper: the test fold.")
    ] = "validation",
    train: Annotated[str | None, typer.Option(help="Of cross: the dataset to learn from.")] = None,
    test: Annotated[str | None, typer.Option(help="Of cross: the dataset to test on.")] = None,
    overrides: options.Set = None,
) -> None:
    """An experiment or a figure of the paper, whole."""
    checks.inputs([data], "folder", advice="give the folder with what it is made from (--data)")
    checks.weights(text if Path(text).exists() else text.rpartition("=")[2] for text in weights or ())
    checks.output_folders(out)
    from maeface import reproduce as verb

    changes = [*(overrides or []), *(["selection=test"] if selection == "paper" else [])]
    changes += [f"{key}={value}" for key, value in (("dataset", train), ("tested", test)) if value]
    console.print_result(
        str(verb.run(verb.load(name, changes), data, out, verb.parse_weights(weights or ())))
    )


if __name__ == "__main__":
    main()
