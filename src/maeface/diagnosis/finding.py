"""A finding, and processes that may crash or hang without harm to the report."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

REINSTALL = "in the folder of the repository: uv pip install --reinstall . (or the wheel instead of .)"
"""What to do where maeface itself is broken; as docs/user_guide/installation.md installs it."""
LONGER = "give it more time: maeface doctor --time-limit 600"
"""What to do where something was stopped, as on a busy machine."""
MARK = "maeface-doctor "
"""How a line begins that a process says; libraries print lines of their own."""
State = Literal["ok", "missing", "broken", "stopped"]
SHARE = 2
"""A process may take half of the time of the report, so that one that hangs leaves time for others."""


class Clock:
    """The time that a report may take, from now on.

    Args:
        limit_s: in seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._end = time.monotonic() + limit_s

    def for_one(self) -> float:
        """Return how many seconds the next process may take; 0 if there is no time left."""
        return max(0.0, min(self.limit_s / SHARE, self._end - time.monotonic()))


@dataclass(frozen=True)
class Finding:
    """A line of the report.

    Attributes:
        group: "version", "device", "back end", "weights", "extra" or "studio".
        name: of what was looked at.
        state: whether it works; "missing" is a fault only of what is needed, "stopped" took too long.
        detail: a version, a speed, a licence, or what is wrong.
        needed: whether maeface needs it. Without the rest, some commands do less.
        advice: what to do; empty if there is nothing to do.
        faces_per_s: of a back end, the faces that one process finds and measures in a second; else None.
    """

    group: str
    name: str
    state: State
    detail: str
    needed: bool = False
    advice: str = ""
    faces_per_s: float | None = None


def in_process(
    module: str, function: str, arguments: Sequence[str], clock: Clock
) -> tuple[list[Any], State, str]:
    """Call a function in a process of its own.

    Args:
        module: of this folder.
        function: of the module; it takes texts, and calls ``say``.
        arguments: of the function.
        clock: of the report.

    Returns:
        What it has said; "ok", "broken" or "stopped"; and why it is not "ok".
    """
    limit_s = clock.for_one()
    if not limit_s:
        return [], "stopped", f"not tried: {clock.limit_s:g} s were over"
    code = f"import sys; from maeface.diagnosis import {module}; {module}.{function}(*sys.argv[1:])"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            timeout=limit_s,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        out = error.stdout or ""  # bytes on Linux and macOS, text on Windows
        out = out if isinstance(out, str) else out.decode(errors="replace")
        return _read(out), "stopped", f"stopped after {limit_s:.0f} s"
    said = _read(done.stdout)
    if done.returncode == 0:
        return said, "ok", ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    crashed = not lines or done.returncode < 0
    return said, "broken", f"the process crashed, exit code {done.returncode}" if crashed else lines[-1][:200]


def _read(out: str) -> list[Any]:
    """Return what a process has said, without the lines of libraries."""
    return [json.loads(line.removeprefix(MARK)) for line in out.splitlines() if line.startswith(MARK)]


def say(value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Say something to the caller of ``in_process``, at once: the next thing may crash."""
    sys.stdout.write(f"{MARK}{json.dumps(value)}\n")
    sys.stdout.flush()


def describe(error: BaseException) -> str:
    """Return an exception as one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__
