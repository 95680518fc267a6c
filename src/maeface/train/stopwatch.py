"""How long a piece of work takes in all, over calls that were stopped or killed."""

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from maeface import files
from maeface.errors import ResourceError

EVERY_S = 5.0
"""Seconds between looks at the clock that are kept; a killed call loses no more than these."""


class Stopwatch:
    """Counts the seconds of the ``with`` block, on top of those of earlier blocks with the same file.

    Args:
        file: JSON, where the seconds are kept; the folder must be held by this process.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.before = _read(file)
        self.started = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="stopwatch", daemon=True)

    @property
    def seconds(self) -> float:
        """Return the seconds of all calls so far."""
        return self.before + time.monotonic() - self.started

    def __enter__(self) -> Self:
        """Start."""
        self.started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and keep what was counted."""
        self._stop.set()
        self._thread.join()
        self._write()

    def _keep(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._write()

    def _write(self) -> None:
        with suppress(ResourceError):  # a full disk is for the work itself to tell
            files.write_json(self.file, {"seconds": round(self.seconds, 1)})


def _read(file: Path) -> float:
    try:
        return max(0.0, float(json.loads(file.read_text(encoding="utf-8"))["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
