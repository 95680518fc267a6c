"""The labels of a dataset beside its crops: ``labels.parquet`` of the prepared folder."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from maeface import files, nested
from maeface.data.readers.raw_dataset import RawDataset

FILE = "labels.parquet"


def write(folder: Path, labels: pd.DataFrame) -> None:
    """Write the labels of a dataset into a prepared folder, atomically."""
    table = pa.Table.from_pandas(labels, preserve_index=False).replace_schema_metadata()
    with files.atomic(folder / FILE) as temporary:
        pq.write_table(table, temporary)


def record(dataset: RawDataset, name: str | None, options: Sequence[str]) -> dict[str, Any]:
    """Return the entries of ``prepare.json`` about a dataset, by which the same command is recognised.

    Args:
        dataset: what was read.
        name: of the dataset; None for plain files and folders.
        options: of the reader, ``key=value`` each.
    """
    return {
        "dataset": name,
        "options": nested.apply_overrides(options),
        "notes": list(dataset.notes),
        "labels_sha256": None if dataset.labels is None else hash_labels(dataset.labels),
    }


def hash_labels(labels: pd.DataFrame) -> str:
    """Return the SHA-256 of names and values, which does not change with the versions of the libraries."""
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


def fill_subjects(folder: Path, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield parts of a manifest with the subjects and clips of the folder's labels, by source."""
    if not (folder / FILE).is_file():
        yield from tables
        return
    columns = ["source", "subject", "clip"]
    by_source = (
        pq.read_table(folder / FILE, columns=columns)
        .group_by("source")
        .aggregate([("subject", "min"), ("clip", "min")])
    )
    sources = by_source["source"].combine_chunks()
    for table in tables:
        rows = pa.compute.index_in(table["source"].cast(sources.type), sources)
        for name in columns[1:]:
            field = table.schema.field(name)
            values = by_source[f"{name}_min"].take(rows).cast(field.type)
            position = table.schema.get_field_index(name)
            table = table.set_column(position, field, pa.compute.coalesce(values, table[name]))
        yield table
