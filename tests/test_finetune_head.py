"""The head of the weights, which a fine-tuning may go on with."""

import pytest
import torch

import drawn
from maeface import finetune
from maeface.errors import ConfigError
from maeface.model import vit, weights
from maeface.model.au import AUModel
from maeface.model.start import build_model
from maeface.model.vit import ViT


def model(aus=(1, 12), task="both", seed=0):
    torch.manual_seed(seed)
    return AUModel(ViT("nano", 32, 16, 0.0), aus, task)


def test_a_head_is_copied_to_a_model_with_the_same_outputs():
    one, other = model(seed=0), model(seed=1)
    torch.nn.init.normal_(other.head.weight)
    one.take_head(other)
    features = torch.rand(3, 128)
    torch.testing.assert_close(one.forward_head(features), other.forward_head(features))
    with pytest.raises(ConfigError, match=r"its AUs \(1, 4\), here \(1, 12\)"):
        one.take_head(model(aus=(1, 4)))
    with pytest.raises(ConfigError, match="its task detection, here both"):
        one.take_head(model(task="detection"))


def test_a_training_of_no_steps_with_the_head_kept_gives_the_same_outputs(tmp_path, monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    faces, labels = drawn.faces(tmp_path / "crops"), drawn.labels(tmp_path / "labels.csv")
    first = finetune.run(drawn.finetune(), [faces], labels, "random", tmp_path / "first")
    heads = []
    for keep in (True, False):
        settings = drawn.finetune(optim={"base_lr": 0.0, "min_lr": 0.0}, model={"keep_head": keep})
        found = finetune.run(settings, [faces], labels, str(first), tmp_path / f"again{keep}")
        heads.append(weights.load_model(found)[0].head.weight)
    before = weights.load_model(first)[0].head.weight
    assert torch.equal(heads[0], before) and not torch.equal(heads[1], before)


def test_the_line_on_the_origin_counts_a_head_that_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    faces, labels = drawn.faces(tmp_path / "crops"), drawn.labels(tmp_path / "labels.csv")
    first = finetune.run(drawn.finetune(), [faces], labels, "random", tmp_path / "first")
    with_head, without = (
        build_model(drawn.finetune(model={"keep_head": keep}), (4, 12), str(first))[1]
        for keep in (True, False)
    )
    tensors = len(weights.load_model(first)[0].state_dict())
    assert without.endswith(
        f": {tensors - 4} tensors loaded; left as initialised: none; "
        "not used: fc_norm.bias, fc_norm.weight, head.bias, head.weight"
    )
    assert with_head.endswith(f": {tensors} tensors loaded; left as initialised: none; not used: none")


def test_random_weights_have_no_head_to_keep(tmp_path):
    settings = drawn.finetune(model={"keep_head": True})
    with pytest.raises(ConfigError, match=r"^model.keep_head is true, but init is random .* \(--init\)"):
        finetune.run(settings, [tmp_path], tmp_path / "labels.csv", "random", tmp_path / "run")
    assert not (tmp_path / "run").exists()
