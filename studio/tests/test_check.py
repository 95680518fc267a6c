"""Checks of AUs and thresholds, on made numbers."""

import numpy as np
import pytest

from maeface.errors import ConfigError, WeightsError
from maeface.model import weights
from maeface.model.au import AUModel
from maeface.model.vit import ViT
from maeface.model.weights import Preprocessing
from maeface_studio.weights import calibration, check
from maeface_studio.weights.calibration import Faces

RNG = np.random.default_rng(0)


def faces(on="real", n=40, positives=20, subjects=None, shift=0.4, aus=1) -> Faces:
    """N faces, the first ones with every AU; scores of faces with it are higher."""
    present = np.repeat((np.arange(n) < positives).astype(float)[:, None], aus, axis=1)
    scores = np.clip(RNG.uniform(0, 0.6, (n, aus)) + shift * present, 0, 1)
    names = np.array([f"p{k}" for k in range(n)] if subjects is None else subjects)
    return Faces(on, f"made {on}", names, scores, present, present == 0)


def test_the_threshold_is_the_lowest_with_few_false_alarms():
    scores = np.arange(100) / 100  # 0.00 ... 0.99
    threshold = calibration.choose_threshold([scores], 0.03)
    assert threshold == 0.97 and (scores >= threshold).mean() <= 0.03 < (scores >= threshold - 0.01).mean()


def test_every_group_must_have_few_false_alarms():
    low, high = np.linspace(0, 0.3, 200), np.linspace(0, 0.8, 200)
    both = calibration.choose_threshold([low, high], 0.03)
    assert both == calibration.choose_threshold([high], 0.03) > calibration.choose_threshold([low], 0.03)


def test_few_of_a_small_group_means_none():
    assert calibration.choose_threshold([np.array([0.1] * 11 + [0.64])], 0.03) == 0.65


def test_no_threshold_without_faces_or_where_none_is_high_enough():
    assert calibration.choose_threshold([], 0.03) is None
    assert calibration.choose_threshold([np.full(calibration.LEAST_OF_EACH - 1, 0.2)], 0.03) is None
    assert calibration.choose_threshold([np.full(50, 0.995)], 0.03) is None


def test_halves_have_no_subject_in_common_and_all_faces():
    subjects = np.repeat([f"s{k}" for k in range(10)], 4)
    first, second = calibration.split_by_subject(faces(subjects=subjects))
    assert not set(first.subjects) & set(second.subjects)
    assert len(first.subjects) == len(second.subjects) == 20
    again, _ = calibration.split_by_subject(faces(subjects=subjects[::-1]))
    assert set(again.subjects) == set(first.subjects)


def test_real_people_are_checked_first_and_renders_where_they_are_too_few():
    real, rendered = faces(n=300, positives=140), faces("renders", n=200, positives=60)
    one = calibration.check([real, rendered], 0, resamples=200)
    assert (one.on, one.data, one.n, one.present) == ("real", "made real", 300, 140)
    assert one.low < one.auc < one.high
    few = faces(n=300, positives=calibration.LEAST_OF_EACH - 1)
    assert calibration.check([few, rendered], 0, resamples=200).on == "renders"
    assert calibration.check([few], 0, resamples=200) is None


def test_faces_without_a_label_or_a_prediction_are_left_out():
    group = faces(n=100, positives=50)
    group.scores[:5], group.present[90:] = np.nan, np.nan
    one = calibration.check([group], 0, resamples=200)
    assert (one.n, one.present) == (85, 45)


def test_the_interval_is_over_people():
    """Ten copies of each face of one person are no more evidence than one."""
    single = faces(n=40, positives=20)
    copies = Faces(
        "real",
        "copies",
        np.repeat(single.subjects, 10),
        np.repeat(single.scores, 10, axis=0),
        np.repeat(single.present, 10, axis=0),
        np.repeat(single.absent, 10, axis=0),
    )
    alone, many = (calibration.check([group], 0, resamples=500) for group in (single, copies))
    assert many.auc == alone.auc and many.n == 400
    assert abs((many.high - many.low) - (alone.high - alone.low)) < 0.03


def test_thresholds_are_chosen_on_one_half_and_reported_of_the_other():
    groups = [faces(n=200, positives=100), faces("renders", n=200, positives=100)]
    first, second = zip(*map(calibration.split_by_subject, groups), strict=True)
    result = check._examine(12, 0, groups, first, second, 0.03)
    assert result.chosen and result.check.on == "real" and result.check.n == 200
    assert result.negatives == tuple(int(group.absent.sum()) for group in first)
    for group, alarms, found in zip(second, result.false_alarms, result.found, strict=True):
        called = group.scores[:, 0] >= result.threshold
        assert alarms == called[group.absent[:, 0]].mean()
        assert found == called[~group.absent[:, 0]].mean()
    assert "| 12 | real | 200 | 100 |" in check.render([result])


def test_an_au_that_no_face_shows_keeps_the_default():
    empty = Faces(
        "real", "none", np.array(["a"]), np.full((1, 1), 0.2), np.full((1, 1), np.nan), np.zeros((1, 1), bool)
    )
    result = check._examine(7, 0, [empty], [empty], [empty], 0.03)
    assert (result.threshold, result.chosen, result.check) == (check.DEFAULT, False, None)
    assert "| 0.50 (default) | 0 | – |" in check.render([result])


def test_results_become_metadata():
    model = AUModel(ViT((12, 2, 3), 16, 4), (7, 12), "both")
    metadata = weights.describe(model, Preprocessing(image_size=16), thresholds=(0.5, 0.5))
    one = calibration.check([faces(n=100, positives=50)], 0, resamples=100)
    results = [
        check.Result(7, None, 0.5, False, (0,), (0.0,), (0.0,), (0.0,)),
        check.Result(12, one, 0.7, True, (9,), (0.0,), (0.0,), (0.0,)),
    ]
    changed = check._updated(metadata, results, "embedded")
    assert (changed.thresholds, changed.checks) == ((0.5, 0.7), {12: one})
    assert changed.model_copy(update={"thresholds": (0.5, 0.5), "checks": {}, "provenance": {}}) == metadata


def test_wrong_inputs_are_said_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="false_alarms is 0"):
        check.run("maeface-nano", tmp_path, tmp_path, false_alarms=0.0)
    model = AUModel(ViT((12, 2, 3), 16, 4), (7, 12), "intensity")
    path = tmp_path / "intensity.safetensors"
    weights.save(path, model, weights.describe(model, Preprocessing(image_size=16)))
    with pytest.raises(WeightsError, match="gives no probabilities"):
        check.run(path, tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="lacks 300 portraits"):
        check.run("maeface-nano", tmp_path, tmp_path)


def test_the_portraits_to_choose_on_and_to_report_on_are_other_people():
    assert not set(check._annotated().index) & set(check._held_out().index)
    assert (len(check._annotated()), len(check._held_out())) == (579, 300)
