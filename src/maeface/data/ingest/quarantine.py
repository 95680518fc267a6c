"""Files that crash or hang a worker process: their units are prepared again, file by file.

Each file of such a unit becomes a unit by itself in a folder of its own, so that only the guilty file is
lost. These are then joined to the unit, with the crops that it would have if that file could not be read.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from maeface import files
from maeface.data import shards
from maeface.data.ingest import units
from maeface.data.ingest.inputs import Input, Unit
from maeface.data.ingest.units import UnitSummary
from maeface.data.manifest import SCHEMA
from maeface.data.shards import ShardWriter

_FOLDER = "retry"


class FileRetry(NamedTuple):
    """One file of a unit, to be prepared by itself.

    Attributes:
        unit: with the name of the whole unit, and this file only.
        position: of the file in the whole unit.
        folder: where its shard and its part are written.
    """

    unit: Unit
    position: int
    folder: Path

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The file."""
        return self.unit.inputs


def split_into_files(unit: Unit, out: Path) -> list[FileRetry]:
    """Return the files of a unit, after removing what an interrupted run has left of them."""
    folder = _folder(unit, out)
    shutil.rmtree(folder, ignore_errors=True)
    return [
        FileRetry(Unit(unit.name, (item,)), position, folder / str(position))
        for position, item in enumerate(unit.inputs)
    ]


def join_files(
    unit: Unit,
    out: Path,
    retries: Sequence[FileRetry],
    lost: Mapping[int, tuple[str, str]],
    device: str | None = None,
) -> UnitSummary:
    """Join the files of a unit to its shard and its part.

    Args:
        unit: the whole unit.
        out: the prepared folder.
        retries: its files, in order.
        lost: {position: (status, detail)} of the files that crashed or hung again; they get a row each.
        device: of the face detector, if every file is lost.

    Raises:
        ResourceError: the disk is full or cannot be written.
    """
    tables: list[pa.Table] = []
    images = 0
    with (
        files.atomic(out / shards.FOLDER / f"{unit.name}.tar") as temporary,
        ShardWriter(temporary, unit.name) as writer,
    ):
        for retry in retries:
            if retry.position in lost:
                row = units.dropped_row(retry.unit.inputs[0], 0, 0.0, *lost[retry.position])
                tables.append(pa.Table.from_pylist([row], SCHEMA))
                continue
            summary = units.read_finished(retry.unit, retry.folder)
            assert summary is not None, retry.folder
            images += summary.images
            device = summary.device or device
            tables.append(_copy_crops(retry, writer))
    summary = units.finish_unit(unit, out, pa.concat_tables(tables), images, device)
    shutil.rmtree(_folder(unit, out), ignore_errors=True)
    return summary


def _copy_crops(retry: FileRetry, writer: ShardWriter) -> pa.Table:
    """Append the crops of a file to the shard of its unit; return its rows with the new byte ranges."""
    table = units.read_table(retry.unit, retry.folder).replace_schema_metadata(SCHEMA.metadata)
    offsets: list[int | None] = []
    shard = retry.folder / shards.FOLDER / f"{retry.unit.name}.tar"
    ranges = zip(table["offset"].to_pylist(), table["size"].to_pylist(), strict=True)
    if not shard.is_file():  # no face
        return table
    with shard.open("rb") as file:
        for offset, size in ranges:
            if offset is None:
                offsets.append(None)
                continue
            file.seek(offset)
            offsets.append(writer.add(file.read(size))[0])
    position = table.schema.get_field_index("offset")
    return table.set_column(position, SCHEMA.field("offset"), pa.array(offsets, pa.int64()))


def _folder(unit: Unit, out: Path) -> Path:
    return out / units.PARTS / _FOLDER / unit.name
