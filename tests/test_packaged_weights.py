"""The weights that come with the package: there, small, whole, and at work on a fresh machine."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maeface import aus, evaluate, facts, files, predict
from maeface.data import manifest
from maeface.data.shards import Shards
from maeface.demo import LABELS, sample_folder
from maeface.faces import media
from maeface.model import licences, weights, zoo
from maeface.model.trust import trust_of
from maeface.prediction.predictor import Predictor
from maeface.serve import Settings
from maeface.service.service import Service

ROOT = Path(__file__).parents[1]
ROOM = 3_000_000
"""Bytes of the default weights in the wheel, at most."""


def test_the_default_is_there_and_small():
    assert zoo.DEFAULT in zoo.names()
    files = weights.files_of(weights.find())
    assert sum(file.stat().st_size for file in files) <= ROOM
    for name in zoo.names():
        assert all(file.stat().st_size <= 16 * 2**20 for file in weights.files_of(weights.find(name)))


@pytest.mark.parametrize("name", zoo.names())
def test_it_knows_what_it_is(name):
    model, metadata = weights.load_model(weights.find(name))
    assert {au for au, check in metadata.checks.items() if check.on == "real"} >= {6, 12, 25}
    assert 1.1e6 < sum(parameter.numel() for parameter in model.parameters()) < 1.3e6
    assert licences.is_free(licences.licence_of(weights.find(name)))
    assert metadata.task == "both" and set(metadata.aus) <= set(facts.dataset("synthau").aus_occurrence)
    assert {"settings", "recipe", "stored_as"} <= metadata.provenance.keys()


def test_it_reads_faces_that_it_has_never_seen(tmp_path):
    """The demo's sample is of other people than those that it learned from; chance is an AUC of 0.5."""
    rows = manifest.load(sample_folder())
    rows = rows[rows["clip"].isna()].iloc[::4]
    shards = Shards(sample_folder())
    places = zip(rows["shard"], rows["offset"], rows["size"], strict=True)
    crops = [media.decode_image(shards.read_range(*place), "jpeg") for place in places]
    table = Predictor(aligned=True, device="cpu")(crops)
    table.assign(id=rows["id"].to_numpy()).to_parquet(tmp_path / "predictions.parquet")
    scores = evaluate.run(sample_folder() / LABELS, tmp_path / "predictions.parquet")
    assert scores.table.loc[[12, 25, 26], "auc"].min() > 0.8


def test_a_photo_needs_nothing_but_its_name(tmp_path, capsys):
    shards, rows = Shards(sample_folder()), manifest.load(sample_folder())
    row = rows.iloc[0]
    picture = Image.open(io.BytesIO(shards.read_range(row["shard"], row["offset"], row["size"])))
    picture.save(tmp_path / "face.png")
    predict.run([tmp_path / "face.png"], None, None, aligned=True, device="cpu")
    assert capsys.readouterr().out.startswith("face.png, face 0: ")
    predict.run([tmp_path / "face.png"], zoo.DEFAULT, tmp_path / "p.csv", aligned=True, device="cpu")
    values = pd.read_csv(tmp_path / "p.csv").filter(regex=r"_[pi]$").to_numpy()
    assert values.shape == (1, 40) and np.isfinite(values).all()


@pytest.fixture
def detector_weights(shared, monkeypatch):
    monkeypatch.setenv("MAEFACE_WEIGHTS", str(shared / "weights"))


@pytest.mark.parametrize("name", zoo.names())
def test_smiles_of_real_people(shared, detector_weights, tmp_path, name):
    """Held-out portraits against the labels in the package; bounds well below what the model card reports."""
    photos = [shared / "photos" / "congress" / photo for photo in sorted(facts.held_out_portraits())]
    predict.run(photos, name, tmp_path / "p.parquet", faces="largest", device="cpu")
    labels = Path(evaluate.__file__).parent / "datasets" / "portraits.csv"
    scores = evaluate.run(labels, tmp_path / "p.parquet")
    assert (
        scores.table.loc[12, "auc"] > 0.94
        and scores.table.loc[25, "auc"] > 0.94
        and scores.table.loc[6, "auc"] > 0.82
    )


def test_the_model_card_is_about_the_default():
    """Its first table has the checks that are in the file, and what the rule makes of them."""
    card = (ROOT / "MODEL_CARD.md").read_text()
    metadata = weights.read_metadata(weights.find())
    assert zoo.DEFAULT in card.splitlines()[0] and files.sha256(weights.find()) in card
    rows = dict(re.findall(r"^\| AU(\d+) [^|]+ \| (.*) \|$", card, flags=re.MULTILINE))
    assert set(rows) == set(map(str, metadata.aus))
    for au, trust in trust_of(metadata).items():
        portraits, *_, use = rows[str(au)].split(" | ")
        one = trust.check
        text = f"{one.auc:.3f} [{one.low:.3f}, {one.high:.3f}] ({one.present})" if one.on == "real" else "–"
        assert portraits == text and use.strip("*") == trust.advice, f"AU{au}"


def test_the_comparison_has_the_figures_of_the_model_card():
    card, page = ((ROOT / name).read_text() for name in ("MODEL_CARD.md", "docs/comparison.md"))
    block = re.search(r"<!-- portraits: .*?<!-- end of portraits -->", card, flags=re.DOTALL)
    rows = r"^\| (\d+) \| (\d+) \| ([^|]+) \| ([^|]+) \|"
    checked = {row for row in re.findall(rows, block[0], flags=re.MULTILINE) if row[2] != "–"}
    assert checked == set(re.findall(rows, page, flags=re.MULTILINE)) and len(checked) == 6


@pytest.mark.parametrize("page", ["README.md", "docs/user_guide/predict.md"])
def test_the_example_of_a_photo_is_true(page, capsys):
    photo = ROOT / "docs" / "images" / "astronaut.jpg"
    predict.run([photo], None, None, detector="embedded", device="cpu")
    said, written = capsys.readouterr().out, (ROOT / page).read_text()
    line = next(line for line in written.splitlines() if line.startswith("astronaut.jpg, face 0"))
    values = [re.findall(r"(AU\d+) [^;]+? ([\d.]+) \(([\d.]+)\)", text) for text in (said, line)]
    assert [au for au, *_ in values[0]] == [au for au, *_ in values[1]] == ["AU12", "AU25"]
    for ours, theirs in zip(*values, strict=True):
        np.testing.assert_allclose(np.array(ours[1:], float), np.array(theirs[1:], float), atol=0.15)


def test_the_command_the_card_and_the_service_advise_the_same(tmp_path):
    card = (ROOT / "MODEL_CARD.md").read_text()
    of_card = {
        int(au): use for au, use in re.findall(r"^\| AU(\d+) .*\| \**([a-z ]+)\** \|$", card, re.MULTILINE)
    }
    lines = aus.render(aus.run()).splitlines()
    of_service = Service(Settings(folder=tmp_path)).aus
    assert set(of_card) == {int(name[2:]) for name in of_service} and len(of_card) == 20
    for name, one in of_service.items():
        said = of_card[int(name[2:])]
        line = next(line for line in lines if line.startswith(f"{name} "))
        assert one.advice == said and one.use == (said != "no"), name
        assert f". {aus.ADVICE[said]}: {one.checked}" in line, name
