"""Intensities of the left and the right side of the face: labels, model, weights files and training."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import drawn
from maeface import facts, finetune
from maeface.data import manifest
from maeface.data.loading.split import join_labels, select_labels
from maeface.data.tables import labels as label_tables
from maeface.data.tables.predictions import read_predictions
from maeface.errors import ConfigError, DataError
from maeface.model import au, vit, weights
from maeface.model.arrays import load_arrays
from maeface.model.au import AUModel, AUOutput
from maeface.model.file_format.description import describe
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.preprocessing import to_input
from maeface.model.vit import ViT
from maeface.train.scores import compute_scores

TASKS = ("detection", "intensity", "both")
PLAIN = {"randaugment": "", "mixup": 0, "cutmix": 0, "crop_scale": (1.0, 1.0), "validation": 0.25}


def model(task="both", sides=(12, 4), seed=0):
    torch.manual_seed(seed)
    made = AUModel(ViT((16, 1, 2), 16, 8), (1, 4, 12), task, sides).eval()
    for layer in (made.head, made.side_head):
        if layer is not None:
            torch.nn.init.normal_(layer.weight)
    return made


def save(path, made):
    weights.save(path, made, describe(made, Preprocessing(image_size=16)))
    return path


# labels ------------------------------------------------------------------------------------------------


def test_a_capital_letter_is_a_side_and_a_small_one_is_of_openface():
    assert facts.au_column("AU12_L") == (12, "left") and facts.au_column("AU12_R") == (12, "right")
    assert facts.au_column(" AU12_r") == (12, "intensity") and facts.au_column("au12_l") is None


def table(path, text):
    path.write_text(text)
    return path


def test_sides_are_read_with_their_mask_and_written_again(tmp_path):
    faces = drawn.faces(tmp_path / "crops", 3)
    rows = "source,AU12_o,AU12_R,AU12_L,AU04_L,AU04_R\n00.png,1,0.5,5,,\n01.png,1,,,1,2\n"
    path = table(tmp_path / "labels.csv", rows)
    found = label_tables.join_labels(manifest.load(faces), path)
    assert found.aus_sides == (4, 12) and found.sides.dtype == np.float32
    assert found.sides.tolist() == [[0, 5, 0, 0.5], [1, 0, 2, 0]]
    assert found.sides_mask.tolist() == [[False, True, False, True], [True, False, True, False]]
    again = found.table()
    assert list(again)[3:] == ["AU12_o", "AU04_L", "AU12_L", "AU04_R", "AU12_R"]
    assert again["AU12_L"][0] == 5 and np.isnan(again["AU12_L"][1])
    plain = label_tables.join_labels(
        manifest.load(faces), table(tmp_path / "p.csv", "source,AU12_o\n00.png,1")
    )
    assert plain.aus_sides == () and plain.sides.shape == (1, 0)
    assert list(plain.table()) == ["id", "subject", "clip", "AU12_o"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,AU12_o,AU12_L\na,1,2", "has AU12_L, the intensity of one side, but no AU12_R; give both"),
        ("source,AU12_C,AU12_R\na,1,2", r"has AU12_R, .* but no AU12_L; .*OpenFace are AU12_r"),
        ("source,AU12_L,AU12_R\na,1,1\nb,1,", "line 3: only one of AU12_L and AU12_R is known; give both or"),
        ("source,AU12_L,AU12_R\na,1,5.5", "line 2: AU12_R is 5.5; expected 0 to 5"),
        ("source,AU12_L,AU12_R\na,1,2\na,2,1", "line 2 and line 3 give different labels"),
    ],
)
def test_wrong_sides_are_one_clear_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        label_tables.read_labels(table(tmp_path / "labels.csv", text))


def test_predictions_with_sides_are_read_as_those_without(tmp_path):
    path = table(tmp_path / "p.csv", "input,AU12_p,AU12_L,AU12_R\na.jpg,0.5,3,4")
    read = read_predictions(path)
    assert read.detection[12].tolist() == [0.5] and read.intensity == {}


def test_predictions_with_one_side_alone_may_be_of_openface_in_capitals(tmp_path):
    path = table(tmp_path / "p.csv", "input,AU12_c,AU12_R\na.jpg,1,3")
    with pytest.raises(DataError, match=r"AU12_R, .* but no AU12_L; give both .*OpenFace are AU12_r"):
        read_predictions(path)


# model and weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_have_sides_from_a_layer_of_their_own(task):
    with_sides, features = model(task), torch.rand(2, 16)
    output = with_sides.forward_head(features)
    assert output.sides.shape == (2, 4)
    torch.testing.assert_close(output.sides, with_sides.side_head(features))
    assert (output.occurrence is None, output.intensity is None) == (task == "intensity", task == "detection")
    plain = model(task, ())
    assert plain.forward_head(features).sides is None and plain.side_head is None


def test_sides_are_left_then_right_and_clipped():
    output = AUOutput(None, torch.zeros(1, 2), torch.tensor([[-0.2, 0.5, 0.25, 3.0]]))
    assert [side.tolist() for side in output.side_intensities()] == [[[0.0, 2.5]], [[1.25, 5.0]]]
    assert AUOutput(None, torch.zeros(1, 2)).side_intensities() is None


@pytest.mark.parametrize("sides", [(17,), (12, 12)])
def test_sides_are_of_the_models_action_units_each_once(sides):
    with pytest.raises(ConfigError, match=rf"model.sides: expected each AU once, .*; got {sides[0]}"):
        model(sides=sides)


def test_the_layer_of_the_sides_is_taken_from_a_model_with_the_same_ones():
    other, features = model(seed=1), torch.rand(3, 16)
    same = model()
    same.take_head(other)
    torch.testing.assert_close(same.forward_head(features).sides, other.forward_head(features).sides)
    for sides in ((), (4, 12)):
        fresh = model(sides=sides)
        before = None if fresh.side_head is None else fresh.side_head.weight.clone()
        fresh.take_head(other)
        torch.testing.assert_close(fresh.head.weight, other.head.weight)
        assert before is None or torch.equal(fresh.side_head.weight, before)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_weights_keep_their_sides_however_they_are_stored(tmp_path, dtype):
    made = model()
    path = weights.repack(save(tmp_path / "a.safetensors", made), tmp_path / "b.safetensors", dtype)[0]
    found, metadata = weights.load_model(path)
    assert metadata.sides == found.sides == (12, 4) and metadata.format_version == 5
    features = torch.rand(2, 16)
    torch.testing.assert_close(
        found.forward_head(features).sides, made.forward_head(features).sides, atol=0.05, rtol=0.05
    )
    values, read = load_arrays(path)
    assert read.sides == (12, 4) and values["side_head.weight"].shape == (4, 16)
    assert not {
        name for name in load_file(save(tmp_path / "c.safetensors", model(sides=()))) if "side" in name
    }


def test_the_head_can_be_replaced_beside_the_sides(tmp_path):
    made = model()
    path = save(tmp_path / "a.safetensors", made)
    changed = {"head.weight": torch.ones_like(made.head.weight), "head.bias": made.head.bias.detach()}
    weights.write_metadata(path, weights.read_metadata(path), changed)
    found = weights.load_model(path)[0]
    assert bool((found.head.weight == 1).all())
    assert torch.equal(found.side_head.weight, made.side_head.weight)


# training ----------------------------------------------------------------------------------------------


def test_all_sides_of_a_face_weigh_like_its_intensities_and_missing_ones_give_no_gradient():
    made = model("intensity")  # 3 AUs, 2 of them with sides
    values = torch.zeros(1, 3), torch.zeros(1, 4)
    full = torch.cat([torch.full((1, 3), 5.0), torch.full((1, 4), 5.0)], dim=1)
    total, weight = au.loss_sum(AUOutput(None, *values), full, torch.ones(1, 7, dtype=torch.bool))
    assert (float(total), float(weight)) == (6.0, 3.0)  # 3 from the intensities, 3 from the sides
    mask = torch.tensor([[True, True, True, True, False, True, False]])  # photographs have none at all
    output = made(torch.rand(1, 3, 16, 16))
    au.loss_sum(output, torch.full((1, 7), torch.nan).masked_fill(mask, 5.0), mask)[0].backward()
    assert [bool(row.any()) for row in made.side_head.weight.grad] == [True, False, True, False]
    assert made.head.weight.grad.isfinite().all()


def half_lit(folder, count=24):
    """Grey squares; the white half is where the face moves. The subject's left is right in the picture."""
    folder.mkdir()
    rows = ["source,subject,AU12_o,AU12_i,AU12_L,AU12_R"]
    for n in range(count):
        pixels = np.full((32, 32, 3), 60 + 2 * n, np.uint8)
        left, right = (5, 0) if n % 2 else (0, 5)
        pixels[8:24, 18 : 30 if left else 18] = 250
        pixels[8:24, 2 : 14 if right else 2] = 250
        Image.fromarray(pixels).save(folder / f"{n:02d}.png")
        rows.append(f"{n:02d}.png,S{n},1,5,{left},{right}")
    return table(folder.parent / "labels.csv", "\n".join(rows))


@pytest.mark.parametrize(("task", "guided"), [("both", False), ("intensity", True)])
def test_sides_are_learned_though_half_of_the_faces_are_mirrored(tmp_path, monkeypatch, task, guided):
    """If mirroring did not exchange the labels, every picture would have either label as often."""
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(32, 2, 2))
    labels = half_lit(tmp_path / "crops")
    settings = drawn.finetune(
        model={"sides": [12], "task": task},
        data=PLAIN | {"validation": 0},
        optim={"epochs": 60, "base_lr": 0.1, "layer_decay": 1.0},
        run={"precision": "fp32"},
        patience=None,
    )
    guide = None
    if guided:
        rows = manifest.load(tmp_path / "crops")
        guide = tmp_path / "guide.parquet"
        rows[["id"]].assign(gap=np.arange(len(rows), dtype=float)).to_parquet(guide)
    path = finetune.run(settings, [tmp_path / "crops"], labels, "random", tmp_path / "run", guide)
    found, metadata = weights.load_model(path)
    assert metadata.sides == (12,)
    pixels = np.stack([np.asarray(Image.open(file)) for file in sorted((tmp_path / "crops").iterdir())])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    with torch.inference_mode():
        left, right = found(to_input(images, 16)).side_intensities()
    stronger_left = (left > right + 2)[:, 0].tolist()
    stronger_right = (right > left + 2)[:, 0].tolist()
    assert stronger_left == [bool(n % 2) for n in range(24)] == [not one for one in stronger_right]


def test_the_score_of_the_sides_is_their_mean_icc():
    labels = np.array([[1, 0, 5], [0, 5, 0], [1, 2, 1.0], [0, 9, 9]])  # occurrence; left, right
    arrays = {
        "labels": labels,
        "mask": np.array([[True] * 3] * 3 + [[True, False, False]]),
        "occurrence": np.full((4, 1), 0.5),
        "sides": np.array([[0, 5], [5, 0], [2, 1], [3, 3.0]]),
    }
    assert compute_scores((12,), arrays)["icc_sides_mean"] == pytest.approx(1)
    arrays["mask"][:, 1:] = False  # photographs only
    assert "icc_sides_mean" not in compute_scores((12,), arrays)


def test_mixed_faces_have_mixed_sides(tmp_path, monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    labels = half_lit(tmp_path / "crops", 8)
    seen = []

    def spy(output, labels, mask, pos_weight):
        seen.append(labels)
        return au_loss_sum(output, labels, mask, pos_weight)

    au_loss_sum = au.loss_sum
    monkeypatch.setattr(au, "loss_sum", spy)
    settings = drawn.finetune(model={"sides": [12]}, data=PLAIN | {"mixup": 0.8})
    finetune.run(settings, [tmp_path / "crops"], labels, "random", tmp_path / "run")
    sides = torch.cat([batch[:, 2:] for batch in seen if batch.shape[1] == 4])  # after one of each kind
    torch.testing.assert_close(sides.sum(dim=1), torch.full((len(sides),), 5.0))
    assert bool(((sides > 0.1) & (sides < 4.9)).any())
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all("icc_sides_mean" in row for row in rows if "validation_loss" in row)


def test_sides_that_the_labels_lack_are_named_and_tables_without_them_are_as_before(tmp_path):
    faces, labels = drawn.faces(tmp_path / "crops"), drawn.labels(tmp_path / "labels.csv")
    labelled = join_labels([faces], labels)
    with pytest.raises(DataError, match="the labels have no sides of AU12; they have: none"):
        select_labels(labelled, drawn.finetune(model={"sides": [12]}).model)
    _, part = select_labels(labelled, drawn.finetune().model)
    assert part.labels.shape == (24, 4)


def test_weights_without_sides_can_begin_a_training_with_them(tmp_path, monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    labels, none = half_lit(tmp_path / "crops", 8), {"epochs": 0, "warmup_epochs": 0}
    plain = finetune.run(drawn.finetune(data=PLAIN), [tmp_path / "crops"], labels, "random", tmp_path / "a")
    settings = drawn.finetune(model={"sides": [12], "keep_head": True}, data=PLAIN, optim=none)
    again = finetune.run(settings, [tmp_path / "crops"], labels, str(plain), tmp_path / "b")
    before, after = (weights.load_model(path)[0] for path in (plain, again))
    assert torch.equal(before.head.weight, after.head.weight) and after.sides == (12,)
