"""A finding, and processes that may crash or hang without harm to the report."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

REINSTALL = "in the folder of the repository: uv pip install --reinstall . (or the wheel instead of .)"
"""What to do where maeface itself is broken; as docs/user_guide/installation.md installs it."""
MARK = "maeface-doctor "
"""How a line begins that a process says; libraries print lines of their own."""
State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """A line of the report.

    Attributes:
        group: "version", "device", "back end", "weights", "extra" or "studio".
        name: of what was looked at.
        state: whether it works; "missing" is a fault only of what is needed.
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


def in_process(module: str, function: str, arguments: Sequence[str], limit_s: float) -> tuple[list[Any], str]:
    """Call a function in a process of its own.

    Args:
        module: of this folder.
        function: of the module; it takes texts, and calls ``say``.
        arguments: of the function.
        limit_s: how long it may take, in seconds.

    Returns:
        What it has said, and why it failed; "" if it did not.
    """
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
        out, status, errors = done.stdout, done.returncode, done.stderr
    except subprocess.TimeoutExpired as error:
        out, status = (error.stdout or b"").decode(errors="replace"), 1
        errors = f"no answer in {limit_s:g} s"
    said = [json.loads(line.removeprefix(MARK)) for line in out.splitlines() if line.startswith(MARK)]
    if status == 0:
        return said, ""
    lines = [line for line in errors.splitlines() if line.strip()]
    return said, lines[-1][:200] if lines and status > 0 else f"the process crashed, exit code {status}"


def say(value: Any) -> None:  # noqa: ANN401 - anything JSON can hold
    """Say something to the caller of ``in_process``, at once: the next thing may crash."""
    sys.stdout.write(f"{MARK}{json.dumps(value)}\n")
    sys.stdout.flush()


def describe(error: BaseException) -> str:
    """Return an exception as one line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__
