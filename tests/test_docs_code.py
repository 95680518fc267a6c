"""The code of the pages: commands that exist, Python that runs."""

import ast
import inspect
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image

import maeface
from maeface import cli
from maeface.model import zoo
from test_video import encode

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "user_guide").glob("*.md")]
COMMANDS = typer.main.get_command(cli.app).commands
LAUNCHERS = {"uv", "run"}


def blocks(page, *languages):
    """Return the code blocks of a page in some languages."""
    found = re.findall(rf"^ *```(?:{'|'.join(languages)})\n(.*?)^ *```", page.read_text("utf-8"), re.S | re.M)
    return [block.replace("\\\n", " ") for block in found]


def commands():
    """Return the page and the words of each command of maeface; not of those with gaps to fill (...)."""
    found = []
    for page in PAGES:
        for line in "\n".join(blocks(page, "sh", "bash")).splitlines():
            words = shlex.split(re.split(r" (?:&&|\||>|2>|&)(?: |$)", line)[0], comments=True)
            while words and (words[0] in LAUNCHERS or "=" in words[0]):
                words = words[1:]
            if len(words) > 1 and words[0] == "maeface" and words[1] in COMMANDS and "..." not in line:
                found.append((page.name, words[1:]))
    return found


def test_commands_of_the_pages_have_arguments_and_options_that_exist():
    found = commands()
    assert {words[0] for _, words in found} >= COMMANDS.keys() - {"datasets", "plan"}
    for page, (verb, *words) in found:
        try:
            COMMANDS[verb].make_context(verb, words)  # parsed, and not run
        except Exception as error:
            pytest.fail(f"{page}: maeface {verb} {shlex.join(words)}: {error}")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_python_of_the_pages_is_python(page):
    for block in blocks(page, "python"):
        ast.parse(block)


def make_film(path, frames):
    with Image.open(ROOT / "docs" / "images" / "astronaut.jpg") as image:
        return encode(path, [np.asarray(image.convert("RGB").resize((320, 320)))] * frames, rate=10)


def test_the_page_of_the_python_interface_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photo = ROOT / "docs" / "images" / "astronaut.jpg"
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "a.jpg", "b.jpg", "photos/c.jpg"):
        shutil.copy(photo, tmp_path / name)
    make_film(tmp_path / "film.mp4", 4)
    (tmp_path / "runs" / "au").mkdir(parents=True)
    shutil.copy(zoo.find(), tmp_path / "runs" / "au" / "weights.safetensors")

    trained = []
    for verb in (maeface.finetune, maeface.evaluate):  # a training takes too long: only its call is checked
        signature = inspect.signature(verb.run)
        monkeypatch.setattr(verb, "run", lambda *a, s=signature, **k: trained.append(s.bind(*a, **k)))
    names = {"crops": np.zeros((2, 96, 96, 3), np.uint8)}
    for block in blocks(ROOT / "docs" / "user_guide" / "python.md", "python"):
        exec(block, names)
    assert names["values"].shape == (2, 40) and names["features"].shape[0] == len(names["rows"])
    assert names["settings"].optim.epochs == 5 and len(trained) == 2
    assert names["frame"].input == "b.jpg"
    assert "True" in capsys.readouterr().out  # AU12 of the photo is present


def test_python_that_reads_a_table_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with maeface.Predictor(detector="embedded") as predictor:
        predictor.video(make_film(tmp_path / "film.mp4", 60)).to_pandas().to_csv("film.csv", index=False)
    names = {}
    for page in ("events", "report", "explain"):
        for block in blocks(ROOT / "docs" / "user_guide" / f"{page}.md", "python"):
            exec(block, names)
    assert set(names["found"].au) >= {"AU12", "AU25"}
    assert names["maps"].shape[:2] == (1, 2)
    assert (tmp_path / "report.html").stat().st_size > 50_000 and (tmp_path / "timeline.pdf").is_file()
