"""What may be made of a finished table, beside the table itself; see ``extra_files``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from maeface import checks
from maeface.errors import ConfigError

Format = Literal["openface", "pyfeat", "libreface", "long", "jsonl"]
Annotation = Literal["elan", "srt", "boris"]
FILMS = ".films"
"""Ending of the folder of what is made of each film, if a table has several."""


@dataclass(frozen=True)
class Extras:
    """What to make of a table.

    Attributes:
        events: whether to write events, summary and co-occurrence of the films.
        formats: further copies of the table.
        annotations: the events for annotation programs and players.
        neutral: "auto", seconds, or a file of a neutral face (``neutral.parse_neutral``); writes a copy of
            the table with ``AU12_d``; None: none.
        smooth_s: standard deviation of a Gaussian over time, for that copy and for events; 0: none.
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
            checks.require_choice("format", name, get_args(Format))
        for one in self.annotations:
            checks.require_choice("annotations", one, get_args(Annotation))
        if self.smooth_s < 0:
            raise ConfigError(f"smooth is {self.smooth_s:g}; expected seconds, 0 or more")

    @property
    def of_films(self) -> bool:
        """Whether anything is made of each film."""
        return self.report or self.timeline or self.video


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
