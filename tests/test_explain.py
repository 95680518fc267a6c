"""Explanations: maps depend on the weights, find what a model reads, and become pictures of photos."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import maeface
from maeface.data import manifest
from maeface.data.ingest.images import load_images
from maeface.data.shards import Shards
from maeface.errors import ConfigError
from maeface.faces import media
from maeface.model.au import AUModel
from maeface.model.explain import explain, patch_effects
from maeface.model.file_format.metadata import Preprocessing
from maeface.model.vit import ViT, initialise
from maeface.prediction.explaining import draw_explanations, explanation_path, require_explainable
from maeface.report.relevance import relevance_picture

SETTINGS = Preprocessing(image_size=32)
READ = (5, 10)
"""The patches of a 4 x 4 grid that ``toy`` reads."""


class ReadsSome(ViT):
    """An encoder whose tokens are the brightness of the patches ``READ``, and 0 for others."""

    def forward(self, images, keep=None, drop=None):
        keep = torch.arange(self.patches).expand(len(images), -1) if keep is None else keep
        patches = images.unfold(2, 8, 8).unfold(3, 8, 8).mean((1, 4, 5)).flatten(1).gather(1, keep)
        read = torch.isin(keep, torch.tensor(READ))
        tokens = torch.where(read, patches, 0.0)[..., None].expand(-1, -1, self.shape.width)
        return torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1)


def toy(task="detection", aus=(6, 12)):
    """A model whose first AU rises with the brightness of ``READ``, and whose others fall."""
    model = AUModel(ReadsSome((16, 1, 2), 32, 8), aus, task).eval()
    model.fc_norm = nn.Identity()
    with torch.no_grad():
        model.head.weight.fill_(-1.0)
        model.head.weight[0] = 1.0
    return model


@pytest.fixture(scope="module")
def crops():
    """Two faces of the packaged sample, (2, 64, 64, 3)."""
    folder = Path(str(resources.files("maeface") / "sample"))
    rows, shards = manifest.load(folder).iloc[::600], Shards(folder)
    ranges = zip(rows["shard"], rows["offset"], rows["size"], strict=True)
    faces = [media.decode_image(shards.read_range(*one), "jpeg") for one in ranges]
    return np.stack([np.asarray(Image.fromarray(face).resize((64, 64))) for face in faces])


def random_weights(model, metadata, whole, seed):
    """The model with a new head, or entirely new, from a seed."""
    torch.manual_seed(seed)
    other = AUModel(ViT("nano", metadata.preprocessing.image_size, 8), metadata.aus, metadata.task).eval()
    if not whole:
        other.encoder.load_state_dict(model.encoder.state_dict())
        other.fc_norm.load_state_dict(model.fc_norm.state_dict())
        initialise(head=other.head)
    return other


def rank_correlation(first, second):
    """Mean rank correlation over faces and action units."""
    ranks = [one.reshape(-1, one.shape[2] * one.shape[3]).argsort(1).argsort(1) for one in (first, second)]
    return np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)])


@pytest.mark.parametrize("whole", [True, False])
def test_the_map_depends_on_the_weights(crops, whole):
    """The sanity check of Adebayo et al. (2018): a map that random weights give too shows nothing of them."""
    model, metadata = maeface.load_model("maeface-nano-motion")  # fewer patches, so quicker than the default

    def effects(model, seed=0):
        return patch_effects(model, crops, (6, 12, 25), metadata.preprocessing, per_patch=4, seed=seed)

    trained = effects(model)
    assert rank_correlation(trained, effects(model, seed=1)) > 0.6
    assert abs(rank_correlation(trained, effects(random_weights(model, metadata, whole, seed=0)))) < 0.3


def test_the_map_finds_the_patches_that_a_model_reads():
    faces = np.full((2, 32, 32, 3), 255, np.uint8)
    relevance = explain(toy(), faces, [6, 12], SETTINGS)
    assert relevance.shape == (2, 2, 4, 4) and relevance.dtype == np.float32
    for found in relevance[:, 0].reshape(2, 16):
        assert set(np.argsort(found)[-2:]) == set(READ)
        assert found.max() == 1 and np.delete(found, READ).max() < 0.2
    # AU12 falls with the same patches: they do not count as what speaks for it
    assert (relevance[:, 1].reshape(2, 16)[:, READ] == 0).all()


def test_mirroring_a_face_mirrors_its_map():
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    both = SETTINGS.model_copy(update={"mirror": True})
    straight = explain(toy(), faces, [6], both)
    mirrored = explain(toy(), np.ascontiguousarray(faces[:, :, ::-1]), [6], both)
    np.testing.assert_allclose(straight, mirrored[..., ::-1], atol=1e-5)


def test_a_map_is_repeatable_and_does_not_depend_on_other_faces():
    faces = np.random.default_rng(1).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    together = explain(toy(), faces, [6], SETTINGS)
    np.testing.assert_array_equal(together[1:2], explain(toy(), faces[1:2], [6], SETTINGS))
    assert explain(toy(), faces[:0], [6], SETTINGS).shape == (0, 1, 4, 4)


def test_a_model_of_intensity_or_both_is_explained_too():
    faces = np.full((1, 32, 32, 3), 255, np.uint8)
    alone = patch_effects(toy("intensity"), faces, [6], SETTINGS)
    np.testing.assert_array_equal(alone, patch_effects(toy("both"), faces, [6], SETTINGS))


def test_a_face_in_which_nothing_speaks_for_an_au_has_an_empty_map():
    grey = np.full((1, 32, 32, 3), 128, np.uint8)
    model = toy()
    model.head.weight.data.zero_()
    assert (explain(model, grey, [12], SETTINGS) == 0).all()


def test_an_unknown_action_unit_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match="no AU99 to explain; it has AU06 AU12"):
        explain(toy(), np.zeros((1, 32, 32, 3), np.uint8), [99], SETTINGS)


def test_a_model_of_one_patch_cannot_be_explained():
    model = AUModel(ViT((16, 1, 2), 32, 32), (6,), "detection").eval()
    with pytest.raises(ConfigError, match="2 patches at least, and the model has 1"):
        explain(model, np.zeros((1, 32, 32, 3), np.uint8), [6], SETTINGS)


def test_a_picture_shows_the_relevant_patch_brightest():
    crop = np.full((64, 64, 3), 128, np.uint8)
    relevance = np.zeros((1, 8, 8), np.float32)
    flat = np.asarray(relevance_picture([crop], relevance, 12, [0.5]), np.int16)
    relevance[0, 6, 3] = 1
    picture = np.asarray(relevance_picture([crop], relevance, 12, [0.5]), np.int16)
    assert picture.shape == flat.shape
    changed = np.argwhere(np.abs(picture - flat).max(axis=2) > 40)
    height, width = changed.max(axis=0) - changed.min(axis=0)
    assert 10 < height < 60 and abs(height - width) < 4  # a square of the grid, and nothing else
    assert len(relevance_picture([crop] * 3, np.zeros((3, 8, 8), np.float32), 12).getbands()) == 3


@pytest.fixture(scope="module")
def predictor():
    return maeface.Predictor(device="cpu", aligned=True)


def test_a_photo_has_a_picture_for_each_action_unit(tmp_path, crops, predictor):
    Image.fromarray(crops[0]).save(tmp_path / "a.png")
    for batch in predictor.stream(load_images(tmp_path / "a.png")):
        assert draw_explanations(predictor, [12, 25], tmp_path / "out", batch) == 2
    written = sorted((tmp_path / "out").rglob("*.png"))
    assert written == [explanation_path(tmp_path / "out", "a.png", au) for au in (12, 25)]
    assert [path.name for path in written] == ["a.png.AU12.png", "a.png.AU25.png"]
    with Image.open(written[0]) as picture:
        assert picture.width > picture.height > 200


def test_unknown_action_units_are_refused_before_anything_is_read(predictor):
    require_explainable(predictor, [12])
    with pytest.raises(ConfigError, match="no AU27 AU99 to explain; it has AU01 AU02"):
        require_explainable(predictor, [12, 27, 99])
