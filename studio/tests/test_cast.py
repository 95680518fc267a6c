"""The cast: repeatable, balanced, and no action unit a proxy for another."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest

from maeface import facts
from maeface_studio.cast import actions, speech, subjects, views
from maeface_studio.cast.appearance import Glasses, Hat
from maeface_studio.cast.random_draws import keyed_generator
from maeface_studio.head import rig
from maeface_studio.head.rig import AU_SHAPES, AUS


def shots(count=40, images=30, seed=0):
    for number in range(count):
        yield from actions.plan_stills(seed, subjects.draw_subject(seed, number), images)


@pytest.fixture(scope="module")
def drawn():
    return list(shots())


@pytest.fixture(scope="module")
def levels(drawn):
    """As posed, but for the lips (25), which are measured on the head."""
    told = [speech.add_spoken_intensities(shot.action.intensities, shot.action.speech) for shot in drawn]
    return np.array([[int(found.get(au, 0.0) + 0.5) for au in AUS] for found in told])


@pytest.fixture(scope="module")
def everyone():
    return [subjects.draw_subject(0, number) for number in range(400)]


def test_a_subject_and_a_still_depend_on_nothing_but_their_keys():
    assert subjects.draw_subject(3, 17) == subjects.draw_subject(3, 17) != subjects.draw_subject(3, 18)
    assert subjects.draw_subject(4, 17) != subjects.draw_subject(3, 17)
    who = subjects.draw_subject(0, 5)
    few, many = list(actions.plan_stills(0, who, 3)), list(actions.plan_stills(0, who, 9))
    assert few == many[:3]
    assert len({shot.seed for shot in many}) == 9


def test_skin_tones_cover_the_range_evenly():
    for first in (0, 100):
        melanin = [subjects.draw_subject(0, first + number).appearance.melanin for number in range(40)]
        count, _ = np.histogram(melanin, bins=8, range=(0, 1))
        assert count.min() >= 4 and count.max() <= 6


def test_skin_sex_and_age_are_independent(everyone):
    values = np.array([(who.appearance.melanin, who.sex == "m", who.appearance.age) for who in everyone]).T
    assert np.abs(np.corrcoef(values)[np.triu_indices(3, 1)]).max() < 0.05
    assert all(18 <= who.years <= 80 for who in everyone)
    assert min(who.years for who in everyone) < 20 and max(who.years for who in everyone) > 78


def test_what_people_wear(everyone):
    shares = subjects.group_fractions(everyone)
    assert all(sum(kinds.values()) == pytest.approx(1) for kinds in shares.values())
    assert 0.70 < shares["glasses"]["none"] < 0.80 and 0.91 < shares["hat"]["none"] < 0.97
    assert len(shares["glasses"]) == len(Glasses) and len(shares["hat"]) <= len(Hat)
    assert shares["sex"]["f"] == pytest.approx(0.5, abs=0.02)
    assert min(shares["skin"].values()) > 0.14 and max(shares["skin"].values()) < 0.19


def test_hair_goes_with_age_and_sex(everyone):
    def mean(field, chosen):
        return np.mean([getattr(who.appearance, field) for who in everyone if chosen(who)])

    assert mean("grey", lambda who: who.years < 30) < 0.1 < 0.5 < mean("grey", lambda who: who.years > 65)
    assert mean("baldness", lambda who: who.sex == "m" and who.years > 60) > 0.4
    assert max(who.appearance.baldness for who in everyone if who.sex == "f") < 0.35
    assert all(who.appearance.beard == 0 for who in everyone if who.sex == "f")
    assert all(who.appearance.makeup == 0 for who in everyone if who.sex == "m")


def test_identities_differ():
    shapes = np.array([subjects.draw_subject(0, number).identity for number in range(40)])
    assert shapes.shape == (40, subjects.IDENTITY_MODES)
    assert 0.7 < shapes.std() < 0.95
    apart = np.linalg.norm(shapes[:, None] - shapes[None], axis=-1)[~np.eye(40, dtype=bool)]
    assert apart.min() > 4


def test_every_au_occurs_often_and_at_every_intensity(levels):
    for au, column in zip(AUS, levels.T, strict=True):
        if au != 25:
            assert 0.09 <= (column >= 2).mean() <= 0.5, au
            assert all((column == level).mean() > 0.012 for level in range(6)), au


def test_no_au_is_a_proxy_for_another(levels):
    together = np.corrcoef((levels >= 2).T.astype(float)) - np.eye(len(AUS))
    assert np.abs(together).max() < 0.35
    positive = {(1, 2), (6, 12), (4, 7), (9, 10), (15, 17)}  # what comes together in life does so here
    for pair in positive:
        one, other = (AUS.index(au) for au in pair)
        assert together[one, other] > 0.05, pair


def test_aus_that_undo_each_other_do_not_meet(drawn):
    for shot in drawn:
        found = shot.action.intensities
        assert set(found) <= {*AU_SHAPES, 25}
        assert all(0.5 <= level <= 5 for level in found.values())
        for group in actions.EXCLUSIVE:
            assert sum(au in found for au in group) <= 1
        closed = any(au in found for au in actions.CLOSED_LIPS)
        assert not (closed and (26 in found or shot.action.speech))


def test_some_faces_are_at_rest(levels):
    assert 0.04 < (levels.sum(1) == 0).mean() < 0.14


def test_a_jaw_that_drops_for_a_vowel_is_dropped():
    assert speech.add_spoken_intensities({12: 3.0}, {}) == {12: 3.0}
    assert speech.add_spoken_intensities({26: 2.0}, {"mouthFunnel": 0.3}) == {26: 2.0}
    wide = speech.add_spoken_intensities({12: 3.0}, {"jawOpen": 0.2})
    assert wide[12] == 3.0 and wide[26] == pytest.approx(rig.weight_to_intensity(26, 0.4))
    assert speech.add_spoken_intensities({26: 3.0}, {"jawOpen": 0.1})[26] > 3
    assert all(
        rig.weight_to_intensity(au, rig.intensity_to_weight(au, level)) == pytest.approx(level)
        for au in (18, 26)
        for level in (0.0, 0.7, 3.0, 5.0)
    )


def test_some_aus_are_of_one_side():
    who = subjects.draw_subject(0, 5)
    usual, sided = (list(actions.plan_stills(0, who, 200, fraction)) for fraction in (0.0, 0.3))
    counts = Counter()
    for before, after in zip(usual, sided, strict=True):
        assert (before.view, before.seed, before.action.speech) == (
            after.view,
            after.seed,
            after.action.speech,
        )
        assert before.action.intensities == after.action.intensities
        for au, level in before.action.intensities.items():
            sides = rig.side_intensities(au, level, after.action.asymmetry[au])
            if after.action.asymmetry[au] == before.action.asymmetry[au]:
                continue
            counts["left" if sides[0] > sides[1] else "right"] += 1
            assert au in rig.SIDED_AUS and max(sides) == pytest.approx(level) and min(sides) < 0.6 * level
    assert min(counts.values()) > 50


def test_speech_is_small_and_moves_on(drawn):
    rng = keyed_generator(0, 99)
    words = speech.draw_speech(rng, 48, 24)
    jaw = np.array([shapes.get("jawOpen", 0.0) for shapes in words])
    assert len(words) == 48 and jaw.std() > 0.02 and np.abs(np.diff(jaw)).max() < 0.15
    said = [shot.action.speech for shot in drawn if shot.action.speech]
    assert 0.08 < len(said) / len(drawn) < 0.18
    assert max(value for shapes in said for value in shapes.values()) < 0.4


def test_views_spread_over_their_range(drawn):
    seen = [shot.view for shot in drawn]
    for angle, limit in (("yaw", 45), ("pitch", 25), ("roll", 20)):
        found = np.abs([getattr(view, angle) for view in seen])
        assert found.max() <= limit
    yaw = np.abs([view.yaw for view in seen])
    assert np.mean(yaw < 15) > 0.6 and np.mean(yaw > 30) > 0.06
    assert {len(view.lamps) for view in seen} == {1, 2, 3}
    assert {view.backdrop.kind for view in seen} == set(views.BackdropKind)
    hidden = Counter(view.occluder for view in seen)
    assert 0.03 < 1 - hidden[0] / len(seen) < 0.09 and set(hidden) <= set(views.Occluder)
    assert 0.04 < np.mean([view.camera.grey is not None for view in seen]) < 0.13


def test_a_clip_rises_holds_and_falls_smoothly():
    shots = list(actions.plan_clip(0, subjects.draw_subject(0, 0), 0, 48))
    assert [shot.frame for shot in shots] == list(range(48))
    assert shots[24].time_s == pytest.approx(1.0)
    assert {(shot.clip, shot.subject.name) for shot in shots} == {("S001_T1", "S001")}
    moving = [au for au in shots[24].action.intensities if au != 43]
    assert moving
    for au in moving:
        curve = np.array([shot.action.intensities.get(au, 0.0) for shot in shots])
        if au != 5:
            assert curve[0] < 0.2 and curve[-1] < curve.max() / 2 and curve.max() >= 2.5
            assert np.abs(np.diff(curve)).max() < 1.0
    for before, after in itertools.pairwise(shots):
        assert abs(before.view.yaw - after.view.yaw) < 1.5
        assert before.view.lamps == after.view.lamps and before.view.backdrop == after.view.backdrop
        assert before.view.camera == after.view.camera


def test_clips_go_through_the_tasks():
    who = subjects.draw_subject(0, 3)
    names = [next(actions.plan_clip(0, who, number, 1)).clip for number in range(11)]
    assert names == [f"S004_T{task}" for task in range(1, 10)] + ["S004_T1_2", "S004_T2_2"]


def test_each_task_shows_what_it_is_for():
    for number, (task, patterns) in enumerate(actions.TASKS.items()):
        found = set()
        for who in range(6):
            for shot in actions.plan_clip(0, subjects.draw_subject(0, who), number, 24):
                found |= {au for au, level in shot.action.intensities.items() if level > 2}
        asked = {au for pattern in patterns for au in pattern}
        assert len(found & asked) >= 2, task


def test_a_long_clip_has_several_expressions_and_blinks():
    shots = list(actions.plan_clip(0, subjects.draw_subject(0, 1), 1, 24 * 15))
    total = np.array([sum(level for au, level in s.action.intensities.items() if au != 43) for s in shots])
    peaks = np.flatnonzero((total[1:] > total.max() / 4) & (total[:-1] <= total.max() / 4))
    assert len(peaks) >= 3
    shut = np.array([shot.action.intensities.get(43, 0.0) for shot in shots])
    blinks = np.flatnonzero((shut[1:] > 3) & (shut[:-1] <= 3))
    assert 3 <= len(blinks) <= 10
    assert len({shot.action.gaze for shot in shots}) >= 6


def test_the_published_folds_are_a_function_of_the_subjects_number():
    folds = facts.protocol("synthau", "threefold")
    assert list(folds) == ["1", "2", "3"]
    for number in range(120):
        name = subjects.draw_subject(0, number).name
        assert [fold for fold, names in folds.items() if name in names] == [str(number % 3 + 1)]
    assert {len(names) for names in folds.values()} == {40}
    tones = [
        [subjects.draw_subject(0, int(name[1:]) - 1).appearance.melanin for name in names]
        for names in folds.values()
    ]
    assert max(abs(np.mean(tone) - 0.5) for tone in tones) < 0.03


def test_synthau_is_what_the_studio_renders():
    dataset = facts.dataset("synthau")
    assert dataset.aus_occurrence == dataset.aus_intensity == rig.AUS
    assert dataset.threshold == rig.OCCURRENCE
    assert re.fullmatch(dataset.subjects, subjects.draw_subject(0, 3).name)
