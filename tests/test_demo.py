import re
import subprocess
import sys
import time

import pandas as pd
import pytest

from maeface import config, demo, finetune
from maeface.data import manifest
from maeface.errors import ConfigError
from maeface.model import zoo
from maeface.train import stopwatch

SMALL = ["optim.epochs=1", "optim.warmup_epochs=0", "run.device=cpu"]


def test_no_subject_is_on_both_sides_and_all_clips_are_unseen():
    rows = manifest.load(demo.sample_folder())
    for seed in range(5):
        seen, unseen = demo.split(rows, seed)
        assert not set(seen["subject"]) & set(unseen["subject"])
        assert unseen["subject"].nunique() == demo.HELD_OUT_SUBJECTS
        assert seen["clip"].isna().all() and unseen["clip"].notna().any()
        assert len(seen) + len(unseen) == len(rows)


def test_the_sample_is_whole():
    rows = manifest.load(demo.sample_folder())
    labels = pd.read_parquet(demo.sample_folder() / demo.LABELS)
    assert set(rows["id"]) == set(labels["id"])
    assert rows["subject"].nunique() == 40
    crops = demo._read_crops(demo.sample_folder(), rows.iloc[::50])
    assert {crop.shape for crop in crops} == {(128, 128, 3)}


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return demo.run(tmp_path_factory.mktemp("demo"), overrides=SMALL)


def test_the_report_opens_by_itself(summary):
    html = summary.report.read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert html.count("<img") >= 3 + 2 + 3 + 2
    for part in ("Pre-training", "Fine-tuning", "Held-out faces", "clip"):
        assert part in html


def test_scores_are_those_of_the_tables_that_are_left(summary):
    from maeface import evaluate

    folder = summary.report.parent / "from-mae"
    again = evaluate.run(folder / "labels.csv", folder / "predictions.csv")
    assert again.matched == 200
    assert again.means["icc"] == pytest.approx(summary.scores.loc[demo.MAE, "icc"], abs=1e-12)
    assert {demo.MAE, demo.SCRATCH} <= set(summary.scores.index)


def test_packaged_weights_predict_too(summary, tmp_path, monkeypatch):
    """With weights of more action units than the demo's in the place of the package's own."""
    out = summary.report.parent
    recipe = config.load(
        config.Finetune, "demo-finetune", [*SMALL, "optim.epochs=0", "model.aus=[1,2,4,6,9,12,17,25,26]"]
    )
    faces = next(out.glob("faces-*"))
    made = finetune.run(recipe, [faces], demo.sample_folder() / demo.LABELS, "random", tmp_path / "other")
    (tmp_path / "zoo").mkdir()
    made.rename(tmp_path / "zoo" / f"{zoo.DEFAULT}.safetensors")
    monkeypatch.setattr(zoo, "folder", lambda: tmp_path / "zoo")
    again = demo.run(out, overrides=SMALL)
    assert list(again.scores.index) == [demo.MAE, demo.SCRATCH, demo.PACKAGED]
    assert again.scores.loc[demo.PACKAGED].notna().any()
    html = again.report.read_text()
    assert f"Held-out faces, {zoo.DEFAULT}" in html and "comes with the package" in html
    columns = pd.read_csv(out / zoo.DEFAULT / "predictions.csv").columns
    assert "AU12_p" in columns and "AU17_p" not in columns


def test_the_table_for_the_terminal_has_both(summary):
    from rich.console import Console

    console = Console(width=100)
    with console.capture() as captured:
        console.print(demo.render(summary))
    assert demo.MAE in captured.get() and demo.SCRATCH in captured.get()


def test_a_folder_of_something_else_is_refused_before_anything_is_written(tmp_path):
    """Of a run, a preparation, a user, or of a demo with another seed; nothing is added to it."""
    holds = {
        "run": "settings.json",
        "prepared": "prepare.json",
        "own": "photo.jpg",
        "other": "demo.json",
        "wrong": "demo.json",
    }
    texts = {"other": '{"by": "maeface demo", "seed": 7}', "wrong": '{"by": "somebody"}'}
    for name, file in holds.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / file).write_text(texts.get(name, "{}"))
        says = "holds a demo with seed 7" if name == "other" else "is not empty and holds no demo"
        with pytest.raises(ConfigError, match=says):
            demo.run(folder, overrides=SMALL)
        assert [each.name for each in folder.iterdir()] == [file]


def test_seconds_are_those_of_all_calls(tmp_path, monkeypatch):
    """Calls that are stopped by an error count too, as do those before a report is made."""

    def stopped(*given):
        time.sleep(0.3)
        raise KeyboardInterrupt

    out = tmp_path / "demo"
    monkeypatch.setattr(demo.pretrain, "run", stopped)
    for call in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            demo.run(out, overrides=SMALL)
        assert stopwatch.Stopwatch(out / demo.SECONDS).before >= 0.3 * call
    monkeypatch.undo()
    (out / demo.SECONDS).write_text('{"seconds": 1000.0}')
    summary = demo.run(out, overrides=[*SMALL, "optim.epochs=0"])
    assert 1000 < summary.seconds < 1500
    assert f"seed 0, {summary.seconds:.0f} s" in summary.report.read_text()


def test_a_stopwatch_counts_what_was_killed(tmp_path):
    """A killed process loses no more than the time since the last look at the clock."""
    code = """
import os, sys, time
from pathlib import Path
from maeface.train import stopwatch
stopwatch.EVERY_S = 0.05
with stopwatch.Stopwatch(Path(sys.argv[1])):
    time.sleep(1.0)
    os.kill(os.getpid(), 9)
"""
    file = tmp_path / "seconds.json"
    started = time.monotonic()
    for call in (1, 2):
        done = subprocess.run([sys.executable, "-c", code, str(file)], check=False)
        assert done.returncode == -9
        assert 0.5 * call < stopwatch.Stopwatch(file).before < time.monotonic() - started
    with stopwatch.Stopwatch(file) as watch:
        pass
    assert stopwatch.Stopwatch(file).before == pytest.approx(watch.before, abs=0.3)
    file.write_text("[]")
    assert stopwatch.Stopwatch(file).before == 0
