"""Reading of weights files, maeface's own and public checkpoints, under one set of tensor names.

No code in a file is run. Supported are safetensors files and PyTorch's own (zip or older), bare or with the
tensors under ``model``, ``state_dict`` or another of ``TENSORS_UNDER``. Their names may begin with
``module.``, ``encoder.`` or what other wrappers put before them. Supported names are those of:

- maeface's own files;
- facebookresearch/mae, the encoder alone or with its decoder;
- timm's ViTs with class token and learned positions (``vit_base_patch16_224.mae``);
- the MAE-Face release: ``model``, ``optimizer``, ``scaler``, ``epoch`` and ``args``, an argparse.Namespace;
- transformers' ViTMAE, with the key schemes of version 4 and version 5, and its ``config.json`` if that is in
  the same folder. (It has LayerNorm eps 1e-12; the weights were trained with 1e-6, which is used here.)
- the image encoder of CLIP, with the names of OpenAI and FaRL, or of transformers (``clip_layout``).

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
from maeface.model import clip_layout
from maeface.model.file_format.metadata import HEADER_KEY
from maeface.model.style import CLIP_STYLE, MAE_STYLE, Style
from maeface.model.vit import SIZES, Shape

ENCODER = ("cls_token", "pos_embed", "patch_embed.", "blocks.", "reg_token", "norm_pre.")
"""Prefixes of the names of an encoder's tensors; a file with other such tensors has another architecture."""

TENSORS_UNDER = ("model", "state_dict", "model_state_dict", "module", "net", "encoder", "backbone")
"""Entries of a checkpoint that may have the tensors, in order; one may be in another."""
# Of data parallelism, Lightning, and models with an encoder. "encoder.layer." belongs to transformers.
_PREFIXES = re.compile(r"^((module|model|net|backbone|vit|encoder(?!\.layer\.))\.)+")
_WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

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
    """The tensors of a file under their published names, and the metadata of the file."""

    path: Path
    tensors: dict[str, Tensor]
    header: str | None
    """maeface's own metadata, JSON, if the file is maeface's."""
    heads: int | None
    """Attention heads of the encoder; None if only the tensors are given."""
    decoder_heads: int | None
    style: Style = MAE_STYLE


@dataclass(frozen=True)
class Sizes:
    """The sizes of an encoder, derived from its tensors."""

    shape: Shape
    image_size: int
    patch_size: int


def read(path: Path) -> Checkpoint:
    """Read a weights file of any supported layout; values as stored.

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
    if start[8:] == b"{":  # before the others: the length in front of it may begin like a pickle
        tensors, header = _read_safetensors(path)
    elif start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        tensors, header = _read_torch(path), None
    else:
        raise WeightsError(f"{path} is neither a safetensors nor a PyTorch weights file, or is damaged")
    if header is None:
        tensors = _drop_prefixes(path, tensors)
        _refuse_video(path, tensors)
        if clip_layout.matches(tensors):
            tensors, clip_heads = clip_layout.convert(path, tensors)
            return Checkpoint(path, tensors, None, clip_heads, None, CLIP_STYLE)
    if header is None and any("embeddings." in name for name in tensors):
        heads, decoder_heads = _transformers_heads(path.with_name("config.json"))
        return Checkpoint(path, from_transformers(tensors), None, heads, decoder_heads)
    return Checkpoint(path, tensors, header, None, None)


def encoder_sizes(checkpoint: Checkpoint, heads: int | None = None) -> Sizes:
    """Return the sizes of the encoder in a file; ``heads`` is from the caller, the file or ``SIZES``.

    Raises:
        WeightsError: no encoder in it, or the number of heads is nowhere given.
    """
    tensors, path = checkpoint.tensors, checkpoint.path
    blocks = {int(match[1]) for name in tensors if (match := re.match(r"blocks\.(\d{1,4})\.", name))}
    positions, patches = tensors.get("pos_embed"), tensors.get("patch_embed.proj.weight")
    if positions is None or patches is None or not blocks or positions.ndim != 3 or patches.ndim != 4:
        names = ", ".join(sorted(tensors)[:3]) or "none"
        raise WeightsError(
            f"{path} holds no vision transformer in a supported layout; its first tensors: {names}"
        )
    width, depth = positions.shape[2], max(blocks) + 1
    grid = round((positions.shape[1] - 1) ** 0.5)
    if grid**2 + 1 != positions.shape[1]:
        raise WeightsError(f"{path}: pos_embed has {positions.shape[1]} places, not 1 + a square")
    heads_of_sizes = {(shape.width, shape.depth): shape.heads for shape in SIZES.values()}
    heads = heads or checkpoint.heads or heads_of_sizes.get((width, depth))
    if heads is None:
        raise WeightsError(
            f"{path}: an encoder of width {width} and depth {depth} is none of the named sizes, and the "
            "file does not give its number of attention heads; give it (heads)"
        )
    patch_size = patches.shape[3]
    return Sizes(Shape(width, depth, heads), grid * patch_size, patch_size)


def from_transformers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename transformers' ViTMAE tensors to the published names; join query, key and value."""
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


def _drop_prefixes(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without what wrappers put before and into their names."""
    renamed: dict[str, Tensor] = {}
    for old, tensor in tensors.items():
        name = _PREFIXES.sub("", _WRAPPERS.sub("", old))
        if name in renamed and name.startswith(ENCODER):
            raise WeightsError(f"{path} has two tensors {name}, one as {old}; save one of the two alone")
        renamed[old if name in renamed else name] = tensor
    return renamed


def _refuse_video(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse networks of clips (VideoMAE, MAE-DFER, SVFAP), whose patches go over several frames."""
    patches = tensors.get("patch_embed.proj.weight")
    if patches is not None and patches.ndim == 5:
        raise WeightsError(
            f"{path} is a network for clips: its patches are {patches.shape[2]} frames deep, and a face here "
            "is one frame; give the weights of a network for images"
        )


class _Ignored:
    """A stand-in for an object beside the tensors, such as an argparse.Namespace; it keeps nothing."""

    def __init__(self, *_: object) -> None:
        """Ignore the arguments."""

    def __setstate__(self, state: object) -> None:
        """Ignore the attributes."""


_IGNORED = (
    f"{argparse.Namespace.__module__}.{argparse.Namespace.__qualname__}",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.ndarray",
    *(
        f"numpy.{core}.{name}"
        for core in ("core", "_core")
        for name in ("multiarray.scalar", "multiarray._reconstruct", "numeric._frombuffer")
    ),
    *(f"pathlib.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
)
"""What pickles ask for beside tensors: settings, and NumPy's numbers (best_f1). None of it is called."""


def _read_torch(path: Path) -> dict[str, Tensor]:
    allowed: Any = [(_Ignored, name) for name in _IGNORED]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        if name:
            reason = f"asks for {name[1]}, which is not run; save the state_dict of its model alone"
        else:
            reason = f"is no plain dict of tensors: {_line(error)}; it is damaged or no weights file"
        raise WeightsError(f"refused {path}: its pickle {reason}; nothing in it was run") from error
    except Exception as error:  # damaged bytes may raise any exception
        raise WeightsError(
            f"{path} is damaged ({type(error).__name__}: {_line(error)}); copy or download it again"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: expected a dict of tensors, got {type(content).__name__}")
    content = _find_tensors(content)
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _find_tensors(content: dict[object, object], depth: int = 3) -> dict[object, object]:
    """Return the entry of a checkpoint that has the tensors, or an entry of it; itself without one."""
    for key in TENSORS_UNDER if depth else ():
        entry = content.get(key)
        if isinstance(entry, dict):
            entry = _find_tensors(entry, depth - 1)
            if any(isinstance(value, Tensor) for value in entry.values()):
                return entry
    return content


def _transformers_heads(config: Path) -> tuple[int | None, int | None]:
    if not config.is_file():
        return None, None
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        heads, decoder_heads = values["num_attention_heads"], values.get("decoder_num_attention_heads")
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise WeightsError(f"{config} is not the config.json of a ViTMAE ({_line(error)})") from error
    for value in (heads, decoder_heads):
        if value is not None and (type(value) is not int or not 1 <= value <= 1024):
            raise WeightsError(f"{config}: attention heads must be 1 to 1024, got {value!r}")
    return heads, decoder_heads


def _line(error: Exception) -> str:
    """Return the line of an error that says what is wrong; torch's messages are a page long."""
    text = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
    return (text.strip() or type(error).__name__).splitlines()[0][:160]
