"""Weights: a safetensors file that says everything needed to run it, and encoders out of any file.

The tensors have the published names (``blocks.0.attn.qkv.weight``; see ``public``). The header holds
``Metadata`` as JSON under the key ``maeface``, with the SHA-256 of the rest of it and of all tensors, so a
flipped bit anywhere is seen. Values may be rounded and cut into several files (``storage``); every path here
may be one file, the name of several parts, or a folder with one set. Models are always float32.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from maeface.errors import ConfigError, WeightsError
from maeface.model import storage
from maeface.model.au import AUModel
from maeface.model.mae import MAE
from maeface.model.metadata import Metadata, Preprocessing, describe, unpack
from maeface.model.public import ENCODER, Checkpoint, encoder_sizes
from maeface.model.storage import Dtype, brief, files_of, refuse_non_finite
from maeface.model.vit import ViT, resize_positions
from maeface.model.zoo import find

__all__ = [
    "Metadata",
    "Preprocessing",
    "Report",
    "describe",
    "files_of",
    "find",
    "load_au",
    "load_encoder",
    "load_encoder_into",
    "load_mae",
    "published_name",
    "read_metadata",
    "repack",
    "save",
]

KINDS = {"mae": "masked autoencoder", "au": "AU"}
FIXED = frozenset({"decoder_pos_embed"})
"""Computed, never learned, so not missed where a file has none or those of another size."""


@dataclass(frozen=True)
class Report:
    """What became of a file's tensors, by published name.

    loaded: copied into the model. missing: of the model, but not in the file, so left as they were.
    unused: in the file, but not for this model.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """One line for the log."""
        return (
            f"{len(self.loaded)} tensors loaded; left as initialised: {brief(self.missing)}; "
            f"not used: {brief(self.unused)}"
        )


def save(
    path: Path,
    model: MAE | AUModel,
    metadata: Metadata,
    dtype: Dtype = "fp32",
    part_bytes: int | None = None,
) -> tuple[Path, ...]:
    """Write a model and its metadata; returns the files. Arguments and errors as for ``storage.write``."""
    tensors = {
        published_name(name): value.detach().to("cpu", torch.float32)
        for name, value in model.state_dict().items()
    }
    return storage.write(path, tensors, metadata, dtype, part_bytes)


def repack(
    source: Path,
    target: Path,
    dtype: Dtype,
    part_bytes: int | None = None,
    mirror: bool | None = None,
) -> tuple[Path, ...]:
    """Write maeface weights again, rounded to another type, whole or in parts; returns the files.

    Args:
        source: weights of either kind.
        target: what is written, as for ``save``.
        dtype: "fp32", "bf16", "fp16" or "int8".
        part_bytes: no file larger than this; None for one file.
        mirror: whether prediction also looks at the mirror image (``Preprocessing``); None: as in the source.

    Raises:
        WeightsError: ``source`` is not of maeface, or damaged; else as ``save``.
    """
    checkpoint, metadata = _read_own(source, None)
    if mirror is not None:
        how = metadata.preprocessing.model_copy(update={"mirror": mirror})
        metadata = metadata.model_copy(update={"preprocessing": how})
    metadata = metadata.model_copy(update={"provenance": metadata.provenance | {"stored_as": dtype}})
    tensors = {name: value.float() for name, value in checkpoint.tensors.items()}
    return storage.write(target, tensors, metadata, dtype, part_bytes)


def load_mae(path: Path) -> tuple[MAE, Metadata]:
    """A masked autoencoder as ``save`` wrote it, in evaluation mode.

    Raises:
        WeightsError: not a maeface masked autoencoder, damaged, or written by a newer version.
    """
    checkpoint, metadata = _read_own(path, "mae")
    sizes = metadata.autoencoder
    assert sizes is not None
    with torch.device("meta"):
        model = MAE(
            _encoder(path, metadata),
            decoder_width=sizes.decoder_width,
            decoder_depth=sizes.decoder_depth,
            decoder_heads=sizes.decoder_heads,
            mask_ratio=sizes.mask_ratio,
            loss=sizes.loss,
            normalize_patches=sizes.normalize_patches,
        )
    _fill(model, checkpoint)
    return model.eval(), metadata


def load_au(path: Path) -> tuple[AUModel, Metadata]:
    """An AU model as ``save`` wrote it, in evaluation mode.

    Raises:
        WeightsError: not a maeface AU model, damaged, or written by a newer version.
    """
    checkpoint, metadata = _read_own(path, "au")
    assert metadata.task is not None
    with torch.device("meta"):
        model = AUModel(_encoder(path, metadata), metadata.aus, metadata.task)
    _fill(model, checkpoint)
    return model.eval(), metadata


def read_metadata(path: Path) -> Metadata:
    """The metadata of a maeface file of either kind, checked like the whole file."""
    return _read_own(path, None)[1]


def load_encoder(
    path: Path,
    *,
    image_size: int | None = None,
    drop_path: float = 0.0,
    heads: int | None = None,
    interpolate: bool = False,
) -> tuple[ViT, Report]:
    """An encoder out of a maeface file or a public checkpoint (``public`` lists them).

    Args:
        path: the file.
        image_size: in place of the size that the weights were trained with.
        drop_path: see ``ViT``.
        heads: attention heads, where neither the file nor the table of sizes tells.
        interpolate: resize the position codes (bicubic) where ``image_size`` asks for another grid.

    Raises:
        WeightsError: see ``load_encoder_into``; or the number of heads is not known.
    """
    checkpoint = _read_any(path)
    sizes = encoder_sizes(checkpoint, heads)
    with torch.device("meta"):
        vit = _vit(path, sizes.shape, image_size or sizes.image_size, sizes.patch_size, drop_path)
    chosen, report = _choose(vit, checkpoint, interpolate)
    _assign(vit, chosen)
    return vit, report


def load_encoder_into(model: ViT | MAE | AUModel, path: Path, *, interpolate: bool = False) -> Report:
    """Start a model from a file: its encoder, and for a masked autoencoder the decoder if it fits.

    The encoder is loaded whole or the file is refused. A decoder is loaded whole or not at all: a file may
    have none (the public encoder-only weights), or one of other sizes. The head and norm of an AU model
    stay as they are.

    Args:
        model: changed in place.
        path: a maeface file or a public checkpoint (``public`` lists them).
        interpolate: resize the position codes (bicubic) if the file's grid of patches is another.

    Raises:
        WeightsError: unreadable or hostile file, missing or extra encoder tensors, other shapes (all are
            listed), NaN or infinity.
    """
    chosen, report = _choose(model, _read_any(path), interpolate)
    own = {published_name(name): tensor for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for name, tensor in chosen.items():
            own[name].copy_(tensor)
    return report


def published_name(name: str) -> str:
    """The name on disk of a parameter of ``MAE`` or ``AUModel``."""
    return name.removeprefix("encoder.")


def _read_any(path: Path) -> Checkpoint:
    checkpoint = storage.read(path)
    if checkpoint.header is None:
        return checkpoint
    metadata = unpack(path, checkpoint.header, checkpoint.tensors)
    return replace(
        checkpoint,
        tensors=storage.decode(path, checkpoint.tensors),
        heads=metadata.encoder.heads,
        decoder_heads=metadata.autoencoder.decoder_heads if metadata.autoencoder else None,
    )


def _read_own(path: Path, kind: Literal["mae", "au"] | None) -> tuple[Checkpoint, Metadata]:
    checkpoint = storage.read(path)
    expected = f"{KINDS[kind]} weights" if kind else "weights"
    if checkpoint.header is None:
        raise WeightsError(
            f"expected {expected} of maeface, got {path}, which has no maeface metadata; public checkpoints "
            "can be the init of pretrain and finetune"
        )
    metadata = unpack(path, checkpoint.header, checkpoint.tensors)
    if kind is not None and metadata.kind != kind:
        do = "fine-tune them first" if kind == "au" else "give those that pretrain wrote"
        raise WeightsError(f"expected {expected}, got {metadata.kind} ({KINDS[metadata.kind]}): {path}; {do}")
    return replace(checkpoint, tensors=storage.decode(path, checkpoint.tensors)), metadata


def _encoder(path: Path, metadata: Metadata) -> ViT:
    sizes = metadata.encoder
    shape = (sizes.width, sizes.depth, sizes.heads)
    return _vit(path, shape, metadata.preprocessing.image_size, sizes.patch_size)


def _vit(
    path: Path, shape: tuple[int, int, int], image_size: int, patch_size: int, drop_path: float = 0.0
) -> ViT:
    try:
        return ViT(shape, image_size, patch_size, drop_path)
    except ConfigError as error:
        raise WeightsError(f"{path}: {error}") from error


def _fill(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a model on the meta device the tensors of its file; every one must be there and fit."""
    path, tensors = checkpoint.path, checkpoint.tensors
    wants = {published_name(name): tensor.shape for name, tensor in model.state_dict().items()}
    _refuse_misfits(path, wants, tensors, extra=tensors.keys() - wants.keys())
    refuse_non_finite(tensors, str(path))
    _assign(model, tensors)


def _assign(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    own = {published_name(name): name for name in model.state_dict()}
    # Copied, for the tensors of a file may lie in the file's own memory map.
    state = {own[name]: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
    model.load_state_dict(state, strict=True, assign=True)


def _choose(
    model: ViT | MAE | AUModel, checkpoint: Checkpoint, interpolate: bool
) -> tuple[dict[str, Tensor], Report]:
    """The tensors of a file that go into a model, by published name; what does not fit is refused."""
    path, tensors = checkpoint.path, dict(checkpoint.tensors)
    vit = model if isinstance(model, ViT) else model.encoder
    if checkpoint.heads not in (None, vit.shape.heads):
        raise WeightsError(f"{path}: expected {vit.shape.heads} attention heads, got {checkpoint.heads}")
    own = {published_name(name): tensor for name, tensor in model.state_dict().items()}
    wants = {name: tensor.shape for name, tensor in vit.state_dict().items()}
    if interpolate and "pos_embed" in tensors:
        tensors["pos_embed"] = resize_positions(tensors["pos_embed"], vit.grid)
    _refuse_misfits(
        path, wants, tensors, extra={name for name in tensors if name.startswith(ENCODER)} - wants.keys()
    )
    names = set(wants)
    if isinstance(model, MAE):
        norm = {"norm.weight", "norm.bias"}
        decoder = {name for name in own if name.startswith("decoder_")} - FIXED | {"mask_token"}
        names |= norm if _fits(norm, own, tensors) else set()
        if checkpoint.decoder_heads in (None, model.decoder_shape.heads) and _fits(decoder, own, tensors):
            names |= decoder | (FIXED if _fits(FIXED, own, tensors) else set())
    chosen = {name: tensors[name] for name in sorted(names)}
    refuse_non_finite(chosen, str(path))
    missing, unused = own.keys() - names - FIXED, tensors.keys() - names - FIXED
    return chosen, Report(tuple(chosen), tuple(sorted(missing)), tuple(sorted(unused)))


def _fits(names: Iterable[str], own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> bool:
    return all(name in tensors and tensors[name].shape == own[name].shape for name in names)


def _refuse_misfits(
    path: Path, wants: Mapping[str, torch.Size], tensors: Mapping[str, Tensor], extra: Iterable[str]
) -> None:
    """Refuse tensors that are missing, of other shapes, or of another architecture: the full list."""
    problems = [f"{name} is missing" for name in wants if name not in tensors]
    for name, shape in wants.items():
        if name in tensors and tensors[name].shape != shape:
            hint = " (interpolate resizes positions)" if name == "pos_embed" else ""
            problems.append(f"{name} is {_size(tensors[name].shape)}, expected {_size(shape)}{hint}")
    problems += [f"{name} is not expected" for name in sorted(extra)]
    if problems:
        raise WeightsError(f"{path} does not fit the model: {'; '.join(problems)}")


def _size(shape: torch.Size) -> str:
    return "x".join(str(side) for side in shape) or "scalar"
