import re
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface import facts
from maeface.data.tables import labels, predictions
from maeface.errors import ConfigError, DataError, ResourceError
from maeface.faces.finder import centre_crop
from maeface_studio.weights import blendshapes
from maeface_studio.weights.blendshapes import Blendshapes

NAMES = [name for names in blendshapes.SHAPES.values() for name in names]


def face(gap=0.1, **shapes):
    points = np.zeros((478, 3), np.float32)
    points[blendshapes.LEFT_CORNER], points[blendshapes.RIGHT_CORNER] = (10, 50, 0), (40, 90, 0)  # 50 apart
    points[blendshapes.UPPER_LIP], points[blendshapes.LOWER_LIP] = (25, 70, 0), (25, 70 + 50 * gap, 0)
    return Blendshapes(dict.fromkeys(NAMES, 0.0) | shapes, points, yaw_deg=0.0)


def test_a_score_is_the_mean_of_its_shapes():
    scores = face(mouthSmileLeft=0.9, mouthSmileRight=0.5, browInnerUp=0.25).action_units()
    assert list(scores) == list(blendshapes.AUS)
    assert scores[12] == pytest.approx(0.7)
    assert scores[1] == 0.25
    assert scores[4] == 0


def test_parted_lips_are_measured_against_the_width_of_the_mouth():
    assert face(gap=0.1).lip_gap == pytest.approx(0.1, rel=1e-5)
    assert face(gap=0).action_units()[25] == 0
    assert face(gap=blendshapes.GAP_PARTED).action_units()[25] == pytest.approx(0.5)
    assert 0.5 < face(gap=0.1).action_units()[25] < face(gap=0.3).action_units()[25] < 1


def test_every_action_unit_is_known_and_no_shape_stands_for_two():
    assert set(blendshapes.AUS) <= set(facts.AUS)
    assert len(set(NAMES)) == len(NAMES)


def test_without_mediapipe_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ResourceError, match=r"maeface-studio\[teacher\]"):
        blendshapes.FaceLandmarker(tmp_path / "face_landmarker.task")


@pytest.fixture
def faked(monkeypatch):
    """Every image has one face; MediaPipe finds none in a dark one."""

    class FakeLandmarker:
        def __init__(self, task):
            pass

        def __enter__(self):
            return lambda image: face(mouthSmileLeft=1.0) if image.max() > 100 else None

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(blendshapes, "FaceLandmarker", FakeLandmarker)
    monkeypatch.setattr(blendshapes, "Detector", lambda: None)
    finder = SimpleNamespace(find_crops=lambda _, images, faces: [[centre_crop(images[0])]])
    monkeypatch.setattr(blendshapes, "finder", finder)


def photo(path, value):
    Image.new("RGB", (64, 64), (value,) * 3).save(path)


def test_the_table_is_one_of_labels_and_of_predictions(faked, tmp_path):
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in" / "a.png", 200)
    photo(tmp_path / "in" / "dark.png", 10)
    out = tmp_path / "out.parquet"
    blendshapes.main(["face.task", str(tmp_path / "in"), "--out", str(out)])
    as_labels, as_predictions = labels.read_labels(out), predictions.read_predictions(out)
    assert list(as_labels.rows["source"]) == ["a.png", "dark.png"]
    np.testing.assert_allclose(as_labels.intensity[12], [2.5, np.nan])
    np.testing.assert_allclose(as_predictions.detection[12], [0.5, np.nan])
    assert pd.read_parquet(out)["mouthSmileLeft"].iloc[0] == 1


def test_held_out_portraits_are_read_only_when_asked_for(faked, tmp_path, capsys):
    held_out = min(facts.held_out_portraits())
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in" / held_out, 200)
    given = ["face.task", str(tmp_path / "in"), "--out", str(tmp_path / "out.csv")]
    with pytest.raises(SystemExit):
        blendshapes.main(given)
    assert re.search("no file is left", capsys.readouterr().err)
    photo(tmp_path / "in" / "b.jpg", 200)
    blendshapes.main(given)
    assert list(pd.read_csv(tmp_path / "out.csv")["source"]) == ["b.jpg"]
    blendshapes.main([*given, "--held-out"])
    assert list(pd.read_csv(tmp_path / "out.csv")["source"]) == [held_out]


def test_refusals(faked, tmp_path):
    photo(tmp_path / "a.png", 200)
    with pytest.raises(DataError, match="no file is left"):
        blendshapes.read_blendshapes([tmp_path], tmp_path / "face.task", select=lambda name: False)
    with pytest.raises(ConfigError, match="no such file or folder"):
        blendshapes.read_blendshapes([tmp_path / "b"], tmp_path / "face.task")


def test_mediapipe_reads_a_smile(shared):
    pytest.importorskip("mediapipe", reason="needs mediapipe: maeface-studio[teacher]")
    from maeface.faces import media

    photos, task = shared / "photos", shared / "weights" / "face_landmarker.task"
    if not task.is_file():
        pytest.skip("needs ../shared/weights/face_landmarker.task")
    with blendshapes.FaceLandmarker(task) as landmarker:
        smiling = landmarker(media.read_image(photos / "astronaut.png"))
        neutral = landmarker(media.read_image(photos / "zoom-cc0" / "60cm.jpg"))
        assert landmarker(np.zeros((64, 64, 3), np.uint8)) is None
    assert smiling.action_units()[12] > 0.5 > neutral.action_units()[12]
    assert smiling.lip_gap > blendshapes.GAP_PARTED > neutral.lip_gap
    with pytest.raises(ConfigError, match="not MediaPipe's"):
        blendshapes.FaceLandmarker(photos / "astronaut.png")
