"""The second set of shapes: its file, and that each subject moves in another way, but rightly."""

from dataclasses import replace

import numpy as np
import pytest

from maeface.errors import DataError
from maeface_studio.cast.random_draws import keyed_generator
from maeface_studio.head import blending
from maeface_studio.head import rig as rigs

IDENTITY = (0.0,) * 50


@pytest.fixture(scope="module")
def rig(rig_path):
    return rigs.load(rig_path)


@pytest.fixture(scope="module")
def second(rig_path, rig):
    path = rig_path.with_name("makehuman_shapes.npz")
    if not path.is_file():
        pytest.skip("needs makehuman_shapes.npz beside the rig")
    return blending.load(path, rig)


def subject(rig, second, number):
    return blending.blend(rig, second, IDENTITY, keyed_generator(1, 11, number))


def test_lids_meet_and_the_jaw_drops_alike_in_every_blend(rig, second):
    for number in range(8):
        own, head = subject(rig, second, number)
        shut = own.deform(head, {"eyeBlink": 1.0})[rig.landmarks]
        rest = head[rig.landmarks]
        gaps = [(points[[37, 38, 43, 44], 1] - points[[41, 40, 47, 46], 1]).mean() for points in (rest, shut)]
        assert gaps[0] > 0.5 and gaps[1] < 0.12 * gaps[0] + 0.06
        dropped = own.deform(head, rigs.shape_weights({26: 5.0}, {}))[rig.landmarks]
        assert (rest - dropped)[[7, 8, 9], 1].mean() > 0.7


@pytest.mark.parametrize(
    "au, marks, axis, sign, least",
    [
        (1, [20, 21, 22, 23], 1, +1, 0.2),
        (2, [17, 18, 25, 26], 1, +1, 0.15),
        (4, [20, 21, 22, 23], 1, -1, 0.1),
        (10, [50, 51, 52], 1, +1, 0.12),
        (12, [48, 54], 1, +1, 0.2),
        (15, [48, 54], 1, -1, 0.2),
    ],
)
def test_an_au_moves_the_right_way_in_every_blend(rig, second, au, marks, axis, sign, least):
    for number in range(8):
        own, head = subject(rig, second, number)
        moved = own.deform(head, rigs.shape_weights({au: 5.0}, {}))
        assert sign * (moved - head)[rig.landmarks][marks, axis].mean() > least


def test_subjects_differ_and_one_subject_does_not(rig, second):
    smiles = [subject(rig, second, number)[0].expressions["mouthSmile_L"] for number in (0, 0, 1)]
    assert np.array_equal(smiles[0], smiles[1]) and not np.allclose(smiles[0], smiles[2], atol=0.05)
    heads = [subject(rig, second, number)[1] for number in (0, 1)]
    assert np.abs(heads[0] - heads[1]).max() > 0.1


def test_a_shape_of_both_sides_is_split_at_the_midline(rig, second):
    left, right = (second.expressions[f"mhMouthCornerPuller_{side}"] for side in "LR")
    whole = second.expressions["mhMouthCornerPuller"]
    assert np.allclose(left + right, whole, atol=1e-5)
    far = rig.neutral[:, 0] > blending.MIDLINE_CM
    assert np.allclose(left[far], whole[far]) and not right[far].any()


def test_files_that_are_no_shapes_are_refused(rig, rig_path, tmp_path):
    with pytest.raises(DataError, match="no file"):
        blending.load(tmp_path / "none.npz", rig)
    (tmp_path / "bad.npz").write_text("no shapes")
    with pytest.raises(DataError, match="is not a set of shapes"):
        blending.load(tmp_path / "bad.npz", rig)
    small = replace(rig, neutral=rig.neutral[:10])
    path = rig_path.with_name("makehuman_shapes.npz")
    if path.is_file():
        with pytest.raises(DataError, match="the rig has"):
            blending.load(path, small)
