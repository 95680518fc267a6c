"""What is read back from finished parts, and the numbers that are made of it."""

import json

import numpy as np
import pandas as pd
import pytest

import experiment_parts as parts
from maeface import metrics
from maeface.errors import DataError
from maeface.experiments.reporting import results, scores
from maeface.experiments.reporting.results import Predictions


def answers(labels, values):
    labels, values = (np.asarray(table, dtype=float) for table in (labels, values))
    who = np.array([f"S{k // 5}" for k in range(len(labels))], dtype=object)
    return Predictions(tuple(range(1, labels.shape[1] + 1)), labels, values, who)


def cell(table, **keys):
    """The one row with these keys."""
    rows = table[np.logical_and.reduce([table[name] == value for name, value in keys.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


def of_part(subjects, truth, says):
    """Faces of one AU12 column, all in the test part."""
    n = len(subjects)
    return pd.DataFrame(
        {
            "id": [str(k) for k in range(n)],
            "subject": subjects,
            "clip": "c",
            "source": "s",
            "frame": range(n),
            "part": "test",
            "AU12_o": np.array(truth, dtype=np.float32),
            "AU12_p": np.array(says, dtype=np.float32),
        }
    )


def test_parts_are_read_back_sorted_and_only_finished_ones(tmp_path):
    parts.write(tmp_path, "b", "P2", ["F001"], seed=1, note=["rendered", ""])
    parts.write(tmp_path, "b", "P1", ["F002"])
    (parts.write(tmp_path, "a", "P1", ["F003"]) / "part.json").unlink()
    found = results.load(tmp_path)
    assert [(part.row, part.fold, part.seed) for part in found] == [("b", "P1", 0), ("b", "P2", 1)]
    assert found[1].notes == ("rendered",)
    assert found[0].weights == "mae.safetensors (SHA-256 cdcdcdcdcdcd…)"
    assert found[0].subjects_test == 1


def test_a_part_across_datasets_is_of_neither_alone(tmp_path):
    parts.write(tmp_path, "a", "all", ["SN001"], dataset="disfa", trained_on="bp4d")
    assert results.load(tmp_path)[0].dataset == "bp4d to disfa"


@pytest.mark.parametrize("text", ["{", "[]", '{"row": "a"}'])
def test_a_broken_record_is_named(tmp_path, text):
    folder = parts.write(tmp_path, "a", "P1", ["F003"])
    (folder / "part.json").write_text(text)
    with pytest.raises(DataError, match=r"part\.json is not the record"):
        results.load(tmp_path)


def test_faces_that_lack_a_column_are_refused(tmp_path):
    folder = parts.write(tmp_path, "a", "P1", ["F003"])
    pd.read_parquet(folder / "faces.parquet").drop(columns="AU12_p").to_parquet(folder / "faces.parquet")
    with pytest.raises(DataError, match="lacks the columns AU12_p"):
        results.load(tmp_path)[0].read_faces()
    (folder / "faces.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read"):
        results.load(tmp_path)[0].read_faces()


def test_f1_over_thresholds_is_f1_at_each():
    chance = np.random.default_rng(0)
    labels = (chance.random((60, 3)) < 0.4).astype(float)
    labels[::7, 1] = np.nan
    labels[:, 2] = np.nan
    said = answers(labels, np.round(chance.random((60, 3)), 2))  # many exactly on a threshold
    curve = scores.compute_f1_curve(said, scores.THRESHOLDS)
    one_by_one = [metrics.f1(said.labels, said.values >= t, said.mask) for t in scores.THRESHOLDS]
    np.testing.assert_allclose(curve, one_by_one)


def test_the_best_threshold_is_the_best_and_of_equals_the_nearest_to_a_half():
    assert scores.find_best_threshold(answers([[1], [1], [0]], [[0.31], [0.35], [0.299]])) == pytest.approx(
        0.31
    )
    assert scores.find_best_threshold(answers([[1], [0]], [[0.9], [0.1]])) == pytest.approx(0.5)
    assert scores.find_best_threshold(answers([[np.nan]], [[0.9]])) == 0.5


def test_scores_are_those_of_metrics_and_know_their_threshold(tmp_path):
    parts.write(tmp_path, "a", "P1", ["F001", "F002"], threshold=0.4)
    part = results.load(tmp_path)[0]
    found = scores.compute_scores([part])
    faces = part.read_faces()
    test = faces[faces["part"] == "test"]
    line = cell(found, metric="f1", au="AU12")
    f1 = metrics.f1(test[["AU12_o"]], test[["AU12_p"]] >= 0.4)[0]
    assert line["value"] == pytest.approx(f1)
    assert (line["n"], line["positives"]) == (80, test["AU12_o"].sum())
    assert line["threshold"] == 0.4
    both = [cell(found, metric="f1", au=au)["value"] for au in ("AU06", "AU12", "avg")]
    assert both[2] == pytest.approx(np.mean(both[:2]))
    best, chosen = (
        cell(found, metric=name, au="avg") for name in ("f1_best_on_test", "f1_at_validation_threshold")
    )
    assert best["value"] >= max(both[2], chosen["value"])
    validation = part.predictions(faces, "occurrence", "validation")
    assert chosen["threshold"] == scores.find_best_threshold(validation)


def test_without_a_validation_part_its_threshold_has_no_score(tmp_path):
    parts.write(tmp_path, "a", "P1", ["F001"], validation=())
    found = scores.compute_scores(results.load(tmp_path))
    assert found[found["metric"] == "f1_at_validation_threshold"]["value"].isna().all()
    assert cell(found, metric="f1", au="avg")["value"] > 0


def test_mean_is_over_folds_and_spread_over_folds_and_over_seeds():
    values = {("P1", 0): 0.2, ("P2", 0): 0.4, ("P1", 1): 0.4, ("P2", 1): 0.8, ("P1", 2): 0.9}
    keys = {"dataset": "bp4d", "task": "detection", "row": "a", "metric": "f1", "au": "AU12"}
    found = pd.DataFrame(
        [
            keys | {"fold": fold, "seed": seed, "value": value, "n": 10, "positives": 4}
            for (fold, seed), value in values.items()
        ]
    )
    pooled = pd.DataFrame([], columns=[*keys, "pooled", "low", "high", "subjects"])
    line = scores.summarize(found, pooled.astype(dict.fromkeys(keys, str))).iloc[0]
    assert line["mean"] == pytest.approx((0.5 + 0.6) / 2)  # of each fold over its seeds, then of the folds
    assert line["sd_folds"] == pytest.approx(np.std([0.5, 0.6], ddof=1))
    assert line["sd_seeds"] == pytest.approx(np.std([0.3, 0.6], ddof=1))  # seed 2 lacks a fold
    assert (line["folds"], line["seeds"], line["n"], line["prevalence"]) == (2, 3, 20, 0.4)


def test_the_pooled_value_is_not_the_mean_of_the_folds(tmp_path):
    easy = of_part(["A"] * 4, [1, 1, 1, 1], [0.9] * 4)
    hard = of_part(["B"] * 4, [1, 0, 0, 0], [0.1, 0.9, 0.9, 0.1])
    parts.write(tmp_path, "a", "P1", ["A"], aus=[12], table=easy)
    parts.write(tmp_path, "a", "P2", ["B"], aus=[12], table=hard)
    found = results.load(tmp_path)
    table = scores.summarize(scores.compute_scores(found), scores.pool_folds(found, resamples=200))
    line = cell(table, metric="f1", au="AU12")
    assert line["mean"] == pytest.approx((1 + 0) / 2)
    assert line["pooled"] == pytest.approx(8 / (6 + 5))
    assert (line["low"], line["high"]) == (0, 1)  # either person alone may be drawn
    assert line["subjects"] == 2


def test_pooled_scores_are_those_of_metrics(tmp_path):
    for fold, subjects in (("P1", ["F001", "F002"]), ("P2", ["F003"])):
        parts.write(tmp_path, "a", fold, subjects, task="intensity")
    found = results.load(tmp_path)
    pooled = scores.pool_folds(found, resamples=50)
    tests = [part.read_faces().query("part == 'test'") for part in found]
    both = pd.concat(tests)
    whole = metrics.intensity(both[["AU12_i"]], both[["AU12_e"]])
    for metric in ("icc", "mse", "mae"):
        line = cell(pooled, metric=metric, au="AU12")
        assert line["pooled"] == pytest.approx(whole[metric][0], rel=1e-6)
        assert line["low"] <= line["pooled"] <= line["high"]


def test_the_interval_draws_people_not_faces(tmp_path):
    """Copies of the same faces say nothing new: the interval stays, which it would not by face."""
    for name, copies in (("few", 1), ("many", 40)):
        chance = np.random.default_rng(3)
        base = of_part(np.repeat(list("ABCDEF"), 10), chance.random(60) < 0.5, chance.random(60))
        parts.write(tmp_path / name, "a", "P1", list("ABCDEF"), aus=[12], table=pd.concat([base] * copies))
    few, many = (scores.pool_folds(results.load(tmp_path / name), 300) for name in ("few", "many"))
    np.testing.assert_allclose(few[["pooled", "low", "high"]], many[["pooled", "low", "high"]])
    assert (few["high"] - few["low"]).min() > 0.05


def test_one_person_has_no_interval(tmp_path):
    parts.write(tmp_path, "a", "P1", ["F001"])
    line = cell(scores.pool_folds(results.load(tmp_path), 50), metric="f1", au="avg")
    assert np.isnan(line["low"]) and np.isnan(line["high"]) and not np.isnan(line["pooled"])


def test_unknown_labels_count_nowhere(tmp_path):
    table = of_part(["A", "A", "B", "B"], [1, np.nan, 0, 1], [0.9, 0.9, 0.2, 0.8])
    folder = parts.write(tmp_path, "a", "P1", ["A", "B"], aus=[12], table=table)
    line = cell(scores.compute_scores(results.load(tmp_path)), metric="f1", au="AU12")
    assert (line["n"], line["positives"], line["value"]) == (3, 2, 1.0)
    table["AU12_o"] = np.float32(np.nan)
    table.to_parquet(folder / "faces.parquet")
    found = results.load(tmp_path)
    assert np.isnan(cell(scores.compute_scores(found), metric="f1", au="avg")["value"])
    assert cell(scores.pool_folds(found, 20), metric="f1", au="avg")[["pooled", "low", "high"]].isna().all()


def test_classes_are_counted_once_however_many_seeds_and_rows(tmp_path):
    for row in ("a", "b"):
        for seed in (0, 1):
            table = of_part(["A"] * 4, [1, 0, 0, np.nan], [0.5] * 4)
            parts.write(tmp_path, row, "P1", ["A"], seed=seed, aus=[12], table=table)
    line = scores.compute_prevalence(results.load(tmp_path)).iloc[0]
    assert (line["n"], line["prevalence"]) == (3, pytest.approx(1 / 3))


def test_levels_of_intensity_are_counted(tmp_path):
    parts.write(tmp_path, "a", "P1", ["F001", "F002"], task="intensity", aus=[12])
    found = results.load(tmp_path)
    line = scores.compute_prevalence(found).iloc[0]
    levels = [line[f"level{k}"] for k in range(6)]
    assert sum(levels) == pytest.approx(1)
    labels = found[0].read_faces().query("part == 'test'")["AU12_i"]
    assert levels[2] == pytest.approx((labels == 2).mean())
    assert line["prevalence"] == pytest.approx(1 - levels[0])


def test_records_are_json_that_anyone_can_write(tmp_path):
    folder = parts.write(tmp_path, "a", "P1", ["F001"])
    record = json.loads((folder / "part.json").read_text())
    record |= {"subjects_test": 7, "epoch_best": None, "seconds": None, "weights": None, "protocol": None}
    (folder / "part.json").write_text(json.dumps(record))
    part = results.load(tmp_path)[0]
    assert (part.subjects_test, part.epoch_best, part.weights, part.protocol) == (7, None, "", "")
