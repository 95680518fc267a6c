"""Weights of AU models as arrays, without PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from maeface.errors import WeightsError
from maeface.model.file_format.metadata import HEADER_KEY, Metadata, unpack
from maeface.model.file_format.parts import files_of
from maeface.runtime.tensors import StoredTensor, read_safetensors

SCALE = "_scale"


def load_arrays(path: Path) -> tuple[dict[str, NDArray[np.float32]], Metadata]:
    """Load the weights and the metadata of an AU model, checked as ``weights.load_model`` checks them.

    A file that is not as expected is given to ``weights.load_model``, which says what is wrong.

    Returns:
        The tensors by published name, float32; and the metadata.

    Raises:
        WeightsError: no such weights, not a maeface AU model, damaged, or written by a newer version.
    """
    try:
        tensors, header = _read(path)
        metadata = unpack(path, header, tensors)
        arrays = _decode(tensors)
        if metadata.kind != "au" or {name: value.shape for name, value in arrays.items()} != _shapes(
            metadata
        ):
            raise ValueError("not an AU model")
        if not all(np.isfinite(value).all() for value in arrays.values()):
            raise ValueError("not finite")
    except (OSError, ValueError, KeyError, TypeError, WeightsError, safetensors.SafetensorError):
        from maeface.model.weights import load_model, published_name

        model, metadata = load_model(path)
        arrays = {published_name(name): value.numpy() for name, value in model.state_dict().items()}
    return arrays, metadata


def _read(path: Path) -> tuple[dict[str, StoredTensor], str]:
    tensors: dict[str, StoredTensor] = {}
    headers = set()
    for file in files_of(path):
        part, texts = read_safetensors(file)
        headers.add(texts[HEADER_KEY])
        if tensors.keys() & part.keys():
            raise ValueError("a tensor is in two parts")
        tensors |= part
    (header,) = headers
    return tensors, header


def _decode(tensors: dict[str, StoredTensor]) -> dict[str, NDArray[np.float32]]:
    """Return values as float32; int8 matrices have a scale for each row (``file_format.encoding``)."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in tensors:
            continue
        values: NDArray[Any] = tensor.to_numpy()
        if values.dtype == np.int8:
            scale = tensors[name + SCALE].to_numpy().astype(np.float32)
            if scale.shape != values.shape[:1]:
                raise ValueError("no scale for each row")
            values = values.astype(np.float32) * scale.reshape(-1, *[1] * (values.ndim - 1))
        elif values.dtype.kind != "f":
            raise ValueError("no floating-point values")
        arrays[name] = values.astype(np.float32)
    return arrays


def _shapes(metadata: Metadata) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of the AU model that metadata describe."""
    sizes, side = metadata.encoder, metadata.preprocessing.image_size
    width, patch = sizes.width, sizes.patch_size
    outputs = len(metadata.aus) * (2 if metadata.task == "both" else 1)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + (side // patch) ** 2, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    linear = {"head": (outputs, width)}
    norms = ["fc_norm", "norm_pre"] if sizes.norm_pre else ["fc_norm"]
    for k in range(sizes.depth):
        block = f"blocks.{k}"
        norms += [f"{block}.norm1", f"{block}.norm2"]
        linear |= {f"{block}.attn.qkv": (3 * width, width), f"{block}.attn.proj": (width, width)}
        linear |= {f"{block}.mlp.fc1": (4 * width, width), f"{block}.mlp.fc2": (width, 4 * width)}
    if metadata.unlike is not None:
        shapes |= {"unlike.mean": (width,), "unlike.factor": (width, width)}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes
