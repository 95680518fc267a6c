"""What MediaPipe measures of a face."""

import numpy as np
import pandas as pd
import pytest

import drawn
from maeface import prepare
from maeface_studio.weights import blendshapes, measurements


def face(scale=1.0, shift=0.0, mirrored=False):
    points = np.random.default_rng(0).random((478, 3)).astype(np.float32) * scale + shift
    shapes = {"mouthSmileLeft": 0.2, "mouthSmileRight": 0.6, "jawOpen": 0.5, "eyeLookInLeft": 1.0}
    if mirrored:
        points[:, 0] = -points[:, 0]
        shapes["mouthSmileLeft"], shapes["mouthSmileRight"] = 0.6, 0.2
    return blendshapes.Blendshapes(shapes, points, 0.0)


def test_measures_do_not_change_with_mirror_place_and_size():
    first = measurements.measure_face(face())
    assert first["mouthSmile"] == pytest.approx(0.4)
    assert "eyeLookIn" not in first
    assert set(measurements.LENGTHS) < set(first)
    for other in (face(mirrored=True), face(scale=3.0, shift=20.0)):
        assert measurements.measure_face(other) == pytest.approx(first, rel=1e-3)


def test_a_wider_mouth_measures_wider():
    wide = face()
    wide.points[measurements.CORNERS[0]] += 10 * (wide.points[61] - wide.points[291])
    assert (
        measurements.measure_face(wide)["mouth_width"] > 5 * measurements.measure_face(face())["mouth_width"]
    )


def test_every_crop_of_prepared_folders_is_measured(monkeypatch, tmp_path):
    prepared = tmp_path / "prepared"
    faces = drawn.faces(tmp_path / "crops", count=5)
    prepare.run([faces], prepared, prepare.Settings(aligned=True, size=32, workers=1))
    seen = []

    class FakeLandmarker:
        def __init__(self, task):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __call__(self, image):
            seen.append(image.shape)
            return face() if len(seen) % 2 else None

    monkeypatch.setattr(measurements.blendshapes, "FaceLandmarker", FakeLandmarker)
    monkeypatch.setattr(measurements.blendshapes.Blendshapes, "action_units", lambda self: {12: 0.5})
    out = measurements.write_measurements([prepared], tmp_path / "x.task", tmp_path / "m.parquet")
    table = pd.read_parquet(out)
    side = measurements.SIDE + 2 * measurements.MARGIN
    assert set(seen) == {(side, side, 3)}
    assert 0 < len(table) < len(seen)
    assert table["AU12_p"].eq(0.5).all()
    before = len(seen)
    measurements.write_measurements([prepared], tmp_path / "x.task", out)  # finished work is left alone
    assert len(seen) == before
