"""What weights learn of their training faces: the distance, its limit, and what else stays as it was."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from maeface.data import manifest
from maeface.errors import MaefaceError, WeightsError
from maeface.model import weights
from maeface.model.au import AUModel
from maeface.model.file_format.description import describe
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.mae import MAE
from maeface.model.vit import ViT
from maeface.prediction.crops import read_crops
from maeface.prediction.predictor import Predictor
from maeface_studio.weights import unlike

SAMPLE = Path(str(resources.files("maeface") / "sample"))


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    model = AUModel(ViT((12, 1, 3), 16, 8), (4, 12), "both")
    path = tmp_path / "au.safetensors"
    weights.save(path, model, describe(model, Preprocessing(image_size=16, mirror=True)), "bf16")
    return path


def test_the_distance_is_of_mahalanobis():
    rng = np.random.default_rng(0)
    spread = np.array([[3.0, 0.0], [1.0, 0.5]])
    real, renders = rng.normal(size=(4000, 2)) @ spread + 5, rng.normal(size=(4000, 2)) @ spread + 5
    mean, factor = unlike.fit(real, renders)
    np.testing.assert_allclose(mean, 5, atol=0.2)
    distances = np.linalg.norm((np.array([[5, 5], [11, 5], [5, 6]]) - mean) @ factor, axis=1)
    expected = [0, *np.sqrt([36, 1] * np.diag(np.linalg.inv(spread.T @ spread)))]
    np.testing.assert_allclose(distances, expected, rtol=0.1, atol=0.1)


def test_renders_weigh_as_much_as_real_faces_whatever_their_number():
    rng = np.random.default_rng(1)
    real, renders = rng.normal(size=(50, 4)), rng.normal(3, 2, size=(60, 4))
    for one, other in zip(unlike.fit(real, renders), unlike.fit(real, np.tile(renders, (7, 1))), strict=True):
        np.testing.assert_allclose(one, other)


def test_weights_know_their_faces_afterwards(file):
    before = weights.load_model(file)[0].state_dict()
    summary = unlike.run(file, [SAMPLE], [SAMPLE])
    rows = manifest.load(SAMPLE)
    assert (summary.real, summary.renders) == (len(rows), len(rows)) and summary.files == (file,)
    model, metadata = weights.load_model(file)
    assert metadata.unlike.n == len(rows) and metadata.unlike.within == pytest.approx(0.99, abs=0.002)
    after = model.state_dict()
    assert after.keys() - before.keys() == {"unlike.mean", "unlike.factor"}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    predictor = Predictor(file, "cpu", aligned=True, precision="fp32")
    batches = read_crops([SAMPLE], rows.assign(folder=0), 16)
    far = np.concatenate([predictor.predict_faces(crops, mirror=False)[1] for _, crops in batches])
    assert (far > 1).mean() == pytest.approx(0.01, abs=0.002)
    assert f"{len(rows)} real faces" in str(summary)


def test_the_same_faces_give_the_same_file_again(file):
    unlike.run(file, [SAMPLE], [SAMPLE])
    first = file.read_bytes()
    unlike.run(file, [SAMPLE], [SAMPLE])
    assert file.read_bytes() == first


def test_many_faces_are_thinned(file, monkeypatch):
    count = len(manifest.load(SAMPLE))
    monkeypatch.setattr(unlike, "MOST", count // 3)
    summary = unlike.run(file, [SAMPLE], [SAMPLE])
    assert count // 4 <= summary.real <= count // 3


def test_what_cannot_be_measured_is_refused(file, tmp_path):
    mae = MAE(ViT((12, 1, 3), 16, 8), decoder_width=12, decoder_depth=1, decoder_heads=3)
    weights.save(tmp_path / "mae.safetensors", mae, describe(mae, Preprocessing(image_size=16)))
    with pytest.raises(WeightsError, match="masked autoencoder; give weights that predict AUs"):
        unlike.run(tmp_path / "mae.safetensors", [SAMPLE], [SAMPLE])
    (tmp_path / "empty").mkdir()
    before = file.read_bytes()
    with pytest.raises(MaefaceError):
        unlike.run(file, [tmp_path / "empty"], [SAMPLE])
    assert file.read_bytes() == before
