"""Weights files of others, read without running anything in them, under one set of names.

Read are safetensors files and PyTorch's own (zip or older), bare or with the tensors under ``model``:

- maeface's own files;
- facebookresearch/mae, the encoder alone or with its decoder;
- timm's ViTs with class token and learned positions (``vit_base_patch16_224.mae``);
- the MAE-Face release: ``model``, ``optimizer``, ``scaler``, ``epoch`` and ``args``, an argparse.Namespace;
- transformers' ViTMAE, with the key schemes of version 4 and version 5, and its ``config.json`` if that lies
  beside the file. (It says LayerNorm eps 1e-12, the weights were trained with 1e-6, which is used here.)

Names are those of facebookresearch/mae and timm: ``blocks.0.attn.qkv.weight``, ``decoder_blocks.0...``.
"""

import argparse
import json
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maeface.errors import WeightsError
from maeface.model.vit import SIZES, Shape

HEADER_KEY = "maeface"
ENCODER = ("cls_token", "pos_embed", "patch_embed.", "blocks.", "reg_token", "norm_pre.")
"""How the names of an encoder's tensors begin; a file with others of these is another architecture."""

_TRANSFORMERS = [
    (re.compile(pattern), name)
    for pattern, name in [
        (r"^(vit\.)?embeddings\.cls_token$", "cls_token"),
        (r"^(vit\.)?embeddings\.position_embeddings$", "pos_embed"),
        (r"^(vit\.)?embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^(vit\.)?layernorm\.", "norm."),
        (r"^(vit\.)?(encoder\.layer|layers)\.", "blocks."),
        (r"^decoder\.(decoder_layers|decoder_encoder\.layer)\.", "decoder_blocks."),
        (r"^decoder\.(?=mask_token|decoder_)", ""),
        (r"\.(attention\.attention\.query|attention\.q_proj)\.", ".attn.q."),
        (r"\.(attention\.attention\.key|attention\.k_proj)\.", ".attn.k."),
        (r"\.(attention\.attention\.value|attention\.v_proj)\.", ".attn.v."),
        (r"\.(attention\.output\.dense|attention\.o_proj)\.", ".attn.proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
    ]
]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file under their published names, and what else the file says."""

    path: Path
    tensors: dict[str, Tensor]
    header: str | None
    """maeface's own metadata, JSON, if the file is maeface's."""
    heads: int | None
    """Attention heads of the encoder, where something beside the tensors tells."""
    decoder_heads: int | None


@dataclass(frozen=True)
class Sizes:
    """An encoder as its tensors show it."""

    shape: Shape
    image_size: int
    patch_size: int


def read(path: Path) -> Checkpoint:
    """Read a weights file of any known layout.

    Raises:
        WeightsError: no such file, not a weights file, damaged, or a pickle that asks for code.
    """
    if path.is_dir():
        raise WeightsError(f"{path} is a folder; give the weights file in it")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror or error}") from error
    if not start:
        raise WeightsError(f"{path} is empty (0 bytes); copy or download it again")
    if start[8:] == b"{":  # asked first: the length before it may begin like a pickle
        tensors, header = _read_safetensors(path)
    elif start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        tensors, header = _read_torch(path), None
    else:
        raise WeightsError(f"{path} is neither a safetensors nor a PyTorch weights file, or is damaged")
    if header is None and any("embeddings." in name for name in tensors):
        heads, decoder_heads = _transformers_heads(path.with_name("config.json"))
        return Checkpoint(path, from_transformers(tensors), None, heads, decoder_heads)
    return Checkpoint(path, tensors, header, None, None)


def encoder_sizes(checkpoint: Checkpoint, heads: int | None = None) -> Sizes:
    """The sizes of the encoder in a file; ``heads`` is taken from the caller, the file or ``SIZES``.

    Raises:
        WeightsError: no encoder in it, or nothing tells how many heads it has.
    """
    tensors, path = checkpoint.tensors, checkpoint.path
    blocks = {int(found[1]) for name in tensors if (found := re.match(r"blocks\.(\d{1,4})\.", name))}
    positions, patches = tensors.get("pos_embed"), tensors.get("patch_embed.proj.weight")
    if positions is None or patches is None or not blocks or positions.ndim != 3 or patches.ndim != 4:
        names = ", ".join(sorted(tensors)[:3]) or "none"
        raise WeightsError(
            f"{path} holds no vision transformer in a known layout; its first tensors: {names}"
        )
    width, depth = positions.shape[2], max(blocks) + 1
    grid = round((positions.shape[1] - 1) ** 0.5)
    if grid**2 + 1 != positions.shape[1]:
        raise WeightsError(f"{path}: pos_embed has {positions.shape[1]} places, not 1 + a square")
    known = {(shape.width, shape.depth): shape.heads for shape in SIZES.values()}
    heads = heads or checkpoint.heads or known.get((width, depth))
    if heads is None:
        raise WeightsError(
            f"{path}: an encoder of width {width} and depth {depth} is of no known size, and the file does "
            "not say how many attention heads it has; say it (heads)"
        )
    patch_size = patches.shape[3]
    return Sizes(Shape(width, depth, heads), grid * patch_size, patch_size)


def from_transformers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """From transformers' ViTMAE names to the published ones; query, key and value become one projection."""
    renamed: dict[str, Tensor] = {}
    for old, tensor in tensors.items():
        name = old
        for pattern, new in _TRANSFORMERS:
            name = pattern.sub(new, name)
        renamed[name] = tensor
    for query in [name for name in renamed if ".attn.q." in name]:
        parts = [query.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(part in renamed for part in parts):
            renamed[query.replace(".attn.q.", ".attn.qkv.")] = torch.cat([renamed.pop(p) for p in parts])
    return renamed


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], str | None]:
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER_KEY)
            return {name: file.get_tensor(name) for name in file.keys()}, header
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} is damaged ({_line(error)}); copy or download it again") from error


class _Ignored:
    """Stands where a file has an argparse.Namespace: holds what the file gives it and does nothing."""

    def __setstate__(self, state: object) -> None:
        """Forget it."""


def _read_torch(path: Path) -> dict[str, Tensor]:
    allowed: Any = [(_Ignored, f"{argparse.Namespace.__module__}.{argparse.Namespace.__qualname__}")]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        why = f"asks for {asked[1]}" if asked else f"is no plain dict of tensors: {_line(error)}"
        raise WeightsError(
            f"refused {path}: its pickle {why}; it is hostile, damaged or no weights file, and nothing in it "
            "was run"
        ) from error
    except Exception as error:  # damaged bytes surface as any exception there is
        raise WeightsError(
            f"{path} is damaged ({type(error).__name__}: {_line(error)}); copy or download it again"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: expected a dict of tensors, got {type(content).__name__}")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _transformers_heads(config: Path) -> tuple[int | None, int | None]:
    if not config.is_file():
        return None, None
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        heads, decoder_heads = values["num_attention_heads"], values.get("decoder_num_attention_heads")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise WeightsError(f"{config} is not the config.json of a ViTMAE ({_line(error)})") from error
    for value in (heads, decoder_heads):
        if value is not None and (type(value) is not int or not 1 <= value <= 1024):
            raise WeightsError(f"{config}: attention heads must be 1 to 1024, got {value!r}")
    return heads, decoder_heads


def _line(error: Exception) -> str:
    """The line of an error that says what was wrong, short: torch's go on for a page."""
    text = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
    return (text.strip() or type(error).__name__).splitlines()[0][:160]
