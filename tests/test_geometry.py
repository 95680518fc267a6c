import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maeface.faces.geometry import (
    MARGIN,
    Face,
    Square,
    crop,
    eye_angle,
    snap_to_grid,
    square_around,
    to_crop,
    to_image,
)

numbers = st.floats(-500, 500)
squares = st.builds(Square, numbers, numbers, st.floats(4, 800), st.floats(-180, 180))


def smooth(height, width):
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [np.sin(x / 9 + y / 17), np.cos(x / 13 - y / 11), np.sin(y / 8)]
    return np.clip(128 + 90 * np.stack(waves, -1), 0, 255).astype(np.uint8)


@given(squares, st.integers(16, 512), numbers, numbers)
def test_points_go_to_the_crop_and_back(region, size, x, y):
    point = np.array([x, y])
    there = to_crop(point, region, size)
    assert np.allclose(to_image(there, region, size), point, atol=1e-6)
    centre = to_crop(np.array([region.cx, region.cy]), region, size)
    assert np.allclose(centre, size / 2)


@given(
    st.integers(40, 160),
    st.integers(40, 160),
    st.integers(40, 120),
    st.integers(-179, 180),
    st.integers(32, 96),
)
@settings(max_examples=40, deadline=None)
def test_a_dot_lands_where_its_point_is_mapped_to(x, y, side, angle, size):
    image = np.zeros((200, 200, 3), np.uint8)
    image[y - 4 : y + 4, x - 4 : x + 4] = 255
    region = Square(x + 5.0, y - 7.0, float(side), float(angle))
    weight = crop(image, region, size)[..., 0].astype(np.float64)
    rows, columns = np.indices(weight.shape) + 0.5
    seen = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    # A dot at the edge of the crop is cut, which moves its centre of mass.
    expected = to_crop(np.array([x, y], float), region, size)
    if (expected > 12 * size / side).all() and (expected < size - 12 * size / side).all():
        assert np.abs(seen - expected).max() < 0.35


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_the_crop_of_an_image_turned_by_quarters_is_the_same_to_the_pixel(quarters):
    image = smooth(120, 160)
    upright = crop(image, Square(70, 50, 64, 0), 64)
    turned = np.ascontiguousarray(np.rot90(image, -quarters))  # clockwise
    centre = {1: (120 - 50, 70), 2: (160 - 70, 120 - 50), 3: (50, 160 - 70)}[quarters]
    assert np.array_equal(crop(turned, Square(*centre, 64, 90 * quarters), 64), upright)


@pytest.mark.parametrize("angle", [-170, -60, -20, 7.5, 33, 110])
@pytest.mark.parametrize("size", [48, 96, 200])
def test_the_crop_of_a_turned_image_is_the_upright_crop(angle, size):
    image = smooth(300, 300)
    whole = Square(150, 150, 300, -angle)
    turned = crop(image, whole, 300)  # the image turned clockwise by the angle
    points = np.array([160.0, 140.0])
    centre = to_crop(points, whole, 300)
    again = crop(turned, Square(*centre, 100, angle), size)
    expected = crop(image, Square(*points, 100, 0), size)
    assert np.abs(again.astype(int) - expected).mean() < 2  # half a pixel off would be above 3


def test_a_crop_of_its_own_size_copies_pixels_and_outside_is_black():
    image = smooth(60, 80)
    assert np.array_equal(crop(image, Square(40, 30, 40, 0), 40), image[10:50, 20:60])
    beyond = crop(image, Square(0, 0, 40, 0), 40)
    assert not beyond[:20].any() and not beyond[:, :20].any()
    assert np.array_equal(beyond[20:, 20:], image[:20, :20])
    assert not crop(image, Square(1000, 1000, 40, 30), 16).any()


def test_shrinking_averages_instead_of_aliasing():
    checks = np.indices((256, 256)).sum(0) % 2 * 255
    image = np.repeat(checks[..., None], 3, -1).astype(np.uint8)
    for side in (128, 150, 250):
        small = crop(image, Square(128, 128, side, 0), 64)[2:-2, 2:-2].astype(int)
        assert np.abs(small - 127).max() < 8


def test_the_crop_of_a_large_image_depends_on_its_own_pixels_only():
    image = smooth(400, 500)
    other = image.copy()
    other[:, 300:] = 0
    region = Square(120, 150, 200, 15)
    assert np.array_equal(crop(image, region, 64), crop(other, region, 64))


@given(st.floats(-89, 89), st.floats(5, 200), numbers, numbers)
def test_the_angle_of_the_eyes_is_the_angle_the_face_was_turned(angle, scale, x, y):
    upright = np.array([[-0.5, -0.5], [0.5, -0.5], [0, 0], [-0.4, 0.5], [0.4, 0.5]])
    a = math.radians(angle)
    turned = upright @ np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
    assert eye_angle(turned * scale + [x, y]) == pytest.approx(angle, abs=1e-4)


def test_a_profile_is_turned_by_the_line_from_eyes_to_mouth():
    profile = np.array([[50, 40], [51, 44], [60, 55], [50, 70], [51, 71]], np.float32)
    assert abs(eye_angle(profile)) < 3
    assert eye_angle(np.full((5, 2), 7.0)) == 0
    assert eye_angle(np.full((5, 2), np.nan)) == 0


def test_the_square_is_the_longer_side_with_its_margin():
    face = Face(np.array([10, 20, 74, 148], np.float32), np.zeros((5, 2), np.float32), 1.0)
    region = square_around(face, angle_deg=12.3)
    assert region.side == pytest.approx(128 * MARGIN, abs=1)
    assert (region.cx, region.cy) == pytest.approx((42, 84), abs=1)
    assert region.angle_deg == 12


@given(squares)
def test_a_snapped_square_is_near_and_stays(region):
    once = snap_to_grid(region)
    assert snap_to_grid(once) == once
    assert (
        max(abs(once.cx - region.cx), abs(once.cy - region.cy), abs(once.side - region.side))
        <= region.side / 90
    )
    assert abs(once.angle_deg - region.angle_deg) <= 0.5
