"""What Windows and macOS lack: taken away, or imitated, on any system."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd
import pytest
import torch

import drawn
from maeface import files, paths, portable
from maeface.data.ingest import inputs
from maeface.data.loading.dataset import FaceDataset, gather_manifests
from maeface.data.loading.loader import load_in_order
from maeface.data.manifest import escape, unescape
from maeface.data.shards import Shards
from maeface.errors import InUseError, ResourceError
from maeface.interchange import elan
from maeface.paths import FolderPath, to_path

HERE = Path(__file__).parent
PICTURE = HERE.parents[0] / "docs" / "images" / "astronaut.jpg"


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def maeface(*arguments, **environment):
    """Run a command as on Windows: see ``windows/sitecustomize.py``."""
    return subprocess.run(
        [sys.executable, "-m", "maeface", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(HERE / "windows"), **environment},
    )


def test_predict_and_prepare_work_without_what_windows_lacks(tmp_path):
    done = maeface("predict", PICTURE, "--out", tmp_path / "a.csv", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "a.csv")["AU12"].tolist() == [1]
    assert left_in(tmp_path) == ["a.csv", "a.csv.json"]  # no folder of parts, no lock
    done = maeface("prepare", PICTURE, "--out", tmp_path / "faces", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "1 faces of 1 files" in done.stdout
    (row,) = pd.read_parquet(tmp_path / "faces" / "manifest.parquet").to_dict("records")
    assert Shards(tmp_path / "faces").read(row).startswith(b"\xff\xd8")


IMITATED = """
import os, sys, pathlib, threading, time
from maeface import files, portable, process
from maeface.errors import InUseError
assert portable.fcntl is None and not portable.MOVES_OPEN_FILES
folder = pathlib.Path(sys.argv[1])
for text in ("one", "two"):
    files.write_text(folder / "a.txt", text)
assert (folder / "a.txt").read_text() == "two"
with files.lock(folder / "locked"):
    try:
        with files.lock(folder / "locked"):
            print("twice")
    except InUseError:
        print("in use")
assert not (folder / "locked").exists()
with files.lock(folder):
    pass
assert sorted(os.listdir(folder)) == [".lock", "a.txt"]
descriptor = os.open(folder / "a.txt", portable.READ_ONLY)
assert portable.read_at(descriptor, 2, 1) == b"wo" and portable.read_at(descriptor, 9, 0) == b"two"
assert portable.memory_bytes() is None
try:
    with process.stopped_by_signals():
        threading.Timer(0.05, portable.send_to_main_thread, (2,)).start()
        for _ in range(100):
            time.sleep(0.1)
except process.Stopped as stopped:
    print(stopped.name)
"""


def test_writing_locks_and_signals_without_what_windows_lacks(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(2, signal.default_int_handler)\n" + IMITATED,
            tmp_path,
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE / "windows")},
    )
    assert done.stdout.split("\n") == ["in use", "Ctrl-C", ""], done.stderr


@pytest.fixture
def moves_no_open_files(monkeypatch):
    monkeypatch.setattr(portable, "MOVES_OPEN_FILES", False)


def test_without_locks_a_temporary_file_is_abandoned_after_a_day(tmp_path, moves_no_open_files):
    for hours in (23, 25):
        path = tmp_path / f".{hours}.{'0' * 16}.tmp"
        path.touch()
        os.utime(path, (time.time() - hours * 3600,) * 2)
    files.write_text(tmp_path / "a", "")
    assert left_in(tmp_path) == [f".23.{'0' * 16}.tmp", "a"]


def test_the_lock_of_a_folder_with_results_stays(tmp_path, moves_no_open_files):
    (tmp_path / "result").touch()
    with files.lock(tmp_path), pytest.raises(InUseError), files.lock(tmp_path):
        pass
    assert left_in(tmp_path) == [".lock", "result"]


def test_a_table_that_is_open_elsewhere_cannot_be_replaced(tmp_path, monkeypatch, moves_no_open_files):
    """As Windows answers while Excel shows it."""
    files.write_text(tmp_path / "a.csv", "old")

    def replace(self, target):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(
        ResourceError, match=r"cannot write .*a\.csv: Permission denied; close it where it is open"
    ):
        files.write_text(tmp_path / "a.csv", "new")
    assert (tmp_path / "a.csv").read_text() == "old" and left_in(tmp_path) == ["a.csv"]


def test_threads_that_share_a_file_read_their_own_bytes_without_pread(tmp_path, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.delattr(os, "pread")
    data = bytes(range(256)) * 64
    (tmp_path / "file").write_bytes(data)
    descriptor = os.open(tmp_path / "file", portable.READ_ONLY)
    try:
        places = [(offset % 9_000, 1 + offset % 50) for offset in range(0, 40_000, 37)]
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda place: portable.read_at(descriptor, place[1], place[0]), places))
        assert read == [data[start : start + size] for start, size in places]
    finally:
        os.close(descriptor)


def test_workers_that_cannot_be_forked_give_the_same_batches(tmp_path, monkeypatch):
    for number in range(3):
        drawn.face(number).save(tmp_path / f"{number}.png")
    data = FaceDataset([tmp_path], gather_manifests([tmp_path]), image_size=16, seed=3)
    expected = list(load_in_order(data, 2, 0))
    monkeypatch.setattr(portable, "FORKS", False)
    monkeypatch.delattr(os, "fork")
    got = list(load_in_order(data, 2, 1))
    assert [batch["id"] for batch in got] == [batch["id"] for batch in expected]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(got, expected, strict=True))
    for worker in multiprocessing.active_children():  # on a busy machine it ends later than its iterator
        worker.join()


@pytest.mark.parametrize(
    ("kind", "name", "inside"),
    [
        (kind, name, inside)
        for kind, names in {
            PurePosixPath: {r"a\..\..\b": True, "C:b": True, "a/../b": False, "/b": False, "a/b": True},
            PureWindowsPath: {r"a\..\..\b": False, "C:b": False, r"C:\b": False, "/b": False, r"a\b": True},
        }.items()
        for name, inside in names.items()
    ],
)
def test_names_that_lead_out_of_a_folder(kind, name, inside):
    assert portable.stays_inside(kind(name)) is inside


def test_names_in_a_manifest_have_slashes():
    assert escape(PureWindowsPath(r"s01\a b.jpg")) == escape(PurePosixPath("s01/a b.jpg")) == "s01/a b.jpg"
    assert unescape(escape(PureWindowsPath(r"s01\x41.jpg"))) == Path("s01/x41.jpg")
    assert unescape(escape(PurePosixPath(r"s01\x41.jpg"))) == Path(r"s01\x41.jpg")


def test_a_name_that_this_system_cannot_have_is_a_name_of_no_file(monkeypatch):
    """On Windows ``os.fsdecode`` takes UTF-8 alone."""
    monkeypatch.setattr(os, "fsdecode", lambda name: name.decode("utf-8", "surrogatepass"))
    assert unescape(r"a\xff.jpg") == Path("a\udcff.jpg")


def test_inputs_on_two_drives_have_different_names():
    bases = {r"C:\films\a.mp4": r"C:\films", r"D:\films\a.mp4": r"D:\films"}
    assert list(inputs._names(bases, PureWindowsPath).values()) == ["C/films/a.mp4", "D/films/a.mp4"]
    shares = {rf"\\{share}\a.mp4": rf"\\{share}" for share in (r"one\films", r"two\films")}
    assert list(inputs._names(shares, PureWindowsPath).values()) == ["one_films/a.mp4", "two_films/a.mp4"]


def test_inputs_whose_names_differ_in_case_alone_are_named_apart(monkeypatch):
    bases = {"/x/A.jpg": "/x", "/y/a.jpg": "/y"}
    assert list(inputs._names(bases).values()) == ["A.jpg", "a.jpg"]
    monkeypatch.setattr(portable, "IGNORES_CASE", True)
    assert list(inputs._names(bases).values()) == ["x/A.jpg", "y/a.jpg"]
    one_folder = {"/x/A.jpg": "/x", "/x/a.jpg": "/x"}  # of a file system that tells them apart
    assert list(inputs._names(one_folder).values()) == ["A.jpg", "a.jpg"]


def test_a_film_on_another_drive_has_its_absolute_path(tmp_path, monkeypatch):
    film, out = tmp_path / "films" / "a.mp4", tmp_path / "out" / "a.eaf"
    assert portable.relative_path(film, out.parent) == "../films/a.mp4"
    assert elan._describe_media(film, out)["RELATIVE_MEDIA_URL"] == "../films/a.mp4"

    def relpath(path, start):
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    assert portable.relative_path(film, out.parent) == film.as_posix()
    assert elan._describe_media(film, out)["RELATIVE_MEDIA_URL"] == film.as_posix()


def test_addresses_of_files():
    assert portable.file_url(PureWindowsPath(r"C:\my films\a.mp4")) == "file:///C:/my films/a.mp4"
    assert portable.file_url(PurePosixPath("/my films/a.mp4")) == "file:///my films/a.mp4"


def test_a_folder_may_end_with_either_slash(monkeypatch):
    monkeypatch.setattr(paths.os, "sep", "\\")
    for text in ("out/", "out\\"):
        assert isinstance(to_path(text), FolderPath)
    assert not isinstance(to_path("out"), FolderPath)


def test_characters_that_the_encoding_of_a_file_lacks_are_printed_as_escapes():
    done = maeface("datasets", "casia", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "\\u2022 a folder a person" in done.stdout


def test_no_more_processes_than_one_can_wait_for(monkeypatch):
    from maeface.data.ingest import workers

    started = []

    def start(setup, item):
        started.append(item)
        raise InUseError("enough")

    monkeypatch.setattr(portable, "MOST_PROCESSES", 0)
    monkeypatch.setattr(workers, "_start", start)
    assert list(itertools.islice(workers.work(print, [1, 2, 3], 100), 1)) == [] and started == []


def test_signal_is_sent_where_threads_cannot_be_named(monkeypatch):
    monkeypatch.delattr(signal, "pthread_kill")
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        portable.send_to_main_thread(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("mode", "private"), [(0o600, True), (0o640, False), (0o604, False), (0o602, False)])
def test_modes_say_who_can_read_a_file_where_there_are_any(tmp_path, monkeypatch, mode, private):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    assert portable.is_private(path) is private
    monkeypatch.setattr(portable, "fcntl", None)
    assert portable.is_private(path)


def test_priority_is_lowered_where_it_can_be(monkeypatch):
    steps = []
    monkeypatch.setattr(os, "nice", steps.append)
    portable.lower_priority(5)
    monkeypatch.delattr(os, "nice")
    portable.lower_priority(5)
    assert steps == [5]
