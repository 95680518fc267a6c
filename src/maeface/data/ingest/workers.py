"""Work on many cores: spawned processes that take one item after another and end with the caller."""

import math
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from maeface.errors import MaefaceError, ResourceError

Item = TypeVar("Item")
Result = TypeVar("Result")
Notify = Callable[[int], None]
Job = Callable[[Item, Notify], Result]

STOP_S = 5.0


def count_cores(root: Path = Path("/")) -> int:
    """Return how many processor cores this process may use, at least 1.

    These are the cores of its affinity mask, or fewer if a control group (a container) limits its CPU time:
    ``cpu.max`` of version 2, ``cpu.cfs_quota_us`` of version 1. A part of a core counts as one.

    Args:
        root: the folder with ``proc`` and ``sys``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(limit) for limit in _cpu_limits(root))]))


def _cpu_limits(root: Path) -> Iterator[float]:
    """Yield the limits in cores of this process's control groups and of those above them."""
    groups = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    for line in ["0::/", *lines]:  # in a container the folder of its own group is often the topmost one
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = [name for name in path.split("/") if name not in ("", "..")]
        for base in (
            (groups, groups / "unified") if not controllers else (groups / "cpu", groups / controllers)
        ):
            for depth in range(len(names) + 1):
                folder = base.joinpath(*names[:depth])
                yield from _cpu_limit(folder, "cpu.max")
                yield from _cpu_limit(folder, "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _cpu_limit(folder: Path, *names: str) -> Iterator[float]:
    """Yield quota / period of a control group, read from one or two files; nothing without a limit."""
    try:
        quota, period = " ".join((folder / name).read_text() for name in names).split()
        if int(quota) > 0 and int(period) > 0:  # without a limit: "max" or -1
            yield int(quota) / int(period)
    except (OSError, ValueError):
        return


def work(
    setup: Callable[[], Job[Item, Result]],
    items: Sequence[Item],
    count: int,
    notify: Notify = lambda amount: None,
) -> Generator[tuple[Item, Result], None, None]:
    """Process ``items`` in ``count`` processes; yield each item with its result when it is finished.

    The processes end with the generator (also after an error, Ctrl-C, or if the caller stops iterating),
    and if the caller is killed.

    Args:
        setup: called once in each process; returns the job. Pickled: a function of a module, or a partial.
        items: pickled one at a time, in this order.
        count: how many processes; no more are started than there are items.
        notify: called in this process with the amounts that the jobs report.

    Raises:
        MaefaceError: as raised by the job.
        ResourceError: a process was killed.
    """
    waiting = deque(items)
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, tuple[BaseProcess, Item]] = {}
    processes: list[BaseProcess] = []
    try:
        for _ in range(min(count, len(items))):
            connection, other_end = context.Pipe()
            process: BaseProcess = context.Process(target=_serve, args=(other_end, setup), daemon=True)
            process.start()
            other_end.close()
            processes.append(process)
            running[connection] = (process, waiting.popleft())
            _send(connection, running[connection][1])
        while running:
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                connection = ready
                process, item = running[connection]
                what, value = _receive(connection, process)
                if what == "amount":
                    notify(value)
                    continue
                if waiting:
                    running[connection] = (process, waiting.popleft())
                    _send(connection, running[connection][1])
                else:
                    del running[connection]
                    connection.close()
                yield item, value
    finally:
        for connection in running:
            connection.close()
        _end(processes)


def _send(connection: Connection, item: Any) -> None:  # noqa: ANN401 - whatever the job takes
    try:
        connection.send(item)
    except OSError:
        return  # the process is gone; the next receive says so


def _receive(connection: Connection, process: BaseProcess) -> tuple[str, Any]:
    try:
        what, value = connection.recv()
    except (EOFError, OSError):
        process.join(STOP_S)
        code = process.exitcode or 0
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        raise ResourceError(
            f"a worker process ended unexpectedly ({how}; out of memory?); "
            "the same command goes on where it was, and needs less memory with fewer --workers"
        ) from None
    if what == "error":
        raise value
    if what == "failure":
        raise RuntimeError(f"a worker process failed:\n{value}")
    return what, value


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(STOP_S)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(connection: Connection, setup: Callable[[], Job[Any, Any]]) -> None:
    """Run a worker process: receive items and send their results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the caller decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        job = setup()
        while True:
            try:
                item = connection.recv()
            except EOFError:
                return  # no more work
            connection.send(("result", job(item, lambda amount: connection.send(("amount", amount)))))
    except BrokenPipeError:
        return  # the caller is gone
    except MaefaceError as error:
        connection.send(("error", error))
    except MemoryError:
        connection.send(("error", ResourceError("a worker process ran out of memory; use fewer --workers")))
    except Exception:  # the caller raises it again, with this traceback
        connection.send(("failure", traceback.format_exc()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
