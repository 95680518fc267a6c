"""Lines of the log, and times as the service shows them."""

import logging
import time
from datetime import UTC, datetime

from maeface import console


def note(line: str) -> None:
    """Print a line to stderr, after the time."""
    console.note(f"{show_time(time.time())} {line}")


class Lines(logging.Handler):
    """What libraries log, as lines of this log; an exception by its kind, for its text may name files."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        kind = record.exc_info[0] if record.exc_info else None
        note(f"serve: {record.getMessage()}".splitlines()[0] + (f" ({kind.__name__})" if kind else ""))


def show_time(seconds: float) -> str:
    """Return a time that is given in seconds since 1970, in UTC: ``2026-11-28T12:00:00+00:00``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
