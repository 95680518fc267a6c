"""Measures of quality: of sharpness, of what is outside of the picture, of the passes; and the rule."""

import math
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from maeface.data import manifest
from maeface.data.shards import Shards
from maeface.faces import media
from maeface.faces.device_frames import upload
from maeface.faces.finder import LocatedFace, centre_crop, crop_faces, look_again
from maeface.faces.geometry import Face, Square, square_around
from maeface.faces.quality import (
    LIMITS,
    MEASURES,
    describe_low_quality,
    fraction_outside,
    is_low_quality,
    measure_quality,
    measure_sharpness,
)

LANDMARKS = np.array([[80, 80], [120, 80], [100, 105], [85, 125], [115, 125]], np.float32)
FACE = Face(np.array([60, 50, 140, 150], np.float32), LANDMARKS, 0.9)
GOOD = dict(zip(MEASURES, (120.0, 5.0, -3.0, 2.0, 0.6, 0.9, 0.0, 0.7), strict=True))


def sharpness(crop):
    return float(measure_sharpness([crop])[0])


@pytest.fixture(scope="module")
def faces():
    """Six faces of the packaged sample, (S, S, 3)."""
    folder = Path(str(resources.files("maeface") / "sample"))
    rows, shards = manifest.load(folder).iloc[::149], Shards(folder)
    ranges = zip(rows["shard"], rows["offset"], rows["size"], strict=True)
    return [media.decode_image(shards.read_range(*one), "jpeg") for one in ranges]


def blurred(pixels, sigma):
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))


def resized(pixels, side):
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def test_blur_lowers_sharpness_step_by_step(faces):
    sigmas = [fraction * len(faces[0]) for fraction in (0, 0.01, 0.02, 0.03, 0.045)]
    values = np.array([[sharpness(blurred(face, sigma)) for sigma in sigmas] for face in faces])
    assert (np.diff(values, axis=1) < 0).all()
    assert ((values >= 0) & (values <= 1)).all()


def test_a_face_that_was_made_small_and_large_again_is_less_sharp(faces):
    for face in faces:
        values = [sharpness(resized(resized(face, side), 256)) for side in (64, 40, 28, 20)]
        assert (np.diff(values) < 0).all()


def test_sharpness_does_not_depend_on_size_brightness_and_contrast(faces):
    for face in faces:
        sharp = sharpness(face)
        assert sharpness(resized(face, 3 * len(face))) == pytest.approx(sharp, abs=0.03)
        faint = (face * 0.4 + 60).astype(np.uint8)
        assert sharpness(faint) == pytest.approx(sharp, abs=0.03)


def test_what_is_outside_of_the_picture_does_not_make_a_face_sharp(faces):
    face = blurred(faces[0], 0.04 * len(faces[0]))
    cut = face.copy()
    cut[:, : len(face) // 3] = 0
    assert sharpness(cut) < LIMITS.sharpness


def test_a_crop_without_detail_has_no_sharpness():
    assert math.isnan(sharpness(np.full((224, 224, 3), 90, np.uint8)))
    assert math.isnan(sharpness(np.zeros((8, 8, 3), np.uint8)))


def test_a_frame_on_a_device_is_measured_as_an_array(faces):
    assert sharpness(upload(faces[:1], "cpu")[0]) == sharpness(faces[0])


@pytest.mark.parametrize(
    ("square", "expected"),
    [
        (Square(50, 40, 20), 0.0),
        (Square(0, 40, 20), 0.5),
        (Square(0, 0, 20), 0.75),
        (Square(100, 80, 20, 90), 0.75),
        (Square(50, 40, 200), 1 - 100 * 80 / 200**2),
        (Square(0, 40, 20, 45), 0.5),
        (Square(-30, 40, 20, 30), 1.0),
        (Square(50, 40, 80, 0), 0.0),
    ],
)
def test_the_fraction_outside_of_simple_squares(square, expected):
    assert fraction_outside(square, (80, 100, 3)) == pytest.approx(expected, abs=1e-9)


def test_the_fraction_outside_agrees_with_a_count_of_points():
    rng = np.random.default_rng(3)
    steps = (np.arange(200) + 0.5) / 200 - 0.5
    u, v = np.meshgrid(steps, steps)
    for _ in range(100):
        x, y, side, angle = (
            rng.uniform(-20, 120),
            rng.uniform(-20, 100),
            rng.uniform(5, 150),
            rng.uniform(-180, 180),
        )
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        px, py = x + side * (cos * u - sin * v), y + side * (sin * u + cos * v)
        outside = ((px < 0) | (px > 100) | (py < 0) | (py > 80)).mean()
        assert fraction_outside(Square(x, y, side, angle), (80, 100)) == pytest.approx(outside, abs=0.01)


def test_measures_of_faces_have_one_row_each(faces):
    image = np.zeros((200, 200, 3), np.uint8)
    image[:] = resized(faces[0], 200)
    near, far = square_around(FACE), Square(10, 100, 100)
    located = [LocatedFace(FACE, near, True, agreement=0.83), LocatedFace(FACE, far, False, agreement=0.0)]
    crops = crop_faces([image], [located], 224)[0]
    measures = measure_quality(crops, [image.shape] * 2, np.array([0.5, 1.25], np.float32))
    assert measures[:, MEASURES.index("unlike")].tolist() == [0.5, 1.25]
    assert measures.shape == (2, len(MEASURES))
    assert measures[:, MEASURES.index("face_px")].tolist() == [100, 100]
    assert measures[:, MEASURES.index("agreement")] == pytest.approx([0.83, 0])
    assert measures[:, MEASURES.index("outside")] == pytest.approx([0, 0.4])
    assert measures[:, MEASURES.index("yaw")] == pytest.approx([0, 0], abs=1)


def test_no_face_has_no_measures():
    assert measure_quality([], []).shape == (0, len(MEASURES))
    assert is_low_quality(measure_quality([], [])).shape == (0,)


def test_a_crop_that_was_not_detected_has_neither_pose_nor_agreement(faces):
    crop = centre_crop(faces[0])
    measures = dict(zip(MEASURES, measure_quality([crop], [faces[0].shape])[0], strict=True))
    assert all(math.isnan(measures[name]) for name in ("yaw", "pitch", "roll", "agreement", "unlike"))
    assert measures["outside"] == 0
    assert not is_low_quality(np.array([[*measures.values()]]))[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("face_px", LIMITS.face_px - 1),
        ("yaw", LIMITS.yaw + 1),
        ("yaw", -LIMITS.yaw - 1),
        ("pitch", LIMITS.pitch + 1),
        ("pitch", -LIMITS.pitch - 1),
        ("roll", LIMITS.roll + 1),
        ("roll", -LIMITS.roll - 1),
        ("sharpness", LIMITS.sharpness - 0.01),
        ("sharpness", math.nan),
        ("agreement", LIMITS.agreement - 0.01),
        ("outside", LIMITS.outside + 0.01),
        ("unlike", LIMITS.unlike + 0.01),
    ],
)
def test_one_measure_beyond_its_limit_is_low_quality(name, value):
    rows = np.array([[*GOOD.values()], [*(GOOD | {name: value}).values()]])
    assert is_low_quality(rows).tolist() == [False, True]


def test_the_reason_names_each_measure_beyond_its_limit():
    assert describe_low_quality({**GOOD, "input": "a.jpg"}) == ""
    assert describe_low_quality(GOOD | {"face_px": 20.0}) == "small face"
    assert describe_low_quality(GOOD | {"yaw": -50.0, "sharpness": 0.1}) == "turned to the side, blurred"
    assert describe_low_quality(GOOD | {"roll": 170.0, "agreement": None}) == "upside down"
    assert describe_low_quality(GOOD | {"outside": 0.4, "agreement": 0.1}) == "unsure detection, cut off"
    assert describe_low_quality(GOOD | {"pitch": 40.0}) == "turned up or down"
    assert describe_low_quality(GOOD | {"unlike": 1.5}) == "unlike known faces"


def test_a_head_that_lies_on_its_side_is_not_of_low_quality():
    assert not is_low_quality(np.array([[*(GOOD | {"roll": -95.0}).values()]]))[0]


def test_limits_can_be_chosen():
    rows = np.array([[*GOOD.values()]])
    assert is_low_quality(rows, replace(LIMITS, face_px=500)).tolist() == [True]


class TwoPasses:
    """A detector whose second pass sees the face elsewhere, by a fraction of its side."""

    def __init__(self, shift):
        self.shift = shift

    def detect(self, images):
        return [[self.face(image)] for image in images]

    find = detect

    def face(self, image):
        middle, half = len(image) / 2, len(image) / 2.2 / 2
        box = np.array([middle - half, middle - half, middle + half, middle + half], np.float32)
        return Face(
            box + np.float32(2 * half * self.shift) * np.array([1, 0, 1, 0], np.float32), LANDMARKS, 0.95
        )


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 1.0), (0.1, 0.9 / 1.1), (0.25, 0.75 / 1.25)])
def test_agreement_is_the_overlap_of_both_passes(shift, expected):
    image = np.zeros((400, 400, 3), np.uint8)
    face = Face(np.array([100, 100, 200, 200], np.float32), LANDMARKS, 0.9)
    found = look_again(TwoPasses(shift), [image], [face])[0]
    assert found.agreement == pytest.approx(expected, abs=0.01)
