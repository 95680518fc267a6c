"""The masked autoencoder of stage 1: it encodes a few patches of a face and predicts the others.

Shapes: B images, S image side in pixels, p patch side in pixels, L = (S / p)² patches in row-major order, K
of them kept, R = L - K removed, D and E widths of encoder and decoder, P = 3pp values of a patch, in the
order row, column, channel.

On disk the names are those of facebookresearch/mae (``decoder_blocks.0.attn.qkv.weight``, ...).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from maeface.config import MaskedAutoencoder
from maeface.model.style import LAYER_NORM_EPS
from maeface.model.vit import (
    Block,
    Shape,
    ViT,
    check_width,
    gather_patches,
    initialise,
    sincos_positions,
)

PATCH_VARIANCE_EPS = 1e-6


class Masking(NamedTuple):
    """The kept and the removed patches of each image, by row-major index.

    Attributes:
        kept: (B, K) int64, in ascending order of noise.
        removed: (B, R) int64, likewise.
        mask: (B, L) bool, True where removed.
        restore: (B, L) int64, position of each patch in the order kept, then removed.
    """

    kept: Tensor
    removed: Tensor
    mask: Tensor
    restore: Tensor


class MAEOutput(NamedTuple):
    """The output of the decoder.

    Attributes:
        prediction: (B, R, P), the removed patches in the order of ``masking.removed`` (from ``forward``), or
            (B, L, P), all patches in row-major order (from ``predict``). Values are normalised pixels, or
            pixels normalised within the patch where the model has ``normalize_patches``.
        masking: the kept and the removed patches.
    """

    prediction: Tensor
    masking: Masking


class Pictures(NamedTuple):
    """Masked and reconstructed images for display, in the units of the input.

    Attributes:
        masked: (B, 3, S, S), the removed patches 0, which is the mean colour.
        reconstructed: (B, 3, S, S), the kept patches as they are, the removed ones as predicted.
        mask: (B, L) bool, True where removed.
    """

    masked: Tensor
    reconstructed: Tensor
    mask: Tensor


class MAE(nn.Module):
    """Masked autoencoder (He et al. 2022) with the loss of section 3.3.

    Args:
        encoder: the ViT that is pre-trained; its positions are frozen here.
        decoder_width: E.
        decoder_depth: blocks of the decoder.
        decoder_heads: attention heads of the decoder.
        mask_ratio: fraction of the patches that is removed; int(L * (1 - mask_ratio)) are kept.
        loss: "l1" (equation 1) or "l2" (He et al.).
        normalize_patches: predict each patch minus its mean, over its standard deviation.

    Raises:
        ConfigError: sizes that do not fit each other.
    """

    def __init__(
        self,
        encoder: ViT,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        mask_ratio: float = 0.75,
        loss: Literal["l1", "l2"] = "l1",
        normalize_patches: bool = True,
    ) -> None:
        super().__init__()
        check_width(decoder_width, decoder_heads)
        self.decoder_shape = Shape(decoder_width, decoder_depth, decoder_heads)
        self.mask_ratio, self.loss_kind, self.normalize_patches = mask_ratio, loss, normalize_patches
        width = encoder.shape.width
        self.encoder = encoder
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder_width))
        self.register_buffer("decoder_pos_embed", sincos_positions(decoder_width, encoder.grid))
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.decoder_blocks = nn.ModuleList(Block(decoder_width, decoder_heads) for _ in range(decoder_depth))
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=LAYER_NORM_EPS)
        self.decoder_pred = nn.Linear(decoder_width, 3 * encoder.patch_size**2)
        encoder.pos_embed.requires_grad_(False)
        initialise(self.norm, self.decoder_embed, self.decoder_blocks, self.decoder_norm, self.decoder_pred)
        initialise(self.mask_token)

    def forward(self, images: Tensor, noise: Tensor, mask_ratio: float | None = None) -> MAEOutput:
        """Predict the removed patches, and only these: what training needs.

        Args:
            images: (B, 3, S, S) float, normalised by mean and standard deviation.
            noise: (B, L) float; the patches with the lowest noise are kept.
            mask_ratio: fraction removed; None for the model's own.
        """
        tokens, masking = self._decode(images, noise, mask_ratio)
        removed = tokens[:, 1 + masking.kept.shape[1] :]  # (B, R, E)
        return MAEOutput(self.decoder_pred(self.decoder_norm(removed)), masking)

    def predict(self, images: Tensor, noise: Tensor, mask_ratio: float | None = None) -> MAEOutput:
        """Predict every patch, (B, L, P) in row-major order: for pictures. Arguments as for ``forward``."""
        tokens, masking = self._decode(images, noise, mask_ratio)
        prediction = self.decoder_pred(self.decoder_norm(tokens[:, 1:]))  # (B, L, P), kept then removed
        sample = torch.arange(len(images), device=images.device)[:, None]
        return MAEOutput(prediction[sample, masking.restore], masking)

    def encode(
        self, images: Tensor, noise: Tensor, mask_ratio: float | None = None
    ) -> tuple[Tensor, Masking]:
        """Return the normalised tokens of class and kept patches, (B, 1 + K, D), and the masking."""
        masking = draw_mask(noise, self.mask_ratio if mask_ratio is None else mask_ratio)
        return self.norm(self.encoder(images, masking.kept)), masking

    def loss(self, output: MAEOutput, images: Tensor) -> Tensor:
        """Return the distance between removed patches and their prediction, a scalar (equation 1).

        Mean over a patch's values, then over the removed patches of the batch.

        Args:
            output: of ``forward`` for ``images``.
            images: (B, 3, S, S), as given to ``forward``; the loss is computed in their precision.
        """
        target = patchify(images, self.encoder.patch_size, output.masking.removed)  # (B, R, P)
        assert output.prediction.shape == target.shape, "loss takes the output of forward, not of predict"
        if self.normalize_patches:
            mean, std = patch_statistics(target)
            target = (target - mean) / std
        distance = output.prediction.to(target.dtype) - target
        distance = distance.abs() if self.loss_kind == "l1" else distance.square()
        return distance.mean(dim=2).mean()

    @torch.no_grad()
    def reconstruct(self, images: Tensor, noise: Tensor, mask_ratio: float | None = None) -> Pictures:
        """Return masked and reconstructed images for display (Figs. 1 and 5). Arguments as for ``forward``.

        With ``normalize_patches``, predictions are scaled back by mean and deviation of the original patch.
        """
        patch = self.encoder.patch_size
        prediction, masking = self.predict(images, noise, mask_ratio)
        original = patchify(images, patch)  # (B, L, P)
        prediction = prediction.to(original.dtype)
        if self.normalize_patches:
            mean, std = patch_statistics(original)
            prediction = prediction * std + mean
        removed = masking.mask[:, :, None]  # (B, L, 1)
        return Pictures(
            unpatchify(original.masked_fill(removed, 0.0), patch),
            unpatchify(torch.where(removed, prediction, original), patch),
            masking.mask,
        )

    def _decode(self, images: Tensor, noise: Tensor, mask_ratio: float | None) -> tuple[Tensor, Masking]:
        """Return the decoder's tokens (B, 1 + L, E), in the order class, kept, removed; and the masking.

        Tokens are not put back in row-major order: attention depends on order only through the position
        codes, which are indexed instead. So the removed patches are one slice at the end.
        """
        latent, masking = self.encode(images, noise, mask_ratio)
        visible = self.decoder_embed(latent)  # (B, 1 + K, E)
        batch, removed = masking.removed.shape
        hidden = self.mask_token.expand(batch, removed, -1)  # (B, R, E)
        assert isinstance(self.decoder_pos_embed, Tensor)
        codes = self.decoder_pos_embed[0]  # (1 + L, E)
        order = torch.cat([masking.kept, masking.removed], dim=1) + 1  # (B, L)
        order = torch.cat([torch.zeros_like(order[:, :1]), order], dim=1)  # (B, 1 + L)
        tokens = torch.cat([visible, hidden], dim=1) + codes[order]
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return tokens, masking


def build(settings: MaskedAutoencoder) -> MAE:
    """Return a masked autoencoder with random weights, of the settings in a recipe's ``[model]``.

    Raises:
        ConfigError: sizes that do not fit each other.
    """
    return MAE(
        ViT(settings.size, settings.image_size, settings.patch_size),
        decoder_width=settings.decoder_width,
        decoder_depth=settings.decoder_depth,
        decoder_heads=settings.decoder_heads,
        mask_ratio=settings.mask_ratio,
        loss=settings.loss,
        normalize_patches=settings.normalize_patches,
    )


def draw_mask(noise: Tensor, mask_ratio: float) -> Masking:
    """Keep the int(L * (1 - mask_ratio)) patches with the lowest noise (B, L); at least one is kept."""
    length = noise.shape[1]
    keep = max(int(length * (1 - mask_ratio)), 1)
    order = noise.argsort(dim=1, stable=True)  # (B, L)
    restore = order.argsort(dim=1)
    return Masking(order[:, :keep], order[:, keep:], restore >= keep, restore)


def patchify(images: Tensor, patch_size: int, indices: Tensor | None = None) -> Tensor:
    """Cut images (B, 3, S, S) into patches (B, L, P), or into the patches ``indices`` (B, R), (B, R, P)."""
    return gather_patches(images, patch_size, indices).permute(0, 1, 3, 4, 2).flatten(2)


def unpatchify(patches: Tensor, patch_size: int) -> Tensor:
    """Join patches (B, L, P) to images (B, 3, S, S)."""
    batch, length, _ = patches.shape
    grid = round(length**0.5)
    cut = patches.reshape(batch, grid, grid, patch_size, patch_size, 3)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, grid * patch_size, grid * patch_size)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of patches (B, R, P), (B, R, 1) each; unbiased variance + 1e-6."""
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return mean, (variance + PATCH_VARIANCE_EPS).sqrt()
