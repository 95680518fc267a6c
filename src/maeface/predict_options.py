"""Options of ``maeface predict`` alone."""

import re
from typing import Annotated

import typer

from maeface.errors import ConfigError
from maeface.options import FACES, OUTPUT, PICTURES, VALUES

CAMERA = "Camera"
"""A group of options in the help."""

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
    typer.Option(
        "--face-threshold", help="How sure the detector must be of a face, 0 to 1.", rich_help_panel=FACES
    ),
]
AUThresholds = Annotated[
    list[str] | None,
    typer.Option(
        "--au-threshold",
        metavar="P|AU=P",
        help="Probability from which AUs count as present: one for all, or AU12=0.4. Repeatable. Default: "
        "as calibrated for the weights.",
        rich_help_panel=VALUES,
    ),
]
Sides = Annotated[
    bool,
    typer.Option(
        "--sides",
        help="Add intensities of the subject's left and right, AU12_L and AU12_R, of AU06, 09, 10, 12, 43.",
        rich_help_panel=VALUES,
    ),
]
Neutral = Annotated[
    str | None,
    typer.Option(
        metavar="auto|SECONDS|FILE",
        help="Subtract each person's own resting face, into columns AU12_d of a copy of the table: the low "
        "values of the film (auto), a stretch (5: the first 5 s, or 12-15), or a photo, film or table.",
        rich_help_panel=VALUES,
    ),
]
Smooth = Annotated[
    float,
    typer.Option(
        "--smooth",
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
Explain = Annotated[
    list[str] | None,
    typer.Option(
        "--explain",
        metavar="AU",
        help="Show in a picture of each photo which parts of a face raised the value of this AU, such as "
        "AU12. Repeatable; needs --pictures.",
        rich_help_panel=PICTURES,
    ),
]
AllAUs = Annotated[
    bool,
    typer.Option(
        "--all-aus",
        help="Show AUs in lines and pictures that are not reliable on real people, too.",
        rich_help_panel=PICTURES,
    ),
]
Camera = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|NAME|FILE",
        help="Predict a camera until q is pressed: its number from 0 on, or its name; with --realtime, a "
        "film.",
        rich_help_panel=CAMERA,
    ),
]
Realtime = Annotated[
    bool,
    typer.Option("--realtime", help="Read the film of --camera at its own pace.", rich_help_panel=CAMERA),
]
CameraSize = Annotated[
    str,
    typer.Option(
        metavar="WIDTHxHEIGHT",
        help="Size of the camera's pictures. Default: its own.",
        rich_help_panel=CAMERA,
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option("--seconds", help="End after so many seconds of a camera.", rich_help_panel=CAMERA),
]


def parse_aus(texts: list[str] | None, has_pictures: bool) -> list[int]:
    """Return the action units that ``--explain`` names.

    Raises:
        ConfigError: a text is no action unit, or there is no folder for the pictures.
    """
    if texts and not has_pictures:
        raise ConfigError("--explain needs a folder for its pictures; give --pictures DIR too")
    hits = {text: re.fullmatch(r"(?:AU)?0*([1-9]\d?)", text.strip(), re.IGNORECASE) for text in texts or ()}
    for text, hit in hits.items():
        if hit is None:
            raise ConfigError(f"--explain is {text!r}; expected an action unit, such as AU12")
    return [int(hit[1]) for hit in hits.values() if hit]


def join_au_thresholds(texts: list[str] | None) -> dict[str, float] | float | None:
    """Return the thresholds that ``--au-threshold`` names.

    Raises:
        ConfigError: a text is no threshold, or one for all is given beside others.
    """
    pairs = [parse_au_threshold(text) for text in texts or ()]
    named = {name: value for name, value in pairs if name}
    for_all = [value for name, value in pairs if not name]
    if for_all and (named or len(for_all) > 1):
        raise ConfigError(
            "--au-threshold is given for all AUs and again; give one for all, or AU12=0.4 for each"
        )
    return for_all[0] if for_all else named or None


def parse_au_threshold(text: str) -> tuple[str, float]:
    """Return what ``0.4`` (for all, with the name "") or ``AU12=0.4`` says.

    Raises:
        ConfigError: neither.
    """
    hit = re.fullmatch(r"(?:AU0*([1-9]\d?)=)?(\d*\.?\d+)", text.strip(), re.IGNORECASE)
    if hit is None:
        raise ConfigError(f"--au-threshold is {text!r}; expected a fraction, 0 to 1, or AU12=0.4")
    return (f"AU{int(hit[1]):02d}" if hit[1] else "", float(hit[2]))
