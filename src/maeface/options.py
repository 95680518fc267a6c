"""Arguments and options of the command line that several commands share."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from maeface import checks
from maeface.errors import ConfigError
from maeface.paths import to_path

INPUT, FACES, VALUES, OUTPUT, PICTURES, SPEED = "Input", "Faces", "Values", "Output", "Pictures", "Speed"
"""Groups of options in a command's help."""
Backbone = Annotated[
    Literal["mobilenet0.25", "resnet50"],
    typer.Option(
        help="Network of the face detector; resnet50 is larger and slower, and needs public weights.",
        rich_help_panel=FACES,
    ),
]
Size = Annotated[int, typer.Option(help="Side of the crops in pixels.", rich_help_panel=OUTPUT)]
JpegQuality = Annotated[
    int, typer.Option(help="JPEG quality of the crops, 1 to 100.", rich_help_panel=OUTPUT)
]
MinSide = Annotated[
    int, typer.Option(help="Drop photos with a side below this, in pixels.", rich_help_panel=INPUT)
]
Threshold = Annotated[
    float, typer.Option(help="How sure the detector must be of a face, 0 to 1.", rich_help_panel=FACES)
]


Recipe = Annotated[
    str, typer.Argument(metavar="RECIPE", help="Name of a recipe that comes with maeface, or a TOML file.")
]
RunFolder = Annotated[
    Path, typer.Option("--out", help="Folder for weights, logs and checkpoints. The same command resumes it.")
]


def _parse_faces(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


Faces = Annotated[
    str,  # or an int, which typer has no name for
    typer.Option(
        "--faces",
        metavar="largest|central|all|N",
        parser=_parse_faces,
        help="Faces of an image: the largest, the one nearest to its centre, all, or the N largest.",
        rich_help_panel=FACES,
    ),
]


Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|NAME",
        help="Weights that 'maeface finetune' wrote, the name of weights that come with maeface, or "
        "hf:ORG/NAME from a model hub. Default: maeface-nano-96; 'maeface aus' tells of them.",
        rich_help_panel=VALUES,
    ),
]
MinFace = Annotated[
    float,
    typer.Option(
        "--min-face",
        min=0,
        help="Smallest face to search for in videos, in pixels. Smaller ones that are found anyway are kept.",
        rich_help_panel=FACES,
    ),
]
Detector = Annotated[
    Literal["auto", "public", "embedded"],
    typer.Option(
        help="Weights of the face detector: 'public' (RetinaFace's, downloaded once), 'embedded' (part of "
        "maeface, less precise), or 'auto': public if already on this machine, otherwise embedded.",
        rich_help_panel=FACES,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="|".join(checks.DEVICES),
        callback=lambda name: checks.require_device(name),
        help="Device for the networks; 'auto': the GPU if there is one.",
        rich_help_panel=SPEED,
    ),
]
Backend = Annotated[
    Literal["auto", "torch", "openvino", "onnxruntime"],
    typer.Option(
        help="Library that runs the networks; 'auto': PyTorch on a GPU, else the fastest that is installed.",
        rich_help_panel=SPEED,
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(
        help="Number format of the AU network; 'auto': bf16 if the hardware supports it.",
        rich_help_panel=SPEED,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting, such as --set optim.epochs=5. Repeatable."
    ),
]
DatasetName = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="A dataset, to see all facts about it. Default: list all datasets."
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        help="Read SOURCE as this dataset, with its labels; several names are separated by commas. "
        "'maeface datasets' lists the names; 'table' reads labels from any CSV file.",
        rich_help_panel=INPUT,
    ),
]
DatasetOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Option of the dataset, such as --set camera=right. Repeatable.",
        rich_help_panel=INPUT,
    ),
]
Data = Annotated[
    list[Path],
    typer.Option(
        "--data", help="Folder that 'maeface prepare' wrote, or a folder of cropped faces. Repeatable."
    ),
]
Every = Annotated[
    int, typer.Option("--every", min=1, help="Use every n-th frame of a video.", rich_help_panel=INPUT)
]
Fps = Annotated[
    float | None,
    typer.Option(
        "--fps",
        min=0.001,
        help="Use at most this many frames per second of a video instead.",
        rich_help_panel=INPUT,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS|local",
        help="Work on the Ray cluster at ADDRESS, or on one started on this machine (extra 'ray').",
        rich_help_panel=SPEED,
    ),
]
FileTimeout = Annotated[
    float,
    typer.Option(
        "--file-timeout",
        help="Give up a file from which no further image comes for so many seconds.",
        rich_help_panel=SPEED,
    ),
]
Pictures = Annotated[
    Path | None,
    typer.Option(
        "--pictures",
        help="Folder for a copy of each photo with face boxes and AU bars.",
        rich_help_panel=PICTURES,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Number of processes. Default: one for each CPU core; predict on a GPU: up to four.",
        rich_help_panel=SPEED,
    ),
]
Tables = Annotated[
    Path | None,
    typer.Option(
        "--out",
        parser=to_path,
        metavar="FILE|DIR",
        help="Table to write, .csv or .parquet, or a folder for a table of each input. The same command goes "
        "on with it. Default: FILM.aus.csv beside a film, FOLDER.aus/ beside a folder with films; a line for "
        "each face of photos.",
        rich_help_panel=OUTPUT,
    ),
]
Aligned = Annotated[
    bool,
    typer.Option(
        "--aligned", help="The images are cropped faces: skip the detection.", rich_help_panel=INPUT
    ),
]
MaxBad = Annotated[
    float,
    typer.Option(
        "--max-bad",
        help="Exit with 1 if a larger fraction of the inputs than this, 0 to 1, cannot be read or (prepare) "
        "gives no face.",
        rich_help_panel=OUTPUT,
    ),
]
Experiment = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="An experiment of the paper (ex1 to ex5, table5, table6, fig7), a figure (fig1, fig3, ...), "
        "'cross' (train on one dataset, test on another), 'lodo' (leave one dataset out), or a TOML file.",
    ),
]
AllData = Annotated[
    Path, typer.Option("--data", help="Folder with the datasets in bp4d, disfa, ...; original or prepared.")
]
Results = Annotated[Path, typer.Option("--out", help="Folder for all results. The same command resumes it.")]
NamedWeights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        metavar="FILE|NAME=FILE",
        help="Pre-trained weights; if several are compared, NAME=FILE for each. Repeatable.",
    ),
]
Selection = Annotated[
    Literal["validation", "paper"],
    typer.Option(
        help="Which scores choose the best epoch: those of held-out training subjects ('validation'), or of "
        "the test fold ('paper'), which is common but gives optimistic scores."
    ),
]
Gpus = Annotated[int, typer.Option(min=1, help="Number of GPUs, which share the batch.")]
Gpu = Annotated[str, typer.Option(help="Their kind: h100, h200, a100, a100-40gb, a30, l40s, rtx4090, v100.")]
Images = Annotated[int | None, typer.Option(min=1, help="Training images. Default: the paper's, or BP4D's.")]
FinetuneInit = Annotated[
    str,
    typer.Option(
        "--init", help="Initial weights: a file, the name of weights that come with maeface, or 'random'."
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="Table of AU labels, CSV or Parquet. Default: those that 'maeface prepare --dataset' wrote."
    ),
]
Guide = Annotated[
    Path | None,
    typer.Option(
        help="Parquet table of other measurements of the faces, which the network learns to predict, too, "
        "while it trains."
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,...",
        help="Train once for each of these seeds, in OUT/seed-N, and report mean and spread of the scores.",
    ),
]


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of an option such as "0,1,2"; ConfigError if they are none."""
    seeds = text.split(",")
    if not all(seed.strip().isdecimal() for seed in seeds):
        raise ConfigError(f"--seeds is {text!r}; expected whole numbers, such as 0,1,2")
    return [int(seed) for seed in seeds]


Scores = Annotated[
    Path | None, typer.Option("--out", help="Also write the scores to this .csv or .json file.")
]
Sources = Annotated[
    list[Path],
    typer.Argument(metavar="SOURCE", help="Photos, videos, or folders of them; with --dataset, its folder."),
]
PreparedFolder = Annotated[
    Path, typer.Option("--out", help="Folder for the crops and the manifest.", rich_help_panel=OUTPUT)
]
PretrainInit = Annotated[
    str | None,
    typer.Option("--init", help="Initial weights: a file, a name or 'random'. Default: the recipe's."),
]
Predictions = Annotated[
    Path, typer.Option(help="Table of predictions, CSV or Parquet, from maeface or another tool.")
]
AU = Annotated[
    str | None,
    typer.Argument(metavar="AU", help="An AU, such as AU12, to see all about it. Default: list all."),
]
Inputs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE", help="Photos, videos, or folders of them.", rich_help_panel=INPUT),
]
ShowVersion = Annotated[bool, typer.Option("--version", help="Print the version and exit.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
TimeLimit = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="Time after which the checks end; one check may take half of it."),
]
MeasureSpeed = Annotated[bool, typer.Option("--speed/--no-speed", help="Run each back end for a second.")]


def choose(arguments: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """Return the arguments of a command that have one of the names."""
    return {name: value for name, value in arguments.items() if name in names}
