"""What may be made of a finished table, beside the table itself; see ``extra_files``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from maeface import checks, portable
from maeface.errors import ConfigError
from maeface.prediction.parts import look_at

Format = Literal["openface", "pyfeat", "libreface", "long", "jsonl"]
Annotation = Literal["elan", "srt", "boris"]
NO_TABLE, NO_VIDEO, CAMERA = "lines are printed; give --out", "no input is a video", "a camera is predicted"
"""Why options have no effect."""
FILMS = ".films"
"""Ending of the folder of what is made of each film, if a table has several."""
PAGE, PICTURES, ANNOTATED = ".report.html", (".timeline.png", ".timeline.pdf"), ".annotated.mp4"
"""Endings of what is made of a film."""
EXTRA_RECORD = ".extras.json"
"""Ending of the record of what was made; see ``extra_record``."""
ENDINGS = (
    *(EXTRA_RECORD, FILMS, PAGE, *PICTURES, ANNOTATED, ".jsonl", ".eaf", ".srt", ".boris", ".boris.csv"),
    *(".events.csv", ".summary.csv", ".pairs.csv", ".neutral.csv"),
    *(f".{name}.csv" for name in get_args(Format)),
)
"""Endings of all that may be made of a table, beside it."""
Key = tuple[str, str]
"""What is made, such as "events" or "report", and the film that it is made of; "" for all of a table."""
EVENTS, NEUTRAL = "events", "neutral"
SHAPED_BY = {
    **dict.fromkeys((EVENTS, "report"), ("neutral", "smooth_s")),
    **dict.fromkeys(get_args(Annotation), ("neutral", "smooth_s", "all_aus")),
    NEUTRAL: ("neutral",),
    "timeline": ("neutral", "smooth_s", "all_aus"),
    "video": ("all_aus",),
}
"""{what is made: the fields of ``Extras`` that shape it}."""
WITH_PATHS = (*get_args(Annotation), "report")
"""What names the films by their path."""


def option_of(what: str) -> str:
    """Return what asks for something to be made, as the user writes it: ``--report``, ``--format long``."""
    for option, kind in (("formats", Format), ("annotations", Annotation)):
        if what in get_args(kind):
            return f"{checks.name_of(option)} {what}"
    return checks.name_of(what)


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

    def list_wanted(self, films: Mapping[str, Path], folder: Path) -> dict[Key, dict[str, Any]]:
        """Return what to make of a table, with the settings that shape each, as JSON.

        Args:
            films: {input: path} of the videos in it.
            folder: of the table.
        """
        of_all = [EVENTS] * self.events + [NEUTRAL] * (self.neutral is not None) + [*self.annotations]
        of_each = [name for name in ("report", "timeline", "video") if getattr(self, name)]
        keys: list[Key] = [(name, "") for name in self.formats]
        keys += [(name, "") for name in of_all if films] + [
            (name, film) for film in films for name in of_each
        ]
        paths = {name: portable.relative_path(film, folder) for name, film in films.items()}
        wanted = {}
        for what, film in keys:
            settings = self.shape(what)
            if what in WITH_PATHS:
                settings["films"] = [paths[film]] if film else list(paths.values())
            wanted[what, film] = {"maeface": version("maeface"), **settings}
        return wanted

    def shape(self, what: str) -> dict[str, Any]:
        """Return the settings that shape what is made, as JSON, but the films."""
        values = {"neutral": self._describe_neutral(), "smooth_s": self.smooth_s, "all_aus": self.all_aus}
        return {name: values[name] for name in SHAPED_BY.get(what, ())}

    def _describe_neutral(self) -> list[Any] | None:
        """Return what is said of the neutral; of a file also its size and its time of change."""
        if self.neutral is None:
            return None
        return [self.neutral, *look_at(Path(self.neutral))[:2]]

    def require_possible(self, weights: Path, videos: bool) -> None:
        """Refuse what cannot be made of the tables of some weights.

        Args:
            weights: the path of the AU model.
            videos: whether an input is a video.

        Raises:
            ConfigError: a format or the neutral needs columns that the tables will not have.
            WeightsError: the file is not an AU model, or is damaged.
        """
        neutral = self.neutral is not None and videos
        if "pyfeat" not in self.formats and not neutral:
            return  # all else can be made with any weights
        from maeface.model.arrays import load_arrays

        task = load_arrays(weights)[1].task
        if "pyfeat" in self.formats and task == "intensity":
            raise ConfigError(
                f"{checks.name_of('formats')} pyfeat holds probabilities, and these weights give intensities "
                "only; choose another format or other weights"
            )
        if neutral and task == "detection":
            raise ConfigError(
                f"{checks.name_of('neutral')} needs intensities, and these weights give probabilities only; "
                "leave it out or choose other weights"
            )

    def describe_more(self) -> str:
        """Return a line on what else may be made of films; "" if any of it is made."""
        if self.report or self.timeline or self.video:
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
        current: the files that were asked for and were there already.
        films: of each film a line on what was found, and more lines, which are shown if there are few films.
        note: what these lines leave out; "" for nothing.
    """

    table: Path
    paths: list[Path]
    current: Sequence[Path] = ()
    films: Sequence[tuple[str, Sequence[str]]] = ()
    note: str = ""
