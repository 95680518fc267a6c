"""What a subject's surfaces are painted with: texel maps, skin by its appearance, folds by their AUs."""

import time
from itertools import pairwise

import numpy as np
import pytest

from maeface_studio.cast.appearance import Appearance
from maeface_studio.head import rig as rigs
from maeface_studio.skin import pigment, texel_maps, textures, wrinkles
from maeface_studio.skin.creases import Crease, carve_creases

PLAIN = Appearance(
    melanin=0.2, redness=0.5, hair=1, iris=3, cloth=0, baldness=0.1, hair_cm=1.0, brow=0.7, brow_cm=0.35,
    beard=0.0, freckles=0.0, makeup=0.0, lip_red=0.1, lash=0.6, gloss=0.5, age=0.2, moles=0.0, glasses=0,
    hat=0, hair_style=0, grey=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def rig(rig_path):
    return rigs.load(rig_path)


@pytest.fixture(scope="module")
def texels(rig):
    return texel_maps.build_texel_maps(rig)


def painted(texels, seed=0, **changes):
    return textures.paint_textures(PLAIN._replace(**changes), texels, np.random.default_rng(seed))


def at(texels, x, y, reach=0.35):
    """Texels near a place on the face, as seen from the front."""
    near = np.hypot(texels.face[..., 0] - x, texels.face[..., 1] - y) < reach
    return near & (texels.face[..., 2] > 3)


def lightness(pixels):
    return pigment.srgb_to_linear(pixels).mean()


def test_each_texel_knows_its_place(rig, texels):
    part = rig.parts["M_Face"]
    row, column = np.floor(part.uv[:, ::-1].T * texel_maps.FACE_TEXELS).astype(int)
    off = np.linalg.norm(texels.face[row, column] - rig.neutral[part.vertices], axis=-1)
    assert np.median(off) < 0.02 and np.percentile(off, 90) < 0.05
    face = texels.face
    assert np.isfinite(face).all()
    mirrored = face[:, ::-1] * np.array([-1, 1, 1])
    assert np.median(np.linalg.norm(mirrored - face, axis=-1)) < 0.01


def test_masks_lie_where_the_landmarks_are(texels):
    marks = texels.landmarks
    assert texels.lips[at(texels, 0, -3.9, 0.2)].mean() > 0.9  # the lower lip
    assert texels.lips[at(texels, 0, -6.0)].max() < 0.05  # the chin
    corner = at(texels, *marks[48, :2], 0.15)
    assert np.abs(texels.lip_depth[corner]).max() < 0.4
    assert texels.zones["beard"][at(texels, 0, -6.3)].mean() > 0.8
    assert texels.zones["beard"][at(texels, 0, 7.0)].max() < 0.01
    assert (
        texels.zones["flush"][at(texels, 4.4, -0.3)].mean()
        > 2 * texels.zones["flush"][at(texels, 0, 7.0)].mean()
    )


def test_a_subject_is_painted_the_same_each_time_and_its_surfaces_have_the_agreed_form(texels):
    one, again, other = painted(texels), painted(texels), painted(texels, seed=1)
    for a, b in zip(one, again, strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(one.face, other.face)
    side = texel_maps.FACE_TEXELS
    assert one.face.shape == (side, side, 3) and one.face.dtype == np.uint8
    assert one.back.shape[2] == one.eye.shape[2] == 3 and one.back.dtype == one.eye.dtype == np.uint8
    assert one.relief.shape == one.gloss.shape == (side, side)
    assert one.relief.dtype == np.float32 and one.gloss.dtype == np.uint8
    assert np.abs(one.relief).max() < 0.15


def test_more_melanin_is_darker_and_stays_a_colour_of_skin(texels):
    cheek = at(texels, 4.0, 0.0, 1.0)
    tones = [painted(texels, melanin=m).face[cheek].mean(0) for m in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert all(a.sum() > b.sum() + 20 for a, b in pairwise(tones))
    for red, green, blue in tones:
        assert red > green > blue
    assert 190 < tones[0][0] < 235 and 50 < tones[-1][0] < 100


def test_what_a_look_asks_for_is_to_be_seen(texels):
    plain = painted(texels)
    chin, cheek, lip = at(texels, 0, -6.3, 0.8), at(texels, 4.4, -0.3, 0.8), at(texels, 0, -3.9, 0.25)
    stubble = painted(texels, beard=0.45)
    assert lightness(stubble.face[chin]) < 0.9 * lightness(plain.face[chin])
    flushed, pale = (painted(texels, redness=r).face[cheek].astype(float).mean(0) for r in (1.0, 0.0))
    assert flushed[0] / flushed[1] > 1.05 * pale[0] / pale[1]
    stick = painted(texels, lip_red=1.0).face[lip].astype(float).mean(0)
    bare = plain.face[lip].astype(float).mean(0)
    assert stick[0] / stick[1] > 1.3 * bare[0] / bare[1]
    freckled = painted(texels, freckles=1.0)
    assert freckled.face[cheek].std(0).mean() > 1.08 * plain.face[cheek].std(0).mean()
    mole = painted(texels, moles=1.0)
    assert mole.relief.max() > plain.relief.max() and (mole.face != plain.face).any()
    assert plain.gloss[lip].mean() > plain.gloss[cheek].mean() + 20


def test_folds_at_rest_grow_with_age(texels):
    spread = []
    for age in (0.0, 0.5, 1.0):
        bumps = [painted(texels, seed, age=age).relief for seed in range(3)]
        spread.append(np.mean([b[at(texels, 0, 7.4, 1.2)].std() for b in bumps]))
    assert 1.15 * spread[0] < spread[1] < 0.6 * spread[2]


def test_the_eye_has_an_iris_of_the_size_of_life(texels):
    eye = pigment.srgb_to_linear(painted(texels, iris=0).eye).mean(-1)
    radius = np.hypot(*np.moveaxis(texels.eye, -1, 0))
    pupil, iris, white = (
        eye[(radius > a) & (radius < b)].mean() for a, b in ((0, 0.12), (0.32, 0.5), (0.68, 0.9))
    )
    assert pupil < 0.01 < iris < 0.4 * white
    assert 0.3 < white < 0.7


def test_a_crease_is_a_furrow_with_raised_sides_on_both_sides_of_the_face(texels):
    height = carve_creases(texels.face, [Crease(((-3.0, 7.5), (-1.5, 7.5)), depth=0.1, width=0.12)])
    assert -0.105 < height.min() < -0.09 and 0.02 < height.max() < 0.08
    lowest = texels.face[np.unravel_index(height.argmin(), height.shape)]
    assert abs(lowest[1] - 7.5) < 0.06 and 1.5 < abs(lowest[0]) < 3.0
    assert np.isclose(height[at(texels, 2.2, 7.5)].min(), height[at(texels, -2.2, 7.5)].min(), atol=0.01)
    assert height[at(texels, 0, 0)].any() == 0


PLACES = {
    "forehead_inner": (0.0, 7.4), "forehead_outer": (3.2, 7.5), "glabella": (0.6, 5.3), "nose": (0.8, 2.6),
    "crows_feet": (5.5, 3.3), "under_eye": (3.3, 2.4), "nasolabial": (2.9, -1.4), "chin": (0.0, -6.1),
    "mouth_corner": (3.0, -3.6), "lips": (0.7, -4.5),
    "dimple": (3.1, -3.5), "pressed": (0.0, -4.85),
}  # fmt: skip


@pytest.mark.parametrize("name", wrinkles.FOLDS)
def test_a_fold_lies_where_its_action_unit_makes_it(texels, name):
    folds = wrinkles.fold_heights(texels)
    assert folds.shape == (len(wrinkles.FOLDS), *texels.face.shape[:2]) and folds.dtype == np.float32
    height = folds[wrinkles.FOLDS.index(name)]
    here = at(texels, *PLACES[name], 0.6)
    assert np.abs(height[here]).max() > 0.02 and height.min() < -0.03
    assert np.abs(height).max() < 0.15
    assert (np.abs(height) > 0.005).mean() < 0.12
    assert np.abs(height[texels.mouth_depth > 0.15]).max() == 0


def test_a_subject_has_folds_of_its_own_in_the_same_places(texels):
    shared = wrinkles.fold_heights(texels)
    one, again, other = (wrinkles.draw_personal_folds(texels, np.random.default_rng(k)) for k in (1, 1, 2))
    assert np.array_equal(one, again) and np.abs(one - other).max() > 0.02
    for own, common, name in zip(one, shared, wrinkles.FOLDS, strict=True):
        assert (
            np.abs(own[at(texels, *PLACES[name], 0.9)]).max()
            > 0.4 * np.abs(common[at(texels, *PLACES[name], 0.6)]).max()
        )
        assert np.abs(own).max() < 0.25


def test_weights_rise_with_intensity_and_age_and_name_only_the_aus_folds():
    assert not wrinkles.fold_weights({}, 0.5).any()
    for name, causes in wrinkles.CAUSES.items():
        place = wrinkles.FOLDS.index(name)
        au = max(causes, key=lambda one: causes[one])
        rising = [wrinkles.fold_weights({au: level}, 0.5)[place] for level in range(6)]
        assert all(a < b for a, b in pairwise(rising))
        assert rising[2] > 0.2 and 0.6 < rising[5] < 1.4
        assert wrinkles.fold_weights({au: 3}, 1.0)[place] > 1.5 * wrinkles.fold_weights({au: 3}, 0.0)[place]
    lone = dict(zip(wrinkles.FOLDS, wrinkles.fold_weights({4: 4.0}, 0.3), strict=True))
    assert lone["glabella"] == max(lone.values()) and lone["crows_feet"] == lone["chin"] == 0
    assert wrinkles.fold_weights({au: 5 for au in rigs.AUS}, 1.0).max() < 1.8


def test_folds_are_as_deep_as_their_side_moves(texels):
    folds = wrinkles.fold_heights(texels)
    left = (texels.face[..., 0] > 0).astype(np.float32)
    here, there = at(texels, 3.1, -3.5, 0.6), at(texels, -3.1, -3.5, 0.6)
    both = wrinkles.sum_folds(folds, {14: 4.0}, {}, 0.5, left)
    assert np.abs(both[here]).max() == pytest.approx(np.abs(both[there]).max(), rel=0.1)
    one = wrinkles.sum_folds(folds, {14: 4.0}, {14: 1.0}, 0.5, left)  # the person's left, at x > 0
    assert np.allclose(one[here], both[here], atol=1e-6) and not one[there].any()
    midline = wrinkles.sum_folds(folds, {17: 4.0}, {17: 1.0}, 0.5, left)
    assert np.array_equal(midline, wrinkles.sum_folds(folds, {17: 4.0}, {}, 0.5, left))


def test_painting_a_subject_is_quick(texels):
    wrinkles.age_fold_heights(texels)
    start = time.process_time()
    painted(texels, age=0.9, freckles=1.0, moles=1.0, beard=0.4)
    assert time.process_time() - start < 3.0  # 0.5 s on one core of a machine of 2025
