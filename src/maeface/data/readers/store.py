"""The labels of a reading beside the crops: one Parquet file of the prepared folder."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from maeface import config, files
from maeface.data.readers.reading import Reading

FILE = "labels.parquet"


def write(folder: Path, labels: pd.DataFrame) -> None:
    """Write the labels of a reading into a prepared folder, atomically."""
    table = pa.Table.from_pandas(labels, preserve_index=False).replace_schema_metadata()
    with files.atomic(folder / FILE) as temporary:
        pq.write_table(table, temporary)


def account(reading: Reading, dataset: str | None, options: Sequence[str]) -> dict[str, Any]:
    """What ``prepare.json`` says of a reading; by this the same command is known again."""
    return {
        "dataset": dataset,
        "options": config.assigned(options),
        "notes": list(reading.notes),
        "labels_sha256": None if reading.labels is None else digest(reading.labels),
    }


def digest(labels: pd.DataFrame) -> str:
    """SHA-256 of names and values, whatever the version of the libraries."""
    hashed = hashlib.sha256()
    for name in labels.columns:
        values = labels[name]
        hashed.update(f"{name}\0".encode())
        if values.dtype.kind in "if":
            array = values.to_numpy()
            if array.dtype.kind == "f":  # there is more than one NaN
                array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
            hashed.update(array.tobytes())
        else:
            hashed.update("\0".join(values).encode())
    return hashed.hexdigest()


def name_people(folder: Path, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Parts of a manifest with the subjects and clips that the labels of the folder give its sources."""
    if not (folder / FILE).is_file():
        yield from tables
        return
    names = ["source", "subject", "clip"]
    known = (
        pq.read_table(folder / FILE, columns=names)
        .group_by("source")
        .aggregate([("subject", "min"), ("clip", "min")])
    )
    sources = known["source"].combine_chunks()
    for table in tables:
        at = pa.compute.index_in(table["source"].cast(sources.type), sources)
        for name in names[1:]:
            column = table.schema.get_field_index(name)
            said = known[f"{name}_min"].take(at).cast(table.schema.field(name).type)
            table = table.set_column(column, table.schema.field(name), pa.compute.coalesce(said, table[name]))
        yield table
