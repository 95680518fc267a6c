"""From parts to tables: the rows of inputs in order, and the record beside a table."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from maeface import files
from maeface.errors import ConfigError
from maeface.prediction import table_writer
from maeface.prediction.parts import PartReader, Place, are_joined
from maeface.prediction.record import describe_table, make_record, record_path, shorten_record
from maeface.prediction.rows import count_faces, schema_of
from maeface.prediction.tracks import number_tracks

PEOPLE = 20
"""People that are named in a message."""


def write_table(
    out: Path,
    columns: Sequence[str],
    places: Mapping[str, Sequence[Place]],
    reader: PartReader,
    header: Mapping[str, Any],
    started: str,
    keep: int | None,
) -> dict[str, Any]:
    """Write a table, and its record right after it; return the record.

    Memory does not grow with the number of rows.

    Args:
        out: ``.csv`` or ``.parquet``.
        columns: of the table.
        places: {input: where its rows are, in order of time}, in the order of the table.
        reader: of the parts.
        header: of the run, with what was used.
        started: time of the beginning.
        keep: the only track of each film to keep; None: keep all.

    Raises:
        ConfigError: there are people, but no face with the track to keep; a table that is there is left.
        ResourceError: it cannot be written.
    """
    seen: set[int] = set()
    header = {**header, "options": {**header["options"], "track": keep}}
    sidecar = record_path(out)
    entries = ((name, [place.entry for place in of_input]) for name, of_input in places.items())
    with files.atomic(sidecar) as temporary:
        with table_writer.writer(out, schema_of(columns)) as write:
            for rows in number_tracks(_rows(places.values(), reader), keep, seen):
                write(rows)
            if seen and not count_faces(write.statuses):
                raise ConfigError(_describe_tracks(list(places), keep, seen))
            record = make_record(header, entries, write.statuses, started)
            write.record = shorten_record(record)
            sidecar.unlink(missing_ok=True)  # so that no table stands beside the record of another
        record["table"] = describe_table(out)
        with temporary.open("w", encoding="utf-8") as file:  # piece by piece: the text may be large
            json.dump(record, file, indent=2, ensure_ascii=False)
            file.write("\n")
    return record


def _describe_tracks(names: Sequence[str], keep: int | None, seen: set[int]) -> str:
    """Return the message for inputs without the person that was asked for."""
    named = names[0] if len(names) == 1 else f"{len(names)} inputs"
    people = ", ".join(map(str, sorted(seen)[:PEOPLE])) + (", ..." if len(seen) > PEOPLE else "")
    return f"there is no person {keep} in {named}; --track takes one of {people}. No table is made"


def _rows(places: Iterable[Sequence[Place]], reader: PartReader) -> Iterator[pa.Table]:
    for of_input in places:
        before: Place | None = None
        for place in of_input:
            rows = reader.rows(place)
            if before is not None and are_joined(before.entry, place.entry):
                rows = chain((table.slice(1) for table in islice(rows, 1)), rows)
            yield from rows
            before = place
