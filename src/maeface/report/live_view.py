"""The prediction of a camera in a terminal: bars of the action units, and how fast it goes."""

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from maeface import console as messages
from maeface.report.au_bars import Bar, bars_of
from maeface.report.lines import Doubt, low_quality, no_doubt, person_title
from maeface.report.overlay import track_colour

_CELLS = 12  # of a bar in a terminal
_PARTS = " ▏▎▍▌▋▊▉█"
_REDRAWN_S = 0.1  # a terminal that is redrawn more often costs time and cannot be read
Row = Mapping[str, Any]


class LiveView:
    """Shows the newest prediction on stderr; a context manager, which reads the keys meanwhile.

    Where stderr is no terminal, there is a line every ten seconds.

    Args:
        title: what is seen, such as "camera 0".
        aus: the action units to show.
        thresholds: action unit -> probability from which it counts as present; see ``au_bars.bars_of``.
        faces: largest number of faces that have bars; others are counted.
        screen: where to show it; None: stderr.
        doubt: says why a face is of low quality.
    """

    def __init__(
        self,
        title: str,
        aus: Sequence[int],
        thresholds: Mapping[int, float] | None = None,
        faces: int = 3,
        screen: Console | None = None,
        doubt: Doubt = no_doubt,
    ) -> None:
        self._title, self._aus, self._thresholds, self._faces = title, aus, thresholds, faces
        self._doubt = doubt
        self._screen = screen or messages.open_stderr()
        self._live: Live | None = None
        self._stack = ExitStack()
        self._pressed: Callable[[], str] = lambda: ""
        self._shown_s = -float("inf")

    def __enter__(self) -> "LiveView":
        self._pressed = self._stack.enter_context(keys())
        if self._screen.is_terminal:
            self._live = self._stack.enter_context(
                Live(console=self._screen, auto_refresh=False, transient=True)
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stops(self) -> bool:
        """Return whether q was pressed."""
        return "q" in self._pressed().lower()

    def show(self, rows: Sequence[Row], latency_ms: float, fps: float, dropped: int) -> None:
        """Show the rows of a frame, {column: value} each; at most ten times a second."""
        now = time.monotonic()
        wait_s = _REDRAWN_S if self._live is not None else messages.PLAIN_LINE_EVERY_S
        if now - self._shown_s < wait_s:
            return
        self._shown_s = now
        if self._live is None:
            faces = sum(row["face"] >= 0 for row in rows)
            speed = _speed(latency_ms, fps, dropped)
            messages.note(f"{self._title}: frame {rows[0]['frame']}, faces: {faces}, {speed}")
            return
        self._live.update(self.draw(rows, latency_ms, fps, dropped), refresh=True)

    def draw(self, rows: Sequence[Row], latency_ms: float, fps: float, dropped: int) -> Group:
        """Return what a terminal shows of the rows of a frame; the arguments are those of ``show``."""
        bars = face_table(rows, self._aus, self._thresholds, self._faces, self._doubt)
        head = Text(f"{self._title}  {_speed(latency_ms, fps, dropped)}  ", "bold")
        return Group(head.append("q ends", "dim"), bars)


def _speed(latency_ms: float, fps: float, dropped: int) -> str:
    return f"{fps:.1f} frames/s, latency {latency_ms:.0f} ms, dropped: {dropped}"


def face_table(
    rows: Sequence[Row],
    aus: Sequence[int],
    thresholds: Mapping[int, float] | None = None,
    faces: int = 3,
    doubt: Doubt = no_doubt,
) -> Table:
    """Return a table with a line for each action unit, and a column of bars for each face.

    The faces are ordered by track, so that a person keeps the column.

    Args:
        rows: of a frame, {column: value} each.
        aus: the action units.
        thresholds: see ``au_bars.bars_of``.
        faces: largest number of columns.
        doubt: says why a face is of low quality.
    """
    found = sorted((row for row in rows if row["face"] >= 0), key=lambda row: (_track(row), row["face"]))
    shown = found[:faces]
    table = Table(box=None, pad_edge=False)
    table.add_column("no face" if not found else "")
    for row in shown:
        tracked = row.get("track") is not None
        title = person_title(row["track"] if tracked else row["face"], tracked)
        table.add_column(f"{title}, {low_quality(doubt(row))}" if row["status"] == "low_quality" else title)
    if len(found) > faces:
        table.add_column(f"and {len(found) - faces} more")
    columns = [bars_of(row, aus, thresholds, titles=False) for row in shown]
    names = bars_of({}, aus, titles=True)
    for k, name in enumerate(names):
        cells = [_cell(bars[k], row) for bars, row in zip(columns, shown, strict=True)]
        table.add_row(name.label, *cells)
    return table


def _track(row: Row) -> float:
    track = row.get("track")
    return float("inf") if track is None else float(track)


def _cell(bar: Bar, row: Row) -> Text:
    """Return a bar with its value, in the colour of the track if the action unit is present."""
    red, green, blue = track_colour(row.get("track"))
    style = f"rgb({red},{green},{blue})" if bar.present else "bright_black"
    filled = round(8 * _CELLS * min(max(bar.fraction, 0.0), 1.0)) if bar.fraction == bar.fraction else 0
    blocks = "█" * (filled // 8) + _PARTS[filled % 8].strip()
    return Text(f"{blocks:{_CELLS}} ", style).append(f"{bar.text:>4}", "bold" if bar.present else "dim")


@contextmanager
def keys() -> Iterator[Callable[[], str]]:
    """Yield a function that returns the keys that were pressed since its last call, without waiting.

    Without a terminal at stdin it returns "".
    """
    if not sys.stdin or not sys.stdin.isatty():
        yield lambda: ""
        return
    if sys.platform == "win32":
        import msvcrt

        yield lambda: "".join(msvcrt.getwch() for _ in range(100) if msvcrt.kbhit())
        return
    import termios
    import tty

    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)

    def pressed() -> str:
        return os.read(stdin, 1024).decode(errors="ignore") if select.select([stdin], [], [], 0)[0] else ""

    try:
        tty.setcbreak(stdin)
        yield pressed
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)
