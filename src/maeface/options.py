"""Arguments and options of the command line that several commands share."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from maeface import checks

INPUT, FACES, VALUES, OUTPUT, PICTURES, SPEED = "Input", "Faces", "Values", "Output", "Pictures", "Speed"
"""Groups of options in a command's help."""
Backbone = Literal["mobilenet0.25", "resnet50"]


def parse_output(text: str) -> Path:
    """Return the path of an output; of one that ends with a slash, a ``checks.FolderPath``."""
    return checks.FolderPath(text) if text.endswith(os.sep) else Path(text)


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


def parse_au_threshold(text: str) -> tuple[str, float]:
    """Return what ``0.4`` (for all, with the name "") or ``AU12=0.4`` says.

    Raises:
        typer.BadParameter: neither.
    """
    hit = re.fullmatch(r"(?:AU0*([1-9]\d?)=)?(\d*\.?\d+)", text.strip(), re.IGNORECASE)
    if hit is None:
        raise typer.BadParameter(f"{text!r} is no threshold; give 0.4, or AU12=0.4")
    return (f"AU{int(hit[1]):02d}" if hit[1] else "", float(hit[2]))


Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|NAME",
        help="Weights that 'maeface finetune' wrote, or the name of weights that come with maeface. "
        "Default: maeface-nano.",
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
        callback=checks.require_device,
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
        parser=parse_output,
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
Track = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Keep only this person of each video, by the number in column 'track'.",
        rich_help_panel=FACES,
    ),
]
FaceThreshold = Annotated[
    float,
    typer.Option("--face-threshold", help="Least score of a face, 0 to 1.", rich_help_panel=FACES),
]
AUThreshold = Annotated[
    list[str] | None,
    typer.Option(
        "--au-threshold",
        metavar="P|AU=P",
        help="Probability from which AUs count as present: one for all, or AU12=0.4. Repeatable. Default: "
        "as calibrated for the weights.",
        rich_help_panel=VALUES,
    ),
]
Neutral = Annotated[
    str | None,
    typer.Option(
        metavar="auto|SECONDS|FILE",
        help="Subtract each person's own resting face, into columns AU12_d of a copy of the table: the low "
        "values of the film (auto), a stretch (5: the first 5 s, or 12-15), or the table of a neutral photo.",
        rich_help_panel=VALUES,
    ),
]
Smooth = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Smooth the values over time before events are sought. Onsets come earlier then, and blinks may "
        "vanish.",
        rich_help_panel=VALUES,
    ),
]
Events = Annotated[
    bool,
    typer.Option(
        "--events/--no-events",
        help="Write events, a summary of each person, and pairs of AUs, for videos.",
        rich_help_panel=OUTPUT,
    ),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="openface|pyfeat|libreface|long|jsonl",
        help="Write the table also as other tools do, in the long form, or as JSON lines. Repeatable.",
        rich_help_panel=OUTPUT,
    ),
]
Annotations = Annotated[
    list[str] | None,
    typer.Option(
        "--annotations",
        metavar="elan|srt|boris",
        help="Write the events of videos for ELAN (.eaf), players (.srt) or BORIS. Repeatable.",
        rich_help_panel=OUTPUT,
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
Report = Annotated[
    bool,
    typer.Option(
        "--report",
        help="Write a page of each video: player, curves, events, quality. It opens in any browser.",
        rich_help_panel=PICTURES,
    ),
]
Timeline = Annotated[
    bool,
    typer.Option(
        "--timeline", help="Draw the AUs of each video over time, PNG and PDF.", rich_help_panel=PICTURES
    ),
]
Video = Annotated[
    bool,
    typer.Option(
        "--video", help="Write a copy of each video with boxes, people and AU bars.", rich_help_panel=PICTURES
    ),
]
AllAUs = Annotated[
    bool,
    typer.Option(
        "--all-aus",
        help="Show AUs in lines and pictures that were not checked on real people, too.",
        rich_help_panel=PICTURES,
    ),
]


def join_au_thresholds(texts: list[str] | None) -> dict[str, float] | float | None:
    """Return the thresholds that ``--au-threshold`` names; one for all comes first.

    Raises:
        typer.BadParameter: a text is no threshold, or one for all is given beside others.
    """
    pairs = [parse_au_threshold(text) for text in texts or ()]
    named = {name: value for name, value in pairs if name}
    for_all = [value for name, value in pairs if not name]
    if for_all and (named or len(for_all) > 1):
        raise typer.BadParameter("give one threshold for all AUs, or one for each AU by name")
    return for_all[0] if for_all else named or None
