"""Atomic writing of files, hashes, the lock of a folder, and numbers as text has them."""

import errno
import functools
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maeface import portable
from maeface.errors import InUseError, ResourceError

WEIGHTS_VARIABLE = "MAEFACE_WEIGHTS"
"""The environment variable that names a folder with public weights."""
TEMPORARY = re.compile(r"\.\d+\.[0-9a-f]{16}\.tmp")
"""The names of the temporary files of ``atomic``."""
LEFT_BY_KILLED = (".*.tmp", ".tmp??????")
"""Patterns of what a killed process leaves in a folder of its own: from ``atomic``, and from safetensors."""
ABANDONED_S = 60.0
"""A temporary file that was changed in the last so many seconds is not removed as abandoned."""
ABANDONED_UNLOCKED_S = 86_400.0
"""The same where no lock shows that its writer is alive."""
LOCK = ".lock"
"""The name of the file that locks a folder."""
RETRY_S = 0.2
"""Seconds between attempts to lock a folder that another process has locked."""
HASHED_TOGETHER = 2**20
"""Bytes that are read together for a hash."""
LONGEST_NAME = 255 - len(".annotated.mp4")
"""Bytes of a name in a folder, of which file systems take 255, without the longest suffix that is added."""
SHORTENED = re.compile(r"~[0-9a-f]{16}")
"""The end of a name that was shortened."""
WRITE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}
)
"""Errors of writing to an open file; they do not name the file."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``, and rename it to ``path`` on success.

    The file is synced before the rename and the folder after it, so that a crash at any moment leaves either
    the old file or the new one. On an exception the temporary file is removed. That of a killed process is
    removed by a later process that writes to the same folder. The permissions of a file that is replaced are
    kept.

    The temporary path is an empty file at first. An ``OSError`` that the block raises for another reason than
    writing this file (for example, while it reads another one) is passed on.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{os.getpid()}.{secrets.token_hex(8)}.tmp")
    with ExitStack() as stack:
        with _convert_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path.parent.absolute())
            stack.callback(_remove, temporary)
            descriptor = _create_locked(temporary)
            if portable.MOVES_OPEN_FILES:
                stack.callback(os.close, descriptor)
            else:
                os.close(descriptor)
        try:
            yield temporary
        except OSError as error:
            if _is_write_error(error, temporary):
                raise _cannot_write(path, error) from error
            raise
        with _convert_errors(path):
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                shutil.copymode(path, temporary)
            temporary.replace(path)
            portable.sync_folder(path.parent)


@contextmanager
def _convert_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> ResourceError:
    is_open = isinstance(error, PermissionError) and not portable.MOVES_OPEN_FILES and path.is_file()
    advice = "; close it where it is open, such as in Excel" if is_open else ""
    return ResourceError(f"cannot write {path}: {error.strerror or error}{advice}")


def _is_write_error(error: OSError, temporary: Path) -> bool:
    """Return whether an error names the temporary file, or no file and is one that writing can raise."""
    if error.filename is not None:
        return os.fsdecode(error.filename) == str(temporary)
    return error.errno in WRITE_ERRORS


def _create_locked(temporary: Path) -> int:
    """Create a file and return its descriptor; its lock shows other processes that its writer is alive."""
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    with suppress(OSError):  # a file system without locks
        portable.try_lock(descriptor)
    return descriptor


def _remove(temporary: Path) -> None:
    with suppress(OSError):  # must not hide an exception before it
        temporary.unlink(missing_ok=True)


@functools.cache  # once for each folder, when this process first writes to it: there may be many files
def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed processes.

    Files that are locked, or were changed lately, are kept: another process may be writing them. The time
    matters because a writer may have replaced the locked file, or could not keep the lock.
    """
    kept_s = ABANDONED_S if portable.MOVES_OPEN_FILES else ABANDONED_UNLOCKED_S
    for file in folder.glob(".*.tmp"):
        with suppress(OSError):
            if not TEMPORARY.fullmatch(file.name) or time.time() - file.stat().st_mtime < kept_s:
                continue
            if not portable.MOVES_OPEN_FILES:
                file.unlink(missing_ok=True)
                continue
            descriptor = os.open(file, os.O_RDWR)
            try:
                portable.try_lock(descriptor)
                file.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def remove_temporary(*folders: Path) -> None:
    """Remove temporary files and folders that a killed process left; nothing may be writing to them."""
    for folder in folders:
        for path in itertools.chain.from_iterable(map(folder.glob, LEFT_BY_KILLED)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)  # what is left is tried again at the next start
            else:
                path.unlink(missing_ok=True)


def rename_folder(temporary: Path, path: Path) -> None:
    """Rename a folder whose files are synced; one that has the name is removed first.

    Raises:
        ResourceError: the folder cannot be renamed.
    """
    with _convert_errors(path):
        if path.is_dir():
            shutil.rmtree(path)
        portable.sync_folder(temporary)
        temporary.replace(path)
        portable.sync_folder(path.parent)


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


def sha256(path: Path, advance: Callable[[], None] = lambda: None) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Args:
        path: of the file.
        advance: called after each mebibyte, to show that there is progress.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while data := file.read(HASHED_TOGETHER):
            digest.update(data)
            advance()
    return digest.hexdigest()


@contextmanager
def lock(folder: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Lock ``folder`` for this process; it is created if necessary.

    Args:
        folder: of results.
        wait_s: how long to wait for another process that has locked it.

    The lock is the operating system's, so it is released when the process ends, for whatever reason. The
    block may remove the lock file, as the last file in the folder: whoever locks the folder next makes
    another one. Where an open file cannot be removed, a folder with nothing but the lock is removed here.

    Raises:
        InUseError: another process has locked the folder.
        ResourceError: the folder cannot be written.
    """
    until = time.monotonic() + wait_s
    descriptor = None
    try:
        while descriptor is None:
            try:
                descriptor = _try_lock(folder)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise
                time.sleep(RETRY_S)
    except BlockingIOError as error:
        raise InUseError(
            f"{folder} is in use by another run; wait for it, stop it, or choose another folder"
        ) from error
    except OSError as error:
        raise ResourceError(f"cannot use {folder} as an output folder: {error.strerror}") from error
    try:
        yield
    finally:
        portable.unlock(descriptor)
        os.close(descriptor)
        portable.remove_empty(folder, LOCK)


def _try_lock(folder: Path) -> int | None:
    """Return the descriptor of a lock file that is locked; None if it was removed meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError:  # the folder was removed
        return None
    try:
        portable.try_lock(descriptor)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except FileNotFoundError:
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def cache_folder() -> Path:
    """Return ``maeface`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maeface"


def weights_folders() -> tuple[Path, ...]:
    """Return the folders to look for public weights in: ``MAEFACE_WEIGHTS`` if set, and the cache."""
    folder = os.environ.get(WEIGHTS_VARIABLE)
    return (*((Path(folder),) if folder else ()), cache_folder())


def fit_name(name: str) -> str:
    """Return a relative path whose parts have room for the suffixes of results, as the path of a result.

    Parts that are too long for a file system are cut and end with a hash of the whole part. So do those that
    look like such names, so that different names stay different.
    """
    return "/".join(_fit_part(part) for part in name.split("/"))


def _fit_part(part: str) -> str:
    data = part.encode()
    if len(data) <= LONGEST_NAME and not SHORTENED.fullmatch(part[-17:]):
        return part
    kept = data[: LONGEST_NAME - 17].decode(errors="ignore")  # no half characters
    return f"{kept}~{hashlib.sha256(data).hexdigest()[:16]}"


def as_in_text(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers as a CSV file has them: for the float32 0.3 the float64 0.3, not 0.30000001192.

    So the same table leads to the same results from CSV, from Parquet and in memory.

    Args:
        values: (M,) of any numeric type, NaN where missing.
    """
    if values.dtype != np.float32:
        return values.astype(np.float64)
    import pyarrow as pa

    texts = pa.array(values, from_pandas=True).cast(pa.string())
    numbers: NDArray[np.float64] = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts names by their numbers: ``"2.jpg"`` before ``"10.jpg"``."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts if part)
