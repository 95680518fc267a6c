"""What a fine-tuning can do beyond the paper: frozen encoder, weights of rare AUs, thresholds, milestones."""

import json

import numpy as np
import pytest
import torch

import drawn
from maeface import config, finetune, pretrain
from maeface.errors import ConfigError
from maeface.model import vit, weights
from maeface.model.au import AUModel, AUOutput, loss_sum
from maeface.model.vit import ViT
from maeface.train import journal

PLAIN = {"randaugment": "", "mixup": 0.0, "cutmix": 0.0, "crop_scale": (0.9, 1.0)}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two blocks of 16 and no picture of curves: seconds."""
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    monkeypatch.setattr(journal, "lines", lambda folder: [])


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    base = tmp_path_factory.mktemp("options")
    return drawn.faces(base / "crops"), drawn.labels(base / "labels.csv")


def settings(**chosen):
    """Settings as of ``drawn.finetune``, with keys of the top level too."""
    top = {key: chosen.pop(key) for key in ("thresholds", "pos_weight", "selection") if key in chosen}
    return config.check(config.Finetune, drawn.finetune(**chosen).model_dump() | top)


def tune(faces, out, init="random", **chosen):
    return finetune.run(settings(**chosen), [faces[0]], faces[1], init, out)


# frozen encoder -------------------------------------------------------------------------------------------


def test_a_frozen_encoder_stays_as_it_is_and_the_head_learns(faces, tmp_path):
    start = pretrain.run(drawn.pretrain({"epochs": 1}), [faces[0]], tmp_path / "mae")
    path = tune(faces, tmp_path / "au", str(start), model={"frozen": True, "drop_path": 0.5}, data=PLAIN)
    before, after = weights.load_mae(start)[0], weights.load_model(path)[0]
    for name, value in before.encoder.state_dict().items():
        assert torch.equal(value, after.encoder.state_dict()[name]), name
    assert after.head.weight.abs().max() > 1e-3  # it began with 2e-5


def test_a_frozen_encoder_has_no_gradients_and_stays_in_evaluation_mode():
    model = AUModel(ViT((16, 2, 2), 16, 8, 0.5), (1, 12), "detection")
    model.freeze_encoder()
    model.train()
    assert model.training and not any(module.training for module in model.encoder.modules())
    images = torch.rand(4, 3, 16, 16)
    tokens = model.encoder(images)
    assert not tokens.requires_grad  # nothing is kept for a backward pass
    assert torch.equal(tokens, model.encoder(images))
    model(images).occurrence.sum().backward()
    there = {name for name, value in model.named_parameters() if value.grad is not None}
    assert there == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    plain = AUModel(ViT((16, 2, 2), 16, 8, 0.5), (1, 12), "detection").train()
    assert plain.encoder.training


# weights of rare AUs --------------------------------------------------------------------------------------


def test_the_weight_of_a_positive_label_is_that_of_so_many_labels():
    logits, labels = torch.tensor([[0.3, -0.2], [0.1, 0.4]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    mask, one = torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.bool)
    one[0, 0] = True
    plain, weight = loss_sum(AUOutput(logits, None), labels, mask)
    of_one, _ = loss_sum(AUOutput(logits, None), labels, one)
    total, same = loss_sum(AUOutput(logits, None), labels, mask, torch.tensor([5.0, 1.0]))
    torch.testing.assert_close(total, plain + 4 * of_one)
    assert weight == same == 4
    both = AUOutput(logits, torch.rand(2, 2))
    values = torch.cat([labels, labels * 5], dim=1)
    total, _ = loss_sum(both, values, mask.repeat(1, 2), torch.tensor([5.0, 1.0]))
    torch.testing.assert_close(total, loss_sum(both, values, mask.repeat(1, 2))[0] + 4 * of_one)


def test_rare_action_units_weigh_more_in_training_and_in_the_validation_loss(faces, tmp_path, capsys):
    still = {"epochs": 1, "base_lr": 0.0}  # every logit is about 0, and every error log 2
    data = PLAIN | {"validation": 0.375}  # three of eight people: never as many as make the mean 1
    chosen = {"data": data, "model": {"task": "detection", "aus": (1, 4)}, "optim": still}
    tune(faces, tmp_path, pos_weight=3.0, **chosen)
    # AU01 is 1 wherever it is known, which is in every other face; AU04 is present in one of three
    assert "weights of faces with an AU: AU01 0.333, AU04 2" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    held_out = json.loads((tmp_path / "split.json").read_text())["validation"]
    numbers = [3 * int(name[1:]) + k for name in held_out for k in range(3)]
    weights_of = [1 / 3 for n in numbers if n % 2 == 0] + [2.0 if n % 3 == 0 else 1.0 for n in numbers]
    (loss,) = (row["validation_loss"] for row in rows if "validation_loss" in row)
    assert loss == pytest.approx(np.log(2) * np.mean(weights_of), rel=1e-3)
    assert len(held_out) == 3 and abs(np.mean(weights_of) - 1) > 0.01
    steps = [row["loss"] / np.log(2) for row in rows if "loss" in row]
    assert len(steps) == 3 and max(abs(loss - 1) for loss in steps) > 0.01


# thresholds -----------------------------------------------------------------------------------------------


def many(folder, count=90):
    """Drawn faces of 30 people; AU12 in half of them, AU04 in three."""
    faces = drawn.faces(folder / "crops", count)
    rows = ["source,subject,AU12_o,AU04_o"]
    rows += [f"{n:02d}.png,S{n // 3},{n % 2},{int(n in (5, 50, 80))}" for n in range(count)]
    (folder / "labels.csv").write_text("\n".join(rows))
    return faces, folder / "labels.csv"


def test_thresholds_are_chosen_on_the_validation_faces_and_written_into_the_weights(tmp_path, capsys):
    faces = many(tmp_path)
    seen = []
    inner = finetune.choose_thresholds

    def spy(labels, probabilities, mask):
        seen.append((labels, probabilities, mask))
        return inner(labels, probabilities, mask)

    chosen = {"data": PLAIN | {"validation": 0.4}, "model": {"task": "detection"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "choose_thresholds", spy)
        path = tune(faces, tmp_path / "f1", thresholds="f1", **chosen)
    model, metadata = weights.load_model(path)
    ((labels, probabilities, mask),) = seen
    held_out = json.loads((tmp_path / "f1" / "split.json").read_text())["validation"]
    assert len(labels) == 3 * len(held_out)
    assert metadata.aus == (4, 12) and metadata.thresholds == inner(labels, probabilities, mask)
    assert metadata.thresholds[0] == 0.5 != metadata.thresholds[1]
    assert f"thresholds by F1 on validation: AU04 0.5, AU12 {metadata.thresholds[1]:g}" in (
        capsys.readouterr().err
    )
    # of the weights that are saved, which are the best ones
    index = int(held_out[0][1:]) * 3
    pixels = torch.tensor(np.asarray(drawn.face(index)), dtype=torch.float32).permute(2, 0, 1)[None] / 255
    found = model(finetune.preprocessing.to_input((pixels * 255).byte(), 16)).probabilities()
    first = sorted(
        range(len(labels)), key=lambda row: abs(probabilities[row] - found[0].numpy(force=True)).max()
    )
    assert probabilities[first[0]] == pytest.approx(found[0].numpy(force=True), abs=1e-3)
    plain = tune(faces, tmp_path / "fixed", **chosen)
    assert weights.read_metadata(plain).thresholds == (0.5, 0.5)


def test_settings_that_cannot_be_followed_are_refused():
    with pytest.raises(ConfigError, match=r"pos_weight is for occurrence; model\.task is 'intensity'"):
        settings(model={"task": "intensity"}, pos_weight=5.0)
    with pytest.raises(ConfigError, match="thresholds='f1' is for occurrence"):
        settings(model={"task": "intensity"}, thresholds="f1")
    for chosen in ({"data": {"validation": 0.0}}, {"selection": "test"}):
        with pytest.raises(ConfigError, match=r"thresholds='f1' needs faces that are held out"):
            settings(thresholds="f1", **chosen)


def test_the_recipes_of_the_paper_are_as_published():
    for recipe in ("detection", "intensity"):
        made = config.load(config.Finetune, recipe)
        assert made.thresholds == "fixed" and made.pos_weight is None
        assert made.optim.ema is None and not made.model.frozen


# milestones and the mean of the weights -------------------------------------------------------------------


def test_milestones_are_weights_to_start_from_and_to_predict_with(faces, tmp_path):
    chosen = {"run": {"milestone_every": 2}}
    start = pretrain.run(drawn.pretrain({"epochs": 4}, **chosen), [faces[0]], tmp_path / "mae")
    kept = sorted((tmp_path / "mae" / "milestones").iterdir())
    assert [path.name for path in kept] == ["epoch-0002.safetensors", "epoch-0004.safetensors"]
    assert weights.read_metadata(kept[0]).provenance["epoch"] == "2"
    final, last, early = (weights.load_mae(path)[0].state_dict() for path in (start, kept[1], kept[0]))
    assert all(torch.equal(value, last[name]) for name, value in final.items())
    assert any(not torch.equal(value, early[name]) for name, value in final.items())
    none = {"epochs": 0, "warmup_epochs": 0}
    again = pretrain.run(drawn.pretrain(none, init=str(kept[0])), [faces[0]], tmp_path / "again")
    assert all(
        torch.equal(value, early[name]) for name, value in weights.load_mae(again)[0].state_dict().items()
    )
    tune(faces, tmp_path / "au", str(kept[0]), optim={"epochs": 2}, run={"milestone_every": 1})
    kept = sorted((tmp_path / "au" / "milestones").iterdir())
    assert [path.name for path in kept] == ["epoch-0001.safetensors", "epoch-0002.safetensors"]
    model, metadata = weights.load_model(kept[0])
    assert metadata.thresholds == (0.5, 0.5) and metadata.dataset == "labels.csv"
    assert model.aus == (4, 12)


def test_without_being_asked_for_there_are_no_milestones(faces, tmp_path):
    tune(faces, tmp_path, optim={"epochs": 1})
    assert not (tmp_path / "milestones").exists()


def test_the_mean_of_the_weights_is_in_the_weights_file_and_in_the_milestones(faces, tmp_path):
    chosen = {"data": {"validation": 0.0}, "run": {"milestone_every": 3}}
    files = [
        pretrain.run(drawn.pretrain({"ema": decay}, **chosen), [faces[0]], tmp_path / str(decay))
        for decay in (None, 0.9)
    ]
    plain, mean = (weights.load_mae(path)[0].state_dict() for path in files)
    kept = weights.load_mae(tmp_path / "0.9" / "milestones" / "epoch-0003.safetensors")[0].state_dict()
    assert any(not torch.equal(value, plain[name]) for name, value in mean.items())
    assert all(torch.equal(value, kept[name]) for name, value in mean.items())
