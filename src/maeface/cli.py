"""The command line ``maeface``: one command for each verb, and the exit codes.

Exit codes: 0 success; 1 success, but more files were dropped than allowed; 2 wrong usage or settings; 3 wrong
input; 4 wrong weights or checkpoint; 5 disk, memory, device or lock not available; 130 interrupted;
143 terminated.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from maeface import checks, config, console, export_options, options, predict_options, process, serve_options
from maeface.errors import ConfigError

app = typer.Typer(
    help="Facial action units (AUs) from photos and videos, with masked autoencoders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    cls=process.PlainGroup,
)


def main() -> None:
    """Run the command line ``maeface``."""
    process.run_commands(app, "maeface")


@app.callback(invoke_without_command=True)
def _options(show_version: options.ShowVersion = False) -> None:
    if show_version:
        console.print_result(version("maeface"))
        raise typer.Exit


@app.command()
def datasets(name: options.DatasetName = None) -> None:
    """List the supported datasets: labels, folds, licence, how to obtain and prepare them."""
    from maeface import datasets as verb

    console.print_result(verb.render(verb.run(name)))


@app.command()
def prepare(
    sources: options.Sources,
    out: options.PreparedFolder,
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

    settings = config.check(verb.Settings, options.choose(arguments, verb.Settings.model_fields))
    summary = verb.run(sources, out, settings, dataset=dataset, options=overrides or ())
    console.print_result(str(summary))
    if summary.too_many_bad:
        raise typer.Exit(1)


@app.command()
def pretrain(
    recipe: options.Recipe,
    data: options.Data,
    out: options.RunFolder,
    init: options.PretrainInit = None,
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
    init: options.FinetuneInit,
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
    predictions: options.Predictions,
    threshold: Annotated[float, typer.Option(help="Probability from which an AU counts as present.")] = 0.5,
    out: options.Scores = None,
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
    inputs: options.Inputs = None,
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
def aus(name: options.AU = None, weights: options.Weights = None) -> None:
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
    name: options.Experiment,
    data: options.AllData,
    out: options.Results,
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
def serve(
    host: serve_options.Host = "127.0.0.1",
    port: serve_options.Port = 8000,
    token_file: serve_options.TokenFile = None,
    no_token: serve_options.NoToken = False,
    folder: serve_options.Folder = None,
    keep: serve_options.Keep = 24,
    log_polls: serve_options.LogPolls = False,
    weights: options.Weights = None,
    detector: options.Detector = "auto",
    sides: predict_options.Sides = False,
    max_photos_mb: serve_options.MaxPhotosMB = 64,
    max_film_mb: serve_options.MaxFilmMB = 2000,
    max_pixels: serve_options.MaxPixels = 50,
    max_seconds: serve_options.MaxSeconds = 3600,
    queue: serve_options.PhotoQueue = 256,
    jobs: serve_options.FilmQueue = 32,
    device: serve_options.Devices = None,
    backend: options.Backend = "auto",
    precision: options.Precision = "auto",
    workers: serve_options.Workers = None,
) -> None:
    """Answer requests over HTTP: photos and films to values, as JSON or CSV."""
    arguments = locals() | {"device": device or ["auto"], "folder": folder or serve_options.find_folder()}
    checks.require_weights([weights])
    from maeface import serve as verb

    settings = config.check(verb.Settings, options.choose(arguments, verb.Settings.model_fields))
    verb.run(settings, host, port, token_file, no_token)


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


@app.command()
def export(
    to: export_options.To,
    out: export_options.Out,
    weights: export_options.Weights = None,
    precision: export_options.Precision = "fp32",
    with_preprocessing: export_options.WithPreprocessing = False,
    photos: export_options.Photos = None,
    labels: export_options.Labels = None,
    max_difference: export_options.MaxDifference = None,
    max_fall: export_options.MaxFall = 0.01,
) -> None:
    """Export the networks to ONNX, OpenVINO, PyTorch or a model hub, and prove that they compute the same."""
    arguments = locals()
    checks.require_weights([weights])
    from maeface import export as verb

    summary = verb.run(**arguments)
    console.print_result(verb.render(summary))
    console.print_result(str(summary))


@app.command()
def doctor(
    as_json: options.AsJSON = False,
    speed: options.MeasureSpeed = True,
    time_limit: options.TimeLimit = 60.0,
) -> None:
    """Check this installation: versions, devices, speed of the back ends, weights, extras."""
    from maeface import doctor as verb

    report = verb.run(speed, time_limit)
    console.print_result(verb.to_json(report) if as_json else verb.render(report))
    console.note(verb.conclude(report))
    if report.broken:
        raise typer.Exit(5)
