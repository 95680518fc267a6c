"""The process of a command: its errors, signals and waiting threads, and whether it is the only one."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from maeface import checks, console, nested, portable
from maeface.errors import ConfigError, MaefaceError, is_out_of_memory

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
SAME_S = 1.0
"""A signal that is repeated within this time is the same request: from the process group and the parent."""
IMPORT_S, RETRY_S = 10.0, 0.05
"""How long a signal waits for the end of an import, and how often it is tried again."""


class Stopped(SystemExit):
    """The exception that ends the process after a signal; ``code`` is its exit code."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(EXIT_CODES[number])
        self.name = "Ctrl-C" if number == signal.SIGINT else number.name


def run_commands(commands: Callable[[], object], name: str) -> None:
    """Run the commands of a command line called ``name``, and end the process with an exit code."""
    wait_without_spinning()
    console.never_fail()
    try:
        with stopped_by_signals(), checks.name_options():
            commands()
    except Stopped as stopped:
        console.note(f"{name}: stopped by {stopped.name}")
        raise
    except MaefaceError as error:
        if os.environ.get("MAEFACE_DEBUG"):
            raise
        console.note(f"{name}: {error}")
        sys.exit(error.exit_code)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        console.note(f"{name}: out of memory; use a smaller batch, fewer workers or a smaller model")
        sys.exit(5)


def require_one(verb: str, instead: str) -> None:
    """Refuse to be one of several processes, which ``torchrun`` starts to train together.

    Args:
        verb: the command.
        instead: what to do on several GPUs.

    Raises:
        ConfigError: there are several.
    """
    if (world := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise ConfigError(
            f"maeface {verb}: expected one process, got {world} (WORLD_SIZE); start it without "
            f"torchrun{instead}"
        )


def wait_without_spinning() -> None:
    """Let OpenMP's threads sleep while they wait; to be called before torch is imported.

    It is an environment variable, which child processes inherit. A value that the user has set is kept.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise ``Stopped`` in the main thread at SIGTERM or Ctrl-C, so that temporary files are removed.

    The same signal again, a second later or more, ends the process at once. That holds until the process has
    ended: the earlier handlers are put back only if the block ends without ``Stopped``. A signal that the
    process was started to ignore (``nohup``, a background job) stays ignored. During an import a signal
    waits, because libraries catch every exception there, and it would be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _Handler()
    before = {
        number: signal.signal(number, handler)
        for number in EXIT_CODES
        if signal.getsignal(number) not in (signal.SIG_IGN, None)  # None: a handler that is not Python's
    }
    try:
        yield
    finally:
        handler.cancel_retry()
        if not isinstance(sys.exception(), Stopped):
            for number, earlier in before.items():
                signal.signal(number, earlier)


class PlainGroup(TyperGroup):
    """Commands whose wrong values are described in one line, as all that is wrong."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as typer has it
        """Run a command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if error.param is None or not isinstance(error.__cause__, ValidationError):
                raise
            name = max(error.param.opts, key=len)
            raise ConfigError(nested.describe_value(name, error.__cause__.errors()[0])) from error


class _Handler:
    def __init__(self) -> None:
        self.first: float | None = None
        self.since: float | None = None
        self.retry: threading.Timer | None = None
        self.waiting = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self.first = now if self.first is None else self.first
        if self.since is None and _is_importing(frame) and now - self.first < IMPORT_S:
            if not self.waiting:
                self.waiting = True
                self.retry = threading.Timer(RETRY_S, self._send_again, (number,))
                self.retry.start()
        elif self.since is None:
            self.since = now
            raise Stopped(signal.Signals(number))
        elif now - self.since >= SAME_S:
            signal.signal(number, signal.SIG_DFL)
            portable.send_to_main_thread(number)

    def _send_again(self, number: int) -> None:
        self.waiting = False
        portable.send_to_main_thread(number)

    def cancel_retry(self) -> None:
        """Make sure that no signal is sent again when the earlier handlers are back."""
        if self.retry is not None:
            self.retry.cancel()
            self.retry.join()


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a frame of the main thread is called by an import."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
