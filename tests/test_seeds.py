"""``finetune --seeds``: the same training with several seeds, and mean and spread of its scores."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn.metrics import f1_score, mean_absolute_error, roc_auc_score
from typer.testing import CliRunner

import drawn
from maeface import checks, cli, finetune
from maeface.errors import ConfigError
from maeface.model import preprocessing, vit
from maeface.model.weights import load_model
from maeface.prediction import seeds


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    monkeypatch.delenv("WORLD_SIZE", raising=False)


def table(*values, metric="f1", au="avg"):
    return pd.DataFrame(
        [("test", metric, au, value) for value in values[:1]], columns=["part", "metric", "au", "value"]
    )


def test_mean_deviation_and_interval_are_those_of_student():
    values = [0.5, 0.6, 0.85, 0.4]
    (row,) = seeds.pool({7 + k: table(value) for k, value in enumerate(values)}).to_dict("records")
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (row["mean"], row["sd"]) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
    assert (row["low"], row["high"]) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
    assert (row["seeds"], row["seed 7"], row["seed 10"]) == (4, 0.5, 0.4)
    for freedom in (1, 2, 30, 1000):
        assert seeds._t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-5)


def test_a_score_that_seeds_lack_is_told_by_their_number():
    (row,) = seeds.pool({0: table(0.5), 1: table(np.nan), 2: table(np.nan)}).to_dict("records")
    assert (row["seeds"], row["mean"]) == (1, 0.5) and np.isnan([row["sd"], row["low"], row["high"]]).all()


def test_each_seed_is_a_training_of_its_own_whose_test_faces_are_scored(tmp_path, capsys):
    faces, labels = drawn.faces(tmp_path / "crops"), drawn.labels(tmp_path / "labels.csv")
    settings = drawn.finetune(data={"folds": 4, "randaugment": ""}, run={"precision": "fp32"})
    arguments = (settings, [faces], labels, "random")
    made = finetune.run_seeds([3, 5], *arguments, tmp_path / "out")
    assert set(made["part"]) == {"test"} and set(made["au"]) == {"avg", "AU04", "AU12"}
    assert list(made["metric"].unique()) == [*seeds.DETECTION, *seeds.INTENSITY]
    alone = drawn.finetune(data={"folds": 4, "randaugment": ""}, run={"precision": "fp32", "seed": 5})
    weights = finetune.run(alone, [faces], labels, "random", tmp_path / "alone")
    same = tmp_path / "out" / "seed-5" / "weights.safetensors"
    assert same.read_bytes() == weights.read_bytes()

    # the scores are those of the network's values for the faces of the test subjects
    rows = pd.read_csv(labels)
    tested = rows[rows["subject"].isin(json.loads((tmp_path / "alone" / "split.json").read_text())["test"])]
    model, metadata = load_model(weights)
    images = [np.asarray(Image.open(faces / name).convert("RGB")) for name in tested["source"]]
    with torch.no_grad():
        output = model(preprocessing.to_input(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), 16))
    column = metadata.aus.index(12)
    found = {name: values[:, column].numpy() for name, values in output.values().items()}
    for metric, value in (
        ("auc", roc_auc_score(tested["AU12_o"], found["occurrence"])),
        ("f1", f1_score(tested["AU12_o"], found["occurrence"] >= 0.5)),
        ("mae", mean_absolute_error(tested["AU12_i"], found["intensity"])),
    ):
        mine = made[(made["metric"] == metric) & (made["au"] == "AU12")]["seed 5"].item()
        assert mine == pytest.approx(value, abs=1e-3), metric

    # again: nothing is trained, and the table is the same
    stored = (tmp_path / "out" / "seeds.csv").read_bytes()
    capsys.readouterr()
    pd.testing.assert_frame_equal(finetune.run_seeds([3, 5], *arguments, tmp_path / "out"), made)
    assert (tmp_path / "out" / "seeds.csv").read_bytes() == stored
    assert capsys.readouterr().err.count("is finished") == 2


def test_what_cannot_be_scored_or_started_is_refused_before_any_training(tmp_path, monkeypatch):
    faces, labels = drawn.faces(tmp_path / "crops"), drawn.labels(tmp_path / "labels.csv")

    def begin(given, data=None):
        finetune.run_seeds(given, drawn.finetune(data=data), [faces], labels, "random", tmp_path / "out")

    with pytest.raises(ConfigError, match=r"there is no held-out face to score; set data\.folds, "):
        begin([0, 1], {"validation": 0})
    with pytest.raises(ConfigError, match="seeds needs two different seeds or more"):
        begin([1, 1])
    with checks.name_options(), pytest.raises(ConfigError, match="--seeds needs two different"):
        begin([1])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"finetune --seeds: expected one process, got 2 .*seed-N may use"):
        begin([0, 1])
    assert not list(tmp_path.glob("out/*"))


def test_the_command_prints_the_table(tmp_path, capsys):
    faces, labels = drawn.faces(tmp_path / "crops"), drawn.labels(tmp_path / "labels.csv")
    small = [
        "model.size=tiny",
        "model.image_size=16",
        "model.patch_size=8",
        "run.device=cpu",
        "run.workers=0",
    ]
    small += ["optim.epochs=1", "optim.warmup_epochs=0", "optim.batch=8", "data.randaugment="]
    sets = [word for change in small for word in ("--set", change)]
    command = ["finetune", "detection", "--data", str(faces), "--labels", str(labels), "--init", "random"]
    done = CliRunner().invoke(cli.app, [*command, "--out", str(tmp_path / "out"), "--seeds", "0, 1", *sets])
    assert done.exit_code == 0, done.output
    assert "f1" in done.stdout and "2 seeds, validation faces" in done.stdout
    wrong = CliRunner().invoke(cli.app, [*command, "--out", str(tmp_path / "out"), "--seeds", "0,x"])
    assert isinstance(wrong.exception, ConfigError)
    assert str(wrong.exception) == "--seeds is '0,x'; expected whole numbers, such as 0,1,2"
