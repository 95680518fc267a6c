"""``torchrun`` itself: it goes on after a rank was killed; and commands for one process refuse it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import drawn
from maeface import cli, pretrain
from maeface.errors import ConfigError
from maeface.model import vit
from test_ranks import assert_same_weights

SETTINGS = """drawn.pretrain(
    {"base_lr": 1e-3, "batch": 7}, {}, {"precision": "fp32", "checkpoint_every_s": 0, "sharded": True}
)"""
SCRIPT = f"""
import os, signal, sys
from pathlib import Path
import drawn
from maeface import pretrain
from maeface.errors import MaefaceError
from maeface.model import vit
from maeface.train import loop

vit.SIZES["tiny"] = vit.Shape(16, 2, 2)
calls, rate, base = [], loop.learning_rate, Path(sys.argv[1])

def at_step(epoch, settings):
    calls.append(epoch)
    if (len(calls), os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == (4, "1", "0"):
        os.kill(os.getpid(), signal.SIGKILL)
    return rate(epoch, settings)

loop.learning_rate = at_step
try:
    pretrain.run({SETTINGS}, [base / "crops"], base / "together")
except MaefaceError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_torchrun_goes_on_after_a_rank_was_killed(tmp_path, monkeypatch):
    drawn.faces(tmp_path / "crops")
    (tmp_path / "train.py").write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, "--max-restarts=1", str(tmp_path / "train.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "rank 0 of 2: another process of this training has ended" in done.stderr
    assert "together after step 3" in done.stderr  # not from the start
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    pretrain.run(eval(SETTINGS), [tmp_path / "crops"], tmp_path / "alone")
    assert_same_weights(tmp_path, "alone", "together")


def test_evaluate_is_for_one_process(tmp_path, monkeypatch):
    labels = drawn.labels(tmp_path / "labels.csv")
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = ["evaluate", "--labels", str(labels), "--predictions", str(labels)]
    error = CliRunner().invoke(cli.app, arguments).exception
    assert isinstance(error, ConfigError)
    with pytest.raises(ConfigError, match=r"maeface evaluate: expected one process, got 2 \(WORLD_SIZE\)"):
        raise error
