import gc
import io
import json
import pickle
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import av
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maeface import evaluate, facts, predict
from maeface.data.ingest import workers
from maeface.data.ingest.images import load_images
from maeface.errors import ConfigError, DataError, ResourceError, WeightsError
from maeface.faces import finder, media, video
from maeface.faces.detector import Detector
from maeface.faces.quality import describe_low_quality
from maeface.model import preprocessing, weights, zoo
from maeface.model.au import AUModel
from maeface.model.file_format.description import describe
from maeface.model.file_format.metadata import Check, Preprocessing, Unlike
from maeface.model.mae import MAE
from maeface.model.vit import ViT
from maeface.prediction.columns import BOX, FACE, face_columns, make_consistent
from maeface.prediction.extras import Extras
from maeface.prediction.predictor import Predictor
from maeface.prediction.table_writer import WHERE
from maeface.report import figures
from maeface.report.lines import describe_faces
from parts_cases import QuickPredictor, photo, work_here

AUS = (4, 12)
COLUMNS = ["AU04", "AU12", "AU04_p", "AU12_p", "AU04_i", "AU12_i"]
SIZE = 32


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The units are done in this process: to start another one takes seconds."""
    monkeypatch.setattr(workers, "work", work_here)


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
    rows = Predictor(path, device="cpu", aligned=True, precision="fp32")(crops)
    model, _ = weights.load_model(path)
    for k in range(4):
        crop = torch.from_numpy(media.read_image(crops / "s01" / f"{k}.png")).permute(2, 0, 1)[None]
        with torch.inference_mode():
            output = model(preprocessing.to_input(crop, SIZE))
        row = rows[rows["input"] == f"s01/{k}.png"].iloc[0]
        said = np.concatenate([output.probabilities().numpy(), output.intensities().numpy()], axis=1)
        expected = make_consistent(said, "both", (0.5, 0.5))[0]
        np.testing.assert_allclose(row[COLUMNS].astype(float), expected, atol=1e-5)
    assert list(rows["status"]) == ["not_an_image", *["ok"] * 4]
    assert rows["score"].isna().all()


def test_a_model_may_ask_for_the_mirror_image(model_file, crops, tmp_path):
    plain = model_file()
    weights.repack(plain, tmp_path / "both.safetensors", "fp32", mirror=True)
    expected = []
    model, _ = weights.load_model(plain)
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
    rows = Predictor(tmp_path / "both.safetensors", device="cpu", aligned=True, precision="fp32")(crops)
    expected = make_consistent(np.stack(expected), "both", (0.5, 0.5))
    np.testing.assert_allclose(rows.iloc[1:][COLUMNS].to_numpy(float), expected, atol=1e-5)
    alone = Predictor(plain, device="cpu", aligned=True, precision="fp32")(crops)
    assert np.abs(alone.iloc[1:][COLUMNS].to_numpy(float) - expected).max() > 1e-3


def test_without_a_file_a_line_a_face_is_printed(model_file, crops, capsys):
    path = model_file(thresholds=(0.0, 1.0))
    summary = predict.run([crops], path, None, aligned=True, device="cpu")
    rows = Predictor(path, device="cpu", aligned=True)(crops / "s01")
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
            "status": ["ok", "low_quality", "no_face"],
            "AU04": [1, 1, np.nan],
            "AU12": [0, 1, np.nan],
            "AU12_i": [0.4, 3, np.nan],
        }
    )
    assert list(describe_faces(rows.to_dict("records"), [12], {"c.mp4"})) == [
        "c.mp4, frame 0 (0.00 s), face 0: AU12 is not present",
        "c.mp4, frame 6 (0.25 s), face 1, low quality: AU12 Lip corner puller 3.0",
        "c.mp4, frame 7 (0.30 s): no face",
    ]
    absent = {"input": "a.png", "face": 0, "status": "ok"} | dict.fromkeys(map(facts.au_name, range(1, 8)), 0)
    assert list(describe_faces([absent], [6, 4])) == ["a.png, face 0: none of AU04, AU06 is present"]
    said = list(describe_faces([absent], range(1, 8)))
    assert said == ["a.png, face 0: none of 7 action units is present"]
    unread = pd.DataFrame({"input": ["c.mp4"], "frame": 0, "time_s": 0.0, "face": -1, "status": "no_video"})
    assert list(describe_faces(unread.assign(AU12=np.nan).to_dict("records"), [12])) == []


def test_weights_by_name_and_by_default(model_file, crops, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "folder", lambda: tmp_path / "zoo")
    with pytest.raises(WeightsError, match=f"no weights were named, and {zoo.DEFAULT} does not come"):
        predict.run([crops], None, tmp_path / "p.csv", aligned=True, device="cpu")
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / f"{zoo.DEFAULT}.safetensors").write_bytes(model_file().read_bytes())
    for name in (None, zoo.DEFAULT):
        rows = Predictor(name, device="cpu", aligned=True)(crops)
        pd.testing.assert_frame_equal(rows, Predictor(model_file(), device="cpu", aligned=True)(crops))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_table_on_disk_is_the_one_in_python(model_file, crops, tmp_path, suffix, capsys):
    path = model_file()
    out = tmp_path / "made" / f"predictions.{suffix}"
    summary = predict.run([crops], path, out, aligned=True, device="cpu")
    read = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    expected = Predictor(path, device="cpu", aligned=True)(crops)
    assert list(read) == list(expected)
    pd.testing.assert_frame_equal(read, expected, check_dtype=suffix == "parquet", rtol=1e-4)
    assert (summary.inputs, summary.images, summary.faces, summary.without_face) == (5, 4, 4, 0)
    assert summary.skipped == {"not_an_image": 1}
    assert "skipped bad.jpg: not_an_image" in capsys.readouterr().err
    assert "not read: 1 not_an_image" in str(summary)


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("detection", ["AU04", "AU12", "AU04_p", "AU12_p"]),
        ("intensity", ["AU04", "AU12", "AU04_i", "AU12_i"]),
        ("both", ["AU04", "AU12", "AU04_p", "AU12_p", "AU04_i", "AU12_i"]),
    ],
)
def test_columns_and_pictures_of_each_task(model_file, crops, tmp_path, task, columns):
    out, pictures = tmp_path / "p.csv", tmp_path / "pictures"
    path = model_file(task, thresholds=() if task == "intensity" else (0.3, 0.6))
    summary = predict.run([crops], path, out, pictures=pictures, aligned=True, device="cpu")
    read = pd.read_csv(out)
    assert list(read) == [*WHERE, *face_columns(unlike=False), *columns]
    assert read.loc[read["face"] == 0, columns].notna().all(axis=None)
    drawn = sorted(str(file.relative_to(pictures)) for file in pictures.rglob("*.png"))
    assert drawn == [f"s01/{k}.png.png" for k in range(4)]
    assert summary.pictures == 4
    with Image.open(pictures / drawn[0]) as picture:
        assert picture.width > 200


def with_unlike(path):
    """Write ``unlike`` into weights: 4 times the distance of the features from 0."""
    width = weights.read_metadata(path).encoder.width
    known = Unlike(data="faces", n=100, within=0.99)
    tensors = {"unlike.mean": torch.zeros(width), "unlike.factor": 4 * torch.eye(width)}
    metadata = weights.read_metadata(path).model_copy(update={"unlike": known})
    weights.write_metadata(path, metadata, tensors)
    return path


def test_weights_that_know_their_faces_give_a_column(model_file, crops, tmp_path):
    out, path = tmp_path / "p.csv", with_unlike(model_file())
    predict.run([crops], path, out, aligned=True, device="cpu")
    read = pd.read_csv(out)
    assert list(read)[: len(WHERE) + len(FACE)] == [*WHERE, *FACE]
    assert list(read).index("unlike") == list(read).index("outside") + 1
    predictor = Predictor(path, device="cpu", aligned=True, precision="fp32")
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    expected = 4 * np.linalg.norm(predictor.predict_crops(images, "features"), axis=1)
    np.testing.assert_allclose(predictor(images)["unlike"], expected, rtol=1e-4)
    assert predictor.image(images[1]).faces[0].quality["unlike"] == pytest.approx(expected[1], rel=1e-4)
    assert "unlike" not in predictor.embed(images)[0]
    assert predictor.predict_faces([])[1].shape == (0,)


def test_a_face_that_is_unlike_is_of_low_quality(model_file, shared):
    photo = shared / "photos" / "congress" / "A000055.jpg"
    plain = Predictor(model_file(), device="cpu", faces="largest", detector="embedded")(photo)
    assert list(plain["status"]) == ["ok"] and "unlike" not in plain
    path = with_unlike(model_file())
    rows = Predictor(path, device="cpu", faces="largest", detector="embedded")(photo)
    assert rows["unlike"][0] > 1
    assert list(rows["status"]) == ["low_quality"]
    assert describe_low_quality(rows.iloc[0]) == "unlike known faces"


def test_arrays_and_features(model_file):
    predictor = Predictor(model_file(), device="cpu", aligned=True, precision="fp32")
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    rows = predictor(images)
    assert list(rows["input"]) == ["0", "1", "2"]
    one = predictor(images[1])
    np.testing.assert_allclose(one.iloc[0, 6:].astype(float), rows.iloc[1, 6:].astype(float), atol=1e-5)
    where, features = predictor.embed(list(images))
    assert features.shape == (3, 16)
    assert list(where) == [*WHERE, *face_columns(unlike=False)]
    values = torch.from_numpy(features) @ predictor.model.head.weight.T + predictor.model.head.bias
    np.testing.assert_allclose(rows["AU12_p"], torch.sigmoid(values[:, 1]).detach(), atol=1e-5)
    with pytest.raises(DataError, match="image 0 is a float64 array of shape"):
        predictor(images.astype(float))


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
    assert list(pd.read_csv(out)["status"]) == ["ok", "not_an_image"]
    before = out.read_bytes()
    with pytest.raises(DataError, match="none of 1 inputs could be read: 1 not_an_image"):
        predict.run([crops / "bad.jpg"], model_file(), out, aligned=True, device="cpu")
    assert out.read_bytes() == before
    assert [file.name for file in tmp_path.glob(".*")] == []
    with pytest.raises(DataError, match="none of 1 inputs"):
        Predictor(model_file(), device="cpu", aligned=True)(crops / "bad.jpg")


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
        Predictor(other, aligned=True)


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
    assert rows.drop(columns="track").notna().all(axis=None)
    with Image.open(pictures / "congress_montage_12.jpg.png") as picture:
        assert picture.height > 600


@pytest.mark.parametrize("out", [None, "p.csv"])
def test_a_photo_without_a_face_has_a_picture_too(model_file, tmp_path, capsys, out):
    Image.new("RGB", (80, 60), (90, 120, 200)).save(tmp_path / "sky.png")
    folder, out = tmp_path / "pictures", out and tmp_path / out
    summary = predict.run([tmp_path / "sky.png"], model_file(), out, folder, device="cpu", workers=1)
    assert (summary.faces, summary.without_face, summary.pictures) == (0, 1, 1)
    with Image.open(folder / "sky.png.png") as picture:
        assert picture.convert("RGB").getpixel((20, 20)) == (90, 120, 200)
    assert out or capsys.readouterr().out == "sky.png: no face\n"


def test_pictures_and_lines_say_why_a_face_is_of_low_quality(
    model_file, shared, detector_weights, tmp_path, monkeypatch, capsys
):
    with Image.open(shared / "photos" / "group" / "congress_montage_12.jpg") as image:
        small = image.convert("RGB").resize((image.width // 5, image.height // 5))
    small.save(tmp_path / "small.png")
    drawn, draw = [], figures.au_bars
    monkeypatch.setattr(
        figures,
        "au_bars",
        lambda image, aus, faces, *more: drawn.extend(faces) or draw(image, aus, faces, *more),
    )
    predict.run(
        [tmp_path / "small.png"], model_file(), tmp_path / "p.csv", tmp_path / "pictures", device="cpu"
    )
    rows = pd.read_csv(tmp_path / "p.csv")
    low = rows["status"] == "low_quality"
    assert low.any()
    assert [face.low_quality for face in drawn] == low.tolist()
    assert [bool(face.doubt) for face in drawn] == low.tolist()
    assert [face.doubt.startswith("small face") for face in drawn] == (rows["face_px"] < 32).tolist()
    capsys.readouterr()
    predict.run([tmp_path / "small.png"], model_file(), None, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    for face, line in zip(drawn, lines, strict=True):
        assert (f", low quality ({face.doubt}): " in line) == face.low_quality


def test_video_whose_face_leaves(model_file, shared, detector_weights):
    predictor = Predictor(model_file(), device="cpu", faces="largest")
    rows = predictor(shared / "videos" / "pyfeat_face_noface.mov", every=24)
    assert set(rows["face"]) == {-1, 0}
    assert (rows["frame"] % 24 == 0).all()
    assert rows["time_s"].is_monotonic_increasing
    none = rows["face"] == -1
    assert rows.loc[none, predictor.columns[6:]].isna().all(axis=None)
    assert rows.loc[~none, predictor.columns[6:]].notna().all(axis=None)


def test_crops_are_those_of_prepare(model_file, shared, detector_weights, monkeypatch):
    """The pixels that reach the model are those that prepare stores, before JPEG."""
    photo = shared / "photos" / "congress" / "A000055.jpg"
    reached = []
    monkeypatch.setattr(
        Predictor,
        "predict_faces",
        lambda self, crops, output, mirror: reached.extend(crops) or (np.zeros((1, 6)), np.zeros(1)),
    )
    Predictor(model_file(), device="cpu", faces="largest")(photo)
    from maeface.data.ingest.face_finder import make_find
    from maeface.data.ingest.units import Settings

    find = make_find(Settings(device="cpu"), shared / "weights" / "retinaface_mobilenet0.25_Final.pth")
    ((stored,),) = find([media.read_image(photo)], False)
    np.testing.assert_array_equal(reached[0], stored.pixels)
    ((again,),) = finder.find_crops(Detector(), [media.read_image(photo)])
    np.testing.assert_array_equal(reached[0], again.pixels)


def test_an_input_that_cannot_be_read_has_a_row(model_file, crops, tmp_path, monkeypatch):
    """Of a video that breaks off, the frames so far stay, and one more row gives the reason."""
    (crops / "clip.mp4").write_bytes(b"")
    (crops / "broken.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    real = media.read_frames

    def frames(path, every=1, fps=None, *rest):
        if path.name != "broken.mp4":
            yield from real(path, every, fps, *rest)
            return
        for index in range(0, 3 * every, every):
            yield media.Frame(np.full((40, 40, 3), 90, np.uint8), index, index / 10)
        raise media.MediaError("unreadable", "the disk went away")

    monkeypatch.setattr(media, "read_frames", frames)
    predictor = Predictor(model_file(), device="cpu", aligned=True)
    out = tmp_path / "p.csv"
    summary = predict.run([crops], model_file(), out, every=2, aligned=True, device="cpu")
    for rows in (predictor(crops, every=2), pd.read_csv(out)):
        where = rows[["input", "frame", "time_s", "face", "status"]].values.tolist()
        assert where[:6] == [
            ["bad.jpg", 0, 0.0, -1, "not_an_image"],
            ["broken.mp4", 0, 0.0, 0, "ok"],
            ["broken.mp4", 2, 0.2, 0, "ok"],
            ["broken.mp4", 4, 0.4, 0, "ok"],
            ["broken.mp4", 5, 0.4, -1, "unreadable"],
            ["clip.mp4", 0, 0.0, -1, "empty"],
        ]
        assert len(rows) == 10
        assert rows.loc[rows["face"] < 0, [*face_columns(unlike=False), *COLUMNS]].isna().all(axis=None)
        assert rows.loc[rows["face"] == 0, [*BOX, *COLUMNS]].notna().all(axis=None)
    assert (summary.images, summary.faces, summary.without_face, sum(summary.skipped.values())) == (
        7,
        7,
        0,
        3,
    )
    where, features = predictor.embed(crops, every=2)
    assert list(np.isnan(features).all(axis=1)) == list(where["face"] < 0)


def test_frames_missing_from_a_film_have_rows(model_file, tmp_path, capsys):
    path = tmp_path / "film.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for n in range(20):
            pixels = np.full((48, 64, 3), 10 * n, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(path) as container:
        positions = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for start, size in positions[8:10]:
        data[start + 4 : start + size] = bytes(size - 4)  # without the header of the block
    path.write_bytes(data)
    out = tmp_path / "p.csv"
    summary = predict.run([path], model_file(), out, aligned=True, device="cpu")
    rows = pd.read_csv(out)
    assert rows["frame"].tolist() == [*range(9), *range(10, 20)]
    assert rows["status"].tolist() == ["ok"] * 8 + ["lost"] + ["ok"] * 10
    assert rows["time_s"].to_numpy() == pytest.approx(rows["frame"].to_numpy() / 25, abs=1e-3)
    assert (summary.images, summary.without_face, summary.skipped) == (18, 0, {"lost": 1})
    assert "not read: 1 lost" in str(summary)
    assert "film.mkv is damaged; rows without values: 1 lost" in capsys.readouterr().err


def test_the_reasons_are_those_of_prepare(model_file, crops, tmp_path):
    from maeface import prepare
    from maeface.data import manifest

    rows = Predictor(model_file(), device="cpu", aligned=True)(crops)
    prepare.run([crops], tmp_path / "d", prepare.Settings(aligned=True, workers=1))
    prepared = manifest.load(tmp_path / "d", all_rows=True)
    for one, other in (("input", "source"), ("frame", "frame"), ("time_s", "time_s"), ("status", "status")):
        assert sorted(rows[one]) == sorted(prepared[other])


def test_rows_without_a_face_are_in_no_score(model_file, crops, tmp_path):
    out, labels = tmp_path / "p.csv", tmp_path / "labels.csv"
    predict.run([crops], model_file(), out, aligned=True, device="cpu")
    names = [*(f"s01/{k}.png" for k in range(4)), "bad.jpg"]
    labels.write_text("source,AU12_o,AU12_i\n" + "".join(f"{n},{k % 2},{k}\n" for k, n in enumerate(names)))
    scores = evaluate.run(labels, out)
    assert (scores.matched, scores.no_face) == (4, 1)
    table = pd.read_csv(out)
    table.insert(0, "remark", "seen by A, again by B")
    table.to_csv(out, index=False)
    pd.testing.assert_frame_equal(evaluate.run(labels, out).table, scores.table)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"device": "cudaa"}, "auto, cpu, cuda, cuda:N; did you mean 'cuda'"),
        ({"device": "cuda:"}, "auto, cpu, cuda, cuda:N"),
        ({"device": "cuda:x"}, "auto, cpu, cuda, cuda:N"),
        ({"device": None}, "auto, cpu, cuda, cuda:N"),
        ({"precision": "fp16"}, "auto, fp32, bf16; did you mean"),
        ({"faces": "bigest"}, "faces is 'bigest'; expected largest, central, all, or a number"),
        ({"detector": "embeded"}, "auto, public, embedded; did you mean 'embedded'"),
    ],
)
def test_a_choice_that_there_is_not_is_refused(model_file, given, says):
    with pytest.raises(ConfigError, match=says):
        Predictor(model_file(), **({"device": "cpu", "aligned": True} | given))


def test_a_gpu_that_is_not_there_is_refused(model_file, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "cuda:3", torch.device("cuda", 1)):
        with pytest.raises(ResourceError, match="finds no GPU"):
            Predictor(model_file(), device=name)
    assert Predictor(model_file(), device=torch.device("cpu"), aligned=True).device == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ResourceError, match="the last GPU is cuda:1"):
        Predictor(model_file(), device="cuda:2")


@pytest.mark.parametrize(
    "given",
    [
        {"every": 0},
        {"every": -3},
        {"every": 1.5},
        {"every": "2"},
        {"every": True},
        {"every": None},
        {"fps": 0},
        {"fps": -1.0},
        {"fps": np.nan},
        {"fps": np.inf},
        {"fps": "5"},
        {"every": 2, "fps": 5.0},
    ],
)
def test_a_choice_of_frames_that_means_nothing_is_refused(model_file, crops, tmp_path, given):
    predictor = Predictor(model_file(), device="cpu", aligned=True)
    for call in (predictor, predictor.embed):
        with pytest.raises(ConfigError, match=r"every is|fps is"):
            call(crops, **given)
    with pytest.raises(ConfigError, match=r"every is|fps is"):
        predict.run([crops], model_file(), tmp_path / "p.csv", aligned=True, device="cpu", **given)
    with pytest.raises(ConfigError, match=r"every is|fps is"):
        list(media.read_frames(crops / "s01" / "0.png", **given))


def test_numbers_of_numpy_choose_frames(model_file, crops):
    predictor = Predictor(model_file(), device="cpu", aligned=True)
    assert len(predictor(crops, every=np.int64(2))) == len(predictor(crops, fps=np.float32(3))) == 5


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_images_in_memory_are_read_as_files_are(model_file, tmp_path):
    """Whatever a caller has, the numbers are those of the file with the same pixels."""
    predictor = Predictor(model_file(), device="cpu", aligned=True, precision="fp32")
    array = np.random.default_rng(0).integers(0, 256, (60, 48, 3), dtype=np.uint8)
    image = Image.fromarray(array)
    path = tmp_path / "image.png"
    path.write_bytes(encoded(image))
    with path.open("rb") as file:
        given = [
            *(array, image, path.read_bytes(), bytearray(path.read_bytes()), io.BytesIO(path.read_bytes())),
            *(file, Image.open(path), torch.from_numpy(array).permute(2, 0, 1), path, str(path)),
        ]
        rows = predictor(given)
    assert list(rows["input"]) == ["image.png", *map(str, range(8))]  # the path, named twice, comes first
    assert (rows["status"] == "ok").all()
    values = rows.iloc[:, 11:].to_numpy(float)
    np.testing.assert_allclose(values, np.tile(values[:1], (9, 1)), atol=1e-6)
    for one in given[:4]:
        assert len(predictor(one)) == 1


def test_pillow_images_of_every_mode_and_turn(model_file, tmp_path):
    predictor = Predictor(model_file(), device="cpu", aligned=True, precision="fp32")
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 48, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray((np.arange(60 * 48).reshape(60, 48) * 20).astype(np.uint16))
    clear = colours.copy()
    clear.putalpha(Image.linear_gradient("L").resize(colours.size))
    pictures = {
        "L": encoded(colours.convert("L")),
        "1": encoded(colours.convert("1")),
        "P": encoded(colours.convert("P")),
        "LA": encoded(clear.convert("LA")),
        "RGBA": encoded(clear),
        "I;16": encoded(deep),
        "CMYK": encoded(colours.convert("CMYK"), "JPEG", quality=100, subsampling=0),
        "turned": encoded(colours, exif=exif.tobytes()),
    }
    for mode, data in pictures.items():
        path = tmp_path / f"{mode}.img"
        path.write_bytes(data)
        shown = [media.read_image(path), media.convert_picture(Image.open(path))]
        np.testing.assert_allclose(shown[0].astype(int), shown[1].astype(int), atol=3, err_msg=mode)
        rows = predictor([path, Image.open(path)])
        np.testing.assert_allclose(*rows.iloc[:, 11:].to_numpy(float), atol=0.02, err_msg=mode)
    assert media.convert_picture(Image.open(tmp_path / "turned.img")).shape == (48, 60, 3)


def test_grey_and_clear_arrays(model_file):
    predictor = Predictor(model_file(), device="cpu", aligned=True, precision="fp32")
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 44), dtype=np.uint8)
    clear = rng.integers(0, 256, (40, 44, 4), dtype=np.uint8)
    rows = predictor(
        [
            *(grey, grey[..., None], torch.from_numpy(grey), np.repeat(grey[..., None], 3, axis=2)),
            *(clear, torch.from_numpy(clear).permute(2, 0, 1), Image.fromarray(clear)),
        ]
    )
    values = rows.iloc[:, 11:].to_numpy(float)
    np.testing.assert_allclose(values[:4], np.tile(values[:1], (4, 1)), atol=1e-6)
    np.testing.assert_allclose(values[4:], np.tile(values[4:5], (3, 1)), atol=1e-6)
    assert len(predictor(grey)) == 1
    batch = torch.from_numpy(rng.integers(0, 256, (5, 3, 40, 40), dtype=np.uint8))
    assert list(predictor(batch)["input"]) == list("01234")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((40, 0, 3), np.uint8),
        np.zeros((40, 40, 2), np.uint8),
        np.zeros((40, 40, 3)),
        np.zeros((3, 40, 40), np.uint8),
        torch.zeros(3, 40, 40),
        torch.zeros(40, 40, 3, dtype=torch.uint8),
        torch.zeros(3, 0, 40, dtype=torch.uint8),
        Image.new("RGB", (0, 0)),
        io.StringIO("text"),
        None,
        5,
        {"image": 1},
        [5],
        [None],
        [np.zeros((40, 40, 3), np.uint8), object()],
    ],
    ids=lambda image: f"{type(image).__name__}-{getattr(image, 'shape', '')}",
)
def test_what_is_no_image_is_one_clear_error(model_file, image):
    predictor = Predictor(model_file(), device="cpu", aligned=True)
    for call in (predictor, predictor.embed):
        with pytest.raises(DataError, match=r"image [01] (is|has)") as caught:
            call(image)
        assert "\n" not in str(caught.value)


def test_bytes_that_are_no_photo_are_an_input_that_cannot_be_read(model_file):
    predictor = Predictor(model_file(), device="cpu", aligned=True)
    whole = encoded(Image.new("RGB", (40, 40)))
    broken = SimpleNamespace(read=Mock(side_effect=OSError))  # an error without a message
    rows = predictor([b"<html>", whole, whole[:-30], b"", io.BytesIO(), broken])
    assert list(rows["status"]) == ["not_an_image", "ok", "truncated", "empty", "empty", "unreadable"]
    with pytest.raises(DataError, match="none of 1 inputs could be read: 1 not_an_image"):
        predictor(b"<html>")


def test_options_without_effect_are_told(model_file, crops, shared, tmp_path, capsys):
    clip = shared / "videos" / "pyfeat_single_face.mp4"
    pictures = tmp_path / "pictures"
    run = partial(predict.run, weights=model_file(), out=tmp_path / "p.csv", aligned=True, device="cpu")
    run([clip], pictures=pictures, every=24)
    said = capsys.readouterr().err
    assert "pictures are made of photos; 1 of 1 inputs are videos and have none" in said
    assert "no effect" not in said
    run([crops], pictures=pictures, fps=3)
    said = capsys.readouterr().err
    assert "fps has no effect: no input is a video" in said and "pictures are" not in said
    run([crops], every=2, faces="largest", detector="embedded")
    said = capsys.readouterr().err
    assert "every has no effect" in said
    assert "faces and detector have no effect: the images are ready crops (aligned)" in said
    run([crops])
    assert "no effect" not in capsys.readouterr().err


def test_outputs_are_checked_before_any_work(model_file, crops, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "find_images", None)  # no work
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    run = partial(predict.run, [crops], model_file(), aligned=True, device="cpu")
    with pytest.raises(ConfigError, match="it is a folder; name a file"):
        run(out=tmp_path / "folder.csv")
    with pytest.raises(ResourceError, match="cannot write"):
        run(out=tmp_path / "file" / "p.csv")
    with pytest.raises(ConfigError, match="it is a file; name a folder"):
        run(out=None, pictures=tmp_path / "file")


def test_too_many_unreadable_inputs_are_told(model_file, crops):
    run = partial(predict.run, [crops], model_file(), None, aligned=True, device="cpu")
    assert not run().too_many_bad and not run(max_bad=0.2).too_many_bad
    summary = run(max_bad=0.1)
    assert summary.too_many_bad and "1 of 5 inputs could not be read, more than allowed" in str(summary)
    with pytest.raises(ConfigError, match="max_bad is 2"):
        run(max_bad=2)


def film(path, count=100):
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 64, "yuv420p", 5
        for n in range(count):
            picture = np.full((64, 64, 3), 40 + n % 100, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_the_face_detector_is_told_in_the_record_and_not_at_every_run(
    model_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("maeface.faces.detector_weights._find_local", lambda checkpoint: None)
    for out in (tmp_path / "p.csv", tmp_path / "tables"):
        run = partial(predict.run, [film(tmp_path / "v.mp4", 3)], model_file(), out, device="cpu")
        run()
        assert "detector" not in capsys.readouterr().err
        assert run().there == 1
        assert capsys.readouterr().err == ""
    for record in (tmp_path / "p.csv.json", tmp_path / "tables" / "v.mp4.csv.json"):
        assert json.loads(record.read_text())["detector"]["source"] == "embedded"


def test_what_is_made_of_a_table_is_named_or_counted_and_more_is_offered(model_file, tmp_path, monkeypatch):
    films = [film(tmp_path / f"{k}.mp4", 3) for k in range(3)]
    run = partial(predict.run, weights=model_file(), device="cpu", aligned=True)
    lines = str(run(films[:1], out=tmp_path / "p.csv")).splitlines()
    assert lines[-2:] == [
        f"also written in {tmp_path}: p.events.csv, p.summary.csv, p.pairs.csv",
        "also possible, without predicting again: report (a page to look at), video (a copy with boxes and "
        "bars)",
    ]
    lines = str(run(films, out=tmp_path / "d", extras=Extras(timeline=True))).splitlines()
    pictures, tables = "3 .timeline.png, 3 .timeline.pdf", "3 .events.csv, 3 .summary.csv, 3 .pairs.csv"
    assert lines[-1] == f"also written in {tmp_path / 'd'}: {pictures}, {tables}"
    lines = str(run(films, out=tmp_path / "t.csv", extras=Extras(timeline=True))).splitlines()
    assert lines[-2:] == [
        f"also written in {tmp_path / 't.films'}: {pictures}",
        f"also written in {tmp_path}: 1 .events.csv, 1 .summary.csv, 1 .pairs.csv",
    ]
    monkeypatch.chdir(tmp_path)
    lines = str(run(films[:2], out=Path("u.csv"), extras=Extras(events=False, timeline=True))).splitlines()
    assert lines[-1].startswith("also written: u.films/0.mp4.timeline.png, u.films/0.mp4.timeline.pdf, u.fil")
    lines = str(run(films, out=Path("u.csv"), extras=Extras(timeline=True))).splitlines()  # one is added
    assert lines[-2].startswith(
        "also written: u.films/2.mp4.timeline.png, u.films/2.mp4.timeline.pdf, u.events"
    )
    assert lines[-1].startswith("up to date: u.films/0.mp4.timeline.png, ") and "2.mp4" not in lines[-1]
    lines = str(run(films, out=Path("w.csv"), extras=Extras(timeline=True))).splitlines()
    assert lines[-1] == "also written: 1 .events.csv, 1 .summary.csv, 1 .pairs.csv"
    photo(tmp_path / "a.png")
    assert "also possible" not in str(run([tmp_path / "a.png"], out=tmp_path / "a.csv"))


def test_features_of_a_film_do_not_hold_its_frames(tmp_path, monkeypatch):
    """``Predictor.embed`` needs no more pixels in memory than a call: those of a block or two."""

    class Pixels(np.ndarray):
        pass

    pixels, most = [], 0
    real = video.convert_frame

    def convert(*arguments):
        nonlocal most
        picture = real(*arguments).view(Pixels)
        pixels.append(weakref.ref(picture))
        gc.collect()
        most = max(most, sum(one() is not None for one in pixels))
        return picture

    monkeypatch.setattr(video, "convert_frame", convert)
    predictor = Predictor(device="cpu", aligned=True, backend="openvino")
    gc.freeze()  # what is there already need not be searched at every frame
    try:
        predictor.embed(film(tmp_path / "v.mp4"))
    finally:
        gc.unfreeze()
    assert len(pixels) == 100 and most < 50


def test_films_are_predicted_without_the_mirror_image(tmp_path):
    """Holds; no other test sees it if the mirror image is used for films too."""
    predictor = Predictor(device="cpu", aligned=True, backend="openvino")
    seen = []
    outputs = predictor._network.compute(np.zeros((1, 64, 64, 3), np.uint8), "head").shape[2]
    predictor._network = Mock(
        metadata=predictor.metadata,
        compute=lambda crops, output, mirror: (
            seen.append(mirror) or np.zeros((1, len(crops), outputs), np.float32)
        ),
    )
    list(predictor.stream(load_images(film(tmp_path / "v.mp4", 5))))
    list(predictor.stream(load_images(photo(tmp_path / "a.png"))))
    assert seen == [False, True]


def test_lines_have_the_sides_that_can_be_seen():
    row = {"input": "a.png", "face": 0, "status": "ok", "AU12": 1, "AU12_p": 0.9, "AU12_i": 4.1}
    sides = {"AU12_L": 4.5, "AU12_R": 2.25}
    assert list(describe_faces([row | sides], [12])) == [
        "a.png, face 0: AU12 Lip corner puller 0.90 (4.1, left 4.5, right 2.2)"
    ]
    unseen = row | sides | {"AU12_R": np.nan, "AU12_p": None}
    assert list(describe_faces([unseen], [12])) == ["a.png, face 0: AU12 Lip corner puller 4.1, left 4.5"]


def test_what_is_neither_photo_nor_video_has_no_table_of_its_own(model_file, crops, tmp_path, capsys):
    (crops / "notes.txt").write_text("the third one smiles")
    out = tmp_path / "tables"
    summary = predict.run([crops], model_file(), out, aligned=True, device="cpu")
    assert "notes.txt is neither a photo nor a video; it has no table" in capsys.readouterr().err.splitlines()
    assert not list(out.rglob("notes*")) and len(list(out.rglob("*.csv"))) == 5
    assert (summary.inputs, summary.images, summary.bad) == (6, 4, 2)
    assert summary.skipped == {"not_an_image": 2}  # and bad.jpg, which has a table that says so
    with pytest.raises(DataError, match="none of 1 inputs could be read: 1 not_an_image"):
        predict.run([crops / "notes.txt"], model_file(), out, aligned=True, device="cpu")


def test_only_what_was_not_read_is_counted(model_file, crops, tmp_path):
    (crops / "bad.jpg").unlink()
    for out in (tmp_path / "all.csv", tmp_path / "each"):
        summary = predict.run([crops], model_file(), out, aligned=True, device="cpu")
        assert str(summary).splitlines()[0] == f"{out}: inputs: 4; images: 4; faces: 4"
        assert summary.skipped == {}


def test_lines_end_with_the_options_that_show_more_of_the_faces(tmp_path, capsys):
    predictor = QuickPredictor()
    check = Check(on="real", data="people", auc=0.9, low=0.85, high=0.95, n=100, present=40)
    predictor.metadata.checks = {12: check}
    path, hidden = tmp_path / "a.png", "1 action units that are not reliable on real people are not shown"
    for faces in (0, 1, 2):
        Image.new("RGB", (64, 64), (10 * faces, 0, 0)).save(path)
        predict.run([path], None, None, make_predictor=lambda options: predictor)
        notes = capsys.readouterr().err
        assert (hidden in notes) == (faces > 0)
        assert ("--pictures DIR shows which face is which" in notes.splitlines()) == (faces > 1)


def test_python_needs_only_the_input_and_then_prints_a_line_for_each_face(tmp_path, capsys):
    photo(tmp_path / "a.png")
    assert predict.run(tmp_path / "a.png", aligned=True, device="cpu").images == 1
    assert capsys.readouterr().out.startswith("a.png, face 0: ")
