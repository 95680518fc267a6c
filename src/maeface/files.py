"""Files written whole or not at all, hashes, and the lock of a folder."""

import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from maeface.errors import ResourceError

TEMPORARY = re.compile(r"\.\d+\.[0-9a-f]{16}\.tmp")
"""The names of the temporary files of ``atomic``."""
ABANDONED_S = 60.0
"""A temporary file that was written to since is not taken for a killed process's."""
WRITING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}
)
"""Errors of a write, which do not name the file."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success it takes the place of ``path``.

    The file is synced before the rename and the folder after it, so a kill or a power cut at any
    moment leaves either the old file or the new one. On an exception the temporary file is removed; that of
    a killed process is removed by a later one that writes to the same folder.

    An empty file is at the temporary path from the start. An ``OSError`` that the block raises for another
    reason than the writing of it (for instance, of a file that the block reads) is left as it is.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{os.getpid()}.{secrets.token_hex(8)}.tmp")
    with ExitStack() as stack:
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path.parent.absolute())
            stack.callback(_remove, temporary)
            stack.callback(os.close, _created(temporary))
        try:
            yield temporary
        except OSError as error:
            if _is_about_writing(error, temporary):
                raise _cannot_write(path, error) from error
            raise
        with _writing(path):
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> ResourceError:
    return ResourceError(f"cannot write {path}: {error.strerror or error}")


def _is_about_writing(error: OSError, temporary: Path) -> bool:
    """Whether ``error`` names the temporary file, or no file and is of a kind that writing raises."""
    if error.filename is not None:
        return os.fsdecode(error.filename) == str(temporary)
    return error.errno in WRITING


def _created(temporary: Path) -> int:
    """The descriptor of a new file, locked as long as it is open: this tells that its writer lives."""
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _remove(temporary: Path) -> None:
    with suppress(OSError):  # what went wrong before is what counts
        temporary.unlink(missing_ok=True)


@functools.cache  # the first time that this process writes to the folder; pictures may be many
def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed processes, and leave alone those that somebody writes now.

    A file is somebody's while it is locked, or young: a writer may have replaced the locked file.
    """
    for file in folder.glob(".*.tmp"):
        with suppress(OSError):
            if not TEMPORARY.fullmatch(file.name) or time.time() - file.stat().st_mtime < ABANDONED_S:
                continue
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def clean(*folders: Path) -> None:
    """Remove what a killed process was about to write to ``folders``; call it where nobody else writes."""
    for folder in folders:
        for file in folder.glob(".*.tmp"):
            file.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - anything json can hold
    """Write ``value`` to ``path`` atomically, as indented JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; a second process that asks is refused.

    The lock is the operating system's, so it goes with the process however that ends.

    Raises:
        ResourceError: another process holds the folder, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise ResourceError(
            f"{folder} is in use by another run; wait for it, stop it, or choose another folder"
        ) from error
    except OSError as error:
        raise ResourceError(f"cannot use {folder} as an output folder: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts names as people do: ``"2.jpg"`` before ``"10.jpg"``."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts if part)
