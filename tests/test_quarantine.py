"""Files that crash or hang the processes of a preparation."""

import json
import os
import shutil
import signal
import time

import pytest

from maeface import prepare
from maeface.data import manifest
from maeface.data.ingest import quarantine
from maeface.data.shards import Shards
from maeface.errors import DataError, ResourceError
from maeface.faces import media
from test_prepare import digests, fake_find, photo

SETTINGS = prepare.Settings(size=24, min_side=16, per_shard=4, workers=2, file_timeout=1.0)


def misbehave(path):
    """Crash or hang on a file with such a name; "once" only at the first try."""
    if "once" in path.name:
        marker = path.parent.parent / f"{path.name}.tried"
        if marker.exists():
            return
        marker.touch()
    if "crash" in path.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "killed" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    if "memory" in path.name:
        raise MemoryError
    if "hang" in path.name:
        time.sleep(600)


def bad_decoder(settings, weights):
    """A finder that also replaces the decoders of its process."""
    read_image, read_frames = media.read_image, media.read_frames

    def image(path, *rest):
        misbehave(path)
        return read_image(path, *rest)

    def frames(path, *rest):
        for number, frame in enumerate(read_frames(path, *rest)):
            yield frame
            if number == 40:
                misbehave(path)

    media.read_image, media.read_frames = image, frames
    return fake_find(settings, weights)


def bad_setup(settings, weights):
    os.kill(os.getpid(), signal.SIGSEGV)


def make_photos(folder, names):
    for number, name in enumerate(names):
        photo(folder / f"{number:02d}{name}.png", 10 + 10 * (number % 3))
    return folder


NAMES = ["", "", "crash", "", "once_killed", "", "", "", "hang", "crash", "memory", "", "", "", "", ""]
LOST = {
    "02crash.png": "crashed",
    "08hang.png": "timeout",
    "09crash.png": "crashed",
    "10memory.png": "crashed",
}


def test_only_the_guilty_files_are_lost(tmp_path, capsys):
    folder = make_photos(tmp_path / "in", NAMES)
    summary = prepare.run([folder], tmp_path / "out", SETTINGS, bad_decoder)
    noted = capsys.readouterr().err
    rows = manifest.load(tmp_path / "out", all_rows=True)
    bad = rows[rows["status"] != "ok"]
    assert dict(zip(bad["source"], bad["status"], strict=True)) == LOST
    assert bad["detail"].tolist() == ["signal 11", "no progress for 1 s", "signal 11", "out of memory"]
    assert bad["id"].tolist() == [f"{source}#0" for source in LOST] and (bad["face"] == -1).all()
    assert summary.counts == {"crashed": 3, "ok": rows["status"].eq("ok").sum(), "timeout": 1}
    assert (summary.files, summary.files_dropped) == (16, 4)
    assert "02crash.png is left out: crashed (signal 11)" in noted
    assert noted.count("are tried again one by one") == 3  # of four units
    assert f"{summary.faces} faces" in noted and not (tmp_path / "out" / "parts").exists()

    # the crops are those of a run in which these files cannot be read
    for name in LOST:
        (folder / name).write_text("no photo")
    prepare.run([folder], tmp_path / "text", SETTINGS, fake_find)
    crops = digests(tmp_path / "text" / "shards")
    assert digests(tmp_path / "out" / "shards") == crops and len(crops) == 4
    text = manifest.load(tmp_path / "text", all_rows=True).drop(columns=["status", "detail"])
    assert rows.drop(columns=["status", "detail"]).equals(text)
    shards = Shards(tmp_path / "out")
    assert all(shards.read(row)[:2] == b"\xff\xd8" for _, row in manifest.load(tmp_path / "out").iterrows())


def test_the_bytes_do_not_depend_on_workers_or_interruptions(tmp_path, monkeypatch):
    names = ["", "crash", "", "", "", "", "crash", "", ""]
    folder = make_photos(tmp_path / "in", names)
    prepare.run([folder], tmp_path / "whole", SETTINGS, bad_decoder)
    join = quarantine.join_files

    def stop(unit, *rest):
        if unit.name == "00001":
            raise KeyboardInterrupt
        return join(unit, *rest)

    one = SETTINGS.model_copy(update={"workers": 1})
    with monkeypatch.context() as patched:
        patched.setattr(quarantine, "join_files", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare.run([folder], tmp_path / "out", one, bad_decoder)
    assert sorted(path.stem for path in (tmp_path / "out" / "parts").glob("*.parquet")) == ["00000", "00002"]
    prepare.run([folder], tmp_path / "out", one, bad_decoder)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert prepare.run([folder], tmp_path / "out", SETTINGS, bad_decoder).images == 0


@pytest.mark.parametrize(("name", "status"), [("crash", "crashed"), ("once_crash", None)])
def test_a_video(tmp_path, shared, name, status):
    folder = make_photos(tmp_path / "in", [""])
    video = folder / f"{name}.mpg"
    shutil.copy(shared / "videos" / "grid_swiz3n.mpg", video)
    settings = SETTINGS.model_copy(update={"file_timeout": 5.0})
    prepare.run([folder], tmp_path / "out", settings, bad_decoder)
    rows = manifest.load(tmp_path / "out", all_rows=True)
    frames = rows[rows["source"] == video.name]
    if status:
        assert frames["status"].tolist() == [status] and frames["clip"].tolist() == [video.name]
        assert rows["status"].tolist() == ["ok", status]
    else:
        prepare.run([folder], tmp_path / "again", settings, fake_find)
        assert digests(tmp_path / "again") == digests(tmp_path / "out") and len(frames) > 41


def test_every_file_crashes(tmp_path):
    folder = make_photos(tmp_path / "in", ["crash", "crash"])
    for _ in range(2):
        with pytest.raises(DataError, match=r"no face in any of 2 files \(2 crashed\)"):
            prepare.run([folder], tmp_path / "out", SETTINGS, bad_decoder)
    assert json.loads((tmp_path / "out" / "prepare.json").read_text())["counts"] == {"crashed": 2}
    assert not list((tmp_path / "out" / "shards").iterdir())


def test_processes_that_cannot_start_blame_no_file(tmp_path):
    folder = make_photos(tmp_path / "in", [""])
    with pytest.raises(ResourceError, match=r"ended unexpectedly \(signal 11\)"):
        prepare.run([folder], tmp_path / "out", SETTINGS, bad_setup)
    assert not (tmp_path / "out" / "prepare.json").exists()
    assert prepare.run([folder], tmp_path / "out", SETTINGS, fake_find).faces == 1


def test_the_time_limit_changes_no_bytes(tmp_path):
    folder = make_photos(tmp_path / "in", ["", ""])
    for limit in (7.0, 1800.0):
        settings = SETTINGS.model_copy(update={"file_timeout": limit})
        prepare.run([folder], tmp_path / str(limit), settings, fake_find)
    assert digests(tmp_path / "7.0") == digests(tmp_path / "1800.0")
