"""Prediction of a camera: frames are dropped, not delayed; what is shown is what is written."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console

from maeface.errors import ConfigError, DataError, ResourceError
from maeface.faces import camera, media
from maeface.faces.media import Frame
from maeface.prediction.camera_run import predict_camera
from maeface.prediction.live import LiveTable, predict_live, run_live
from maeface.prediction.rows import schema_of
from maeface.prediction.table_writer import WHERE
from maeface.report.live_view import LiveView, face_table, keys

COLUMNS = [*WHERE, "x1", "y1", "x2", "y2", "score", "AU01_p", "AU12_p"]


def rows_of(frame, faces=1):
    values = {name: [None] * max(faces, 1) for name in COLUMNS}
    values["input"] = ["camera"] * max(faces, 1)
    values["frame"], values["time_s"] = [frame.index] * max(faces, 1), [frame.time_s] * max(faces, 1)
    values["face"] = list(range(faces)) or [-1]
    values["status"] = ["ok"] * faces or ["no_face"]
    for name in COLUMNS[6:]:
        values[name] = [0.25 + frame.index] * faces or [None]
    values["track"] = list(range(faces)) or [None]
    return pa.table(values, schema=schema_of(COLUMNS))


def frame(number, rate=100):
    return Frame(np.zeros((4, 4, 3), np.uint8), number, number / rate)


class Steps:
    """A camera whose frames are given by the test, and a predictor that the test lets go on."""

    def __init__(self):
        self.count = 0
        self.asked, self.given = threading.Semaphore(0), threading.Semaphore(0)
        self.ends = False

    def frames(self):
        while True:
            self.asked.release()
            self.given.acquire()
            if self.ends:
                return
            yield frame(self.count)
            self.count += 1

    def give(self, count):
        """Give frames, and wait until the reader has stored the last one."""
        for _ in range(count):
            self.asked.acquire()
            self.given.release()
        self.asked.acquire()  # it asks for the next one
        self.asked.release()

    def give_first(self):
        self.asked.acquire()
        self.given.release()

    def end(self):
        self.asked.acquire()
        self.ends = True
        self.given.release()


def test_frames_that_come_during_a_prediction_are_dropped_and_counted():
    camera_ = Steps()
    coming = [3, 0, 5, 1]

    def slow(one):
        if coming:
            camera_.give(coming.pop(0) or 1)
        else:
            camera_.end()
        return rows_of(one)

    starter = threading.Thread(target=camera_.give_first)  # which takes no later request from the others
    starter.start()
    shown = list(predict_live(camera_.frames(), slow))
    starter.join()
    numbers = [one.frame.index for one in shown]
    assert numbers == [0, 3, 4, 9, 10]  # the newest of each time, in order
    assert shown[-1].dropped == 6 == camera_.count - len(shown)
    assert [one.dropped for one in shown] == sorted(one.dropped for one in shown)


def test_a_slow_prediction_ends_with_the_last_frame_and_counts_all():
    def slow(one):
        time.sleep(0.02)
        return rows_of(one)

    shown = list(predict_live(camera.pace(frame(n, 200) for n in range(100)), slow))
    assert shown[-1].frame.index == 99
    assert 0 < shown[-1].dropped == 100 - len(shown)
    assert all(one.latency_ms >= 20 for one in shown)


def test_a_fast_prediction_drops_nothing_and_the_table_is_what_was_shown(tmp_path):
    camera_, shown = Steps(), []
    total = 6

    def show(one):
        shown.append(one.rows)
        if len(shown) < total:
            camera_.give(1)
        else:
            camera_.end()

    starter = threading.Thread(target=camera_.give_first)  # which takes no later request from the others
    starter.start()
    summary = run_live(camera_.frames(), lambda one: rows_of(one, one.index % 3), show, tmp_path / "out.csv")
    starter.join()
    assert (summary.frames, summary.dropped, summary.faces) == (6, 0, 6)
    table = pd.read_csv(tmp_path / "out.csv")
    expected = pa.concat_tables(shown).to_pandas()
    assert list(table) == COLUMNS and len(table) == len(expected) == 8
    assert table["frame"].tolist() == expected["frame"].tolist() == sorted(table["frame"])
    np.testing.assert_allclose(table["AU12_p"], expected["AU12_p"], rtol=1e-6)
    assert "6 frames" in str(summary) and "dropped: 0" in str(summary) and "latency" in str(summary)


def test_it_ends_when_asked_and_after_its_time():
    summary = run_live(camera.pace(frame(n) for n in range(10_000)), rows_of, seconds=0.2)
    assert 0 < summary.frames < 200
    seen = []
    summary = run_live(
        camera.pace(frame(n) for n in range(10_000)), rows_of, seen.append, stops=lambda: len(seen) >= 3
    )
    assert summary.frames == 3
    with pytest.raises(ConfigError, match="seconds"):
        run_live(iter([]), rows_of, seconds=0)


def test_ctrl_c_ends_it_with_a_summary(tmp_path):
    def stop(one):
        if one.frame.index >= 2:
            raise KeyboardInterrupt

    summary = run_live(camera.pace(frame(n) for n in range(10_000)), rows_of, stop, tmp_path / "out.csv")
    assert summary.frames == len(pd.read_csv(tmp_path / "out.csv")) >= 1


def test_an_error_of_the_camera_is_raised_where_it_is_used():
    def breaks():
        yield frame(0)
        raise ResourceError("the camera stopped")

    seen = []
    with pytest.raises(ResourceError, match="the camera stopped"):
        run_live(breaks(), rows_of, seen.append)
    assert len(seen) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_kill_loses_no_row_that_was_shown(tmp_path):
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_live import camera, frame, rows_of, run_live
show = lambda one: print(one.frame.index, flush=True)
run_live(camera.pace(frame(n) for n in range(100_000)), rows_of, show, Path({str(tmp_path / "out.csv")!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        shown = [int(process.stdout.readline()) for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL)
        shown += [int(line) for line in process.stdout.read().split()]
    written = pd.read_csv(tmp_path / "out.csv")["frame"].tolist()
    assert written[: len(shown)] == shown


def test_a_recording_is_never_replaced(tmp_path):
    (tmp_path / "out.csv").write_text("input\n")
    with pytest.raises(ConfigError, match="never replaced"):
        LiveTable(tmp_path / "out.csv")
    with pytest.raises(ConfigError, match=r"\.csv"):
        LiveTable(tmp_path / "out.parquet")


# Cameras ---------------------------------------------------------------------------------------------------


def test_a_device_of_ffmpeg_is_read_in_real_time():
    started = time.monotonic()
    frames = camera.read_camera("lavfi:testsrc=size=64x48:rate=50:duration=0.4")
    read = list(frames)
    assert [one.index for one in read] == list(range(20))
    assert read[0].rgb.shape == (48, 64, 3)
    assert [one.time_s for one in read] == pytest.approx([n / 50 for n in range(20)], abs=1e-6)
    assert time.monotonic() - started > 0.35


def test_a_camera_that_is_not_there_is_one_clear_error(monkeypatch, tmp_path):
    """Before the first frame is asked for."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "glob", lambda *_: [Path("/dev/video1"), Path("/dev/video0")])
    place = r"\(/dev/video99\)"
    with pytest.raises(
        ResourceError, match=f"no camera 99 {place}; this machine has /dev/video0, /dev/video1$"
    ):
        camera.read_camera("99")
    monkeypatch.setattr(Path, "glob", lambda *_: [])
    with pytest.raises(ResourceError, match=r"this machine has none$"):
        camera.read_camera("99")
    (tmp_path / "film.mp4").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"film.mp4 is no camera; a film needs realtime too"):
        camera.read_camera(str(tmp_path / "film.mp4"))
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigError, match="video=NAME"):
        camera.read_camera("0")


def test_a_camera_that_cannot_be_opened_is_one_clear_error():
    with pytest.raises(ResourceError, match="lavfi:no-such cannot be opened"):
        next(camera.read_camera("lavfi:no-such"))


@pytest.mark.parametrize("size", ["foo", "640", "640x", "0x480", "640*480"])
def test_a_size_of_a_camera_is_two_numbers(size):
    with pytest.raises(ConfigError, match=re.escape(f"camera_size is {size!r}; expected WIDTHxHEIGHT")):
        camera.read_camera("lavfi:testsrc", size)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"out": "full.csv"}, "never replaced"),
        ({"out": "new.parquet"}, r"\.csv"),
        ({"seconds": 0}, "seconds is 0"),
        ({"size": "foo"}, "camera_size is 'foo'"),
        ({"realtime": True}, "no such film"),
    ],
)
def test_options_of_a_camera_are_checked_before_the_networks_are_made(tmp_path, monkeypatch, wrong, says):
    monkeypatch.chdir(tmp_path)
    Path("full.csv").write_text("input\n")
    wrong = {name: Path(value) if name == "out" else value for name, value in wrong.items()}

    def make():
        raise AssertionError("the networks are made")

    with pytest.raises(ConfigError, match=says):
        predict_camera(make, "lavfi:testsrc", **wrong)


@pytest.mark.parametrize(
    ("platform", "name", "device", "place"),
    [
        ("linux", "2", "v4l2", os.path.join(os.sep, "dev", "video2")),  # noqa: PTH118
        ("darwin", "0", "avfoundation", "0"),
        ("win32", "video=Integrated Camera", "dshow", "video=Integrated Camera"),
        ("linux", "x11grab::0.0", "x11grab", ":0.0"),
    ],
)
def test_cameras_are_named_as_the_system_names_them(monkeypatch, platform, name, device, place):
    monkeypatch.setattr(sys, "platform", platform)
    assert camera._locate(name) == (device, place)


def test_a_film_is_read_at_its_own_pace(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(20):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * n, np.uint8), "rgb24")))
        out.mux(stream.encode(None))
    started = time.monotonic()
    assert [one.index for one in camera.pace(camera.read_film(path))] == list(range(20))
    assert time.monotonic() - started > 0.35
    (tmp_path / "no.mp4").write_bytes(b"nothing" * 100)
    with pytest.raises(DataError):
        next(camera.read_film(tmp_path / "no.mp4"))


# What is seen ----------------------------------------------------------------------------------------------


def text_of(renderable):
    screen = Console(file=io.StringIO(), width=120)
    screen.print(renderable)
    return screen.file.getvalue()


def test_faces_have_columns_by_track_with_bars():
    rows = [
        {"face": 0, "track": 1, "status": "ok", "AU12": 1, "AU12_p": 0.9, "AU12_i": 5.0},
        {"face": 1, "track": 0, "status": "low_quality", "AU12": 0, "AU12_p": 0.1, "AU12_i": 2.5},
    ]
    text = text_of(face_table(rows, [12]))
    assert text.index("Person 0, low quality") < text.index("Person 1")
    text = text_of(face_table(rows, [12], doubt=lambda row: f"small face of {row['face']}"))
    assert "Person 0, low quality (small face of 1)" in text and text.count("small face") == 1
    assert "Face 0" in text_of(face_table([{**rows[0], "track": None}], [12]))
    assert "AU12 Lip corner puller" in text
    assert "█" * 12 in text and "5.0" in text and "2.5" in text
    assert "and 1 more" in text_of(face_table(rows, [12], faces=1))
    assert "no face" in text_of(face_table([{"face": -1, "status": "no_face"}], [12]))


def test_without_a_terminal_there_are_lines(capsys):
    with LiveView("camera 0", [1, 12], screen=Console(file=io.StringIO())) as view:
        assert not view.stops()
        for n in range(3):
            view.show(rows_of(frame(n)).to_pylist(), 20.4, 31.26, 2)
    assert capsys.readouterr().err.splitlines() == [
        "camera 0: frame 0, faces: 1, 31.3 frames/s, latency 20 ms, dropped: 2"
    ]


def test_a_terminal_shows_bars_and_speed():
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    with LiveView("camera 0", [12], screen=screen) as view:
        view.show(rows_of(frame(0), 2).to_pylist(), 20.4, 31.26, 2)
    text = screen.file.getvalue()
    assert "31.3 frames/s" in text and "Person 1" in text and "q ends" in text


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudoterminals")
def test_keys_are_read_without_waiting(monkeypatch):
    import pty

    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as stdin, os.fdopen(master, "wb", buffering=0) as keyboard:
        monkeypatch.setattr(sys, "stdin", stdin)
        with keys() as pressed:
            assert pressed() == ""
            keyboard.write(b"xq")
            for _ in range(200):
                if text := pressed():
                    break
                time.sleep(0.01)
            assert "q" in text


def test_the_followed_faces_are_those_of_the_film(tmp_path):
    """A film of shared clips, frame by frame, as ``predict`` follows it in blocks."""
    clip = (
        Path(__file__).parents[2] / "shared" / "videos" / "intel_head-pose-face-detection-female-and-male.mp4"
    )
    if not clip.is_file():
        pytest.skip("needs the shared clips")
    from maeface import Predictor
    from maeface.prediction.live import LivePredictor

    predictor = Predictor(device="cpu", threads=1)
    expected = predictor(clip)
    live = LivePredictor(predictor, clip.name)
    frames = [one for one in media.read_frames(clip) if isinstance(one, Frame)]
    table = pa.concat_tables([live(one) for one in frames]).to_pandas()
    assert list(table) == list(expected)
    # The detector looks at the faces in other frames: a camera does not know how many a block will have.
    both = table.merge(expected, on=["frame", "track"])
    assert len(both) >= 0.95 * max(len(table), len(expected))
    assert np.median(abs(both["x1_x"] - both["x1_y"])) < 1
    assert np.median(abs(both["AU12_p_x"] - both["AU12_p_y"])) < 0.02


def test_a_terminal_that_is_gone_does_not_end_the_prediction(monkeypatch):
    class Gone(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    monkeypatch.setenv("TERM", "xterm")
    row = {"frame": 0, "face": -1, "status": "no_face"}
    with LiveView("camera 0", [12]) as view:
        view.show([row], latency_ms=1.0, fps=30.0, dropped=0)
    assert not isinstance(sys.stderr, Gone)
    sys.stderr.close()
