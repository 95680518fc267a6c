"""Events as files of ELAN and BORIS and as subtitles."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pympi
import pytest
import srt

from maeface.errors import ConfigError, DataError
from maeface.interchange import boris, elan, events, subtitles, writing
from maeface.interchange.events import Media

NOW = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)


def some_events(name="film.mp4"):
    rows = [
        (name, 1, "AU12", 2.0, 3.5, 2.4),
        (name, 0, "AU06", 0.48, 1.0, 1.2),
        (name, 0, "AU12", 0.5, 0.5, 0.2),  # a single frame
        (name, 0, "AU12", 1.0, 2.0404, 4.6),
        (name, 0, "AU12", 2.0404, 2.5, float("nan")),  # begins where the one before ends
    ]
    table = pd.DataFrame(rows, columns=["input", "track", "au", "onset_s", "offset_s", "peak_i"])
    return table.astype({"track": "Int64"})


def parse(text):
    return ElementTree.fromstring(text)


# ---- common checks


def test_events_are_sorted_and_in_milliseconds():
    table = events.prepare(some_events())
    assert table[["person", "au", "code", "start", "end"]].to_numpy().tolist() == [
        ["person 0", "AU06", "AU06 A", 480, 1000],
        ["person 0", "AU12", "AU12", 500, 501],
        ["person 0", "AU12", "AU12 E", 1000, 2040],
        ["person 0", "AU12", "AU12", 2040, 2500],
        ["person 1", "AU12", "AU12 B", 2000, 3500],
    ]


def test_people_are_in_the_order_of_their_numbers():
    many = pd.concat([some_events().iloc[:1].assign(track=number) for number in (10, 9, 2)])
    assert list(dict.fromkeys(events.prepare(many)["person"])) == ["person 2", "person 9", "person 10"]


def test_events_without_tracks_and_peaks():
    table = events.prepare(some_events().drop(columns="peak_i").iloc[1:].assign(track=pd.NA))
    assert set(table["person"]) == {"person"}
    assert set(table["code"]) == {"AU06", "AU12"}


def test_a_time_before_the_films_first_is_0():
    table = events.prepare(some_events().iloc[1:2].assign(onset_s=-0.02))
    assert table["start"].to_list() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"onset_s": None}, r"event 1 \(AU12 in film.mp4\) has no time of onset"),
        ({"offset_s": 0.1}, r"event 1 \(AU12 in film.mp4\) ends before it begins"),
        ({"au": "smile"}, "is not of an action unit such as AU12"),
        ({"track": 0, "onset_s": 2.4}, r"two events of AU12 of person 0 in film.mp4 overlap at 2\.500 s"),
        ({"track": 0, "onset_s": 1.0}, "overlap"),
    ],
)
def test_wrong_events_are_one_line(change, message):
    table = some_events()
    for name, value in change.items():
        table.loc[0, name] = value
    with pytest.raises(DataError, match=message) as caught:
        events.prepare(table)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match="no column offset_s; expected input, track"):
        events.prepare(some_events().drop(columns="offset_s"))


# ---- ELAN


def test_eaf_is_as_the_format_demands(tmp_path):
    text = elan.to_eaf(some_events(), Path("/films/my film.MP4"), Path("/films/out/film.eaf"), NOW)
    root = parse(text)
    assert (root.tag, root.get("FORMAT"), root.get("VERSION")) == ("ANNOTATION_DOCUMENT", "3.0", "3.0")
    assert root.get("DATE") == "2026-05-01T12:30:00+00:00"
    # the schema's order of elements
    order = [child.tag for child in root]
    expected = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE"]
    assert list(dict.fromkeys(order)) == expected
    assert order == sorted(order, key=expected.index)
    header = root.find("HEADER")
    assert header.get("TIME_UNITS") == "milliseconds"
    assert header.find("MEDIA_DESCRIPTOR").attrib == {
        "MEDIA_URL": "file:///films/my film.MP4",
        "RELATIVE_MEDIA_URL": "../my film.MP4",
        "MIME_TYPE": "video/mp4",
    }
    slots = root.findall("TIME_ORDER/TIME_SLOT")
    times = [int(slot.get("TIME_VALUE")) for slot in slots]
    assert times == sorted(times)
    at = {slot.get("TIME_SLOT_ID"): time for slot, time in zip(slots, times, strict=True)}
    annotations = root.findall("TIER/ANNOTATION/ALIGNABLE_ANNOTATION")
    used = [one.get(f"TIME_SLOT_REF{k}") for one in annotations for k in (1, 2)]
    assert sorted(used) == sorted(at)  # each slot once
    ids = [one.get("ANNOTATION_ID") for one in annotations]
    assert len({*ids, *at}) == len(ids) + len(at)
    assert all(re.fullmatch(r"[A-Za-z_][\w.-]*", name) for name in (*ids, *at))  # xs:ID
    types = {one.get("LINGUISTIC_TYPE_ID") for one in root.findall("LINGUISTIC_TYPE")}
    tiers = root.findall("TIER")
    assert {tier.get("LINGUISTIC_TYPE_REF") for tier in tiers} == types
    assert [tier.get("TIER_ID") for tier in tiers] == ["person 0 AU06", "person 0 AU12", "person 1 AU12"]
    spans = [
        [
            (at[one.get("TIME_SLOT_REF1")], at[one.get("TIME_SLOT_REF2")], one.findtext("ANNOTATION_VALUE"))
            for one in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        for tier in tiers
    ]
    assert spans[1] == [(500, 501, "AU12"), (1000, 2040, "AU12 E"), (2040, 2500, "AU12")]
    assert root.findtext("HEADER/PROPERTY") == "5"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.mpg", "video/mpeg"), ("a.MOV", "video/quicktime"), ("a.m4v", "video/mp4"), ("a.mkv", "video/*")],
)
def test_elan_chooses_its_player_by_the_type(name, kind):
    root = parse(elan.to_eaf(some_events(), Path("/films") / name, Path("/films/a.eaf"), NOW))
    descriptor = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert descriptor.get("MIME_TYPE") == kind
    assert descriptor.get("RELATIVE_MEDIA_URL") == f"./{name}"


def test_any_file_name_makes_valid_xml():
    root = parse(elan.to_eaf(some_events(), Path('/films/<a&b>"\x07.mp4'), Path("/films/a.eaf"), NOW))
    assert root.find("HEADER/MEDIA_DESCRIPTOR").get("RELATIVE_MEDIA_URL") == './<a&b>"?.mp4'


def test_a_reader_of_eaf_finds_film_tiers_and_times(tmp_path):
    film, out = tmp_path / "films" / "my film.mp4", tmp_path / "out" / "film.eaf"
    out.parent.mkdir()
    out.write_bytes(elan.to_eaf(some_events(), film, out, NOW))
    eaf = pympi.Elan.Eaf(str(out))
    (linked,) = eaf.get_linked_files()
    assert linked["MEDIA_URL"] == f"file://{film}"
    assert (out.parent / linked["RELATIVE_MEDIA_URL"]).resolve() == film.resolve()
    assert eaf.header["TIME_UNITS"] == "milliseconds"
    assert sorted(eaf.timeslots.values()) == [480, 500, 501, 1000, 1000, 2000, 2040, 2040, 2500, 3500]
    spans = {name: eaf.get_annotation_data_for_tier(name) for name in eaf.get_tier_names()}
    assert spans == {
        "person 0 AU06": [(480, 1000, "AU06 A")],
        "person 0 AU12": [(500, 501, "AU12"), (1000, 2040, "AU12 E"), (2040, 2500, "AU12")],
        "person 1 AU12": [(2000, 3500, "AU12 B")],
    }
    people = {eaf.get_parameters_for_tier(name)["PARTICIPANT"] for name in spans}
    assert people == {"person 0", "person 1"}
    with_nothing = tmp_path / "empty.eaf"
    with_nothing.write_bytes(elan.to_eaf(some_events().iloc[:0], film, with_nothing, NOW))
    assert not pympi.Elan.Eaf(str(with_nothing)).get_tier_names()


# ---- subtitles


def test_subtitles_show_what_is_present():
    assert subtitles.to_srt(some_events().iloc[1:4]).split("\n\n") == [
        "1\n00:00:00,480 --> 00:00:00,500\nAU06 A",
        "2\n00:00:00,500 --> 00:00:00,501\nAU06 A, AU12",
        "3\n00:00:00,501 --> 00:00:01,000\nAU06 A",
        "4\n00:00:01,000 --> 00:00:02,040\nAU12 E\n",
    ]


def test_subtitles_of_several_people_and_hours():
    late = some_events().assign(
        onset_s=lambda t: t["onset_s"] + 7300, offset_s=lambda t: t["offset_s"] + 7300
    )
    text = subtitles.to_srt(late)
    assert "02:01:42,040 --> 02:01:42,500\nperson 0: AU12\nperson 1: AU12 B\n" in text
    assert "02:01:42,500 --> 02:01:43,500\nperson 1: AU12 B\n" in text


def test_a_reader_of_subtitles_finds_times_and_texts():
    cues = list(srt.parse(subtitles.to_srt(some_events())))
    assert [(cue.index, cue.start.total_seconds(), cue.end.total_seconds(), cue.content) for cue in cues] == [
        (1, 0.48, 0.5, "person 0: AU06 A"),
        (2, 0.5, 0.501, "person 0: AU06 A, AU12"),
        (3, 0.501, 1.0, "person 0: AU06 A"),
        (4, 1.0, 2.0, "person 0: AU12 E"),
        (5, 2.0, 2.04, "person 0: AU12 E\nperson 1: AU12 B"),
        (6, 2.04, 2.5, "person 0: AU12\nperson 1: AU12 B"),
        (7, 2.5, 3.5, "person 1: AU12 B"),
    ]


def test_no_events_are_no_subtitles():
    assert subtitles.to_srt(some_events().iloc[:0]) == ""


# ---- BORIS

FILMS = {"film.mp4": Media(Path("/films/film.mp4"), 10.0, 25.0), "b.mp4": Media(Path("/films/b.mp4"))}


def test_a_project_of_boris():
    project = boris.to_project(some_events(), FILMS, ["film.mp4", "b.mp4"], NOW)
    project = json.loads(json.dumps(project))
    assert [one["name"] for one in project["subjects_conf"].values()] == ["person 0", "person 1"]
    assert [(one["code"], one["type"], one["description"]) for one in project["behaviors_conf"].values()] == [
        ("AU06", "State event", "Cheek raiser"),
        ("AU12", "State event", "Lip corner puller"),
    ]
    film, other = (project["observations"][name] for name in ("film.mp4", "b.mp4"))
    assert film["file"]["1"] == ["/films/film.mp4"]
    assert film["media_info"]["length"] == {"/films/film.mp4": 10.0}
    assert other["events"] == []
    assert "media_info" not in other  # BORIS then looks in the film
    times = [event[0] for event in film["events"]]
    assert times == sorted(times)
    # BORIS pairs the events of a subject and a behaviour in turn: start, stop, start, stop
    smiles = [event[0] for event in film["events"] if event[1:3] == ["person 0", "AU12"]]
    assert list(zip(smiles[::2], smiles[1::2], strict=True)) == [(0.5, 0.501), (1.0, 2.04), (2.04, 2.5)]


def test_boris_has_the_length_of_a_film_without_its_rate():
    """Without a length BORIS 8 reports the observation as damaged, and exports nothing of it."""
    project = boris.to_project(some_events(), {"film.mp4": Media(Path("/films/film.mp4"), 10.0)}, now=NOW)
    found = project["observations"]["film.mp4"]["media_info"]
    assert (found["length"], found["fps"]) == ({"/films/film.mp4": 10.0}, {})


def test_aggregated_events_of_boris():
    table = boris.to_aggregated(some_events(), FILMS, NOW)
    state = table[table["Behavior type"] == "STATE"]
    total = state.groupby(["Subject", "Behavior"])["Duration (s)"].sum()  # as scripts for BORIS do
    assert total["person 0", "AU12"] == pytest.approx(1.501)
    assert table["Observation date"].iloc[0] == "2026-05-01 12:30:00"
    assert table["Coding duration"].iloc[0] == pytest.approx(3.02)
    assert table["Observation duration by subject by observation"].iloc[0] == pytest.approx(2.021)


# ---- files


def test_files_of_events(tmp_path):
    table = pd.concat([some_events("s1/a.mp4"), some_events("s1/a.mov"), some_events("b.mp4")])
    media = {name: Media(tmp_path / name, 5.0, 30.0) for name in ("s1/a.mp4", "s1/a.mov", "b.mp4", "c.mp4")}
    out = tmp_path / "out"
    written = writing.write_events(table, out, "elan", media, list(media))
    names = [str(path.relative_to(out)) for path in written]
    assert names == ["s1/a.mp4.eaf", "s1/a.mov.eaf", "b.eaf", "c.eaf"]
    roots = [parse(path.read_bytes()) for path in written]
    assert [len(root.findall("TIER")) for root in roots] == [3, 3, 3, 0]
    for root, name, path in zip(roots, media, written, strict=True):
        relative = root.find("HEADER/MEDIA_DESCRIPTOR").get("RELATIVE_MEDIA_URL")
        assert (path.parent / relative).resolve() == (tmp_path / name).resolve()
    assert [path.suffix for path in writing.write_events(table, out, "srt", media)] == [".srt"] * 3
    project, aggregated = writing.write_events(table, out, "boris", media)
    assert set(json.loads(project.read_text())["observations"]) == {"s1/a.mp4", "s1/a.mov", "b.mp4"}
    assert len(pd.read_csv(aggregated)) == len(table)
    with pytest.raises(DataError, match=r"events of b\.mp4, and it is not known where this film is"):
        writing.write_events(table, out, "srt", {name: media[name] for name in ("s1/a.mp4", "s1/a.mov")})
    with pytest.raises(ConfigError, match="layout is 'eaf'"):
        writing.write_events(table, out, "eaf", media)


def test_files_of_one_film_may_have_another_name(tmp_path):
    mine = tmp_path / "a.eaf"
    mine.write_text("the coder's own")
    media = {"a.mp4": Media(tmp_path / "a.mp4", 5.0, 30.0)}
    names = []
    for layout in writing.EVENT_FORMATS:
        paths = writing.write_events(some_events("a.mp4"), tmp_path, layout, media, stem="a.aus")
        names += [path.name for path in paths]
    assert names == ["a.aus.eaf", "a.aus.srt", "a.aus.boris", "a.aus.boris.csv"]
    assert mine.read_text() == "the coder's own"
    with pytest.raises(ConfigError, match="expected one film"):
        writing.write_events(some_events("a.mp4"), tmp_path, "srt", media, ["a.mp4", "b.mp4"], "a.aus")
