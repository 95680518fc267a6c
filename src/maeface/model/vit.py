"""The vision transformer that the masked autoencoder and the AU model share.

Shapes: B images, S image side in pixels, p patch side in pixels, L = (S / p)² patches in row-major order,
K patches kept, N = 1 + K tokens (the class token first), D width, H heads, d = D / H.

Parameters have the names that facebookresearch/mae and timm publish (``blocks.0.attn.qkv.weight``, ...), so
public checkpoints load by name. The final LayerNorm is not part of ``ViT``: the masked autoencoder has it as
``norm``, the AU model has its own ``fc_norm``, and the same ``ViT`` is the encoder of either.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maeface.errors import ConfigError
from maeface.model.style import MAE_STYLE, QUICK_GELU, Style

MLP_RATIO = 4
TOKEN_STD = 0.02
HEAD_STD = 2e-5


class Shape(NamedTuple):
    """Width D, number of blocks, and attention heads of a transformer."""

    width: int
    depth: int
    heads: int


SIZES: dict[str, Shape] = {
    "nano": Shape(128, 6, 4),  # for demonstrations and tests
    "tiny": Shape(192, 12, 3),
    "small": Shape(384, 12, 6),
    "base": Shape(768, 12, 12),
    "large": Shape(1024, 24, 16),
    "huge": Shape(1280, 32, 16),
}


class ViT(nn.Module):
    """A vision transformer up to the last block: patches in, tokens out, no final norm, no head.

    Pre-norm blocks (Dosovitskiy et al. 2021), a class token, fixed 2-D sin-cos positions at the start.
    ``pos_embed`` is a parameter: frozen by the masked autoencoder, trained by the AU model.

    Args:
        size: a name of ``SIZES``, or (width, depth, heads).
        image_size: side of the square input, pixels.
        patch_size: side of a patch, pixels; divides ``image_size``.
        drop_path: stochastic depth in training: the fraction of samples that skip a branch, growing linearly
            from 0 in the first block to this in the last. Who skips is an argument of ``forward``.
        style: details in which published networks differ.

    Raises:
        ConfigError: sizes that do not fit each other.
    """

    def __init__(
        self,
        size: str | tuple[int, int, int] = "base",
        image_size: int = 224,
        patch_size: int = 16,
        drop_path: float = 0.0,
        style: Style = MAE_STYLE,
    ) -> None:
        super().__init__()
        self.shape, self.style = _resolve_size(size), style
        check_width(self.shape.width, self.shape.heads)
        if image_size % patch_size:
            raise ConfigError(f"image size {image_size} is not a multiple of the patch size {patch_size}")
        width, depth, heads = self.shape
        self.image_size, self.patch_size, self.grid = image_size, patch_size, image_size // patch_size
        self.patches = self.grid**2
        self.drop_draws = 2 * depth if drop_path else 0
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(sincos_positions(width, self.grid))  # (1, 1 + L, D)
        self.patch_embed = PatchEmbedding(width, patch_size)
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.norm_pre = nn.LayerNorm(width, eps=style.norm_eps) if style.norm_pre else nn.Identity()
        self.blocks = nn.ModuleList(Block(width, heads, rate, style) for rate in rates)
        initialise(self.patch_embed, self.blocks, self.cls_token)

    def forward(self, images: Tensor, keep: Tensor | None = None, drop: Tensor | None = None) -> Tensor:
        """Return the tokens after the last block, not normalised.

        Args:
            images: (B, 3, S, S) float, normalised by mean and standard deviation.
            keep: (B, K) int64 indices of the patches to encode, in any order; None for all, K = L.
            drop: (B, 2 x depth) uniform on 0..1, for the two branches of each block in training; None draws
                them from torch's generator.

        Returns:
            (B, 1 + K, D): the class token, then the patches in the order of ``keep``.
        """
        patches = self.patch_embed(images, keep)  # (B, K, D)
        positions = self.pos_embed[:, 1:]  # (1, L, D)
        if keep is not None:
            positions = positions[0][keep]  # (B, K, D)
        # len(images) would fix the batch of an exported network
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(images.shape[0], -1, -1)  # (B, 1, D)
        tokens = self.norm_pre(torch.cat([cls, patches + positions], dim=1))  # (B, 1 + K, D)
        if drop is None and self.training and self.drop_draws:
            drop = torch.rand(len(images), self.drop_draws, device=images.device)
        for i, block in enumerate(self.blocks):
            tokens = block(tokens, None if drop is None else drop[:, 2 * i : 2 * i + 2])
        return tokens  # type: ignore[no-any-return]


class PatchEmbedding(nn.Module):
    """A linear projection of each patch; the weight is shaped as the convolution of public checkpoints."""

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)

    def forward(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Embed the patches ``keep`` (B, K) of images (B, 3, S, S), or all of them, to (B, K, D)."""
        pixels = gather_patches(images, self.patch_size, keep).flatten(2)  # (B, K, 3pp)
        return F.linear(pixels, self.proj.weight.flatten(1), self.proj.bias)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), each branch under stochastic depth."""

    def __init__(self, width: int, heads: int, drop_path: float = 0.0, style: Style = MAE_STYLE) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=style.norm_eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=style.norm_eps)
        self.mlp = MLP(width, style)
        self.drop_path = drop_path

    def forward(self, tokens: Tensor, drop: Tensor | None = None) -> Tensor:
        """Map tokens (B, N, D) to (B, N, D); ``drop`` (B, 2) as for ``ViT.forward``, None drops nothing."""
        attention, mlp = (None, None) if drop is None else drop.unbind(1)
        tokens = tokens + self._drop(self.attn(self.norm1(tokens)), attention)
        return tokens + self._drop(self.mlp(self.norm2(tokens)), mlp)

    def _drop(self, branch: Tensor, draws: Tensor | None) -> Tensor:
        if draws is None or not self.training or self.drop_path == 0.0:
            return branch
        kept = 1.0 - self.drop_path
        stays = (draws < kept).view(-1, 1, 1)  # one draw a sample
        return branch * (stays.to(branch.dtype) / kept)


class Attention(nn.Module):
    """Multi-head self-attention; query, key and value from one projection with a bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, N, D) to (B, N, D)."""
        split = self.qkv(tokens).unflatten(2, (3, self.heads, -1))  # (B, N, 3, H, d)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, d) each
        mixed = _attend(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return fused attention of query, key and value, (B, H, N, d) each.

    On CPUs its backward pass in bf16 is up to four times slower than in fp32 (torch 2.15, short sequences),
    so training on CPUs computes it in fp32 and casts back.
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad:
        with torch.autocast("cpu", enabled=False):
            mixed = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
        return mixed.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value)


class MLP(nn.Module):
    """Linear to 4 D, the activation, linear back."""

    def __init__(self, width: int, style: Style) -> None:
        super().__init__()
        self.quick = style.activation == "quick_gelu"
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, N, D) to (B, N, D)."""
        hidden = self.fc1(tokens)
        hidden = hidden * torch.sigmoid(QUICK_GELU * hidden) if self.quick else F.gelu(hidden)
        return self.fc2(hidden)  # type: ignore[no-any-return]


def gather_patches(images: Tensor, patch_size: int, indices: Tensor | None = None) -> Tensor:
    """Cut patches out of images; only the pixels of these patches are read.

    Args:
        images: (B, C, S, S).
        patch_size: p, pixels.
        indices: (B, K) int64 patch indices, row-major; None for all L in order.

    Returns:
        (B, K, C, p, p).
    """
    batch, channels, side, other = images.shape
    grid = side // patch_size
    assert side == other == grid * patch_size, f"images of {other} x {side} px, patches of {patch_size} px"
    cut = images.reshape(batch, channels, grid, patch_size, grid, patch_size)
    cut = cut.permute(0, 2, 4, 1, 3, 5)  # (B, S/p, S/p, C, p, p), a view
    if indices is None:
        return cut.flatten(1, 2)
    sample = torch.arange(batch, device=images.device)[:, None]  # (B, 1)
    return cut[sample, indices // grid, indices % grid]


def sincos_positions(width: int, grid: int) -> Tensor:
    """Return fixed 2-D sin-cos position codes, with zeros for the class token first.

    The first half of the width codes the column, the second the row; each half is sines, then cosines, of
    the position over 10000^(i / (D / 4)) (facebookresearch/mae).

    Returns:
        (1, 1 + grid², width) float32.
    """
    position = torch.arange(grid, dtype=torch.float64, device="cpu")
    frequency = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64, device="cpu") / (width // 4))
    angle = position[:, None] * frequency  # (grid, D/4)
    code = torch.cat([angle.sin(), angle.cos()], dim=1)  # (grid, D/2)
    column = code[None, :, :].expand(grid, grid, -1)
    row = code[:, None, :].expand(grid, grid, -1)
    codes = torch.cat([column, row], dim=2).flatten(0, 1)  # (L, D)
    codes = torch.cat([torch.zeros_like(codes[:1]), codes])[None].float()
    return codes.to(torch.get_default_device())  # computed on the CPU: equal everywhere, and cheap on "meta"


def resize_positions(positions: Tensor, grid: int) -> Tensor:
    """Resize position codes (1, 1 + L, D) to a grid x grid of patches, (1, 1 + grid², D); bicubic."""
    length, width = positions.shape[-2] - 1, positions.shape[-1]
    old = round(length**0.5)
    if old == grid or old**2 != length:
        return positions
    codes = positions[:, 1:].float().transpose(1, 2).reshape(1, width, old, old)
    resized = F.interpolate(codes, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1].float(), resized.flatten(2).transpose(1, 2)], dim=1)


def initialise(*parts: nn.Module | nn.Parameter, head: nn.Linear | None = None) -> None:
    """Draw initial values, of all parameters in this package.

    =============================  =========================================================
    ``nn.Linear``                  weight Xavier uniform, bias 0
    patch embedding                Xavier uniform as the matrix (D, 3pp), bias 0
    ``nn.LayerNorm``               weight 1, bias 0
    class token, mask token        N(0, 0.02)
    position codes                 fixed 2-D sin-cos (``sincos_positions``), not drawn
    ``head`` of the AU model       truncated normal, standard deviation 2e-5, bias 0
    =============================  =========================================================

    Section 3.2.1 gives Xavier; the other values are those of facebookresearch/mae. On the meta device
    nothing is drawn: there a model gets its tensors from a file.
    """
    if torch.get_default_device().type == "meta":
        return
    for part in parts:
        if isinstance(part, nn.Parameter):
            nn.init.normal_(part, std=TOKEN_STD)
            continue
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                _zero(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                _zero(module.bias)
    if head is not None:
        nn.init.trunc_normal_(head.weight, std=HEAD_STD)
        _zero(head.bias)


def check_width(width: int, heads: int) -> None:
    """Refuse a width that is not a multiple of its heads, or of the 4 parts of a position code.

    Raises:
        ConfigError: the width is not a multiple of 4 and of ``heads``.
    """
    if width % 4 or width % heads:
        raise ConfigError(f"width {width} must be a multiple of 4 (positions) and of its {heads} heads")


def _resolve_size(size: str | tuple[int, int, int]) -> Shape:
    if isinstance(size, str):
        if size not in SIZES:
            raise ConfigError(f"no model size {size!r}; choose one of: {', '.join(SIZES)}")
        return SIZES[size]
    return Shape(*size)


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)
