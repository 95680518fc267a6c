"""Scores of held-out faces in a training, chosen thresholds, and weights of rare action units."""

import numpy as np
import pytest

from maeface import metrics
from maeface.train.scores import choose_thresholds, positive_weights


def faces(count=200, seed=0):
    random = np.random.default_rng(seed)
    labels = (random.random((count, 3)) < [0.5, 0.15, 0.02]).astype(np.float32)
    probabilities = np.clip(0.1 + 0.25 * labels + 0.1 * random.standard_normal((count, 3)), 0.001, 0.999)
    return labels, probabilities, np.ones(labels.shape, dtype=bool)


def test_each_threshold_has_the_best_f1_and_au_without_enough_faces_keeps_a_half():
    labels, probabilities, mask = faces()
    found = choose_thresholds(labels, probabilities, mask)
    assert found[2] == 0.5  # four faces have it
    for au in (0, 1):
        f1 = [
            metrics.f1(labels[:, [au]], probabilities[:, [au]] >= k / 100, mask[:, [au]])[0]
            for k in range(1, 100)
        ]
        own = metrics.f1(labels[:, [au]], probabilities[:, [au]] >= found[au], mask[:, [au]])[0]
        assert own == max(f1) and own > 0.6 and 0.15 < found[au] < 0.35
        assert metrics.f1(labels[:, [au]], probabilities[:, [au]] >= 0.5, mask[:, [au]])[0] < 0.3


def test_of_equal_thresholds_the_nearest_to_a_half_is_chosen():
    labels = np.repeat([[0.0], [1.0]], 20, axis=0)
    mask = np.ones(labels.shape, dtype=bool)
    assert choose_thresholds(labels, np.where(labels > 0, 0.9, 0.1), mask) == (0.5,)
    assert choose_thresholds(labels, np.where(labels > 0, 0.405, 0.1), mask) == (0.4,)
    assert choose_thresholds(labels, np.where(labels > 0, 0.9, 0.7), mask) == (0.71,)


def test_missing_labels_choose_nothing():
    labels, probabilities, mask = faces()
    labels[:100, 0], mask[:100, 0] = np.nan, False
    with np.errstate(all="raise"):
        found = choose_thresholds(labels, probabilities, mask)
    assert found[0] == choose_thresholds(labels[100:], probabilities[100:], mask[100:])[0]
    mask[:, 1] = False
    assert choose_thresholds(labels, probabilities, mask)[1] == 0.5


def test_rare_action_units_weigh_as_much_as_the_faces_without_them_up_to_a_limit():
    labels = np.zeros((100, 5), dtype=np.float32)
    labels[:25, 0], labels[:80, 1], labels[:2, 2], labels[:, 3] = 1, 1, 1, np.nan
    mask = np.ones(labels.shape, dtype=bool)
    mask[:, 3] = False
    mask[:50, 0] = False  # and with them all that have it
    labels[50:60, 0] = 1
    assert positive_weights(labels, mask, 10.0) == pytest.approx([4.0, 0.25, 10.0, 1.0, 10.0])
    assert positive_weights(labels, mask, 2.0) == pytest.approx([2.0, 0.5, 2.0, 1.0, 2.0])
