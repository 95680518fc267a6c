"""How a command ends by a signal, and how its threads wait."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from maeface import process


def started(out, shared):
    """A prediction of videos that has begun to write a part of its table."""
    words = ["predict", shared / "videos", "--out", out / "table.csv"]
    # a background job's SIGINT is ignored
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from maeface import cli; cli.main()"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, env=environment)
    until = time.monotonic() + 120
    while not list(out.glob("table.csv.parts/.*.tmp")):
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    return running


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_with_one_line_its_code_and_no_temporary_file(tmp_path, shared, number, code):
    running = started(tmp_path, shared)
    try:
        running.send_signal(number)
        running.send_signal(number)  # the parent often passes on what the group got already
        error = running.communicate(timeout=60)[1].decode()
    finally:
        running.kill()
        running.wait()
    assert running.returncode == code
    lines = error.splitlines()
    assert (
        lines[-1] == f"maeface: stopped by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}"
        and "Traceback" not in error
    )
    left = [path.relative_to(tmp_path) for path in tmp_path.rglob("*")]
    assert all(path.parts[0] == "table.csv.parts" and path.suffix != ".tmp" for path in left), left


def test_a_second_signal_ends_at_once_and_handlers_are_put_back():
    code = """
import os, signal, time
from maeface import process
before = signal.getsignal(signal.SIGTERM)
with process.stopped_by_signals():
    pass
assert signal.getsignal(signal.SIGTERM) is before
try:
    with process.stopped_by_signals():
        os.kill(os.getpid(), signal.SIGTERM)
except process.Stopped as stopped:
    assert stopped.code == 143
os.kill(os.getpid(), signal.SIGTERM)  # the same request, while the process ends
process.SAME_S = 0.2
with process.stopped_by_signals():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)  # the same request
        time.sleep(0.3)
        print("unwinds", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        print("never", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "unwinds\n"), done.stderr


def test_a_signal_during_an_import_is_not_lost(tmp_path):
    (tmp_path / "swallows.py").write_text(
        "import os, signal\n"
        "try:\n    for _ in range(3):\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "except BaseException:\n    print('lost', flush=True)\n"
    )
    code = """
import time
from maeface import process
with process.stopped_by_signals():
    import swallows
    print("imported", flush=True)
    time.sleep(60)
    print("never", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 143, done.stderr
    assert done.stdout in ("", "imported\n")


def test_a_signal_that_was_to_be_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with process.stopped_by_signals():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("given", "policy", "spins"),
    [
        ({}, "PASSIVE", "0"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", None),
        ({"GOMP_SPINCOUNT": "123"}, None, "123"),
    ],
)
def test_threads_of_a_command_and_of_its_processes_do_not_spin(given, policy, spins):
    (openmp,) = (Path(find_spec("torch").origin).parent / "lib").glob("libgomp*")
    code = f"""
import ctypes, os, subprocess, sys
from maeface import cli
assert "torch" not in sys.modules  # its OpenMP reads the settings when it is loaded, and shows them
load = "import ctypes; ctypes.CDLL({str(openmp)!r})"
os.environ["OMP_DISPLAY_ENV"] = "verbose"
cli.app = lambda: subprocess.run([sys.executable, "-c", load], check=True)
cli.main()
exec(load)
"""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_DISPLAY_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    told = re.findall(r"(OMP_WAIT_POLICY|GOMP_SPINCOUNT) = '(\w+)'", done.stderr)
    assert len(told) == 4  # of this process and of the one that it started
    for name, expected in (("OMP_WAIT_POLICY", policy), ("GOMP_SPINCOUNT", spins)):
        assert expected is None or {value for key, value in told if key == name} == {expected}


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_while_the_command_line_is_loaded_ends_with_one_line(tmp_path, number, said):
    (tmp_path / "typer.py").write_text("print('loading', flush=True)\nimport time\ntime.sleep(60)\n")
    # a background job's SIGINT is ignored
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from maeface.__main__ import main; main()"
    running = subprocess.Popen(
        [sys.executable, "-c", code, "--version"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    try:
        assert running.stdout.readline() == "loading\n"
        running.send_signal(number)
        error = running.communicate(timeout=30)[1]
    finally:
        running.kill()
        running.wait()
    assert (running.returncode, error) == (128 + number, f"maeface: stopped by {said}\n")
