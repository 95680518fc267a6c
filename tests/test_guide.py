"""The guide: measures of faces learned beside the action units."""

import numpy as np
import pandas as pd
import pytest
import torch

import drawn
from maeface import finetune
from maeface.data import manifest
from maeface.data.loading.split import Split
from maeface.data.tables import guide
from maeface.errors import ConfigError, DataError
from maeface.model import au, vit, weights
from maeface.model.au import AUModel, GuidedAUModel
from maeface.model.vit import ViT
from maeface.train.optim import layer_of, parameter_groups


def write(path, **columns):
    pd.DataFrame(columns).to_parquet(path)
    return path


def test_measures_are_standardised_in_the_order_of_the_faces_and_what_is_missing_is_not_known(tmp_path):
    path = write(tmp_path / "g.parquet", id=["c", "a", "b"], gap=[3.0, 1.0, np.nan], AU12_p=[0.0, 1.0, 1.0])
    found = guide.read(path, ["a", "b", "c", "stranger"])
    assert found.names == ("gap",)  # action units are labels, not measures
    assert found.mask[:, 0].tolist() == [True, False, True, False]
    assert found.values[:, 0].tolist() == [-1, 0, 1, 0]


def test_a_slip_of_the_tool_is_cut_and_a_constant_measure_teaches_nothing(tmp_path):
    values = [0.0] * 99 + [1000.0]
    ids = [str(i) for i in range(100)]
    path = write(tmp_path / "g.parquet", id=ids, wild=values, flat=[5.0] * 100)
    found = guide.read(path, ids)
    assert found.values[:, 0].max() == guide.LIMIT
    assert not found.values[:, 1].any()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"source": ["a"], "gap": [1.0]}, "no column id"),
        ({"id": ["a", "a"], "gap": [1.0, 2.0]}, "two rows of a"),
        ({"id": ["b"], "gap": [1.0]}, "measures none of these faces, such as a"),
        ({"id": ["a"], "AU12_p": [1.0]}, "measures none"),
    ],
)
def test_what_is_no_guide_is_refused(tmp_path, columns, says):
    with pytest.raises(DataError, match=says):
        guide.read(write(tmp_path / "g.parquet", **columns), ["a"])


def test_a_missing_or_unreadable_guide_is_said_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        guide.read(tmp_path / "none.parquet", ["a"])
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        guide.read(tmp_path / "bad.parquet", ["a"])


def test_faces_are_repeated_by_their_folder():
    rows = pd.DataFrame({"id": ["a", "b", "c"], "folder": [0, 1, 0]}, index=[5, 7, 9])
    part = Split(rows, np.arange(3)[:, None], np.ones((3, 1), bool)).repeat((1, 3))
    assert part.rows["id"].tolist() == ["a", "b", "b", "b", "c"]
    assert part.labels[:, 0].tolist() == [0, 1, 1, 1, 2]
    with pytest.raises(DataError, match="one for each data folder"):
        part.repeat((2,))


def guided():
    torch.manual_seed(0)
    return GuidedAUModel(AUModel(ViT("nano", 32, 16, 0.0), (1, 12), "both"), 3)


def test_both_heads_read_the_same_features_and_the_au_model_stays_as_it_is():
    model = guided().eval()
    images = torch.rand(2, 3, 32, 32)
    output, measured = model(images)
    assert measured.shape == (2, 3)
    torch.testing.assert_close(output.occurrence, model.model(images).occurrence)


def test_layer_decay_sees_the_encoder_below_the_guide():
    assert layer_of("model.encoder.blocks.3.attn.qkv.weight", 6) == 4
    assert layer_of("model.encoder.pos_embed", 6) == 0
    assert layer_of("guide.weight", 6) == layer_of("model.head.weight", 6) == 7
    model = guided()
    plain = parameter_groups(model.model.named_parameters(), 6, 0.05, 0.9)
    scales = {id(p): group["lr_scale"] for group in plain for p in group["params"]}
    for group in parameter_groups(model.named_parameters(), 6, 0.05, 0.9):
        assert all(scales.get(id(p), 1.0) == group["lr_scale"] for p in group["params"])


def test_the_guides_loss_counts_each_face_once_and_nothing_that_is_not_known():
    measured = torch.tensor([[2.0, 9.0], [0.0, 0.0], [5.0, 5.0]])
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    # smooth L1 of 2 is 1.5; the second face is right; of the third nothing is known
    assert float(au.guide_loss_sum(measured, torch.zeros(3, 2), mask)) == 1.5


def test_a_guide_is_learned_and_left_out_of_the_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    faces, labels = drawn.faces(tmp_path / "crops"), drawn.labels(tmp_path / "labels.csv")
    ids = list(manifest.load(faces)["id"])
    path = write(tmp_path / "g.parquet", id=ids, gap=np.arange(len(ids), dtype=float))
    settings = drawn.finetune(data={"repeats": [2]})
    found = finetune.run(settings, [faces], labels, "random", tmp_path / "guided", path)
    plain = finetune.run(settings, [faces], labels, "random", tmp_path / "plain")
    model, metadata = weights.load_model(found)
    assert "guide_sha256" in metadata.provenance
    other = weights.load_model(plain)[0].state_dict()
    assert model.state_dict().keys() == other.keys()
    assert any(not torch.equal(value, other[name]) for name, value in model.state_dict().items())
