"""Units in pieces: files that crash or hang the processes of a preparation, and the segments of films."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest

from maeface import prepare
from maeface.data import manifest
from maeface.data.ingest import pieces, preparation, segments, unit_part
from maeface.data.ingest.inputs import Input, Unit
from maeface.data.manifest import SCHEMA
from maeface.data.shards import Shards
from maeface.errors import ConfigError, DataError, ResourceError
from maeface.faces import media
from test_prepare import digests, fake_find, inline_work, photo

SETTINGS = prepare.Settings(size=24, min_side=16, per_shard=4, workers=2, file_timeout=1.0)
PATIENT = SETTINGS.model_copy(update={"file_timeout": 60.0})


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
    prepare.run([folder], tmp_path / "whole", PATIENT, bad_decoder)
    join = pieces.join_pieces

    def stop(unit, *rest):
        if unit.name == "00001":
            raise KeyboardInterrupt
        return join(unit, *rest)

    one = PATIENT.model_copy(update={"workers": 1})
    with monkeypatch.context() as patched:
        patched.setattr(pieces, "join_pieces", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare.run([folder], tmp_path / "out", one, bad_decoder)
    assert sorted(path.stem for path in (tmp_path / "out" / "parts").glob("*.parquet")) == ["00000", "00002"]
    prepare.run([folder], tmp_path / "out", one, bad_decoder)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert prepare.run([folder], tmp_path / "out", PATIENT, bad_decoder).images == 0


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


# Segments of films ----------------------------------------------------------------------------------------


def film(path, seconds=45, damaged=()):
    """A film of 10 frames a second, all of them key frames, of which some are damaged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 48, "yuvj420p"
        for number in range(seconds * 10):
            pixels = np.full((48, 48, 3), number % 30, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        positions = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in damaged:
        start, size = positions[number]
        data[start + 4 : start + size] = bytes(size - 4)  # without the header of the block
    path.write_bytes(data)
    return path


BREAKS = [range(97, 104), range(180, 320)]
"""Frames of stretches that end in one segment and begin in another, with a whole segment in the second."""


@pytest.fixture
def whole(tmp_path, monkeypatch):
    """A folder with a damaged film and a photo, prepared without a cut, with parts of many row groups."""
    inline_work(monkeypatch)
    monkeypatch.setattr(unit_part, "ROWS_TOGETHER", 7)
    folder = make_photos(tmp_path / "in", [""])
    film(folder / "film.mkv", damaged=[number for stretch in BREAKS for number in stretch])
    with monkeypatch.context() as patched:
        patched.setattr(segments, "cut_into_segments", lambda index: [()])
        prepare.run([folder], tmp_path / "whole", SETTINGS, fake_find)
    return folder, digests(tmp_path / "whole")


def row(number, status="ok"):
    return {"id": str(number), "source": f"{number % 2}", "frame": number, "face": 0, "status": status}


@pytest.mark.parametrize("together", [1, 4, 30])
def test_rows_are_written_while_they_come_in_groups_of_a_fixed_size(tmp_path, monkeypatch, together):
    monkeypatch.setattr(unit_part, "ROWS_TOGETHER", 8)
    rows = [row(number, "ok" if number % 3 else "no_face") for number in range(24)]
    unit = Unit("00000", (Input("a", "a", 1, True), Input("b", "b", 1, True)))
    (tmp_path / "parts").mkdir()
    shard = unit_part.shard_path(unit, tmp_path)
    shard.parent.mkdir()
    shard.write_bytes(b"crops")
    held = []
    with unit_part.write_part(unit, tmp_path) as part:
        for start in range(0, len(rows), together):
            part.add(pa.Table.from_pylist(rows[start : start + together], SCHEMA))
            held.append(len(part._pending))
        part.describe_last("the last one")
        assert unit_part.read_finished(unit, tmp_path) is None
        summary = part.finish(24, "cpu")
    assert max(held) <= 8
    assert unit_part.read_finished(unit, tmp_path) == summary
    assert (summary.files, summary.files_dropped, summary.images) == (2, 0, 24)
    assert summary.statuses == {"no_face": 8, "ok": 16} and summary.shard["count"] == 16
    groups = list(unit_part.read_rows(unit, tmp_path))
    assert [len(group) for group in groups] == [8, 8, 8]
    found = [one for group in groups for one in group.to_pylist()]
    assert [one["id"] for one in found] == [one["id"] for one in rows]
    assert [one["detail"] for one in found] == [None] * 23 + ["the last one"]


def test_a_film_in_segments_has_the_bytes_of_a_whole_one(whole, tmp_path, monkeypatch):
    folder, expected = whole
    done, real = [], preparation.do_item
    monkeypatch.setattr(prepare, "do_item", lambda item, *rest: done.append(item) or real(item, *rest))
    summary = prepare.run([folder], tmp_path / "out", SETTINGS, fake_find)
    assert [item.inputs[0].frames for item in done if isinstance(item, pieces.Piece)] == [
        ((100 * k, 100 * k + 100 if k < 3 else 450),) for k in range(4)
    ]
    assert digests(tmp_path / "out") == expected
    rows = manifest.load(tmp_path / "out", all_rows=True)
    lost = rows[rows["status"] == "lost"]
    assert lost["frame"].tolist() == [stretch.start for stretch in BREAKS]
    assert lost["detail"].tolist() == [f"{len(stretch)} frames from here" for stretch in BREAKS]
    assert summary.images == 1 + 450 - sum(map(len, BREAKS))


def test_segments_that_are_finished_are_not_prepared_again(whole, tmp_path, monkeypatch):
    folder, expected = whole
    replace, done, real = Path.replace, [], preparation.do_item
    stopped = 0
    for nth in range(1, 100):
        out = tmp_path / str(nth)
        calls = 0

        def stop(self, target, nth=nth):
            nonlocal calls
            replace(self, target)
            calls += 1
            if calls == nth:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", stop)
            try:
                prepare.run([folder], out, SETTINGS, fake_find)
                break
            except KeyboardInterrupt:
                stopped += 1
        finished = len(list((out / "parts" / "segments").rglob("*.parquet")))
        with monkeypatch.context() as patched:
            patched.setattr(prepare, "do_item", lambda item, *rest: done.append(item) or real(item, *rest))
            prepare.run([folder], out, SETTINGS, fake_find)
        assert sum(isinstance(item, pieces.Piece) for item in done) in (4 - finished, 0)
        done.clear()
        assert digests(out) == expected
    assert stopped == 1 + 2 + 1 + 4 * 2 + 2 + 3  # list; photo; index; segments; film; the end


def test_settings_may_not_change_between_segments(whole, tmp_path, monkeypatch):
    folder, _ = whole
    real = pieces.join_pieces
    with monkeypatch.context() as patched:
        patched.setattr(pieces, "join_pieces", lambda *rest: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare.run([folder / "film.mkv"], tmp_path / "out", SETTINGS, fake_find)
    assert real is pieces.join_pieces and not list((tmp_path / "out" / "parts").glob("*.parquet"))
    with pytest.raises(ConfigError, match="every was 1, now 2"):
        prepare.run(
            [folder / "film.mkv"], tmp_path / "out", SETTINGS.model_copy(update={"every": 2}), fake_find
        )


def bad_segment(settings, weights):
    """A finder in whose process the third segment of a film crashes."""
    read_frames = media.read_frames

    def frames(path, *rest):
        for frame in read_frames(path, *rest):
            if frame.index == 250:
                os.kill(os.getpid(), signal.SIGSEGV)
            yield frame

    media.read_frames = frames
    return fake_find(settings, weights)


def bad_index(settings, weights):
    """A finder in whose process indexing a film crashes."""
    from maeface.faces import video_index

    video_index.build_index = lambda *rest: os.kill(os.getpid(), signal.SIGSEGV)
    return fake_find(settings, weights)


def test_a_film_that_cannot_be_indexed_is_lost_once(tmp_path, capsys):
    """It is tried again, and crashes again: one row, one file, one line."""
    folder = make_photos(tmp_path / "in", [""])
    film(folder / "film.mkv")
    summary = prepare.run([folder], tmp_path / "out", PATIENT, bad_index)
    rows = manifest.load(tmp_path / "out", all_rows=True)
    lost = rows[rows["source"] == "film.mkv"]
    assert lost[["frame", "time_s", "status", "detail"]].to_numpy().tolist() == [
        [0, 0.0, "crashed", "signal 11"]
    ]
    assert (summary.files, summary.files_dropped, summary.counts) == (2, 1, {"crashed": 1, "ok": 1})
    said = capsys.readouterr().err
    assert said.count("film.mkv is left out: crashed (signal 11)") == 1
    assert said.count("are tried again one by one") == 1


def test_a_segment_that_crashes_costs_no_other(tmp_path):
    path = film(tmp_path / "in" / "film.mkv")
    summary = prepare.run([path], tmp_path / "out", PATIENT, bad_segment)
    rows = manifest.load(tmp_path / "out", all_rows=True)
    crashed = rows[rows["status"] == "crashed"]
    assert crashed[["frame", "time_s", "detail"]].to_numpy().tolist() == [[200, 20.0, "signal 11"]]
    assert set(range(450)) - set(rows["frame"]) == set(range(201, 300))
    assert (summary.files, summary.files_dropped, summary.images) == (1, 0, 350)
    crops = Shards(tmp_path / "out")
    assert all(crops.read(row)[:2] == b"\xff\xd8" for _, row in manifest.load(tmp_path / "out").iterrows())
