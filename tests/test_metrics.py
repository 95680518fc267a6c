import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn

from maeface import metrics

REFERENCE = Path(__file__).parent / "reference" / "metrics.json"
SCORES = (metrics.f1, metrics.precision, metrics.recall, metrics.accuracy, metrics.auc)
SCORES += (metrics.icc31, metrics.mse, metrics.mae)


@pytest.fixture(scope="module")
def reference():
    return json.loads(REFERENCE.read_text())


def random_tables(seed=0, n=200, a=5):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, a)) < rng.random(a)).astype(np.float32)
    scores = np.round(0.4 * labels + 0.6 * rng.random((n, a)), 2)  # rounded: with ties
    return labels, scores, rng.random((n, a)) < 0.8


def test_reference_numbers(reference):
    present = np.array(reference["probability"]) >= reference["threshold"]
    got = metrics.f1(reference["occurrence_true"], present)
    np.testing.assert_allclose(got, reference["f1"], rtol=0, atol=1e-9)
    truth, predicted = reference["intensity_true"], reference["intensity_pred"]
    for score, name in ((metrics.icc31, "icc_3_1"), (metrics.mse, "mse"), (metrics.mae, "mae")):
        np.testing.assert_allclose(score(truth, predicted), reference[name], rtol=0, atol=1e-9)


def test_shrout_and_fleiss_1979_table_2():
    judges = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    assert metrics.icc(judges) == pytest.approx(0.7148, abs=5e-5)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(seed):
    labels, scores, mask = random_tables(seed)
    ours = metrics.detection(labels, scores, 0.5, mask)
    for a in range(labels.shape[1]):
        truth, values = labels[mask[:, a], a], scores[mask[:, a], a]
        present = values >= 0.5
        assert ours["f1"][a] == pytest.approx(sklearn.f1_score(truth, present), abs=1e-12)
        assert ours["precision"][a] == pytest.approx(sklearn.precision_score(truth, present), abs=1e-12)
        assert ours["recall"][a] == pytest.approx(sklearn.recall_score(truth, present), abs=1e-12)
        assert ours["accuracy"][a] == pytest.approx(sklearn.accuracy_score(truth, present), abs=1e-12)
        assert ours["auc"][a] == pytest.approx(sklearn.roc_auc_score(truth, values), abs=1e-12)
        assert ours["n"][a] == len(truth)
        assert ours["positives"][a] == truth.sum()


def test_intensity_agrees_with_scikit_learn():
    _, scores, mask = random_tables()
    truth = np.round(scores * 5)
    predicted = truth + np.random.default_rng(1).normal(size=truth.shape)
    ours = metrics.intensity(truth, predicted, mask)
    for a in range(truth.shape[1]):
        pair = truth[mask[:, a], a], predicted[mask[:, a], a]
        assert ours["mse"][a] == pytest.approx(sklearn.mean_squared_error(*pair), abs=1e-12)
        assert ours["mae"][a] == pytest.approx(sklearn.mean_absolute_error(*pair), abs=1e-12)
        assert ours["icc"][a] == pytest.approx(metrics.icc(np.stack(pair, 1)), abs=1e-12)


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.__name__)
def test_an_unknown_label_counts_nowhere(score):
    labels, scores, mask = random_tables()
    predicted = scores >= 0.5 if score in SCORES[:4] else scores
    with_rubbish = np.where(mask, labels, np.nan)
    rubbish = np.where(mask, predicted, np.nan)
    np.testing.assert_array_equal(score(with_rubbish, rubbish, mask), score(labels, predicted, mask))
    by_hand = [score(labels[mask[:, a], a][:, None], predicted[mask[:, a], a][:, None])[0] for a in range(5)]
    np.testing.assert_allclose(score(labels, predicted, mask), by_hand, rtol=1e-12)


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.__name__)
def test_no_known_label_is_nan_and_no_warning(score):
    mask = np.array([[True, False], [True, False]])
    got = score([[0, np.nan], [1, np.nan]], [[0, 1], [1, 1]], mask)
    assert np.isfinite(got[0])
    assert np.isnan(got[1])


def test_no_positive_is_zero_as_in_scikit_learn():
    scores = metrics.detection(np.zeros((4, 1)), np.full((4, 1), 0.1), 0.5)
    assert scores["f1"] == scores["precision"] == scores["recall"] == 0
    assert scores["accuracy"] == 1
    assert scores["positives"] == 0
    assert np.isnan(scores["auc"][0])


def test_constant_predictions():
    labels = np.array([[0.1], [2.3], [5.0]])
    constant = np.full((3, 1), 0.7)
    assert metrics.icc31(labels, constant)[0] == pytest.approx(0, abs=1e-12)
    assert np.isnan(metrics.icc31(constant, constant)[0])
    assert np.isnan(metrics.icc31(labels[:1], labels[:1])[0])
    assert metrics.auc([[0], [1], [1]], constant)[0] == 0.5


def test_icc_of_perfect_shifted_and_opposite():
    labels = np.arange(6.0)[:, None]
    assert metrics.icc31(labels, labels)[0] == 1
    assert metrics.icc31(labels, labels + 2)[0] == pytest.approx(1)  # consistency, not agreement
    assert metrics.icc31(labels, -labels)[0] == pytest.approx(-1)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"labels \(2,\)"):
        metrics.f1([0, 1], [0, 1])
    with pytest.raises(ValueError, match="two raters"):
        metrics.icc([[1.0], [2.0]])


def test_mean_leaves_nan_out():
    assert metrics.mean([0.5, np.nan, 1.0]) == 0.75
    assert np.isnan(metrics.mean([np.nan]))


@pytest.mark.parametrize("seed", range(3))
def test_kappa_agrees_with_scikit_learn(seed):
    first, scores, mask = random_tables(seed)
    second = scores >= 0.5
    got = metrics.kappa(first, second, mask)
    for a, m in enumerate(mask.T):
        assert got[a] == pytest.approx(sklearn.cohen_kappa_score(first[m, a], second[m, a]), abs=1e-12)


def test_kappa_of_one_answer_is_undefined():
    assert np.isnan(metrics.kappa(np.zeros((3, 1)), np.zeros((3, 1)))[0])
    assert np.isnan(metrics.kappa(np.zeros((3, 1)), np.ones((3, 1)), np.zeros((3, 1), bool))[0])


def test_bootstrap_of_a_mean_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        sample = generator.normal(3, 2, size=60)
        found = metrics.bootstrap(lambda rows: sample[rows].mean(), 60, resamples=300, seed=trial)  # noqa: B023
        covered += bool(found.low <= 3 <= found.high)
    assert 0.89 <= covered / 200 <= 0.98  # of a percentile interval at n = 60: slightly under 0.95


def test_bootstrap_has_the_width_of_theory_and_the_value_of_the_sample():
    sample = np.random.default_rng(1).normal(size=(400, 2)) * [1, 5]
    found = metrics.bootstrap(lambda rows: sample[rows].mean(0), 400)
    np.testing.assert_array_equal(found.value, sample.mean(0))
    np.testing.assert_allclose(found.high - found.low, 2 * 1.96 * sample.std(0) / 20, rtol=0.1)
    narrower = metrics.bootstrap(lambda rows: sample[rows].mean(0), 400, confidence=0.5)
    assert (narrower.high - narrower.low < 0.5 * (found.high - found.low)).all()


def test_bootstrap_is_one_of_its_seed():
    sample = np.random.default_rng(2).random(50)

    def interval(seed):
        found = metrics.bootstrap(lambda rows: np.median(sample[rows]), 50, resamples=200, seed=seed)
        return float(found.low), float(found.high)

    assert interval(0) == interval(0)
    assert interval(0) != interval(1)


def test_bootstrap_keeps_clusters_whole():
    names = np.array(["b", "a", "b", "c", "a", "a"])
    seen = []

    def statistic(rows):
        seen.append(np.bincount(rows, minlength=6))
        return float(len(rows))

    metrics.bootstrap(statistic, names, resamples=50)
    for counts in seen:
        assert all(len(set(counts[names == name])) == 1 for name in "abc")
        assert sum(counts[names == name][0] for name in "abc") == 3
    assert len({tuple(counts) for counts in seen}) > 5


def test_bootstrap_over_people_is_wider_where_their_faces_are_alike():
    generator = np.random.default_rng(3)
    people = np.repeat(np.arange(20), 30)
    sample = generator.normal(size=20)[people] + 0.1 * generator.normal(size=600)
    by_face = metrics.bootstrap(lambda rows: sample[rows].mean(), 600, resamples=500)
    by_person = metrics.bootstrap(lambda rows: sample[rows].mean(), people, resamples=500)
    assert by_person.high - by_person.low > 3 * (by_face.high - by_face.low)


def test_bootstrap_leaves_undefined_resamples_out_and_counts_them():
    labels = np.zeros((12, 2))
    labels[0, 0] = 1  # of AU 0 one positive: absent from a third of the resamples; of AU 1 none at all
    scores = np.random.default_rng(4).random((12, 2))
    found = metrics.bootstrap(lambda rows: metrics.auc(labels[rows], scores[rows]), 12, resamples=500)
    assert found.defined[0] == pytest.approx(1 - (11 / 12) ** 12, abs=0.07)
    assert found.low[0] <= found.value[0] <= found.high[0]
    assert found.defined[1] == 0
    assert np.isnan([found.value[1], found.low[1], found.high[1]]).all()


def test_bootstrap_refuses_nonsense():
    with pytest.raises(ValueError, match="no row"):
        metrics.bootstrap(lambda rows: 0.0, [])
    with pytest.raises(ValueError, match=r"confidence.*got 95"):
        metrics.bootstrap(lambda rows: 0.0, 3, confidence=95)


tables = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, (n, 2), elements=st.integers(0, 5).map(float)),
        hnp.arrays(np.float64, (n, 2), elements=st.floats(0, 5, width=16)),
        hnp.arrays(np.bool_, (n, 2)),
    )
)


@settings(max_examples=60, deadline=None)
@given(tables, st.randoms(use_true_random=False))
def test_bounds_and_order_of_rows(drawn, random):
    labels, scores, mask = drawn
    occurrence = labels >= 2
    order = list(range(len(labels)))
    random.shuffle(order)
    found = metrics.detection(occurrence, scores, 2.0, mask)
    again = metrics.detection(occurrence[order], scores[order], 2.0, mask[order])
    for name, values in found.items():
        np.testing.assert_allclose(values, again[name], rtol=1e-9, err_msg=name)
        if name not in ("n", "positives"):
            held = values[~np.isnan(values)]
            assert ((held >= 0) & (held <= 1)).all()
    measured = metrics.intensity(labels, scores, mask)
    held = measured["icc"][~np.isnan(measured["icc"])]
    assert (np.abs(held) <= 1 + 1e-9).all()
    assert not (measured["mae"] ** 2 > measured["mse"] + 1e-9).any()  # Jensen


@settings(max_examples=60, deadline=None)
@given(tables)
def test_auc_knows_only_the_order(drawn):
    labels, scores, mask = drawn
    plain = metrics.auc(labels >= 2, scores, mask)
    np.testing.assert_allclose(metrics.auc(labels >= 2, np.exp2(scores), mask), plain, rtol=1e-12)
    np.testing.assert_allclose(metrics.auc(labels >= 2, -scores, mask), 1 - plain, atol=1e-12)
