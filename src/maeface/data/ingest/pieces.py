"""Units in pieces: the segments of a long film, and the files of a unit that crashed or hung a process.

Each piece is prepared as a unit by itself, in a folder of its own. When all pieces of a unit are finished,
their crops and rows are joined to the unit's shard and part, with the same bytes as if it had been prepared
as a whole. So the numbers of units depend on the list of inputs only, and a resumed run finds the segments
that are finished. Of a unit that crashed a process, only the guilty file or segment is lost.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from maeface import files
from maeface.data.ingest import unit_part, units
from maeface.data.ingest.gaps import Gap, is_joined
from maeface.data.ingest.images import describe_missing
from maeface.data.ingest.inputs import Input, Unit
from maeface.data.ingest.unit_part import UnitSummary
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
    return out / unit_part.PARTS / _SEGMENTS / unit.name / _INDEX


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
    folder = out / unit_part.PARTS / _RETRY / unit.name
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
    images = 0
    gap: Gap | None = None  # of frames, up to the end of the piece before
    with unit_part.write_part(unit, out) as part:
        shard = unit_part.shard_path(unit, out)
        with files.atomic(shard) as temporary, ShardWriter(temporary, unit.name) as writer:
            for piece in pieces:
                if piece.position in lost:
                    part.add(pa.Table.from_pylist([_lost_row(piece, *lost[piece.position])], SCHEMA))
                    gap = None
                    continue
                of_piece = unit_part.read_finished(piece.unit, piece.folder)
                assert of_piece is not None, piece.folder
                images += of_piece.images
                device = of_piece.device or device
                tables = _copy_crops(piece, writer)
                if gap is not None and of_piece.first_gap is not None and is_joined(gap, of_piece.first_gap):
                    gap = gap.join(of_piece.first_gap)
                    part.describe_last(describe_missing(*gap))
                    first = next(tables).slice(1)
                    if not len(first):  # the gap goes on
                        continue
                    part.add(first)
                for table in tables:
                    part.add(table)
                gap = of_piece.last_gap
        summary = part.finish(images, device)
    for folder in (_RETRY, _SEGMENTS):
        shutil.rmtree(out / unit_part.PARTS / folder / unit.name, ignore_errors=True)
    return summary


def _lost_row(piece: Piece, status: str, detail: str) -> dict[str, Any]:
    """Return the row of a lost file, or of a lost segment, at its first frame."""
    item = piece.inputs[0]
    index = None if piece.index_file is None else read_index(piece.index_file)
    if index is None:
        return units.dropped_row(item, 0, 0.0, status, detail)
    start = item.frames[0][0]
    return units.dropped_row(item, start, float(index.times_s[start]), status, detail)


def _copy_crops(piece: Piece, writer: ShardWriter) -> Iterator[pa.Table]:
    """Append the crops of a piece to the shard of its unit; yield its rows with the new byte ranges."""
    shard = unit_part.shard_path(piece.unit, piece.folder)
    position = SCHEMA.get_field_index("offset")
    with shard.open("rb") if shard.is_file() else nullcontext() as file:  # a piece without a face has none
        for table in unit_part.read_rows(piece.unit, piece.folder):
            offsets: list[int | None] = []
            for offset, size in zip(table["offset"].to_pylist(), table["size"].to_pylist(), strict=True):
                if offset is None or file is None:
                    offsets.append(None)
                    continue
                file.seek(offset)
                offsets.append(writer.add(file.read(size))[0])
            yield table.set_column(position, SCHEMA.field("offset"), pa.array(offsets, pa.int64()))
