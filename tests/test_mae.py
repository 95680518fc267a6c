import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from maeface import config
from maeface.model import mae
from maeface.model.mae import MAE, draw_mask, patchify, unpatchify
from maeface.model.vit import ViT

REFERENCE = Path(__file__).parent / "reference" / "mae_pretrain.safetensors"


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    with safe_open(REFERENCE, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


@pytest.fixture(scope="module")
def sizes() -> dict[str, float]:
    with safe_open(REFERENCE, "pt") as file:
        return json.loads(file.metadata()["config"])


def reference_model(reference, sizes, **changes) -> MAE:
    """The published random model, its parameters under their own names."""
    vit = ViT(
        (sizes["embed_dim"], sizes["depth"], sizes["num_heads"]), sizes["img_size"], sizes["patch_size"]
    )
    model = MAE(
        vit, sizes["decoder_embed_dim"], sizes["decoder_depth"], sizes["decoder_num_heads"], **changes
    ).double()
    state = {k.removeprefix("state."): v for k, v in reference.items() if k.startswith("state.")}
    own = {name.removeprefix("encoder."): name for name in model.state_dict()}
    model.load_state_dict({own[name]: value for name, value in state.items()})
    return model


def agree(ours, theirs, atol=1e-9):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def test_latent_mask_and_prediction_agree_with_the_reference(reference, sizes):
    model = reference_model(reference, sizes)
    images, noise = reference["input.images"], reference["input.noise"]
    latent, masking = model.encode(images, noise)
    agree(latent, reference["out.latent"])
    assert torch.equal(masking.mask.float(), reference["out.mask"])
    assert torch.equal(masking.restore, reference["out.ids_restore"])
    whole = model.predict(images, noise)
    agree(whole.prediction, reference["out.pred"])
    removed = model(images, noise)
    sample = torch.arange(len(images))[:, None]
    agree(removed.prediction, reference["out.pred"][sample, removed.masking.removed])


@pytest.mark.parametrize("kind", ["l1", "l2"])
@pytest.mark.parametrize("normalize", [False, True])
def test_losses_agree_with_the_reference(reference, sizes, kind, normalize):
    model = reference_model(reference, sizes, loss=kind, normalize_patches=normalize)
    images = reference["input.images"]
    loss = model.loss(model(images, reference["input.noise"]), images)
    agree(loss, reference[f"loss.{kind}{'_norm' * normalize}"])


def test_gradients_agree_with_the_reference(reference, sizes):
    model = reference_model(reference, sizes)
    images = reference["input.images"]
    model.loss(model(images, reference["input.noise"]), images).backward()
    gradients = {name.removeprefix("encoder."): p.grad for name, p in model.named_parameters()}
    names = [name.removeprefix("grad.l1_norm.") for name in reference if name.startswith("grad.l1_norm.")]
    assert len(names) == 3
    for name in names:
        agree(gradients[name], reference[f"grad.l1_norm.{name}"])
    assert gradients["pos_embed"] is None  # frozen
    missing = {name for name, gradient in gradients.items() if gradient is None}
    assert missing == {"pos_embed"}  # all other parameters learn


def test_patchify_and_back_agree_with_the_reference(reference, sizes):
    images = reference["input.images"]
    patch = sizes["patch_size"]
    assert torch.equal(patchify(images, patch), reference["out.patches"])
    assert torch.equal(unpatchify(reference["out.pred"], patch), reference["out.unpatchify"])
    assert torch.equal(unpatchify(patchify(images, patch), patch), images)


def test_fixed_positions_are_the_published_ones(reference, sizes):
    fresh = MAE(ViT((48, 1, 3), 48, 8), sizes["decoder_embed_dim"], 1, 4)
    agree(fresh.encoder.pos_embed.double(), reference["state.pos_embed"], atol=1e-7)
    agree(fresh.decoder_pos_embed.double(), reference["state.decoder_pos_embed"], atol=1e-7)


def tiny(**changes) -> MAE:
    torch.manual_seed(0)
    return MAE(ViT((8, 1, 2), 16, 4), 8, 1, 2, **changes)


@pytest.mark.parametrize(("ratio", "kept"), [(0.5, 98), (0.75, 49), (0.9, 19), (0.999, 1)])
def test_share_of_patches_kept(ratio, kept):
    masking = draw_mask(torch.rand(2, 196), ratio)
    assert masking.kept.shape == (2, kept)
    assert masking.removed.shape == (2, 196 - kept)
    assert masking.mask.sum(dim=1).tolist() == [196 - kept] * 2
    sample = torch.arange(2)[:, None]
    assert masking.mask[sample, masking.removed].all() and not masking.mask[sample, masking.kept].any()


def test_equal_noise_keeps_the_first_patches():
    assert draw_mask(torch.zeros(1, 8), 0.5).kept.tolist() == [[0, 1, 2, 3]]


def test_mask_ratio_of_one_call():
    model = tiny()
    images, noise = torch.rand(1, 3, 16, 16), torch.rand(1, 16)
    assert model(images, noise).prediction.shape == (1, 12, 48)
    assert model(images, noise, mask_ratio=0.5).prediction.shape == (1, 8, 48)
    assert model.reconstruct(images, noise, mask_ratio=0.875).mask.sum() == 14


def test_loss_does_not_see_visible_patches():
    model = tiny()
    images, noise = torch.rand(2, 3, 16, 16), torch.rand(2, 16)
    output = model(images, noise)
    visible = ~output.masking.mask
    changed = patchify(images, 4)
    changed[visible] += 1.0
    assert model.loss(output, unpatchify(changed, 4)) == model.loss(output, images)
    changed[~visible] += torch.rand(48)
    assert model.loss(output, unpatchify(changed, 4)) != model.loss(output, images)


@pytest.mark.parametrize("normalize", [False, True])
def test_pictures_paste_visible_patches_and_paint_the_others(normalize):
    model = tiny(normalize_patches=normalize)
    images, noise = torch.rand(2, 3, 16, 16), torch.rand(2, 16)
    pictures = model.reconstruct(images, noise)
    true, masked, painted = (patchify(i, 4) for i in (images, pictures.masked, pictures.reconstructed))
    assert torch.equal(painted[~pictures.mask], true[~pictures.mask])
    assert torch.equal(masked[~pictures.mask], true[~pictures.mask])
    assert not masked[pictures.mask].any()
    prediction = model.predict(images, noise).prediction[pictures.mask]
    if normalize:
        of_patch = true[pictures.mask]
        prediction = prediction * (of_patch.var(1, keepdim=True) + 1e-6).sqrt() + of_patch.mean(
            1, keepdim=True
        )
    agree(painted[pictures.mask], prediction, atol=1e-6)


def test_a_flat_patch_has_a_finite_loss():
    model = tiny()
    images = torch.full((1, 3, 16, 16), 0.3)
    assert model.loss(model(images, torch.rand(1, 16)), images).isfinite()


def test_loss_under_bf16_is_computed_in_float32():
    model = tiny()
    images, noise = torch.rand(2, 3, 16, 16), torch.rand(2, 16)
    exact = model.loss(model(images, noise), images)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(model(images, noise), images)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)


def test_gradients_under_bf16_are_near_those_of_float32():
    images, noise = torch.rand(4, 3, 16, 16), torch.rand(4, 16)
    gradients = []
    for half in (False, True):
        model = tiny(normalize_patches=False)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = model(images, noise)
        model.loss(output, images).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]))
        assert gradients[-1].dtype == torch.float32
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_build_follows_the_recipe():
    settings = config.MaskedAutoencoder(
        size="tiny", image_size=32, decoder_depth=1, decoder_width=16, decoder_heads=2, loss="l2"
    )
    model = mae.build(settings)
    assert model.encoder.shape == (192, 12, 3)
    assert (model.decoder_shape, model.loss_kind, model.normalize_patches) == ((16, 1, 2), "l2", True)
    assert model.encoder.patches == 4
