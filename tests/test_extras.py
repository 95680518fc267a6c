"""What is made of a finished table."""

import json

import numpy as np
import pandas as pd
import pytest

from maeface import predict
from maeface.errors import ConfigError
from maeface.prediction.columns import FACE
from maeface.prediction.extra_files import make_extras
from maeface.prediction.extras import Extras
from maeface.report.film_summary import describe_film

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
    text = "\n".join(made.lines)
    assert "AU12" in text and "AU04" not in text
    assert "1 other AUs of the table are not reliable on real people" in text
    assert "AU04" in "\n".join(make_extras(table, films, Extras(all_aus=True), RECORD, one_film=False).lines)


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
    made = make_extras(table, {"a.mp4": tmp_path / "a.mp4"}, extras, RECORD, one_film=True)
    names = {path.name for path in made.paths}
    assert names == {
        *("t.openface.csv", "t.jsonl", "t.long.csv", "a.srt"),
        *("t.report.html", "t.timeline.png", "t.timeline.pdf"),
        *("t.events.csv", "t.summary.csv", "t.pairs.csv", "t.neutral.csv"),
    }
    assert all(path.is_file() and path.stat().st_size for path in made.paths)
    neutral = pd.read_csv(tmp_path / "t.neutral.csv")
    assert neutral["AU12_d"].to_numpy()[[0, 25]] == pytest.approx([0, 2.8], abs=1e-5)
    assert json.loads((tmp_path / "t.jsonl").read_text().splitlines()[25])["AU12_p"] == pytest.approx(0.9)
    assert 'src="a.mp4"' in (tmp_path / "t.report.html").read_text()


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
        ({"formats": ("spss",)}, "format is 'spss'; expected one of openface"),
        ({"annotations": ("vtt",)}, "annotations is 'vtt'"),
        ({"smooth_s": -1}, "expected seconds, 0 or more"),
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


def test_where_a_table_goes_if_nothing_is_said(tmp_path):
    film = tmp_path / "talk.mp4"
    film.write_bytes(b"")
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert predict.default_out([tmp_path / "photo.jpg"]) is None
    assert predict.default_out([film]) == tmp_path / "talk.aus.csv"
    assert predict.default_out([tmp_path]) == tmp_path.with_name(f"{tmp_path.name}.aus")
    with pytest.raises(ConfigError, match="say where the tables go: --out"):
        predict.default_out([film, tmp_path / "photo.jpg"])
    (tmp_path / "talk.aus.csv").write_text("mine")
    with pytest.raises(ConfigError, match="is no table of maeface"):
        predict.default_out([film])


def test_a_film_without_a_face_has_a_page_and_no_time_line(tmp_path):
    empty = rows("a.mp4").assign(face=-1, track=pd.NA, status="no_face")
    numbers = [name for name in empty if name not in ("input", "frame", "time_s", "face", "track", "status")]
    table = write(tmp_path / "t.csv", empty.assign(**dict.fromkeys(numbers, np.nan)))
    made = make_extras(
        table, {"a.mp4": tmp_path / "a.mp4"}, Extras(report=True, timeline=True), RECORD, one_film=True
    )
    assert {path.suffix for path in made.paths} == {".csv", ".html"}
