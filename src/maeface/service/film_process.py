"""The process that predicts one film: ``maeface predict`` with its progress on stdout.

It is started by ``films``. Its argument is JSON; it ends with the service, which holds its stdin.
"""

import importlib
import json
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from maeface import portable, predict, process
from maeface.errors import DataError, InUseError, MaefaceError, ResourceError
from maeface.prediction.extras import Extras
from maeface.prediction.tables import describe_unreadable
from maeface.service.jobs import FILM, TABLE

NICE = 5
"""Films leave the processor to photos, for which somebody waits."""
REPORT_S = 0.2
WAIT_S, TRIES = 0.5, 40
"""How often the process of a killed service is waited for, which still holds the folder of parts."""
NO_RESOURCE = "disk, memory or device was not available"
FAILED = "the service has failed"
OF_RESULTS = ("maeface.prediction.extra_files", "maeface.report.film_page")
"""Modules that write the results. Importing them and their libraries takes a second or more."""


def main() -> None:
    """Predict the film that the argument describes."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    folder = Path(given.pop("folder"))
    portable.lower_priority(NICE)
    threading.Thread(target=_end_with_service, daemon=True).start()
    process.wait_without_spinning()
    report = _Report()
    with process.stopped_by_signals():
        try:
            frames = _predict(folder, given, report)
        except DataError as error:
            report.say(error=explain(error, folder))
        except ResourceError as error:
            sys.stderr.write(f"{error}\n")
            report.say(error=NO_RESOURCE)
        except MaefaceError as error:
            sys.stderr.write(f"{error}\n")
            report.say(error=FAILED)
        else:
            report.say(finished=True, frames=frames)


def _predict(folder: Path, given: dict[str, Any], report: "_Report") -> int:
    """Predict a film; return the number of frames that have been read."""
    run = partial(predict.run, [folder / FILM], out=folder / TABLE, **given)
    for attempt in range(TRIES):
        try:
            frames = run(extras=Extras(events=False), progress=report.add).images
            report.say(phase="writing results", frames=frames)
            run(extras=Extras(report=True))  # the table is there: it is not predicted again
            return frames
        except InUseError:
            if attempt == TRIES - 1:
                raise
            time.sleep(WAIT_S)
    raise AssertionError("the last try returns or raises")


def explain(error: DataError, folder: Path) -> str:
    """Return why a film has failed, without the folder of its job."""
    only = describe_unreadable(1, {"": 1})  # says "1 inputs"; a job has one film
    return str(error).replace(f"{folder}{os.sep}", "").replace(only, "the film cannot be read: ")


class _Report:
    def __init__(self) -> None:
        self._said_s, self._is_importing = 0.0, False

    def add(self, images: int) -> None:
        if time.monotonic() - self._said_s > REPORT_S:
            self._said_s = time.monotonic()
            self.say(frames=images, phase="predicting" if images else "starting")
        if images and not self._is_importing:  # while worker processes predict, this one waits
            self._is_importing = True
            threading.Thread(target=lambda: [*map(importlib.import_module, OF_RESULTS)], daemon=True).start()

    def say(self, **values: Any) -> None:  # noqa: ANN401 - anything json can hold
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()


def _end_with_service() -> None:
    while os.read(0, 1024):
        pass
    portable.send_to_main_thread(signal.SIGTERM)


if __name__ == "__main__":
    main()
