"""The code of the page on statistics runs, and prints the numbers which the page shows."""

import contextlib
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyreadstat
import pytest

import drawn_tables
from maeface.analysis.events import find_events
from maeface.analysis.summary import TYPES, summarize

PAGE = (Path(__file__).parents[1] / "docs" / "user_guide" / "statistics.md").read_text(encoding="utf-8")
FPS = 10


def shown(language):
    """Return each code block of a language, and the block of what it prints."""
    pattern = rf"^```{language}\n(.*?)^```\n\n```text\n(.*?)^```"
    return re.findall(pattern, PAGE, re.S | re.M)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """20 people smile now and then in 6 films of 24 s; in three of them there is something to laugh about."""
    rng = np.random.default_rng(0)
    films, tables = [], []
    for person in range(1, 21):
        liveliness = rng.normal(0, 0.6)
        for number in range(6):
            condition = ("calm", "joke")[number % 2]
            name = f"p{person:02d}_{condition}{number // 2 + 1}.mp4"
            films.append({"input": name, "person": f"p{person:02d}", "condition": condition})
            odds = np.exp(liveliness - 1.5 + 1.2 * (condition == "joke"))
            values, intensities = np.full(24 * FPS, 0.1), np.full(24 * FPS, 0.2)
            for start in np.flatnonzero(rng.random(12) < odds / (1 + odds)) * 2 * FPS:
                span = slice(start, start + rng.integers(5, 14))
                values[span] = 0.9
                grade = 2 + 0.4 * liveliness + 0.7 * (condition == "joke") + rng.normal(0, 0.7)
                intensities[span] = np.clip(grade, 0.8, 5)
            tables.append(drawn_tables.film(values, FPS, name, intensities=intensities))
    hidden = tables[-1]["frame"] < 10 * FPS  # the last film has too few frames with a face
    tables[-1].loc[hidden, ["face", "track", "status", "AU12_p", "AU12_i"]] = [
        -1,
        pd.NA,
        "no_face",
        None,
        None,
    ]
    table = pd.concat(tables, ignore_index=True)
    events = find_events(table)
    folder = tmp_path_factory.mktemp("study")
    pd.DataFrame(films).to_csv(folder / "films.csv", index=False)
    events.to_csv(folder / "events.csv", index=False)
    summarize(table, events).to_csv(folder / "summary.csv", index=False)
    return folder


def test_python(folder, monkeypatch):
    monkeypatch.chdir(folder)
    blocks, names = shown("python"), {}
    assert len(blocks) == 2
    for code, printed in blocks:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, names)
        assert out.getvalue() == printed
    assert len(names["smiles"]) == 119  # one film has less than 0.8 with a face


def test_a_table_for_spss(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (code,) = re.findall(r"^```python\n([^`]*write_sav.*?)^```", PAGE, re.S | re.M)
    names = {"smiles": pd.read_csv("summary.csv").merge(pd.read_csv("films.csv"), on="input")}
    exec(code, names)
    read, _ = pyreadstat.read_sav("smiles.sav")
    pd.testing.assert_frame_equal(read, names["smiles"], check_dtype=False)


def test_the_syntax_of_spss_names_all_columns():
    (variables,) = re.findall(r"/VARIABLES=\n(.*?)\.\n", PAGE, re.S)
    assert dict(line.split() for line in variables.splitlines()).keys() == TYPES.keys()
    assert [line.split()[0] for line in variables.splitlines()] == list(TYPES)


@pytest.mark.parametrize(("block", "packages"), [(0, ("lme4", "lmerTest")), (1, ("ordinal",))])
def test_r(folder, block, packages):
    rscript = shutil.which("Rscript")
    if rscript is None:
        pytest.skip("needs R: there is no Rscript")
    for package in packages:
        code = f'quit(status = !requireNamespace("{package}", quietly = TRUE))'
        if subprocess.run([rscript, "-e", code], check=False, capture_output=True).returncode:
            pytest.skip(f"needs R's package {package}")
    blocks = shown("r")
    assert len(blocks) == 2
    code, printed = blocks[block]
    script = folder / f"block{block}.R"
    script.write_text(code)
    done = subprocess.run([rscript, script.name], cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
