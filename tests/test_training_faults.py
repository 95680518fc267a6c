"""What goes wrong while a training runs: full disks, killed readers, wrong addresses, steep gradients."""

import errno
import itertools
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import get_worker_info

import drawn
from maeface import pretrain
from maeface.data.loading.dataset import FaceDataset
from maeface.errors import ResourceError
from maeface.model import vit
from maeface.train import checkpoint, journal, loop, ranks, sinks
from test_loop import Points, settings, squared, train


@pytest.fixture
def small(monkeypatch):
    """Two blocks of 16: seconds."""
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return drawn.faces(tmp_path_factory.mktemp("faults") / "crops")


# Steps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steepness", [1e6, 1e30])
def test_a_steep_gradient_is_clipped_or_its_step_skipped(tmp_path, steepness):
    def steep(model, batch, step):
        total, weight = squared(model, batch, step)
        return total * (steepness if step == 4 else 1), weight

    model, state = train(tmp_path, chosen=settings({"clip_grad": 1.0}), loss=steep)
    assert (state.step, state.skipped) == (9, int(steepness == 1e30))  # 1e30 has no norm in float32
    moments = checkpoint.read_latest(tmp_path).tensors
    assert all(value.abs().max() <= 1 for name, value in moments.items() if name.startswith("exp_avg"))
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_a_rate_of_0_changes_nothing_and_ends(tmp_path):
    start, _ = train(tmp_path / "none", chosen=settings({"epochs": 0, "warmup_epochs": 0}))
    model, state = train(tmp_path / "still", chosen=settings({"base_lr": 0.0, "ema": 0.5, "clip_grad": 1.0}))
    assert state.finished and state.step == 9 and state.skipped == 0
    torch.testing.assert_close(model.state_dict(), start.state_dict(), atol=0, rtol=0)


def test_a_batch_of_unknown_labels_has_the_loss_0(tmp_path):
    points = Points(micro=4)
    points.mask[8:16] = False
    model, state = train(tmp_path, points)
    losses = [row["loss"] for row in journal.lines(tmp_path)]
    assert [loss == 0 for loss in losses] == [False, True, False] * 3 and state.skipped == 0
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_a_full_gpu_tells_what_to_set_and_the_run_goes_on_with_it(tmp_path):
    def full(model, batch, step):
        if step == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return squared(model, batch, step)

    whole, _ = train(tmp_path / "whole")
    every_step = {"checkpoint_every_s": 0}
    with pytest.raises(ResourceError, match=r"at 8 images at once; set optim\.micro_batch=4: the same batch"):
        train(tmp_path / "run", chosen=settings(run=every_step), loss=full)
    assert checkpoint.read_latest(tmp_path / "run")[1]["step"] == 4
    smaller, state = train(tmp_path / "run", Points(micro=4), settings({"micro_batch": 4}, every_step))
    assert state.finished
    torch.testing.assert_close(smaller.state_dict(), whole.state_dict(), atol=1e-6, rtol=1e-6)


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch):
    saved, real = [], checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *given: (saved.append(given[1].state.step), real(*given)))
    train(tmp_path / "steady")
    now, jumps = time.time(), itertools.cycle([0.0, 1e6, -1e6, 2e6])
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now + next(jumps))
        train(tmp_path / "jumping")
    assert saved == [9, 9]
    one, other = (checkpoint.read_latest(tmp_path / name)[0] for name in ("steady", "jumping"))
    torch.testing.assert_close(one, other, atol=0, rtol=0)


# Logs and messages -----------------------------------------------------------------------------------------


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_for_the_logs_does_not_end_a_training(tmp_path, monkeypatch, capsys):
    chosen = settings(run={"log": ["csv", "tensorboard"]})
    whole, _ = train(tmp_path / "whole", chosen=chosen)

    def begin(self, *given, real=journal.Journal.__init__):
        real(self, *given)
        self._file.close()
        self._file = Path("/dev/full").open("a")

    monkeypatch.setattr(journal.Journal, "__init__", begin)
    monkeypatch.setattr(sinks.CsvTable, "_begin", no_space)  # from the start
    monkeypatch.setattr(sinks.TensorBoard, "write", no_space)  # later
    model, state = train(tmp_path / "run", chosen=chosen)
    assert state.finished and checkpoint.read_latest(tmp_path / "run")[1]["step"] == 9
    torch.testing.assert_close(model.state_dict(), whole.state_dict(), atol=0, rtol=0)
    said = capsys.readouterr().err
    for log in ("the log", "the log csv", "the log tensorboard"):
        assert said.count(f"{log} cannot be written ([Errno 28] No space left on device); training") == 1, (
            said
        )


def test_a_log_that_cannot_be_begun_does_not_end_a_training(tmp_path, monkeypatch, capsys):
    (tmp_path / "log").mkdir()
    monkeypatch.setattr(journal.files.portable, "sync_folder", no_space)
    with journal.Journal(tmp_path / "log", 0, ["csv"]) as log:
        log.write(1, 0.5, {"loss": 1.0})
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" cannot be written")[0] for line in said] == ["the log csv", "the log"]
    assert all("No space left on device" in line for line in said)


MESSAGES = """
from maeface import console
console.PLAIN_LINE_EVERY_S = 0
with console.progress("work", 3, "items") as advance:
    for number in range(3):
        advance()
        console.note("a message")
print("done")
"""


def test_messages_that_cannot_be_written_end_nothing():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", MESSAGES], stdout=subprocess.PIPE, stderr=full)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_terminal_that_is_closed_ends_nothing():
    ours, theirs = os.openpty()
    code = f"import time\n{MESSAGES}".replace("advance()", "advance(); time.sleep(0.3)")
    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as command:
        os.close(theirs)
        shown = b""
        while b"work" not in shown:
            shown += os.read(ours, 1000)  # a bar, which a thread draws
        os.close(ours)
        assert command.stdout.read() == b"done\n"
    assert command.returncode == 0


# Processes -------------------------------------------------------------------------------------------------


def killed_in_a_step(monkeypatch):
    """A reader is killed while this process computes."""
    real, steps = loop._train_step, []

    def step(*given):
        steps.append(1)
        if len(steps) == 3:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
            until = time.monotonic() + 30
            while time.monotonic() < until:
                torch.rand(10)
        return real(*given)

    monkeypatch.setattr(loop, "_train_step", step)


def killed_while_it_reads(monkeypatch, training=True):
    """A reader is killed while this process waits for it."""
    real, parent = FaceDataset.__getitems__, os.getpid()

    def read(self, samples):
        if os.getpid() != parent and self.training == training and get_worker_info().id == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, samples)

    monkeypatch.setattr(FaceDataset, "__getitems__", read)


def killed_in_an_evaluation(monkeypatch):
    killed_while_it_reads(monkeypatch, training=False)


@pytest.mark.parametrize("fate", [killed_in_a_step, killed_while_it_reads, killed_in_an_evaluation])
def test_a_reader_that_is_killed_is_one_line_and_no_wait(small, crops, tmp_path, monkeypatch, fate):
    fate(monkeypatch)
    chosen = drawn.pretrain({"epochs": 50, "batch": 2}, run={"workers": 2})
    with pytest.raises(ResourceError, match=r"that reads the crops was killed, .* fewer run\.workers"):
        pretrain.run(chosen, [crops], tmp_path / "run")
    assert not multiprocessing.active_children()


@pytest.fixture
def taken():
    """A port that another program listens at."""
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def nobody():
    """A port that nobody listens at."""
    with socket.socket() as other:
        other.bind(("", 0))
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("rank", "address", "port", "why"),
    [
        (1, "rank-0.invalid", "nobody", "timed out"),
        (1, "127.0.0.1", "nobody", "timed out"),
        (0, "127.0.0.1", "taken", "EADDRINUSE|address already in use"),
        (0, "127.0.0.1", None, "invalid literal"),
    ],
)
def test_processes_that_cannot_meet_end_soon_with_one_line(request, monkeypatch, rank, address, port, why):
    assert ranks.MEET_S < 55
    monkeypatch.setattr(ranks, "MEET_S", 1.0)
    number = request.getfixturevalue(port) if port else "none"
    given = {"WORLD_SIZE": 2, "RANK": rank, "MASTER_ADDR": address, "MASTER_PORT": number}
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    before = time.monotonic()
    with pytest.raises(ResourceError, match=f"cannot meet at {address}:{number} ") as raised:
        with ranks.open_group(torch.device("cpu")):
            pass
    assert re.search(why, str(raised.value), re.IGNORECASE) and "\n" not in str(raised.value)
    assert time.monotonic() - before < 60


# A long run ------------------------------------------------------------------------------------------------


SOAKS = ["loop", "pretrain"] if os.environ.get("MAEFACE_TEST_SOAK") else ["loop"]
"""The loop alone, and with crops that a process reads, which takes a minute."""


@pytest.mark.parametrize("what", SOAKS)
def test_a_thousand_steps_use_no_more_memory_and_handles(small, crops, tmp_path, monkeypatch, what):
    seen, rate = [], loop.learning_rate

    def measured(epoch, optim):
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        handles = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        seen.append((resident, handles))
        return rate(epoch, optim)

    monkeypatch.setattr(loop, "learning_rate", measured)
    often = {"workers": 1, "checkpoint_every_s": 0.2, "evaluate_every": 50, "log": ["csv", "tensorboard"]}
    if what == "loop":
        chosen = settings({"epochs": 334, "base_lr": 0.01}, often)
        train(tmp_path / "run", chosen=chosen, evaluate=lambda epoch: loop.Evaluation(1.0), keep_best=True)
    else:
        pretrain.run(drawn.pretrain({"epochs": 334}, run=often), [crops], tmp_path / "run")
    assert len(seen) == 1002
    early, late = (max(resident for resident, _ in part) for part in (seen[300:400], seen[-100:]))
    assert late - early < 4 * 2**20, f"{(late - early) / 2**20:.1f} MiB"
    early, late = (min(handles for _, handles in part) for part in (seen[300:400], seen[-100:]))
    assert late - early < 3  # there are four evaluations between them; one handle comes and goes
