"""Checks of AUs, calibration and thresholds, on made numbers."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from maeface.errors import ConfigError, WeightsError
from maeface.model import weights
from maeface.model.au import AUModel
from maeface.model.file_format.metadata import Calibration
from maeface.model.vit import ViT
from maeface.model.weights import Preprocessing
from maeface.prediction.predictor import Predictor
from maeface_studio.__main__ import app
from maeface_studio.weights import calibration, check, crosswise, diagrams, known_faces
from maeface_studio.weights.calibration import Faces

RNG = np.random.default_rng(0)


def logit(p):
    return np.log(p / (1 - p))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


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


def test_in_a_small_group_the_share_is_that_of_a_normal_distribution():
    logits = np.random.default_rng(3).normal(-1, 1.5, 24)
    group = sigmoid(logits)
    threshold = calibration.choose_threshold([group], 0.03)
    quantile = sigmoid(logits.mean() + 1.880794 * logits.std(ddof=1))  # 97 % of a normal distribution
    assert threshold - calibration.STEP < quantile <= threshold
    # A single face does not decide: with its score at the highest, the threshold is below it.
    outlier = np.append(group, 0.98)
    assert threshold < calibration.choose_threshold([outlier], 0.03) < 0.98
    assert calibration.estimate_false_alarms(np.full(20, 0.3), 0.31) == 0
    assert calibration.estimate_false_alarms(np.full(20, 0.3), 0.29) == 1


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


def miscalibrated(n=20000, scale=0.5, offset=-1.0):
    """Probabilities whose logits must be multiplied by ``scale`` and moved by ``offset`` to come true."""
    logits = RNG.normal(0.5, 2.5, n)
    return sigmoid(logits), (RNG.random(n) < sigmoid(scale * logits + offset)).astype(float)


def test_probabilities_that_are_too_sure_become_right():
    scores, present = miscalibrated()
    scale, offset = calibration.fit_logit(scores, present)
    assert (scale, offset) == pytest.approx((0.5, -1.0), abs=0.05)
    others, truth = miscalibrated()
    after = sigmoid(scale * logit(others) + offset)
    assert calibration.reliability(others, truth).error > 0.2
    assert calibration.reliability(after, truth).error < 0.015


def test_the_fit_is_the_optimum_of_another_library():
    scores, present = miscalibrated(200)
    n, count = len(present), present.sum()
    targets = np.where(present > 0, (count + 1) / (count + 2), 1 / (n - count + 2))
    both = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(logit(scores), 2)[:, None],
        np.repeat([1, 0], n),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    assert calibration.fit_logit(scores, present) == pytest.approx(
        (both.coef_[0, 0], both.intercept_[0]), 1e-4
    )


def test_faces_told_apart_without_an_error_do_not_become_certain():
    """Platt's targets: ten faces with the AU get 11 / 12, ten without it 1 / 12."""
    scores, present = np.repeat([0.9, 0.1], 10), np.repeat([1.0, 0.0], 10)
    assert calibration.fit_logit(scores, present) == pytest.approx((np.log(11) / np.log(9), 0), abs=1e-6)
    certain = np.repeat([1.0, 0.0], 10)
    assert np.isfinite(calibration.fit_logit(certain, present)).all()


@pytest.mark.parametrize("scores", [np.linspace(0.9, 0.1, 40), np.full(40, 0.3)])
def test_an_au_that_is_not_recognised_keeps_its_order_and_gets_the_share_of_faces(scores):
    present = (np.arange(40) >= 30).astype(float)  # the lower scores
    scale, offset = calibration.fit_logit(scores, present)
    assert scale >= calibration.LEAST_SCALE and (scale == calibration.LEAST_SCALE or len(set(scores)) == 1)
    targets = (10 * 11 / 12 + 30 * 1 / 32) / 40
    assert sigmoid(scale * logit(scores) + offset).mean() == pytest.approx(targets, abs=1e-6)


def test_the_calibration_error_of_known_cases():
    def error(scores, present):
        return calibration.reliability(np.array(scores), np.array(present, float)).error

    assert error([0.25] * 4, [1, 0, 0, 0]) == 0
    assert error([0.9] * 10, [1, 0] * 5) == pytest.approx(0.4)
    # within a bin, faces make up for each other; bins do not
    assert error([0.31, 0.39], [1, 0]) == pytest.approx(0.15)
    assert error([0.0, 1.0], [1, 0]) == 1
    # weighted by faces: 30 are off by 0.2, 10 by 0.1
    assert error([0.2] * 30 + [0.9] * 10, [0] * 30 + [1] * 10) == pytest.approx(0.175)
    assert np.isnan(error([], []))
    bins = calibration.reliability(np.array([0.1, 0.1999, 1.0]), np.array([1.0, 0.0, 1.0]))
    # two faces of three show it: each counts half
    assert bins.count.tolist() == [0, 1.5, 0, 0, 0, 0, 0, 0, 0, 0.5]
    assert bins.fraction[1] == pytest.approx(1 / 3)


def test_a_majority_with_the_au_counts_as_much_as_the_faces_without_it():
    present = np.array([1.0] * 90 + [0.0] * 10)
    weights = calibration.balance(present)
    assert weights[:90].sum() == pytest.approx(10)
    assert (weights[90:] == 1).all()
    assert (calibration.balance(1 - present) == 1).all(), "a minority keeps its weight"
    # Faces that all have the same score: with equal weights they are as likely with the AU as without.
    scale, offset = calibration.fit_logit(np.full(100, 0.9), present)
    assert 1 / (1 + np.exp(-(scale * np.log(9) + offset))) == pytest.approx(0.5, abs=0.05)
    bins = calibration.reliability(np.full(100, 0.5), present)
    assert bins.error == pytest.approx(0)
    assert bins.count.sum() == pytest.approx(20)


def test_an_au_is_calibrated_on_real_people_or_else_on_renders():
    real, rendered = faces(n=100, positives=60), faces("renders", n=80, positives=30)
    one = calibration.calibrate([real, rendered], 0)
    assert (one.on, one.data, one.n, one.present) == ("real", "made real", 100, 60)
    few = faces(n=100, positives=100 - calibration.LEAST_OF_EACH + 1)
    assert calibration.calibrate([few, rendered], 0).on == "renders"
    assert calibration.calibrate([few], 0) is None
    expected = calibration.fit_logit(rendered.scores[:, 0], rendered.present[:, 0])
    fitted = calibration.calibrate([rendered], 0)
    assert (fitted.scale, fitted.offset) == tuple(round(value, 4) for value in expected)


def examine(real, renders, au=12):
    nobody = real.select(np.zeros(len(real.subjects), bool))
    groups = (real, renders, nobody)
    folds = crosswise.make_folds(groups, [au])
    return check._examine(au, 0, groups, groups, folds, None, 0.03), folds


def test_the_threshold_is_chosen_on_all_and_reported_crosswise():
    groups = faces(n=400, positives=200), faces("renders", n=400, positives=200)
    result, folds = examine(*groups)
    assert result.chosen and result.check.on == "real" and result.check.n == 400
    assert result.negatives == (200, 200, 0)
    assert result.threshold == calibration.choose_threshold(
        [group.scores[group.absent[:, 0], 0] for group in groups], 0.03
    )
    for place, whole in enumerate(groups):
        called, truth = [], []
        for half, (chosen, reported) in enumerate(([0, 1], [1, 0])):
            parts = [calibration.split_by_subject(group) for group in groups]
            fitted = {0: calibration.calibrate([part[chosen] for part in parts], 0)}
            others = [calibration.apply(part[chosen], fitted) for part in parts]
            mine = calibration.apply(parts[place][reported], fitted)
            np.testing.assert_array_equal(folds[half].to_report[place].scores, mine.scores)
            threshold = calibration.choose_threshold([o.scores[o.absent[:, 0], 0] for o in others], 0.03)
            called.append(mine.scores[:, 0] >= threshold)
            truth.append(mine.present[:, 0] > 0)
        called, truth = np.concatenate(called), np.concatenate(truth)
        assert len(truth) == len(whole.subjects)
        assert result.false_alarms[place] == called[~truth].mean()
        assert result.found[place] == called[truth].mean()
    assert "| 12 | real | 400 | 200 |" in check.render([result])


def test_a_face_has_no_part_in_its_own_calibration_and_threshold():
    """Faces without the AU that score highest raise the threshold of the other half, not of their own."""
    real = faces(n=400, positives=200)
    first, second = calibration.split_by_subject(real)
    first.scores[first.absent[:, 0]] = 0.9
    result, folds = examine(calibration.join([first, second]), faces("renders", n=400, positives=200))
    assert result.false_alarms[0] > 0.4
    assert [len(fold.to_report[0].subjects) for fold in folds] == [len(second.subjects), len(first.subjects)]


def test_an_au_that_no_face_shows_keeps_the_default():
    empty = Faces(
        "real",
        "none",
        np.array(["a", "b"]),
        np.full((2, 1), 0.2),
        np.full((2, 1), np.nan),
        np.zeros((2, 1), bool),
    )
    result, _ = examine(empty, empty, au=7)
    assert (result.threshold, result.chosen, result.check) == (crosswise.DEFAULT, False, None)
    assert "| – | – | – | – | 0.50 (default) | 0, 0, 0 | –, – |" in check.render([result])


AUS = (7, 12, 25)


@dataclass
class Made:
    """Faces that a small model tells apart, with labels for which its probabilities are too sure."""

    crops: np.ndarray
    real: np.ndarray
    labels: np.ndarray

    def predict(self, path):
        predictor = Predictor(path, "cpu", aligned=True, precision="fp32", backend="torch")
        scores = predictor.predict_crops(self.crops)[:, : len(AUS)].astype(float)
        names = np.array([f"p{k}" for k in range(len(scores))])
        every = Faces("real", "made real", names, scores, self.labels, self.labels == 0)
        real, renders = every.select(self.real), every.select(~self.real)
        nobody = every.select(np.zeros(len(names), bool))
        return real, replace(renders, on="renders", data="made renders"), nobody


def write_model(path, mirror=False, dtype="bf16") -> None:
    torch.manual_seed(0)
    model = AUModel(ViT((12, 2, 3), 16, 4), AUS, "both")
    with torch.no_grad():
        model.head.weight.normal_(0, 1)
        for block in model.encoder.blocks:  # so that colours of a crop matter
            block.mlp.fc2.weight.normal_(0, 0.3)
    metadata = weights.describe(model, Preprocessing(image_size=16, mirror=mirror))
    weights.save(path, model, metadata, dtype)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A weights file, and ``known_faces.find`` that returns made faces: AU7 has none on real people."""
    generator = np.random.default_rng(1)
    path, count = tmp_path / "made.safetensors", 1200
    write_model(path)
    colours = generator.integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    crops = colours.repeat(8, axis=1).repeat(8, axis=2)
    known = Made(crops, np.arange(count) < 600, np.zeros((count, len(AUS))))
    scores = Predictor(path, "cpu", aligned=True, precision="fp32").predict_crops(crops)[:, : len(AUS)]
    known.labels = (generator.random(scores.shape) < sigmoid(0.4 * logit(scores) - 0.8)).astype(float)
    known.labels[known.real, 0] = np.nan
    monkeypatch.setattr(check.known_faces, "find", lambda *given: known)
    return path, known


def run(path, tmp_path, **options):
    return check.run(path, tmp_path, tmp_path, **options)


def test_calibration_becomes_part_of_the_weights(made, tmp_path):
    path, known = made
    before, bytes_before = known.predict(path), path.read_bytes()
    results = run(path, tmp_path)
    assert path.read_bytes() == bytes_before  # without write
    assert repr(run(path, tmp_path, write=True)) == repr(results)  # NaN is not equal to itself
    after, metadata = known.predict(path), weights.read_metadata(path)
    for column, result in enumerate(results):
        fitted = result.calibration
        assert metadata.calibration[result.au] == fitted
        assert fitted.on == ("renders" if result.au == 7 else "real")
        assert fitted.scale == pytest.approx(0.4, abs=0.15)
        for group, then in zip(before[:2], after[:2], strict=True):
            expected = sigmoid(fitted.scale * logit(group.scores[:, column]) + fitted.offset)
            np.testing.assert_allclose(then.scores[:, column], expected, atol=1e-4)
        place = fitted.on == "renders"
        assert result.errors[1][place] < 0.08 < 0.16 < result.errors[0][place]
        without = [group.scores[group.absent[:, column], column] for group in after[:2]]
        assert result.threshold == calibration.choose_threshold(without, 0.03) == metadata.thresholds[column]
        assert (
            result.check.auc
            == calibration.check(before[:2], column).auc
            == calibration.check(after[:2], column).auc
        )


def test_checking_again_changes_nothing(made, tmp_path):
    path, _ = made
    results = run(path, tmp_path, write=True)
    calibrated = path.read_bytes()
    for _ in range(2):
        assert [one.calibration for one in run(path, tmp_path, write=True)] == [
            r.calibration for r in results
        ]
        assert path.read_bytes() == calibrated


def test_other_faces_calibrate_anew_from_the_output_of_the_training(made, tmp_path):
    path, known = made
    untouched = tmp_path / "untouched.safetensors"
    untouched.write_bytes(path.read_bytes())
    run(path, tmp_path, write=True)
    known.labels = known.labels * (np.random.default_rng(2).random(known.labels.shape) < 0.5)
    again, direct = run(path, tmp_path, write=True), run(untouched, tmp_path, write=True)
    for one, other in zip(again, direct, strict=True):
        assert one.calibration.scale == pytest.approx(other.calibration.scale, abs=2e-3)
        assert one.errors[0] == pytest.approx(other.errors[0], abs=1e-3, nan_ok=True)
    for one, other in zip(known.predict(path), known.predict(untouched), strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=2e-3)


def calibrated(scale, offset) -> Calibration:
    return Calibration(scale=scale, offset=offset, on="real", data="made", n=40, present=20)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_only_the_output_for_the_occurrence_of_an_au_changes(tmp_path, dtype):
    path = tmp_path / "au.safetensors"
    write_model(path, dtype=dtype)
    images = torch.randn(8, 3, 16, 16)
    model, metadata = weights.load_model(path)
    before = model(images)
    assert check.calibrated_head(path, {}) == {}
    wanted = {12: calibrated(0.6, -1.5)}
    head = check.calibrated_head(path, wanted)
    weights.write_metadata(path, metadata.model_copy(update={"calibration": wanted}), head)
    after = weights.load_model(path)[0](images)
    assert torch.equal(after.occurrence[:, [0, 2]], before.occurrence[:, [0, 2]])
    assert torch.equal(after.intensity, before.intensity)
    torch.testing.assert_close(after.occurrence[:, 1], 0.6 * before.occurrence[:, 1] - 1.5)
    assert check.calibrated_head(path, wanted) == {}
    plain = check.calibrated_head(path, {})
    torch.testing.assert_close(plain["head.weight"], model.head.weight.detach())
    torch.testing.assert_close(plain["head.bias"], model.head.bias.detach())


def test_the_diagram_has_a_panel_for_each_au_on_real_faces_and_one_for_renders(made, tmp_path):
    path, _ = made
    run(path, tmp_path, diagram=tmp_path / "d.png")
    with Image.open(tmp_path / "d.png") as picture:  # AU12, AU25, renders
        width, height = picture.size
    assert width == pytest.approx(3 * diagrams.SIDE * diagrams.DPI, abs=2) and height < width
    titles = [
        title for title, *_ in diagrams._panels(AUS, [12], *[[faces(aus=3), faces("renders", aus=3)]] * 2)
    ]
    assert titles == ["AU12, 20 of 40 faces", "3 AUs, 40 renders"]


def test_the_mean_errors_leave_out_aus_without_faces():
    nan = float("nan")
    one = check.Result(
        7, None, None, ((0.2, 0.3), (0.1, 0.3)), 0.5, False, (0,), (nan, nan), (nan, nan), (nan, nan)
    )
    other = replace(one, au=12, errors=((nan, 0.1), (nan, 0.2)))
    text = check.render([one, other])
    assert text.endswith("real faces 0.200 → 0.100 (1 AUs); renders 0.200 → 0.250 (2 AUs)")
    assert "| 0.200 → 0.100 | 0.300 → 0.300 |" in text and "| – | 0.100 → 0.200 |" in text


def test_results_become_metadata():
    model = AUModel(ViT((12, 2, 3), 16, 4), (7, 12), "both")
    metadata = weights.describe(model, Preprocessing(image_size=16), thresholds=(0.5, 0.5))
    one = calibration.check([faces(n=100, positives=50)], 0, resamples=100)
    rest = ((0.0, 0.0), (0.0, 0.0))
    results = [
        check.Result(7, None, None, rest, 0.5, False, (0,), (0.0,), (0.0,), (0.0,)),
        check.Result(12, one, calibrated(0.5, 1.0), rest, 0.7, True, (9,), (0.0,), (0.0,), (0.0,)),
    ]
    changed = check._updated(metadata, results, "embedded")
    assert (changed.thresholds, changed.checks) == ((0.5, 0.7), {12: one})
    assert changed.calibration == {12: calibrated(0.5, 1.0)}
    same = {"thresholds": (0.5, 0.5), "checks": {}, "calibration": {}, "provenance": {}}
    assert changed.model_copy(update=same) == metadata


def test_wrong_inputs_are_said_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="false_alarms is 0"):
        check.run("maeface-nano", tmp_path, tmp_path, false_alarms=0.0)
    model = AUModel(ViT((12, 2, 3), 16, 4), (7, 12), "intensity")
    path = tmp_path / "intensity.safetensors"
    weights.save(path, model, weights.describe(model, Preprocessing(image_size=16)))
    with pytest.raises(WeightsError, match="gives no probabilities"):
        check.run(path, tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="lacks 879 portraits"):
        check.run("maeface-nano", tmp_path, tmp_path)


def test_a_diagram_that_cannot_be_written_is_said_before_any_work(tmp_path):
    given = ["check", "maeface-nano", "--photos", str(tmp_path), "--renders", str(tmp_path)]
    result = CliRunner().invoke(app, [*given, "--diagram", str(tmp_path / "d.jpg")])
    assert isinstance(result.exception, ConfigError)
    assert "cannot write diagrams as d.jpg; name a .png file" in str(result.exception)


def test_the_portraits_to_choose_on_and_to_report_on_are_other_people():
    annotated, held_out = known_faces.annotated_labels(), known_faces.held_out_labels()
    assert not set(annotated.index) & set(held_out.index)
    assert (len(annotated), len(held_out)) == (579, 300)
