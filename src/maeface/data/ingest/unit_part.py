"""The part of a unit of a preparation: its rows of the manifest, on disk beside its shard.

Rows are written while they come, in row groups of a fixed size. So memory does not grow with the length of a
film, and the bytes do not depend on how its rows came.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from maeface import files
from maeface.data import shards
from maeface.data.ingest.gaps import Edges, Gap
from maeface.data.ingest.inputs import Unit
from maeface.data.manifest import SCHEMA

PARTS = "parts"
SUMMARY_KEY = b"maeface.unit"
ROWS_TOGETHER = 4096
"""Rows of a row group."""


@dataclass(frozen=True)
class UnitSummary:
    """Counts of a finished unit; stored in the metadata of its part.

    Attributes:
        files: input files.
        files_dropped: those that gave no face.
        images: photos and frames that were read.
        statuses: rows by status.
        shard: {sha256, bytes, count} of its shard; None if it has no face.
        device: of the face detector; None: no face was detected, or an earlier version wrote the part.
        first_gap: of a segment of a film, the frames that are missing at its start; None if there are none.
        last_gap: those at its end; None if there are none.
    """

    files: int
    files_dropped: int
    images: int
    statuses: dict[str, int]
    shard: dict[str, Any] | None
    device: str | None = None
    first_gap: Gap | None = None
    last_gap: Gap | None = None


class PartWriter:
    """Writes the rows of a unit; see ``write_part``."""

    def __init__(self, unit: Unit, out: Path, parquet: pq.ParquetWriter) -> None:
        self._unit, self._out, self._parquet = unit, out, parquet
        self._pending = SCHEMA.empty_table()
        self._statuses: Counter[str] = Counter()
        self._with_face: set[str] = set()

    def add(self, rows: pa.Table) -> None:
        """Add rows of ``SCHEMA``."""
        self._statuses.update(rows["status"].to_pylist())
        has_face = pa.compute.equal(rows["status"], "ok")
        self._with_face.update(rows["source"].filter(has_face).unique().to_pylist())
        self._pending = pa.concat_tables([self._pending, rows.replace_schema_metadata(SCHEMA.metadata)])
        while len(self._pending) > ROWS_TOGETHER:  # the last row stays, for ``describe_last``
            self._write(ROWS_TOGETHER)

    def describe_last(self, detail: str) -> None:
        """Change the ``detail`` of the last row."""
        count = len(self._pending) - 1
        row = self._pending.slice(count).to_pylist()[0] | {"detail": detail}
        self._pending = pa.concat_tables([self._pending.slice(0, count), pa.Table.from_pylist([row], SCHEMA)])

    def finish(
        self,
        images: int,
        device: str | None,
        edges: Edges | None = None,
        advance: Callable[[], None] = lambda: None,
    ) -> UnitSummary:
        """Write the last rows and the summary; the shard must be complete. One without a face is removed.

        Args:
            images: photos and frames that were read.
            device: of the face detector; None: no face was detected.
            edges: of a segment of a film, the frames that are missing at its ends.
            advance: see ``files.sha256``.
        """
        self._write(len(self._pending))
        shard = shard_path(self._unit, self._out)
        entry = None
        if count := self._statuses["ok"]:
            entry = {"sha256": files.sha256(shard, advance), "bytes": shard.stat().st_size, "count": count}
        else:
            shard.unlink()
        total = len(self._unit.inputs)
        statuses = dict(sorted(self._statuses.items()))
        gaps = () if edges is None else (edges.first, edges.last)
        summary = UnitSummary(total, total - len(self._with_face), images, statuses, entry, device, *gaps)
        self._parquet.add_key_value_metadata({SUMMARY_KEY: json.dumps(asdict(summary))})
        return summary

    def _write(self, count: int) -> None:
        if count:
            self._parquet.write_table(self._pending.slice(0, count).combine_chunks())
        self._pending = self._pending.slice(count)


@contextmanager
def write_part(unit: Unit, out: Path) -> Iterator[PartWriter]:
    """Open the part of a unit, which appears when the block ends, after ``PartWriter.finish``.

    Args:
        unit: its inputs.
        out: the prepared folder.

    Raises:
        ResourceError: the disk is full or cannot be written.
    """
    with files.atomic(_path(unit, out)) as temporary, pq.ParquetWriter(temporary, SCHEMA) as parquet:
        yield PartWriter(unit, out, parquet)


def read_finished(unit: Unit, out: Path) -> UnitSummary | None:
    """Return the summary of a unit if it is finished and its shard is there, else None."""
    try:
        values = json.loads(pq.read_metadata(_path(unit, out)).metadata[SUMMARY_KEY])
        gaps = {name: Gap(*values[name]) for name in ("first_gap", "last_gap") if values.get(name)}
        summary = UnitSummary(**{**values, **gaps})
        shard = shard_path(unit, out)
        return summary if summary.shard is None or shard.stat().st_size == summary.shard["bytes"] else None
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return None


def read_rows(unit: Unit, out: Path) -> Iterator[pa.Table]:
    """Yield the rows of a finished unit, some at a time."""
    with pq.ParquetFile(_path(unit, out)) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number).replace_schema_metadata(SCHEMA.metadata)


def shard_path(unit: Unit, out: Path) -> Path:
    """Return the path of the shard of a unit."""
    return out / shards.FOLDER / f"{unit.name}.tar"


def _path(unit: Unit, out: Path) -> Path:
    return out / PARTS / f"{unit.name}.parquet"
