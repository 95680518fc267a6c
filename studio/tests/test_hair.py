import numpy as np
import pytest

from maeface_studio.cast import subjects
from maeface_studio.cast.appearance import Clothes, Glasses, HairStyle, Hat
from maeface_studio.cast.views import Occluder
from maeface_studio.hair.growth import grow_hair
from maeface_studio.head import rig as rigs
from maeface_studio.head.mesh import vertex_normals
from maeface_studio.head.skull import measure_skull, skull_radius
from maeface_studio.skin.texel_maps import build_texel_maps
from maeface_studio.worn.occluders import make_occluder
from maeface_studio.worn.outfit import make_outfit

FRINGE, LONG, CREW = HairStyle.FRINGE, HairStyle.LONG_STRAIGHT, HairStyle.CREW_CUT


@pytest.fixture(scope="module")
def rig(rig_path):
    return rigs.load(rig_path)


@pytest.fixture(scope="module")
def spread(rig):
    return build_texel_maps(rig)


@pytest.fixture(scope="module")
def who():
    return subjects.draw_subject(3, 4)


@pytest.fixture(scope="module")
def head(rig, who):
    return rig.pose(who.identity, {})


@pytest.fixture(scope="module")
def grow(rig, spread, who, head):
    normals = vertex_normals(head, rig.skin)

    def of(seed=1, **changed):
        plain = {"hat": 0, "baldness": 0.0, "beard": 0.0, "hair_cm": 1.2, "grey": 0.0, "hair": 1}
        appearance = who.appearance._replace(**plain | changed)
        return grow_hair(appearance, spread, rig, head, normals, np.random.default_rng(seed))

    return of


def test_every_style_grows_hair_that_can_be_drawn(grow, rig):
    for style in HairStyle:
        grown = grow(hair_style=style, beard=0.8)
        assert ("scalp" in grown) == (style != HairStyle.SHAVED)
        assert sum(len(some.root) for some in grown.values()) <= 14_000
        for some in grown.values():
            count = len(some.root)
            assert some.points.shape[0] == count and some.points.shape[2] == 3
            assert some.points.dtype == some.radius.dtype == some.colour.dtype == np.float32
            assert some.root.dtype == np.int32 and np.isin(some.root, rig.skin).all()
            assert np.isfinite(some.points).all()
            assert (some.radius > 0).all() and (some.radius < 0.1).all()
            assert some.colour.min() >= 0 and some.colour.max() < 1


def test_the_same_numbers_grow_the_same_hair_and_others_do_not(grow):
    once, again, other = grow(seed=5), grow(seed=5), grow(seed=6)
    for kind in once:
        for first, second in zip(once[kind], again[kind], strict=True):
            assert np.array_equal(first, second)
    assert not np.array_equal(once["scalp"].points, other["scalp"].points[: len(once["scalp"].root)])


def test_strands_start_at_the_vertex_they_move_with(grow, head):
    for kind, some in grow(hair_style=CREW, beard=0.9).items():
        far = np.linalg.norm(some.points[:, 0] - head[some.root], axis=1)
        assert np.quantile(far, 0.99) < 1.0, kind


def test_scalp_hair_stays_out_of_the_head_and_beside_the_face(grow, rig, head):
    outside = measure_skull(rig, head)
    eyes = head[rig.landmarks[36:48]]
    for style in set(HairStyle) - {HairStyle.SHAVED}:
        points = grow(hair_style=style)["scalp"].points[:, 1:].reshape(-1, 3)
        upper = points[points[:, 1] > 0]
        depth = skull_radius(outside, upper - outside.centre) - np.linalg.norm(upper - outside.centre, axis=1)
        assert (depth > 0.3).mean() < 0.01, style
        face = (np.abs(points[:, 0]) < eyes[:, 0].max()) & (points[:, 2] > 6) & (points[:, 1] < 5)
        assert face.mean() < (0.01 if style == FRINGE else 0.002), style


def test_only_a_fringe_covers_the_forehead(grow):
    def covered(style):
        x, y, z = grow(hair_style=style)["scalp"].points.reshape(-1, 3).T
        return ((np.abs(x) < 3) & (y > 6.5) & (y < 8.0) & (z > 6)).sum()

    assert covered(FRINGE) > 100
    assert covered(LONG) < 50 and covered(CREW) < 50


def test_baldness_bares_the_front_and_keeps_the_sides(grow, rig):
    def roots(baldness):
        x, y, z = rig.neutral[grow(hair_style=CREW, baldness=baldness)["scalp"].root].T
        return ((y > 10) & (z > 3)).sum(), ((np.abs(x) > 6) & (z < 0)).sum()

    (front, sides), (bald_front, bald_sides) = roots(0.0), roots(1.0)
    assert bald_front < 0.2 * front
    assert bald_sides > 0.3 * sides


def test_brows_lie_on_the_brow_and_lean_outwards(grow, rig):
    some = grow(brow=0.9)["brows"]
    x, y, _ = rig.neutral[some.root].T
    assert ((np.abs(x) > 0.5) & (np.abs(x) < 6.8) & (y > 3.8) & (y < 7)).all()
    assert 0.7 < (x > 0).sum() / (x < 0).sum() < 1.4
    way = some.points[:, -1] - some.points[:, 0]
    inner, outer = np.abs(x) < 1.6, np.abs(x) > 4
    assert way[inner, 1].mean() > 0.15 and (way[outer, 0] * np.sign(x[outer])).mean() > 0.3
    assert len(grow(brow=0.9)["brows"].root) > 1.15 * len(grow(brow=0.4)["brows"].root)


def test_brows_and_lashes_follow_their_action_units(grow, rig):
    raised = (
        rig.expressions["browInnerUp_L"] + rig.expressions["browInnerUp_R"]
        if ("browInnerUp_L" in rig.expressions)
        else rig.expressions["browInnerUp"]
    )
    brows = grow()["brows"].root
    inner = brows[np.abs(rig.neutral[brows, 0]) < 2]
    assert raised[inner, 1].mean() > 0.3
    shut = rig.expressions["eyeBlink_L"] + rig.expressions["eyeBlink_R"]
    lashes = grow()["lashes"]
    upper = lashes.points[:, -1, 1] > lashes.points[:, 0, 1]
    assert shut[lashes.root[upper], 1].mean() < -0.4
    assert abs(shut[lashes.root[~upper], 1].mean()) < 0.3


def test_a_beard_leaves_the_lips_free(grow, rig, spread):
    assert "beard" not in grow(beard=0.0)
    some = grow(beard=1.0, seed=2)["beard"]
    assert len(some.root) > 1000
    part = rig.parts["M_Face"]
    side = spread.lips.shape[0]
    at = np.clip((part.uv * side).astype(int), 0, side - 1)
    lips = part.vertices[spread.lips[at[:, 1], at[:, 0]] > 0.9]
    assert np.isin(some.root, lips).mean() < 0.02


def test_grey_hair_is_lighter(grow):
    dark, mixed, white = (grow(grey=grey, hair=0)["scalp"].colour.mean() for grey in (0.0, 0.5, 1.0))
    assert dark < mixed < white


def test_a_hat_presses_the_hair_under_it(grow, rig, head):
    outside = measure_skull(rig, head)

    def above(hat):
        points = grow(hair_style=LONG, hat=hat)["scalp"].points.reshape(-1, 3)
        top = points[(points[:, 1] > 9.5)]
        return (
            np.linalg.norm(top - outside.centre, axis=1) - skull_radius(outside, top - outside.centre)
        ).max()

    assert above(Hat.BEANIE) < 0.4 < above(0)
    assert "scalp" not in grow(hat=Hat.HEADSCARF)


def sound(made, most):
    assert sum(len(thing.triangles) for thing in made) < most
    for thing in made:
        assert np.isfinite(thing.vertices).all()
        assert thing.triangles.max() < len(thing.vertices)
        lengths = np.linalg.norm(thing.normals, axis=1)
        assert ((lengths > 0.99) | (lengths == 0)).all() and (lengths > 0.99).mean() > 0.98
        assert 0 < thing.opacity <= 1 and 0 <= thing.metal <= 1 and min(thing.colour) >= 0
        assert thing.anchor >= -1


def test_everything_that_is_worn_is_a_sound_mesh(who, rig, head):
    plain = who.appearance._replace(glasses=0, hat=0)
    looks = [plain._replace(clothes=kind) for kind in Clothes]
    looks += [plain._replace(hat=kind) for kind in set(Hat) - {Hat.NONE}]
    looks += [plain._replace(glasses=kind) for kind in set(Glasses) - {Glasses.NONE}]
    for appearance in looks:
        sound(make_outfit(appearance, rig, head), 15_000)


def test_glasses_sit_before_the_eyes_and_only_sunglasses_hide_them(who, rig, head):
    marks = head[rig.landmarks]
    for kind in set(Glasses) - {Glasses.NONE}:
        *_, lenses = make_outfit(who.appearance._replace(glasses=kind, hat=0), rig, head)
        for ring in (marks[36:42], marks[42:48]):
            over = lenses.vertices[np.sign(lenses.vertices[:, 0]) == np.sign(ring[0, 0])]
            low, high = over.min(0), over.max(0)
            assert (low[:2] < ring.mean(0)[:2]).all() and (ring.mean(0)[:2] < high[:2]).all()
            assert over[:, 2].mean() > ring[:, 2].max()
        assert (lenses.opacity > 0.5) == (kind == Glasses.SUNGLASSES)


def test_what_is_worn_leaves_the_face_free(who, rig, head):
    marks = head[rig.landmarks]
    for hat in set(Hat) - {Hat.NONE}:
        vertices = np.concatenate(
            [thing.vertices for thing in make_outfit(who.appearance._replace(hat=hat, glasses=0), rig, head)]
        )
        x, y, z = vertices.T
        inside = (np.abs(x) < 4.5) & (y < marks[17:27, 1].min() - 0.5) & (y > marks[57, 1]) & (z > 6)
        assert not inside.any(), hat


def test_occluders_leave_most_of_the_face_to_be_seen(rig, head, who):
    marks = head[rig.landmarks][17:]
    for kind in set(Occluder) - {Occluder.NONE}:
        made = make_occluder(kind, rig, head, np.random.default_rng(kind), who.appearance)
        sound(made, 15_000)
        vertices = np.concatenate([thing.vertices for thing in made])
        hidden = [
            ((vertices[:, :2] - mark[:2]) ** 2).sum(1).min() < 0.3**2
            and vertices[((vertices[:, :2] - mark[:2]) ** 2).sum(1).argmin(), 2] > mark[2]
            for mark in marks
        ]
        assert np.mean(hidden) < 0.25, kind
    assert make_occluder(Occluder.NONE, rig, head, np.random.default_rng(0), who.appearance) == []
