"""Intensities of the left and the right side of the face in tables of predictions."""

import io
import json
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from drawn_tables import film
from maeface import predict
from maeface.analysis.smoothing import smooth
from maeface.analysis.summary import summarize
from maeface.cli import app
from maeface.data import manifest, shards
from maeface.data.ingest import workers
from maeface.data.loading.dataset import gather_manifests
from maeface.errors import ConfigError
from maeface.faces.media import Frame
from maeface.model import preprocessing, weights, zoo
from maeface.model.au import AUModel
from maeface.model.file_format.description import describe
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.vit import ViT
from maeface.prediction.columns import make_consistent
from maeface.prediction.crops import predict_crops
from maeface.prediction.live import LivePredictor
from maeface.prediction.predictor import Predictor
from maeface.prediction.values import to_values
from maeface.runtime import backends
from parts_cases import work_here

SIZE = 32
SIDES = ["AU12_L", "AU04_L", "AU12_R", "AU04_R"]
BACKENDS = ["torch", *(name for name in backends.ONNX_BACKENDS if backends.is_installed(name))]
RANDOM = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The units are done in this process: to start another one takes seconds."""
    monkeypatch.setattr(workers, "work", work_here)


def model_file(path, task="both", mirror=True, sides=(12, 4)):
    torch.manual_seed(0)
    model = AUModel(ViT((16, 2, 2), SIZE, 8), (4, 12, 25), task, sides)
    for layer in filter(None, (model.head, model.side_head)):
        torch.nn.init.normal_(layer.weight, std=0.3)
        torch.nn.init.constant_(layer.bias, 0.5)
    weights.save(path, model, describe(model, Preprocessing(image_size=SIZE, mirror=mirror)))
    return path


def test_left_of_the_mirror_image_is_right_of_the_face():
    head = np.array([[[0.0, 0.2, 0.4, 0.6, 0.8]], [[1.0, 0.2, 0.4, 0.6, 0.8]]], np.float32)
    found = to_values(head, "intensity", 2)  # one AU, then two of the left and two of the right
    np.testing.assert_allclose(found, [[2.5, 2, 3, 2, 3]], atol=1e-6)
    np.testing.assert_allclose(to_values(head[:1], "intensity", 2), [[0, 1, 2, 3, 4]], atol=1e-6)
    assert to_values(head[..., :1], "intensity").tolist() == [[2.5]]


@pytest.mark.parametrize("task", ["detection", "intensity", "both"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_back_end_gives_the_sides_of_the_model(tmp_path, backend, task):
    path = model_file(tmp_path / "a.safetensors", task)
    predictor = Predictor(path, "cpu", aligned=True, precision="fp32", backend=backend, sides=True)
    assert predictor.columns[-4:] == SIDES
    model, _ = weights.load_model(path)
    inputs = preprocessing.to_input(torch.from_numpy(RANDOM).permute(0, 3, 1, 2), SIZE)
    with torch.inference_mode():
        (left, right), (left_, right_) = (model(x).side_intensities() for x in (inputs, inputs.flip(3)))
    expected = torch.cat([left + right_, right + left_], dim=1).numpy() / 2
    values = predictor.predict_crops(RANDOM)
    np.testing.assert_allclose(values[:, -4:], expected, atol=1e-4)
    assert np.ptp(expected) > 0.5
    plain = Predictor(path, "cpu", aligned=True, precision="fp32", backend=backend)
    np.testing.assert_array_equal(plain.predict_crops(RANDOM), values[:, :-4])
    assert predictor.predict_crops(RANDOM[:0]).shape == (0, values.shape[1])
    columns = predictor.to_columns(values)
    assert columns.shape[1] == len(predictor.au_columns)
    np.testing.assert_array_equal(columns[:, -4:], values[:, -4:])
    np.testing.assert_array_equal(columns[:, :-4], plain.to_columns(values[:, :-4]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_mirrored_crops_have_their_sides_exchanged(tmp_path, backend):
    path = model_file(tmp_path / "a.safetensors")
    predictor = Predictor(path, "cpu", aligned=True, precision="fp32", backend=backend, sides=True)
    left, right = np.split(predictor.predict_crops(RANDOM)[:, -4:], 2, axis=1)
    mirrored = predictor.predict_crops(np.ascontiguousarray(RANDOM[:, :, ::-1]))
    np.testing.assert_allclose(mirrored[:, -4:], np.hstack([right, left]), atol=1e-4)
    assert np.abs(left - right).max() > 0.1


def test_the_rule_of_consistency_does_not_touch_the_sides():
    values = np.array([[0.9, 0.2, 4.5, 0.1]], np.float32)  # probability, intensity, left, right
    np.testing.assert_allclose(make_consistent(values, "both", [0.5]), [[1, 0.9, 1, 4.5, 0.1]])
    np.testing.assert_allclose(
        make_consistent(values[:, [0, 2, 3]], "detection", [0.5]), [[1, 0.9, 4.5, 0.1]]
    )
    np.testing.assert_allclose(make_consistent(values[:, 1:], "intensity", [0.5]), [[0, 0.2, 4.5, 0.1]])


def test_weights_without_sides_are_refused_and_those_with_them_are_named(tmp_path, monkeypatch):
    plain = model_file(tmp_path / "plain.safetensors", sides=())
    message = (
        "sides needs weights with intensities of each side of the face, and these have none; give weights: "
    )
    with pytest.raises(ConfigError, match=message + "a file of weights that were trained with model.sides"):
        monkeypatch.setattr(zoo, "folder", lambda: tmp_path)
        Predictor(plain, "cpu", aligned=True, sides=True)
    model_file(tmp_path / "sided.safetensors")
    with pytest.raises(ConfigError, match=message + "sided$"):
        Predictor(plain, "cpu", aligned=True, sides=True)


def test_a_table_of_what_weights_do_not_have_is_refused_before_any_work(tmp_path, crops):
    plain, out = model_file(tmp_path / "plain.safetensors", sides=()), tmp_path / "out" / "table.csv"
    for given, message in (
        ({"sides": True}, "sides needs weights with intensities of each side"),
        ({"au_thresholds": {"AU99": 0.5}}, "a threshold is given for AU99, which the weights do not predict"),
    ):
        with pytest.raises(ConfigError, match=message):
            predict.run(
                [crops], plain, out, aligned=True, make_predictor=Mock(side_effect=AssertionError), **given
            )
    assert not out.parent.exists() or not list(out.parent.iterdir())


@pytest.fixture
def crops(tmp_path):
    (tmp_path / "crops").mkdir()
    for k, pixels in enumerate(RANDOM[:3]):
        Image.fromarray(pixels).save(tmp_path / "crops" / f"{k}.png")
    return tmp_path / "crops"


def test_the_command_writes_sides_and_does_not_mix_them_with_tables_without(tmp_path, crops):
    path, out = model_file(tmp_path / "a.safetensors"), tmp_path / "t.csv"
    asked = ["predict", str(crops), "--aligned", "--weights", str(path), "--device", "cpu", "--out", str(out)]
    done = CliRunner().invoke(
        app, [*asked, "--sides", "--format", "jsonl", "--pictures", str(tmp_path / "p")]
    )
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out)
    assert list(table)[-4:] == SIDES and table[SIDES].notna().all(axis=None)
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [line["AU12_L"] for line in lines] == pytest.approx(table["AU12_L"].tolist())
    assert len(list((tmp_path / "p").iterdir())) == 3
    stored = predict_crops([crops], gather_manifests([crops]), path, "cpu", sides=True)
    np.testing.assert_allclose(stored[SIDES], table[SIDES], atol=0.02)
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert list(pd.read_csv(out)) == list(table)[:-4]  # the finished table is not taken for this one


def test_a_camera_has_sides_too(tmp_path):
    folder = zoo.folder().parent / "sample"
    rows = manifest.load(folder)
    data = shards.Shards(folder).read(rows.iloc[0])
    face = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((256, 256)))
    picture = np.full((400, 400, 3), 90, np.uint8)
    picture[70:326, 70:326] = face
    predictor = Predictor(model_file(tmp_path / "a.safetensors"), "cpu", sides=True)
    found = LivePredictor(predictor, "camera")(Frame(picture, 0, 0.0))
    assert all(0 <= found[name][0].as_py() <= 5 for name in SIDES)


# extras ------------------------------------------------------------------------------------------------


def sided_film(left, right):
    return film([0.0] * len(left)).assign(AU12_L=left, AU12_R=right)


def test_summaries_have_the_mean_of_each_side_and_their_difference():
    row = summarize(sided_film([4.0, 2.0, 3.0, 3.0], [1.0, 3.0, 0.0, 0.0])).iloc[0]
    assert (row["mean_L"], row["mean_R"], row["asymmetry"]) == (3, 1, 2)
    assert "asymmetry" not in summarize(film([0.0] * 4))


def test_sides_are_smoothed_like_intensities():
    values = [0.0, 0.0, 5.0, 0.0, 0.0]
    found = smooth(film([0.0] * 5).assign(AU12_L=values, AU12_R=0.0, AU12_i=values), 0.1)
    assert found["AU12_L"].tolist() == found["AU12_i"].tolist() and found["AU12_L"].max() < 5
    assert not found["AU12_R"].any()
