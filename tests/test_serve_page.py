"""The page of the service, in a browser."""

import json
import os
import re
from contextlib import closing
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import browser
import test_film_page
from maeface.report import film_page
from maeface.service import app, page_files
from maeface.service.settings import Settings
from serve_parts import photo
from test_serve import Server, until
from test_video import encode

FOLDER = resources.files("maeface.service") / "page"


def test_the_page_needs_no_token_and_loads_nothing_from_elsewhere(tmp_path):
    made = app.make_app(Settings(folder=tmp_path), token="0123456789abcdef", log=False)
    client = TestClient(made, "http://localhost")
    for path, name in page_files.PATHS.items():
        answer = client.get(path)
        assert answer.content == (FOLDER / name).read_bytes()
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in answer.headers["content-security-policy"] or name == page_files.FRAME
        assert not re.search(r"https?:|//\w", re.sub(r"// .*", "", answer.text))
    assert client.get(f"/v1/jobs/{'x' * 22}/report").status_code == 401
    assert client.get("/").headers["content-type"].startswith("text/html")
    assert sum((FOLDER / name).stat().st_size for name in page_files.PATHS.values()) < 200_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """The flags of a browser with a camera that sees what the quick predictor takes for two faces.

    The browser takes the values for those of a film, from 16 to 235: it makes 24 of 37.
    """
    film = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    with film.open("wb") as file:
        for _ in range(10):
            Image.new("RGB", (320, 240), (37, 37, 37)).save(file, "JPEG", quality=95)
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    return (*fake, f"--use-file-for-fake-video-capture={film}")


@pytest.fixture
def page(server, flags):
    binary = browser.find()
    if binary is None:
        pytest.skip("needs Chromium, which is not installed")
    with closing(browser.Page(binary, flags=flags)) as page:
        go(page, server)
        yield page


def go(page, server):
    page.call("Page.navigate", url=f"http://localhost:{server.port}/")
    page.wait("document.readyState === 'complete' && !!document.getElementById('file')?.onchange")


def choose(page, path):
    """Choose a file as a user does."""
    page.choose("#file", path)


def choose_photo(page, path, faces):
    path.write_bytes(photo(faces))
    choose(page, path)
    said(page, f"Faces: {faces}")


def said(page, text):
    until(lambda: text in page.run("document.getElementById('say').textContent"))


def shown(page, name):
    """Return whether an element can be seen."""
    return page.run(f"document.getElementById('{name}').checkVisibility()")


def answer_instead(page, script):
    """Let a script answer requests first; it gets ``path`` and ``options``, or returns null."""
    page.run(
        "{ const real = window.fetch; window.fetch = async (path, options = {}) => {"
        "options.signal?.throwIfAborted();"
        f"return (await (async (path, options) => {{ {script} }})(path, options))"
        " ?? real(path, options); } } 0"
    )


def job_of(page):
    """Return the path of the newest job that the page has asked for."""
    return re.findall(r"/v1/jobs/[\w-]{22}", " ".join(page.requests))[-1]


def film_of(folder):
    return encode(folder / "a <b>&c.mp4", [np.full((48, 64, 3), 15, np.uint8)] * 20, codec="libx264", rate=10)


# Photos ----------------------------------------------------------------------------------------------------


def test_a_photo_is_shown_with_a_table_of_its_face(page, tmp_path):
    choose_photo(page, tmp_path / "a.png", 1)
    first = "document.querySelector('#faces tbody tr').textContent"  # what is checked stands first
    assert page.run(first).startswith("AU12 Lip corner puller" + "yes")
    assert page.run("[...document.querySelectorAll('#faces details')].map((one) => one.open)") == [False]
    assert page.run("document.querySelector('#faces details tbody th').textContent") == "AU04 Brow lowerer"
    assert shown(page, "photo")
    (tmp_path / "b.png").write_bytes(b"no photo")
    choose(page, tmp_path / "b.png")
    said(page, f"Not done: this is text; expected {KINDS}")
    assert not shown(page, "photo")
    assert {url.rpartition(":")[0] for url in page.requests} <= {"http://localhost", "blob:http://localhost"}
    assert [one for one in page.errors if "422" not in one] == []


def test_boxes_have_the_numbers_of_the_rows(page, tmp_path):
    page.run(
        "window.drawn = [];CanvasRenderingContext2D.prototype.fillText = (text) => window.drawn.push(text); 0"
    )
    choose_photo(page, tmp_path / "a.png", 3)
    assert page.run("window.drawn") == [0, 1, 2]


def test_faces_of_a_group_have_a_row_each_and_their_tables_are_folded(page, tmp_path):
    choose_photo(page, tmp_path / "a.png", 20)
    assert page.run("document.querySelectorAll('#faces .overview tbody tr').length") == 20
    heads = page.run(
        "[...document.querySelectorAll('#faces .overview thead th')].map((one) => one.textContent)"
    )
    assert heads == ["Face", "AU12 Lip corner puller"]
    rows = page.run(
        "[...document.querySelectorAll('#faces .overview tbody th')].map((one) => one.textContent)"
    )
    assert rows == [f"Face {face}" for face in range(20)]  # as column "face" of the tables
    folded = "[...document.querySelectorAll('#faces details')]"
    names = page.run(f"{folded}.map((one) => one.querySelector('summary').textContent)")
    assert names == [f"Face {face}: all action units" for face in range(20)]
    assert page.run(f"{folded}.map((one) => one.open)") == [False] * 20
    rows = page.run(f"[...{folded}[19].querySelectorAll('tbody th')].map((one) => one.textContent)")
    assert rows == ["AU12 Lip corner puller", "AU04 Brow lowerer"]


KINDS = "a photo (JPEG, PNG, WebP, BMP, GIF, AVIF, HEIC) or a film (MP4, MOV, Matroska, WebM, AVI, MPEG)"


def test_a_file_that_is_neither_photo_nor_film_is_told_what_both_are(page, tmp_path):
    for name in ("notes.txt", "notes.mp4", "notes.png"):
        (tmp_path / name).write_text("the third one smiles")
        choose(page, tmp_path / name)
        said(page, f"Not done: this is text; expected {KINDS}")
        page.run("document.getElementById('say').textContent = ''")


@pytest.mark.parametrize("name", ["a.png", "a.mp4"])
def test_when_the_service_is_gone_the_page_asks_whether_it_runs(page, tmp_path, name):
    choose_photo(page, tmp_path / "a.png", 1)  # what is asked once is known
    (tmp_path / name).write_bytes(photo(1))
    page.call(
        "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
    )
    choose(page, tmp_path / name)
    said(page, "Not done: the service does not answer. Is `maeface serve` still running?")


STRONG = {"present": True, "probability": 0.974, "intensity": 3.71, "left": 3.9, "right": None}
WEAK = {"present": False, "probability": 0.1, "intensity": 0.2, "left": None, "right": None}


def answer_faces(page, *faces):
    """Let the service find these faces, {action unit: values} each."""
    found = [{"status": "ok", "box": [1, 2, 30, 40], "aus": aus} for aus in faces]
    answer = json.dumps({"images": [{"faces": found}]})
    answer_instead(page, f"return path === 'v1/images' ? Response.json({answer}) : null")


def texts(page, selector):
    return page.run(f"[...document.querySelectorAll('{selector}')].map((one) => one.textContent)")


def test_a_table_has_the_threshold_and_the_sides_that_are_known(page, server, tmp_path):
    answer_faces(page, {"AU12": STRONG, "AU25": WEAK, "AU04": WEAK})
    choose_photo(page, tmp_path / "a.png", 1)
    trust = json.loads(server.ask("GET", "/v1/aus").content)
    from_12, from_25, from_4 = (f"{trust[au]['threshold']:.2f}" for au in ("AU12", "AU25", "AU04"))
    first = "#faces > .wide"
    assert texts(page, f"{first} thead th") == [
        *("Action unit", "Present", "Probability", "Present from", "Intensity, 0 to 5", "Left")
    ]
    expected = ["yes", "0.97", from_12, "3.7", "3.9", "no", "0.10", from_25, "0.2", ""]
    assert texts(page, f"{first} td") == expected
    assert texts(page, "#faces details td") == ["no", "0.10", from_4, "0.2"]


def test_a_group_has_the_values_that_the_command_prints(page, tmp_path):
    answer_faces(page, {"AU12": STRONG}, {"AU12": {**WEAK, "probability": None}})
    choose_photo(page, tmp_path / "a.png", 2)
    assert texts(page, "#faces .overview td") == ["yes 0.97 (3.7, left 3.9)", "no 0.2"]
    caption = "Present, probability from 0 to 1, intensity from 0 to 5"
    assert texts(page, "#faces .overview caption") == [caption]


def test_the_rows_of_a_photo_can_be_downloaded(page, tmp_path):
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    choose_photo(page, tmp_path / "a.b.png", 2)
    page.run("document.querySelector('#photo-tables button').click()")
    table = tmp_path / "a.b.aus.csv"
    until(lambda: table.is_file() and table.read_text().count("\n") == 3)
    assert "AU12" in table.read_text().splitlines()[0].split(",")


def test_a_photo_that_the_browser_cannot_show_has_its_tables(page, tmp_path):
    page.run("window.createImageBitmap = () => Promise.reject(new Error('no such format')); 0")
    (tmp_path / "a.heic").write_bytes(photo(2))
    choose(page, tmp_path / "a.heic")
    said(page, "Faces: 2. The browser cannot show this photo.")
    assert page.run("document.querySelectorAll('#faces .overview tbody tr').length") == 2
    assert not shown(page, "picture")


def test_who_lacks_the_token_is_asked_for_it_and_the_photo_is_sent_again(page, tmp_path):
    refuse = "{detail: options.headers.Authorization ? 'another token' : 'a token is needed'}"
    answer_instead(
        page,
        "return options.headers?.Authorization === 'Bearer right' ? null "
        f": new Response(JSON.stringify({refuse}), {{status: 401}})",
    )
    (tmp_path / "a.png").write_bytes(photo(2))
    choose(page, tmp_path / "a.png")
    said(page, "Not done: a token is needed")
    assert shown(page, "token")
    for text, says in (("wrong", "Not done: another token"), ("right", "Faces: 2")):
        assert page.run("document.activeElement.id") == "token"
        page.run("document.activeElement.select()")
        page.call("Input.insertText", text=text)
        page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r", windowsVirtualKeyCode=13)
        said(page, says)


# Films -----------------------------------------------------------------------------------------------------


def test_a_film_is_played_beside_its_time_line(page, server, tmp_path):
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.run(
        "window.parts = []; new MutationObserver(() => window.parts.push(document.getElementById('count')"
        ".textContent)).observe(document.getElementById('count'), {childList: true}); 0"
    )
    choose(page, film_of(tmp_path))
    said(page, "Done. Frames: 20")
    assert page.run("window.parts[0]") == "100 %"  # of the upload, which is small
    with page.frame():
        page.wait("document.querySelectorAll('.lane-head').length > 0")
        assert page.run("document.querySelector('h1').textContent") == "a <b>&c.mp4"
        page.wait("document.getElementById('film').videoWidth === 64")
        assert page.run("document.getElementById('no-film').hidden")
        page.run("document.getElementById('film').currentTime = 1.05; 0")
        page.wait("document.getElementById('now-frame').textContent === '10'")
        assert page.errors == []
        # The report can ask for nothing, and no other script runs in it.
        assert page.run("fetch('/health').then(() => 'answered', () => 'refused')") == "refused"
        page.run("document.body.append(Object.assign(document.createElement('script'), {text: 'own = 1'}))")
        assert page.run("typeof own") == "undefined"
    page.run("[...document.querySelectorAll('#film-tables button')].forEach((button) => button.click())")
    names = ["csv", "parquet", "events.csv", "summary.csv", "pairs.csv", "report.html"]
    files = [tmp_path / f"a <b>&c.aus.{name}" for name in names]
    until(lambda: len([one for one in tmp_path.glob("*.aus.*") if one.suffix != ".crdownload"]) == len(files))
    (report,) = tmp_path.glob("*.aus.report.html")
    until(lambda: report.read_text().endswith("</html>"))
    assert 'src="a%20%3Cb%3E%26c.mp4"' in report.read_text()  # beside the film it plays
    assert "<h1>a &#60;b&#62;&#38;c.mp4</h1>" in report.read_text()


def test_the_report_is_deleted_with_its_job(page, server, tmp_path):
    choose(page, film_of(tmp_path))
    said(page, "Done. Frames: 20")
    path = f"{job_of(page)}/report"
    answer = server.ask("GET", path)
    assert answer.status == 200
    assert answer.getheader("content-type") == "text/html; charset=utf-8"
    policy = answer.getheader("content-security-policy").split("; ")
    assert {"default-src 'none'", "sandbox allow-scripts"} <= set(policy)
    assert re.search(r"20\d\d", page.run("document.getElementById('expires').textContent"))
    page.run("document.getElementById('delete').click()")
    said(page, "Deleted.")
    assert server.get(path) == 404
    assert not shown(page, "film")


def start_film(page, folder, phase="predicting"):
    """Choose a film that seems to run for ever."""
    running = f"{{state: 'running', phase: '{phase}', frames: 1, frames_total: 20, progress: 0.05}}"
    answer_instead(
        page,
        "return /jobs.[^/]*$/.test(path) && options.method !== 'DELETE' "
        f"? new Response(JSON.stringify({running})) : null",
    )
    choose(page, film_of(folder))
    until(lambda: page.run("document.getElementById('count').textContent") == "Frames: 1 of 20")


@pytest.mark.parametrize(
    ("phase", "text", "moves"),
    [
        ("starting", "Loading the networks ...", True),
        ("predicting", "Predicting the film ...", False),
        ("writing results", "Writing the tables and the report ...", True),
    ],
)
def test_the_phase_of_a_film_is_said(page, tmp_path, phase, text, moves):
    start_film(page, tmp_path, phase)
    said(page, text)
    assert page.run("document.getElementById('progress').hasAttribute('value')") is not moves


def test_a_film_is_forgotten_when_something_else_is_chosen(page, server, tmp_path):
    start_film(page, tmp_path)
    assert page.run("document.getElementById('progress').value") == 0.05
    jobs = set((server.folder / "service" / "jobs").iterdir())
    assert len(jobs) >= 1
    choose_photo(page, tmp_path / "a.png", 1)
    until(lambda: len(set((server.folder / "service" / "jobs").iterdir())) == len(jobs) - 1)
    assert not shown(page, "film")
    assert not shown(page, "work")


def test_a_film_is_forgotten_when_the_page_is_left(page, server, tmp_path):
    start_film(page, tmp_path)
    jobs = set((server.folder / "service" / "jobs").iterdir())
    assert len(jobs) >= 1
    page.call("Page.navigate", url="about:blank")
    until(lambda: len(set((server.folder / "service" / "jobs").iterdir())) == len(jobs) - 1)


def test_a_file_that_is_dropped_beside_the_field_does_not_replace_the_page(page):
    kept = "!document.body.dispatchEvent(new DragEvent('{}', {{bubbles: true, cancelable: true}}))"
    assert [page.run(kept.format(kind)) for kind in ("dragover", "drop")] == [True, True]


def test_only_the_page_around_the_frame_can_fill_it(page, server):
    page.call("Page.navigate", url=f"http://localhost:{server.port}/frame.html")
    page.wait("document.readyState === 'complete' && typeof onmessage === 'function'")
    page.run(
        "new Promise((resolve) => { addEventListener('message', () => setTimeout(resolve));"
        "postMessage({html: '<p>own</p>', film: new Blob()}, '*'); })"
    )
    assert page.run("[document.querySelector('p'), typeof onmessage]") == [None, "function"]


# The camera ------------------------------------------------------------------------------------------------

WATCHED = """
window.sent = 0; window.now = 0; window.most = 0; window.streams = [];
{
  const real = window.fetch, get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.fetch = async (path, options) => {
    if (path !== 'v1/images') return real(path, options);
    window.sent += 1;
    if (window.sent === 2) return new Response('{"detail": "too much waits"}', { status: 503 });
    window.now += 1;
    window.most = Math.max(window.most, window.now);
    try { return await real(path, options); } finally { window.now -= 1; }
  };
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const stream = await get(wanted);
    window.streams.push([wanted, stream]);
    return stream;
  };
}
0
"""


def test_the_camera_sends_one_picture_after_another_until_it_is_stopped(page):
    page.run(WATCHED)
    page.run("document.getElementById('camera').click()")
    until(
        lambda: re.match(
            r"\d+\.\d pictures a second", page.run("document.getElementById('rate').textContent")
        )
    )
    captions = page.run("[...document.querySelectorAll('#values caption')].map((one) => one.textContent)")
    assert [one.partition(":")[0] for one in captions] == ["Face 0", "Face 1"]
    meters = page.run("[...document.querySelectorAll('#values meter')].map((one) => one.ariaLabel)")
    assert meters == ["AU12 Lip corner puller"] * 2
    assert page.run("[document.getElementById('seen').width, window.streams[0][0].audio ?? false]") == [
        320,
        False,
    ]
    tracks = "window.streams.flatMap(([, stream]) => stream.getTracks().map((track) => track.readyState))"
    assert page.run(tracks) == ["live"]
    page.run("document.getElementById('camera').click()")
    assert page.run(tracks) == ["ended"]
    said(page, "The camera is off.")
    until(lambda: not page.run("window.now"))
    sent = page.run("window.sent")
    page.run("new Promise((resolve) => setTimeout(resolve, 300))")
    assert page.run("[window.sent, window.most]") == [sent, 1]
    assert page.run("document.getElementById('camera').textContent") == "Camera"
    assert page.errors == []


def test_a_photo_in_the_place_of_the_camera_ends_it(page, tmp_path):
    page.run(WATCHED)
    page.run("document.getElementById('camera').click()")
    until(lambda: page.run("window.sent") > 2)  # the second is refused
    choose_photo(page, tmp_path / "a.png", 1)
    assert page.run("window.streams[0][1].getTracks()[0].readyState") == "ended"
    assert not shown(page, "live")
    assert page.run("document.getElementById('camera').textContent") == "Camera"


def test_who_refuses_the_camera_is_told_so(page):
    page.run(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('Permission denied'));"
        "document.getElementById('camera').click()"
    )
    said(page, "Not done: Permission denied")
    assert page.run("document.getElementById('camera').textContent") == "Camera"


# For everybody ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast_and_everything_fits_a_phone(page, tmp_path, dark):
    page.size(360, 700, dark)
    choose_photo(page, tmp_path / "a.png", 1)
    assert page.run("document.documentElement.scrollWidth") <= 360
    for selector in ("p", "th", "tr.absent td", "label", ".note"):
        found = page.run(
            f"[getComputedStyle(document.querySelector('{selector}')).color,"
            "getComputedStyle(document.body).backgroundColor]"
        )
        light, deep = sorted((luminance(color) for color in found), reverse=True)
        assert (light + 0.05) / (deep + 0.05) >= 4.5, (selector, found)


def test_all_controls_are_reached_with_the_keyboard_and_have_names(page, tmp_path):
    choose_photo(page, tmp_path / "a.png", 2)
    reached = []
    for _ in range(7):
        page.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", windowsVirtualKeyCode=9)
        reached.append(page.run("document.activeElement.id || document.activeElement.tagName.toLowerCase()"))
        focus = "document.activeElement.closest('.button') ?? document.activeElement"
        assert page.run(f"getComputedStyle({focus}).outlineStyle") != "none", reached
    assert reached == ["file", "camera", "summary", "button", "div", "summary", "summary"]
    nameless = (
        "[...document.querySelectorAll('input, button, iframe, progress, [role=img], [role=region]')]"
        ".filter((one) => !(one.ariaLabel || one.title || one.textContent.trim() || one.labels?.length))"
    )
    assert page.run(f"{nameless}.map((one) => one.outerHTML)") == ['<canvas id="seen" role="img"></canvas>']


def test_the_drop_box_stands_in_the_middle(page):
    page.size(1900, 900)
    left, _, width, _ = page.box("#drop")
    assert abs(left + width / 2 - page.run("document.documentElement.clientWidth") / 2) <= 1
    first, last = page.box("#drop .button"), page.box("#camera")
    assert abs((first[0] + last[0] + last[2]) / 2 - (left + width / 2)) <= 1


def start_camera(page):
    page.run("document.getElementById('camera').click()")
    until(lambda: shown(page, "live"))


def ask_for_token(page, folder):
    answer_instead(page, "return new Response(JSON.stringify({detail: 'a token is needed'}), {status: 401})")
    (folder / "a.png").write_bytes(photo(1))
    choose(page, folder / "a.png")
    said(page, "a token is needed")


def show_film(page, folder):
    choose(page, film_of(folder))
    said(page, "Done. Frames: 20")


def show_report(page, folder):
    show_film(page, folder)
    page.call("Page.navigate", url=next(url for url in reversed(page.requests) if url.endswith("/report")))
    page.wait("document.querySelectorAll('.lane-head').length > 0")


def open_report(page, folder):
    """Open a report with all of its parts; that of the quick predictor has nothing on trust."""
    parts = {"events": test_film_page.events(), "summary": test_film_page.summary()}
    film_page.write(folder / "a.html", test_film_page.table(), title="a", trust=test_film_page.TRUST, **parts)
    page.open(folder / "a.html")
    page.wait("document.querySelectorAll('.lane-head').length > 0")


STATES = {
    "empty": lambda page, folder: None,
    "photo": lambda page, folder: choose_photo(page, folder / "a.png", 1),
    "group": lambda page, folder: choose_photo(page, folder / "a.png", 20),
    "camera": lambda page, folder: start_camera(page),
    "refused": ask_for_token,
    "film": show_film,
    "report": show_report,
    "whole report": open_report,
}


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_barrier(page, tmp_path, state):
    here = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
    axe = Path(os.environ.get("MAEFACE_AXE", here))
    if axe == here and not here.is_file():
        pytest.skip("needs axe-core, which CONTRIBUTING.md says how to install")
    STATES[state](page, tmp_path)
    page.run("[...document.querySelectorAll('details')].forEach((one) => { one.open = true; })")
    page.run(axe.read_text(encoding="utf-8") + "; 0")
    for width, dark in ((1300, False), (1300, True), (360, False), (360, True)):
        page.size(width, 800, dark)
        page.run("new Promise(requestAnimationFrame)")
        assert page.run("document.documentElement.scrollWidth") <= width
        # What is in the frame is the state "report".
        found = page.run(
            "axe.run(document, {iframes: false}).then(({violations}) => violations.map(({help, nodes}) =>"
            " `${help}: ${nodes.map((node) => node.html)}`))"
        )
        assert found == [], (width, dark)


def luminance(color):
    """Return the relative luminance of ``rgb(r, g, b)``, as WCAG defines it."""
    values = np.array([float(value) for value in re.findall(r"[\d.]+", color)[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


# Files by another name, and uploads that are stopped -------------------------------------------------------


def test_a_photo_and_a_film_are_known_by_their_bytes_whatever_they_are_called(page, tmp_path):
    (tmp_path / "photo.mp4").write_bytes(photo(2))
    choose(page, tmp_path / "photo.mp4")
    said(page, "Faces: 2")
    (tmp_path / "film.jpg").write_bytes(film_of(tmp_path).read_bytes())
    choose(page, tmp_path / "film.jpg")
    said(page, "Done. Frames: 20")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF"])
def test_each_kind_of_photo_is_known_by_its_bytes(page, tmp_path, kind):
    try:
        (tmp_path / "a.mp4").write_bytes(photo(0, kind=kind))
    except KeyError:
        pytest.skip(f"this Pillow writes no {kind}")
    choose(page, tmp_path / "a.mp4")
    said(page, "No face was found.")


def test_what_cannot_be_read_is_said(page):
    page.run(
        "{ const file = new File(['x'], 'folder'); "
        "file.slice = () => ({ arrayBuffer: () => Promise.reject() });"
        "const drop = new DragEvent('drop', { cancelable: true });"
        "Object.defineProperty(drop, 'dataTransfer', { value: { files: [file] } });"
        "document.getElementById('drop').dispatchEvent(drop); } 0"
    )
    said(page, f"Not done: folder cannot be read; expected {KINDS}")


def test_a_film_that_is_stopped_when_the_service_has_just_taken_it_leaves_no_job(page, server, tmp_path):
    page.run(
        "{ window.states = []; const send = XMLHttpRequest.prototype.send;"
        "XMLHttpRequest.prototype.send = function (body) {"
        "  this.addEventListener('readystatechange', () => {"
        "    window.states.push([this.readyState, this.status]);"
        "    if (this.readyState === 2) document.getElementById('stop').click(); });"
        "  return send.call(this, body); } } 0"
    )
    folder = server.folder / "service" / "jobs"
    before = set(folder.iterdir())
    choose(page, film_of(tmp_path))
    until(lambda: page.run("window.states").count([2, 202]) == 1)  # the service has made a job
    until(lambda: set(folder.iterdir()) <= before)
    said(page, "Stopped.")
    assert not shown(page, "film")
    assert not shown(page, "work")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "NotAllowedError",
            "the browser does not allow it; allow the camera for this page, beside its address",
        ),
        ("NotFoundError", "no camera was found"),
        ("OverconstrainedError", "no camera was found"),
        ("NotReadableError", "the camera gives no picture; does another program use it?"),
    ],
)
def test_why_there_is_no_camera_is_said_in_plain_words(page, name, says):
    page.run(
        f"navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('No', '{name}'));"
        "document.getElementById('camera').click()"
    )
    said(page, f"Not done: {says}")


# What comes late changes nothing ---------------------------------------------------------------------------


def test_a_film_that_is_replaced_before_it_was_looked_at_is_not_sent(page, tmp_path):
    choose_photo(page, tmp_path / "a.png", 1)  # what is asked once is known
    page.run(
        "{ window.sent = 0; const send = XMLHttpRequest.prototype.send, slice = Blob.prototype.slice;"
        "XMLHttpRequest.prototype.send = function (body) { sent++; return send.call(this, body); };"
        "Blob.prototype.slice = function (...where) { Blob.prototype.slice = slice;"
        "  const part = slice.apply(this, where), gate = new Promise((open) => { window.open_ = open; });"
        "  return { arrayBuffer: () => gate.then(() => part.arrayBuffer()) }; } } 0"
    )
    choose(page, film_of(tmp_path))
    until(lambda: page.run("!!window.open_"))
    choose_photo(page, tmp_path / "b.png", 2)
    page.run("open_(); new Promise((resolve) => setTimeout(resolve, 300))")
    assert page.run("sent") == 0
    said(page, "Faces: 2")
    assert not shown(page, "work")


def test_a_camera_that_is_stopped_before_its_first_picture_is_not_said_to_be_on(page):
    page.run(
        "{ const gate = new Promise((go) => { window.go = go; });"
        "HTMLMediaElement.prototype.play = () => gate;"
        "document.getElementById('camera').click(); } 0"
    )
    until(lambda: page.run("document.getElementById('camera').textContent") == "Stop the camera")
    page.run("document.getElementById('camera').click()")
    said(page, "The camera is off.")
    page.run("go(); new Promise((resolve) => setTimeout(resolve, 300))")
    assert page.run("document.getElementById('say').textContent") == "The camera is off."


def test_a_film_that_is_no_longer_shown_is_not_heard(page, tmp_path):
    choose(page, film_of(tmp_path))
    said(page, "Done. Frames: 20")
    assert page.run("document.getElementById('timeline').src").endswith("/frame.html")
    choose_photo(page, tmp_path / "a.png", 1)
    assert page.run("document.getElementById('timeline').src") == "about:blank"
