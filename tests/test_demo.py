import re

import pandas as pd
import pytest

from maeface import config, demo, finetune
from maeface.data import manifest
from maeface.model import zoo

SMALL = ["optim.epochs=1", "optim.warmup_epochs=0", "run.device=cpu"]


def test_no_subject_is_on_both_sides_and_all_clips_are_unseen():
    rows = manifest.load(demo.sample_folder())
    for seed in range(5):
        seen, unseen = demo.split(rows, seed)
        assert not set(seen["subject"]) & set(unseen["subject"])
        assert unseen["subject"].nunique() == demo.UNSEEN_SUBJECTS
        assert seen["clip"].isna().all() and unseen["clip"].notna().any()
        assert len(seen) + len(unseen) == len(rows)


def test_the_sample_is_whole():
    rows = manifest.load(demo.sample_folder())
    labels = pd.read_parquet(demo.sample_folder() / demo.LABELS)
    assert set(rows["id"]) == set(labels["id"])
    assert rows["subject"].nunique() == 40
    crops = demo._crops(demo.sample_folder(), rows.iloc[::50])
    assert {crop.shape for crop in crops} == {(128, 128, 3)}


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return demo.run(tmp_path_factory.mktemp("demo"), overrides=SMALL)


def test_the_report_opens_by_itself(summary):
    html = summary.report.read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert html.count("<img") >= 3 + 2 + 3 + 2
    for part in ("Pre-training", "Fine-tuning", "Unseen faces", "clip"):
        assert part in html


def test_scores_are_those_of_the_tables_that_are_left(summary):
    from maeface import evaluate

    folder = summary.report.parent / "from-mae"
    again = evaluate.run(folder / "labels.csv", folder / "predictions.csv")
    assert again.matched == 200
    assert again.means["icc"] == pytest.approx(summary.scores.loc[demo.MAE, "icc"], abs=1e-12)
    assert {demo.MAE, demo.SCRATCH} <= set(summary.scores.index)


def test_shipped_weights_predict_too(summary, tmp_path, monkeypatch):
    """With weights of more action units than the demo's in the place of the package's own."""
    out = summary.report.parent
    recipe = config.load(
        config.Finetune, "demo-finetune", [*SMALL, "optim.epochs=0", "model.aus=[1,2,4,6,9,12,17,25,26]"]
    )
    faces = next(out.glob("faces-*"))
    made = finetune.run(recipe, [faces], demo.sample_folder() / demo.LABELS, "random", tmp_path / "other")
    (tmp_path / "zoo").mkdir()
    made.rename(tmp_path / "zoo" / "maeface-nano.safetensors")
    monkeypatch.setattr(zoo, "folder", lambda: tmp_path / "zoo")
    again = demo.run(out, overrides=SMALL)
    assert list(again.scores.index) == [demo.MAE, demo.SCRATCH, demo.SHIPPED]
    assert again.scores.loc[demo.SHIPPED].notna().any()
    html = again.report.read_text()
    assert "Unseen faces, maeface-nano" in html and "comes with the package" in html
    columns = pd.read_csv(out / "maeface-nano" / "predictions.csv").columns
    assert "AU12_p" in columns and "AU17_p" not in columns


def test_the_table_for_the_terminal_has_both(summary):
    from rich.console import Console

    console = Console(width=100)
    with console.capture() as captured:
        console.print(demo.render(summary))
    assert demo.MAE in captured.get() and demo.SCRATCH in captured.get()
