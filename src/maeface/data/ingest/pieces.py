"""Units in pieces: the segments of a long film, and the files of a unit that crashed or hung a process.

Each piece is prepared as a unit by itself, in a folder of its own. When all pieces of a unit are finished,
their crops and rows are joined to the unit's shard and part, with the same bytes as if it had been prepared
as a whole. So the numbers of units depend on the list of inputs only, and a resumed run finds the segments
that are finished. Of a unit that crashed a process, only the guilty file or segment is lost.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from maeface import files
from maeface.data import shards
from maeface.data.ingest import units
from maeface.data.ingest.gaps import Gap, is_joined
from maeface.data.ingest.images import describe_missing
from maeface.data.ingest.inputs import Input, Unit
from maeface.data.ingest.units import UnitSummary
from maeface.data.manifest import SCHEMA
from maeface.data.shards import ShardWriter
from maeface.faces.video_index import read_index

_RETRY, _SEGMENTS = "retry", "segments"
_INDEX = "index.npz"


class Piece(NamedTuple):
    """One file of a unit, or one segment of its film, to be prepared by itself.

    Attributes:
        unit: with the name of the whole unit, and this file or segment only.
        position: of the piece in the whole unit.
        folder: where its shard and its part are written.
        index_file: of a segment, the file with the index of the film; None for a file.
    """

    unit: Unit
    position: int
    folder: Path
    index_file: Path | None = None

    @property
    def name(self) -> str:
        """The name of the whole unit."""
        return self.unit.name

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The file or the segment."""
        return self.unit.inputs


def index_path(unit: Unit, out: Path) -> Path:
    """Return the path of the index of the film of a unit."""
    return out / units.PARTS / _SEGMENTS / unit.name / _INDEX


def segments_of(unit: Unit, out: Path, segments: Sequence[Input]) -> list[Piece]:
    """Return the segments of the film of a unit, in order; those of an earlier run may be finished."""
    index = index_path(unit, out)
    folders = [index.with_name("-".join(map(str, item.frames[0]))) for item in segments]
    return [
        Piece(Unit(unit.name, (item,)), position, folder, index)
        for position, (item, folder) in enumerate(zip(segments, folders, strict=True))
    ]


def split_into_files(unit: Unit, out: Path) -> list[Piece]:
    """Return the files of a unit, after removing what an interrupted run has left of them."""
    folder = out / units.PARTS / _RETRY / unit.name
    shutil.rmtree(folder, ignore_errors=True)
    return [
        Piece(Unit(unit.name, (item,)), position, folder / str(position))
        for position, item in enumerate(unit.inputs)
    ]


def join_pieces(
    unit: Unit,
    out: Path,
    pieces: Sequence[Piece],
    lost: Mapping[int, tuple[str, str]],
    device: str | None = None,
) -> UnitSummary:
    """Join the pieces of a unit to its shard and its part, and remove them.

    Args:
        unit: the whole unit.
        out: the prepared folder.
        pieces: all of the unit, in order.
        lost: {position: (status, detail)} of the pieces that crashed or hung again; they get a row each.
        device: of the face detector, if every piece is lost.

    Raises:
        ResourceError: the disk is full or cannot be written.
    """
    tables: list[pa.Table] = []
    images = 0
    gap: Gap | None = None  # of frames, up to the end of the piece before
    with (
        files.atomic(out / shards.FOLDER / f"{unit.name}.tar") as temporary,
        ShardWriter(temporary, unit.name) as writer,
    ):
        for piece in pieces:
            if piece.position in lost:
                tables.append(pa.Table.from_pylist([_lost_row(piece, *lost[piece.position])], SCHEMA))
                gap = None
                continue
            summary = units.read_finished(piece.unit, piece.folder)
            assert summary is not None, piece.folder
            images += summary.images
            device = summary.device or device
            table = _copy_crops(piece, writer)
            if gap is not None and summary.first_gap is not None and is_joined(gap, summary.first_gap):
                gap = gap.join(summary.first_gap)
                tables[-1] = _describe_last(tables[-1], gap)
                table = table.slice(1)
                if not len(table):  # the gap goes on
                    continue
            tables.append(table)
            gap = summary.last_gap
    summary = units.finish_unit(unit, out, pa.concat_tables(tables), images, device)
    for folder in (_RETRY, _SEGMENTS):
        shutil.rmtree(out / units.PARTS / folder / unit.name, ignore_errors=True)
    return summary


def _lost_row(piece: Piece, status: str, detail: str) -> dict[str, Any]:
    """Return the row of a lost file, or of a lost segment, at its first frame."""
    item = piece.inputs[0]
    index = None if piece.index_file is None else read_index(piece.index_file)
    if index is None:
        return units.dropped_row(item, 0, 0.0, status, detail)
    start = item.frames[0][0]
    return units.dropped_row(item, start, float(index.times_s[start]), status, detail)


def _describe_last(table: pa.Table, gap: Gap) -> pa.Table:
    """Return rows of which the last one stands for all frames of a gap."""
    row = table.slice(len(table) - 1).to_pylist()[0] | {"detail": describe_missing(*gap)}
    return pa.concat_tables([table.slice(0, len(table) - 1), pa.Table.from_pylist([row], SCHEMA)])


def _copy_crops(piece: Piece, writer: ShardWriter) -> pa.Table:
    """Append the crops of a piece to the shard of its unit; return its rows with the new byte ranges."""
    table = units.read_table(piece.unit, piece.folder).replace_schema_metadata(SCHEMA.metadata)
    offsets: list[int | None] = []
    shard = piece.folder / shards.FOLDER / f"{piece.name}.tar"
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
