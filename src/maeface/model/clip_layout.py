"""The image encoder of CLIP (Radford et al. 2021) under the published names of other vision transformers.

Two layouts are known: OpenAI's, which FaRL has too (``visual.transformer.resblocks.0.attn.in_proj_weight``),
and that of transformers (``vision_model.encoder.layers.0.self_attn.q_proj.weight``). Differences to MAE's
encoder:

- a LayerNorm before the first block, eps 1e-5 and QuickGELU: ``vit.CLIP_STYLE`` says so;
- no bias of the patches, and other mean colours of the input: both are made part of the projection of the
  patches, so the converted network expects the input of all others;
- 64 values a head.

What follows the last block (``ln_post``, ``proj``) and the text encoder are left out.
"""

import json
import re
from pathlib import Path

import torch
from torch import Tensor

from maeface import console
from maeface.errors import WeightsError
from maeface.model.inputs import IMAGENET_MEAN, IMAGENET_STD

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue on 0 to 1, as CLIP was trained."""
HEAD_WIDTH = 64

_OPENAI = "visual."
_TRANSFORMERS = "vision_model."
_NAMES = [
    (re.compile(pattern), name)
    for pattern, name in [
        (r"^class_embedding$|^embeddings\.class_embedding$", "cls_token"),
        (r"^positional_embedding$|^embeddings\.position_embedding\.weight$", "pos_embed"),
        (r"^conv1\.|^embeddings\.patch_embedding\.", "patch_embed.proj."),
        (r"^(ln_pre|pre_layrnorm|pre_layernorm)\.", "norm_pre."),
        (r"^(transformer\.resblocks|encoder\.layers)\.", "blocks."),
        (r"\.(ln_1|layer_norm1)\.", ".norm1."),
        (r"\.(ln_2|layer_norm2)\.", ".norm2."),
        (r"\.attn\.in_proj_", ".attn.qkv."),
        (r"\.self_attn\.([qkv])_proj\.", r".attn.\1."),
        (r"\.(attn|self_attn)\.out_proj\.", ".attn.proj."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
        (r"^(ln_post|post_layernorm)\.", "norm."),
    ]
]


def matches(tensors: dict[str, Tensor]) -> bool:
    """Return whether these are the tensors of a CLIP with a vision transformer, or of its image encoder."""
    return any(
        name.endswith(("visual.class_embedding", "vision_model.embeddings.class_embedding"))
        for name in tensors
    )


def convert(path: Path, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Return the image encoder's tensors under the published names, and its number of heads.

    Args:
        path: of the file, for messages and for the ``config.json`` beside it.
        tensors: for which ``matches``.

    Raises:
        WeightsError: parts are missing, or the network has another activation.
    """
    first = next(name for name in tensors if name.endswith("class_embedding"))
    prefix = first[: first.rindex(_OPENAI if "visual." in first else _TRANSFORMERS)]
    prefix += _OPENAI if "visual." in first else _TRANSFORMERS
    renamed: dict[str, Tensor] = {}
    for old, tensor in tensors.items():
        if not old.startswith(prefix) or not tensor.is_floating_point():
            continue
        name = old.removeprefix(prefix)
        for pattern, new in _NAMES:
            name = pattern.sub(new, name)
        renamed[name] = tensor.float()
    for query in [name for name in renamed if ".attn.q." in name]:
        parts = [query.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(part in renamed for part in parts):
            renamed[query.replace(".attn.q.", ".attn.qkv.")] = torch.cat([renamed.pop(p) for p in parts])
    try:
        width = renamed["cls_token"].numel()
        renamed["cls_token"] = renamed["cls_token"].reshape(1, 1, width)
        renamed["pos_embed"] = renamed["pos_embed"].reshape(1, -1, width)
        weight = renamed["patch_embed.proj.weight"]
        renamed["patch_embed.proj.weight"], renamed["patch_embed.proj.bias"] = _recolour(weight)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} has CLIP's names, but is no whole image encoder: {error}") from error
    heads = _check_config(path.with_name("config.json"))
    return renamed, heads or width // HEAD_WIDTH


def _recolour(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the projection (D, 3, p, p) for input with ImageNet's mean colours."""
    mean, std, old_mean, old_std = (
        torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)
        for values in (IMAGENET_MEAN, IMAGENET_STD, MEAN, STD)
    )
    exact = weight.double()
    bias = (exact * ((mean - old_mean) / old_std)).sum(dim=(1, 2, 3))
    return (exact * (std / old_std)).float(), bias.float()


def _check_config(config: Path) -> int | None:
    """Return the number of heads that a config.json names; None without one.

    The tensors do not tell QuickGELU from GELU, so another activation is known from the config.json alone.

    Raises:
        WeightsError: another activation than QuickGELU, or no config.json of a CLIP.
    """
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        values = values.get("vision_config", values)
        name, heads = values.get("hidden_act", "quick_gelu"), values.get("num_attention_heads")
    except FileNotFoundError:
        console.note(
            "CLIP's layout without a config.json: taken as QuickGELU, as OpenAI and FaRL have it; files of "
            "OpenCLIP (LAION) have GELU and would be read wrongly"
        )
        return None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{config} is not the config.json of a CLIP: {error}") from error
    if name != "quick_gelu":
        raise WeightsError(
            f"{config}: expected the activation quick_gelu, as OpenAI's CLIP and FaRL have it; got {name!r}"
        )
    return heads if isinstance(heads, int) else None
