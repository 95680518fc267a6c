"""The page of the service in Firefox and WebKit, which do not stand for each other or for Chromium."""

import re
from contextlib import closing

import numpy as np
import pytest

import webdriver
from serve_parts import photo
from test_serve import Server, until
from test_video import encode

SAY = "document.getElementById('say').textContent"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module", params=[webdriver.Firefox, webdriver.WebKit])
def browser(request):
    if missing := request.param.missing():
        pytest.skip(f"needs {missing}, which is not installed")
    with closing(request.param()) as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    browser.open(f"http://localhost:{server.port}/")
    browser.wait("!!document.getElementById('file')?.onchange")
    return browser


def said(page, text):
    until(lambda: text in page.run(SAY))


def test_a_photo_has_its_table(page, tmp_path):
    (tmp_path / "a.png").write_bytes(photo(2))
    page.choose("#file", tmp_path / "a.png")
    said(page, "Faces: 2.")
    assert page.run("document.querySelectorAll('#faces .overview tbody tr').length") == 2
    assert page.run("document.getElementById('picture').width") == 64


def test_a_film_plays_beside_its_time_line_in_a_frame_that_can_ask_for_nothing(page, server, tmp_path):
    jobs = server.folder / "service" / "jobs"
    before = set(jobs.iterdir())
    film = [np.full((48, 64, 3), 15, np.uint8)] * 20
    page.choose("#file", encode(tmp_path / "a.webm", film, codec="libvpx-vp9", rate=10))
    said(page, "Done. Frames: 20")
    with page.frame("#timeline"):
        page.wait("document.querySelectorAll('#lanes canvas').length > 0")
        page.wait("document.getElementById('film').videoWidth === 64")
        page.run("document.getElementById('film').currentTime = 1.05")
        page.wait("document.getElementById('now-frame').textContent === '10'")
        ask = f"fetch('http://localhost:{server.port}/health').then(() => 'answered', () => 'refused')"
        assert page.run(ask) == "refused"
        page.run("document.body.append(Object.assign(document.createElement('script'), {text: 'own = 1'}))")
        assert page.run("typeof own") == "undefined"
    assert len(set(jobs.iterdir()) - before) == 1
    page.run("document.getElementById('delete').click()")
    said(page, "Deleted.")
    assert set(jobs.iterdir()) == before


def test_the_camera_is_shown_and_ends(page):
    page.run("document.getElementById('camera').click()")
    said(page, "The camera is on.")
    until(lambda: re.match(r"\d+\.\d pictures", page.run("document.getElementById('rate').textContent")))
    page.run("document.getElementById('camera').click()")
    said(page, "The camera is off.")
