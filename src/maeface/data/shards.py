"""Shards, the crops on disk: JPEG files in uncompressed tar files, written in order, read by byte range.

Any WebDataset reader opens the tar files; ``Shards`` does not scan them, because the manifest has the byte
range of each crop.
"""

import hashlib
import io
import json
import os
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from maeface import console, files, portable
from maeface.data.manifest import unescape
from maeface.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "shards"
INDEX = "shards.json"
OPEN_AT_ONCE = 64
HEADER_BYTES = 512
HASHED_AT_ONCE = 4
SHOWN_FROM_BYTES = 2**30
"""A check of so much shows its progress."""


class ShardWriter:
    """A writer of one tar file; the same crops give the same bytes: no time, no owner, names by position.

    Use it as a context manager, with the temporary path of ``files.atomic``.

    Args:
        path: the file to write.
        key: prefix of the member names (``{key}-000012.jpg``), without dots; unique in the dataset, because
            WebDataset groups the members of a sample by it.
    """

    def __init__(self, path: Path, key: str) -> None:
        assert "." not in key, key
        self.count = 0
        self._key = key
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)

    def add(self, jpeg: bytes) -> tuple[int, int]:
        """Append a crop; return the byte range of the JPEG inside the tar file: offset, size."""
        member = tarfile.TarInfo(f"{self._key}-{self.count:06d}.jpg")
        member.size, member.mode, member.mtime = len(jpeg), 0o644, 0
        offset = self._tar.offset + HEADER_BYTES
        self._tar.addfile(member, io.BytesIO(jpeg))
        self._tar.members.clear()  # type: ignore[attr-defined] # it would keep 1 kB of each
        self.count += 1
        return offset, len(jpeg)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._tar.__exit__(kind, error, traceback)


class Shards:
    """The crops of a prepared folder, or of a plain folder of images, in any order.

    Cheap to create and to pickle: each process opens the files itself, at its first read. Size and SHA-256 of
    a shard are compared with the index when it is opened for the first time (about 1 ms per megabyte). What
    has been checked is known by size and modification time, also in processes that are forked later, or that
    get a pickled copy: call ``check`` before workers are started.

    Args:
        folder: a prepared folder, or a plain folder of crops.
        verify: False skips the SHA-256, not the size, for very large shards on slow disks that have been
            checked before.

    Raises:
        DataError: the index is not readable.
    """

    def __init__(self, folder: Path, verify: bool = True) -> None:
        self.folder = folder
        self._verify = verify
        self._index = _read_index(folder)
        self._open: OrderedDict[str, int] = OrderedDict()
        self._checked: dict[str, tuple[int, int]] = {}  # size and time of change, in ns

    def check(self, names: Iterable[str]) -> None:
        """Compare shards with the index now; those that are as they were when they were checked cost nothing.

        Raises:
            DataError: a shard is missing, truncated or altered.
        """
        names = sorted(set(names))
        new = (name for name in names if name in self._index and name not in self._checked)
        size = sum(self._index[name]["bytes"] for name in new)
        with ExitStack() as stack:
            advance: Callable[[], None] = lambda: None  # noqa: E731
            if size >= SHOWN_FROM_BYTES:
                advance = stack.enter_context(console.progress("check", len(names), "shards"))
            pool = stack.enter_context(ThreadPoolExecutor(HASHED_AT_ONCE))
            for _ in pool.map(self._check, names):
                advance()

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Return the encoded image of a manifest row (a dict or a ``pandas.Series``).

        Raises:
            DataError: the shard is missing, truncated or altered, or the row points outside it.
        """
        shard = row["shard"]
        if isinstance(shard, str):
            return self.read_range(shard, int(row["offset"]), int(row["size"]))
        return self.read_file(str(row["source"]))

    def read_range(self, shard: str, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` of a shard; for callers that have columns, not rows.

        Raises:
            DataError: as ``read``.
        """
        descriptor = self._descriptor(shard)
        if offset < 0 or size <= 0 or offset + size > self._index[shard]["bytes"]:
            raise DataError(
                f"{self._path(shard)}: the manifest asks for bytes {offset} to {offset + size} of "
                f"{self._index[shard]['bytes']}; manifest and shards do not belong together, prepare again"
            )
        data = portable.read_at(descriptor, size, offset)
        if len(data) != size:
            raise DataError(f"{self._path(shard)} is truncated; prepare the folder again")
        return data

    def read_file(self, source: str) -> bytes:
        """Return the encoded image of a plain folder.

        Raises:
            DataError: it cannot be read, or lies outside the folder (by its name or through a link).
        """
        name = unescape(source)
        path = self.folder / name
        try:
            if not portable.stays_inside(name) or not path.resolve().is_relative_to(self.folder.resolve()):
                raise DataError(
                    f"{path} is outside the folder {self.folder}, so it is not read; "
                    "copy the image into the folder, or prepare it"
                )
            return path.read_bytes()
        except (
            OSError,
            RuntimeError,
            ValueError,
        ) as error:  # RuntimeError: a link to itself; ValueError: a NUL
            raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error

    def close(self) -> None:
        """Close the open shards; the next read opens them again."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self.close()

    def _path(self, shard: str) -> Path:
        return self.folder / FOLDER / shard

    def _descriptor(self, shard: str) -> int:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        self._check(shard)
        path = self._path(shard)
        try:
            descriptor = os.open(path, portable.READ_ONLY)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        self._open[shard] = descriptor
        if len(self._open) > OPEN_AT_ONCE:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def _check(self, shard: str) -> None:
        """Compare a shard with the index, unless it is as it was when it was checked."""
        path, expected = self._path(shard), self._index.get(shard)
        if expected is None:
            raise DataError(
                f"{self.folder / INDEX} does not list {shard!r}, which the manifest names; prepare again"
            )
        try:
            status = path.stat()
            size, changed = status.st_size, status.st_mtime_ns
            if self._checked.get(shard) == (size, changed):
                return
            hashed = self._verify and size == expected["bytes"]
            digest = _digest(path.resolve(), size, changed) if hashed else expected["sha256"]
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}; copy the whole folder again") from error
        if size != expected["bytes"]:
            what = "truncated" if size < expected["bytes"] else "too long"
            raise DataError(
                f"{path} is {what}: {size} bytes, expected {expected['bytes']}; copy or prepare it again"
            )
        if digest != expected["sha256"]:
            raise DataError(
                f"{path} is altered: its sha256 is {digest[:12]}..., {INDEX} says "
                f"{expected['sha256'][:12]}...; copy or prepare it again"
            )
        self._checked[shard] = size, changed


@cache  # one reading of each shard, for all datasets of this process and those that are forked from it
def _digest(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a file, remembered by its size and its time of change."""
    return files.sha256(path)


def fingerprint(folders: Sequence[Path], rows: "pd.DataFrame") -> str:
    """Return a digest that changes with the crops, although ids and labels stay the same.

    It is made of the SHA-256 of all shards that the index of a prepared folder lists, and of the names and
    sizes of the files of a plain folder. Neither is read.

    Args:
        folders: prepared folders, or plain folders of crops.
        rows: of ``loading.dataset.gather_manifests(folders)``.
    """
    digest = hashlib.sha256()
    for position, folder in enumerate(folders):
        crops = {name: entry["sha256"] for name, entry in _read_index(folder).items()}
        plain = rows["source"][(rows["folder"] == position) & rows["shard"].isna()]
        crops |= {source: _size_of(folder / unescape(source)) for source in plain}
        digest.update(json.dumps(crops, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _size_of(path: Path) -> int:
    """Return the size of a file in bytes; -1 for one that cannot be read, which is told when it is."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return -1


def _read_index(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / INDEX
    if not path.is_file():
        return {}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        return {
            _plain_name(name): {"sha256": str(entry["sha256"]), "bytes": int(entry["bytes"])}
            for name, entry in index.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is not the index of this maeface: expected {{name: {{sha256, bytes, count}}}}; "
            "it is damaged, or written by a newer version: update maeface or prepare again"
        ) from error


def _plain_name(name: str) -> str:
    """Return a file name; ValueError if it leads out of the folder."""
    if Path(name).name != name:
        raise ValueError(name)
    return name
