"""The order of the frames of a clip, learned from a guide."""

import numpy as np
import pandas as pd
import pytest
import torch

import drawn
from maeface import config, finetune
from maeface.data import manifest
from maeface.data.loading.sampling import BatchOrder
from maeface.data.tables import guide
from maeface.errors import ConfigError
from maeface.model import au, vit, weights


def test_frames_of_a_clip_follow_each_other_and_none_is_left_out():
    groups = np.array([0] * 10 + [1] * 3 + [-1] * 7)
    order = BatchOrder(20, 20, seed=1, groups=groups, together=4)
    _, first = order.indices(0)
    assert sorted(first) == list(range(20))
    runs = [list(run) for run in np.split(first, np.flatnonzero(np.diff(groups[first])) + 1)]
    of_clips = sorted(len(run) for run in runs if groups[run[0]] >= 0)
    assert sum(of_clips) == 13 and max(of_clips) <= 8  # two runs of a clip may meet by chance
    assert len(of_clips) <= 4 and sum(groups[run[0]] == 1 for run in runs) == 1
    _, second = order.indices(1)
    assert list(first) != list(second) and sorted(second) == list(range(20))
    assert list(order.indices(0)[1]) == list(first)


def test_samples_without_a_group_keep_the_order_of_a_training_without_groups():
    plain = BatchOrder(20, 20, seed=1).indices(0)[1]
    alone = BatchOrder(20, 20, seed=1, groups=np.full(20, -1), together=4).indices(0)[1]
    assert list(plain) == list(alone)


def loss(scores, measures, clips, mask=None, least=0.5):
    measures = torch.tensor(measures)[:, None]
    known = torch.ones_like(measures, dtype=torch.bool) if mask is None else torch.tensor(mask)[:, None]
    return float(
        au.relative_loss_sum(torch.tensor(scores)[:, None], measures, known, torch.tensor(clips), least)
    )


def test_only_clear_differences_within_a_clip_count():
    softplus = float(torch.nn.functional.softplus(torch.tensor(2.0)))
    # one pair in the wrong order by 2: both faces have that error
    assert loss([0.0, 2.0], [1.0, 0.0], [0, 0]) == pytest.approx(2 * softplus)
    assert loss([0.0, 2.0], [0.4, 0.0], [0, 0]) == 0.0  # too small a difference
    assert loss([0.0, 2.0], [1.0, 0.0], [0, 1]) == 0.0  # of two clips
    assert loss([0.0, 2.0], [1.0, 0.0], [-1, -1]) == 0.0  # photographs
    assert loss([0.0, 2.0], [1.0, 0.0], [0, 0], [True, False]) == 0.0
    assert loss([20.0, 0.0], [1.0, 0.0], [0, 0]) == pytest.approx(0.0, abs=1e-6)  # the right order


def test_a_face_counts_once_however_many_pairs_it_has():
    # the first face has the lowest measure and equal scores with all: log 2 for each of the four faces
    assert loss([0.0] * 4, [0.0, 3.0, 3.0, 3.0], [0] * 4) == pytest.approx(4 * np.log(2))


def test_scores_order_faces_by_logits_and_by_intensity():
    output = au.AUOutput(torch.tensor([[1.0]]), torch.tensor([[0.5]]))
    assert [values.tolist() for values in output.scores()] == [[[1.0]], [[5.0]]]
    assert len(au.AUOutput(None, torch.tensor([[0.5]])).scores()) == 1


def test_what_cannot_be_ordered_is_refused():
    measures = guide.Guide(("gap",), np.zeros((1, 1), np.float32), np.ones((1, 1), bool))
    assert guide.columns_of(measures, {12: "gap"}, (1, 12)) == {1: 0}
    assert guide.columns_of(None, {}, (1, 12)) == {}
    with pytest.raises(ConfigError, match="needs a guide"):
        guide.columns_of(None, {12: "gap"}, (1, 12))
    with pytest.raises(ConfigError, match=r"AU25 is not among the learned AUs"):
        guide.columns_of(measures, {25: "gap"}, (1, 12))
    with pytest.raises(ConfigError, match=r"no 'width'; it has gap"):
        guide.columns_of(measures, {12: "width"}, (1, 12))
    with pytest.raises(ConfigError, match=r"set data\.mixup and data\.cutmix to 0"):
        config.check(config.Finetune, {"relative": {"measures": {12: "gap"}}}, "recipe")


def test_the_order_of_frames_changes_what_is_learned(tmp_path, monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    faces, labels = drawn.faces(tmp_path / "crops"), drawn.labels(tmp_path / "labels.csv")
    ids = list(manifest.load(faces)["id"])
    path = tmp_path / "g.parquet"
    pd.DataFrame({"id": ids, "gap": np.arange(len(ids), dtype=float)}).to_parquet(path)
    read = manifest.load

    def with_clips(folder):
        return read(folder).assign(clip="one")

    monkeypatch.setattr(manifest, "load", with_clips)
    off = {"mixup": 0.0, "cutmix": 0.0}
    learned = []
    for name, measures in (("plain", {}), ("relative", {12: "gap"})):
        settings = drawn.finetune(data=off, relative={"measures": measures, "least": 0.1})
        found = finetune.run(settings, [faces], labels, "random", tmp_path / name, path)
        learned.append(weights.load_model(found)[0].state_dict())
    assert any(not torch.equal(value, learned[1][name]) for name, value in learned[0].items())
