"""Files written whole or not at all, hashes, and the lock of a folder."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from maeface.errors import ResourceError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success it takes the place of ``path``.

    The file is synced before the rename and the folder after it, so a kill or a power cut at any
    moment leaves either the old file or the new one. On an exception the temporary file is removed.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{os.getpid()}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise ResourceError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # what went wrong before is what counts
            temporary.unlink(missing_ok=True)


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
