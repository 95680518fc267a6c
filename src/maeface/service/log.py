"""Lines of the log, and times as the service shows them."""

import time
from datetime import UTC, datetime

from maeface import console


def note(line: str) -> None:
    """Print a line to stderr, after the time."""
    console.note(f"{show_time(time.time())} {line}")


def show_time(seconds: float) -> str:
    """Return a time that is given in seconds since 1970, in UTC: ``2026-11-28T12:00:00+00:00``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
