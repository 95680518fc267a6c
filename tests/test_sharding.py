"""A network in parts (``run.sharded``) learns what one process learns; any number save and read it."""

import json
import signal

import pytest
import torch
import torch.distributed as dist
from torch import nn

import drawn
from maeface import files
from maeface.errors import DataError, ResourceError
from maeface.model.vit import Block
from maeface.train import checkpoint, ema, ranks, sharding
from test_ranks import NURSERY, RATE, assert_same_weights, codes, evaluations

PARTS = {"sharded": True}
ALL = {"clip_grad": 0.5, "layer_decay": 0.7, "ema": 0.5}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    made = tmp_path_factory.mktemp("sharded")
    drawn.faces(made / "crops")
    drawn.labels(made / "labels.csv")
    return made


@pytest.fixture(scope="module")
def outcomes(base):
    """For each training, the exit code and the messages of each of its ranks."""
    # 18 faces, 17 at a time: 9 and 8 micro-batches go to two ranks, then 1 and none
    tuned = {"verb": "finetune", "name": "tuned-1", "optim": RATE | ALL | {"batch": 17}}
    tuned |= {"data": {"randaugment": ""}, "run": {"milestone_every": 1}}
    tuned_2 = tuned | {"name": "tuned-2", "run": {"milestone_every": 1} | PARTS}
    tuned_2["optim"] = tuned["optim"] | {"micro_batch": 1}
    # 19 faces, 7 at a time: 4 and 3 go to two ranks
    made = {"verb": "pretrain", "name": "made-1", "optim": RATE | {"batch": 7}}
    names = ("made-2", "from-2", "from-1", "from-2-to-3")
    made_2, from_2, from_1, to_3 = (made | {"name": name, "run": PARTS} for name in names)
    stopped, killed = ({"fate": fate, "at": 4} for fate in ("SIGTERM", "SIGKILL"))
    lost = made | {"name": "lost", "run": {"checkpoint_every_s": 0} | PARTS}
    odd = made | {"name": "odd", "run": PARTS}
    plans = {
        "tuned-1": [tuned],
        "tuned-2": [tuned_2, tuned_2],
        "made-1": [made],
        "made-2": [made_2, made_2],
        "from-2, stopped": [from_2, from_2 | stopped],
        "from-2": [from_2 | {"run": {}}],
        "from-1, stopped": [from_1 | {"run": {}} | stopped],
        "from-1": [from_1, from_1],
        "from-2-to-3, stopped": [to_3, to_3 | stopped],
        "from-2-to-3": [to_3, to_3, to_3],
        "lost, killed": [lost, lost | killed],
        "lost": [lost, lost],
        "odd": [odd, odd | {"fate": "not finite", "at": 4}],
    }
    outcomes, _ = drawn.run_forks(NURSERY, base, [*plans.values()])
    return dict(zip(plans, outcomes, strict=True))


@pytest.mark.parametrize("verb", ["tuned", "made"])
def test_a_network_in_parts_learns_what_one_process_learns(base, outcomes, verb):
    assert codes(outcomes[f"{verb}-1"] + outcomes[f"{verb}-2"]) == [0, 0, 0], outcomes
    assert_same_weights(base, f"{verb}-1", f"{verb}-2")
    for alone, together in zip(evaluations(base, f"{verb}-1"), evaluations(base, f"{verb}-2"), strict=True):
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-4, nan_ok=True)
    assert outcomes[f"{verb}-2"][1][1] == ""  # rank 0 speaks for both
    saved = sorted(path.name for path in (base / f"{verb}-2" / "checkpoints").iterdir())
    assert len(saved) == 2 and all(name.endswith(".parts") for name in saved), saved


@pytest.mark.parametrize("name", ["from-2", "from-1", "from-2-to-3"])
def test_what_some_have_saved_others_continue(base, outcomes, name):
    assert set(codes(outcomes[f"{name}, stopped"])) == {143}, outcomes
    assert set(codes(outcomes[name])) == {0} and "after step 4" in outcomes[name][0][1], outcomes
    assert_same_weights(base, "made-1", name)


def test_one_that_is_killed_ends_the_other_with_a_line_and_both_go_on(base, outcomes):
    (code, said), (other, _) = outcomes["lost, killed"]
    assert (code, other) == (5, -signal.SIGKILL), outcomes
    assert "rank 0 of 2: another process of this training has ended" in said.splitlines()[-1]
    assert codes(outcomes["lost"]) == [0, 0] and "after step 3" in outcomes["lost"][0][1], outcomes
    assert_same_weights(base, "made-1", "lost")


def test_a_gradient_that_is_not_finite_on_one_rank_is_skipped_by_all(base, outcomes):
    assert codes(outcomes["odd"]) == [0, 0], outcomes
    rows = [json.loads(line) for line in (base / "odd" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "skipped" in row] == [4]


@pytest.fixture
def alone():
    """A group of this process only."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def network():
    torch.manual_seed(0)
    return nn.Sequential(Block(4, 2), nn.Linear(4, 3))


def learner(parted=True):
    whole = network()
    model = sharding.shard(whole, torch.device("cpu"), compiled=False) if parted else whole
    groups = [{"params": [*model.parameters()], "names": [name for name, _ in model.named_parameters()]}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, fused=True)
    made = checkpoint.Learner(model, optimizer, mean=ema.copy(model), whole=whole if parted else None)
    model(torch.ones(2, 5, 4)).square().sum().backward()
    optimizer.step()
    made.state.step = 1
    return made


def test_nothing_is_sent_before_the_last_micro_batch(alone):
    whole, batches = network(), torch.rand(3, 2, 5, 4)
    parted = sharding.shard(whole, torch.device("cpu"), compiled=False)
    sent = []
    for batch, is_own in ranks.take_turns(parted, iter([{"x": one} for one in batches])):
        assert is_own
        parted(batch["x"]).square().sum().backward()
        sent.append([p.grad is not None for p in parted.parameters()])
    assert [set(turn) for turn in sent] == [{False}, {False}, {True}]
    whole(batches.flatten(0, 1)).square().sum().backward()
    for one, other in zip(parted.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one.grad.full_tensor(), other.grad)


def test_a_damaged_part_is_told_and_the_checkpoint_before_is_read(tmp_path, alone, capsys):
    saved = learner()
    for step in (1, 2, 3):
        saved.state.step = step
        with torch.no_grad():
            sharding.own(saved.model.state_dict()["1.bias"]).fill_(step)
        checkpoint.save(tmp_path, saved)
    folder = tmp_path / checkpoint.FOLDER
    assert sorted(path.name for path in folder.iterdir()) == ["00000002.parts", "00000003.parts"]
    (part,) = (folder / "00000003.parts").glob("*.safetensors")
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    found = learner(parted=False)
    assert checkpoint.restore(tmp_path, found, torch.device("cpu")) and found.state.step == 2
    assert "00000003.parts is damaged (the sha256 of" in capsys.readouterr().err
    assert found.model[1].bias.tolist() == [2, 2, 2]
    for name, value in saved.mean.items():
        assert torch.equal(found.mean[name], value.full_tensor())
    for mine, theirs in zip(found.model.parameters(), saved.model.parameters(), strict=True):
        moment = saved.optimizer.state[theirs]["exp_avg"].full_tensor()
        assert torch.equal(found.optimizer.state[mine]["exp_avg"], moment)
    checkpoint.save(tmp_path, saved)  # in place of the damaged one
    assert checkpoint.read_latest(tmp_path).folder == folder / "00000003.parts"


def test_parts_that_cannot_be_written_are_told(tmp_path, alone):
    saved = learner()
    (tmp_path / checkpoint.FOLDER).write_text("")
    with pytest.raises(ResourceError, match=r"cannot write .*00000001\.parts: .*(exists|directory)"):
        checkpoint.save(tmp_path, saved)
    with torch.no_grad():
        sharding.own(saved.model.state_dict()["1.bias"]).fill_(float("nan"))
    with pytest.raises(DataError, match="the weights are not finite after step 1"):
        checkpoint.save(tmp_path, saved)


def test_a_folder_that_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / ".1.0123456789abcdef.tmp"
    left.mkdir()
    (left / "shard-00001").write_text("")
    files.remove_temporary(tmp_path)
    assert not left.exists()


def test_a_changed_state_beside_the_parts_is_told(tmp_path, alone, capsys):
    saved = learner()
    for step in (1, 2):
        saved.state.step = step
        checkpoint.save(tmp_path, saved)
    state = tmp_path / checkpoint.FOLDER / "00000002.parts" / "state.json"
    state.write_text(state.read_text().replace('"step": 2', '"step": 9'))
    assert checkpoint.read_latest(tmp_path).state["step"] == 1
    assert "the sha256 of state.json is another" in capsys.readouterr().err
