"""What is made of a finished table: events, summaries, other formats, time-lines, pages and annotated films.

The table itself is not changed, so all of it can be made again in seconds, with other settings, without
predicting. Files are named after the table: ``film.csv`` has ``film.events.csv``, ``film.openface.csv``, ...
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from maeface import checks, console, facts, files
from maeface.analysis.events import find_events
from maeface.analysis.neutral import levels_of, parse_neutral, subtract
from maeface.analysis.smoothing import smooth
from maeface.analysis.summary import co_occurrence, summarize
from maeface.analysis.timeline import au_names
from maeface.errors import DataError
from maeface.faces import media
from maeface.faces.quality import describe_low_quality
from maeface.interchange import writing
from maeface.interchange.events import Media
from maeface.interchange.native import read_pieces
from maeface.prediction.extras import ANNOTATED, FILMS, PAGE, PICTURES, Extras, Made
from maeface.prediction.record import read_record
from maeface.prediction.tables import READ, Task, table_path
from maeface.report.film_summary import describe_film

if TYPE_CHECKING:
    from maeface.prediction.predictor import Predictor

NEUTRAL_ADVICE = "give auto, seconds (5), a stretch of seconds (12-15), or a photo, film or table"
FEW_FILMS = 3
"""Films of a table that are described in lines."""


def make_for_tables(
    task: Task, one_each: bool, extras: Extras, make: Callable[[], "Predictor"]
) -> Iterator[Made]:
    """Make what is asked for of finished tables.

    Args:
        task: what the tables were made of.
        one_each: whether each input has a table.
        extras: what to make.
        make: makes the predictor, for the neutral face.

    Raises:
        MaefaceError: as ``make_extras`` and ``read_neutral``.
    """
    videos = {item.source: Path(item.path) for item in task.inputs if item.video}
    neutral = read_neutral(extras.neutral, make) if videos else None
    if one_each:
        tables = {table_path(task.out, item.source): [item.source] for item in task.inputs}
    else:
        tables = {task.out: list(videos)}
    for table, names in tables.items():
        films = {name: videos[name] for name in names if name in videos}
        if not films and not extras.formats:
            continue
        content = read_record(table)
        if content is not None:  # else no image could be read
            yield make_extras(table, films, extras, content, len(content["inputs"]) == 1, neutral)


def make_extras(
    table: Path,
    films: Mapping[str, Path],
    extras: Extras,
    record: Mapping[str, Any],
    one_film: bool,
    neutral_table: pd.DataFrame | None = None,
) -> Made:
    """Make all that is asked for of a table; return the files.

    Args:
        table: ``.csv`` or ``.parquet``, as ``maeface predict`` writes it.
        films: {input: path} of the videos in it.
        extras: what to make.
        record: of the table.
        one_film: whether the table is of one input, so that its film's files are beside it.
        neutral_table: the predictions of the file that ``extras.neutral`` names.

    Raises:
        ConfigError, DataError, ResourceError: as the parts of it.
    """
    stem = table.with_suffix("")
    of_films = stem if one_film else stem.with_name(stem.name + FILMS)
    paths = _write_formats(table, stem, extras, one_film)
    thresholds, trust = record.get("thresholds") or 0.5, record.get("trust") or None
    parts: list[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]] = []
    errors: list[DataError] = []
    wanted = extras.events or extras.annotations or extras.neutral or extras.of_films
    with ExitStack() as stack:
        write_neutral: writing.Write | None = None
        for name, rows in _films(table, films) if wanted else ():
            try:
                derived = _subtract_neutral(rows, extras.neutral, neutral_table)
            except DataError as error:
                errors.append(error)
                console.note(f"{console.escape(name)}: {error}; nothing is made of it")
                continue
            smoothed = smooth(derived, extras.smooth_s) if extras.smooth_s else derived
            events = find_events(smoothed, thresholds=thresholds)
            summary = summarize(smoothed, events, thresholds)
            parts.append((events, summary, co_occurrence(smoothed, thresholds)))
            if extras.neutral:  # written at once: the rows of all films may be more than the memory holds
                if write_neutral is None:
                    paths.append(_beside(stem, "neutral"))
                    write_neutral = stack.enter_context(writing.open_writer(paths[-1]))
                write_neutral(derived)
            place = stem if one_film else of_films / files.fit_name(name)
            if rows["status"].isin(READ).any():  # else the row says why the film cannot be read
                paths += _make_of_film(films[name], derived, events, summary, place, extras, trust)
    if errors and not parts:
        raise errors[0]
    if not parts:
        return Made(table, paths)
    events, summary, pairs = (pd.concat(some, ignore_index=True) for some in zip(*parts, strict=True))
    tables = {"events": events, "summary": summary, "pairs": pairs} if extras.events else {}
    for what, one in tables.items():
        paths.append(_beside(stem, what))
        files.write_text(paths[-1], one.to_csv(index=False))
    names = sorted(summary["input"].unique())
    for layout in extras.annotations:
        where = (stem.parent, stem.name) if one_film else (of_films, "")
        paths += writing.write_events(events, where[0], layout, _media(films, summary), names, where[1])
    return Made(table, paths, _describe(summary, trust, extras.all_aus))


def _beside(stem: Path, what: str) -> Path:
    return stem.with_name(f"{stem.name}.{what}.csv")


def _describe(summary: pd.DataFrame, trust: Mapping[str, Any] | None, all_aus: bool) -> list[str]:
    """Return lines about the films of a table, if they are few."""
    names = summary["input"].unique()
    if len(names) > FEW_FILMS:
        return []
    aus = [column[0] for name in summary["au"].unique() if (column := facts.au_column(f"{name}_p"))]
    shown = [au for au in aus if all_aus or not trust or trust[facts.au_name(au)]["use"]]
    lines: list[str] = []
    for name in names:
        lines += [""] if len(names) == 1 else ["", f"{name}:"]
        lines += describe_film(summary[summary["input"] == name], shown)
    if hidden := len(aus) - len(shown):
        lines.append(f"{hidden} other AUs of the table are not reliable on real people: see maeface aus")
    return lines


def _write_formats(table: Path, stem: Path, extras: Extras, one_film: bool) -> list[Path]:
    paths = []
    for name in extras.formats:
        suffix = ".jsonl" if name == "jsonl" else f".{name}.csv"
        layout = "native" if name in ("jsonl", "long") else name
        paths.append(stem.with_name(stem.name + suffix))
        writing.convert_file(table, paths[-1], layout, long=name == "long", name_inputs=not one_film)
    return paths


def _films(table: Path, films: Mapping[str, Path]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows of each film of a table, one film at a time."""
    pieces: list[pd.DataFrame] = []
    last = ""

    def split() -> Iterator[tuple[str, pd.DataFrame]]:
        for piece in read_pieces(table):
            for name, rows in groupby(range(len(piece)), piece["input"].tolist().__getitem__):
                places = list(rows)
                yield str(name), piece.iloc[places[0] : places[-1] + 1]

    for name, rows in split():
        if name != last and last in films:
            yield last, pd.concat(pieces, ignore_index=True)
        if name != last:
            pieces, last = [], name
        if name in films:
            pieces.append(rows)
    if last in films:
        yield last, pd.concat(pieces, ignore_index=True)


def _subtract_neutral(
    rows: pd.DataFrame, neutral: str | None, neutral_table: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the rows of a film with the differences from each person's neutral, if one is asked for."""
    if neutral is None:
        return rows
    return subtract(rows, levels_of(rows, parse_neutral(neutral), neutral_table))


def read_neutral(neutral: str | None, make: Callable[[], "Predictor"]) -> pd.DataFrame | None:
    """Return the predictions of the photo, film or table that ``--neutral`` names; None if it names none.

    Raises:
        ConfigError: there is no such file, or the text is neither a file, "auto" nor seconds.
        DataError: the file is no table of predictions, or cannot be read.
    """
    path = None if neutral is None else find_neutral(neutral)
    if path is None:
        return None
    if path.suffix.lower() in checks.TABLES:
        return pd.concat(read_pieces(path), ignore_index=True)
    return make()(path)


def find_neutral(neutral: str) -> Path | None:
    """Return the file that ``--neutral`` names; None if it is "auto" or seconds.

    Raises:
        ConfigError: there is no such file, or the text is neither a file, "auto" nor seconds.
    """
    rule = parse_neutral(neutral)
    if rule.source != "file":
        return None
    checks.require_inputs([Path(rule.file)], "neutral face")
    return Path(rule.file)


def _make_of_film(
    film: Path,
    rows: pd.DataFrame,
    events: pd.DataFrame,
    summary: pd.DataFrame,
    place: Path,
    extras: Extras,
    trust: Mapping[str, Any] | None,
) -> Iterator[Path]:
    """Make the page, the time-line and the annotated copy of a film; yield the files."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if extras.report:
        from maeface.report import film_page

        path = place.with_name(f"{place.name}{PAGE}")
        relative = _relative(film, path.parent)
        film_page.write(
            path,
            rows,
            title=film.name,
            film=relative,
            events=events,
            summary=summary,
            trust=trust,
            smooth_s=extras.smooth_s,
        )
        yield path
    if extras.timeline and (rows["face"] >= 0).any():
        from maeface.report import timeline

        aus = au_names(rows) if extras.all_aus else None
        for path in (place.with_name(f"{place.name}{ending}") for ending in PICTURES):
            timeline.write(path, rows, aus, events=events, trust=trust, title=film.name)
            yield path
    if extras.video:
        path = place.with_name(f"{place.name}{ANNOTATED}")
        _annotate(film, rows, path, None if extras.all_aus else trust)
        yield path


def _annotate(film: Path, rows: pd.DataFrame, out: Path, trust: Mapping[str, Any] | None) -> None:
    from maeface.faces.film_writer import write_film
    from maeface.report.au_bars import trusted_aus
    from maeface.report.film_overlay import FilmOverlay

    overlay = FilmOverlay(rows, trusted_aus(trust, rows.columns), doubt=describe_low_quality)
    with console.progress(f"annotate {film.name}", media.count_frames(film), "frames") as advance:
        write_film(film, out, overlay, advance)


def _relative(film: Path, folder: Path) -> str:
    """Return the path of a film as a page in a folder names it."""
    return Path(os.path.relpath(film.absolute(), folder.absolute())).as_posix()


def _media(films: Mapping[str, Path], summary: pd.DataFrame) -> dict[str, Media]:
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
