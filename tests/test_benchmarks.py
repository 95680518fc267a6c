"""The commands that measure trainings: their tables are whole, and each figure in them was measured."""

import importlib
import itertools
import json
import re
import statistics
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def scripts(monkeypatch):
    """Import a script of ``benchmarks/``; forget it and what it imported from there afterwards."""
    folder = ROOT / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module
    for name in [path.stem for path in folder.glob("*.py")] + [
        n for n in sys.modules if n.split(".")[0] == "rates"
    ]:
        sys.modules.pop(name, None)


@pytest.fixture
def page(tmp_path):
    (tmp_path / "docs" / "images").mkdir(parents=True)
    page = tmp_path / "docs" / "performance.md"
    page.write_text("# Performance\n\nbefore\n<!-- training: begin -->\nold\n<!-- training: end -->\nafter\n")
    return page


def tables(text):
    """Return the cells of each table."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    return [[line.strip("| ").split(" | ") for line in block.splitlines()] for block in blocks]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_figure_of_the_page_is_a_median_of_measurements(scripts, page, tmp_path):
    training = scripts("training")
    training.main(["--toy", "--page", str(page), "--json", str(tmp_path / "all.json")])
    measured = json.loads((tmp_path / "all.json").read_text())
    assert {row["part"] for row in measured} == {"growth", "ranks", "peers", "loader"}
    assert all(len(row["images_per_s"]) == 2 and min(row["images_per_s"]) > 0 for row in measured)
    text = page.read_text()
    assert (
        text.startswith("# Performance\n\nbefore\n") and text.endswith("\nafter\n") and "\nold\n" not in text
    )
    for said in ("`python benchmarks/training.py --toy`", f"torch {version('torch')}", "n = 2", "Load of"):
        assert said in text
    shown = re.findall(r"[\d.,]+ \([\d.,]+ to [\d.,]+\)(?! of)", text)
    show = training.measure.shown
    expected = [
        f"{show(statistics.median(values))} ({show(min(values))} to {show(max(values))})"
        for values in (row["images_per_s"] for row in measured)
    ]
    assert sorted(shown) == sorted(expected)
    assert len(re.findall(r"\) of (?:timm|transformers), ", text)) == 2 + 4  # trainings; forward passes
    found = tables(text)
    assert [len(table[0]) for table in found] == [4, 3, 3, 2]
    assert all(len(line) == len(table[0]) for table in found[:2] for line in table)
    assert [line[0] for line in found[0][2:]] == [
        *("1 images a step", "2 images a step", "32 px", "64 px", "ViT, nano", "ViT, tiny")
    ]
    assert [line[0] for line in found[1][2:]] == ["1", "2"]
    picture = page.parent / "images" / training.PICTURE
    assert picture.read_bytes().startswith(b"\x89PNG") and f"images/{training.PICTURE}" in text


def test_variants_take_turns_and_the_first_round_does_not_count(scripts, monkeypatch):
    measure = scripts("rates.measure")
    seconds = itertools.count(step=2)  # each look at the clock is two seconds after the one before
    monkeypatch.setattr(measure, "clock", lambda: next(seconds))
    done = []
    variants = {name: measure.Variant(lambda name=name: done.append(name), 10) for name in "ab"}
    rates = measure.in_turns(variants, 3, 60.0)
    assert done == list("ab" * 4)
    assert rates["a"].values == (5.0, 5.0, 5.0)
    assert str(rates["a"]) == "5 (5 to 5)"
    assert str(measure.Rate((0.01234, 1234.5, 87.65))) == "87.7 (0.0123 to 1,234)"
    few = measure.in_turns(variants, 3, 0.0)
    assert few["b"].values == (5.0,)
    halves = measure.Rate((2.0, 4.0, 9.0)), measure.Rate((1.0, 4.0, 3.0))
    assert measure.ratio(*halves).values == (2.0, 1.0, 3.0)


def test_a_page_without_the_markers_is_left_as_it_is(scripts, tmp_path):
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(ValueError, match="training: begin"):
        scripts("rates.measure").write_between(tmp_path / "page.md", "training", "text")
    assert (tmp_path / "page.md").read_text() == "nothing"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_script_for_a_gpu_goes_through_on_a_cpu(scripts, tmp_path, capsys):
    gpu = scripts("gpu")
    compile_ = torch.compile
    gpu.torch.compile = lambda function: compile_(function, backend="eager")
    try:
        code = gpu.main(["--device", "cpu", "--toy", "--out", str(tmp_path / "out"), "--minutes", "30"])
    finally:
        gpu.torch.compile = compile_
        torch._dynamo.reset()
    rows = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert code == 0 and {row["state"] for row in rows} == {"ok"}, rows
    checks = [row["name"] for row in rows if row["kind"] == "check"]
    assert checks == ["trains", "resumes", "finetunes", "predicts", "waits_for_nothing", "compiles"]
    assert sum(row["kind"] == "rate" for row in rows) == 14
    assert all("rate" in row or row["tflops"] > 0 for row in rows if row["kind"] == "rate")
    last = capsys.readouterr().out.split("| what | ")[-1]
    assert all(f"| {row['name']} |" in last for row in rows)


def test_what_fails_or_lasts_too_long_is_said_and_the_rest_goes_on(scripts, tmp_path):
    import time

    gpu = scripts("gpu")
    session = gpu.Session("cpu", False, tmp_path, time.monotonic() + 60)
    session.do("rate", "wrong", lambda: 1 / 0, 30)
    session.do("rate", "slow", lambda: time.sleep(20), 0.2)
    session.do("rate", "right", lambda: {"rate": "3"}, 30)
    session.ends = time.monotonic()
    session.do("rate", "late", lambda: {"rate": "3"}, 30)
    states = [row["state"] for row in json.loads((tmp_path / "gpu.json").read_text())]
    assert states == ["FAILED", "too slow", "ok", "left out"]


def test_a_gpu_that_is_not_there_is_an_error_of_one_line(scripts, tmp_path, capsys):
    if torch.cuda.is_available():
        return
    with pytest.raises(SystemExit):
        scripts("gpu").main(["--out", str(tmp_path)])
    assert "PyTorch finds no GPU; --device cpu --toy" in capsys.readouterr().err


def test_the_table_of_other_tools_is_written_into_a_page(scripts, tmp_path):
    peers = scripts("peers")
    header = {
        "machine": "a machine",
        "date": "2026-01-02",
        "command": "python benchmarks/peers.py",
        "repeats": 3,
    }
    measured = {"install_s": 4.4, "install_mb": 50, "first_s": 1.25, "frames_per_s": 9.6, "memory_mb": 300.2}
    found = {"one": measured | {"version": "1.5"}, "two": {"error": "no | network"}}
    text = peers.render(header, found)
    assert text.splitlines()[0] == "`python benchmarks/peers.py`, a machine, 2026-01-02, n = 3"
    assert text.splitlines()[4:] == [
        "| one 1.5 | 4 s, 50 MB | 1.2 s | 10 | 300 MB |",
        "| two | – | no / network | – | – |",
    ]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{peers.BEGIN}\nold\n{peers.END}\nafter\n")
    peers.write_between(page, text)
    assert page.read_text() == f"before\n{peers.BEGIN}\n{text}\n{peers.END}\nafter\n"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="end of peers"):
        peers.write_between(page, text)
    assert page.read_text() == "nothing"
    own = (ROOT / "docs" / "comparison.md").read_text()
    assert own.count(peers.BEGIN) == own.count(peers.END) == 1
