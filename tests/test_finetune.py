import json

import numpy as np
import pytest
import torch

import drawn
from maeface import finetune, pretrain
from maeface.data.loading import photometric
from maeface.data.loading.dataset import FaceDataset, gather_manifests
from maeface.data.loading.split import select_labels
from maeface.data.tables.labels import join_labels
from maeface.errors import ConfigError, DataError
from maeface.model import au, vit, weights, zoo
from maeface.model.start import build_model
from maeface.train import scores


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two blocks of 16: seconds."""
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    base = tmp_path_factory.mktemp("finetune")
    return drawn.faces(base / "crops"), drawn.labels(base / "labels.csv")


def tune(faces, out, init="random", **chosen):
    return finetune.run(drawn.finetune(**chosen), [faces[0]], faces[1], init, out)


@pytest.mark.parametrize(
    ("task", "kinds"), [("detection", {"f1"}), ("intensity", {"icc"}), ("both", {"f1", "icc"})]
)
def test_each_task_gives_weights_scores_and_a_split_by_subject(faces, tmp_path, task, kinds):
    path = tune(faces, tmp_path, model={"task": task}, data={"folds": 4, "fold": 1, "validation": 0.3})
    model, metadata = weights.load_model(path)
    expected = (1, 4, 12) if task == "detection" else (4, 12)
    assert (metadata.task, metadata.aus, metadata.fold, metadata.dataset) == (task, expected, 1, "labels.csv")
    assert metadata.thresholds == ((0.5,) * len(expected) if task != "intensity" else ())
    output = model(torch.zeros(1, 3, 16, 16))
    shapes = [None if each is None else each.shape for each in (output.occurrence, output.intensity)]
    there = (1, len(expected))
    assert shapes == [there if task != "intensity" else None, there if task != "detection" else None]
    split = json.loads((tmp_path / "split.json").read_text())
    assert sorted(name for names in split.values() for name in names) == [f"S{n}" for n in range(8)]
    assert len(split["test"]) == 2 and len(split["validation"]) == 2
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    evaluations = next(row for row in rows if "validation_loss" in row)
    assert {name.split("/")[0] for name in evaluations if "/" in name} == kinds
    assert {f"{kind}_mean" for kind in kinds} <= evaluations.keys()


def test_the_test_fold_is_never_read(faces, tmp_path, monkeypatch):
    seen = set()
    inner = FaceDataset._pixels

    def pixels(self, index):
        seen.add(self.ids[index].as_py())
        return inner(self, index)

    monkeypatch.setattr(FaceDataset, "_pixels", pixels)
    tune(faces, tmp_path, data={"folds": 4, "fold": 0})
    test = json.loads((tmp_path / "split.json").read_text())["test"]
    held_out = {f"{n:02d}.png#0.0" for n in range(24) if f"S{n // 3}" in test}
    assert len(held_out) == 6 and len(seen) == 18 and not held_out & seen


def test_crops_on_the_device_give_the_same_weights_and_scores(faces, tmp_path):
    rows = []
    for name, on_device in (("plain", False), ("device", True)):
        data = {"randaugment": "", "on_device": on_device, "validation": 0.3}
        tune(faces, tmp_path / name, data=data)
        log = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        rows.append(
            [{key: row[key] for key in row if "per_s" not in key and "time" not in key} for row in log]
        )
    one, other = (
        weights.load_model(tmp_path / name / "weights.safetensors")[0] for name in ("plain", "device")
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert [row.get("validation_loss") for row in rows[0]] == [row.get("validation_loss") for row in rows[1]]


def test_folds_do_not_move_with_the_seed(faces, tmp_path):
    for seed in (1, 2):
        tune(faces, tmp_path / str(seed), run={"seed": seed}, data={"folds": 4}, optim={"epochs": 1})
    splits = [json.loads((tmp_path / str(seed) / "split.json").read_text()) for seed in (1, 2)]
    assert splits[0]["test"] == splits[1]["test"]


def test_it_starts_from_a_masked_autoencoder(faces, tmp_path):
    none = {"epochs": 0, "warmup_epochs": 0}
    mae = pretrain.run(drawn.pretrain({"epochs": 1}), [faces[0]], tmp_path / "mae")
    au = tune(faces, tmp_path / "au", str(mae), optim=none)
    before, after = weights.load_mae(mae)[0].encoder, weights.load_model(au)[0].encoder
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_it_learns_from_the_known_labels(faces, tmp_path):
    """AU04 is unknown for a quarter of the faces; AU12 alternates, which only the training faces can show."""
    options = {"optim": {"epochs": 30, "base_lr": 0.2, "layer_decay": 1.0}, "patience": None}
    tune(
        faces,
        tmp_path,
        **options,
        data={"randaugment": "", "mixup": 0, "cutmix": 0, "crop_scale": (0.9, 1.0)},
    )
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_both_takes_the_action_units_that_have_both_kinds(faces):
    labelled = join_labels(gather_manifests([faces[0]]), faces[1])
    aus, part = select_labels(labelled, drawn.finetune(model={"aus": (12, 4)}).model)
    assert aus == (12, 4) and part.labels.shape == (24, 4)
    assert part.labels[5].tolist() == [1, 0, 5, 0]  # AU12 and AU04, occurrence then intensity
    assert part.mask[0].tolist() == [True, True, True, False]


def test_labels_known_of_one_kind_only_are_learned_where_they_are(faces, tmp_path):
    """A teacher says occurrence of one AU and intensity of another; the rest of its rows is empty."""
    table = tmp_path / "labels.csv"
    rows = ["source,subject,AU12_o,AU12_i,AU04_o,AU04_i"]
    rows += [f"{n:02d}.png,S{n},{n % 2},{n % 6},{n % 2},{n % 6}" for n in range(12)]
    rows += [f"{n:02d}.png,T{n},{n % 2},,,{n % 6}" for n in range(12, 24)]
    table.write_text("\n".join(rows))
    _, part = select_labels(
        join_labels(gather_manifests([faces[0]]), table),
        drawn.finetune(model={"aus": (12, 4)}).model,
    )
    assert part.mask[11].all() and part.mask[12].tolist() == [True, False, False, True]
    assert not np.isnan(part.labels).any()
    plain = {"randaugment": "", "mixup": 0, "cutmix": 0, "validation": 0.25}
    path = finetune.run(drawn.finetune(data=plain), [faces[0]], table, "random", tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["loss"]) for row in log if "loss" in row)
    assert any("validation_loss" in row for row in log)
    kept = json.loads((tmp_path / "run" / "split.json").read_text())
    assert len(kept["validation"]) == 6 and not set(kept["validation"]) & set(kept["train"])
    assert weights.load_model(path)[1].task == "both"


def test_unknown_labels_give_no_gradient(faces):
    model = build_model(drawn.finetune(model={"aus": (12, 4)}), (12, 4), "random")[0]
    images, labels = torch.rand(2, 3, 16, 16), torch.tensor([[1.0, 0, 5, 0], [0, 1, 0, 3]])
    mask = torch.tensor([[True, False, False, True], [False, False, False, False]])
    summed, weight = au.loss_sum(model(images), labels, mask)
    summed.backward()
    assert weight == 1  # two labels of four kinds of output, halved for "both"
    assert [bool(row.any()) for row in model.head.weight.grad] == [True, False, False, True]


def test_faces_of_one_name_in_two_folders_are_refused(faces, tmp_path):
    other = drawn.faces(tmp_path / "other", 3)
    with pytest.raises(DataError, match=r"two of the data folders have a face called 00\.png#0\.0"):
        finetune.run(drawn.finetune(), [faces[0], other], faces[1], "random", tmp_path / "run")


def test_photometric_changes_reach_training(faces, tmp_path, monkeypatch):
    seen = []
    inner = photometric.apply
    monkeypatch.setattr(photometric, "apply", lambda *given: seen.append(given[2]) or inner(*given))
    tune(faces, tmp_path, data={"photometric": {"jpeg": 1.0, "noise": 0.5}}, optim={"epochs": 1})
    assert seen and all(how.jpeg == 1.0 for how in seen)


def test_weights_of_the_package_are_a_start_by_name(faces, tmp_path, monkeypatch):
    first = tune(faces, tmp_path / "first", optim={"epochs": 1})
    (tmp_path / "zoo").mkdir()
    weights.repack(first, tmp_path / "zoo" / "small.safetensors", "bf16", part_bytes=20_000)
    monkeypatch.setattr(zoo, "folder", lambda: tmp_path / "zoo")
    none = {"epochs": 0, "warmup_epochs": 0}
    second = tune(faces, tmp_path / "second", "small", optim=none)
    before, after = (weights.load_model(path)[0].encoder.state_dict() for path in (first, second))
    assert all(torch.equal(after[name], value.bfloat16().float()) for name, value in before.items())


def test_scores_follow_the_columns():
    arrays = {
        "labels": np.array([[1, 0, 5, 0], [0, 0, 0, 1], [1, 1, 3, 2.0]]),
        "mask": np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 1]], dtype=bool),
        "occurrence": np.array([[0.9, 0.9], [0.1, 0.2], [0.5, 0.1]]),
        "intensity": np.array([[5, 0], [0, 1], [3, 2.0]]),
    }
    found = scores.compute_scores((12, 4), arrays)
    assert found["f1/AU12"] == 1 and found["f1/AU04"] == 0 and found["f1_mean"] == 0.5
    assert found["icc/AU12"] == found["icc/AU04"] == pytest.approx(1)


def test_what_is_wrong_is_one_line(faces, tmp_path):
    with pytest.raises(DataError, match=r"no intensity of AU01; they have: AU04, AU12"):
        tune(faces, tmp_path, model={"aus": (1, 12)})
    with pytest.raises(DataError, match=r"no occurrence of AU45; they have: AU01, AU04, AU12"):
        tune(faces, tmp_path, model={"aus": (45,), "task": "detection"})
    with pytest.raises(DataError, match="9 folds"):
        tune(faces, tmp_path, data={"folds": 9})
    with pytest.raises(ConfigError, match="no weights file"):
        tune(faces, tmp_path, "nowhere.pth")
    with pytest.raises(ConfigError):
        finetune.run(drawn.finetune(), [faces[0]], tmp_path / "no.csv", "random", tmp_path / "out")
