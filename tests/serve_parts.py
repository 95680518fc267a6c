"""A service with a quick predictor, for the tests: the first pixel of a photo says what it does."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from maeface import serve
from maeface.data.ingest.images import SourceImage
from maeface.errors import ResourceError
from maeface.service import films, guard, photos
from maeface.service.settings import Settings
from parts_cases import QuickPredictor

CRASH, HANG, MEMORY, WAIT = 255, 254, 253, 252
"""Blue of the first pixel of a photo that does so."""
MAKE_JOB = photos.make_job
LIMITS = {"max_photos_mb": 0.3, "max_film_mb": 2, "max_pixels": 1, "max_seconds": 5, "slow_s": 2.0}


class Quick(QuickPredictor):
    def predict(self, one):
        if isinstance(one, SourceImage):
            blue = one.frame.rgb[0, 0, 2]
            if blue == CRASH:
                os.kill(os.getpid(), signal.SIGSEGV)
            if blue == HANG:
                time.sleep(600)
            if blue == MEMORY:
                raise MemoryError
            if blue == WAIT:
                time.sleep(1)
        found = super().predict(one)
        if found.crops:
            found.values[:, 3] = np.nan  # the last column is not known
        return found


def quick_job(settings, device):
    photos.Predictor = lambda *arguments, **options: Quick()
    return MAKE_JOB(settings, device)


def no_job(settings, device):
    raise ResourceError("no such device")


def lost_job(settings, device):
    """End the first process while it starts, and refuse to start the others."""
    if (mark := settings.folder / "lost").exists():
        raise ResourceError("no memory now")
    mark.touch()
    os._exit(1)


def photo(faces=1, blue=0, side=64, kind="PNG"):
    """The bytes of a photo in which the quick predictor finds so many faces."""
    import io

    file = io.BytesIO()
    Image.new("RGB", (side, side), (10 * faces, 0, blue)).save(file, kind)
    return file.getvalue()


def main():
    """Serve on a free port, in this folder, with the settings that the arguments name."""
    folder, *options = sys.argv[1:]
    photos.make_job = quick_job
    films.PROCESS = "serve_film"
    os.environ["MAEFACE_TEST_FILM"] = "quick"
    guard.TimedProtocol.head_s = 2.0
    given = {name: float(value) for name, value in (one.split("=") for one in options)}
    serve.run(Settings(folder=Path(folder), **{**LIMITS, **given}), port=0)


if __name__ == "__main__":
    import serve_parts  # worker processes find its functions under this name
    from maeface import process

    with process.stopped_by_signals():
        serve_parts.main()
