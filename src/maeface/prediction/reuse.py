"""The rows of films that have not changed since a table was made, as parts: only what is new is predicted."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from maeface import files
from maeface.data.ingest.inputs import Input
from maeface.data.ingest.workers import CRASHED, TIMEOUT
from maeface.prediction import parts
from maeface.prediction.parts import Content, Entry
from maeface.prediction.pipeline import HEADER, read_header
from maeface.prediction.plan import make_unit
from maeface.prediction.record import MADE, RESOLVED, describe_table, find_differences, read_record
from maeface.prediction.rows import HIDDEN, schema_of
from maeface.runtime.backends import computes_bf16

RETRIED = {parts.UNREADABLE, CRASHED, TIMEOUT}
"""A film with a row of such a status is predicted again."""


def keep_unchanged_films(
    out: Path, folder: Path, inputs: Sequence[Input], header: Mapping[str, Any], gpu: bool
) -> int:
    """Write the rows of unchanged films of the table that is there as parts; return the number of films.

    The people of a film are numbered by this film alone, so its rows are those that a new prediction would
    have. Photos are left out: their last digits depend on those that are predicted together with them.

    Args:
        out: the table.
        folder: of the parts, locked.
        inputs: of this run.
        header: of this run, without what was used.
        gpu: whether this run will use a GPU.

    Raises:
        ResourceError: the parts cannot be written.
    """
    record = read_record(out)
    if record is None or not _can_go_on(out, record, header, gpu):
        return 0
    begun = (folder / HEADER).is_file()
    if begun and find_differences(record, read_header(folder)):
        return 0
    there = {entry.name for of_part in parts.read_entries(folder).values() for entry in of_part}
    before = {item["name"]: item for item in record["inputs"]}
    films = {item.source: item for item in inputs if item.video and item.source in before.keys() - there}
    entries = {name: entry for name in films if (entry := _entry_of(films[name], before[name]))}
    if not entries:
        return 0
    columns, pieces = _read(out)
    if not begun:
        used = {name: value for name, value in record.items() if name not in MADE}
        files.write_json(folder / HEADER, {**used, **header, "columns": columns})
    kept = 0
    for name, rows in _by_input(pieces, entries):
        entry, unit = entries[name], make_unit([films[name]])
        with (
            suppress(_Retry),
            parts.write_part(folder, unit, schema_of([*columns, *HIDDEN]), [entry]) as write,
        ):
            for some in rows:
                write(_hide_nothing(some))
            entry.rows, entry.statuses = write.rows, write.statuses
            if not RETRIED.isdisjoint(entry.statuses):
                raise _Retry
            kept += 1
    return kept


class _Retry(Exception):
    """A film is to be predicted again."""


def _can_go_on(out: Path, record: Mapping[str, Any], header: Mapping[str, Any], gpu: bool) -> bool:
    """Return whether a table is as it was written, and new rows would be of the same kind."""
    if find_differences(record, header) or record.get("table") != describe_table(out):
        return False
    before, now = record["options"], header["options"]
    if any(before.get(name) != now[name] for name in RESOLVED):
        return False  # new rows would be made as was asked for then
    if before.get("track") is not None or now["track"] is not None:
        return False  # the table has not all rows, or its pieces no whole frames
    backend = record["backend"]
    try:
        is_there = version(backend) == record[backend]
    except PackageNotFoundError:
        return False
    in_bf16 = record["precision"] != "bf16" or backend == "torch" or computes_bf16(backend)
    return is_there and in_bf16 and record["device"].startswith("cuda") == gpu


def _entry_of(film: Input, before: Mapping[str, Any]) -> Entry | None:
    """Return the entry of a film of which a record has an item; None if the film has changed."""
    content = Content(before["bytes"], before["mtime_ns"], before["sha256"])
    now = content.still_of(Path(film.path)) if content.sha256 else None
    if now is None:
        return None
    return Entry(film.source, (), now, images=before["images"], missing=before["missing"], copied=True)


def _read(out: Path) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    """Return the columns of a table, and its rows piece by piece."""
    if out.suffix.lower() == ".parquet":
        names = pq.read_schema(out).names
        return names, _read_parquet(out)
    with out.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split(",")
    return names, _read_csv(out, schema_of(names))


def _read_csv(out: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    lines = pa_csv.ParseOptions(newlines_in_values=True)
    types = pa_csv.ConvertOptions(column_types=schema)
    with pa_csv.open_csv(out, parse_options=lines, convert_options=types) as batches:
        yield from batches


def _read_parquet(out: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(out, pre_buffer=False) as file:  # a buffer would hold all of it
        yield from file.iter_batches(parts.ROWS_TOGETHER)


def _by_input(
    pieces: Iterator[pa.RecordBatch], names: Collection[str]
) -> Iterator[tuple[str, Iterator[pa.Table]]]:
    """Yield the rows of some inputs, each piece by piece."""

    def split() -> Iterator[tuple[str, pa.Table]]:
        for piece in pieces:
            table = pa.Table.from_batches([piece])
            start = 0
            for name, same in groupby(table["input"].to_pylist()):
                count = sum(1 for _ in same)
                yield name, table.slice(start, count)
                start += count

    for name, found in groupby(split(), lambda one: one[0]):
        if name in names:
            yield name, (rows for _, rows in found)


def _hide_nothing(rows: pa.Table) -> pa.Table:
    """Return rows with empty hidden columns: their tracks are numbered already."""
    for name, kind in HIDDEN.items():
        rows = rows.append_column(name, pa.nulls(len(rows), kind))
    return rows
