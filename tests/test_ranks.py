"""Processes that train together learn what one learns, and end together."""

import itertools
import json
import re
import signal

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

import drawn
from maeface import config, demo, reproduce
from maeface.data.loading.dataset import FaceDataset, gather_manifests
from maeface.data.loading.loader import InOrder
from maeface.errors import ConfigError, ResourceError
from maeface.train import optim, ranks

# One process imports everything; the ranks of each training are forks of it, one training after the other.
NURSERY = """
import json, os, signal, socket, sys, time
from pathlib import Path
import drawn
import matplotlib.figure, timm.data.auto_augment, torch.nn.parallel, torch.utils.tensorboard
import torch
import torch.distributed as dist
from maeface import finetune, pretrain
from maeface.errors import MaefaceError
from maeface.model import mae, vit
from maeface.train import loop

vit.SIZES["tiny"] = vit.Shape(16, 2, 2)
base, plans = Path(sys.argv[1]), json.loads(sys.argv[2])

def meet(fate, at):
    calls, rate, save, build = [], loop.learning_rate, pretrain.save_weights, mae.build
    def at_step(epoch, settings):
        calls.append(epoch)
        if fate.startswith("SIG") and len(calls) == at:
            os.kill(os.getpid(), signal.Signals[fate])
        return rate(epoch, settings)
    def late(*given, **named):
        time.sleep(1)
        save(*given, **named)
    def other(settings):
        model = build(settings)
        model.encoder.cls_token.data += 1
        return model
    loop.learning_rate = at_step
    if fate == "late":
        pretrain.save_weights = late
    if fate == "other weights":
        mae.build = other
    if fate == "not finite":
        loop.find_non_finite = lambda values: torch.tensor(float(len(calls) == at))

def train(verb, out, optim, run, crops, data):
    if verb == "pretrain":
        return pretrain.run(drawn.pretrain(optim, {"validation": 0.2}, run), [base / crops], out)
    chosen = drawn.finetune(optim, {"validation": 0.25} | data, run).model_copy(update={"thresholds": "f1"})
    return finetune.run(chosen, [base / crops], base / "labels.csv", "random", out)

def attempt(verb, name, optim=None, run=None, crops="crops", fate="", at=0, data={}):
    meet(fate, at)
    try:
        run = {"precision": "fp32"} | (run or {})
        return 0 if train(verb, base / name, optim or {}, run, crops, data).is_file() else 98
    except SystemExit as stop:
        return stop.code
    except MaefaceError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BaseException:
        import traceback
        traceback.print_exc()
        return 99

outcomes = []
for number, plan in enumerate(plans):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = str(held.getsockname()[1])
    children = []
    for rank, arguments in enumerate(plan):
        said = base / f"{os.getpid()}-{number}-{rank}.txt"
        child = os.fork()
        if child == 0:
            os.environ |= {"WORLD_SIZE": str(len(plan)), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY), 2)
            code = attempt(**arguments)
            sys.stderr.flush()
            os._exit(code)
        children.append((child, said))
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, _ in children]
    outcomes.append([[code, said.read_text()] for code, (_, said) in zip(codes, children)])
print(json.dumps(outcomes))
"""


RATE = {"base_lr": 1e-3}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    made = tmp_path_factory.mktemp("ranks")
    drawn.faces(made / "crops")
    drawn.faces(made / "fewer", 20)
    drawn.labels(made / "labels.csv")
    return made


@pytest.fixture(scope="module")
def outcomes(base):
    """For each training, the exit code and the messages of each of its ranks."""
    # 18 faces, 17 at a time: 9 and 8 micro-batches go to two ranks, then 1 and none
    tuned = {"verb": "finetune", "name": "tuned-1", "optim": RATE | {"batch": 17, "ema": 0.5}}
    tuned |= {"data": {"randaugment": ""}, "run": {"milestone_every": 1}}
    parted = tuned["optim"] | {"micro_batch": 1}
    tuned_2 = tuned | {"name": "tuned-2", "optim": parted}
    tuned_2["data"] = {"randaugment": "", "on_device": True}
    # 19 faces, 7 at a time: 4 and 3 go to two ranks
    made = {"verb": "pretrain", "name": "made-1", "optim": RATE | {"batch": 7}}
    made_2, from_2, from_1 = (made | {"name": name} for name in ("made-2", "from-2", "from-1"))
    stopped, killed = ({"fate": fate, "at": 4} for fate in ("SIGTERM", "SIGKILL"))
    lost = made | {"name": "lost", "run": {"checkpoint_every_s": 0}}
    own = {"verb": "pretrain", "name": "own", "optim": RATE}
    plans = {
        "tuned-1": [tuned],
        "tuned-2": [tuned_2, tuned_2],
        "made-1": [made],
        "made-2": [made_2 | {"fate": "late"}, made_2],  # rank 0 writes the weights a second late
        "from-2, stopped": [from_2, from_2 | stopped],
        "from-2": [from_2],
        "from-1, stopped": [from_1 | stopped],
        "from-1": [from_1, from_1],
        "lost, killed": [lost, lost | killed],
        "lost": [lost, lost],
        "other settings": [own, own | {"run": {"seed": 1}, "optim": {"base_lr": 2e-3}}],
        "other faces": [own, own | {"crops": "fewer"}],
        "other folder": [own, own | {"name": "another"}],
        "other weights": [own, own | {"fate": "other weights"}],
    }
    outcomes, _ = drawn.run_forks(NURSERY, base, [*plans.values()])
    return dict(zip(plans, outcomes, strict=True))


def codes(ranks):
    return [code for code, _ in ranks]


def assert_same_weights(base, name, other):
    one, two = (load_file(base / each / "weights.safetensors") for each in (name, other))
    # key biases have no gradient but rounding, which Adam makes as large as any
    assert one.keys() == two.keys() and all((one[n] - two[n]).abs().max() < 5e-5 for n in one)


def evaluations(base, name):
    rows = [json.loads(line) for line in (base / name / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if "validation_loss" in row]


@pytest.mark.parametrize("verb", ["tuned", "made"])
def test_two_processes_learn_and_evaluate_as_one_does(base, outcomes, verb):
    assert codes(outcomes[f"{verb}-1"] + outcomes[f"{verb}-2"]) == [0, 0, 0], outcomes
    assert_same_weights(base, f"{verb}-1", f"{verb}-2")
    found = zip(evaluations(base, f"{verb}-1"), evaluations(base, f"{verb}-2"), strict=True)
    for alone, together in found:
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-4, nan_ok=True)
    if verb == "made":
        assert len(list((base / "made-2" / "reconstructions").iterdir())) == 3
    else:
        assert len(list((base / "tuned-2" / "milestones").iterdir())) == 3
    assert outcomes[f"{verb}-2"][1][1] == ""  # rank 0 speaks for both


@pytest.mark.parametrize("name", ["from-2", "from-1"])
def test_what_two_have_saved_one_continues_and_the_reverse(base, outcomes, name):
    assert set(codes(outcomes[f"{name}, stopped"])) == {143}, outcomes  # a signal to one is for both
    assert "stopped after step 4, saved" in outcomes[f"{name}, stopped"][0][1]
    assert set(codes(outcomes[name])) == {0} and "after step 4" in outcomes[name][0][1], outcomes
    assert_same_weights(base, "made-1", name)


def test_one_that_is_killed_ends_the_other_with_a_line_and_both_go_on(base, outcomes):
    (code, said), (other, _) = outcomes["lost, killed"]
    assert (code, other) == (5, -signal.SIGKILL), outcomes
    assert "rank 0 of 2: another process of this training has ended" in said.splitlines()[-1]
    assert codes(outcomes["lost"]) == [0, 0] and "after step 3" in outcomes["lost"][0][1], outcomes
    assert_same_weights(base, "made-1", "lost")


@pytest.mark.parametrize(
    ("what", "line"),
    [
        (
            "settings",
            r"optim\.base_lr: 0\.001 on rank 0, 0\.002 on rank 1; run\.seed: 0 on rank 0, 1 on rank 1",
        ),
        (
            "faces",
            r"inputs\.crops: \w+ on .*, \w+ on rank 1; inputs\.faces: 24 on rank 0, 20 .*; inputs\.ids: .*",
        ),
        ("folder", r"folder of the run: .*own on rank 0, .*another on rank 1"),
        ("weights", r"initial weights: \w+ on rank 0, \w+ on rank 1"),
    ],
)
def test_ranks_that_differ_are_told_so_on_every_rank(base, outcomes, what, line):
    whole = rf"the processes that train together differ \({line}\); start all of them with the same command.*"
    for code, said in outcomes[f"other {what}"]:
        assert code == 2 and re.fullmatch(whole, said.splitlines()[-1]), said
    assert not (base / "own" / "weights.safetensors").exists()


def test_each_process_evaluates_its_slice_of_the_batches(base):
    rows = gather_manifests([base / "crops"])
    faces = FaceDataset([base / "crops"], rows, 16, 0, training=False)
    whole = [batch["id"] for batch in InOrder(faces, 5)]
    parts = [[batch["id"] for batch in InOrder(faces, 5, rank=rank, world=3)] for rank in range(3)]
    assert [*itertools.chain(*parts)] == whole and [len(part) for part in parts] == [2, 2, 1]
    assert [*InOrder(faces, 24, rank=1, world=2)] == []


def test_where_the_processes_meet_is_told_by_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(ConfigError, match="MASTER_ADDR, MASTER_PORT is not set; start them with torchrun"),
        ranks.open_group(torch.device("cpu")),
    ):
        pass


def test_experiments_and_the_demo_are_for_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ConfigError, match=r"reproduce: expected one process, got 2 \(WORLD_SIZE\); .*torchrun"
    ):
        reproduce.run(reproduce.load("ex1"), tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"demo: expected one process, got 2 \(WORLD_SIZE\); .*torchrun"):
        demo.run(tmp_path / "demo")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("batch", "micro", "world", "message"),
    [
        (4096, None, 1, r"at 4096 images at once; set optim.micro_batch=2048"),
        (4096, None, 8, r"at 512 images at once; set optim.micro_batch=256"),
        (4096, 256, 8, r"at 256 images at once; set optim.micro_batch=128"),
        (64, 64, 8, r"at 8 images at once; set optim.micro_batch=4"),
        (9, None, 2, r"at 5 images at once; set optim.micro_batch=1"),
        (8, None, 8, r"at 1 image; use a smaller model.size"),
    ],
)
def test_the_advice_on_memory_knows_how_many_share_the_batch(batch, micro, world, message):
    plain = drawn.OPTIM | {"batch": batch, "micro_batch": micro}
    settings = config.Optim.model_validate(plain)
    with pytest.raises(ResourceError, match=message), optim.explain_full_memory(settings, world):
        raise torch.OutOfMemoryError("full")


def test_a_group_that_is_there_is_used_and_stays(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with ranks.open_group(torch.device("cpu")) as found:
            assert found == (0, 1) and ranks.gather("here") == ["here"]
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()
