"""The page of one film and its time-line for print."""

import base64
import hashlib
import io
import json
import re
import time
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import browser
from maeface.analysis.summary import summarize
from maeface.errors import ConfigError, DataError
from maeface.report import film_data, film_page, timeline

NAME = "</script> & a #1.mp4"
TRUST = {
    "AU06": {"checked": "real", "auc": 0.86, "low": 0.81, "high": 0.9, "n": 300, "present": 231, "use": True},
    "AU12": {
        "checked": "real",
        "auc": 0.97,
        "low": 0.95,
        "high": 0.98,
        "n": 300,
        "present": 276,
        "use": True,
    },
    "AU04": {"checked": "renders", "auc": 0.7, "n": 900, "present": 90, "use": False},
}


def table(frames=60, people=2, aus=(4, 6, 12), fps=15.0):
    """Rows of a film: everybody is there, but person 0 is away in frames 20 to 29, and 40 to 44 are empty."""
    rng = np.random.default_rng(0)
    parts = []
    for person in range(people):
        number = np.arange(frames)
        seen = ~((number >= 40) & (number < 45)) & ~((person == 0) & (number >= 20) & (number < 30))
        n = int(seen.sum())
        part = pd.DataFrame({"input": NAME, "frame": number[seen], "time_s": number[seen] / fps})
        part = part.assign(face=person, track=person, status="ok", score=rng.uniform(0.9, 1, n))
        part = part.assign(x1=40.0 + 100 * person, y1=50.0, x2=90.0 + 100 * person, y2=120.0)
        part = part.assign(yaw=rng.normal(0, 20, n), sharpness=rng.uniform(0, 300, n))
        for au in aus:
            p = rng.uniform(0, 1, n)
            columns = {f"AU{au:02d}": (p >= 0.5).astype(int), f"AU{au:02d}_p": p, f"AU{au:02d}_i": 5 * p}
            part = part.assign(**columns)
        parts.append(part)
    empty = pd.DataFrame({"input": NAME, "frame": np.arange(40, min(45, frames))})
    status = np.where(empty["frame"] < 43, "no_face", "damaged")
    empty = empty.assign(time_s=empty["frame"] / fps, face=-1, track=pd.NA, status=status)
    whole = pd.concat([*parts, empty.astype({"track": "Int64"})], ignore_index=True)
    return whole.astype({"track": "Int64"}).sort_values(["frame", "face"], ignore_index=True)


def events():
    rows = [[NAME, 1, "AU12", 1.0, 1.2, 1.6, 0.6, 3.5], [NAME, 0, "AU04", 0.2, 0.4, 0.6, 0.4, 2.0]]
    return pd.DataFrame(rows, columns=["input", *film_data.EVENT])


def summary():
    return pd.DataFrame({"input": NAME, "track": [0, 1], "au": "AU12", "mean_i": [1.5, np.nan]})


def data_of(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found[1])


def decode(steps):
    return np.cumsum(np.abs(steps))


def test_the_page_has_everything_and_a_name_cannot_break_it():
    page = film_page.render(
        table(),
        title=NAME,
        film=f"films/{NAME}",
        events=events(),
        summary=summary(),
        trust=TRUST,
        pictures={0: Image.new("RGB", (300, 200))},
    )
    assert page.count("</script>") == 3 and NAME not in page
    assert 'src="films/%3C/script%3E%20%26%20a%20%231.mp4"' in page
    assert "Not checked on real people: AU04." in page and "Permission is hereby granted" in page
    data = data_of(page)
    assert [person["track"] for person in data["people"]] == [0, 1]
    assert data["events"][0][:3] == [0, "AU04", 0.2]
    assert data["summary"] == {
        "columns": ["track", "au", "mean_i"],
        "rows": [[0, "AU12", 1.5], [1, "AU12", None]],
    }
    assert data["pictures"]["0"].startswith("data:image/jpeg")
    for address in re.findall(
        r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page.split("<script", 1)[0]
    ):
        assert address.startswith("films/")


def test_values_gaps_and_status_come_back_from_the_page():
    whole = table()
    data = data_of(film_page.render(whole, title="a"))
    person = data["people"][0]
    rows = whole[whole["track"] == 0]
    assert decode(person["k"]).tolist() == rows["frame"].tolist()
    assert [k for k, step in zip(decode(person["k"]), person["k"], strict=True) if step < 0] == [30, 45]
    curve = person["series"]["AU12_i"]
    assert curve["k"] is None and np.allclose(np.array(curve["v"]) / 100, rows["AU12_i"], atol=0.005)
    status = np.repeat(person["status"][1::2], person["status"][::2])
    names = np.array(film_data.STATUSES)[status]
    assert names[[19, 20, 29, 30, 40, 42, 43, 44, 45]].tolist() == [
        *("ok", "absent", "absent", "ok", "no_face", "no_face", "damaged", "damaged", "ok")
    ]
    present = np.repeat(person["present"]["AU06"][1::2], person["present"]["AU06"][::2])
    assert np.array_equal(present[rows["frame"]], rows["AU06"])


@pytest.mark.parametrize("given", ["events", "summary", "trust", None])
def test_parts_may_be_absent(given):
    content = {"events": events(), "summary": summary(), "trust": TRUST}
    page = film_page.render(table(), title="a", **({given: content[given]} if given else {}))
    assert ('id="events"' in page) == (given == "events") and ('id="summary"' in page) == (given == "summary")
    assert ("does not say on whom" in page) == (given != "trust") and "<video" not in page


def test_a_film_without_faces_and_one_without_tracks_have_a_page():
    nobody = table()[lambda t: t["face"] < 0]
    assert "No face was found" in film_page.render(nobody, title="a")
    data = film_data.film_data(table().drop(columns="track"))
    assert [person["track"] for person in data["people"]] == [0, 1]


def test_a_wrong_table_is_one_clear_error():
    with pytest.raises(DataError, match="no column 'status'"):
        film_data.film_data(table().drop(columns="status"))
    with pytest.raises(DataError, match="one film, got 2 inputs"):
        film_data.film_data(pd.concat([table(), table().assign(input="b.mp4")]))
    with pytest.raises(DataError, match="no action units"):
        film_data.film_data(table(aus=()))
    with pytest.raises(DataError, match="no column 'apex_s'"):
        film_data.film_data(table(), events().drop(columns="apex_s"))


def test_thinning_keeps_peaks_and_the_ends_of_gaps(monkeypatch):
    monkeypatch.setattr(film_data, "POINTS", 0)
    whole = table(frames=9000, people=1, aus=(12,))
    whole.loc[whole["frame"].between(2000, 2999), "AU12_i"] = 0.0
    whole.loc[whole["frame"] == 2500, "AU12_i"] = 5.0
    whole = whole[~whole["frame"].between(5000, 5999) | (whole["face"] < 0)]
    whole = pd.concat([whole, table(frames=9000, people=2)[lambda t: t["track"] == 1]])
    curve = film_data.film_data(whole)["people"][0]["series"]["AU12_i"]
    k = decode(curve["k"])
    assert film_data.FEWEST // 2 < len(k) <= film_data.FEWEST + 8
    assert curve["v"][int(np.flatnonzero(k == 2500)[0])] == 500
    assert {4999, 6000} <= set(k)
    assert [at for at, step in zip(k, curve["k"], strict=True) if step < 0] == [6000]


def test_an_hour_with_three_people_and_twenty_aus_is_below_10_mb():
    aus = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 28, 43)
    hour = table(frames=108_000, people=3, aus=aus, fps=29.97)
    many = pd.concat([events()] * 5000, ignore_index=True)
    page = film_page.render(hour, title="a", film="a.mp4", events=many, trust=TRUST)
    assert 1e6 < len(page) < 10e6
    assert "Curves are drawn with up to" in page


def test_a_time_line_is_a_png_or_pdf(tmp_path):
    content = {"events": events(), "trust": TRUST, "person": 1, "title": "a"}
    pictures = [(0.5, Image.new("RGB", (50, 60))), (0.6, Image.new("RGB", (50, 60)))]
    timeline.write(tmp_path / "a.png", table(), ["AU12", "AU04"], pictures=pictures, **content)
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.width == timeline.WIDTH_IN * timeline.DPI
    for name in ("a.pdf", "b.pdf"):
        timeline.write(tmp_path / name, table(), **content)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    with pytest.raises(ConfigError, match=r"ends with .png or .pdf"):
        timeline.write(tmp_path / "a.svg", table())


def test_a_time_line_shows_the_chosen_checked_and_doubtful_aus():
    figure = timeline.draw(table(), trust=TRUST)
    assert [axes.get_title("left")[:4] for axes in figure.axes] == ["AU06", "AU12"]
    figure = timeline.draw(table(), ["AU04"], trust=TRUST, person=0)
    assert "not checked on real people" in figure.axes[0].get_title("left")
    drawn = figure.axes[0].lines[0].get_ydata()
    assert np.isnan(drawn[20:30]).all() and np.isfinite(drawn[:20]).all()
    with pytest.raises(ConfigError, match="no values of AU20"):
        timeline.draw(table(), ["AU20"])
    with pytest.raises(ConfigError, match="no person 7"):
        timeline.draw(table(), person=7)
    with pytest.raises(DataError, match="no face"):
        timeline.draw(table()[lambda t: t["face"] < 0])


def write_film(path: Path, frames=60, fps=15):
    """Write a film that every Chromium plays: VP8 in WebM."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for k in range(frames):
            picture = np.full((180, 320, 3), 4 * k, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def chromium():
    if (binary := browser.find()) is None:
        pytest.skip("Chromium is not installed")
    page = browser.Page(binary)
    yield page
    page.close()


def test_the_page_works_in_a_browser(chromium, tmp_path):
    write_film(tmp_path / "a b#.webm")
    content = {"events": events(), "summary": summary(), "trust": TRUST}
    film_page.write(tmp_path / "report.html", table(), title=NAME, film="a b#.webm", **content)
    chromium.open(tmp_path / "report.html")
    chromium.wait("document.getElementById('film').videoWidth === 320")
    assert chromium.run("document.querySelectorAll('#lanes canvas').length") == 2  # the checked ones
    drawn = "(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x))"
    assert chromium.run(f"[...document.querySelectorAll('canvas')].every({drawn})")

    left, top, width, height = chromium.box("#lanes .u-over")
    chromium.mouse("Moved", left + width * 0.675, top + height / 2)  # frame 40
    assert "frame 40 · no face found" in chromium.run("document.getElementById('tip').textContent")
    chromium.click(left + width * 0.505, top + height / 2)
    chromium.wait("Math.abs(document.getElementById('film').currentTime - 2) < 0.1")
    chromium.drag(left + width * 0.25, left + width * 0.5, top + height / 2)
    assert chromium.run("document.getElementById('range').textContent") == "0:01.0 – 0:02.0"
    chromium.run("document.querySelector('#events .jump').click()")  # the onset of AU12
    chromium.wait("Math.abs(document.getElementById('film').currentTime - 1) < 0.1")
    chromium.key("ArrowRight")
    chromium.wait("document.getElementById('now-frame').textContent === '16'")
    chromium.run("document.getElementById('all').click()")
    assert chromium.run("document.querySelectorAll('#lanes canvas').length") == 3
    chromium.run("document.querySelector('#people input').click()")
    assert "AU04" in chromium.run("document.getElementById('events').textContent")

    assert chromium.errors == []
    asked = {address for address in chromium.requests if not address.startswith("data:")}
    folder = tmp_path.resolve().as_uri()
    assert asked == {f"{folder}/report.html", f"{folder}/a%20b%23.webm"}


@pytest.mark.parametrize("width", [390, 1400])
def test_a_film_that_does_not_play_leaves_the_curves(chromium, tmp_path, width):
    (tmp_path / "a.mpg").write_bytes(b"no film")
    film_page.write(tmp_path / "report.html", table(), title="a", film="a.mpg")
    chromium.size(width, 844)
    chromium.open(tmp_path / "report.html")
    chromium.wait("!document.getElementById('no-film').hidden")
    time.sleep(0.2)
    assert chromium.run("document.documentElement.scrollWidth <= innerWidth")
    chromium.run("document.querySelector('#lanes').scrollIntoView()")
    left, top, wide, height = chromium.box("#lanes .u-over")
    chromium.click(left + wide * 0.525, top + height / 2)  # in the middle of frame 31
    chromium.wait("document.getElementById('now-frame').textContent === '31'")
    assert chromium.errors == []


def test_the_data_is_plain_json():
    text = film_page.to_json({"name": "</script><!-- \u2028 \udcff"})
    assert "<" not in text and text.isascii()
    assert io.StringIO(text).read().startswith("{")


def test_only_the_scripts_of_the_page_may_run():
    page = film_page.render(table(), title=NAME)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="script-src ([^;]*);', page)
    assert policy.split() == [f"'sha256-{one}'" for one in hashes]
    assert len(hashes) == 2


def test_the_summary_fits_a_small_screen_and_has_no_empty_columns(chromium, tmp_path):
    rows = table(aus=(4, 6, 12, 15, 20, 25))
    film_page.write(tmp_path / "report.html", rows, title="a", summary=summarize(rows))
    chromium.size(1300, 844)
    chromium.open(tmp_path / "report.html")
    chromium.wait("!!document.querySelector('#summary table')")
    assert chromium.run("(x => x.scrollWidth <= x.clientWidth)(document.querySelector('#summary .wide'))")
    heads = chromium.run("[...document.querySelectorAll('#summary th')].map(x => x.textContent).join()")
    assert "mean i" in heads and "blinks" not in heads, heads


@pytest.mark.parametrize("dark", [False, True])
def test_the_summary_has_the_sides_and_says_once_what_is_of_the_person(chromium, tmp_path, dark):
    """All columns that a summary may have are seen at once in a window of 1280 px."""
    rows = table(aus=(6, 12, 15, 43))
    sides = {"AU12_L": 2.0, "AU12_R": 2.5, "AU43_L": 1.25, "AU43_R": 0.25}
    differences = {f"AU{au:02d}_d": rows[f"AU{au:02d}_i"] - 0.25 for au in (6, 12, 15, 43)}
    rows = rows.assign(**sides, **differences)
    film_page.write(tmp_path / "report.html", rows, title="a", summary=summarize(rows), events=events())
    chromium.size(1280, 900, dark)
    chromium.open(tmp_path / "report.html")
    chromium.wait("!!document.querySelector('#summary table')")
    assert chromium.run("(x => x.scrollWidth <= x.clientWidth)(document.querySelector('#summary .wide'))")
    heads = chromium.run("[...document.querySelectorAll('#summary th')].map(x => x.textContent)")
    assert heads == [
        *("action unit", "share", "mean p", "mean i", "peak p", "peak", "mean d", "events"),
        *("events per min", "mean duration (s)", "blinks per min", "mean left", "mean right", "left − right"),
    ]
    smile = "[...document.querySelectorAll('#summary tr')].find(x => x.textContent.startsWith('AU12'))"
    cells = chromium.run(f"[...({smile}).cells].map(x => x.textContent)")
    assert cells[-3:] == ["2.00", "2.50", "−0.50"]
    of_person = "document.getElementById('of-person').textContent"
    assert chromium.run(of_person) == "Person 1, values in 55 of 60 frames, 3.67 of 4.00 s (91.7 %)"
    chromium.run("document.querySelectorAll('#people input')[0].click(); 0")
    chromium.wait(f"{of_person} === 'Person 0, values in 45 of 60 frames, 3.00 of 4.00 s (75.0 %)'")
    chromium.size(390, 844, dark)  # there the table scrolls, and the names of the action units stay
    place = "document.querySelector('#summary td').getBoundingClientRect().left"
    left = chromium.run(place)
    chromium.run("document.querySelector('#summary .wide').scrollLeft = 300; 0")
    assert chromium.run("document.querySelector('#summary .wide').scrollLeft") == 300
    assert chromium.run(place) == left


def test_a_constant_curve_does_not_fill_its_axis(chromium, tmp_path):
    rows = table()
    film_page.write(tmp_path / "report.html", rows.assign(unlike=rows["yaw"] * 0 + 0.4), title="a")
    chromium.open(tmp_path / "report.html")
    chromium.wait("document.querySelectorAll('#quality canvas').length === 4")
    darkest = """(c => {
      const {data} = c.getContext('2d').getImageData(0, 0, c.width, c.height), counts = [];
      for (let y = 0; y < c.height; y++) for (let x = 0; x < c.width; x++) {
        const k = 4 * (y * c.width + x);
        if (data[k + 3] > 100 && data[k] < 150) counts[y] = (counts[y] || 0) + 1;
      }
      const most = Math.max(...counts.filter(Boolean));
      return counts.findIndex((one) => one === most) / c.height;
    })([...document.querySelectorAll('#quality canvas')].at(-1))"""
    chromium.wait(f"({darkest}) > 0")
    assert 0.25 < chromium.run(darkest) < 0.6  # its axis goes from 0 to 1, above the axis of time


def test_curves_are_drawn_where_the_browser_names_no_real_language(chromium, tmp_path):
    chromium.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Object.defineProperty(Navigator.prototype, 'language', { get: () => 'C' })",
    )
    film_page.write(tmp_path / "report.html", table(), title="a", trust=TRUST)
    chromium.open(tmp_path / "report.html")
    assert chromium.run("document.querySelectorAll('#lanes canvas').length") == 2
    assert chromium.errors == []


def test_the_frame_on_the_screen_is_known_where_its_time_comes_with_the_delay_of_the_decoder(
    chromium, tmp_path
):
    """As WebKit with GStreamer says it of films with B-frames."""
    chromium.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="{ const video = HTMLVideoElement.prototype, real = video.requestVideoFrameCallback;"
        "video.requestVideoFrameCallback = function (act) { return real.call(this, (now, data) => {"
        "window.told = data.mediaTime; act(now, { mediaTime: data.mediaTime + 0.2 }); }); } }",
    )
    write_film(tmp_path / "a.webm")
    film_page.write(tmp_path / "report.html", table(), title="a", film="a.webm")
    chromium.open(tmp_path / "report.html")
    chromium.wait("document.getElementById('film').videoWidth === 320")
    chromium.run("document.getElementById('film').currentTime = 2.02; 0")
    chromium.wait("Math.abs(window.told - 2) < 0.1 && !document.getElementById('film').seeking")
    time.sleep(0.2)
    assert chromium.run("document.getElementById('now-frame').textContent") == "30"


def test_the_summary_of_people_who_are_not_known_is_of_all_faces(chromium, tmp_path):
    rows = table().assign(track=pd.NA)
    film_page.write(tmp_path / "report.html", rows, title="a", summary=summarize(rows), events=events())
    chromium.open(tmp_path / "report.html")
    of_person = "document.getElementById('of-person').textContent"
    chromium.wait(f"{of_person} !== ''")
    frames, valid = len(rows), int((rows["face"] >= 0).sum())
    share = f"{100 * valid / frames:.1f}"
    assert chromium.run(of_person) == f"All faces, values in {valid} of {frames} rows ({share} %)"


def test_the_page_says_of_which_action_units_to_take_care(chromium, tmp_path):
    trust = TRUST | {
        "AU06": TRUST["AU06"] | {"advice": "with care"},
        "AU12": TRUST["AU12"] | {"advice": "yes"},
    }
    film_page.write(tmp_path / "report.html", table(), title="a", trust=trust)
    page = (tmp_path / "report.html").read_text()
    assert "Checked on real people and recommended with care: AU06." in page
    assert "Checked on real people and recommended: AU12." in page
    chromium.open(tmp_path / "report.html")
    rows = "[...document.querySelectorAll('#trust tbody tr')].map(row => row.lastElementChild.textContent)"
    assert chromium.run(rows) == ["no", "with care", "yes"]  # AU04, AU06, AU12
