"""Faults that a review of ``predict`` and ``prepare`` found; each test fails until its fault is mended."""

import gc
import os
import time
import weakref
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np

from maeface.data.ingest import workers
from maeface.data.ingest.images import load_images
from maeface.faces import media, video
from maeface.faces.timestamps import Sampler
from maeface.prediction import record
from maeface.prediction.predictor import Predictor
from maeface.runtime import choice
from parts_cases import photo


def test_bf16_that_the_back_end_does_not_compute_is_no_difference():
    """The same command goes on, and finds its table, also where ``--precision bf16`` became fp32."""
    given = {"every": 1, "fps": None, "faces": "all", "aligned": True, "min_face": 32.0}
    given |= {"device": "cpu", "precision": "bf16", "backend": "onnxruntime", "track": None}
    header = record.make_header(Path(__file__), [Path(__file__)], None, given)
    used = {"backend": "onnxruntime", "device": "cpu", "precision": "fp32"}  # as ``describe_use``
    assert record.find_differences({**header, **used}, header) == []


def film(path, count=100):
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 64, "yuv420p", 5
        for n in range(count):
            picture = np.full((64, 64, 3), 40 + n % 100, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_features_of_a_film_do_not_hold_its_frames(tmp_path, monkeypatch):
    """``Predictor.embed`` needs no more pixels in memory than a call: those of a block or two."""

    class Pixels(np.ndarray):
        pass

    pixels, most = [], 0
    real = video.convert_frame

    def convert(*arguments):
        nonlocal most
        picture = real(*arguments).view(Pixels)
        pixels.append(weakref.ref(picture))
        gc.collect()
        most = max(most, sum(one() is not None for one in pixels))
        return picture

    monkeypatch.setattr(video, "convert_frame", convert)
    Predictor(device="cpu", aligned=True, backend="openvino").embed(film(tmp_path / "v.mp4"))
    assert len(pixels) == 100 and most < 50


def test_a_segment_costs_the_same_in_a_longer_film(tmp_path, monkeypatch):
    """Which frames of a segment are chosen must not take a step for each frame of the whole film."""
    path = film(tmp_path / "v.mp4", 1000)
    index = media.index_video(path)
    asked = []
    real = Sampler.chooses
    monkeypatch.setattr(Sampler, "chooses", lambda self, *frame: asked.append(frame) or real(self, *frame))
    assert len(list(media.read_frames(path, spans=((500, 525),), index=index))) == 25
    assert len(asked) < 200


def test_the_oldest_choices_of_back_ends_are_forgotten(tmp_path, monkeypatch):
    """Not those whose hash is the smallest, among them the one that was saved last."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(choice.MAX_ENTRIES):
        choice._save(f"b{number:03d}", "openvino")
    choice._save("a", "openvino")
    choice._save("c", "openvino")
    assert "a" in choice._load()


def test_no_home_folder_is_no_traceback(tmp_path, monkeypatch):
    """In a container, a user without a home folder and without an entry in the list of users."""
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError("Could not determine home directory.")))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert choice._load() == {}
    choice._save("a", "openvino")


def note_setup(folder):
    """Set up for half a second; note begin and end."""
    begin = time.time()
    time.sleep(0.5)
    (folder / f"{os.getpid()}").write_text(f"{begin} {time.time()}")
    return lambda item, notify: None


def test_large_units_do_not_start_the_processes_one_after_the_other(tmp_path):
    """The pipe to a process that is being set up takes 208 KiB; a unit of 1024 photos may have more."""
    items = [bytes(400_000)] * 2
    for _ in workers.work(partial(note_setup, tmp_path), items, 2):
        pass
    spans = [[float(one) for one in path.read_text().split()] for path in tmp_path.iterdir()]
    (_, first_end), (second_begin, _) = sorted(spans)
    assert second_begin < first_end


def test_films_are_predicted_without_the_mirror_image(tmp_path):
    """Holds; no other test sees it if the mirror image is used for films too."""
    predictor = Predictor(device="cpu", aligned=True, backend="openvino")
    seen = []
    predictor._network = Mock(
        compute=lambda crops, output, mirror: seen.append(mirror) or np.zeros((1, len(crops), 24))
    )
    list(predictor.stream(load_images(film(tmp_path / "v.mp4", 5))))
    list(predictor.stream(load_images(photo(tmp_path / "a.png"))))
    assert seen == [False, True]
