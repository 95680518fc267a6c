import importlib.metadata
import json

import pytest
import torch
from torch import nn

from maeface import config
from maeface.errors import ConfigError, DataError, ResourceError, WeightsError
from maeface.model.device import choose_device, computes_bf16
from maeface.train import checkpoint, ema, journal, loop
from maeface.train import run as runs

OPTIM = {"epochs": 3, "warmup_epochs": 1, "batch": 8, "base_lr": 1.0, "min_lr": 0.0, "betas": (0.9, 0.95)}


def settings(optim=None, run=None):
    plain = {"precision": "fp32", "device": "cpu"} | (run or {})
    return config.Pretrain.model_validate({"optim": OPTIM | (optim or {}), "run": plain})


class Points:
    """24 points of a line with some labels unknown, in steps of 8, cut into micro-batches."""

    def __init__(self, micro=8, steps_per_epoch=3):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(24, 4, generator=generator)
        self.y = self.x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]]) + 1
        self.mask = torch.rand(24, 1, generator=generator) < 0.7
        self.micro, self.steps_per_epoch = micro, steps_per_epoch

    def steps(self, start, stop):
        for step in range(start, stop):
            first = step % self.steps_per_epoch * 8
            yield (self.cut(i, i + self.micro) for i in range(first, first + 8, self.micro))

    def cut(self, first, last):
        where = slice(first, last)
        ids = [f"p{i}" for i in range(first, last)]
        return {"x": self.x[where], "y": self.y[where], "mask": self.mask[where], "id": ids}


def squared(model, batch, step):
    errors = (model(batch["x"]) - batch["y"]).square() * batch["mask"]
    return errors.sum(), batch["mask"].sum()


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        nn.init.zeros_(self.layer.weight)

    def forward(self, x):
        return self.layer(x)


def train(folder, points=None, chosen=None, loss=squared, **options):
    chosen = chosen or settings()
    torch.manual_seed(0)
    model = Line()
    with runs.open_run(folder, chosen, {"data": "points"}) as session:
        state = loop.fit(session, model, 1, points or Points(), loss, chosen.optim, **options)
    return model, state


def test_it_learns_and_logs_every_step(tmp_path):
    model, state = train(tmp_path, chosen=settings({"epochs": 60, "base_lr": 3.0}))
    assert state.finished and state.step == 180
    assert model.layer.weight.detach().flatten().tolist() == pytest.approx([1, -2, 0.5, 3], abs=0.2)
    rows = journal.lines(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 181))
    assert rows[-1]["loss"] < 0.1 < rows[0]["loss"]
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_accumulation_equals_the_whole_batch_however_labels_are_known(tmp_path, micro):
    whole, _ = train(tmp_path / "whole")
    parts, _ = train(tmp_path / "parts", Points(micro))
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), atol=1e-6, rtol=1e-6)


def test_nothing_known_moves_nothing(tmp_path):
    points = Points()
    points.mask[:] = False
    torch.manual_seed(0)
    before = Line().layer.bias.item()  # not 0, and not decayed
    model, state = train(tmp_path, points)
    assert model.layer.bias.item() == before != 0 and state.finished
    assert all(row["loss"] == 0 for row in journal.lines(tmp_path))


def test_a_step_draws_the_same_whatever_came_before(tmp_path):
    drawn = {}

    def noisy(model, batch, step):
        drawn.setdefault(step, []).append(torch.rand(1).item())
        return squared(model, batch, step)

    train(tmp_path / "a", loss=noisy)
    train(tmp_path / "b", loss=noisy)
    assert all(first == second for first, second in drawn.values())
    assert len({values[0] for values in drawn.values()}) == 9


def spoilt():
    """The last step of each epoch has a label that is no number."""
    points = Points()
    points.y[17] = float("nan")
    points.mask[17] = True
    return points


def test_a_loss_that_is_not_finite_names_step_and_samples(tmp_path):
    with pytest.raises(DataError, match=r"nan at step 2 \(epoch 0\); .*p16, p17"):
        train(tmp_path, spoilt(), settings({"max_skipped": 0}, {"checkpoint_every_s": 0}))
    tensors, state = checkpoint.read_latest(tmp_path)[:2]
    assert state["step"] == 2 and all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(tmp_path, capsys):
    model, state = train(tmp_path / "spoilt", spoilt())
    assert (state.step, state.skipped, state.skipped_in_row) == (9, 3, 1)
    assert "nan at step 5 (epoch 1): the step is skipped; its samples: p16, p17" in capsys.readouterr().err
    rows = journal.lines(tmp_path / "spoilt")
    assert [row["loss"] is None for row in rows] == [False, False, True] * 3
    assert [row.get("skipped") for row in rows] == [None, None, 1, None, None, 2, None, None, 3]

    # the weights after a skipped step are those before it, bit for bit, moments included
    train(tmp_path / "each", spoilt(), settings(run={"checkpoint_every_s": 0}))
    files = sorted((tmp_path / "each" / "checkpoints").iterdir())
    before, after = (checkpoint._read(path)[0] for path in files)
    assert [path.stem for path in files] == ["00000008", "00000009"]
    torch.testing.assert_close(after, before, atol=0, rtol=0)
    torch.testing.assert_close(after["model.layer.weight"], model.layer.weight.detach(), atol=0, rtol=0)


def test_a_run_with_skipped_steps_goes_on_bit_for_bit(tmp_path, monkeypatch):
    whole, _ = train(tmp_path / "whole", spoilt())
    write = checkpoint.save

    for stop in (3, 4, 7):  # after a skipped step, and between two

        def save(folder, learner, stop=stop):
            write(folder, learner)
            if learner.state.step == stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(checkpoint, "save", save)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", spoilt(), settings(run={"checkpoint_every_s": 0}))
    monkeypatch.setattr(checkpoint, "save", write)
    parts, state = train(tmp_path / "parts", spoilt())
    assert state.skipped == 3
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), atol=0, rtol=0)


def test_too_many_skipped_steps_in_a_row_end_the_run_also_over_a_resume(tmp_path):
    points = spoilt()
    points.y[:], points.mask[:] = float("inf"), True
    message = r"at step 2 \(epoch 0\), after 2 others in a row; lower optim.base_lr, .*: p16, p17"
    with pytest.raises(DataError, match=message):
        train(tmp_path, points, settings({"max_skipped": 2}, {"checkpoint_every_s": 0}))
    with pytest.raises(DataError, match=message):  # two before the checkpoint, one after it
        train(tmp_path, points, settings({"max_skipped": 2}, {"checkpoint_every_s": 0}))


def test_a_gradient_that_is_not_finite_is_skipped_too(tmp_path, capsys):
    def steep(model, batch, step):
        total, weight = squared(model, batch, step)
        if step == 4:
            total = total + (model.layer.weight * 0).sum().abs().sqrt()  # 0, with an infinite slope
        return total, weight

    _, state = train(tmp_path, loss=steep)
    assert state.skipped == 1
    assert "the gradient is not finite at step 4 (epoch 1)" in capsys.readouterr().err


def evaluations(losses):
    """An evaluation that finds these losses, one after the other."""
    rest = iter(losses)
    return lambda epoch: loop.Evaluation(next(rest), {"f1_mean": 0.5})


def test_early_stop_keeps_the_best_weights(tmp_path):
    long = settings({"epochs": 50, "warmup_epochs": 1})
    best, next_evaluation = {}, evaluations([5.0, 3.0, 4.0, 3.5, 1.0])

    def evaluate(epoch):
        best[epoch] = {name: value.clone() for name, value in held[0].state_dict().items()}
        return next_evaluation(epoch)

    held = []

    def loss(model, batch, step):
        held[:] = [model]
        return squared(model, batch, step)

    model, state = train(tmp_path, chosen=long, loss=loss, evaluate=evaluate, patience=2, keep_best=True)
    assert (state.step, state.best_loss, state.best_step) == (12, 3.0, 6)
    torch.testing.assert_close(model.state_dict(), best[2], atol=0, rtol=0)
    logged = [row for row in journal.lines(tmp_path) if "validation_loss" in row]
    assert [row["validation_loss"] for row in logged] == [5.0, 3.0, 4.0, 3.5]
    again, state = train(tmp_path, chosen=long, evaluate=evaluate, patience=2, keep_best=True)
    assert state.step == 12
    torch.testing.assert_close(again.state_dict(), best[2], atol=0, rtol=0)


def test_no_epochs_changes_nothing(tmp_path):
    model, state = train(tmp_path, chosen=settings({"epochs": 0, "warmup_epochs": 0}))
    assert state.step == 0 and model.layer.weight.abs().max() == 0


def test_evaluations_are_as_far_apart_as_asked_and_one_is_at_the_end(tmp_path):
    seen = []

    def evaluate(epoch):
        seen.append(epoch)
        return loop.Evaluation(1.0)

    train(tmp_path, chosen=settings({"epochs": 5}, {"evaluate_every": 2}), evaluate=evaluate)
    assert seen == [2, 4, 5]


# the mean of the weights, and milestones ------------------------------------------------------------------


def test_the_mean_of_the_weights_is_evaluated_and_saved_and_the_weights_learn_as_without(tmp_path):
    held, seen, means = [], [], []

    def loss(model, batch, step):
        held[:] = [model]
        seen.append(model.layer.weight.detach().clone())  # before each step
        return squared(model, batch, step)

    def evaluate(epoch):
        means.append(held[0].layer.weight.detach().clone())
        return loop.Evaluation(1.0)

    plain, _ = train(tmp_path / "plain")
    chosen = settings({"ema": 0.6})
    model, _ = train(tmp_path / "mean", chosen=chosen, loss=loss, evaluate=evaluate)
    seen.append(plain.layer.weight.detach())
    mean, expected = seen[0], []
    for step, after in enumerate(seen[1:]):
        stays = min(0.6, (1 + step) / (10 + step))
        mean = stays * mean + (1 - stays) * after
        expected.append(mean)
    for got, step in zip(means, (2, 5, 8), strict=True):
        torch.testing.assert_close(got, expected[step])
    torch.testing.assert_close(model.layer.weight.detach(), expected[-1])
    assert not torch.equal(model.layer.weight, plain.layer.weight)


def test_the_decay_is_that_of_the_settings_from_some_step_on():
    layer = nn.Linear(1, 1)
    learner = checkpoint.Learner(layer, torch.optim.AdamW(layer.parameters()), mean=ema.copy(layer))
    for decay, step, expected in ((0.9, 10_000, 0.9), (0.9, 0, 0.1)):
        learner.mean["weight"].fill_(1.0)
        nn.init.zeros_(layer.weight)
        ema.update(learner, decay, step)
        assert learner.mean["weight"].item() == pytest.approx(expected)


def test_the_best_weights_are_those_of_the_mean(tmp_path):
    held, means = [], []

    def loss(model, batch, step):
        held[:] = [model]
        return squared(model, batch, step)

    losses = iter([2.0, 1.0, 3.0])

    def evaluate(epoch):
        means.append(ema.copy(held[0]))
        return loop.Evaluation(next(losses))

    model, _ = train(tmp_path, None, settings({"ema": 0.5}), loss, evaluate=evaluate, keep_best=True)
    torch.testing.assert_close(model.state_dict(), means[1], atol=0, rtol=0)


def test_a_run_with_a_mean_goes_on_bit_for_bit(tmp_path, monkeypatch):
    chosen = settings({"ema": 0.5}, {"checkpoint_every_s": 0})
    whole, _ = train(tmp_path / "whole", chosen=chosen)
    write = checkpoint.save

    def save(folder, learner):
        write(folder, learner)
        if learner.state.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", chosen=chosen)
    monkeypatch.setattr(checkpoint, "save", write)
    parts, _ = train(tmp_path / "parts", chosen=chosen)
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), atol=0, rtol=0)


def test_milestones_are_due_every_few_epochs_also_after_a_kill_before_the_checkpoint(tmp_path, monkeypatch):
    chosen, seen = settings({"epochs": 5}, {"milestone_every": 2, "checkpoint_every_s": 0}), []
    write = checkpoint.save

    def save(folder, learner):
        if learner.state.step == 6:
            raise KeyboardInterrupt
        write(folder, learner)

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, chosen=chosen, keep_milestone=seen.append)
    assert seen == [2]
    monkeypatch.setattr(checkpoint, "save", write)
    train(tmp_path, chosen=chosen, keep_milestone=seen.append)
    assert seen == [2, 2, 4]
    train(tmp_path / "none", keep_milestone=seen.append)
    assert seen == [2, 2, 4]


# the run folder -----------------------------------------------------------------------------------------


def test_other_settings_are_refused_with_what_changed(tmp_path):
    train(tmp_path)
    with pytest.raises(ConfigError, match=r"optim.base_lr: 1.0 -> 2.0") as raised:
        train(tmp_path, chosen=settings({"base_lr": 2.0}))
    assert "batch" not in str(raised.value)
    train(tmp_path, chosen=settings(run={"workers": 7, "checkpoint_every_s": 5}))  # these change no result


def test_other_inputs_are_refused(tmp_path):
    train(tmp_path)
    with (
        pytest.raises(ConfigError, match="data: points -> others"),
        runs.open_run(tmp_path, settings(), {"data": "others"}),
    ):
        pass


def test_a_second_run_in_the_folder_is_refused(tmp_path):
    with runs.open_run(tmp_path, settings(), {}):
        with pytest.raises(ResourceError, match="in use"), runs.open_run(tmp_path, settings(), {}):
            pass


def test_the_folder_says_what_ran(tmp_path):
    train(tmp_path)
    kept = json.loads((tmp_path / "settings.json").read_text())
    assert config.Pretrain.model_validate(kept["settings"]) == settings()
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["versions"]["torch"] == importlib.metadata.version("torch")
    assert {"device", "commit", "command", "threads"} <= environment.keys()


def test_no_gpu_is_a_resource_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ResourceError, match="no GPU"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_bf16_only_where_the_hardware_has_it(monkeypatch):
    cpu = torch.device("cpu")
    assert computes_bf16("bf16", cpu) and not computes_bf16("fp32", cpu)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not computes_bf16("auto", cpu)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert computes_bf16("auto", cpu)


# checkpoints --------------------------------------------------------------------------------------------


def held(value):
    return {"model.a": torch.full((3,), value), "model.b": torch.tensor(7)}


def test_the_last_two_checkpoints_are_kept(tmp_path):
    for step in (5, 10, 100):
        checkpoint.write(tmp_path, step, held(float(step)), {"step": step})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "00000010.safetensors",
        "00000100.safetensors",
    ]
    tensors, state = checkpoint.read_latest(tmp_path)[:2]
    assert state == {"step": 100} and tensors["model.a"].tolist() == [100.0] * 3


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "nonsense"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, capsys, damage):
    for step in (5, 10):
        checkpoint.write(tmp_path, step, held(float(step)), {"step": step})
    newest = tmp_path / "checkpoints" / "00000010.safetensors"
    data = bytearray(newest.read_bytes())
    data[-2] ^= 4
    changed = {"empty": b"", "truncated": data[:-5], "flipped": data, "nonsense": b"x" * 100}[damage]
    newest.write_bytes(bytes(changed))
    assert checkpoint.read_latest(tmp_path)[1] == {"step": 5}
    assert "00000010.safetensors is damaged" in capsys.readouterr().err


def test_no_checkpoint_that_can_be_read_is_an_error(tmp_path):
    assert checkpoint.read_latest(tmp_path) is None
    checkpoint.write(tmp_path, 5, held(1.0), {})
    (tmp_path / "checkpoints" / "00000005.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="no checkpoint"):
        checkpoint.read_latest(tmp_path)


def test_the_log_forgets_what_a_resumed_run_does_again(tmp_path):
    with journal.Journal(tmp_path, 0) as log:
        for step in range(1, 6):
            log.write(step, step / 2, {"loss": float(step)})
    with (tmp_path / journal.FILE).open("a") as file:
        file.write('{"step": 6, "ep')  # cut off by a kill
    with journal.Journal(tmp_path, 3) as log:
        log.write(4, 2.0, {"loss": float("nan")})
    rows = journal.lines(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and rows[-1]["loss"] is None
