"""Files that are whole or not there: what counts as a failed write, and what a killed process leaves."""

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maeface import files, portable
from maeface.errors import DataError, ResourceError
from maeface.model import weights
from maeface.model.file_format.description import describe
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.mae import MAE
from maeface.model.vit import ViT


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_takes_its_place_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with files.atomic(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole" and left_in(path.parent) == ["a.txt"]
    with pytest.raises(DataError), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise DataError("no")
    assert path.read_text() == "whole" and left_in(path.parent) == ["a.txt"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    files.write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


READS = {
    "a file that is not there": lambda: Path("/no/such/file").read_bytes(),
    "a file that may not be read": lambda: (_ for _ in ()).throw(
        PermissionError(errno.EACCES, "Permission denied", "secret.jpg")
    ),
    "a damaged disk under another file": lambda: (_ for _ in ()).throw(
        OSError(errno.EIO, "Input/output error", "other.jpg")
    ),
    "no image": lambda: Image.open(io.BytesIO(b"no image")),
    "no table": lambda: pd.read_parquet("/no/such/table.parquet"),
    "no connection": lambda: (_ for _ in ()).throw(ConnectionResetError(errno.ECONNRESET, "reset")),
}


@pytest.mark.parametrize("what", READS)
def test_an_error_of_something_else_is_not_called_a_failed_write(tmp_path, what):
    with pytest.raises(OSError) as raised, files.atomic(tmp_path / "out.csv") as temporary:
        temporary.write_text("half")
        READS[what]()
    assert "out.csv" not in str(raised.value)
    assert left_in(tmp_path) == []


def test_the_folder_cannot_be_made_or_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"cannot write .*a\.txt: (Not a directory|File exists)"):
        files.write_text(tmp_path / "file" / "a.txt", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResourceError, match=r"cannot write .*folder: Is a directory"):
        files.write_text(tmp_path / "folder", "")
    with pytest.raises(ResourceError, match=r"cannot write .*: File name too long"):
        files.write_text(tmp_path / ("a" * 300), "")
    assert left_in(tmp_path) == ["file", "folder"]


def numbers():
    return np.random.default_rng(0).random(20_000)


def mae(path):
    model = MAE(ViT((32, 2, 2), 16, 8), 32, 1, 2)
    weights.save(path, model, describe(model, Preprocessing(image_size=16)))


def table(path):
    with files.atomic(path) as temporary:
        pd.DataFrame({"a": numbers()}).to_parquet(temporary)


WRITERS = {
    "bytes": lambda path: files.write_bytes(path, numbers().tobytes()),
    "a table": table,
    "weights": mae,
}


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, small_files, what):
    with pytest.raises((ResourceError, OSError)) as raised:
        WRITERS[what](tmp_path / "out")
    assert isinstance(raised.value, ResourceError)
    assert f"cannot write {tmp_path / 'out'}: " in str(raised.value) and "\n" not in str(raised.value)
    assert left_in(tmp_path) == []


def test_an_unnamed_error_of_a_write_is_a_failed_write(tmp_path):
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES):
        with pytest.raises(ResourceError, match=r"cannot write"), files.atomic(tmp_path / "a"):
            raise OSError(number, os.strerror(number))


WRITES = """
import sys, time
from pathlib import Path
from maeface import files, portable
with files.atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writes", flush=True)
    time.sleep(600)
"""


def written_to(folder):
    """A new process writes to the folder; returns what that leaves in it."""
    code = "import sys, pathlib; from maeface import files; files.write_text(pathlib.Path(sys.argv[1]), '')"
    subprocess.run([sys.executable, "-c", code, folder / "new"], check=True)
    (folder / "new").unlink()
    return left_in(folder)


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    (tmp_path / ".notes.tmp").write_text("somebody else's")
    with subprocess.Popen([sys.executable, "-c", WRITES, tmp_path / "a"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        (name,) = set(left_in(tmp_path)) - {".notes.tmp"}
        long_ago = time.time() - 3600
        for file in tmp_path.iterdir():
            os.utime(file, (long_ago, long_ago))
        assert written_to(tmp_path) == sorted([".notes.tmp", name])
        process.send_signal(signal.SIGKILL)
        process.wait()
    os.utime(tmp_path / name)
    assert written_to(tmp_path) == sorted([".notes.tmp", name])  # so young that its writer may live elsewhere
    os.utime(tmp_path / name, (long_ago, long_ago))
    assert written_to(tmp_path) == [".notes.tmp"]


def test_a_run_that_goes_on_removes_what_the_killed_one_was_about_to_write(tmp_path):
    from maeface import config
    from maeface.train import run

    (tmp_path / "checkpoints").mkdir()
    for folder in (tmp_path, tmp_path / "checkpoints"):
        (folder / f".1.{'0' * 16}.tmp").write_bytes(b"half")
    settings = config.load(config.Pretrain, "demo-pretrain", ["run.device=cpu"])
    with run.open_run(tmp_path, settings, {}):
        assert not list(tmp_path.rglob(".*.tmp"))
    assert torch.are_deterministic_algorithms_enabled() is False


def test_a_hash_shows_that_it_makes_progress(tmp_path):
    data = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(data)
    calls = []
    assert files.sha256(tmp_path / "file", lambda: calls.append(1)) == hashlib.sha256(data).hexdigest()
    assert len(calls) == 3 and files.sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_a_lock_whose_file_is_removed_meanwhile_is_taken_again(tmp_path, monkeypatch):
    """Its last owner removes it, and the folder, while the next one is about to lock it."""
    folder, calls, real = tmp_path / "folder", [], portable.try_lock

    def try_lock(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            (folder / ".lock").unlink()
            folder.rmdir()
        if len(calls) == 2:  # another process has made it anew
            (folder / ".lock").unlink()
            (folder / ".lock").touch()
        real(descriptor)

    monkeypatch.setattr(portable, "try_lock", try_lock)
    with files.lock(folder):
        assert len(calls) == 3 and (folder / ".lock").is_file()
        with pytest.raises(ResourceError, match="in use by another run"), files.lock(folder):
            pass
    with files.lock(folder):
        pass


def test_names_fit_into_a_folder_and_stay_different():
    assert files.fit_name("sub/a,b.png") == "sub/a,b.png"
    assert files.fit_name("x" * files.LONGEST_NAME) == "x" * files.LONGEST_NAME
    names = ["x" * 255, "x" * 254 + "y", "é" * 127, "é" * 130, f"sub/{'x' * 255}/a.png"]
    names += [files.fit_name(name) for name in names]  # files may have these names too
    fitted = [files.fit_name(name) for name in names]
    assert len(set(fitted)) == len(names) and fitted[5:] != names[5:]
    assert all(len(part.encode()) <= files.LONGEST_NAME for name in fitted for part in name.split("/"))
    assert fitted[4].startswith("sub/x") and fitted[4].endswith("/a.png")
    assert fitted[0] == "x" * 224 + "~" + hashlib.sha256(b"x" * 255).hexdigest()[:16]
