"""The rig: files, parts, and that every action unit moves what it should, where it should."""

import numpy as np
import pytest

from maeface.errors import DataError
from maeface_studio.head import rig as rigs


@pytest.fixture(scope="module")
def rig(rig_path):
    return rigs.load(rig_path)


def posed(rig, au, level=5.0):
    """The 68 landmarks at rest and with one AU, (68, 3) each; AU25 is what draws the lips apart."""
    weights = (
        rigs.shape_weights({}, {}, rigs.intensity_to_weight(25, level))
        if au == 25
        else rigs.shape_weights({au: level}, {})
    )
    rest, moved = rig.pose(np.zeros(50), {}), rig.pose(np.zeros(50), weights)
    return rest[rig.landmarks], moved[rig.landmarks]


INNER_BROWS, OUTER_BROWS = [20, 21, 22, 23], [17, 18, 25, 26]
UPPER_LIDS, LOWER_LIDS = [37, 38, 43, 44], [40, 41, 46, 47]
CORNERS, UPPER_LIP, LOWER_LIP, CHIN = [48, 54], [50, 51, 52], [56, 57, 58], [7, 8, 9]

# AU, landmarks, axis (0 away from the middle, 1 up, 2 forwards), sign, least excursion in cm
MOVES = [
    (1, INNER_BROWS, 1, +1, 0.25),
    (2, OUTER_BROWS, 1, +1, 0.25),
    (4, INNER_BROWS, 1, -1, 0.15),
    (5, UPPER_LIDS, 1, +1, 0.1),
    (6, LOWER_LIDS, 1, +1, 0.1),
    (7, LOWER_LIDS, 1, +1, 0.05),
    (9, [31, 35], 1, +1, 0.1),
    (10, UPPER_LIP, 1, +1, 0.2),
    (12, CORNERS, 0, +1, 0.4),
    (12, CORNERS, 1, +1, 0.3),
    (14, CORNERS, 2, -1, 0.4),
    (15, CORNERS, 1, -1, 0.3),
    (17, LOWER_LIP, 1, +1, 0.2),
    (18, CORNERS, 0, -1, 0.3),
    (20, CORNERS, 0, +1, 0.3),
    (25, LOWER_LIP, 1, -1, 0.2),
    (26, CHIN, 1, -1, 0.8),
    (26, LOWER_LIP, 1, -1, 0.8),
    (43, UPPER_LIDS, 1, -1, 0.4),
]


@pytest.mark.parametrize("au, marks, axis, sign, least", MOVES)
def test_an_au_moves_the_right_place_the_right_way(rig, au, marks, axis, sign, least):
    rest, moved = posed(rig, au)
    if axis == 0:
        rest, moved = np.abs(rest), np.abs(moved)
    shift = (moved - rest)[marks, axis].mean()
    assert sign * shift > least


@pytest.mark.parametrize("au", [1, 2, 4, 5, 7, 43])
def test_the_upper_face_leaves_the_mouth_alone(rig, au):
    rest, moved = posed(rig, au)
    assert np.abs(moved - rest)[48:68].max() < 0.02


@pytest.mark.parametrize("au", [12, 15, 17, 18, 20, 24, 25, 26, 28])
def test_the_mouth_leaves_the_brows_alone(rig, au):
    rest, moved = posed(rig, au)
    assert np.abs(moved - rest)[17:27].max() < 0.02


@pytest.mark.parametrize("au", [23, 24, 28])
def test_tight_pressed_and_sucked_lips_show_less_red(rig, au):
    rest, moved = posed(rig, au)
    height = rest[[50, 51, 52], 1].mean() - rest[[56, 57, 58], 1].mean()
    assert moved[[50, 51, 52], 1].mean() - moved[[56, 57, 58], 1].mean() < height - 0.1


def test_every_au_grows_with_its_intensity(rig):
    for au in rigs.AUS:
        shifts = [np.abs(np.subtract(*posed(rig, au, level))).max() for level in range(6)]
        assert shifts[0] == 0 and all(np.diff(shifts) > 0.01), au


def test_the_stronger_side_has_the_intensity_and_the_other_less():
    for asymmetry, strong, weak in ((0.2, "L", "R"), (-0.2, "R", "L")):
        weights = rigs.shape_weights({12: 5.0}, {12: asymmetry})
        assert weights[f"mouthSmile_{strong}"] == pytest.approx(0.9)
        assert weights[f"mouthSmile_{weak}"] == pytest.approx(0.9 * 0.8 / 1.2)
    assert rigs.shape_weights({12: 3.0}, {12: 1.0})["mouthSmile_R"] == 0
    assert rigs.shape_weights({26: 5.0}, {26: 0.2}) == {"jawOpen": pytest.approx(0.5)}


def test_the_intensities_of_the_sides_are_those_of_their_shapes():
    assert rigs.side_intensities(12, 3.0, 0.0) == pytest.approx((3.0, 3.0))
    left, right = rigs.side_intensities(12, 3.0, 0.2)
    weights = rigs.shape_weights({12: 3.0}, {12: 0.2})
    assert [0.9 * rigs.intensity_to_weight(12, side) for side in (left, right)] == pytest.approx(
        [weights["mouthSmile_L"], weights["mouthSmile_R"]]
    )
    assert left == pytest.approx(3.0) and right < 2.5
    assert rigs.side_intensities(14, 2.0, -1.0) == pytest.approx((0.0, 2.0))


def test_people_differ_more_at_rest_with_a_larger_factor():
    usual, none, more = (rigs.draw_resting_shapes(np.random.default_rng(7), factor) for factor in (1, 0, 1.5))
    for name, (low, high) in rigs.RESTING_SHAPES.items():
        assert low <= usual[name] <= high and none[name] == pytest.approx((low + high) / 2)
        assert more[name] - none[name] == pytest.approx(1.5 * (usual[name] - none[name]))


def test_shapes_that_many_aus_pull_stay_in_range():
    weights = rigs.shape_weights({9: 5.0, 4: 5.0, 23: 5.0, 28: 5.0}, {4: 0.3}, parting=0.0)
    low, high = rigs.WEIGHT_RANGE
    assert max(weights.values()) == high and all(low <= value <= high for value in weights.values())


def test_lips_that_part_are_measured(rig):
    def gap(au, level):
        return rig.lip_gap(rig.pose(np.zeros(50), rigs.shape_weights({au: level}, {})))

    rest = rig.lip_gap(rig.pose(np.zeros(50), {}))
    jaw = [rigs.lip_gap_to_intensity(gap(26, level) - rest) for level in range(6)]
    assert jaw[0] == 0 and jaw[5] > 4 and jaw == sorted(jaw)
    assert (
        rigs.lip_gap_to_intensity(gap(24, 5) - rest) < 0.5
        and rigs.lip_gap_to_intensity(-1.0) == 0.0
        and rigs.lip_gap_to_intensity(9.0) == 5.0
    )


def test_the_intensity_curve_passes_its_points():
    for au, curve in ((12, rigs.INTENSITY_WEIGHTS), (7, rigs.EARLY_WEIGHTS)):
        assert [rigs.intensity_to_weight(au, level) for level in range(6)] == list(curve)
        assert rigs.intensity_to_weight(au, 1.5) == pytest.approx((curve[1] + curve[2]) / 2)
        assert rigs.weight_to_intensity(au, curve[2]) == 2


@pytest.mark.parametrize(
    "au, above, below, least",
    [(5, [37, 38, 43, 44], [41, 40, 47, 46], 0.15), (7, [41, 40, 47, 46], [37, 38, 43, 44], 0.12)],
)
def test_lids_open_and_narrow_visibly_at_b(rig, au, above, below, least):
    rest, moved = posed(rig, au, 2.0)
    change = [(points[above, 1] - points[below, 1]).mean() for points in (rest, moved)]
    assert change[1] - change[0] > least


def test_sucked_and_tight_lips_do_not_part(rig):
    rest = rig.lip_gap(rig.pose(np.zeros(50), {}))
    for au in (23, 24, 28):
        for level in (2.0, 5.0):
            assert rig.lip_gap(rig.pose(np.zeros(50), rigs.shape_weights({au: level}, {}))) < 0.3 * rest


def test_the_red_of_sucked_lips_vanishes(rig):
    rest, moved = posed(rig, 28)
    red = [points[[50, 51, 52], 1].mean() - points[[61, 62, 63], 1].mean() for points in (rest, moved)]
    assert red[1] < 0.1 * red[0]


def test_parts_are_whole(rig):
    face = rig.parts["M_Face"]
    assert face.triangles.max() == len(face.vertices) - 1 == len(face.uv) - 1
    assert face.uv.min() >= 0 and face.uv.max() <= 1
    assert len(rig.landmarks) == 68 and len(rig.box_vertices) > 1000


def test_no_rig(tmp_path):
    with pytest.raises(DataError, match="no rig file"):
        rigs.load(tmp_path / "ict_facekit.npz")


def test_not_a_rig(tmp_path):
    (tmp_path / "vertex_indices.json").write_text("{}")
    (tmp_path / "rig.npz").write_bytes(b"text")
    with pytest.raises(DataError, match="is not a packed ICT-FaceKit rig"):
        rigs.load(tmp_path / "rig.npz")
    np.savez(tmp_path / "rig.npz", neutral=np.zeros((3, 3)))
    with pytest.raises(DataError, match="is not a packed ICT-FaceKit rig"):
        rigs.load(tmp_path / "rig.npz")
