"""The page of the service, in a browser."""

import re
from importlib import resources

import numpy as np
import pytest
from starlette.testclient import TestClient

import browser
from maeface.service import app, guard
from maeface.service.settings import Settings
from serve_parts import photo
from test_serve import Server, until
from test_video import encode

FOLDER = resources.files("maeface.service") / "page"


def test_the_page_needs_no_token_and_loads_nothing_from_elsewhere(tmp_path):
    made = app.make_app(Settings(folder=tmp_path), token="0123456789abcdef", log=False)
    client = TestClient(made, "http://localhost")
    for path, name in guard.PAGE.items():
        answer = client.get(path)
        assert answer.content == (FOLDER / name).read_bytes()
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"https?:|//\w", re.sub(r"// .*", "", answer.text))
    assert client.get("/").headers["content-type"].startswith("text/html")
    assert sum((FOLDER / name).stat().st_size for name in guard.PAGE.values()) < 200_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def page(server):
    binary = browser.find()
    if binary is None:
        pytest.skip("needs Chromium, which is not installed")
    page = browser.Page(binary)
    page.call("Page.navigate", url=f"http://localhost:{server.port}/")
    page.wait("document.readyState === 'complete' && !!document.getElementById('file').onchange")
    yield page
    page.close()


def said(page, text):
    until(lambda: text in page.run("document.getElementById('say').textContent"))


def test_a_photo_is_shown_with_a_table_of_each_face(page, tmp_path):
    (tmp_path / "a.png").write_bytes(photo(2))
    page.choose("#file", tmp_path / "a.png")
    said(page, "Faces: 2")
    assert page.run("document.querySelectorAll('#faces caption').length") == 2
    first = "document.querySelector('#faces tr + tr').textContent"  # what is checked stands first
    assert page.run(first).startswith("AU12 Lip corner puller" + "yes")
    assert page.run("[...document.querySelectorAll('#faces details')].map((one) => one.open)") == [False] * 2
    assert page.run("document.querySelector('#faces details th').textContent") == "AU04 Brow lowerer"
    assert not page.run("document.getElementById('photo').hidden")
    (tmp_path / "b.png").write_bytes(b"no photo")
    page.choose("#file", tmp_path / "b.png")
    said(page, "Not done: not_an_image")
    assert page.run("document.getElementById('photo').hidden")
    assert {url.rpartition(":")[0] for url in page.requests} <= {"http://localhost", "blob:http://localhost"}
    assert [one for one in page.errors if "422" not in one] == []


def test_a_photo_that_the_browser_cannot_show_has_its_tables(page, tmp_path):
    page.run("window.createImageBitmap = () => Promise.reject(new Error('no such format')); 0")
    (tmp_path / "a.heic").write_bytes(photo(2))
    page.choose("#file", tmp_path / "a.heic")
    said(page, "Faces: 2. The browser cannot show this photo.")
    assert page.run("document.querySelectorAll('#faces caption').length") == 2
    assert page.run("getComputedStyle(document.getElementById('picture')).display") == "none"


def test_a_film_is_shown_with_its_line_when_its_job_is_done(page, tmp_path):
    film = encode(tmp_path / "film.mp4", [np.full((48, 64, 3), 15, np.uint8)] * 20, rate=10)
    page.choose("#file", film)
    said(page, "Frames: 20, faces: 20")
    assert page.run("[...document.querySelectorAll('#au option')].map((one) => one.value)") == [
        "AU12",
        "AU04",
    ]
    assert page.run("document.querySelectorAll('#tables button').length") == 5
    page.run("document.getElementById('au').value = 'AU04'; document.getElementById('au').onchange()")
    assert page.run("document.getElementById('value').textContent") == "0.00 s: 0.06"
    drawn = (
        "document.getElementById('line').getContext('2d').getImageData(0, 0, 4000, 400).data.some(Boolean)"
    )
    assert page.run(drawn)
    assert page.errors == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast_and_everything_fits_a_phone(page, tmp_path, dark):
    page.size(360, 700, dark)
    (tmp_path / "a.png").write_bytes(photo(1))
    page.choose("#file", tmp_path / "a.png")
    said(page, "Faces: 1")
    assert page.run("document.documentElement.scrollWidth") <= 360
    for selector in ("p", "th", "tr.absent td", "label"):
        found = page.run(
            f"[getComputedStyle(document.querySelector('{selector}')).color,"
            "getComputedStyle(document.body).backgroundColor]"
        )
        light, deep = sorted((luminance(color) for color in found), reverse=True)
        assert (light + 0.05) / (deep + 0.05) >= 4.5, (selector, found)
    controls = "[...document.querySelectorAll('input, button, select, #line')]"
    assert page.run(f"{controls}.every((one) => one.tabIndex >= 0)")


def luminance(color):
    """Return the relative luminance of ``rgb(r, g, b)``, as WCAG defines it."""
    values = np.array([float(value) for value in re.findall(r"[\d.]+", color)[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
