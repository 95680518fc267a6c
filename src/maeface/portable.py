"""What operating systems do differently: locks of files, reading at a place, folders on disk, names, signals.

The rest of the code calls these functions and asks for no operating system.
"""

import os
import re
import signal
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path, PurePath

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

TELLS_OF_CHILDREN = hasattr(signal, "SIGCHLD")
"""Whether a signal tells a process that one that it started has ended."""
MOVES_OPEN_FILES = fcntl is not None
"""Whether a file that is open can be renamed and removed. Windows refuses both."""
FORKS = sys.platform == "linux"
"""Whether processes that read may be forked: Windows cannot, and libraries of macOS do not survive it."""
IGNORES_CASE = sys.platform in ("win32", "darwin")
"""Whether two names that differ only in case are usually one file."""
READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)
"""Flags to open a file for ``read_at``; without ``O_BINARY``, Windows changes ends of lines."""
MOST_PROCESSES = 60 if sys.platform == "win32" else sys.maxsize
"""How many processes one can wait for: Windows waits for 63 objects, some of which are others."""

_seek = threading.Lock()


def try_lock(descriptor: int) -> None:
    """Lock an open file, without waiting; the lock ends with the process or when the file is closed.

    Raises:
        BlockingIOError: it is locked by another process, or through another descriptor.
        OSError: the file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except PermissionError as error:  # what Windows says of a locked file
        raise BlockingIOError(error.errno, "locked") from error


def unlock(descriptor: int) -> None:
    """Unlock a file that ``try_lock`` has locked, for processes that have inherited it too."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    else:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Return up to ``size`` bytes of an open file from ``offset``; threads may share the descriptor.

    So may processes that were forked from this one, because ``os.pread`` moves no position. Windows, which
    has no such call, has no forks either.
    """
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    with _seek:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk. Windows opens no folders; its file system keeps a journal."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_empty(folder: Path, lock: str) -> None:
    """Remove a folder that has nothing but its lock, where this could not be done while the lock was open."""
    with suppress(OSError):
        if not MOVES_OPEN_FILES and os.listdir(folder) == [lock]:  # noqa: PTH208 - names only
            (folder / lock).unlink()  # refused if another process has opened it meanwhile
            folder.rmdir()


def memory_bytes() -> int | None:
    """Return the memory of this machine in bytes; None where it is not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def lower_priority(steps: int) -> None:
    """Let other processes go first, so many steps of ``os.nice``, which Windows lacks."""
    if hasattr(os, "nice"):
        os.nice(steps)


def is_private(path: Path) -> bool:
    """Return whether nobody but its owner may read or write a file or folder.

    On Windows it is taken to be so: its access lists are not in the mode, by which all can read each file.
    """
    return fcntl is None or not stat.S_IMODE(path.stat().st_mode) & 0o077


def send_to_main_thread(number: int) -> None:
    """Send a signal to this process, so that its handler runs in the main thread.

    ``os.kill`` would end the process on Windows, whatever the handler.
    """
    if hasattr(signal, "pthread_kill") and (main := threading.main_thread().ident) is not None:
        signal.pthread_kill(main, number)  # wakes it if it waits
    else:
        signal.raise_signal(number)


def stays_inside(name: PurePath) -> bool:
    r"""Return whether a relative name leads to no place outside of its folder.

    On Windows ``a\..\..\b``, ``\b`` and ``C:b`` do, as text of a file may have them; elsewhere they are plain
    names.
    """
    return not name.anchor and ".." not in name.parts


def relative_path(path: Path, folder: Path) -> str:
    """Return a path as seen from a folder, with slashes; the absolute one if it is on another drive."""
    path = path.absolute()
    try:
        return Path(os.path.relpath(path, folder.absolute())).as_posix()
    except ValueError:  # Windows has no way from one drive to another
        return path.as_posix()


def file_url(path: PurePath) -> str:
    """Return ``file:///`` and an absolute path with slashes, without escapes such as %20."""
    return f"file:///{path.as_posix().removeprefix('/')}"


def folders_of(path: PurePath) -> tuple[str, ...]:
    r"""Return the names of the folders in an absolute path, of a drive its letter: C, Users for C:\Users."""
    drive = re.sub(r"\W+", "_", path.drive).strip("_")
    return (*((drive,) if drive else ()), *path.parts[1:])


def fold_name(name: str) -> str:
    """Return a key that two names share if file systems of this operating system may take them for one."""
    return name.casefold() if IGNORES_CASE else name
