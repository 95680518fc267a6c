"""What is made of a finished table."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

import layouts
import parts_cases
from maeface import console, evaluate, predict
from maeface.analysis import neutral, smoothing
from maeface.analysis.events import find_events
from maeface.analysis.summary import summarize
from maeface.data.ingest import workers
from maeface.errors import ConfigError, DataError
from maeface.prediction import table_writer
from maeface.prediction.columns import FACE
from maeface.prediction.extra_files import make_extras
from maeface.prediction.extras import Extras, Format
from maeface.prediction.places import find_images, parts_of, results_of
from maeface.prediction.record import record_path
from maeface.report import timeline
from maeface.report.film_summary import describe_film, film_line
from test_video import encode

RECORD = {
    "thresholds": {"AU04": 0.5, "AU12": 0.5},
    "trust": {"AU04": {"use": False, "checked": "renders"}, "AU12": {"use": True, "checked": "real"}},
}


def rows(name, people=(0,), frames=50):
    """A film of 2 s: everybody smiles from 0.8 to 1.2 s."""
    lines = []
    for frame in range(frames):
        smiles = 20 <= frame < 30
        for face, track in enumerate(people):
            line = {"input": name, "frame": frame, "time_s": frame / 25, "face": face, "track": track}
            line |= {"status": "ok"} | dict.fromkeys(FACE, 50.0)
            line |= {"x2": 100.0, "y2": 100.0, "score": 0.99, "yaw": 0.0}
            line |= {"AU04": 0, "AU12": int(smiles), "AU04_p": 0.1, "AU12_p": 0.9 if smiles else 0.1}
            lines.append(line | {"AU04_i": 0.1, "AU12_i": 3.0 if smiles else 0.2})
    return pd.DataFrame(lines).astype({"track": "Int64"})


def write(path, *tables):
    pd.concat(tables).to_csv(path, index=False)
    return path


def lines_of(made):
    """What is told about the films of a table."""
    return [line for first, more in made.films for line in (first, *more)]


def test_events_summary_and_pairs_of_each_film(tmp_path):
    table = write(tmp_path / "t.csv", rows("a.mp4", (0, 1)), rows("b.mp4"))
    films = {name: tmp_path / name for name in ("a.mp4", "b.mp4")}
    made = make_extras(table, films, Extras(), RECORD, one_film=False)
    assert [path.name for path in made.paths] == ["t.events.csv", "t.summary.csv", "t.pairs.csv"]
    events = pd.read_csv(tmp_path / "t.events.csv")
    assert events[["input", "track", "au"]].values.tolist() == [
        ["a.mp4", 0, "AU12"],
        ["a.mp4", 1, "AU12"],
        ["b.mp4", 0, "AU12"],
    ]
    assert events["onset_s"].tolist() == pytest.approx([0.8] * 3)
    assert events["offset_s"].tolist() == pytest.approx([1.2] * 3)
    text = "\n".join(lines_of(made))
    assert "AU12" in text and "AU04" not in text
    assert "1 other AUs of the table are not reliable on real people" in made.note
    all_aus = make_extras(table, films, Extras(all_aus=True), RECORD, one_film=False)
    assert "AU04" in "\n".join(lines_of(all_aus))


def test_photos_have_no_events(tmp_path):
    table = write(tmp_path / "t.csv", rows("a.jpg", frames=1).assign(track=pd.NA))
    made = make_extras(table, {}, Extras(), RECORD, one_film=True)
    assert made.paths == [] and list(tmp_path.iterdir()) == [table]


def test_all_that_needs_no_film_is_beside_the_table(tmp_path):
    table = write(tmp_path / "t.csv", rows("a.mp4"))
    extras = Extras(
        formats=("openface", "jsonl", "long"),
        annotations=("srt",),
        neutral="0.5",
        report=True,
        timeline=True,
    )
    mine = [tmp_path / name for name in ("a.srt", "t.png")]
    for path in mine:
        path.write_text("mine")
    made = make_extras(table, {"a.mp4": tmp_path / "a.mp4"}, extras, RECORD, one_film=True)
    assert [path.read_text() for path in mine] == ["mine", "mine"]
    assert set(made.paths) <= set(results_of(table))  # so that the same command does not read them
    assert "input" not in pd.read_csv(tmp_path / "t.openface.csv")
    names = {path.name for path in made.paths}
    assert names == {
        *("t.openface.csv", "t.jsonl", "t.long.csv", "t.report.html", "t.srt"),
        *("t.timeline.png", "t.timeline.pdf"),
        *("t.events.csv", "t.summary.csv", "t.pairs.csv", "t.neutral.csv"),
    }
    assert all(path.is_file() and path.stat().st_size for path in made.paths)
    neutral = pd.read_csv(tmp_path / "t.neutral.csv")
    assert neutral["AU12_d"].to_numpy()[[0, 25]] == pytest.approx([0, 2.8], abs=1e-5)
    assert json.loads((tmp_path / "t.jsonl").read_text().splitlines()[25])["AU12_p"] == pytest.approx(0.9)
    assert 'src="a.mp4"' in (tmp_path / "t.report.html").read_text()


def test_csv_parquet_and_memory_lead_to_the_same_numbers(tmp_path):
    """A table's numbers are float32: 0.7 is 0.69999999 in Parquet, which is below a threshold of 0.7."""
    table = rows("a.mp4", (0, 1)).drop(columns=["AU04", "AU12"])
    numbers = [name for name in table if table[name].dtype == float and name != "time_s"]
    steps = np.random.default_rng(0).integers(0, 11, (len(table), len(numbers))) / 10
    table[numbers] = steps
    table = table.astype(dict.fromkeys(numbers, "float32"))
    schema = pa.Schema.from_pandas(table, preserve_index=False)
    extras = Extras(formats=("openface", "long", "jsonl"), neutral="0.5", smooth_s=0.05, report=True)
    record = RECORD | {"thresholds": {"AU04": 0.7, "AU12": 0.3}}
    for kind in ("csv", "parquet"):
        path = tmp_path / kind / f"t.{kind}"
        path.parent.mkdir()
        with table_writer.writer(path, schema) as append:
            append(pa.Table.from_pandas(table, preserve_index=False))
        made = make_extras(path, {"a.mp4": path.with_name("a.mp4")}, extras, record, one_film=True)
        assert len(made.paths) == 8
    for path in made.paths:
        assert path.read_bytes() == (tmp_path / "csv" / path.name).read_bytes(), path.name
    levels = neutral.levels_stretch(table, 0, 0.5)
    assert levels["AU12"].isin(np.arange(21) / 20).all()  # not 0.30000001192
    smoothed = smoothing.smooth(neutral.subtract(table, levels), 0.05)
    events = find_events(smoothed, thresholds=record["thresholds"])
    summary = summarize(smoothed, events, record["thresholds"])
    for name, found in (("events", events), ("summary", summary)):
        assert found.to_csv(index=False) == (tmp_path / "csv" / f"t.{name}.csv").read_text()
    by_table = neutral.levels_table(table, table[table["track"] == 0].assign(track=pd.NA))
    assert by_table["AU12"].isin(np.arange(21) / 20).all()


@pytest.mark.parametrize("one_film", [False, True])
@pytest.mark.parametrize("name", get_args(Format))
def test_evaluate_reads_every_format(tmp_path, name, one_film):
    films = ["a.mp4"] if one_film else ["a.mp4", "b.mp4"]
    table = write(tmp_path / "t.csv", *map(rows, films))
    made = make_extras(table, {}, Extras(events=False, formats=(name,)), RECORD, one_film)
    frames = pd.concat(map(rows, films))
    labels = pd.DataFrame({"source": frames["input"], "frame": frames["frame"], "AU12_o": frames["AU12"]})
    labels["frame"] += name == "openface"  # counts from 1
    labels.to_csv(tmp_path / "labels.csv", index=False)
    scores = evaluate.run(tmp_path / "labels.csv", made.paths[0])
    assert scores.matched == len(frames)
    assert scores.table.loc[12, "f1"] == 1


def test_boris_has_the_length_and_the_frame_rate_of_each_film(tmp_path):
    layouts.video(tmp_path / "a.mp4", 60, fps=25)
    table = write(tmp_path / "t.csv", rows("a.mp4"), rows("gone.mp4"))
    films = {name: tmp_path / name for name in ("a.mp4", "gone.mp4")}
    make_extras(table, films, Extras(annotations=("boris",)), RECORD, one_film=False)
    project = json.loads((tmp_path / "t.films" / "events.boris").read_text())
    film, gone = (project["observations"][name]["media_info"] for name in films)
    path = str(tmp_path / "a.mp4")
    assert film["length"] == {path: pytest.approx(60 / 25)}
    assert film["fps"] == {path: pytest.approx(25)}
    assert gone["length"] == {str(tmp_path / "gone.mp4"): pytest.approx(2)}  # of what was predicted
    assert gone["fps"] == {}


def test_of_several_films_pages_are_in_a_folder(tmp_path):
    table = write(tmp_path / "t.csv", rows("s/a.mp4"), rows("b.mp4"))
    films = {name: tmp_path / name for name in ("s/a.mp4", "b.mp4")}
    made = make_extras(table, films, Extras(events=False, report=True), RECORD, one_film=False)
    assert {path.relative_to(tmp_path).as_posix() for path in made.paths} == {
        "t.films/s/a.mp4.report.html",
        "t.films/b.mp4.report.html",
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"formats": ("spss",)},
            r"formats is 'spss'; expected one of openface, pyfeat, libreface, long, jsonl$",
        ),
        ({"annotations": ("vtt",)}, "annotations is 'vtt'"),
        ({"smooth_s": -1}, "smooth_s is -1; expected a number, 0 or more"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(wrong, message):
    with pytest.raises(ConfigError, match=message):
        Extras(**wrong)


def test_the_lines_of_many_people_are_those_seen_longest():
    from maeface.analysis.summary import summarize

    summary = summarize(rows("a.mp4", tuple(range(6))))
    lines = list(describe_film(summary, [12]))
    assert lines[-1] == "and 2 further people, who are seen for less time"
    assert lines[1].startswith("seen") and "100% of the film" in lines[1]
    assert "20% of the time, 1 x, up to 3.0" in lines[2]


def test_the_line_about_a_film_has_people_active_units_sides_and_the_table():
    frames = 10
    film = pd.DataFrame({"input": "a.mp4", "frame": range(frames), "time_s": np.arange(frames) / 10})
    film = film.assign(face=0, track=0, status="ok").astype({"track": "Int64"})
    for au, present in ((4, 0), (6, 2), (12, 5), (25, 9)):
        occurs = (np.arange(frames) < present).astype(int)
        film = film.assign(
            **{f"AU{au:02d}": occurs, f"AU{au:02d}_p": occurs * 0.9, f"AU{au:02d}_i": occurs * 3.0}
        )
    sided = film.assign(AU12_L=2.0, AU12_R=2.5, AU06_L=1.0, AU06_R=1.02)
    line = film_line(summarize(sided), [4, 6, 12, 25], "t.csv")
    assert line == (
        "a.mp4: 1 person, seen 100% of the film; AU25 90% of the time, AU12 50% (right stronger by 0.5), "
        "AU06 20% (sides alike); t.csv"
    )
    rows_of_aus = list(describe_film(summarize(sided), [6, 12, 25]))
    assert [one.rpartition("3.0")[2] for one in rows_of_aus[2:]] == [
        ", sides alike",
        ", right stronger by 0.5",
        "",
    ]
    absent = summarize(film.assign(AU04_L=1.0, AU04_R=1.5))  # it has sides, but does not occur
    assert list(describe_film(absent, [4]))[-1].endswith("0% of the time, 0 x")
    assert film_line(summarize(film), [4], "t.csv").endswith("film; AU04 is not present; t.csv")
    assert film_line(summarize(film), [], "t.csv") == "a.mp4: 1 person, seen 100% of the film; t.csv"
    half = film.assign(track=1)[film["frame"] < 5].assign(AU12=1, AU12_p=0.9, face=1)
    both = pd.concat([film, half]).sort_values(["frame", "face"], ignore_index=True)
    found = film_line(summarize(both), [12], "t.csv")  # 5 frames of 10, and 5 of 5
    assert found == "a.mp4: 2 people, seen up to 100% of the film; AU12 67% of the time; t.csv"
    odd = film_line(summarize(film.assign(input="a\x1b[2J.mp4")), [4], "t/a\x1b[2J.mp4.csv")
    assert "\x1b" not in odd  # a name may not clear the screen
    nobody = film.assign(face=-1, track=pd.NA, status="no_face", AU12_p=np.nan, AU12=pd.NA)
    assert film_line(summarize(nobody), [12], "t.csv") == "a.mp4: no face was measured; t.csv"


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("one_table", [True, False])
def test_each_film_has_a_line_in_every_case(tmp_path, monkeypatch, count, one_table):
    monkeypatch.setattr(workers, "work", parts_cases.work_here)
    films = [f"{number}.mp4" for number in range(count)]
    (tmp_path / "in").mkdir()
    for name in films:
        encode(tmp_path / "in" / name, [np.full((48, 64, 3), 15, np.uint8)] * 5, rate=10)
    out = tmp_path / ("t.csv" if one_table else "tables")
    for _ in range(2):  # the second time the tables are there
        lines = str(parts_cases.run(tmp_path / "in", out)).splitlines()
        for name in films:
            table = out if one_table else out / f"{name}.csv"
            line = f"{name}: 1 person, seen 100% of the film; AU12 100% of the time; {table}"
            line = line.replace("1 person", "faces")  # ready crops have no numbers of people
            assert lines.count(line) == 1
        assert sum(line.startswith("seen") for line in lines) == (count if count <= 3 else 0)


def test_where_a_table_goes_if_nothing_is_said(tmp_path, monkeypatch):
    film = tmp_path / "talk.mp4"
    film.write_bytes(b"")
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert predict.default_out([tmp_path / "photo.jpg"]) is None
    assert predict.default_out([film]) == tmp_path / "talk.aus.csv"
    assert predict.default_out([tmp_path]) == tmp_path.with_name(f"{tmp_path.name}.aus")
    with pytest.raises(
        ConfigError, match=r"^a film was given together with other inputs; say where the tables go: --out"
    ):
        predict.default_out([film, tmp_path / "photo.jpg"])
    (tmp_path / "sub").mkdir()
    assert predict.default_out([tmp_path / "sub" / ".."]) == tmp_path.with_name(f"{tmp_path.name}.aus")
    (tmp_path / "sub" / "talk.mp4").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert predict.default_out([Path("sub")]) == Path("sub.aus")
    assert predict.default_out([Path()]) == tmp_path.with_name(f"{tmp_path.name}.aus")
    table = tmp_path / "talk.aus.csv"
    table.write_text("mine")
    with pytest.raises(ConfigError, match="is no table of maeface"):
        predict.default_out([film])
    parts_of(table).mkdir()  # a run was killed between table and record
    assert predict.default_out([film]) == table
    parts_of(table).rmdir()
    record_path(table).write_text(json.dumps({"inputs": [{"name": "talk.mp4"}]}))
    assert predict.default_out([film]) == table
    other = film.rename(tmp_path / "talk.mov")
    with pytest.raises(ConfigError, match=r"is of talk\.mp4; choose another name"):
        predict.default_out([other])


def test_a_film_without_a_face_has_a_page_and_no_time_line(tmp_path):
    empty = rows("a.mp4").assign(face=-1, track=pd.NA, status="no_face")
    numbers = [name for name in empty if name not in ("input", "frame", "time_s", "face", "track", "status")]
    table = write(tmp_path / "t.csv", empty.assign(**dict.fromkeys(numbers, np.nan)))
    made = make_extras(
        table, {"a.mp4": tmp_path / "a.mp4"}, Extras(report=True, timeline=True), RECORD, one_film=True
    )
    assert {path.suffix for path in made.paths} == {".csv", ".html"}


def test_a_film_that_cannot_be_read_or_has_no_neutral_does_not_stop_the_others(tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(console, "note", notes.append)
    away = rows("b.mp4").assign(time_s=lambda table: table["time_s"] + 9)
    broken = rows("c.mp4", frames=1).assign(face=-1, track=pd.NA, status="not_a_video")
    table = write(tmp_path / "t.csv", rows("a.mp4"), away, broken)
    films = {name: tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")}
    made = make_extras(table, films, Extras(neutral="0.5", report=True), RECORD, one_film=False)
    assert pd.read_csv(tmp_path / "t.neutral.csv")["input"].unique().tolist() == ["a.mp4"]
    assert {path.name for path in made.paths if path.suffix == ".html"} == {"a.mp4.report.html"}
    assert "b.mp4: no face of a film is seen from 0 to 0.5 s" in notes[0]
    # nothing can be drawn of a film without pictures, and --video would fail
    make_extras(table, {"c.mp4": tmp_path / "c.mp4"}, Extras(video=True), RECORD, one_film=False)
    with pytest.raises(DataError, match="no face of a film is seen"):
        make_extras(table, {"b.mp4": tmp_path / "b.mp4"}, Extras(neutral="0.5"), RECORD, one_film=False)


def test_a_time_line_of_all_action_units_has_all_of_them(tmp_path, monkeypatch):
    chosen = []
    monkeypatch.setattr(timeline, "write", lambda path, table, aus, **content: chosen.append(aus))
    table = write(tmp_path / "t.csv", rows("a.mp4"))
    for all_aus in (False, True):
        extras = Extras(events=False, timeline=True, all_aus=all_aus)
        make_extras(table, {"a.mp4": tmp_path / "a.mp4"}, extras, RECORD, one_film=True)
    assert chosen == [None, None, ["AU04", "AU12"], ["AU04", "AU12"]]


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_may_be_0_and_1(tmp_path, threshold):
    table = write(tmp_path / "t.csv", rows("a.mp4"))
    record = {**RECORD, "thresholds": {"AU04": 0.5, "AU12": threshold}}
    make_extras(table, {"a.mp4": tmp_path / "a.mp4"}, Extras(smooth_s=0.1), record, one_film=True)
    summary = pd.read_csv(tmp_path / "t.summary.csv").set_index("au")
    assert summary.loc["AU12", "share"] == (threshold == 0)


def test_options_without_effect_are_told():
    extras = Extras(formats=("long",), neutral="auto", smooth_s=0.1, report=True)
    assert extras.describe_unused("", "") == []
    assert extras.describe_unused("no table", "no video") == [
        "formats has no effect: no table",
        "neutral, smooth_s and report have no effect: no video",
    ]
    assert Extras().describe_unused("no table", "no video") == []


def test_a_neutral_face_that_is_not_there_is_told_before_any_work(tmp_path):
    film = tmp_path / "a.mp4"
    film.write_bytes(bytes(4) + b"ftypisom")
    with pytest.raises(ConfigError, match="neutral face"):
        predict.run([film], None, tmp_path / "t.csv", extras=Extras(neutral=str(tmp_path / "calm.jpg")))
    assert list(tmp_path.iterdir()) == [film]


def test_options_of_tables_are_told_for_a_camera(tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(console, "note", notes.append)
    arguments = dict.fromkeys(("neutral", "formats", "annotations", "inputs", "out", "pictures", "track"))
    arguments |= dict.fromkeys(("events", "report"), True)
    arguments |= dict.fromkeys(("timeline", "video", "all_aus", "realtime"), False)
    arguments |= {"smooth_s": 0.0, "camera_size": "", "seconds": None, "camera": "0", "every": 5, "fps": None}
    arguments |= {"max_bad": 1.0, "workers": None, "file_timeout": 1800.0, "ray": None}
    monkeypatch.setattr(predict, "_make_predictor", lambda options: None)
    monkeypatch.setattr("maeface.prediction.camera_run.predict_camera", lambda *options: "done")
    assert predict.run_command(arguments) == ("done", False)
    assert notes == [
        "every has no effect: a camera is predicted",
        "report has no effect: a camera is predicted",
    ]


def test_a_table_of_photos_needs_no_pandas(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    code = (
        "import sys; from pathlib import Path; from maeface import predict\n"
        "predict.run([Path('a.png')], None, Path('t.csv'), aligned=True, device='cpu', workers=1)\n"
        "sys.exit('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_results_of_earlier_predictions_are_no_inputs(tmp_path):
    for name in ("a.png", "film.mp4", "film.aus.annotated.mp4", "film.aus.events.csv", "mine.csv"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "film.aus.films").mkdir()
    (tmp_path / "film.aus.films" / "face.png").write_bytes(b"x")
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {item.source.rpartition("/")[2] for item in find_images([tmp_path])} == names
    (tmp_path / "film.aus.csv").write_text("input\n")
    (tmp_path / "film.aus.csv.json").write_text('{"inputs": []}')
    found = find_images([tmp_path, tmp_path / "film.aus.annotated.mp4"])
    assert [item.source for item in found] == ["a.png", "film.aus.annotated.mp4", "film.mp4", "mine.csv"]


def test_weights_without_checks_show_all_their_action_units(tmp_path, monkeypatch):
    """Their record has an empty ``trust``: nothing is known, which is not the same as nothing to be used."""
    shown = []
    monkeypatch.setattr(
        "maeface.report.film_page.write", lambda path, rows, **more: shown.append(more["trust"])
    )
    table = write(tmp_path / "t.csv", rows("a.mp4"))
    record = {**RECORD, "trust": {}}
    made = make_extras(table, {"a.mp4": tmp_path / "a.mp4"}, Extras(report=True), record, one_film=True)
    assert shown == [None] and "AU04" in "\n".join(lines_of(made))
