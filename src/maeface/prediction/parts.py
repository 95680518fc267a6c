"""Parts of a table of predictions: the rows of finished units of work, as Parquet files in one folder.

The metadata of a part says which inputs it covers and what they contained, so that a later run knows which
inputs are still missing. A part is written atomically and never changed.
"""

import hashlib
import json
import re
import stat
from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from maeface import files
from maeface.data.ingest.gaps import Gap, is_joined
from maeface.data.ingest.inputs import Input, Unit
from maeface.prediction import table_writer
from maeface.prediction.table_writer import RECORD_KEY, Writer

SUFFIX = ".parquet"
ROWS_TOGETHER = 8192
"""Least rows of a row group: what a join holds in memory of each open part."""
OPEN_PARTS = 8
_NAME = re.compile(r"[0-9a-f]{20}")
UNREADABLE = "unreadable"
"""The status of a file that the system could not read, though perhaps it can later."""

Spans = tuple[tuple[int, int], ...]
Key = tuple[str, Spans]
"""An input, or the frames of a film, by name."""


class Content(NamedTuple):
    """What is known of the content of a file.

    Attributes:
        bytes: its size; -1 if it cannot be looked at.
        mtime_ns: the time of its last change; -1 if it cannot be looked at.
        sha256: in hexadecimal; None if the file cannot be read or the hash was not computed.
    """

    bytes: int
    mtime_ns: int
    sha256: str | None

    def still_of(self, path: Path) -> "Content | None":
        """Return this content with the present time of change, if a file has it, else None.

        A file of the same size and time is trusted; one of the same size and another time is hashed.
        """
        now = look_at(path)
        same = now.bytes == self.bytes and (
            now.mtime_ns == self.mtime_ns or (self.sha256 is not None and hash_of(path) == self.sha256)
        )
        return self._replace(mtime_ns=now.mtime_ns) if same else None


def look_at(path: Path) -> Content:
    """Return the size and the time of a file."""
    try:
        status = path.stat()
    except OSError:
        return Content(-1, -1, None)
    return Content(status.st_size, status.st_mtime_ns, None)


def hash_of(path: Path, advance: Callable[[], None] = lambda: None) -> str | None:
    """Return the SHA-256 of a file; None if it cannot be read or is not a regular file.

    Args:
        path: of the file.
        advance: see ``files.sha256``.
    """
    try:
        return files.sha256(path, advance) if stat.S_ISREG(path.stat().st_mode) else None
    except OSError:
        return None


@dataclass(slots=True)  # there are as many as inputs
class Entry:
    """The rows of an input, or of some frames of a film, in a part.

    Attributes:
        name: of the input in the table.
        frames: spans of the film's frames, as in ``Input``; () for all, and for a photo.
        content: of the file when it was read. Of a film in several units, the first one has the hash.
        first, rows: position of the rows in the part, and their number.
        images: photos and frames that were read.
        statuses: rows by status.
        missing: photos and frames that were to be read and could not; 1 for a row that stands for an unknown
            number.
        alone: whether it was a unit by itself because another file of its unit crashed or hung a process.
        first_gap: of a segment, the frames that are missing at its start; None if there are none.
        last_gap: those at its end; None if there are none.
        copied: whether the rows are those of an earlier table, with their tracks and without hidden columns.
    """

    name: str
    frames: Spans
    content: Content
    first: int = 0
    rows: int = 0
    images: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    alone: bool = False
    first_gap: Gap | None = None
    last_gap: Gap | None = None
    copied: bool = False

    @property
    def key(self) -> Key:
        """The input and its frames."""
        return self.name, self.frames

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Entry":
        """Return the entry whose fields were stored as JSON."""
        frames = tuple((start, stop) for start, stop in values["frames"])
        changed: dict[str, Any] = {"frames": frames, "content": Content(*values["content"])}
        changed |= {name: Gap(*values[name]) for name in ("first_gap", "last_gap") if values.get(name)}
        return cls(**{**values, **changed, "statuses": Counter(values["statuses"])})


class Place(NamedTuple):
    """Where the rows of an input, or of some frames of a film, are: a part and its entry."""

    part: str
    entry: Entry


def are_joined(before: Entry, entry: Entry) -> bool:
    """Return whether the first row of a segment goes on with the missing frames that end the one before."""
    return is_joined(before.last_gap, entry.first_gap)


def count_rows(entries: Sequence[Entry]) -> Counter[str]:
    """Return how many rows the entries of one input, in order of time, have in a table, by status."""
    counts = sum((entry.statuses for entry in entries), Counter[str]())
    for before, entry in pairwise(entries):
        if entry.first_gap is not None and are_joined(before, entry):
            counts[entry.first_gap.reason] -= 1
    return counts


def key_of(item: Input) -> Key:
    """Return the key of an input."""
    return item.source, item.frames


def part_name(inputs: Iterable[Input]) -> str:
    """Return the name of the part of inputs, which depends on their names and frames only."""
    text = json.dumps([key_of(item) for item in inputs])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def has_parts(folder: Path) -> bool:
    """Return whether a folder has any part."""
    return next(part_files(folder), None) is not None


def has_predicted(folder: Path) -> bool:
    """Return whether a folder has any part that is more than a copy of rows of a table."""
    found = read_entries(folder).values()
    return not all(entry.copied for of_part in found for entry in of_part)


def part_files(folder: Path) -> Iterator[Path]:
    """Yield the files of parts in a folder, known by their names; other files are the user's."""
    return (path for path in folder.glob(f"*{SUFFIX}") if _NAME.fullmatch(path.stem))


@contextmanager
def write_part(folder: Path, unit: Unit, schema: pa.Schema, entries: Sequence[Entry]) -> Iterator[Writer]:
    """Open the part of a unit; the entries are stored as they are at the end.

    Raises:
        ResourceError: it cannot be written.
    """
    with table_writer.writer(folder / f"{unit.name}{SUFFIX}", schema, ROWS_TOGETHER) as write:
        yield write
        write.record = {"inputs": [entry.to_json() for entry in entries]}


def read_entries(folder: Path) -> dict[str, list[Entry]]:
    """Return {part: its entries}; a damaged part is left out."""
    found = {path.stem: _read_part(path) for path in sorted(part_files(folder))}
    return {part: entries for part, entries in found.items() if entries is not None}


def _read_part(path: Path) -> list[Entry] | None:
    """Return the entries of a part; None if it is damaged or not there."""
    try:
        record = json.loads(pq.read_metadata(path).metadata[RECORD_KEY.encode()])
        return [Entry.from_json(values) for values in record["inputs"]]
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return None


def remove_used(folder: Path, parts: Iterable[str], done: Container[str]) -> None:
    """Remove the parts that hold only rows of inputs whose tables are written.

    Args:
        folder: of the parts.
        parts: the names of those that may be removed.
        done: names of the inputs whose tables are written.
    """
    for part in parts:
        path = folder / f"{part}{SUFFIX}"
        entries = _read_part(path)
        if entries is not None and all(entry.name in done for entry in entries):
            path.unlink()


def find_finished(
    folder: Path, inputs: Sequence[Input], names: Container[str] | None = None
) -> dict[Key, Place]:
    """Return the places of what is finished, and remove parts of files that are gone or have changed.

    Args:
        folder: of the parts.
        inputs: the files of this run.
        names: of all inputs of this run, if other runs have parts in the folder, which are left; None: an
            input that is not of this run is gone.
    """
    paths = {item.source: Path(item.path) for item in inputs}
    entries = read_entries(folder)
    hashes = {
        (entry.name, *entry.content[:2]): entry.content.sha256
        for of_part in entries.values()
        for entry in of_part
        if entry.content.sha256
    }
    present: dict[tuple[str, Content], Content | None] = {}  # a film in many units is looked at once
    finished: dict[Key, Place] = {}
    for part, of_part in entries.items():
        for entry in of_part:
            if entry.name not in paths or entry.statuses[UNREADABLE]:
                continue  # gone, or to be tried again
            content = entry.content._replace(sha256=hashes.get((entry.name, *entry.content[:2])))
            if (entry.name, content) not in present:
                present[entry.name, content] = content.still_of(paths[entry.name])
            if now := present[entry.name, content]:
                entry.content = entry.content._replace(mtime_ns=now.mtime_ns)
                finished.setdefault(entry.key, Place(part, entry))
    used = {place.part for place in finished.values()}
    for path in part_files(folder):
        if path.stem in used:
            continue
        if names is None or all(entry.name in names for entry in entries.get(path.stem, ())):
            path.unlink(missing_ok=True)
    return finished


class PartReader:
    """Reads rows of parts; the parts that were used last stay open.

    Args:
        folder: of the parts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, _OpenPart] = OrderedDict()

    def rows(self, place: Place) -> Iterator[pa.Table]:
        """Yield the rows of a place in order, piece by piece."""
        part = self._open.pop(place.part, None) or _OpenPart(self._folder / f"{place.part}{SUFFIX}")
        self._open[place.part] = part
        while len(self._open) > OPEN_PARTS:
            self._open.popitem(last=False)[1].close()
        yield from part.rows(place.entry.first, place.entry.rows)

    def close(self) -> None:
        """Close all parts; the next read opens them again."""
        while self._open:
            self._open.popitem()[1].close()


class _OpenPart:
    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        self._number, self._table = -1, pa.table({})

    def rows(self, first: int, count: int) -> Iterator[pa.Table]:
        start = 0
        for number in range(self._file.num_row_groups):
            length = self._file.metadata.row_group(number).num_rows
            begin, end = max(first - start, 0), min(first + count - start, length)
            if begin < end:
                yield self._row_group(number).slice(begin, end - begin)
            start += length

    def _row_group(self, number: int) -> pa.Table:
        if number != self._number:
            self._number, self._table = number, self._file.read_row_group(number)
        return self._table

    def close(self) -> None:
        self._file.close()
