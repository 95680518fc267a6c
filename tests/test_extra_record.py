"""What is made of a table is made again only if it is not up to date, and never left of an earlier table."""

import json
from types import SimpleNamespace

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface import console, files, predict
from maeface.errors import ConfigError, DataError
from maeface.prediction.extra_files import make_extras
from maeface.prediction.extras import Extras
from maeface.report import film_page, timeline
from test_extras import RECORD, rows, write

LATER = {**RECORD, "finished": "later"}


@pytest.fixture
def notes(monkeypatch):
    listed = []
    monkeypatch.setattr(console, "note", listed.append)
    return listed


@pytest.fixture
def pages(monkeypatch):
    """The films of which a page was written."""
    listed, write_page = [], film_page.write

    def count(path, table, **content):
        listed.append(content["title"])
        write_page(path, table, **content)

    monkeypatch.setattr(film_page, "write", count)
    return listed


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "t.csv", rows("a.mp4"))


def make(table, record=RECORD, films=("a.mp4",), **extras):
    one = len(films) == 1
    return make_extras(table, {name: table.parent / name for name in films}, Extras(**extras), record, one)


def names(paths):
    return sorted(path.name for path in paths)


EVENTS = ["t.events.csv", "t.pairs.csv", "t.summary.csv"]


def test_what_is_up_to_date_is_not_made_again(table, pages):
    asked = {"report": True, "formats": ("long",), "annotations": ("srt",), "neutral": "auto"}
    first = make(table, **asked)
    times = {path: path.stat().st_mtime_ns for path in first.paths}
    again = make(table, **asked)
    assert again.paths == [] and names(again.current) == names(first.paths) and pages == ["a.mp4"]
    assert {path: path.stat().st_mtime_ns for path in first.paths} == times
    assert list(again.films) == list(first.films) != []  # they are still told
    (table.parent / "t.report.html").unlink()
    assert names(make(table, **asked).paths) == ["t.report.html"]


@pytest.mark.parametrize(
    ("setting", "value", "made_again"),
    [
        ("smooth_s", 0.1, {*EVENTS, "t.srt", "t.report.html", "t.timeline.png", "t.timeline.pdf"}),
        ("all_aus", True, {"t.srt", "t.timeline.png", "t.timeline.pdf"}),
        (
            *("neutral", "auto"),
            {*EVENTS, "t.srt", "t.report.html", "t.timeline.png", "t.timeline.pdf", "t.neutral.csv"},
        ),
    ],
)
def test_what_other_settings_shape_is_made_again(table, monkeypatch, setting, value, made_again):
    monkeypatch.setattr(timeline, "write", lambda path, rows, aus, **content: path.write_bytes(b"drawn"))
    asked = {"report": True, "timeline": True, "formats": ("long",), "annotations": ("srt",)}
    make(table, **asked)
    assert {path.name for path in make(table, **asked, **{setting: value}).paths} == made_again


def test_another_neutral_face_of_the_same_name_makes_the_events_again(table):
    calm = write(table.parent / "calm.csv", rows("a.jpg", frames=1))
    for expected in (EVENTS, []):
        made = make_extras(
            *(table, {"a.mp4": table.with_name("a.mp4")}, Extras(neutral=str(calm)), RECORD, True),
            lambda: pd.read_csv(calm),
        )
        assert names(set(made.paths) - {table.with_name("t.neutral.csv")}) == expected
    write(calm, rows("a.jpg", frames=1).assign(AU12_i=1.25, AU04_i=0.125))
    made = make_extras(
        *(table, {"a.mp4": table.with_name("a.mp4")}, Extras(neutral=str(calm)), RECORD, True),
        lambda: pd.read_csv(calm),
    )
    assert len(made.paths) == 4


def test_nothing_of_an_earlier_table_is_left(table, notes):
    make(table, report=True, formats=("jsonl",), annotations=("srt", "boris"))
    folder = table.parent
    (folder / "t.openface.csv").write_text("mine")  # no run has made it
    (folder / "t.srt").write_text("made by maeface, then coded by hand")
    made = make(table, LATER)
    assert names(made.paths) == EVENTS and made.current == []
    left = {"t.csv", "t.extras.json", *EVENTS, "t.openface.csv", "t.srt"}
    assert {path.name for path in folder.iterdir()} == left
    assert notes == [
        "t.csv has changed; removed t.jsonl, t.report.html, t.boris and 1 more of the earlier one; give "
        "formats jsonl report annotations boris to make it again",
        "t.srt of an earlier t.csv was changed since, so it is left",
    ]


def test_an_edited_table_is_another_table(table, notes):
    """Its record is as before, but events and pages are of rows that are gone."""
    make(table, report=True)
    write(table, rows("a.mp4").iloc[:30])
    made = make(table)
    assert names(made.paths) == EVENTS and pd.read_csv(table.with_name("t.summary.csv"))["frames"].max() == 30
    assert notes == [
        "t.csv has changed; removed t.report.html of the earlier one; give report to make it again"
    ]
    assert make(table).paths == []


@pytest.mark.parametrize("text", ["", "input;track;au\na.mp4;0;AU12\n"])
def test_a_summary_that_was_edited_is_not_told(table, text):
    """A spreadsheet may have saved it with semicolons, or it is empty."""
    make(table)
    table.with_name("t.summary.csv").write_text(text)
    made = make(table)
    assert made.paths == [] and names(made.current) == EVENTS and list(made.films) == []
    assert table.with_name("t.summary.csv").read_text() == text


def test_what_is_asked_for_is_made_of_the_new_table_and_the_rest_of_this_table_stays(table, notes, pages):
    make(table, report=True)
    make(table, LATER, report=True)
    assert notes == [] and len(pages) == 2
    make(table, LATER, events=False)
    assert (table.parent / "t.report.html").exists() and (table.parent / "t.events.csv").exists()
    assert notes == []


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        ({"report": True}, "t.report.html"),
        ({"timeline": True}, "t.timeline.png, t.timeline.pdf"),
        ({"annotations": ("elan",)}, "t.eaf"),
    ],
)
def test_what_other_settings_would_shape_is_left_with_a_line(table, notes, monkeypatch, asked, files):
    monkeypatch.setattr(timeline, "write", lambda path, rows, aus, **content: path.write_bytes(b"drawn"))
    make(table, **asked, smooth_s=0.1, neutral="auto")
    assert notes == []
    make(table)
    option = {"annotations": "annotations elan"}.get(*list(asked) * 2)
    assert notes == [
        "left as made with other settings (neutral was auto, now not given; smooth_s was 0.1, now not "
        f"given): {files}; give {option} to make it again"
    ]
    assert all((table.parent / name).exists() for name in files.split(", "))
    notes.clear()
    make(table, **asked, smooth_s=0.1, neutral="auto")
    assert notes == []  # all is asked for


def test_films_that_are_gone_take_their_files_with_them(tmp_path, notes):
    films = ("s/a.mp4", "b.mp4")
    table = write(tmp_path / "t.csv", *map(rows, films))
    make(table, films=films, report=True)
    make(write(table, rows("b.mp4"), rows("c.mp4")), LATER, films=("b.mp4", "c.mp4"), report=True)
    found = {path.relative_to(tmp_path / "t.films").as_posix() for path in (tmp_path / "t.films").rglob("*")}
    assert found == {"b.mp4.report.html", "c.mp4.report.html"}  # and no empty folder
    assert notes == [
        "t.csv has changed; removed t.films/s/a.mp4.report.html of the earlier one; give report to make "
        "it again"
    ]


def test_an_interrupted_run_goes_on_with_the_next_film(tmp_path, monkeypatch):
    films, done, write_page = ("a.mp4", "b.mp4", "c.mp4"), [], film_page.write
    table = write(tmp_path / "t.csv", *map(rows, films))

    def stop_once(path, rows, **content):
        done.append(content["title"])
        if done.count("b.mp4") == 1 and content["title"] == "b.mp4":
            raise KeyboardInterrupt
        write_page(path, rows, **content)

    monkeypatch.setattr(film_page, "write", stop_once)
    with pytest.raises(KeyboardInterrupt):
        make(table, films=films, report=True)
    make(table, films=films, report=True)
    assert done == ["a.mp4", "b.mp4", "b.mp4", "c.mp4"]
    (tmp_path / "whole").mkdir()
    whole = write(tmp_path / "whole" / "t.csv", *map(rows, films))
    make(whole, films=films, report=True)
    for path in whole.parent.rglob("*.csv"):
        assert path.read_bytes() == (tmp_path / path.relative_to(whole.parent)).read_bytes()


def test_files_of_two_settings_are_not_up_to_date(table, monkeypatch):
    """The run with other settings is stopped between two of three files."""
    make(table)
    write_text = files.write_text

    def stop(path, text):
        if path.name == "t.summary.csv":
            raise KeyboardInterrupt
        write_text(path, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("maeface.files.write_text", stop)
        make(table, smooth_s=0.1)
    assert names(make(table).paths) == EVENTS
    assert make(table).paths == []


def test_a_csv_and_a_parquet_table_share_names(table):
    make(table)
    other = table.with_suffix(".parquet")
    rows("a.mp4").to_parquet(other)
    assert names(make(other).paths) == EVENTS
    assert make(other).paths == []
    assert names(make(table).paths) == EVENTS  # those of the other table were there


@pytest.mark.parametrize(
    "name", ["../mine.csv", "t.films/../../mine.csv", "/mine.csv", "mine.csv", "t.csv", ""]
)
def test_a_record_cannot_name_other_files(table, name):
    mine = table.parent / "mine.csv"
    mine.write_text("mine")
    for path in (mine, table):
        status = path.stat()
        entry = {"table": "t.csv", "what": "report", "film": "", "of": "another", "settings": {}}
        entry["files"] = {name: [status.st_size, status.st_mtime_ns]}
        (table.parent / "t.extras.json").write_text(json.dumps({"extras": [entry]}))
        make(table, events=False)
    assert mine.exists() and table.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"extras": [1]}', '{"extras": [{"table": "t.csv"}]}'])
def test_a_damaged_record_is_as_none(table, text):
    (table.parent / "t.extras.json").write_text(text)
    assert names(make(table).paths) == EVENTS
    assert make(table).paths == []


# With predictions ------------------------------------------------------------------------------------------


def film(path, shade, frames=12):
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(frames):
            picture = np.full((64, 64, 3), shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def run(path, out, **extras):
    options = {"aligned": True, "device": "cpu", "workers": 1}
    return predict.run([path], None, out, **options, extras=Extras(**extras))


def test_a_film_that_is_replaced_takes_its_page_with_it(tmp_path, capsys):
    source, out = film(tmp_path / "a.mp4", 40), tmp_path / "t.csv"
    run(source, out, report=True)
    said = str(run(source, out, report=True))
    assert (
        "also written" not in said
        and f"up to date in {tmp_path}: t.events.csv" in said
        and "t.report.html" in said
    )
    film(source, 200, frames=15)
    said = str(run(source, out))
    assert f"also written in {tmp_path}: t.events.csv, t.summary.csv, t.pairs.csv" in said
    assert "up to date" not in said
    assert not (tmp_path / "t.report.html").exists()
    assert "t.csv has changed; removed t.report.html of the earlier one" in capsys.readouterr().err


def test_formats_of_photos_are_removed_with_their_table(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    run(tmp_path / "a.png", tmp_path / "t.csv", formats=("long",))
    run(tmp_path / "a.png", tmp_path / "t.csv")
    assert (tmp_path / "t.long.csv").exists()
    Image.new("RGB", (65, 65), "red").save(tmp_path / "a.png")
    run(tmp_path / "a.png", tmp_path / "t.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "t.csv", "t.csv.json"}


def test_a_film_shorter_than_the_neutral_stretch_is_told(table, notes):
    for neutral in ("auto", "2", "1-2"):
        make(table, neutral=neutral)
    assert notes == []
    make(table, neutral="100")
    make(table, neutral="1-100")
    assert notes == [
        "a.mp4 has only 2.0 s: its neutral is of 2.0 s instead of 100 s",
        "a.mp4 has only 2.0 s: its neutral is of 1.0 s instead of 99 s",
    ]
    with pytest.raises(DataError, match=r"of 12 to 15 s, and the film has only 2\.0 s; give another stretch"):
        make(table, neutral="12-15")


def test_a_film_without_a_neutral_does_not_keep_those_of_other_films_from_their_tables(tmp_path, capsys):
    (tmp_path / "films").mkdir()
    film(tmp_path / "films" / "a.mp4", 40, frames=12)
    film(tmp_path / "films" / "b.mp4", 90, frames=30)
    out = tmp_path / "out"
    run(tmp_path / "films", out, neutral="2-3")
    assert (out / "b.mp4.events.csv").is_file() and not (out / "a.mp4.events.csv").exists()
    assert (
        "a.mp4.csv: the neutral is to be of 2 to 3 s, and the film has only 1.2 s" in capsys.readouterr().err
    )
    with pytest.raises(DataError, match="the neutral is to be of 9 to 10 s"):
        run(tmp_path / "films", out, neutral="9-10")


def test_annotations_by_hand_of_one_film_do_not_keep_others_from_theirs(tmp_path, capsys):
    (tmp_path / "films").mkdir()
    for name, grey in (("a.mp4", 40), ("b.mp4", 90)):
        film(tmp_path / "films" / name, grey, frames=12)
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.mp4.srt").write_text("hours of work")
    with pytest.raises(ConfigError, match=r"a\.mp4\.srt is there, and was written or changed by others"):
        run(tmp_path / "films", out, annotations=("srt",))
    assert (out / "a.mp4.srt").read_text() == "hours of work"
    assert (out / "b.mp4.srt").is_file() and (out / "b.mp4.events.csv").is_file()
    assert "a.mp4.csv: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "extras", "message"),
    [
        ("intensity", {"formats": ("pyfeat",)}, "formats pyfeat holds probabilities"),
        ("detection", {"neutral": "auto"}, "neutral needs intensities"),
    ],
)
def test_what_the_weights_cannot_give_is_refused_before_any_work(
    tmp_path, monkeypatch, task, extras, message
):
    source = film(tmp_path / "a.mp4", 40)
    monkeypatch.setattr("maeface.model.arrays.load_arrays", lambda path: ({}, SimpleNamespace(task=task)))
    with pytest.raises(ConfigError, match=message):
        run(source, tmp_path / "t.csv", **extras)
    assert list(tmp_path.iterdir()) == [source]
    Extras(formats=("openface", "libreface", "long", "jsonl")).require_possible(tmp_path, videos=True)
    Extras(neutral="auto").require_possible(tmp_path, videos=False)


@pytest.mark.parametrize(("layout", "name"), [("elan", "t.eaf"), ("srt", "t.srt"), ("boris", "t.boris")])
def test_annotations_by_hand_are_not_replaced(table, layout, name):
    own = table.with_name(name)
    own.write_text("hours of coding")
    with pytest.raises(ConfigError, match=r"was written or changed by others; rename it, or .* with out"):
        make(table, annotations=(layout,))
    assert own.read_text() == "hours of coding" and table.with_name("t.events.csv").is_file()
    own.unlink()
    make(table, annotations=(layout,))
    made = own.read_bytes()
    make(table, LATER, annotations=(layout,))  # ours, of an earlier table: made again
    own.write_bytes(made + b"\n ")
    with pytest.raises(ConfigError, match="was written or changed by others"):
        make(table, annotations=(layout,), smooth_s=0.2)
    assert own.read_bytes() == made + b"\n "


def test_annotations_go_on_after_an_interruption(table, monkeypatch):
    write_text = files.write_text

    def stop_after(path, text):
        write_text(path, text)
        if path.suffix == ".srt":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_text", stop_after)
        with pytest.raises(KeyboardInterrupt):
            make(table, annotations=("srt",))
    assert names(make(table, annotations=("srt",)).paths) == ["t.srt"]


def test_annotations_show_reliable_aus_only_unless_all_are_asked_for(table):
    trust = {au: {"use": au == "AU12"} for au in ("AU04", "AU12")}
    frames = pd.read_csv(table).assign(AU04=1, AU04_p=0.9, AU12=1, AU12_p=0.9)
    frames.to_csv(table, index=False)
    record = {**RECORD, "trust": trust, "thresholds": {"AU04": 0.5, "AU12": 0.5}}
    make(table, record, annotations=("srt",))
    shown = table.with_name("t.srt").read_text()
    assert "AU12" in shown and "AU04" not in shown
    make(table, record, annotations=("srt",), all_aus=True)
    assert "AU04" in table.with_name("t.srt").read_text()


def test_nothing_that_other_settings_would_shape_is_not_named(tmp_path, notes):
    nobody = rows("a.mp4").assign(face=-1, track=pd.NA, status="no_face")
    table = write(tmp_path / "t.csv", nobody.drop_duplicates("frame"))
    make(table, report=True, timeline=True, smooth_s=0.1)
    make(table)
    assert len(notes) == 1 and notes[0].endswith("given): t.report.html; give report to make it again")
