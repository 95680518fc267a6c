import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from maeface.model import au
from maeface.model.au import AUModel, AUOutput, detection_loss_sum, intensity_loss_sum
from maeface.model.mae import MAE
from maeface.model.vit import ViT

REFERENCE = Path(__file__).parent / "reference" / "mae_face_classifier.safetensors"


def tiny(task="both", aus=(1, 12)) -> AUModel:
    torch.manual_seed(0)
    return AUModel(ViT((8, 1, 2), 16, 4), aus, task)


def test_features_and_logits_agree_with_the_reference():
    with safe_open(REFERENCE, "pt") as file:
        reference = {name: file.get_tensor(name) for name in file.keys()}
        sizes = json.loads(file.metadata()["config"])
    vit = ViT(
        (sizes["embed_dim"], sizes["depth"], sizes["num_heads"]), sizes["img_size"], sizes["patch_size"]
    )
    model = AUModel(vit, tuple(range(1, sizes["num_classes"] + 1)), "detection").double().eval()
    own = {name.removeprefix("encoder."): name for name in model.state_dict()}
    model.load_state_dict(
        {own[k.removeprefix("state.")]: v for k, v in reference.items() if k.startswith("state.")}
    )
    images = reference["input.images"]
    torch.testing.assert_close(model.features(images), reference["out.features"], rtol=0, atol=1e-9)
    torch.testing.assert_close(model(images).occurrence, reference["out.logits"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("task", "outputs"), [("detection", 2), ("intensity", 2), ("both", 4)])
def test_outputs_of_each_task(task, outputs):
    model = tiny(task)
    assert model.head.out_features == outputs
    output = model(torch.rand(3, 3, 16, 16))
    assert (output.occurrence is None) == (task == "intensity")
    assert (output.intensity is None) == (task == "detection")
    for values in output:
        assert values is None or values.shape == (3, 2)


def test_both_gives_occurrence_first():
    model = tiny("both")
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([10.0, 11.0, 0.1, 0.2]))
    output = model(torch.rand(1, 3, 16, 16))
    assert output.occurrence[0].tolist() == pytest.approx([10, 11], abs=0.01)
    assert output.intensity[0].tolist() == pytest.approx([0.1, 0.2], abs=0.01)
    assert output.intensities()[0].tolist() == pytest.approx([0.5, 1.0], abs=0.05)
    assert output.probabilities()[0].min() > 0.999


def test_intensities_are_clipped_to_the_scale():
    output = AUOutput(None, torch.tensor([[-0.3, 1.7]]))
    assert output.intensities().tolist() == [[0.0, 5.0]]
    assert output.probabilities() is None


def test_the_encoder_of_a_masked_autoencoder_goes_in_as_it_is():
    vit = ViT((8, 1, 2), 16, 4)
    MAE(vit, 8, 1, 2)
    assert not vit.pos_embed.requires_grad
    model = AUModel(vit, (1,), "detection")
    assert vit.pos_embed.requires_grad
    names = {name.removeprefix("encoder.").split(".")[0] for name in model.state_dict()}
    assert names == {"cls_token", "pos_embed", "patch_embed", "blocks", "fc_norm", "head"}  # and no norm
    with torch.no_grad():
        model.head.weight.normal_()  # the initial head is nearly 0
    model(torch.rand(2, 3, 16, 16)).occurrence.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_the_head_starts_near_zero():
    head = AUModel(ViT((64, 1, 2), 16, 4), tuple(range(40)), "detection").head
    assert head.weight.std().item() == pytest.approx(2e-5, rel=0.1)
    assert not head.bias.any()


def test_losses_are_sums_over_the_labels_that_are_there():
    logits, labels = torch.randn(3, 2), torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    expected = F.binary_cross_entropy_with_logits(logits[mask], labels[mask], reduction="sum")
    torch.testing.assert_close(detection_loss_sum(logits, labels, mask), expected)
    scale = labels * 5
    expected = F.mse_loss(logits[mask], labels[mask], reduction="sum")
    torch.testing.assert_close(intensity_loss_sum(logits, scale, mask), expected)


@pytest.mark.parametrize("loss", [detection_loss_sum, intensity_loss_sum])
@pytest.mark.parametrize("nothing", [float("nan"), -1.0, 9.0, float("inf")])
def test_missing_labels_give_no_gradient(loss, nothing):
    values = torch.randn(2, 3, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, True]])
    labels = torch.where(mask, 1.0, nothing)
    loss(values, labels, mask).backward()
    assert (values.grad[~mask] == 0).all()
    assert (values.grad[mask] != 0).all() and values.grad.isfinite().all()


@pytest.mark.parametrize("loss", [detection_loss_sum, intensity_loss_sum])
def test_without_any_label_the_loss_is_zero(loss):
    values = torch.randn(2, 3, requires_grad=True)
    value = loss(values, torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.bool))
    value.backward()
    assert value == 0 and not values.grad.any()


@pytest.mark.parametrize("task", ["detection", "intensity", "both"])
def test_sums_and_weights_of_parts_add_up_to_those_of_the_batch(task):
    model = tiny(task)
    with torch.no_grad():
        model.head.weight.normal_()
    images = torch.rand(4, 3, 16, 16)
    width = model.head.out_features
    labels, mask = torch.rand(4, width), torch.rand(4, width) < 0.6
    total, weight = au.loss_sum(model(images), labels, mask)
    parts = [au.loss_sum(model(images[i : i + 2]), labels[i : i + 2], mask[i : i + 2]) for i in (0, 2)]
    torch.testing.assert_close(parts[0][0] + parts[1][0], total)
    assert parts[0][1] + parts[1][1] == weight == mask.sum() / (2 if task == "both" else 1)


def test_loss_of_both_is_the_sum_of_its_parts():
    output = AUOutput(torch.randn(3, 2), torch.randn(3, 2))
    labels, mask = torch.rand(3, 4), torch.rand(3, 4) < 0.7
    expected = detection_loss_sum(output.occurrence, labels[:, :2], mask[:, :2]) + intensity_loss_sum(
        output.intensity, labels[:, 2:], mask[:, 2:]
    )
    assert au.loss_sum(output, labels, mask)[0] == expected


def test_losses_are_computed_in_float32():
    values = torch.randn(2, 2, dtype=torch.bfloat16)
    mask = torch.ones(2, 2, dtype=torch.bool)
    assert detection_loss_sum(values, torch.ones(2, 2), mask).dtype == torch.float32
    assert intensity_loss_sum(values, torch.ones(2, 2), mask).dtype == torch.float32
