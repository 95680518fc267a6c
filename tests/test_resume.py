"""A run that is killed, or told to stop, ends with the same bits as one that is left alone."""

import json
import os
import random
import signal

import pytest

import drawn

# One process imports everything, then each attempt at a run is a fork of it that meets its fate by a signal.
NURSERY = """
import json, os, signal, sys, time
from pathlib import Path
import drawn
import matplotlib.figure, timm.data.auto_augment, torch.utils.tensorboard  # once, not in every attempt
from maeface import finetune, pretrain
from maeface.model import preprocessing, vit, weights
from maeface.model.file_format import storage
from maeface.train import loop

vit.SIZES["tiny"] = vit.Shape(16, 2, 2)

base, plans = Path(sys.argv[1]), json.loads(sys.argv[2])
rate, write = loop.learning_rate, storage.save_file
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)

def attempt(verb, out, fate, at, workers, more, said):
    def at_step(epoch, settings):
        os.write(said, b".")
        if fate in signal.Signals.__members__ and round(epoch * 3) == at:
            os.kill(os.getpid(), signal.Signals[fate])
        if fate == "twice" and round(epoch * 3) == at:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1.1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(600)
        return rate(epoch, settings)
    def before_rename(tensors, path, metadata):
        write(tensors, path, metadata)
        if json.loads(metadata["state"])["step"] == at:
            die()
    loop.learning_rate = at_step
    if fate == "save":
        storage.save_file = before_rename
    if fate == "weights":
        weights.save = die
    if fate == "evaluation":
        seen, to_input = [], preprocessing.to_input
        def stop_at(*given):
            seen.append(given)
            if len(seen) == at:
                os.kill(os.getpid(), signal.SIGTERM)
            return to_input(*given) if len(seen) <= at else die()
        preprocessing.to_input = stop_at
    optim, run = more.get("optim"), {"workers": workers} | more.get("run", {})
    if verb == "pretrain":
        pretrain.run(drawn.pretrain(optim, run=run), [base / "crops"], out)
    else:
        data = {"mixup": 0.2, "cutmix": 0.75, "validation": 0.25}
        settings = drawn.finetune(optim, run=run, data=data, patience=more.get("patience", 5))
        finetune.run(settings, [base / "crops"], base / "labels.csv", "random", out)

codes = []
for number, (name, verb, fate, at, workers, more) in enumerate(plans):
    steps, said = os.pipe()
    child = os.fork()
    if child == 0:
        code = 0
        try:
            attempt(verb, base / name, fate, at, workers, more, said)
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 99
        sys.stderr.flush()
        os._exit(code)
    os.close(said)
    if fate == "moment":  # so long after so many steps, wherever it is then
        for _ in range(int(at)):
            os.read(steps, 1)
        time.sleep(at % 1)
        os.kill(child, signal.SIGKILL)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(codes))
"""

KILLS = int(os.environ.get("MAEFACE_TEST_KILLS", "3"))
"""How often a run is killed at random moments."""
ALONE = ("SIGUSR2", -1, 0)  # no step -1: nothing happens


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    made = tmp_path_factory.mktemp("resume")
    drawn.faces(made / "crops")
    drawn.labels(made / "labels.csv")
    return made


def attempts(base, verb, plans, more=None):
    """Exit codes of attempts ``(folder, fate, step, workers)`` one after the other; ``more`` settings."""
    rows = [[name, verb, *rest, more or {}] for name, *rest in plans]
    return drawn.run_forks(NURSERY, base, rows)


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_killed_and_stopped_runs_end_with_the_same_bits(base, verb):
    plans = [
        (f"{verb}-alone", *ALONE),
        # killed at once, mid-epoch, with a checkpoint written but not yet in its place, and again
        (f"{verb}-killed", "SIGKILL", 1, 0),
        (f"{verb}-killed", "SIGKILL", 5, 0),
        (f"{verb}-killed", "save", 6, 0),
        (f"{verb}-killed", "SIGKILL", 8, 0),
        (f"{verb}-killed", "weights", 0, 0),  # trained, but the weights are not written yet
        (f"{verb}-killed", *ALONE),
        (f"{verb}-stopped", "SIGTERM", 4, 0),
        (f"{verb}-stopped", "SIGINT", 7, 2),
        (f"{verb}-stopped", *ALONE),
        (f"{verb}-twice", "twice", 4, 0),
    ]
    codes, messages = attempts(base, verb, plans)
    kill = -signal.SIGKILL
    assert codes == [0, kill, kill, kill, kill, kill, 0, 143, 130, 0, 143], messages
    assert "after step 5" in messages  # SIGTERM during step 4 (the fifth) let it end, and was saved
    assert messages.count(", saved; the same command") == 2, (
        messages
    )  # the second SIGTERM of the last saves nothing
    assert not (base / f"{verb}-twice" / "weights.safetensors").exists()
    alone = (base / f"{verb}-alone" / "weights.safetensors").read_bytes()
    for name in ("killed", "stopped"):
        assert (base / f"{verb}-{name}" / "weights.safetensors").read_bytes() == alone, name
    logs = [
        [(row["step"], row.get("loss"), row.get("validation_loss")) for row in log(base / f"{verb}-{name}")]
        for name in ("alone", "killed", "stopped")
    ]
    assert logs[0] == logs[1] == logs[2] and len(logs[0]) == 12


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_a_signal_in_an_evaluation_ends_it_at_the_next_batch(base, verb):
    batches = 6 if verb == "finetune" else 5  # of the first evaluation: of one held-out face each
    name = f"{verb}-evaluation"
    plans = [
        (f"{verb}-whole", *ALONE),
        (name, "evaluation", 2, 0),  # before any checkpoint
        (name, "evaluation", batches + 3, 2),  # in the second evaluation, with reading processes
        (name, *ALONE),
    ]
    codes, messages = attempts(base, verb, plans, {"optim": {"micro_batch": 1}})
    assert codes == [0, 143, 143, 0], messages
    assert messages.count("stopped in an evaluation; the same command continues from the last") == 2, messages
    assert "after step 3" in messages  # where the first evaluation was saved
    one, other = ((base / each / "weights.safetensors").read_bytes() for each in (f"{verb}-whole", name))
    assert one == other


def test_killed_at_random_moments_a_run_ends_with_the_same_bits(base):
    dice = random.Random(0)
    kills = [("kills", "moment", dice.randint(1, 3) + dice.random() * 0.02, 0) for _ in range(KILLS)]
    plans = [("uninterrupted", *ALONE), *kills, ("kills", *ALONE)]
    more = {"optim": {"epochs": 5 * KILLS}, "run": {"checkpoint_every_s": 0}, "patience": 10**6}
    codes, messages = attempts(base, "finetune", plans, more)
    assert codes == [0, *[-signal.SIGKILL] * KILLS, 0], messages
    whole, parts = (base / name / "weights.safetensors" for name in ("uninterrupted", "kills"))
    assert parts.read_bytes() == whole.read_bytes()
    left = {path.name for path in (base / "kills" / "checkpoints").iterdir()}
    assert len(left) == 2 and all(name.endswith(".safetensors") for name in left), left


def test_workers_do_not_change_the_result(base):
    from safetensors.torch import load_file

    codes, messages = attempts(base, "finetune", [("w0", *ALONE), ("w2", "SIGUSR2", -1, 2)])
    assert codes == [0, 0], messages
    one, other = (load_file(base / name / "weights.safetensors") for name in ("w0", "w2"))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
