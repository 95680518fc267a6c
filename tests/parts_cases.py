"""A quick predictor for the tests of interruptions: the rows of a photo depend on its pixels only."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from maeface import predict
from maeface.data.ingest.images import SourceImage, batch_images
from maeface.faces.finder import FaceCrop
from maeface.faces.geometry import Face, Square
from maeface.prediction.columns import FACE
from maeface.prediction.rows import ImagePrediction
from maeface.prediction.table_writer import WHERE


class QuickPredictor:
    """Finds as many faces as the red of the first pixel says in tens."""

    def __init__(self, pause_s=0.0):
        self.pause_s = pause_s
        self.device, self.precision, self.detector = "cpu", "fp32", None
        self.backend, self.face_finder = "numpy", SimpleNamespace(film_precision=None)
        self.metadata = SimpleNamespace(aus=(4, 12), thresholds=(), task="detection", checks={})
        self.thresholds, self.sides = (0.5, 0.5), ()
        self.columns = [*WHERE, *FACE, "AU04", "AU12", "AU04_p", "AU12_p"]

    def stream(self, source):
        for batch in batch_images(source):
            for one in batch:
                misbehave(one.name)
            time.sleep(self.pause_s * len(batch))
            yield [self.predict(one) for one in batch]

    def predict(self, one):
        count = int(one.frame.rgb[0, 0, 0]) // 10 if isinstance(one, SourceImage) else 0
        values = [[k % 2, 1, one.frame.rgb.mean() / 255, (k + 1) / 7] for k in range(count)]
        return ImagePrediction(one, [crop(k) for k in range(count)], np.array(values, np.float32))


def crop(k):
    """A face of good quality: large, sharp, and inside of the smallest picture."""
    face = Face(np.array([1.5, 2, 51.25, 52 + k], np.float32), np.full((5, 2), 3.5, np.float32), 0.9)
    pixels = np.random.default_rng(k).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return FaceCrop(face, Square(4, 4, 4, 5.0), pixels)


def misbehave(name):
    """Crash or hang on a file with such a name."""
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in name:
        time.sleep(600)


def quick(options):
    return QuickPredictor()


def bad_index(options):
    """A predictor in whose process indexing a film crashes or hangs, as the name of the file says."""
    from maeface.faces import video_index

    def build(file, *rest):
        misbehave(Path(f"/proc/self/fd/{file.fileno()}").readlink().name)

    video_index.build_index = build
    return QuickPredictor()


def slow(options):
    return QuickPredictor(0.004)


def photo(path, shade=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), (shade, shade, shade)).save(path)
    return path


def photos(folder, count):
    for number in range(count):
        photo(folder / f"{number:03d}.png", 10 * (number % 4))
    return folder


def run(inputs, out, make=quick, **options):
    values = {"aligned": True, "device": "cpu", "workers": 2, "make_predictor": make}
    return predict.run([inputs], None, out, **values | options)


def work_here(setup, items, count, notify, lose=None, limit_s=None):
    """Do the items of ``workers.work`` in this process."""
    job = setup()
    for item in items:
        yield item, job(item, notify)
