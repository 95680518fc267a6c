"""Predictions as plain objects."""

import threading

import numpy as np
import pandas as pd
import pytest

from maeface.data import manifest, shards
from maeface.errors import ConfigError, ResourceError
from maeface.faces import media
from maeface.model import zoo
from maeface.prediction.predictor import Predictor
from test_predict import film


@pytest.fixture(scope="module")
def crops():
    folder = zoo.folder().parent / "sample"
    reader, rows = shards.Shards(folder), manifest.load(folder).head(6)
    return [media.decode_image(reader.read(row), "jpeg") for _, row in rows.iterrows()]


@pytest.fixture(scope="module")
def predictor():
    with Predictor(device="cpu", aligned=True, backend="openvino") as opened:
        yield opened


def test_an_image_has_its_faces_and_their_action_units(predictor, crops):
    result = predictor.image(crops[0])
    table = predictor(crops[0])
    (face,) = result.faces
    assert (result.input, result.frame, result.status) == ("0", 0, "ok")
    assert face.track is None and np.isnan(face.score)
    assert list(face.aus) == [f"AU{au:02d}" for au in predictor.metadata.aus]
    assert face.aus["AU12"].probability == pytest.approx(table["AU12_p"][0])
    assert face.aus["AU12"].intensity == pytest.approx(table["AU12_i"][0])
    assert face.aus["AU12"].present == bool(table["AU12"][0])
    assert repr(predictor).startswith(f"Predictor({predictor.weights.stem}, {predictor.backend} on cpu, ")
    assert "FaceResult(" in repr(face) and len(repr(face)) < 1000
    assert repr(face.aus["AU12"]).startswith(("<present p=", "<absent p="))


def test_a_video_is_no_image(predictor, tmp_path):
    with pytest.raises(ConfigError, match=r"expected one photo.*video\(\) or images\(\)"):
        predictor.image(film(tmp_path / "v.mp4", 3))


def test_images_come_in_order_with_progress(predictor, crops):
    seen = []
    results = list(predictor.images(crops, progress=lambda done, total: seen.append((done, total))))
    assert [one.input for one in results] == [str(k) for k in range(6)]
    assert seen == [(6, None)]


def test_a_video_is_predicted_while_it_is_read_and_kept(predictor, tmp_path):
    seen = []
    path = film(tmp_path / "v.mp4", 30)
    video = predictor.video(path, progress=lambda done, total: seen.append((done, total)))
    frames = iter(video)
    assert next(frames).frame == 0
    assert seen and seen[-1][0] < 30  # the rest is not predicted yet
    assert repr(video) == f"VideoResult({seen[-1][0]} rows so far)"
    table = video.to_pandas()
    assert seen[-1] == (30, 30) and repr(video) == "VideoResult(30 rows so far)"
    assert [one.frame for one in video] == table["frame"].tolist() == list(range(30))
    pd.testing.assert_frame_equal(table, predictor(path))


def test_a_predictor_serves_several_threads(predictor, crops):
    expected = predictor(crops)
    found = {}

    def work(number):
        found[number] = predictor(crops)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for table in found.values():
        pd.testing.assert_frame_equal(table, expected)
    assert len(found) == 3


def test_a_predictor_that_is_closed_says_so():
    with Predictor(device="cpu", aligned=True, backend="openvino") as opened:
        pass
    with pytest.raises(ResourceError, match="the predictor is closed; make another one"):
        opened(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ResourceError, match="the predictor is closed"):
        opened.predict_crops(np.zeros((1, 64, 64, 3), np.uint8))
