"""``maeface plan``: what was measured comes back, the rest follows from it."""

import io

import pytest
import torch
from rich.console import Console

from maeface import config, plan
from maeface.errors import ConfigError
from maeface.model import mae

MAE = config.load(config.Pretrain, "mae-face")


def of(settings, batch, micro=None):
    optim = settings.optim.model_copy(update={"batch": batch, "micro_batch": micro})
    return settings.model_copy(update={"optim": optim})


@pytest.mark.parametrize(("batch", "gib"), [(256, 13.5), (1024, 48.7)])
def test_the_measured_case_comes_back(batch, gib):
    made = plan.run(of(MAE, batch), images=1000)
    assert made.measured and made.images_per_s == 3344 and (made.micro_batch, made.accumulation) == (batch, 1)
    assert made.memory / plan.GIB == pytest.approx(gib)
    assert made.days == pytest.approx(1000 * 800 / 3344 / 86400)
    assert made.crops == 1000 * 23_000


def test_operations_and_parameters_are_those_of_the_network():
    cost = plan._cost(MAE)
    assert cost.operations == pytest.approx(58.7e9, rel=0.02)
    with torch.device("meta"):
        model = mae.build(MAE.model)
    matrices = sum(value.numel() for value in model.parameters() if value.ndim >= 2)
    assert cost.parameters == pytest.approx(matrices, rel=0.01)


def test_the_paper_on_eight_a30():
    made = plan.run(MAE, 8, "a30")
    assert not made.measured
    assert made.images_per_s == pytest.approx(8 * 3344 * 165 / 989)
    assert made.days == pytest.approx(2_170_000 * 800 / made.images_per_s / 86400)
    assert made.memory <= 24 * plan.GIB * plan.HEADROOM
    assert made.micro_batch * made.accumulation * 8 == 4096 and made.micro_batch == 256
    stream = io.StringIO()
    Console(file=stream, width=200).print(plan.render(made))
    text = stream.getvalue()
    assert "8 x a30" in text and "13.5 of 24 GiB (256 images at once, 2 times a step)" in text
    assert "4.5 days" in text and "49.9 GB of crops" in text and "not measured" in text


def test_fine_tuning_reads_all_patches():
    base = config.load(config.Finetune, "detection")
    made = plan.run(base, gpu="a100")
    assert made.images == 146_847 and made.epochs == 20
    share = plan._cost(base).operations / plan._cost(MAE).operations
    assert 1.7 < share < 1.9  # 197 tokens through 12 blocks of 768
    assert made.images_per_s == pytest.approx(3344 * 312 / 989 / share)
    larger = base.model_copy(update={"model": base.model.model_copy(update={"size": "large"})})
    assert plan.run(larger, gpu="a100").days > 3 * made.days


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="no figures of a GPU 'p4'; expected one of h100"):
        plan.run(MAE, 1, "p4")
    with pytest.raises(ConfigError, match="3 GPUs cannot share a batch of 4096"):
        plan.run(MAE, 3)
    assert plan.run(of(MAE, 4096, 512), 8, "a30").micro_batch == 256, "512 images do not fit"
    assert plan.run(of(MAE, 4096, 256), 32).micro_batch == 128, "the share of one of 32 GPUs"
    with pytest.raises(
        ConfigError, match="ex1 is a recipe of reproduce; expected one of pretrain or finetune"
    ):
        plan.load("ex1")


def test_disk_and_memory_count_every_copy_of_the_weights():
    tuned = config.load(config.Finetune, "detection")
    last, averaged, kept = (
        config.load(config.Finetune, "detection", [override])
        for override in ("data.validation=0", "optim.ema=0.999", "run.milestone_every=5")
    )
    file = 4 * plan._cost(tuned).parameters
    # the weights, and three checkpoints of weights, two moments, and what else is kept
    assert plan.run(MAE, 8, "a100").run == 4 * plan._cost(MAE).parameters * (1 + 3 * 3)
    for settings, files in (
        (last, 1 + 3 * 3),
        (tuned, 1 + 3 * 4),
        (averaged, 1 + 3 * 5),
        (kept, 1 + 3 * 4 + 4),
    ):
        assert plan.run(settings, 8, "a100").run == files * file
    made, less, more = (plan.run(of(one, 512, 8), 8, "a100").memory for one in (tuned, last, averaged))
    assert (made - less, more - made) == (pytest.approx(file), pytest.approx(file))


def test_a_network_in_parts_needs_less_of_each_gpu():
    whole, parts = (
        plan.run(config.load(config.Pretrain, "mae-face", ["optim.micro_batch=8", *more]), 8, "a100")
        for more in ([], ["run.sharded=true"])
    )
    bytes_each = 16 - (16 / 8 + 4)
    assert whole.memory - parts.memory == pytest.approx(bytes_each * plan._cost(MAE).parameters)


def test_a_frozen_encoder_has_no_backward_pass_and_no_moments():
    whole, frozen = (
        config.load(config.Finetune, "detection", [f"model.frozen={value}", "optim.micro_batch=8"])
        for value in ("false", "true")
    )
    cost = plan._cost(whole)
    assert plan._cost(frozen).operations == pytest.approx(cost.operations / 3)
    assert plan._cost(frozen).kept == pytest.approx(cost.kept / 12), "one of 12 blocks"
    trained, probed = plan.run(whole, 1, "a100"), plan.run(frozen, 1, "a100")
    assert probed.images_per_s == pytest.approx(3 * trained.images_per_s)
    # no moments in any of three checkpoints, and neither gradients nor moments in memory
    assert trained.run - probed.run == pytest.approx(3 * 8 * cost.parameters)
    assert trained.memory - probed.memory > 12 * cost.parameters


def test_crops_on_the_device_take_its_memory():
    files, held = (
        config.load(
            config.Finetune,
            "detection",
            [f"data.on_device={value}", "data.randaugment=", "optim.micro_batch=8"],
        )
        for value in ("false", "true")
    )
    read, gathered = (plan.run(one, 1, "a100", images=100_000) for one in (files, held))
    assert gathered.memory - read.memory == pytest.approx(100_000 * 224 * 224 * 3)
    stream = io.StringIO()
    Console(file=stream, width=200).print(plan.render(gathered))
    assert "from crops that take 14.0 GiB of each GPU" in stream.getvalue()
    with pytest.raises(
        ConfigError, match=r"data.on_device: 147,000 crops .* take 20.6 GiB, .* 24 GiB of a30"
    ):
        plan.run(held, 1, "a30", images=147_000)


@pytest.mark.parametrize(
    ("load", "names"),
    [
        (plan.load, "demo-finetune, demo-pretrain, detection, intensity, mae-face; did you mean 'mae-face'"),
        (lambda name: config.load(config.Pretrain, name), "demo-pretrain, mae-face; did you mean 'mae-face'"),
        (lambda name: config.load(config.Finetune, name), "demo-finetune, detection, intensity$"),
    ],
)
def test_recipes_that_are_suggested_are_those_of_the_command(load, names):
    with pytest.raises(ConfigError, match=f"no recipe 'mae-fcae'; give a TOML file or one of: {names}"):
        load("mae-fcae")
