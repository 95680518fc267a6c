"""Work on many cores: spawned processes that take one item after another and end with the caller."""

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from maeface import portable
from maeface.errors import MaefaceError, ResourceError, is_out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")
Notify = Callable[[int], None]
Job = Callable[[Item, Notify], Result]
Lose = Callable[[Item, str, str], None]

CRASHED, TIMEOUT = "crashed", "timeout"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that limit the threads of numerical libraries; a process reads them when it starts."""
STOP_S = 5.0
POLL_S = 1.0
"""How often silent processes are looked for."""
REPORT_S = 0.1
"""Least time between two reports of a job."""
_STARTING = threading.Lock()
"""Held while a process is started: it changes the environment, and several threads may have processes."""
ADVICE = "the same command goes on where it was; if memory was short, it needs less with fewer --workers"


def work(
    setup: Callable[[], Job[Item, Result]],
    items: Iterable[Item],
    count: int,
    notify: Notify = lambda amount: None,
    lose: Lose[Item] | None = None,
    limit_s: float | None = None,
) -> Generator[tuple[Item, Result], None, None]:
    """Process ``items`` in ``count`` processes; yield each item with its result when it is finished.

    The processes end with the generator (also after an error, Ctrl-C, or if the caller stops iterating),
    and if the caller is killed. Their numerical libraries use one thread each.

    Args:
        setup: called once in each process; returns the job. Pickled: a function of a module, or a partial.
        items: pickled one at a time, in this order. An iterator is advanced when a process is free, so the
            items need not exist before, and a result may bring new ones.
        count: how many processes; no more are started than there are items, or than one can wait for.
        notify: called in this process with the amounts that the jobs report, and with minus their sum if an
            item is lost. An amount of 0 only shows that the job makes progress.
        lose: called with an item whose process ended unexpectedly or was stopped, a status (``CRASHED`` or
            ``TIMEOUT``) and what happened; another process takes the next item. None: ResourceError.
        limit_s: a process that reports nothing for so long, once its job has reported something of the item,
            is stopped; None: never.

    Raises:
        MaefaceError: as raised by the job.
        ResourceError: a process was killed, during ``setup`` or without ``lose``.
    """
    waiting = iter(items)
    count = min(count, portable.MOST_PROCESSES)
    running: dict[Connection, _Worker[Item]] = {}
    started: list[_Worker[Item]] = []
    try:
        while True:
            for item in islice(waiting, count - len(running)):
                worker = _start(setup, item)
                started.append(worker)
                running[worker.connection] = worker
            if not running:
                return
            for worker in _wait(running, limit_s):
                try:
                    what, value = worker.receive(limit_s)
                except _Lost as lost:
                    del running[worker.connection]
                    worker.kill()
                    started.remove(worker)
                    if lose is None or not worker.ready:
                        raise ResourceError(f"{lost}; {ADVICE}") from None
                    if worker.amount:
                        notify(-worker.amount)
                    lose(worker.item, lost.status, lost.detail)
                    continue
                if what == "amount":
                    notify(value)
                if what != "result":
                    continue
                yield worker.item, value  # before the next item, because the caller may add some
                if not worker.give_next(waiting):
                    del running[worker.connection]
    finally:
        for worker in running.values():
            worker.connection.close()
        _end([worker.process for worker in started])


class _Lost(Exception):
    """A process that ended unexpectedly, or makes no progress."""

    def __init__(self, status: str, detail: str) -> None:
        what = "ended unexpectedly" if status == CRASHED else "was stopped"
        super().__init__(f"a worker process {what} ({detail})")
        self.status, self.detail = status, detail


class _Worker(Generic[Item]):
    """A worker process and its item.

    Attributes:
        ready: whether the process has been set up.
        amount: the sum of the amounts that its job has reported of the item.
        silent_since_s: the time of the last report of the item; None before the first.
    """

    def __init__(self, process: BaseProcess, connection: Connection, item: Item) -> None:
        self.process, self.connection, self.item = process, connection, item
        self.ready = False
        self.amount = 0
        self.silent_since_s: float | None = None

    def give(self, item: Item) -> None:
        """Send the next item."""
        self.item, self.amount = item, 0
        self.silent_since_s = None
        with suppress(OSError):  # the process is gone; the next receive says so
            self.connection.send(item)

    def give_next(self, items: Iterator[Item]) -> bool:
        """Send the next item; without one, end the process and return False."""
        for item in items:
            self.give(item)
            return True
        self.connection.close()
        return False

    def is_silent(self, limit_s: float | None) -> bool:
        """Return whether the item has made no progress for too long."""
        since = self.silent_since_s
        return limit_s is not None and since is not None and time.monotonic() - since > limit_s

    def receive(self, limit_s: float | None) -> tuple[str, Any]:
        """Return the next message; raise the error that it carries, or ``_Lost``."""
        if not self.connection.poll():
            raise _Lost(TIMEOUT, f"no progress for {limit_s:g} s")
        try:
            what, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(STOP_S)
            code = self.process.exitcode or 0
            raise _Lost(CRASHED, f"signal {-code}" if code < 0 else f"exit {code}") from None
        if what == "error":
            raise value
        if what == "failure":
            raise RuntimeError(f"a worker process failed:\n{value}")
        if what == "memory":
            raise _Lost(CRASHED, "out of memory")
        if what == "ready":  # not before: a large item would fill the pipe, and block this process
            self.give(self.item)
        self.ready = True
        if what == "amount":
            self.amount += value
            self.silent_since_s = time.monotonic()
        return what, value

    def kill(self) -> None:
        """End the process at once, so that nothing else works on its item."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def _start(setup: Callable[[], Job[Item, Any]], item: Item) -> _Worker[Item]:
    context = multiprocessing.get_context("spawn")
    connection, other_end = context.Pipe()
    process: BaseProcess = context.Process(target=_serve, args=(other_end, setup), daemon=True)
    with _STARTING, _one_thread(), _without_main():
        process.start()
    other_end.close()
    return _Worker(process, connection, item)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit the numerical libraries of a process that is started in the block to one thread."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module from a process that is started in the block.

    It would be imported there: for a command that takes most of a second, and a user's script without
    ``if __name__ == "__main__"`` would start processes without end.
    """
    main = sys.modules["__main__"]
    names = [name for name in ("__file__", "__spec__") if name in main.__dict__]
    before: dict[str, Any] = {name: main.__dict__.pop(name) for name in names}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(before)


def _wait(running: Mapping[Connection, _Worker[Item]], limit_s: float | None) -> list[_Worker[Item]]:
    """Wait for messages; return the workers that have sent one, and those that are silent for too long."""
    poll_s = None if limit_s is None else min(POLL_S, limit_s)
    before = time.monotonic()
    ready = set(wait(list(running), poll_s))  # on Windows they are of another class than ``Connection``
    pause = time.monotonic() - before - (poll_s or 0)
    if poll_s is not None and pause > POLL_S:  # this process was suspended, and so were its workers
        for worker in running.values():
            if worker.silent_since_s is not None:
                worker.silent_since_s += pause
    return [
        worker for connection, worker in running.items() if connection in ready or worker.is_silent(limit_s)
    ]


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
        connection.send(("ready", None))
        while True:
            try:
                item = connection.recv()
            except EOFError:
                return  # no more work
            report = _Report(connection)
            result = job(item, report.add)
            report.send_rest()
            connection.send(("result", result))
    except BrokenPipeError:
        return  # the caller is gone
    except MaefaceError as error:
        connection.send(("error", error))
    except Exception as error:
        if is_out_of_memory(error):
            connection.send(("memory", None))
        else:  # the caller raises it again, with this traceback
            connection.send(("failure", traceback.format_exc()))


class _Report:
    """Sends the amounts that the threads of a job report, added up where many come one after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._amount, self._sent_s = 0, -math.inf

    def add(self, amount: int) -> None:
        with self._lock:
            self._amount += amount
            if time.monotonic() - self._sent_s >= REPORT_S:
                self._send()

    def send_rest(self) -> None:
        with self._lock:
            if self._amount:
                self._send()

    def _send(self) -> None:
        self._connection.send(("amount", self._amount))
        self._amount, self._sent_s = 0, time.monotonic()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
