from typing import get_args

import pytest
import torch

from maeface.config import Size
from maeface.errors import ConfigError
from maeface.model.mae import MAE
from maeface.model.vit import SIZES, Block, ViT, gather_patches, sincos_positions


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_sizes_are_those_that_recipes_can_name():
    assert set(SIZES) == set(get_args(Size))
    assert SIZES["base"] == (768, 12, 12)


def test_same_outputs_as_timm_from_the_same_weights():
    import timm

    torch.manual_seed(0)
    peer = timm.models.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=0
    ).eval()
    ours = MAE(ViT((48, 2, 3), 32, 8), decoder_width=8, decoder_depth=1, decoder_heads=1)
    ours.encoder.load_state_dict({k: v for k, v in peer.state_dict().items() if not k.startswith("norm.")})
    ours.norm.load_state_dict(peer.norm.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            ours.norm(ours.encoder(images)), peer.forward_features(images), rtol=0, atol=2e-6
        )


def test_patches_are_cut_and_embedded_as_the_convolution_does(images):
    vit = ViT((8, 1, 1), 16, 4)
    convolved = vit.patch_embed.proj(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(vit.patch_embed(images), convolved)
    keep = torch.tensor([[3, 0, 15], [7, 8, 2]])
    torch.testing.assert_close(vit.patch_embed(images, keep), convolved[torch.arange(2)[:, None], keep])
    assert torch.equal(gather_patches(images, 4, keep)[1, 0], images[1, :, 4:8, 12:16])


def test_only_kept_patches_are_looked_at(images):
    vit = ViT((8, 2, 2), 16, 4).eval()
    keep = torch.tensor([[5, 2], [0, 9]])
    before = vit(images, keep)
    assert before.shape == (2, 3, 8)
    changed = images.clone()
    changed[:, :, 12:, :] = torch.nan  # the last row of patches, 12 to 15, is not kept
    assert torch.equal(vit(changed, keep), before)


def test_keeping_all_patches_in_any_order_is_the_same_picture(images):
    vit = ViT((8, 2, 2), 16, 4).double().eval()
    whole = vit(images.double())
    keep = torch.stack([torch.randperm(16), torch.randperm(16)])
    shuffled = vit(images.double(), keep)
    sample = torch.arange(2)[:, None]
    torch.testing.assert_close(shuffled[:, 1:], whole[:, 1:][sample, keep], rtol=0, atol=1e-12)
    torch.testing.assert_close(shuffled[:, 0], whole[:, 0], rtol=0, atol=1e-12)


def test_position_codes_tell_column_from_row():
    codes = sincos_positions(16, 3)[0]
    assert torch.equal(codes[0], torch.zeros(16))
    grid = codes[1:].unflatten(0, (3, 3))
    assert torch.equal(grid[0, 2, :8], grid[1, 2, :8])  # first half: the column
    assert torch.equal(grid[1, 0, 8:], grid[1, 2, 8:])  # second half: the row
    assert grid[0, 1, 0] == pytest.approx(torch.sin(torch.tensor(1.0)).item())
    assert grid[0, 1, 4] == pytest.approx(torch.cos(torch.tensor(1.0)).item())


def test_initial_values():
    torch.manual_seed(0)
    vit = ViT((64, 2, 2), 32, 8)
    bound = (6 / (64 + 3 * 8 * 8)) ** 0.5  # Xavier of the patch embedding as a (64, 192) matrix
    weight = vit.patch_embed.proj.weight
    assert weight.abs().max() <= bound and weight.abs().max() > 0.98 * bound
    bound = (6 / (64 + 192)) ** 0.5
    qkv = vit.blocks[0].attn.qkv
    assert qkv.weight.abs().max() <= bound and qkv.weight.abs().max() > 0.98 * bound
    assert not qkv.bias.any() and not vit.patch_embed.proj.bias.any()
    assert 0.01 < vit.cls_token.std() < 0.03
    assert torch.equal(vit.pos_embed, sincos_positions(64, 4))


def test_drop_path_grows_linearly_and_is_off_in_evaluation(images):
    vit = ViT((8, 5, 2), 16, 4, drop_path=0.2)
    assert [block.drop_path for block in vit.blocks] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert torch.equal(vit.eval()(images), vit(images))


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    block = Block(8, 2, drop_path=0.4).train()
    branch = block._drop(torch.ones(4000, 3, 8), torch.rand(4000))
    per_sample = branch.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert set(per_sample[:, 0].tolist()) == {0.0, per_sample.max().item()}
    assert (per_sample[:, 0] == 0).float().mean() == pytest.approx(0.4, abs=0.03)
    assert branch.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("giant",), "tiny, small, base, large, huge"),
        (((48, 2, 5),), "its 5 heads"),
        (((6, 2, 1),), "multiple of 4"),
        (((8, 2, 1), 30, 16), "image size 30"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ViT(*arguments)
