import json

import pytest
import torch
from PIL import Image

import drawn
from maeface import pretrain
from maeface.errors import ConfigError, DataError, WeightsError
from maeface.model import vit, weights


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two blocks of 16: seconds."""
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return drawn.faces(tmp_path_factory.mktemp("pretrain") / "crops")


def test_weights_pictures_and_log_of_a_run(crops, tmp_path, capsys):
    path = pretrain.run(drawn.pretrain({"epochs": 6, "base_lr": 0.1}), [crops], tmp_path)
    metadata = weights.read_metadata(path)
    assert (metadata.kind, metadata.preprocessing.image_size) == ("mae", 16)
    assert json.loads(metadata.provenance["settings"])["optim"]["epochs"] == 6
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    evaluations = [row["validation_loss"] for row in rows if "validation_loss" in row]
    assert len(evaluations) == 6 and evaluations[-1] < evaluations[0]
    pictures = sorted((tmp_path / "reconstructions").iterdir())
    with Image.open(pictures[-1]) as picture:
        assert len(pictures) == 6 and picture.size[0] > 3 * 16
    assert (tmp_path / "curves.png").is_file()
    # 19 of 24 faces train in whole batches of 6
    assert sum("loss" in row for row in rows) == 6 * 3
    before = path.stat().st_mtime_ns
    capsys.readouterr()
    assert pretrain.run(drawn.pretrain({"epochs": 6, "base_lr": 0.1}), [crops], tmp_path) == path
    assert path.stat().st_mtime_ns == before and "finished" in capsys.readouterr().err


def test_accumulation_gives_the_weights_of_the_whole_batch(crops, tmp_path):
    chosen = {"run": {"precision": "fp32"}, "data": {"validation": 0.0}}
    whole = pretrain.run(drawn.pretrain(**chosen), [crops], tmp_path / "whole")
    parts = pretrain.run(drawn.pretrain({"micro_batch": 2}, **chosen), [crops], tmp_path / "parts")
    one, other = weights.load_mae(whole)[0], weights.load_mae(parts)[0]
    # key biases have no gradient but rounding, which Adam makes as large as any; others agree far better
    torch.testing.assert_close(one.state_dict(), other.state_dict(), atol=5e-5, rtol=1e-4)


def test_no_epochs_and_fewer_faces_than_a_batch(crops, tmp_path):
    none = pretrain.run(drawn.pretrain({"epochs": 0, "warmup_epochs": 0}), [crops], tmp_path / "none")
    assert weights.load_mae(none)[1].kind == "mae"
    few = pretrain.run(drawn.pretrain({"batch": 512, "epochs": 1}), [crops], tmp_path / "few")
    assert weights.load_mae(few)[1].kind == "mae"


def test_it_starts_from_weights(crops, tmp_path):
    first = pretrain.run(drawn.pretrain({"epochs": 1}), [crops], tmp_path / "first")
    none = {"epochs": 0, "warmup_epochs": 0}
    second = pretrain.run(drawn.pretrain(none, init=str(first)), [crops], tmp_path / "second")
    one, other = weights.load_mae(first)[0], weights.load_mae(second)[0]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_what_is_wrong_is_one_line(crops, tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        pretrain.run(drawn.pretrain(), [tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(ConfigError, match=r"no weights file nowhere\.pth"):
        pretrain.run(drawn.pretrain(init="nowhere.pth"), [crops], tmp_path / "out")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError):
        pretrain.run(drawn.pretrain(init=str(tmp_path / "text.pth")), [crops], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        pretrain.run(drawn.pretrain(), [tmp_path / "empty"], tmp_path / "out")


@pytest.mark.parametrize("write", [drawn.prepared, drawn.faces])
def test_a_run_does_not_go_on_with_crops_that_were_made_anew(tmp_path, write):
    folder, out, short = tmp_path / "crops", tmp_path / "out", drawn.pretrain({"epochs": 1})
    write(folder, 24, 32)
    path = pretrain.run(short, [folder], out)
    write(folder, 24, 40)  # the same ids
    with pytest.raises(
        ConfigError, match=r"out holds a run on other crops of the same faces: .* anew"
    ) as raised:
        pretrain.run(short, [folder], out)
    assert "\n" not in str(raised.value)
    write(folder, 24, 32)
    assert pretrain.run(short, [folder], out) == path
    settings = json.loads((out / "settings.json").read_text())
    assert len(settings["inputs"].pop("crops")) == 16
    (out / "settings.json").write_text(json.dumps(settings))
    assert pretrain.run(short, [folder], out) == path  # begun before there was a digest


def test_crops_on_the_device_give_the_same_weights(tmp_path):
    drawn.prepared(tmp_path / "crops")
    plain, device = (
        pretrain.run(drawn.pretrain(data={"on_device": one}), [tmp_path / "crops"], tmp_path / str(one))
        for one in (False, True)
    )
    one, other = (weights.load_mae(path)[0].state_dict() for path in (plain, device))
    assert all(torch.equal(one[name], other[name]) for name in one)
    # it may change when a run goes on
    settings = drawn.pretrain(data={"on_device": False})
    assert pretrain.run(settings, [tmp_path / "crops"], tmp_path / "True") == device
