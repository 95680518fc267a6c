"""What is made of a finished table: events, summaries, other formats, time-lines, pages and annotated films.

The table itself is not changed, so all of it can be made again with other settings, without predicting.
Files are named after the table: ``film.csv`` has ``film.events.csv``, ``film.openface.csv``, ... What is
there and up to date is not made again (``extra_record``).
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from maeface import console, facts, files, portable
from maeface.analysis.events import find_events
from maeface.analysis.neutral import subtract
from maeface.analysis.smoothing import smooth
from maeface.analysis.summary import co_occurrence, summarize
from maeface.analysis.timeline import au_names, people
from maeface.errors import ConfigError, DataError
from maeface.faces import media
from maeface.faces.quality import describe_low_quality
from maeface.interchange import writing
from maeface.interchange.events import Media
from maeface.interchange.native import read_csv, read_pieces
from maeface.prediction.extra_record import ExtraRecord
from maeface.prediction.extras import (
    ANNOTATED,
    EVENTS,
    FILMS,
    NEUTRAL,
    PAGE,
    PICTURES,
    Extras,
    Key,
    Made,
)
from maeface.prediction.film_rows import columns_needed, read_films, split_by_input
from maeface.prediction.neutral_face import ReadNeutral, find_levels, read_neutral
from maeface.prediction.record import read_record
from maeface.prediction.tables import READ, Task
from maeface.report.film_summary import describe_film, film_line

if TYPE_CHECKING:
    from maeface.prediction.predictor import Predictor


def make_for_tables(task: Task, extras: Extras, make: Callable[[], "Predictor"]) -> Iterator[Made]:
    """Make what is asked for of finished tables.

    Args:
        task: what the tables were made of.
        extras: what to make.
        make: makes the predictor, for the neutral face.

    A table of which something cannot be made has a line, if there are others, which go on.

    Raises:
        MaefaceError: as ``make_extras`` and ``read_neutral``. DataError only if nothing can be made of any;
            ConfigError, such as for annotations of somebody else, after the other tables.
    """
    videos = {item.source: Path(item.path) for item in task.inputs if item.video}
    neutral = functools.cache(lambda: read_neutral(extras.neutral, make))  # when it is needed first
    errors: list[ConfigError | DataError] = []
    for table, names in task.tables.items():
        films = {name: videos[name] for name in names if name in videos}
        content = read_record(table)
        if content is None:  # no image could be read
            continue
        try:
            made = make_extras(table, films, extras, content, len(content["inputs"]) == 1, neutral)
        except (ConfigError, DataError) as error:
            errors.append(error)
            if len(task.tables) > 1:
                console.note(f"{console.escape(table.name)}: {error}")
            continue
        yield made
    errors = errors if len(errors) == len(task.tables) else [e for e in errors if isinstance(e, ConfigError)]
    if errors:
        raise errors[0]


def make_extras(
    table: Path,
    films: Mapping[str, Path],
    extras: Extras,
    record: Mapping[str, Any],
    one_film: bool,
    neutral: ReadNeutral = lambda: None,
) -> Made:
    """Make what is asked for of a table and is not up to date; return the files.

    What was made of an earlier table is removed.

    Args:
        table: ``.csv`` or ``.parquet``, as ``maeface predict`` writes it.
        films: {input: path} of the videos in it.
        extras: what to make.
        record: of the table.
        one_film: whether the table is of one input, so that its film's files are beside it.
        neutral: returns the predictions of the file that ``extras.neutral`` names.

    Raises:
        ConfigError, DataError, ResourceError: as the parts of it.
    """
    log, wanted = ExtraRecord(table, record), extras.list_wanted(films, table.parent)
    log.remove_stale(wanted)
    log.note_other_settings(wanted, extras.shape)
    missing = {key: settings for key, settings in wanted.items() if not log.is_current(key, settings)}
    current = [path for key in wanted if key not in missing for path in log.files_of(key)]
    making = _Making(table, films, extras, record, one_film, log, missing)
    for name in extras.formats:
        making.add(name, "", functools.partial(making.write_format, name))
    making.make_of_films(neutral)
    summary, events = making.summary, (EVENTS, "")
    if summary is None and events in wanted.keys() - missing.keys() and log.is_as_made(events):
        summary = read_csv(making.beside("summary")).astype({"track": "Int64"})
    trust = record.get("trust") or None
    told = ((), "") if summary is None else _describe(table, summary, trust, extras.all_aus)
    return Made(table, making.paths, current, *told)


@dataclass
class _Making:
    """What is made of a table.

    Attributes:
        table, films, extras, record, one_film: as in ``make_extras``.
        log: the record of what is made.
        missing: what to make, with its settings.
        paths: the files that were made.
        summary: of all films of the table; None if they were not all read.
    """

    table: Path
    films: Mapping[str, Path]
    extras: Extras
    record: Mapping[str, Any]
    one_film: bool
    log: ExtraRecord
    missing: Mapping[Key, Mapping[str, Any]]
    paths: list[Path] = field(default_factory=list)
    summary: pd.DataFrame | None = None

    def add(self, what: str, film: str, write: Callable[[], Iterator[Path]]) -> None:
        """Make one thing, if it is missing, and record it."""
        if (what, film) in self.missing:
            with self.log.making((what, film), self.missing[what, film]) as paths:
                paths += write()
            self.paths += paths

    def beside(self, what: str) -> Path:
        """Return the path of a table beside the table."""
        return self.table.with_name(f"{self.table.with_suffix('').name}.{what}.csv")

    def write_format(self, name: str) -> Iterator[Path]:
        """Write the table in another format."""
        path = self.beside(name) if name != "jsonl" else self.table.with_suffix(".jsonl")
        layout = "native" if name in ("jsonl", "long") else name
        writing.convert_file(self.table, path, layout, long=name == "long", name_inputs=not self.one_film)
        yield path

    def make_of_films(self, neutral: ReadNeutral) -> None:
        """Make what is missing of each film and of all films."""
        of_all = [what for what, film in self.missing if not film and what not in self.extras.formats]
        read = list(self.films) if of_all else list(dict.fromkeys(film for _, film in self.missing if film))
        shown = any(film for _, film in self.missing)
        thresholds = self.record.get("thresholds") or 0.5
        found: list[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]] = []
        levels: dict[str, pd.DataFrame] = {}
        errors: list[DataError] = []
        for name, rows in read_films(self.table, read, columns_needed(shown)) if read else ():
            try:
                of_film = find_levels(name, rows, self.extras.neutral, neutral)
            except DataError as error:
                errors.append(error)
                if len(self.films) > 1:
                    console.note(f"{console.escape(name)}: {error}; nothing is made of it")
                continue
            if of_film is not None:
                levels[name], rows = of_film, subtract(rows, of_film)
            smoothed = smooth(rows, self.extras.smooth_s) if self.extras.smooth_s else rows
            persons = list(people(smoothed))
            events = find_events(smoothed, thresholds=thresholds, persons=persons)
            summary = summarize(smoothed, events, thresholds, persons)
            found.append((events, summary, co_occurrence(smoothed, thresholds, persons)))
            self._make_of_film(name, rows, events, summary)
        if errors and len(errors) == len(self.films):
            raise errors[0]
        if found and len(read) == len(self.films):
            tables = [pd.concat(some, ignore_index=True) for some in zip(*found, strict=True)]
            self.summary = tables[1]
            self.add(EVENTS, "", functools.partial(self._write_tables, tables))
            self.add(NEUTRAL, "", functools.partial(self._write_neutral, levels))
            for layout in self.extras.annotations:
                self.add(layout, "", functools.partial(self._write_annotations, layout, tables[0]))

    def _write_tables(self, tables: Collection[pd.DataFrame]) -> Iterator[Path]:
        for what, one in zip(("events", "summary", "pairs"), tables, strict=True):
            files.write_text(self.beside(what), one.to_csv(index=False))
            yield self.beside(what)

    def _write_neutral(self, levels: Mapping[str, pd.DataFrame]) -> Iterator[Path]:
        """Write the table with the differences from each person's neutral."""
        with writing.open_writer(self.beside(NEUTRAL)) as write:
            for name, rows in split_by_input(read_pieces(self.table)):
                if name in levels:
                    write(subtract(rows, levels[name]))
        yield self.beside(NEUTRAL)

    def _write_annotations(self, layout: str, events: pd.DataFrame) -> Iterator[Path]:
        assert self.summary is not None
        trust = self.record.get("trust") or {}
        if trust and not self.extras.all_aus:
            events = events[events["au"].map(lambda au: trust[au]["use"]).astype(bool)]
        of_films = _list_media(self.films, self.summary)
        stem = self.table.with_suffix("")
        folder, prefix = (stem.parent, stem.name) if self.one_film else (self._place(""), "")
        names = sorted(self.summary["input"].unique())
        self.log.claim(
            (layout, ""), [folder / name for name in writing.name_event_files(layout, names, prefix)]
        )
        yield from writing.write_events(events, folder, layout, of_films, names, prefix)

    def _place(self, name: str) -> Path:
        """Return the path of the files of a film, without their endings."""
        stem = self.table.with_suffix("")
        return stem if self.one_film else stem.with_name(stem.name + FILMS) / files.fit_name(name)

    def _make_of_film(
        self, name: str, rows: pd.DataFrame, events: pd.DataFrame, summary: pd.DataFrame
    ) -> None:
        """Make the page, the time-line and the annotated copy of a film."""
        film, place, trust = self.films[name], self._place(name), self.record.get("trust") or None
        is_read = bool(rows["status"].isin(READ).any())  # else the row says why the film cannot be read
        all_aus = self.extras.all_aus

        def write_page() -> Iterator[Path]:
            from maeface.report import film_page

            path = place.with_name(f"{place.name}{PAGE}")
            relative = portable.relative_path(film, path.parent)
            tables = {"events": events, "summary": summary}
            more = {"trust": trust, "smooth_s": self.extras.smooth_s}
            film_page.write(path, rows, title=film.name, film=relative, **tables, **more)
            yield path

        def draw() -> Iterator[Path]:
            from maeface.report import timeline

            for path in (place.with_name(f"{place.name}{ending}") for ending in PICTURES):
                aus = au_names(rows) if all_aus else None
                timeline.write(path, rows, aus, events=events, trust=trust, title=film.name)
                yield path

        def annotate() -> Iterator[Path]:
            path = place.with_name(f"{place.name}{ANNOTATED}")
            _annotate(film, rows, path, None if all_aus else trust)
            yield path

        is_drawn = is_read and bool((rows["face"] >= 0).any())
        self.add("report", name, write_page if is_read else _make_nothing)
        self.add("timeline", name, draw if is_drawn else _make_nothing)
        self.add("video", name, annotate if is_read else _make_nothing)


def _make_nothing() -> Iterator[Path]:
    """Make nothing of a film that shows nothing."""
    return iter(())


def _describe(
    table: Path, summary: pd.DataFrame, trust: Mapping[str, Any] | None, all_aus: bool
) -> tuple[list[tuple[str, list[str]]], str]:
    """Return a line and more lines about each film of a table, and what they leave out."""
    aus = [column[0] for name in summary["au"].unique() if (column := facts.au_column(f"{name}_p"))]
    shown = [au for au in aus if all_aus or not trust or trust[facts.au_name(au)]["use"]]
    films = [
        (
            film_line(rows, shown, str(table)),
            list(describe_film(rows, shown)) if rows["valid_frames"].any() else [],
        )
        for _, rows in summary.groupby("input", sort=False)
    ]
    hidden = len(aus) - len(shown)
    note = f"{hidden} other AUs of the table are not reliable on real people: see maeface aus"
    return films, note if hidden and films else ""


def _annotate(film: Path, rows: pd.DataFrame, out: Path, trust: Mapping[str, Any] | None) -> None:
    from maeface.faces.film_writer import write_film
    from maeface.report.au_bars import trusted_aus
    from maeface.report.film_overlay import FilmOverlay

    overlay = FilmOverlay(rows, trusted_aus(trust, rows.columns), doubt=describe_low_quality)
    with console.progress(f"annotate {film.name}", media.count_frames(film), "frames") as advance:
        write_film(film, out, overlay, advance)


def _list_media(films: Mapping[str, Path], summary: pd.DataFrame) -> dict[str, Media]:
    """Return the films with the lengths and frame rates of their headers.

    No film is shorter than what was predicted. One that is gone has this length, and no rate.
    """
    seconds = summary.groupby("input")["seconds"].max()
    found = {}
    for name, path in films.items():
        try:
            length, rate = media.read_clock(path)
        except media.MediaError:
            length, rate = None, None
        found[name] = Media(path, max(length or 0, float(seconds.get(name, 0))) or None, rate)
    return found
