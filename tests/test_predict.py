import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maeface import evaluate, predict
from maeface.errors import ConfigError, DataError, ResourceError, WeightsError
from maeface.faces import finder, media
from maeface.faces.detector import Detector
from maeface.model import preprocessing, weights, zoo
from maeface.model.au import AUModel
from maeface.model.file_format.metadata import Preprocessing, describe
from maeface.model.mae import MAE
from maeface.model.vit import ViT
from maeface.report.lines import lines

AUS = (4, 12)
SIZE = 32


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """Writes a small random AU model of a task."""

    def make(task="both", thresholds=()):
        torch.manual_seed(0)
        model = AUModel(ViT((16, 2, 2), SIZE, 8), AUS, task).eval()
        torch.nn.init.normal_(model.head.weight, std=0.5)
        path = tmp_path_factory.mktemp("weights") / f"{task}.safetensors"
        weights.save(path, model, describe(model, Preprocessing(image_size=SIZE), thresholds=thresholds))
        return path

    return make


@pytest.fixture
def crops(tmp_path):
    """A folder of ready crops of several sizes, one of them not an image."""
    folder = tmp_path / "crops"
    (folder / "s01").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k, side in enumerate((48, 64, 64, 100)):
        image = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        image.save(folder / "s01" / f"{k}.png")
    (folder / "bad.jpg").write_bytes(b"<html>")
    return folder


def test_numbers_are_the_models_own(model_file, crops):
    path = model_file()
    rows = predict.Predictor(path, device="cpu", aligned=True, precision="fp32")(crops)
    model, _ = weights.load_au(path)
    for k in range(4):
        crop = torch.from_numpy(media.read_image(crops / "s01" / f"{k}.png")).permute(2, 0, 1)[None]
        with torch.inference_mode():
            output = model(preprocessing.to_input(crop, SIZE))
        row = rows[rows["input"] == f"s01/{k}.png"].iloc[0]
        np.testing.assert_allclose(
            row[["AU04_p", "AU12_p"]].astype(float), output.probabilities()[0], atol=1e-5
        )
        np.testing.assert_allclose(
            row[["AU04_i", "AU12_i"]].astype(float), output.intensities()[0], atol=1e-5
        )
    assert len(rows) == 4
    assert rows["score"].isna().all()


def test_a_model_may_ask_for_the_mirror_image(model_file, crops, tmp_path):
    plain = model_file()
    weights.repack(plain, tmp_path / "both.safetensors", "fp32", mirror=True)
    expected = []
    model, _ = weights.load_au(plain)
    for k in range(4):
        crop = torch.from_numpy(media.read_image(crops / "s01" / f"{k}.png")).permute(2, 0, 1)[None]
        with torch.inference_mode():
            inputs = preprocessing.to_input(crop, SIZE)
            views = [model(inputs), model(inputs.flip(3))]
        means = [
            (one + other) / 2
            for one, other in (
                (views[0].probabilities(), views[1].probabilities()),
                (views[0].intensities(), views[1].intensities()),
            )
        ]
        expected.append(torch.cat(means, dim=1)[0].numpy())
    rows = predict.Predictor(tmp_path / "both.safetensors", device="cpu", aligned=True, precision="fp32")(
        crops
    )
    np.testing.assert_allclose(rows.iloc[:, 9:].to_numpy(float), expected, atol=1e-5)
    alone = predict.Predictor(plain, device="cpu", aligned=True, precision="fp32")(crops)
    assert np.abs(alone.iloc[:, 9:].to_numpy(float) - expected).max() > 1e-3


def test_without_a_file_a_line_a_face_is_printed(model_file, crops, capsys):
    path = model_file(thresholds=(0.0, 1.0))
    summary = predict.run([crops], path, None, aligned=True, device="cpu")
    rows = predict.Predictor(path, device="cpu", aligned=True)(crops)
    printed = capsys.readouterr().out.splitlines()
    first = rows.iloc[0]
    assert printed[0] == (
        f"s01/0.png, face 0: AU04 Brow lowerer {first['AU04_p']:.2f} ({first['AU04_i']:.1f})"
    )
    assert len(printed) == len(rows) == summary.faces == 4
    assert str(summary).startswith("predicted: inputs: 5")


def test_lines_for_people():
    rows = pd.DataFrame(
        {
            "input": "c.mp4",
            "frame": [0, 6, 7],
            "time_s": [0, 0.25, 0.3],
            "face": [0, 1, -1],
            "AU12_i": [0.4, 3, np.nan],
        }
    )
    assert list(lines(rows, {})) == [
        "c.mp4, face 0: none of 1 action units",
        "c.mp4, frame 6 (0.25 s), face 1: AU12 Lip corner puller 3.0",
        "c.mp4, frame 7 (0.30 s): no face",
    ]


def test_weights_by_name_and_by_default(model_file, crops, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "folder", lambda: tmp_path / "zoo")
    with pytest.raises(WeightsError, match="no weights were named, and maeface-nano does not come"):
        predict.run([crops], None, tmp_path / "p.csv", aligned=True, device="cpu")
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "maeface-nano.safetensors").write_bytes(model_file().read_bytes())
    for name in (None, "maeface-nano"):
        rows = predict.Predictor(name, device="cpu", aligned=True)(crops)
        pd.testing.assert_frame_equal(
            rows, predict.Predictor(model_file(), device="cpu", aligned=True)(crops)
        )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_table_on_disk_is_the_one_in_python(model_file, crops, tmp_path, suffix, capsys):
    path = model_file()
    out = tmp_path / "made" / f"predictions.{suffix}"
    summary = predict.run([crops], path, out, aligned=True, device="cpu")
    read = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    expected = predict.Predictor(path, device="cpu", aligned=True)(crops)
    assert list(read) == list(expected)
    pd.testing.assert_frame_equal(read, expected, check_dtype=suffix == "parquet", rtol=1e-6)
    assert (summary.inputs, summary.images, summary.faces, summary.without_face) == (5, 4, 4, 0)
    assert summary.skipped == {"not_an_image": 1}
    assert "skipped bad.jpg: not_an_image" in capsys.readouterr().err
    assert "not read: 1 not_an_image" in str(summary)


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("detection", ["AU04_p", "AU12_p"]),
        ("intensity", ["AU04_i", "AU12_i"]),
        ("both", ["AU04_p", "AU12_p", "AU04_i", "AU12_i"]),
    ],
)
def test_columns_and_pictures_of_each_task(model_file, crops, tmp_path, task, columns):
    out, pictures = tmp_path / "p.csv", tmp_path / "pictures"
    path = model_file(task, thresholds=() if task == "intensity" else (0.3, 0.6))
    summary = predict.run([crops], path, out, pictures=pictures, aligned=True, device="cpu")
    read = pd.read_csv(out)
    assert list(read)[9:] == columns
    assert read[columns].notna().all(axis=None)
    drawn = sorted(str(file.relative_to(pictures)) for file in pictures.rglob("*.png"))
    assert drawn == [f"s01/{k}.png.png" for k in range(4)]
    assert summary.pictures == 4
    with Image.open(pictures / drawn[0]) as picture:
        assert picture.width > 200


def test_arrays_and_features(model_file):
    predictor = predict.Predictor(model_file(), device="cpu", aligned=True, precision="fp32")
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    rows = predictor(images)
    assert list(rows["input"]) == ["0", "1", "2"]
    one = predictor(images[1])
    np.testing.assert_allclose(one.iloc[0, 9:].astype(float), rows.iloc[1, 9:].astype(float), atol=1e-5)
    where, features = predictor.embed(list(images))
    assert features.shape == (3, 16)
    assert list(where) == predictor.columns[:9]
    values = torch.from_numpy(features) @ predictor.model.head.weight.T + predictor.model.head.bias
    np.testing.assert_allclose(rows["AU12_p"], torch.sigmoid(values[:, 1]).detach(), atol=1e-5)
    with pytest.raises(DataError, match="image 0 is not an RGB uint8"):
        predictor(images.astype(float))
    with pytest.raises(ConfigError, match="paths or arrays"):
        predictor([images[0], "photo.jpg"])


def test_predictions_meet_labels_by_name(model_file, crops, tmp_path):
    out, labels = tmp_path / "p.parquet", tmp_path / "labels.csv"
    predict.run([crops], model_file(), out, aligned=True, device="cpu")
    labels.write_text("source,AU12_o,AU12_i\n" + "".join(f"s01/{k}.png,{k % 2},{k}\n" for k in range(4)))
    scores = evaluate.run(labels, out)
    assert scores.matched == 4
    assert list(scores.table.index) == [12]
    assert scores.left_out == ("AU04_o", "AU04_i")


def test_one_bad_file_of_two_does_not_stop_but_all_bad_do(model_file, crops, tmp_path):
    out = tmp_path / "p.csv"
    predict.run([crops / "bad.jpg", crops / "s01" / "0.png"], model_file(), out, aligned=True, device="cpu")
    assert len(pd.read_csv(out)) == 1
    before = out.read_bytes()
    with pytest.raises(DataError, match="none of 1 inputs could be read: 1 not_an_image"):
        predict.run([crops / "bad.jpg"], model_file(), out, aligned=True, device="cpu")
    assert out.read_bytes() == before
    assert [file.name for file in tmp_path.glob(".*")] == []
    with pytest.raises(DataError, match="none of 1 inputs"):
        predict.Predictor(model_file(), device="cpu", aligned=True)(crops / "bad.jpg")


def test_usage_is_checked_before_any_work(model_file, crops, tmp_path):
    with pytest.raises(ConfigError, match=r"name a \.csv or a \.parquet"):
        predict.run([crops], model_file(), tmp_path / "p.xlsx", aligned=True, device="cpu")
    with pytest.raises(ConfigError, match="no such file or folder"):
        predict.run([crops / "absent.jpg"], model_file(), tmp_path / "p.csv", aligned=True, device="cpu")
    with pytest.raises(DataError, match="no file in"):
        (tmp_path / "empty").mkdir()
        predict.run([tmp_path / "empty"], model_file(), tmp_path / "p.csv", aligned=True, device="cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ResourceError, match="ask for cpu"):
            predict.run([crops], model_file(), tmp_path / "p.csv", aligned=True, device="cuda")
    assert not (tmp_path / "p.csv").exists()


def test_wrong_weights(model_file, crops, tmp_path):
    good = model_file().read_bytes()
    truncated, pickled, other = (tmp_path / name for name in ("t.safetensors", "p.pth", "mae.safetensors"))
    truncated.write_bytes(good[: len(good) // 2])
    pickled.write_bytes(pickle.dumps({"model": {}}))
    mae = MAE(ViT((16, 2, 2), SIZE, 8), 16, 1, 2)
    weights.save(other, mae, describe(mae, Preprocessing(image_size=SIZE)))
    for path in (truncated, pickled, other, tmp_path / "absent.safetensors"):
        with pytest.raises(WeightsError) as caught:
            predict.run([crops], path, tmp_path / "p.csv", aligned=True, device="cpu")
        assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="masked autoencoder"):
        predict.Predictor(other, aligned=True)


@pytest.fixture
def detector_weights(shared, monkeypatch):
    monkeypatch.setenv("MAEFACE_WEIGHTS", str(shared / "weights"))


def test_group_photo(model_file, shared, detector_weights, tmp_path):
    photo = shared / "photos" / "group" / "congress_montage_12.jpg"
    out, pictures = tmp_path / "p.csv", tmp_path / "pictures"
    predict.run([photo], model_file(), out, pictures=pictures, device="cpu")
    rows = pd.read_csv(out)
    assert list(rows["face"]) == list(range(12))
    assert (rows["score"].diff().dropna() <= 0).all()
    assert rows.notna().all(axis=None)
    with Image.open(pictures / "congress_montage_12.jpg.png") as picture:
        assert picture.height > 600


def test_video_whose_face_leaves(model_file, shared, detector_weights):
    predictor = predict.Predictor(model_file(), device="cpu", faces="largest")
    rows = predictor(shared / "videos" / "pyfeat_face_noface.mov", every=24)
    assert set(rows["face"]) == {-1, 0}
    assert (rows["frame"] % 24 == 0).all()
    assert rows["time_s"].is_monotonic_increasing
    none = rows["face"] == -1
    assert rows.loc[none, predictor.columns[4:]].isna().all(axis=None)
    assert rows.loc[~none, predictor.columns[4:]].notna().all(axis=None)


def test_crops_are_those_of_prepare(model_file, shared, detector_weights, monkeypatch):
    """The pixels that reach the model are those that prepare stores, before JPEG."""
    photo = shared / "photos" / "congress" / "A000055.jpg"
    reached = []
    monkeypatch.setattr(
        predict.Predictor, "_values", lambda self, crops, call: reached.extend(crops) or np.zeros((1, 4))
    )
    predict.Predictor(model_file(), device="cpu", faces="largest")(photo)
    from maeface.data.ingest.units import Settings
    from maeface.prepare import _make_find

    find = _make_find(Settings(device="cpu"), shared / "weights" / "retinaface_mobilenet0.25_Final.pth")
    ((stored,),) = find([media.read_image(photo)])
    np.testing.assert_array_equal(reached[0], stored.pixels)
    ((again,),) = finder.find_crops(Detector(), [media.read_image(photo)])
    np.testing.assert_array_equal(reached[0], again.pixels)
