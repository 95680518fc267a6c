"""MXNet's record files (``.rec`` with ``.idx``): the position of each image in the file, and its bytes.

The format (dmlc-core, recordio.h; mxnet.recordio), all little-endian: a file
is a chain of records, each at a multiple of 4 bytes. A record is the magic word 0xced7230a, a word whose
lower 29 bits are a length and whose upper 3 bits say whether that is all (0) or the first (1), a middle (2)
or the last (3) part of several, then so many bytes, padded with zeros to a multiple of 4. Parts exist where
the data held the magic word itself at a multiple of 4: it is cut out there, and the magic word of the next
part stands for it. The data of an image record begin with flag (uint32), label (float32), id and id2 (uint64
each); where flag is not 0, so many float32 labels follow; the rest is the image file. Records without one are
InsightFace's bookkeeping: record 0 holds the range of the images, those behind the images that of a person.

The ``.idx`` is text: a line for each record with key, tab, offset.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from maeface.errors import DataError

MAGIC = 0xCED7230A
_FRAME = struct.Struct("<II")  # magic, length and part
_HEAD = struct.Struct("<IfQQ")  # flag, label, id, id2
_LENGTH = (1 << 29) - 1
_WHOLE, _FIRST, _MIDDLE, _LAST = 0, 1, 2, 3


class ImageSpan(NamedTuple):
    """The position of an image: ``size`` bytes from ``offset`` of the file, for ``read_image_bytes``."""

    key: int
    offset: int
    size: int


@dataclass(frozen=True)
class RecordIndex:
    """The images of a record file.

    Attributes:
        images: sorted by key.
        without_image: number of records that hold none.
        announced: number of images that record 0 announces (InsightFace); None: it announces none.
        outside: bytes of the file that belong to no record of the index.
    """

    images: tuple[ImageSpan, ...]
    without_image: int
    announced: int | None
    outside: int


class _Record(NamedTuple):
    flag: int
    labels: tuple[float, ...]
    offset: int  # of the image
    size: int  # of the image; 0: none
    end: int


def read_index(rec: Path, idx: Path | None) -> RecordIndex:
    """Find the images of a record file.

    Args:
        rec: the record file; only the heads of the records are read.
        idx: its index; None: the records are found one after another, and numbered from 0.

    Raises:
        DataError: the record file is cut off or damaged, or the index does not belong to it.
    """
    try:
        total = rec.stat().st_size
        with rec.open("rb", buffering=0) as file:
            rows = _scan_records(file, total, rec) if idx is None else _read_idx(idx, total, rec)
            images = []
            without_image = covered = 0
            announced = None
            for location, key, offset in rows:
                record = _read_record(file, offset, total, rec, location)
                covered += record.end - offset
                if record.size > 0:
                    images.append(ImageSpan(key, record.offset, record.size))
                    continue
                without_image += 1
                if key == 0 and len(record.labels) >= 1:
                    announced = int(record.labels[0]) - 1
    except OSError as error:
        raise DataError(f"{rec} cannot be read: {error.strerror or error}") from error
    return RecordIndex(tuple(sorted(images)), without_image, announced, total - covered)


def read_image_bytes(path: Path, offset: int, size: int) -> bytes:
    """Read the bytes of an image of a record file, joined where the record has several parts.

    Args:
        path: the record file.
        offset: the first byte of the image, from ``read_index``.
        size: how many bytes of the file it spans.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    # A magic word at a multiple of 4 always joins two parts: it is data, the length after it is not.
    words = np.frombuffer(data, "<u4", len(data) // 4)
    seams = np.flatnonzero(words == MAGIC)
    if not len(seams):
        return data
    pieces, start = [], 0
    for seam in seams.tolist():
        pieces.append(data[start : 4 * seam + 4])
        start = 4 * seam + 8
    return b"".join([*pieces, data[start:]])


def _read_idx(idx: Path, total: int, rec: Path) -> list[tuple[str, int, int]]:
    """Read name, key and offset of each row of an index, in the order of the record file."""
    rows: list[tuple[str, int, int]] = []
    keys: set[int] = set()
    try:
        lines = idx.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{idx}: expected text, a key, a tab and an offset a row, got bytes") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        location = f"{idx} row {number}"
        try:
            key, offset = (int(value) for value in line.split("\t"))
        except ValueError as error:
            raise DataError(f"{location}: expected a key, a tab and an offset, got {line[:60]!r}") from error
        if key in keys:
            raise DataError(f"{location}: key {key} is there twice; the index is damaged, get it again")
        if not 0 <= offset <= total - _FRAME.size or offset % 4:
            raise DataError(
                f"{location}: no record can begin at byte {offset} of {rec.name}, which has {total} bytes; "
                f"{rec.name} is cut off or the index is another's: get both again"
            )
        keys.add(key)
        rows.append((location, key, offset))
    if not rows:
        raise DataError(f"{idx} is empty; get it again, or move it away to have {rec.name} read without it")
    return sorted(rows, key=lambda row: row[2])


def _scan_records(file: BinaryIO, total: int, rec: Path) -> Iterator[tuple[str, int, int]]:
    """Yield name, number and offset of each record, found from the lengths."""
    offset = number = 0
    while offset < total:
        location = f"{rec} record {number}"
        yield location, number, offset
        offset = _read_record(file, offset, total, rec, location).end
        number += 1


def _read_record(file: BinaryIO, offset: int, total: int, rec: Path, location: str) -> _Record:
    length, part, data = _read_frame(file, offset, total, rec, location)
    if part not in (_WHOLE, _FIRST):
        raise DataError(
            f"{location}: byte {offset} of {rec.name} is in the middle of a record; get both again"
        )
    head = data[:length]
    end = offset + _FRAME.size + length
    while part not in (_WHOLE, _LAST):  # further parts
        length, part, _ = _read_frame(file, end, total, rec, location)
        if part not in (_MIDDLE, _LAST):
            raise DataError(f"{location}: the record at byte {offset} of {rec.name} has no last part")
        end += _FRAME.size + length
    if len(head) < _HEAD.size:  # no image record
        return _Record(0, (), offset, 0, _padded(end))
    flag = _HEAD.unpack(head)[0]
    begin = offset + _FRAME.size + _HEAD.size + 4 * flag
    if begin > end:
        raise DataError(f"{location}: not an image record: {flag} labels do not fit; get {rec.name} again")
    labels: tuple[float, ...] = ()
    if begin == end and flag:
        file.seek(offset + _FRAME.size + _HEAD.size)
        labels = struct.unpack(f"<{flag}f", file.read(4 * flag))
    return _Record(flag, labels, begin, end - begin, _padded(end))


def _read_frame(file: BinaryIO, offset: int, total: int, rec: Path, location: str) -> tuple[int, int, bytes]:
    """Read length and part of the frame at ``offset``, and the first bytes of its data."""
    file.seek(offset)
    frame = file.read(_FRAME.size + _HEAD.size)
    if len(frame) < _FRAME.size:
        raise DataError(f"{location}: {rec.name} is cut off at byte {total}; get it again")
    magic, word = _FRAME.unpack_from(frame)
    if magic != MAGIC:
        raise DataError(
            f"{location}: no record begins at byte {offset} of {rec.name} (expected {MAGIC:#x}, "
            f"got {magic:#x}); it is not a record file, it is damaged, or the index is another's"
        )
    length = word & _LENGTH
    if offset + _FRAME.size + length > total:
        raise DataError(
            f"{location}: {rec.name} is cut off: the record at byte {offset} needs "
            f"{_padded(offset + _FRAME.size + length)} bytes, the file has {total}; get it again"
        )
    return length, word >> 29, frame[_FRAME.size :]


def _padded(end: int) -> int:
    return -(-end // 4) * 4
