"""The browser example of ``export``: the numbers of ``predict``, of a photo and a camera; nothing is sent."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import browser
from maeface import Predictor, export
from maeface.faces import finder, geometry, imaging
from maeface.faces.detector import Detector
from maeface.faces.detector_weights import EMBEDDED
from test_serve import until

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "browser"
RUNTIME = EXAMPLE / "node_modules"
FACE = ROOT / "docs" / "images" / "astronaut.jpg"
VALUES = "[...document.querySelectorAll('meter')].map((one) => [one.closest('tr').id, one.value])"


def test_the_example_asks_for_nothing_from_elsewhere():
    page = (EXAMPLE / "index.html").read_text()
    assert "default-src 'none'" in page and "connect-src 'self'" in page
    for name in ("index.html", "page.css", "page.js", "maeface.js"):
        text = (EXAMPLE / name).read_text().replace("https:// and localhost", "")
        assert not re.search(r"https?:|[\"'(]//\w|@import", text), name


def test_the_version_of_the_runtime_is_pinned():
    wanted = json.loads((EXAMPLE / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", wanted)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The example with the packaged weights."""
    if browser.find() is None:
        pytest.skip("needs Chromium, which is not installed")
    if not (RUNTIME / "onnxruntime-web").is_dir():
        pytest.skip("needs onnxruntime-web: npm install --prefix examples/browser")
    folder = tmp_path_factory.mktemp("example") / "browser"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "exported"))
    (folder / "node_modules").symlink_to(RUNTIME, target_is_directory=True)
    export.run(None, "onnx", folder / "exported", with_preprocessing=True)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A frame with one face, 640x480, and its file, with little lost to the compression."""
    path = tmp_path_factory.mktemp("picture") / "frame.jpg"
    with Image.open(FACE) as photo:
        photo.resize((480, 480)).crop((-80, 0, 560, 480)).save(path, quality=98, subsampling=0)
    return np.array(Image.open(path)), path


@pytest.fixture(scope="module")
def camera(picture, tmp_path_factory):
    """A film of one second that the browser takes for a camera."""
    path = tmp_path_factory.mktemp("camera") / "frames.mjpeg"
    path.write_bytes(picture[1].read_bytes() * 30)
    return path


THREADS, ONE_THREAD = ("serve.py", "0"), ("-m", "http.server", "--bind", "127.0.0.1", "0")


@pytest.fixture
def page(folder, camera, request):
    command = getattr(request, "param", THREADS)
    server = subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    flags = (
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost",
        *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
        f"--use-file-for-fake-video-capture={camera}",
    )
    try:
        with closing(browser.Page(browser.find(), flags=flags)) as page:
            port = re.search(r":(\d+)|port (\d+)", server.stdout.readline())
            page.url = f"http://localhost:{port[1] or port[2]}"
            page.call("Page.navigate", url=page.url)
            said(page, "Ready.")
            assert page.run("crossOriginIsolated") is (command == THREADS)
            yield page
    finally:
        server.kill()
        server.communicate()


def said(page, text):
    until(lambda: page.run("document.getElementById('say')?.textContent ?? ''").startswith(text))


def values(page):
    return dict(page.run(VALUES))


@pytest.mark.parametrize("page", [THREADS, ONE_THREAD], ids=["threads", "one_thread"], indirect=True)
def test_a_photo_has_the_numbers_of_predict(page, folder, picture, tmp_path):
    turned = tmp_path / "turned.png"  # and a larger one, which is searched at half of its size
    Image.fromarray(picture[0]).rotate(12, Image.Resampling.BICUBIC).resize((1000, 750)).save(turned)
    predictor = Predictor(faces="largest", detector="embedded", precision="fp32")
    for path in (picture[1], turned):
        page.choose("#file", path)
        said(page, "Found a face.")
        row, found = predictor(path).iloc[0], values(page)
        assert len(found) == 20
        for au, probability in found.items():
            assert probability == pytest.approx(row[f"{au}_p"], abs=0.005), au
        page.run("document.getElementById('say').textContent = ''; 0")
    trusted = page.run("[...document.querySelectorAll('#trusted tr')].map((one) => one.id)")
    assert trusted == ["AU06", "AU12", "AU25"]
    names = page.run("[...document.querySelectorAll('#trusted small')].map((one) => one.textContent)")
    assert names == ["AU06, with care", "AU12", "AU25"]
    assert page.run("document.getElementById('AU12').innerText.split(/\\s+/).slice(-1)[0]") == "yes"
    assert page.run("['AU12', 'AU24'].map((id) => document.getElementById(id).checkVisibility())") == [
        True,
        False,
    ]
    Image.linear_gradient("L").resize((400, 300)).save(tmp_path / "none.png")
    page.choose("#file", tmp_path / "none.png")
    said(page, "No face was found.")
    assert page.run("document.getElementById('values').hidden")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    page.choose("#file", tmp_path / "broken.jpg")
    said(page, "Not done: broken.jpg is no photo that this browser can read (JPEG, PNG, WebP)")
    assert page.errors == []


CAMERA_FRAME = """(async () => {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
  const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true });
  await video.play();
  await new Promise((next) => video.requestVideoFrameCallback(next));
  const canvas = new OffscreenCanvas(640, 480);
  canvas.getContext("2d").drawImage(video, 0, 0);
  stream.getTracks()[0].stop();
  return [...(await import("./maeface.js")).readPixels(canvas).data];
})()"""
"""The pixels that the page sees: the browser converts a camera's colours to others and back."""
FIRST_FRAME_ONLY = """{
  const video = HTMLVideoElement.prototype, wait = video.requestVideoFrameCallback;
  let frames = 0;
  video.requestVideoFrameCallback = function (next) {
    if (frames++) window.goOn = () => { video.requestVideoFrameCallback = wait; wait.call(this, next); };
    else wait.call(this, next);
  };
} 0"""


def test_a_camera_has_the_numbers_of_its_frames(page, folder):
    frame = np.array(page.run(CAMERA_FRAME), np.uint8).reshape(480, 640, 3)
    page.run(FIRST_FRAME_ONLY)
    page.run("document.getElementById('camera').click()")
    said(page, "The camera is on.")
    until(lambda: page.run("!!window.goOn"))
    assert "ms per frame" in page.run("document.getElementById('speed').textContent")
    facts = json.loads((folder / "exported" / "preprocessing.json").read_text())
    detector = Detector(EMBEDDED, backend="onnxruntime")
    (crops,) = finder.find_crops(detector, [frame], facts["crop"]["film_px"])
    session = onnxruntime.InferenceSession(folder / "exported" / "au.onnx")
    wanted = session.run(None, {"crops": crops[0].pixels[None]})[0][0]
    shown = page.run("[document.getElementById('picture').width, document.getElementById('picture').height]")
    assert shown == [640, 480]
    for au in ("AU06", "AU12", "AU25"):
        place = facts["au"]["columns"].index(f"{au}_p")
        assert values(page)[au] == pytest.approx(wanted[place], abs=0.005), au
    before = page.run("document.getElementById('speed').textContent")
    page.run("goOn()")
    until(lambda: page.run("document.getElementById('speed').textContent") != before)
    assert values(page)["AU12"] > 0.95  # the face is followed
    page.run("document.getElementById('camera').click()")
    said(page, "The camera is off.")
    assert page.errors == []


def test_two_clicks_leave_no_camera_on(page):
    page.run(
        "{ window.streams = []; const media = navigator.mediaDevices, get = media.getUserMedia.bind(media);"
        "media.getUserMedia = async (wanted) => { streams.push(await get(wanted)); return streams.at(-1); };"
        "document.getElementById('camera').click(); document.getElementById('camera').click(); } 0"
    )
    tracks = "streams.flatMap((one) => one.getTracks().map((track) => track.readyState))"
    until(lambda: page.run(tracks) == ["ended", "live"])
    said(page, "The camera is on.")
    page.run("document.getElementById('camera').click()")
    assert page.run(tracks) == ["ended", "ended"]


def test_nothing_leaves_the_machine(page, picture):
    page.choose("#file", picture[1])
    said(page, "Found a face.")
    assert len(page.requests) >= 10
    assert {re.match(r"\w+:/*[^/]*", url)[0] for url in page.requests if url[:5] != "data:"} == {page.url}
    for elsewhere in ("https://example.com/", page.url.replace("localhost", "127.0.0.1")):
        sent = f"fetch('{elsewhere}', {{ mode: 'no-cors' }}).then(() => 'sent', () => 'refused')"
        assert page.run(sent) == "refused"
    assert any("Content Security Policy" in error for error in page.errors)


def test_crops_are_those_of_pillow(page):
    pixels = np.random.default_rng(0).integers(0, 256, (57, 73, 3)).astype(np.uint8)
    image = f"{{width: 73, height: 57, data: {pixels.ravel().tolist()}}}"
    for x, y, side, degrees, px in ((36, 28, 20, 0, 32), (30, 25, 41.5, 17, 16), (60, 50, 40, -130, 24)):
        square = f"{{x: {x}, y: {y}, side: {side}, angle: {np.radians(degrees)}}}"
        found = page.run(
            f"import('./maeface.js').then(({{ crop }}) => [...crop({image}, {square}, {px}).data])"
        )
        (wanted,) = imaging.crop([pixels], [geometry.Square(x, y, side, degrees)], px)
        assert np.abs(np.array(found).reshape(px, px, 3) - wanted.astype(int)).max() <= 1


def test_everything_fits_a_phone(page, picture):
    page.size(360, 700)
    page.choose("#file", picture[1])
    said(page, "Found a face.")
    page.run("document.querySelector('details').open = true; 0")
    assert page.run("document.documentElement.scrollWidth") <= 360


def test_what_is_missing_is_said(page, folder):
    hidden = folder / "exported-elsewhere"
    (folder / "exported").rename(hidden)
    try:
        page.call("Page.reload", ignoreCache=True)
        said(page, "Not loaded: exported/preprocessing.json cannot be read (404)")
    finally:
        hidden.rename(folder / "exported")


def test_a_photo_that_is_chosen_before_the_camera_is_allowed_keeps_it_off(page, picture):
    page.run(
        "{ window.streams = []; const media = navigator.mediaDevices, get = media.getUserMedia.bind(media);"
        "media.getUserMedia = async (wanted) => { await new Promise((allow) => { window.allow = allow; });"
        "streams.push(await get(wanted)); return streams.at(-1); };"
        "document.getElementById('camera').click(); } 0"
    )
    said(page, "Waiting for the camera ...")
    page.choose("#file", picture[1])
    said(page, "Found a face.")
    page.run("allow()")
    tracks = "streams.flatMap((one) => one.getTracks().map((track) => track.readyState))"
    until(lambda: page.run(tracks) == ["ended"])
    page.run("new Promise((resolve) => setTimeout(resolve, 300))")
    assert page.run("document.getElementById('camera').textContent") == "Start the camera"
    said(page, "Found a face.")


def test_a_camera_that_is_not_allowed_after_a_photo_changes_nothing(page, picture):
    page.run(
        "navigator.mediaDevices.getUserMedia = () => new Promise((_, reject) => { window.refuse = () =>"
        " reject(new DOMException('No', 'NotAllowedError')); });"
        "document.getElementById('camera').click(); 0"
    )
    page.choose("#file", picture[1])
    said(page, "Found a face.")
    page.run("refuse()")
    page.run("new Promise((resolve) => setTimeout(resolve, 100))")
    said(page, "Found a face.")
    page.run("document.getElementById('camera').click(); refuse(); 0")
    said(page, "Not done: the browser does not allow it; allow the camera for this page")


def test_a_camera_that_is_stopped_before_its_first_picture_is_not_said_to_be_on(page):
    page.run(
        "{ window.starts = 0; const gate = new Promise((go) => { window.go = go; });"
        "HTMLMediaElement.prototype.play = () => { starts++; return gate; };"
        "document.getElementById('camera').click(); } 0"
    )
    until(lambda: page.run("starts") == 1)
    page.run("document.getElementById('camera').click()")
    said(page, "The camera is off.")
    page.run("go(); new Promise((resolve) => setTimeout(resolve, 300))")
    said(page, "The camera is off.")
    assert page.run("document.getElementById('camera').textContent") == "Start the camera"


def axe_of(page):
    """Return the barriers that axe-core finds on a page."""
    here = ROOT / "node_modules" / "axe-core" / "axe.min.js"
    axe = Path(os.environ.get("MAEFACE_AXE", here))
    if axe == here and not here.is_file():
        pytest.skip("needs axe-core, which CONTRIBUTING.md says how to install")
    page.run(axe.read_text(encoding="utf-8") + "; 0")
    return page.run(
        "axe.run(document).then(({violations}) => violations.map(({help, nodes}) =>"
        " `${help}: ${nodes.map((node) => node.html)}`))"
    )


@pytest.mark.parametrize("state", ["ready", "photo", "camera"])
def test_axe_finds_no_barrier(page, picture, state):
    if state == "photo":
        page.choose("#file", picture[1])
        said(page, "Found a face.")
        page.run("document.querySelector('details').open = true; 0")
    if state == "camera":
        page.run("document.getElementById('camera').click()")
        until(lambda: values(page))
    for width, dark in ((1300, False), (1300, True), (360, False), (360, True)):
        page.size(width, 800, dark)
        page.run("new Promise(requestAnimationFrame)")
        assert axe_of(page) == [], (width, dark)
