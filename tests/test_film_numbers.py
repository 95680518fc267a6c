"""The page of a film, the lines in the terminal and the tables say the same numbers."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import browser
from drawn_tables import film, together
from maeface.analysis.events import find_events
from maeface.analysis.summary import summarize
from maeface.report import film_data, film_page, timeline
from maeface.report.film_summary import describe_film
from maeface.report.lines import percent


def uneven():
    """Two people in a film of 40 frames, half of them slow; person 0 is seen in 30, person 1 in 10 frames.

    By frames person 0 is seen for 75 %, by time for 64 %.
    """
    times = np.concatenate([np.arange(20) * 0.1, 2 + np.arange(20) * 0.3])
    smile = [0.1] * 5 + [0.97] * 12 + [0.1] * 13 + [None] * 10
    other = [None] * 30 + [0.2, 0.9, 0.9, 0.9, 0.9, 0.9, 0.2, 0.2, 0.2, 0.2]
    return together(film(smile, times=times), film(other, times=times, track=1)).pipe(
        lambda table: table[~((table["face"] < 0) & table["frame"].duplicated(keep=False))]
    )


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


def test_the_share_of_a_person_is_by_time_everywhere():
    table = uneven()
    summary = summarize(table)
    data = data_of(film_page.render(table, title="a", summary=summary))
    share = summary.set_index("track")["valid_share"]
    assert share[0] == pytest.approx(5 / 7.8, abs=1e-6) and share[0] != pytest.approx(30 / 40)
    assert [(one["title"], one["seen"]) for one in data["people"]] == [
        ("Person 0", percent(share[0])),
        ("Person 1", percent(share[1])),
    ]
    heads, seen, *_ = describe_film(summary, [12])
    assert re.split(r"\s{2,}", heads.strip()) == ["Person 0", "Person 1"]
    assert re.findall(r"[\d<>]+ ?\d*%", seen) == [one["seen"] for one in data["people"]]
    assert data["end_ms"] == round(1000 * summary["seconds"].max()) == 7800


def test_presence_and_events_on_the_page_are_those_of_the_tables():
    table = uneven()
    events = find_events(table)
    summary = summarize(table, events)
    data = data_of(film_page.render(table, title="a", events=events, summary=summary))
    spans = np.append(np.diff(table.drop_duplicates("frame")["time_s"]), 0.1)
    for person in data["people"]:
        row = summary[summary["track"] == person["track"]].iloc[0]
        present = np.repeat(person["present"]["AU12"][1::2], person["present"]["AU12"][::2])
        seen = np.zeros(len(spans), bool)
        seen[np.cumsum(np.abs(person["k"]))] = True
        assert (present * spans).sum() / spans[seen].sum() == pytest.approx(row["share"], abs=1e-6)
        assert max(person["series"]["AU12_i"]["v"]) / 100 == pytest.approx(row["peak_i"], abs=0.005)
        assert sum(event[0] == person["track"] for event in data["events"]) == row["events"]
    assert [event[2:] for event in data["events"]] == events[list(film_data.EVENT[2:])].round(
        3
    ).values.tolist()
    columns = [name for name in summary if name != "input"]
    assert data["summary"]["columns"] == columns
    for shown, given in zip(data["summary"]["rows"], summary[columns].itertuples(index=False), strict=True):
        assert [v for v in shown if v is not None][2:] == pytest.approx(
            [v for v in given if not pd.isna(v)][2:], abs=5e-4
        )


def test_a_table_without_occurrence_is_read_with_the_thresholds():
    table = film([0.2, 0.6, 0.6, 0.95])
    for threshold, expected in ((0.5, [1, 0, 3, 1]), (0.9, [3, 0, 1, 1])):
        data = data_of(film_page.render(table, title="a", thresholds={"AU12": threshold}))
        assert data["people"][0]["present"]["AU12"] == expected
        share = summarize(table, thresholds={"AU12": threshold})["share"].item()
        assert share == pytest.approx(expected[2] / 4)


def test_people_without_room_on_the_page_are_counted():
    many = [film([0.1] * 5, track=track) for track in range(film_data.PEOPLE + 3)]
    page = film_page.render(together(*many), title="a")
    assert f"5 frames, {film_data.PEOPLE + 3} people" in page
    assert "3 people with the fewest frames are left out" in page


def test_rounding_hides_neither_little_nor_a_gap():
    assert [percent(share) for share in (0, 0.001, 0.375, 0.999, 1)] == ["0%", "< 1%", "38%", "> 99%", "100%"]


def test_smoothing_is_told_on_the_page():
    assert "smoothed over time (0.067 s)" in film_page.render(uneven(), title="a", smooth_s=0.067)
    assert (
        "smoothed" not in film_page.render(uneven(), title="a").partition("<footer>")[2].partition("<!--")[0]
    )


def without_tracks():
    table = film([0.1] * 10 + [0.9] * 10 + [0.1] * 10)
    return table.assign(track=pd.array([None] * len(table), "Int64"))


def test_a_film_without_tracks_has_its_events_on_the_time_line():
    table = without_tracks()
    events = find_events(table)
    assert len(events) == 1 and events["track"].isna().all()
    axes = timeline.draw(table, events=events).axes[0]
    bars = [bar for bar in axes.collections if hasattr(bar, "get_segments") and len(bar.get_segments())]
    assert [bar.get_segments()[0][:, 0].tolist() for bar in bars] == [[0.4, 0.8]]
    data = film_data.film_data(table, events)
    assert not data["tracked"] and [one["title"] for one in data["people"]] == ["Face 0"]


def test_faces_whose_people_are_not_known_have_no_count_of_events():
    one = without_tracks().iloc[:1]
    several = pd.concat([without_tracks(), without_tracks().assign(face=1)])
    for table in (one, several):
        lines = list(describe_film(summarize(table), [12]))
        assert "all faces" in lines[0] and "nan" not in " ".join(lines)
    assert "the person" in next(describe_film(summarize(without_tracks()), [12]))


def test_a_time_line_names_the_person_if_there_are_several():
    assert timeline.draw(uneven(), title="a.mp4").get_suptitle() == "a.mp4, Person 0"
    assert timeline.draw(uneven(), person=1).get_suptitle() == "Person 1"
    assert timeline.draw(film([0.1] * 9), title="a.mp4").get_suptitle() == "a.mp4"


def test_what_is_not_found_does_not_look_like_the_area_under_a_curve():
    axes = timeline.draw(uneven(), person=1).axes[0]
    (band,) = [patch for patch in axes.patches if patch.get_hatch()]
    area = axes.collections[0].get_facecolor()[0][:3]
    assert band.get_hatch() == "xxx" and np.ptp(band.get_facecolor()[:3]) == 0
    assert np.ptp(area) > 0.1  # a colour, no grey


def test_the_page_writes_the_numbers_of_the_tables(tmp_path):
    if (binary := browser.find()) is None:
        pytest.skip("Chromium is not installed")
    table = uneven()
    table.loc[table["track"].eq(0) & (table["AU12_i"] > 4), "AU12_i"] = (
        5.0  # a whole number, unlike person 1's
    )
    events = find_events(table)
    summary = summarize(table, events)
    film_page.write(tmp_path / "a.html", table, title="a", events=events, summary=summary)
    page = browser.Page(binary)
    try:
        page.open(tmp_path / "a.html")
        rows = "[...document.querySelectorAll('#{} tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
        heads = page.run("[...document.querySelectorAll('#summary th')].map(h => h.innerText.trim())")
        for k in (0, 1):
            page.run(f"document.querySelectorAll('#people input')[{k}].click()")
            (shown,) = page.run(rows.format("summary"))
            row = dict(zip(heads, shown, strict=True))
            one = summary[summary["track"] == k].iloc[0]
            of_person = page.run("document.getElementById('of-person').textContent")
            assert row["share"] == f"{one['share']:.3f}" and of_person.endswith(
                f"({100 * one['valid_share']:.1f} %)"
            )
            assert (row["peak"], row["mean p"]) == (f"{one['peak_i']:.2f}", f"{one['mean_p']:.3f}")
            assert row["events per min"] == f"{one['events_per_min']:.2f}"
            event = events[events["track"] == k].iloc[0]
            (shown,) = page.run(rows.format("events"))
            times = [f"0:{event[name]:06.3f}" for name in ("onset_s", "apex_s", "offset_s")]
            assert shown[2:] == [*times, f"{event['duration_s']:.3f}", f"{event['peak_i']:.2f}"]
        label = page.run("document.querySelector('#people .person').innerText")
        assert percent(summary["valid_share"].iloc[0]) in label and "Person 0" in label
        assert page.errors == []
    finally:
        page.close()
