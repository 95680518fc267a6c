"""What a person sees while a command runs: progress and notes on stderr, results on stdout."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


def say(message: str) -> None:
    """Print one line to stderr, as it is."""
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True)


def show(result: Table | str) -> None:
    """Print a result to stdout."""
    console = Console()
    if isinstance(result, str):
        console.print(result, markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(result)


@contextmanager
def progress(what: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[..., None]]:
    """Show how far ``what`` has come, with rate and time left.

    Yields ``advance(n=1, note="")``. On a terminal this is a bar; elsewhere a plain line every ten
    seconds and one at the end.

    Args:
        what: the work, in a word or two.
        total: how many units there are.
        unit: what is counted, in the plural ("images").
        done: how many were done before (by an earlier, interrupted run).
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=total, completed=done, note="")

            def advance(n: int = 1, note: str = "") -> None:
                bar.update(task, advance=n)
                if note:
                    bar.update(task, note=note)

            yield advance
        return

    lines = _PlainLines(what, total, unit, done)
    yield lines.advance
    lines.print()


class _PlainLines:
    def __init__(self, what: str, total: int, unit: str, done: int) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.before, self.done, self.note = done, done, ""
        self.started = self.printed = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        self.note = note or self.note
        if time.monotonic() - self.printed >= PLAIN_LINE_EVERY_S:
            self.print()

    def print(self) -> None:
        self.printed = time.monotonic()
        rate = (self.done - self.before) / max(self.printed - self.started, 1e-9)
        left = (
            f", {(self.total - self.done) / rate:.0f} s left" if 0 < rate and self.done < self.total else ""
        )
        note = f"  {self.note}" if self.note else ""
        say(f"{self.what}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s{left}{note}")


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} {self.unit}/s")
