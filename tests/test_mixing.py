"""Mixing of samples: who is mixed with whom, and that nothing depends on how a batch is divided."""

import numpy as np
import pytest
import torch

import drawn
from maeface import config, finetune
from maeface.data.loading.dataset import FaceDataset, gather_manifests
from maeface.data.loading.loader import Loader
from maeface.data.loading.sampling import BatchOrder, pair
from maeface.model import vit
from maeface.model.au import AUModel
from maeface.model.vit import ViT
from maeface.train.run import Run, list_differences

EVERYTHING = {"mixup": 0.8, "cutmix": 0.8, "erase": 0.5, "photometric": {"noise": 1.0, "light": 0.5}}


def kept(known, batch=None, seed=0):
    """The fraction of the known labels that is known in the mixtures."""
    order = np.random.default_rng(seed).permutation(len(known))
    size = batch or len(known)
    there = 0
    for first in range(0, len(known), size):
        rows = known[order[first : first + size]]
        places, partner = pair(rows)
        there += (rows[places] & rows[places][partner]).sum()
    return there / known.sum()


def test_every_sample_has_a_partner_whose_partner_it_is():
    known = np.random.default_rng(0).random((33, 4)) < 0.8
    order, partner = pair(known)
    assert sorted(order) == list(range(33))
    assert (partner[partner] == np.arange(33)).all()
    assert (np.abs(partner - np.arange(33)) <= 1).all()  # beside each other: few are needed from elsewhere
    assert pair(known)[0].tolist() == order.tolist()
    alone = partner == np.arange(33)
    assert known[order[~alone]].any(axis=1).all() and alone.sum() <= 1 + 2 * (~known.any(axis=1)).sum()


def test_of_two_merged_datasets_no_label_is_lost():
    """12 AUs of one and 8 of another, 4 of them in both, as BP4D and DISFA; half of each."""
    known = np.zeros((512, 16), dtype=bool)
    known[:300, :12], known[300:, 8:] = True, True
    assert kept(known) == 1.0
    order = np.random.default_rng(0).permutation(512)
    by_chance = (known[order] & known[order][::-1]).sum() / known.sum()
    assert by_chance < 0.75
    assert kept(known, batch=32) > 0.98


def test_labels_that_are_missing_at_random_are_mostly_kept():
    known = np.random.default_rng(0).random((512, 12)) < 0.9
    order = np.random.default_rng(1).permutation(512)
    by_chance = (known[order] & known[order][::-1]).sum() / known.sum()
    assert by_chance == pytest.approx(0.9, abs=0.02)
    assert kept(known) > 0.98


def test_samples_without_a_common_label_are_not_mixed():
    known = np.array([[True, False], [False, True], [False, False]])
    assert pair(known)[1].tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return drawn.faces(tmp_path_factory.mktemp("mixing") / "crops", 20)


def gradients(crops, micro_batch, world=1, batch=8, step=0):
    """Gradients of one step of a model with drop path, summed over micro-batches and processes."""
    settings = drawn.finetune(
        {"batch": batch}, EVERYTHING, {"precision": "fp32"}, {"drop_path": 0.4, "task": "detection"}
    )
    random = np.random.default_rng(0)
    mask = random.random((20, 3)) < 0.7
    labels = {"au": random.integers(0, 2, (20, 3)).astype(np.float32), "mask": mask}
    torch.manual_seed(0)
    model = AUModel(ViT((16, 3, 2), 16, 8, 0.4), (1, 4, 12), "detection").train()
    torch.nn.init.normal_(model.head.weight)
    data = FaceDataset(
        [crops], gather_manifests([crops]), 16, 3, labels, settings.data.randaugment, model.encoder.drop_draws
    )
    weights = 0.0
    for rank in range(world):
        run = Run(crops, settings.run, torch.device("cpu"), False, rank, world)
        loss = finetune.au_loss(run, settings, model)
        order = BatchOrder(20, batch, seed=3)
        loader = Loader(data, order, micro_batch, rank=rank, world=world, known=mask)
        for micro_batches in loader.steps(step, step + 1):
            for number, part in enumerate(micro_batches):
                torch.manual_seed(100 * rank + number)  # nothing may be drawn from torch's generator
                total, weight = loss(model, part, step)
                total.backward()
                weights += float(weight)
    return [value.grad / weights for value in model.parameters()], weights


@pytest.mark.parametrize(
    ("micro_batch", "world"), [(4, 1), (2, 1), (1, 1), (3, 1), (None, 2), (2, 2), (1, 3), (3, 3)]
)
def test_a_batch_in_parts_gives_the_gradients_of_the_whole(crops, micro_batch, world):
    whole, known = gradients(crops, 8)
    parts, same = gradients(crops, micro_batch, world)
    assert known == same
    assert max(float(each.abs().max()) for each in whole) > 0.01
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)


def test_a_last_smaller_batch_in_parts_gives_the_same_too(crops):
    whole, _ = gradients(crops, None, batch=7, step=2)  # 6 samples
    parts, _ = gradients(crops, 2, world=2, batch=7, step=2)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)


def test_the_weights_of_a_training_do_not_depend_on_the_micro_batch(crops, tmp_path, monkeypatch):
    monkeypatch.setitem(vit.SIZES, "tiny", vit.Shape(16, 2, 2))
    labels = drawn.labels(tmp_path / "labels.csv", 20)
    losses = []
    for micro_batch in (6, 2):
        optim = {"epochs": 2, "base_lr": 1e-3, "micro_batch": micro_batch}
        settings = drawn.finetune(
            optim, EVERYTHING | {"validation": 0.2}, {"precision": "fp32"}, {"drop_path": 0.3}
        )
        out = tmp_path / str(micro_batch)
        finetune.run(settings, [crops], labels, "random", out)
        losses.append([row["loss"] for row in finetune.journal.lines(out) if "loss" in row])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_micro_batch_may_change_unless_frames_are_compared_within_it():
    def changed(relative):
        before, now = (
            config.check(
                config.Finetune,
                {
                    "optim": drawn.OPTIM | {"micro_batch": size},
                    "relative": relative,
                    "data": {"mixup": 0.0, "cutmix": 0.0},
                },
            ).model_dump(mode="json")
            for size in (2, 3)
        )
        return list_differences(before, now)

    assert changed({}) == []
    assert changed({"measures": {12: "gap"}}) == ["optim.micro_batch: 2 -> 3"]
