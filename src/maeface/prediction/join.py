"""From parts to tables: the rows of inputs in order, and the record beside a table."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from maeface import files
from maeface.prediction import table_writer
from maeface.prediction.parts import PartReader, Place
from maeface.prediction.record import make_record, record_path, shorten_record
from maeface.prediction.rows import schema_of

Finish = Callable[[pa.Table], pa.Table]


def finish_film() -> Finish:
    """Return a function that is called with the rows of one film in order of time, piece by piece.

    It returns the rows as they are in the table. It may read hidden columns and keep a state of the film.
    """
    return lambda rows: rows


def write_table(
    out: Path,
    columns: Sequence[str],
    places: Mapping[str, Sequence[Place]],
    reader: PartReader,
    header: Mapping[str, Any],
    started: str,
) -> dict[str, Any]:
    """Write a table, and its record right after it; return the record.

    Memory does not grow with the number of rows. Other columns of the parts, whose names begin with ``_``,
    are left out.

    Args:
        out: ``.csv`` or ``.parquet``.
        columns: of the table.
        places: {input: where its rows are, in order of time}, in the order of the table.
        reader: of the parts.
        header: of the run, with what was used.
        started: time of the beginning.

    Raises:
        ResourceError: it cannot be written.
    """
    sidecar = record_path(out)
    entries = ((name, [place.entry for place in of_input]) for name, of_input in places.items())
    with files.atomic(sidecar) as temporary:
        with table_writer.writer(out, schema_of(columns)) as write:
            for of_input in places.values():
                finish = finish_film()
                for rows in _rows(of_input, reader):
                    write(finish(rows).select(columns))
            record = make_record(header, entries, started)
            write.record = shorten_record(record)
            temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            sidecar.unlink(missing_ok=True)  # so that no table stands beside the record of another
    return record


def _rows(places: Sequence[Place], reader: PartReader) -> Iterator[pa.Table]:
    for place in places:
        yield from reader.rows(place)
