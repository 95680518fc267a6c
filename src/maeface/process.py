"""The process of a command: how its threads wait, and how a signal ends it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
SAME_S = 1.0
"""A signal that comes again so soon is the same request, by way of the process group and of the parent."""


class Stopped(SystemExit):
    """A signal asked this process to end; ``code`` is the exit code for it."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(EXIT_CODES[number])
        self.name = number.name


def wait_without_spinning() -> None:
    """Let OpenMP's threads sleep while they wait; call it before torch is loaded.

    Processes that this one starts inherit it. What the user has set stays.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise ``Stopped`` where SIGTERM or Ctrl-C finds the main thread, so that temporary files are removed.

    A signal that comes again a second later or more ends the process at once. One that this process was
    started to ignore (``nohup``, a job in the background) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Handler()
    before = {
        number: signal.signal(number, handler)
        for number in EXIT_CODES
        if signal.getsignal(number) not in (signal.SIG_IGN, None)  # None: not a handler of Python
    }
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


class _Handler:
    def __init__(self) -> None:
        self.since: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.since is None:
            self.since = now
            raise Stopped(signal.Signals(number))
        if now - self.since >= SAME_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
