"""The start of the command ``maeface``, which is also ``python -m maeface``."""

import os
import signal
from contextlib import suppress
from types import FrameType


def main() -> None:
    """Run the command line; a signal before it can take care of signals ends the process with one line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as of a job in the background
            signal.signal(number, _end)
    from maeface import cli

    cli.main()


def _end(number: int, frame: FrameType | None) -> None:
    """End at once: nothing is done yet, and an exception would be lost in an import."""
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    with suppress(OSError):  # a terminal that is gone
        os.write(2, f"maeface: stopped by {name}\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    main()
