"""What may be made of a finished table, beside the table itself; see ``extra_files``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from maeface import checks

Format = Literal["openface", "pyfeat", "libreface", "long", "jsonl"]
Annotation = Literal["elan", "srt", "boris"]
NO_TABLE, NO_VIDEO, CAMERA = "lines are printed; give --out", "no input is a video", "a camera is predicted"
"""Why options have no effect."""
FILMS = ".films"
"""Ending of the folder of what is made of each film, if a table has several."""
PAGE, PICTURES, ANNOTATED = ".report.html", (".timeline.png", ".timeline.pdf"), ".annotated.mp4"
"""Endings of what is made of a film."""
ENDINGS = (
    *(FILMS, PAGE, *PICTURES, ANNOTATED, ".jsonl", ".eaf", ".srt", ".boris", ".boris.csv"),
    *(".events.csv", ".summary.csv", ".pairs.csv", ".neutral.csv"),
    *(f".{name}.csv" for name in get_args(Format)),
)
"""Endings of all that may be made of a table, beside it."""


@dataclass(frozen=True)
class Extras:
    """What to make of a table.

    Attributes:
        events: whether to write events, summary and co-occurrence of the films.
        formats: further copies of the table.
        annotations: the events for annotation programs and players.
        neutral: "auto", seconds, or a file of a neutral face (``neutral.parse_neutral``); writes a copy of
            the table with ``AU12_d``; None: none.
        smooth_s: standard deviation of a Gaussian over time, for events and summary; 0: none.
        report: whether to write a page of each film.
        timeline: whether to draw a time-line of each film, PNG and PDF.
        video: whether to write a copy of each film with the faces drawn on it.
        explain: action units whose value is explained in a picture of each photo; needs a folder of pictures.
        all_aus: whether pictures and pages show all action units, not only those to be trusted.
    """

    events: bool = True
    formats: Sequence[Format] = ()
    annotations: Sequence[Annotation] = ()
    neutral: str | None = None
    smooth_s: float = 0.0
    report: bool = False
    timeline: bool = False
    video: bool = False
    explain: Sequence[int] = ()
    all_aus: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: an unknown format, or smoothing below 0.
        """
        for name in self.formats:
            checks.require_choice("formats", name, get_args(Format))
        for one in self.annotations:
            checks.require_choice("annotations", one, get_args(Annotation))
        checks.require_not_negative("smooth_s", self.smooth_s)

    @property
    def of_films(self) -> bool:
        """Whether anything is made of each film."""
        return self.report or self.timeline or self.video

    def describe_more(self) -> str:
        """Return a line on what else may be made of films; "" if any of it is made."""
        if self.of_films:
            return ""
        report, video = checks.name_of("report"), checks.name_of("video")
        more = f"{report} (a page to look at), {video} (a copy with boxes and bars)"
        return f"also possible, without predicting again: {more}"

    def describe_unused(self, no_tables: str, no_videos: str) -> list[str]:
        """Return which options have no effect, a line for each reason.

        Args:
            no_tables: why no table is written; "" if there is one.
            no_videos: why nothing is made of videos; "" if something is.
        """
        of_videos = {
            name: bool(getattr(self, name))
            for name in ("annotations", "neutral", "smooth_s", "report", "timeline", "video")
        }
        notes = [
            checks.describe_unused(options, why)
            for options, why in (({"formats": bool(self.formats)}, no_tables), (of_videos, no_videos))
            if why
        ]
        return [note for note in notes if note]


@dataclass(frozen=True)
class Made:
    """What was made of a table.

    Attributes:
        table: the table.
        paths: the files that were made of it.
        lines: what was found in its films, if they are few.
    """

    table: Path
    paths: list[Path]
    lines: Sequence[str] = ()
