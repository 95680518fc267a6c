import json
from pathlib import Path

import pytest
import torch
from torch import nn

from maeface.config import Finetune, Optim, Pretrain
from maeface.train import optim

REFERENCE = json.loads((Path(__file__).parent / "reference" / "optim.json").read_text())


def settings(**values):
    start = {
        "epochs": 4,
        "warmup_epochs": 1,
        "batch": 256,
        "base_lr": 1.0,
        "min_lr": 0.0,
        "betas": (0.9, 0.95),
    }
    return Optim(**(start | values))


@pytest.mark.parametrize("reference", REFERENCE["schedule"], ids=lambda r: f"{r['epochs']} epochs")
def test_schedule_is_that_of_the_official_code(reference):
    # batch 256: equation 5 makes the peak the base learning rate
    chosen = settings(
        epochs=reference["epochs"],
        warmup_epochs=reference["warmup_epochs"],
        base_lr=reference["lr"],
        min_lr=reference["min_lr"],
    )
    for epoch, rate in reference["points"]:
        assert optim.learning_rate(epoch, chosen) == rate


def test_paper_learning_rates_follow_equation_5():
    assert optim.learning_rate(40, Pretrain().optim) == pytest.approx(2.4e-3)
    assert optim.learning_rate(10, Finetune().optim) == pytest.approx(2e-4)


def test_no_warm_up_and_only_warm_up():
    assert optim.learning_rate(0, settings(warmup_epochs=0)) == 1.0
    assert optim.learning_rate(4, settings(warmup_epochs=4)) == 1.0


class Classifier(nn.Module):
    """Parameters named and shaped like those of the official depth-3 classifier."""

    def __init__(self, names):
        super().__init__()
        for name in names:
            place, parts = self, name.split(".")
            for part in parts[:-1]:
                if part not in place._modules:
                    place.add_module(part, nn.Module())
                place = place._modules[part]
            one_dimensional = parts[-1] == "bias" or "norm" in name
            shape = (4,) if one_dimensional else (1, 1, 4) if len(parts) == 1 else (4, 4)
            place.register_parameter(parts[-1], nn.Parameter(torch.zeros(shape)))


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_layer_decay_groups_are_those_of_the_official_code(prefix):
    reference = REFERENCE["layer_decay_0.75"]
    named = [(prefix + name, value) for name, value in Classifier(reference).named_parameters()]
    groups = optim.parameter_groups(named, depth=3, weight_decay=0.05, layer_decay=0.75)
    got = {
        name.removeprefix(prefix): {"lr_scale": group["lr_scale"], "weight_decay": group["weight_decay"]}
        for group in groups
        for name in group["names"]
    }
    assert got == reference


def test_a_norm_before_the_blocks_learns_as_slowly_as_the_patches():
    assert optim.layer_of("encoder.norm_pre.weight", 12) == optim.layer_of("patch_embed.proj.weight", 12) == 0
    assert optim.layer_of("norm.weight", 12) == 13


def test_what_is_frozen_is_left_out():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    groups = optim.parameter_groups(model.named_parameters(), depth=1, weight_decay=0.1)
    assert [group["names"] for group in groups] == [["weight"]]


def test_rate_is_scaled_per_group():
    model = Classifier(REFERENCE["layer_decay_0.75"])
    adamw = optim.adamw(model, 3, settings(layer_decay=0.5))
    optim.set_learning_rate(adamw, 0.8)
    rates = {group["lr_scale"]: group["lr"] for group in adamw.param_groups}
    assert rates == {0.5**k: pytest.approx(0.8 * 0.5**k) for k in range(5)}
