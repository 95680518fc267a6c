"""What is made of a finished table: events, summaries, other formats, time-lines, pages and annotated films.

The table itself is not changed, so all of it can be made again in seconds, with other settings, without
predicting. Files are named after the table: ``film.csv`` has ``film.events.csv``, ``film.openface.csv``, ...
"""

import os
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from maeface import checks, console, facts, files
from maeface.analysis.events import find_events
from maeface.analysis.neutral import (
    NeutralRule,
    levels_auto,
    levels_stretch,
    levels_table,
    parse_neutral,
    subtract,
)
from maeface.analysis.smoothing import smooth
from maeface.analysis.summary import co_occurrence, summarize
from maeface.errors import ConfigError, DataError
from maeface.interchange import writing
from maeface.interchange.events import Media
from maeface.interchange.native import read_pieces
from maeface.prediction.extras import FILMS, Extras, Made
from maeface.report.film_summary import describe_film

FEW_FILMS = 3
"""Films of a table that are described in lines."""


def make_extras(
    table: Path, films: Mapping[str, Path], extras: Extras, record: Mapping[str, Any], one_film: bool
) -> Made:
    """Make all that is asked for of a table; return the files.

    Args:
        table: ``.csv`` or ``.parquet``, as ``maeface predict`` writes it.
        films: {input: path} of the videos in it.
        extras: what to make.
        record: of the table.
        one_film: whether the table is of one input, so that its film's files are beside it.

    Raises:
        ConfigError, DataError, ResourceError: as the parts of it.
    """
    stem = table.with_suffix("")
    paths = _write_formats(table, stem, extras)
    thresholds = record.get("thresholds") or 0.5
    parts: list[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]] = []
    wanted = extras.events or extras.annotations or extras.neutral or extras.of_films
    for name, rows in _films(table, films) if wanted else ():
        derived = _derive(rows, extras)
        events = find_events(derived, thresholds=thresholds)
        summary = summarize(derived, events, thresholds)
        parts.append((derived, events, summary, co_occurrence(derived, thresholds)))
        place = stem if one_film else stem.with_name(stem.name + FILMS) / name
        trust = record.get("trust")
        paths += list(_make_of_film(films[name], derived, events, summary, place, extras, trust))
    if not parts:
        return Made(table, paths)
    derived, events, summary, pairs = (
        pd.concat(some, ignore_index=True) for some in zip(*parts, strict=True)
    )
    tables = {"events": events, "summary": summary, "pairs": pairs} if extras.events else {}
    if extras.neutral:
        tables["neutral"] = derived
    for what, one in tables.items():
        paths.append(stem.with_name(f"{stem.name}.{what}.csv"))
        files.write_text(paths[-1], one.to_csv(index=False))
    for layout in extras.annotations:
        folder = stem.parent if one_film else stem.with_name(stem.name + FILMS)
        paths += writing.write_events(events, folder, layout, _media(films, summary), sorted(films))
    return Made(table, paths, _describe(summary, record.get("trust"), extras.all_aus))


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
        lines.append(f"{hidden} other AUs of the table were not checked on real people: see maeface aus")
    return lines


def _write_formats(table: Path, stem: Path, extras: Extras) -> list[Path]:
    paths = []
    for name in extras.formats:
        suffix = ".jsonl" if name == "jsonl" else f".{name}.csv"
        layout = "native" if name in ("jsonl", "long") else name
        paths.append(stem.with_name(stem.name + suffix))
        writing.convert_file(table, paths[-1], layout, long=name == "long")
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


def _derive(rows: pd.DataFrame, extras: Extras) -> pd.DataFrame:
    """Return the rows of a film, smoothed and with the differences from the person's neutral."""
    if extras.smooth_s:
        rows = smooth(rows, extras.smooth_s)
    if extras.neutral is None:
        return rows
    rule: NeutralRule = parse_neutral(extras.neutral)
    if rule.source == "auto":
        levels = levels_auto(rows)
    elif rule.source == "stretch":
        levels = levels_stretch(rows, rule.start_s, rule.end_s)
    else:
        levels = levels_table(rows, _read_neutral(Path(rule.file)))
    return subtract(rows, levels)


def _read_neutral(path: Path) -> pd.DataFrame:
    """Return the table of a neutral face.

    Raises:
        ConfigError: there is none.
    """
    checks.require_inputs([path])
    try:
        return pd.concat(read_pieces(path), ignore_index=True)
    except DataError as error:
        raise ConfigError(
            f"{path} is no table of predictions: {error}; make one with: maeface predict PHOTO --out FILE.csv"
        ) from error


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
    shown = None if extras.all_aus else trust
    place.parent.mkdir(parents=True, exist_ok=True)
    if extras.report:
        from maeface.report import film_page

        path = place.with_name(f"{place.name}.html")
        relative = _relative(film, path.parent)
        film_page.write(
            path, rows, title=film.name, film=relative, events=events, summary=summary, trust=trust
        )
        yield path
    if extras.timeline and (rows["face"] >= 0).any():
        from maeface.report import timeline

        for path in (place.with_name(f"{place.name}{suffix}") for suffix in (".png", ".pdf")):
            timeline.write(path, rows, events=events, trust=shown, title=film.name)
            yield path
    if extras.video:
        path = place.with_name(f"{place.name}.annotated.mp4")
        _annotate(film, rows, path, shown)
        yield path


def _annotate(film: Path, rows: pd.DataFrame, out: Path, trust: Mapping[str, Any] | None) -> None:
    from maeface.faces.film_writer import write_film
    from maeface.report.film_overlay import FilmOverlay

    aus = [column[0] for name in rows if (column := facts.au_column(str(name)))]
    chosen = sorted({au for au in aus if not trust or trust[facts.au_name(au)]["use"]})
    overlay = FilmOverlay(rows, chosen)
    with console.progress(f"annotate {film.name}", rows["frame"].nunique(), "frames") as advance:
        write_film(film, out, overlay, advance)


def _relative(film: Path, folder: Path) -> str:
    """Return the path of a film as a page in a folder names it."""
    return Path(os.path.relpath(film.absolute(), folder.absolute())).as_posix()


def _media(films: Mapping[str, Path], summary: pd.DataFrame) -> dict[str, Media]:
    seconds = summary.groupby("input")["seconds"].max()
    return {name: Media(path, float(seconds.get(name, 0)) or None) for name, path in films.items()}
