"""Takes away what Windows lacks, in every process that has this folder in PYTHONPATH.

Calls and modules of POSIX are gone. Files that are open cannot be renamed, replaced or removed. Locks are
those of a module ``msvcrt``. Worker processes are told from others by another class of connection.
"""

import fcntl
import importlib
import os
import shutil
import signal
import sys
import types
from multiprocessing import connection, reduction

GONE = {
    os: ("pread", "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK", "sysconf", "sched_getaffinity", "fork", "nice"),
    signal: ("pthread_kill", "SIGCHLD", "SIGCLD"),
}


def locking(descriptor, mode, size):
    try:
        fcntl.flock(descriptor, mode)
    except BlockingIOError as error:
        raise PermissionError(13, "Permission denied") from error


msvcrt = types.ModuleType("msvcrt")
msvcrt.locking, msvcrt.LK_NBLCK, msvcrt.LK_UNLCK = locking, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
sys.modules["msvcrt"] = msvcrt


def is_open(path):
    path = os.path.realpath(os.fsdecode(path))
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{number}") == path and not os.path.isdir(path):
                return True
        except OSError:
            continue
    with open("/proc/self/maps", "rb") as maps:
        return any(line.rstrip(b"\n").endswith(b" " + os.fsencode(path)) for line in maps)


def refuse_open(name, paths):
    real = getattr(os, name)

    def call(*arguments, **options):
        for path in arguments[:paths]:
            if not options.get("dir_fd") and is_open(path):
                raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(*arguments, **options)

    setattr(os, name, call)


for name, paths in (("unlink", 1), ("remove", 1), ("rename", 2), ("replace", 2)):
    refuse_open(name, paths)
open_file = os.open


def open_no_folder(path, flags, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", os.fspath(path))
    return open_file(path, flags, *arguments, **options)


os.open = open_no_folder
for module, names in GONE.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
if hasattr(os, "process_cpu_count"):  # of Python 3.13; without the call above it is this
    os.process_cpu_count = os.cpu_count
os.supports_dir_fd.clear()  # folders have no descriptors
importlib.reload(shutil)  # which asks for that when it is imported


real_kill = os.kill


def kill(pid, number):
    assert pid != os.getpid(), "os.kill ends this process at once on Windows, whatever the signal's handler"
    real_kill(pid, number)


os.kill = kill


own = {
    name: value
    for name, value in vars(connection.Connection).items()
    if name not in ("__dict__", "__weakref__")
}
PipeConnection = type("PipeConnection", (connection._ConnectionBase,), own)
reduction.register(PipeConnection, connection.reduce_connection)
real_pipe = connection.Pipe


def pipe(duplex=True):
    ends = real_pipe(duplex)
    for end in ends:
        end.__class__ = PipeConnection
    return ends


connection.Pipe = pipe
sys.modules["fcntl"] = None
