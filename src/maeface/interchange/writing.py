"""Files of predictions in the formats of other tools, written piece by piece, and their names."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from maeface import checks, files
from maeface.errors import ConfigError, DataError
from maeface.interchange import boris, elan, native, shapes, subtitles, tools
from maeface.interchange import events as events_tables
from maeface.interchange.events import Media

SUFFIXES = (".csv", ".parquet", ".jsonl")
EVENT_FORMATS = ("elan", "srt", "boris")
NEEDS_QUOTES = re.compile(r'[",\r\n]|^\s|\s$|^$')
Write = Callable[[pd.DataFrame | pa.Table], None]


@contextmanager
def open_writer(
    out: Path, layout: str = "native", long: bool = False, name_inputs: bool = True
) -> Iterator[Write]:
    """Open a file for predictions, and yield a function that appends rows of the native table to it.

    The file appears when the block ends without an exception, and not before.

    Args:
        out: the file. ``.csv`` is text with commas, ``.parquet`` a Parquet file, ``.jsonl`` one JSON object a
            row with null for a missing value.
        layout: one of ``tools.FORMATS``.
        long: write a row for each face and action unit; only for the format ``native``.
        name_inputs: add a column ``input`` to the formats that have none (``openface``, ``libreface``).
            False is right for a file of one input only.

    Raises:
        ConfigError: another suffix or format, ``long`` with the format of another tool, or, while rows are
            appended, weights that do not give what the format holds.
        DataError: while rows are appended: not rows of ``maeface predict``.
        ResourceError: the file cannot be written.
    """
    checks.require_choice("layout", layout, tools.FORMATS)
    if long and layout != "native":
        raise ConfigError(f"the long form is only there for the format native, not for {layout}; choose one")
    if (suffix := out.suffix.lower()) not in SUFFIXES:
        raise ConfigError(f"{out} ends with {suffix or 'nothing'}; expected one of {', '.join(SUFFIXES)}")

    def convert(rows: pd.DataFrame | pa.Table) -> pd.DataFrame:
        table = tools.convert(native.as_frame(rows), layout, name_inputs)
        return shapes.to_long(table) if long else table

    with files.atomic(out) as temporary:
        if suffix == ".parquet":
            with _parquet(temporary) as append:
                yield lambda rows: append(convert(rows))
        else:
            with temporary.open("wb") as file:
                add = _append_json(file) if suffix == ".jsonl" else _append_csv(file)
                yield lambda rows: add(convert(rows))


def convert_file(
    source: Path, out: Path, layout: str = "native", long: bool = False, name_inputs: bool = True
) -> None:
    """Write a table of ``maeface predict`` in another format; the arguments are those of ``open_writer``.

    Args:
        source: ``.csv`` or ``.parquet``.
        out: as in ``open_writer``.
        layout: as in ``open_writer``.
        long: as in ``open_writer``.
        name_inputs: as in ``open_writer``.

    Raises:
        MaefaceError: as in ``open_writer``; or the source is not such a table.
    """
    with open_writer(out, layout, long, name_inputs) as write:
        for piece in native.read_pieces(source):
            write(piece)


def write_events(
    events: pd.DataFrame,
    folder: Path,
    layout: str,
    media: Mapping[str, Media],
    inputs: Sequence[str] | None = None,
    stem: str = "",
) -> list[Path]:
    """Write the events of films for annotation programs and players; return the files.

    ``elan``: ``s01/film.eaf`` of each film; ``srt``: ``s01/film.srt`` of each film; ``boris``: a project of
    all films, ``events.boris``, and their aggregated events, ``events_boris.csv``. With a ``stem``:
    ``STEM.eaf``, ``STEM.srt``, ``STEM.boris`` and ``STEM.boris.csv``.

    Args:
        events: as for ``events.prepare``.
        folder: for the files, which replace earlier ones.
        layout: one of ``EVENT_FORMATS``.
        media: {input: its film}.
        inputs: the films; None: those that have events. A film without events gets an empty file.
        stem: of the names of the files of a single film; "": the film's own name.

    Raises:
        ConfigError: no such format, or a ``stem`` for several films.
        DataError: as for ``events.prepare``, or a film that is not in ``media``.
        ResourceError: a file cannot be written.
    """
    checks.require_choice("layout", layout, EVENT_FORMATS)
    names = events_tables.inputs_of(events, inputs)
    if stem and len(names) > 1:
        raise ConfigError(f"{stem} would be the name of the files of {len(names)} films; expected one film")
    if missing := [name for name in names if name not in media]:
        raise DataError(f"there are events of {missing[0]}, and it is not known where this film is")
    written = [folder / name for name in name_event_files(layout, names, stem)]
    if layout == "boris":
        files.write_json(written[0], boris.to_project(events, media, names))
        files.write_text(written[1], boris.to_aggregated(events, media).to_csv(index=False))
        return written
    for name, out in zip(names, written, strict=True):
        of_film = events[events["input"] == name]
        if layout == "elan":
            files.write_bytes(out, elan.to_eaf(of_film, media[name].path, out))
        else:
            files.write_text(out, subtitles.to_srt(of_film))
    return written


def name_event_files(layout: str, inputs: Sequence[str], stem: str = "") -> list[str]:
    """Return the names of the files that ``write_events`` writes, below its folder: for each film, or two."""
    if layout == "boris":
        return [f"{stem}.boris", f"{stem}.boris.csv"] if stem else ["events.boris", "events_boris.csv"]
    suffix = ".eaf" if layout == "elan" else ".srt"
    return [f"{stem}{suffix}"] if stem else [*_short_names(inputs, suffix).values()]


def _short_names(inputs: Sequence[str], suffix: str) -> dict[str, str]:
    """Return names without the suffix of the film, except where two would be the same."""
    short = {name: str(PurePosixPath(name).with_suffix(suffix)) for name in inputs}
    uses = Counter(path.lower() for path in short.values())  # lower: some file systems ignore the case
    return {name: path if uses[path.lower()] == 1 else name + suffix for name, path in short.items()}


def _append_csv(file: BinaryIO) -> Callable[[pd.DataFrame], None]:
    def append(table: pd.DataFrame) -> None:
        if file.tell() == 0:
            file.write((",".join(map(str, table.columns)) + "\n").encode())
        rows = pa.Table.from_pandas(table, _schema_of(table), preserve_index=False)
        texts = {
            str(text)
            for column in rows.columns
            if column.type == pa.string()
            for text in pc.unique(column).to_pylist()
        }
        # Arrow quotes either all texts or none, and is several times faster than pandas.
        quoting = "needed" if any(NEEDS_QUOTES.search(text) for text in texts) else "none"
        pa_csv.write_csv(rows, file, pa_csv.WriteOptions(include_header=False, quoting_style=quoting))

    return append


def _append_json(file: BinaryIO) -> Callable[[pd.DataFrame], None]:
    def append(table: pd.DataFrame) -> None:
        file.write(shapes.to_json_lines(table).encode())

    return append


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    writer: pq.ParquetWriter | None = None

    def append(table: pd.DataFrame) -> None:
        nonlocal writer
        if writer is None:
            writer = pq.ParquetWriter(path, _schema_of(table), compression="zstd")
        writer.write_table(pa.Table.from_pandas(table, writer.schema, preserve_index=False))

    try:
        yield append
    finally:
        if writer is not None:
            writer.close()


def _schema_of(table: pd.DataFrame) -> pa.Schema:
    """Return the schema of all pieces: a column of text stays one where a piece has no text."""
    text = {
        name for name in table if table[name].dtype == object or pd.api.types.is_string_dtype(table[name])
    }
    types = pa.Schema.from_pandas(table, preserve_index=False)
    fields = [field.with_type(pa.string()) if field.name in text else field for field in types]
    return pa.schema(fields)
