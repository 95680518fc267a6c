"""Scores of all folds together and their intervals, against the plain definition."""

import itertools

import numpy as np
import pandas as pd
import pytest

import experiment_parts as parts
from maeface import facts, metrics
from maeface.experiments.reporting import pooled, results, scores

FOLDS = {"P1": ["F001", "F002"], "P2": ["F003", "M001"]}


@pytest.fixture
def detection(tmp_path):
    for fold, subjects in FOLDS.items():
        parts.write(tmp_path, "a", fold, subjects, frames=300)
    return results.load(tmp_path)


def arrays(found, kind):
    """Labels, values, mask and subjects of the test faces of all folds."""
    each = [part.predictions(part.read_faces(), kind) for part in found]
    return (
        np.concatenate([one.labels for one in each]),
        np.concatenate([one.values for one in each]),
        np.concatenate([one.mask for one in each]),
        np.concatenate([one.subjects for one in each]),
    )


def plain(metric, labels, values, mask):
    score = {
        "f1": lambda: metrics.f1(labels, values >= 0.5, mask),
        "auc": lambda: metrics.auc(labels, values, mask),
        "icc": lambda: metrics.icc31(labels, values, mask),
    }[metric]()
    return np.append(score, metrics.mean(score))


@pytest.mark.parametrize(("metric", "tolerance"), [("f1", 1e-9), ("auc", 2e-3)])
def test_pooled_scores_and_their_interval_are_those_of_all_faces(detection, metric, tolerance):
    table = pooled.pool_folds(detection, resamples=200).query(f"metric == '{metric}'")
    assert list(table["au"]) == [*map(facts.au_name, detection[0].aus), "avg"]
    labels, values, mask, subjects = arrays(detection, "occurrence")
    expected = metrics.bootstrap(
        lambda rows: plain(metric, labels[rows], values[rows], mask[rows]), subjects, resamples=200
    )
    np.testing.assert_allclose(table["pooled"], expected.value, atol=tolerance)
    np.testing.assert_allclose(table["low"], expected.low, atol=tolerance)
    np.testing.assert_allclose(table["high"], expected.high, atol=tolerance)
    assert (table["low"] < table["high"]).all() and (table["subjects"] == 4).all()


@pytest.mark.parametrize(("metric", "tolerance"), [("f1", 1e-9), ("auc", 2e-3)])
def test_random_splits_range_over_all_splits_of_the_people(detection, metric, tolerance):
    """Four people make three pairs of folds, which come equally often: the ends are the extremes."""
    table = pooled.pool_folds(detection, resamples=400).query(f"metric == '{metric}'")
    labels, values, mask, subjects = arrays(detection, "occurrence")
    names = sorted(set(subjects))
    means = []
    for pair in itertools.combinations(names[1:], 1):
        first = np.isin(subjects, [names[0], *pair])
        folds = [plain(metric, labels[rows], values[rows], mask[rows])[:-1] for rows in (first, ~first)]
        of_split = np.mean(folds, axis=0)
        means.append(np.append(of_split, of_split.mean()))
    np.testing.assert_allclose(table["split_low"], np.min(means, axis=0), atol=tolerance)
    np.testing.assert_allclose(table["split_high"], np.max(means, axis=0), atol=tolerance)


def test_few_distinct_probabilities_give_the_exact_auc(tmp_path):
    chance = np.random.default_rng(1)
    table = parts.faces(chance, ["F001", "F002"], "detection", (6, 12), 1.0, 100).assign(part="test")
    for au in ("AU06", "AU12"):
        table[f"{au}_p"] = table[f"{au}_p"].round(1)
    parts.write(tmp_path, "a", "P1", ["F001", "F002"], table=table)
    found = results.load(tmp_path)
    row = pooled.pool_folds(found, resamples=20).query("metric == 'auc'")
    labels, values, mask, _ = arrays(found, "occurrence")
    np.testing.assert_allclose(row["pooled"], plain("auc", labels, values, mask), rtol=1e-12)
    assert row["split_low"].isna().all()  # a single fold has no other split


def test_intensities_have_both_intervals_and_one_person_has_none(tmp_path):
    for fold, subjects in FOLDS.items():
        parts.write(tmp_path / "i", "a", fold, subjects, task="intensity")
    found = results.load(tmp_path / "i")
    table = pooled.pool_folds(found, resamples=50).query("metric == 'icc'")
    labels, values, mask, _ = arrays(found, "intensity")
    np.testing.assert_allclose(table["pooled"], plain("icc", labels, values, mask), atol=1e-9)
    assert (table["split_low"] <= table["split_high"]).all() and (table["low"] < table["high"]).all()
    parts.write(tmp_path / "one", "a", "P1", ["F001"])
    alone = pooled.pool_folds(results.load(tmp_path / "one"), resamples=20)
    assert alone[["low", "high", "split_low", "split_high"]].isna().all(axis=None)
    summary = scores.summarize(scores.compute_scores(found), pooled.pool_folds(found, resamples=20))
    assert isinstance(summary, pd.DataFrame) and {"split_low", "split_high"} <= set(summary)
