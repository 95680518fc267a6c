"""Messages to the user: progress and notes on stderr, results on stdout."""

import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

PLAIN_LINE_EVERY_S = 10.0
MESSAGES = 20
"""How many messages of one kind are shown; further ones are only counted."""
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class _Messages:
    """stderr as it is now; where it cannot be written (a full disk, a closed pipe), nothing is from then on.

    No message is worth the end of a long run.
    """

    @property
    def rich_proxied_file(self) -> Self:
        """The file that ``rich`` writes to, while it shows a bar and stands in the place of stderr."""
        return self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of a file
        return getattr(self._file(), name)

    def write(self, text: str) -> int:
        try:
            return self._file().write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._file().flush()
        except OSError:
            self._give_up()

    def _file(self) -> IO[str]:
        return getattr(sys.stderr, "rich_proxied_file", sys.stderr)

    def _give_up(self) -> None:
        # in its place, because Python flushes it at the end, and exits with 120 if that fails
        sys.stderr = Path(os.devnull).open("w")


def open_stderr() -> Console:
    """Return stderr for ``rich``; where it cannot be written, nothing is."""
    return Console(file=cast("IO[str]", _Messages()))


def note(message: str) -> None:
    """Print a message to stderr, without markup or wrapping; other control characters are escaped."""
    message = "\n".join(map(escape, message.split("\n")))
    open_stderr().print(message, markup=False, highlight=False, soft_wrap=True)


def escape(name: str) -> str:
    r"""Return the name of a file with control characters escaped, such as ``\n``, to be part of a line."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], name)


class FewNotes:
    """Shows the first messages of one kind, and counts all.

    Args:
        what: the kind, in the plural.

    Attributes:
        count: number of messages.
    """

    def __init__(self, what: str) -> None:
        self._what, self.count = what, 0

    def add(self, message: str) -> None:
        """Count a message, and show it if it is one of the first."""
        self.count += 1
        if self.count <= MESSAGES:
            note(escape(message))
        elif self.count == MESSAGES + 1:
            note(f"further {self._what} are only counted")


def never_fail() -> None:
    """Print characters that the encoding of stdout lacks as escapes: of Windows, where it goes to a file."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def print_result(result: Table | str) -> None:
    """Print a result to stdout."""
    console = Console()
    if isinstance(result, str):
        console.print(result, markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(result)


@contextmanager
def progress(
    task: str, total: int, unit: str, completed: int = 0, shown: bool = True, alike: bool = True
) -> Iterator[Callable[..., None]]:
    """Show the progress of a task on stderr, with its rate and the remaining time.

    Yields ``advance(n=1, note="")``. On a terminal this is a bar; elsewhere a plain line every ten seconds
    and one at the end, unless the task ends with an error.

    Args:
        task: its name, a word or two.
        total: number of units.
        unit: name of the units, in the plural ("images").
        completed: number of units that an earlier, interrupted run has completed.
        shown: False shows nothing: another process of the same training does.
        alike: False shows no rate and no remaining time: some units take seconds, others minutes.
    """
    if not shown:
        yield lambda n=1, note="": None
        return
    console = open_stderr()
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            *([_Rate(unit), TimeRemainingColumn()] if alike else []),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=console) as bar:
            task_id = bar.add_task(task, total=total, completed=completed, note="")

            def advance(n: int = 1, note: str = "") -> None:
                bar.update(task_id, advance=n)
                if note:
                    bar.update(task_id, note=note)

            yield advance
        return

    lines = _PlainLines(task, total, unit, completed, alike)
    yield lines.advance
    lines.print()


class _PlainLines:
    def __init__(self, task: str, total: int, unit: str, completed: int, alike: bool) -> None:
        self.task, self.total, self.unit, self.alike = task, total, unit, alike
        self.start, self.completed, self.note = completed, completed, ""
        self.started_s = self.printed_s = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.completed += n
        self.note = note or self.note
        complete = self.completed >= self.total  # the last line is printed once, by ``progress``
        if not complete and time.monotonic() - self.printed_s >= PLAIN_LINE_EVERY_S:
            self.print()

    def print(self) -> None:
        self.printed_s = time.monotonic()
        rate = (self.completed - self.start) / max(self.printed_s - self.started_s, 1e-9)
        missing = self.total - self.completed
        left = f", {missing / rate:.0f} s left" if rate > 0 and missing > 0 else ""
        speed = f", {rate:.1f}/s{left}" if self.alike else ""
        suffix = f"  {self.note}" if self.note else ""
        note(f"{self.task}: {self.completed}/{self.total} {self.unit}{speed}{suffix}")


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} {self.unit}/s")
