"""A network in parts (``run.sharded``) learns what one process learns; any number save and read it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import drawn
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
    }
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", NURSERY, str(base), json.dumps([*plans.values()])],
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(plans, json.loads(done.stdout.splitlines()[-1]), strict=True))


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
