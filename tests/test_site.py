"""The documentation site: it builds without a warning, so its links, pictures and docstrings are sound."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

from maeface import cli

ROOT = Path(__file__).parents[1]


class Links(HTMLParser):
    """The targets of a page's links, without their anchors."""

    def __init__(self, page):
        super().__init__()
        self.targets = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        if tag == "a" and (target := dict(attrs).get("href")):
            self.targets.add(target.partition("#")[0])


def test_the_site_builds_and_leads_to_every_guide(tmp_path):
    """One test, so that the site is built once."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs/site"]
    folders = ["-d", tmp_path / "trees", ".", tmp_path / "html"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *folders], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

    assert "docs/site/index.html" in (tmp_path / "html" / "index.html").read_text("utf-8")
    pages = tmp_path / "html" / "docs" / "site"
    start = Links(pages / "index.html").targets
    words = re.sub(r"<[^>]*>|\s+", " ", (pages / "index.html").read_text("utf-8"))
    assert re.search(r"Next\s+First steps", words)
    near = set()
    for audience in ("scientists.html", "researchers.html", "engineers.html", "developers.html"):
        assert audience in start
        near |= Links(pages / audience).targets
    guides = {f"../user_guide/{page.stem}.html" for page in (ROOT / "docs" / "user_guide").glob("*.md")}
    assert guides <= near

    commands = (pages / "generated" / "commands.html").read_text("utf-8")
    for command in cli.app.registered_commands:
        assert f"Usage: maeface {command.name or command.callback.__name__}" in commands

    reference = (pages / "generated" / "reference.html").read_text("utf-8")
    for name in ("maeface.Predictor", "maeface.load_model", "maeface.prediction.results.FaceResult"):
        assert f'id="{name}"' in reference  # as users type it
