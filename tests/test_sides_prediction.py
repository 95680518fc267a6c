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
from maeface.faces.finder import FaceCrop
from maeface.faces.geometry import Face, Square, to_image
from maeface.faces.media import Frame
from maeface.faces.pose import FACE_POINTS
from maeface.model import weights, zoo
from maeface.model.au import AUModel
from maeface.model.file_format.description import describe
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.vit import ViT
from maeface.prediction import chimeras
from maeface.prediction.chimeras import make_chimeras, predict_sides
from maeface.prediction.columns import make_consistent
from maeface.prediction.crops import predict_crops
from maeface.prediction.live import LivePredictor
from maeface.prediction.predictor import Predictor
from maeface.runtime import backends
from parts_cases import work_here

SIZE = 64
SIDES = [f"AU{au}_{side}" for side in "LR" for au in ("06", "09", "10", "12", "43")]
BACKENDS = ["torch", *(name for name in backends.ONNX_BACKENDS if backends.is_installed(name))]
POINTS = np.array([[0.34, 0.38], [0.66, 0.38], [0.5, 0.53], [0.37, 0.71], [0.63, 0.71]])
SAMPLE = zoo.folder().parent / "sample"
CLIP = "S001/S001_clip1"


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The units are done in this process: to start another one takes seconds."""
    monkeypatch.setattr(workers, "work", work_here)


def model_file(path, task="both", aus=(12, 4), mirror=False):
    torch.manual_seed(0)
    model = AUModel(ViT((16, 2, 2), SIZE, 8), aus, task)
    torch.nn.init.normal_(model.head.weight, std=0.3)
    torch.nn.init.constant_(model.head.bias, 0.5)
    weights.save(path, model, describe(model, Preprocessing(image_size=SIZE, mirror=mirror)))
    return path


def metadata(task="both", aus=(12, 4)):
    model = AUModel(ViT((16, 1, 2), SIZE, 8), aus, task)
    return describe(model, Preprocessing(image_size=SIZE))


def brightness(crops):
    """A network of two AUs that sees light: 5 for white."""
    values = np.array([np.asarray(crop).mean() / 51 for crop in crops], np.float32)
    return np.stack([values * 0, values * 0, values, 5 - values], axis=1)


def face(crop, yaw=0.0, angle=20.0):
    """Return a face of a crop that was cut from a rotated square, with a head turned to a yaw in degrees."""
    turn = np.radians(yaw)
    around = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    seen = (FACE_POINTS @ around.T)[:, :2] * [1, -1] / 22 + 0.5
    square = Square(300.0, 200.0, 150.0, angle)
    return FaceCrop(Face(np.zeros(4, np.float32), to_image(seen, square, 1), 1.0), square, crop)


def lit(left=250, right=50):
    """Return a crop with light on the subject's sides; the left is on the right of the picture."""
    crop = np.full((SIZE, SIZE, 3), right, np.uint8)
    crop[:, SIZE // 2 :] = left
    return crop


# chimeras ----------------------------------------------------------------------------------------------


def test_a_chimera_is_one_half_and_its_mirror_image():
    left, right = make_chimeras(lit(), POINTS)
    assert (np.delete(left, [31, 32], 1) == 250).all() and (np.delete(right, [31, 32], 1) == 50).all()
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    left, right = make_chimeras(noise, POINTS)
    np.testing.assert_array_equal(left[:, 34:], noise[:, 34:])
    np.testing.assert_array_equal(right[:, :30], noise[:, :30])
    for one in (left, right):
        np.testing.assert_allclose(one, one[:, ::-1].astype(float), atol=1)  # rounding
    slanted = POINTS + np.array([[0.01, 0.02], [0, -0.02], [0.04, 0], [0.02, 0.01], [0.03, 0]])
    mirrored = np.abs([1, 0] - slanted)[[1, 0, 2, 4, 3]]
    left, right = make_chimeras(noise, slanted)
    for one, other in zip(make_chimeras(noise[:, ::-1], mirrored), (right, left), strict=True):
        np.testing.assert_allclose(one, other[:, ::-1].astype(float), atol=1)


def test_the_midline_is_half_way_to_the_nose_and_slants_with_the_face():
    points = POINTS + np.array([0.1, 0])
    points[2, 0] += 0.1  # the nose is at 0.7 and the rest at 0.6, so the line is at 0.65, 41.6 px
    left, right = make_chimeras(lit(), points)
    assert (left == 250).all()
    assert (right[:, 34:49] == 250).all() and (right[:, 53:] == 50).all()  # the edge at 32 comes to 51.2
    slanted = POINTS.copy()
    slanted[:2, 0] -= 0.05
    slanted[3:, 0] += 0.05
    spot, crop = np.array([44, 20]), np.zeros((SIZE, SIZE, 3), np.uint8)
    crop[spot[1] - 1 : spot[1] + 2, spot[0] - 1 : spot[0] + 2] = 200
    left, right = make_chimeras(crop, slanted)
    found = np.argwhere(left[:, :30, 0] > 100).mean(axis=0)[::-1]
    down = np.array([0.1, 0.33])
    middle = np.array([0.5, 0.5375]) * SIZE  # half way between (0.5, 0.545) and the nose
    down /= np.linalg.norm(down)
    foot = middle + ((spot - middle + 0.5) @ down) * down
    np.testing.assert_allclose(found + 0.5, 2 * foot - spot - 0.5, atol=0.6)
    assert right.max() < 20  # the right half is dark


def test_the_brighter_side_has_the_higher_value_and_a_mirrored_face_has_them_exchanged():
    faces = [face(lit()), face(lit(50, 250)), face(lit(150, 150))]
    found = predict_sides(brightness, metadata(), faces)  # left and right of AU12; AU04 has no sides
    np.testing.assert_allclose(found, [[250 / 51, 50 / 51], [50 / 51, 250 / 51], [150 / 51] * 2], atol=0.05)
    only = predict_sides(lambda crops: brightness(crops)[:, 2:], metadata("intensity"), faces)
    np.testing.assert_array_equal(only, found)
    assert predict_sides(brightness, metadata(), []).shape == (0, 2)


def test_all_faces_have_their_own_values_however_many_there_are(monkeypatch):
    monkeypatch.setattr(chimeras, "FACES_TOGETHER", 2)
    faces = [face(lit(40 + 40 * k, 20 * k)) for k in range(5)]
    found = predict_sides(brightness, metadata(), faces)
    expected = [[(40 + 40 * k) / 51, 20 * k / 51] for k in range(5)]
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize(("yaw", "known"), [(0, True), (17, True), (-17, True), (24, False), (-24, False)])
def test_a_face_that_is_turned_has_no_sides(yaw, known):
    (found,) = predict_sides(brightness, metadata(), [face(lit(), yaw)])
    assert np.isnan(found).all() != known


def test_a_face_without_landmarks_and_one_of_low_quality_have_no_sides():
    unknown = FaceCrop(Face(np.zeros(4), np.full((5, 2), np.nan), 1.0), Square(32, 32, 64), lit())
    usable = np.array([True, True, False])
    found = predict_sides(brightness, metadata(), [unknown, face(lit()), face(lit())], usable)
    assert np.isnan(found).all(axis=1).tolist() == [True, False, True]


# predictors --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures():
    """A face at rest and smiling, and with the smile of its left and of its right, in grey pictures."""
    rows = manifest.load(SAMPLE).set_index("id", drop=False)
    labels = pd.read_parquet(SAMPLE / "labels.parquet")
    clip = labels[labels["clip"] == CLIP]
    names = [clip.loc[clip["AU12_i"].idxmin(), "id"], clip.loc[clip["AU12_i"].idxmax(), "id"]]
    stored = shards.Shards(SAMPLE)
    faces = [Image.open(io.BytesIO(stored.read(rows.loc[name]))).convert("RGB") for name in names]
    rest, smile = (np.asarray(one.resize((256, 256))) for one in faces)
    left, right = rest.copy(), rest.copy()
    left[:, 128:], right[:, :128] = smile[:, 128:], smile[:, :128]
    framed = np.full((4, 400, 400, 3), 90, np.uint8)
    framed[:, 70:326, 70:326] = [rest, smile, left, right]
    return framed


def test_packaged_weights_say_which_side_smiles(pictures):
    given = {"device": "cpu", "precision": "fp32", "detector": "embedded", "faces": "largest"}
    # of the packaged weights those that read 64 px, as the pictures have no more
    with Predictor("maeface-nano-motion", sides=True, **given) as made:
        assert made.columns[-10:] == SIDES and made.sides == (6, 9, 10, 12, 43)
        table = made([*pictures, np.ascontiguousarray(pictures[2][:, ::-1])])
        result = made.image(pictures[2])
    difference = table["AU12_L"] - table["AU12_R"]
    assert abs(difference[0]) < 1 and abs(difference[1]) < 1
    assert difference[2] > 0.5 and difference[3] < -0.5
    assert difference[4] < -0.5  # not minus the other: the detector's landmarks are not quite symmetric
    (one,) = result.faces
    assert one.aus["AU12"].left == pytest.approx(table["AU12_L"][2]) and one.aus["AU04"].left is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_back_end_gives_the_same_sides(pictures, tmp_path, backend):
    path = model_file(tmp_path / "a.safetensors", mirror=True)
    given = {"device": "cpu", "precision": "fp32", "detector": "embedded", "faces": "largest"}
    expected = Predictor(path, backend="torch", sides=True, **given)(pictures[2])
    found = Predictor(path, backend=backend, sides=True, **given)(pictures[2])
    sides = ["AU12_L", "AU12_R"]
    np.testing.assert_allclose(found[sides], expected[sides], atol=0.02)
    plain = Predictor(path, backend=backend, **given)(pictures[2])
    pd.testing.assert_frame_equal(found.drop(columns=sides), plain)


def test_the_sides_are_not_moved_to_agree_with_the_rest():
    values = np.array([[0.9, 0.2]], np.float32)
    np.testing.assert_allclose(make_consistent(values, "both", [0.5]), [[1, 0.9, 1]])


def test_what_has_no_sides_is_refused_before_any_work(tmp_path, crops):
    only = model_file(tmp_path / "only.safetensors", "detection")
    brows = model_file(tmp_path / "brows.safetensors", "both", (1, 4))
    full, out = model_file(tmp_path / "full.safetensors"), tmp_path / "out" / "table.csv"
    for path, given, message in (
        (only, {"sides": True}, "sides needs weights with the intensity of one of AU06 AU09 AU10 AU12 AU43;"),
        (brows, {"sides": True}, "these predict both of AU01 AU04"),
        (full, {"sides": True, "aligned": True}, "sides needs the places of eyes, .*; leave out aligned"),
        (full, {"au_thresholds": {"AU99": 0.5}}, "a threshold is given for AU99, which the weights"),
    ):
        with pytest.raises(ConfigError, match=message):
            predict.run([crops], path, out, make_predictor=Mock(side_effect=AssertionError), **given)
        if "sides" in given:
            with pytest.raises(ConfigError, match=message):
                Predictor(path, "cpu", detector="embedded", **given)
    assert not out.parent.exists() or not list(out.parent.iterdir())


@pytest.fixture
def crops(tmp_path):
    (tmp_path / "crops").mkdir()
    for k in range(3):
        pixels = np.random.default_rng(k).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "crops" / f"{k}.png")
    return tmp_path / "crops"


def test_stored_crops_have_sides_by_their_landmarks(tmp_path, crops):
    path, rows = model_file(tmp_path / "a.safetensors"), gather_manifests([SAMPLE]).iloc[:40]
    found = predict_crops([SAMPLE], rows, path, "cpu", "fp32", sides=True)
    plain = predict_crops([SAMPLE], rows, path, "cpu", "fp32")
    pd.testing.assert_frame_equal(found[list(plain)], plain)
    sides = found[["AU12_L", "AU12_R"]]
    assert list(found)[-2:] == list(sides) and sides.notna().all(axis=1).sum() > 20
    assert (sides.isna().sum(axis=1) % 2 == 0).all()
    rows.loc[rows.index[3], [f"p{k}{axis}" for k in range(5) for axis in "xy"]] = np.nan
    again = predict_crops([SAMPLE], rows, path, "cpu", "fp32", sides=True)
    assert again.loc[3, list(sides)].isna().all()
    pd.testing.assert_frame_equal(again.drop(index=3), found.drop(index=3))
    with pytest.raises(ConfigError, match=r"sides needs the places of eyes, .* these crops"):
        predict_crops([crops], gather_manifests([crops]), path, "cpu", sides=True)


def test_the_command_writes_sides_and_does_not_mix_them_with_tables_without(tmp_path, pictures):
    path, out, photos = model_file(tmp_path / "a.safetensors"), tmp_path / "t.csv", tmp_path / "photos"
    photos.mkdir()
    for k, pixels in enumerate(pictures[:3]):
        Image.fromarray(pixels).save(photos / f"{k}.png")
    asked = ["predict", str(photos), "--weights", str(path), "--device", "cpu", "--out", str(out)]
    asked += ["--detector", "embedded"]
    done = CliRunner().invoke(
        app, [*asked, "--sides", "--format", "jsonl", "--pictures", str(tmp_path / "p")]
    )
    assert done.exit_code == 0, done.output
    table, sides = pd.read_csv(out), ["AU12_L", "AU12_R"]
    assert list(table)[-2:] == sides and table[sides].notna().all(axis=None)
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [line["AU12_L"] for line in lines] == pytest.approx(table["AU12_L"].tolist())
    assert len(list((tmp_path / "p").iterdir())) == 3
    record = out.with_name("t.csv.json")
    assert json.loads(record.read_text())["sides"] == {"aus": ["AU12"], "max_yaw": 20.0}
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert json.loads(record.read_text())["sides"] is None
    assert list(pd.read_csv(out)) == list(table)[:-2]  # the finished table is not taken for this one


def test_faces_of_low_quality_have_empty_sides(tmp_path, pictures):
    small = np.asarray(Image.fromarray(pictures[0]).resize((40, 40)))
    picture = np.full((200, 200, 3), 90, np.uint8)
    picture[80:120, 80:120] = small
    path = model_file(tmp_path / "a.safetensors")
    with Predictor(path, "cpu", detector="embedded", sides=True) as made:
        table = made([pictures[0], picture])
    low = table["status"] == "low_quality"
    assert low.any() and table.loc[low, ["AU12_L", "AU12_R"]].isna().all(axis=None)
    assert table.loc[table["status"] == "ok", ["AU12_L", "AU12_R"]].notna().all(axis=None)
    assert table.loc[low, "AU12_i"].notna().all()


def test_features_have_no_sides(tmp_path, pictures):
    with Predictor(model_file(tmp_path / "a.safetensors"), "cpu", detector="embedded", sides=True) as made:
        table, features = made.embed(pictures[0])
    assert features.shape == (len(table), 16) and not set(SIDES) & set(table)


def test_a_camera_has_sides_too(tmp_path, pictures):
    path = model_file(tmp_path / "a.safetensors")
    predictor = Predictor(path, "cpu", detector="embedded", sides=True)
    found = LivePredictor(predictor, "camera")(Frame(pictures[2], 0, 0.0))
    assert all(0 <= found[name][0].as_py() <= 5 for name in ("AU12_L", "AU12_R"))


# extras ------------------------------------------------------------------------------------------------


def sided_film(left, right):
    return film([0.0] * len(left)).assign(AU12_L=left, AU12_R=right)


def test_summaries_have_the_mean_of_each_side_and_their_difference():
    row = summarize(sided_film([4.0, 2.0, 3.0, 3.0], [1.0, 3.0, 0.0, 0.0])).iloc[0]
    assert (row["mean_L"], row["mean_R"], row["asymmetry"]) == (3, 1, 2)
    assert "asymmetry" not in summarize(film([0.0] * 4))


def test_frames_with_a_turned_face_do_not_count_in_the_means_of_the_sides():
    row = summarize(sided_film([4.0, np.nan, 2.0, np.nan], [1.0, np.nan, 1.0, np.nan])).iloc[0]
    assert (row["mean_L"], row["mean_R"], row["asymmetry"]) == (3, 1, 2)


def test_sides_are_smoothed_like_intensities():
    values = [0.0, 0.0, 5.0, 0.0, 0.0]
    found = smooth(film([0.0] * 5).assign(AU12_L=values, AU12_R=0.0, AU12_i=values), 0.1)
    assert found["AU12_L"].tolist() == found["AU12_i"].tolist() and found["AU12_L"].max() < 5
    assert not found["AU12_R"].any()
