"""Saving of models as weights files, and loading of models and of encoders from weights files.

The tensors have the published names (``blocks.0.attn.qkv.weight``; see ``public_checkpoints``).
``file_format`` has the metadata, the types that values are rounded to, and files in parts. Every path here
may be one file, the name of several parts, or a folder with one set. Models in memory are always float32.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from maeface.errors import ConfigError, WeightsError
from maeface.model.au import AUModel
from maeface.model.file_format import storage
from maeface.model.file_format.description import describe
from maeface.model.file_format.encoding import Dtype, abbreviate, refuse_non_finite
from maeface.model.file_format.fit import refuse_misfits
from maeface.model.file_format.metadata import Metadata, Preprocessing
from maeface.model.file_format.parts import files_of
from maeface.model.mae import MAE
from maeface.model.public_checkpoints import ENCODER, Checkpoint, encoder_sizes
from maeface.model.vit import ViT, resize_positions
from maeface.model.zoo import find

__all__ = [
    "Dtype",
    "Metadata",
    "Preprocessing",
    "Report",
    "describe",
    "files_of",
    "find",
    "load_encoder",
    "load_encoder_into",
    "load_mae",
    "load_model",
    "published_name",
    "read_metadata",
    "repack",
    "save",
    "write_metadata",
]

KINDS = {"mae": "masked autoencoder", "au": "AU"}
FIXED = frozenset({"decoder_pos_embed"})
"""Computed, not learned: a file may lack them or have those of another size."""


@dataclass(frozen=True)
class Report:
    """The published names of tensors after a model was loaded from a file.

    Attributes:
        loaded: copied into the model.
        missing: of the model, but not in the file, so left as initialised.
        unused: in the file, but not of this model.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def with_loaded(self, names: Iterable[str]) -> "Report":
        """Return the report after the unused tensors among ``names`` were loaded, too."""
        loaded = tuple(sorted(set(self.unused).intersection(names)))
        unused = tuple(name for name in self.unused if name not in loaded)
        return replace(self, loaded=self.loaded + loaded, unused=unused)

    def __str__(self) -> str:
        """Return one line for the log."""
        return (
            f"{len(self.loaded)} tensors loaded; left as initialised: {abbreviate(self.missing)}; "
            f"not used: {abbreviate(self.unused)}"
        )


def save(
    path: Path,
    model: MAE | AUModel,
    metadata: Metadata,
    dtype: Dtype = "fp32",
    part_bytes: int | None = None,
) -> tuple[Path, ...]:
    """Write a model and its metadata; return the files. Arguments and errors as for ``storage.write``."""
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
    """Write maeface weights again, rounded to another type, in one file or in parts; return the files.

    Args:
        source: weights of either kind.
        target: path as for ``save``.
        dtype: "fp32", "bf16", "fp16" or "int8".
        part_bytes: largest size of a file; None for one file.
        mirror: whether prediction averages with the mirror image (``Preprocessing``); None: as in the source.

    Raises:
        WeightsError: ``source`` is not of maeface, or damaged; else as ``save``.
    """
    checkpoint, metadata = _read(source, None)
    if mirror is not None:
        preprocessing = metadata.preprocessing.model_copy(update={"mirror": mirror})
        metadata = metadata.model_copy(update={"preprocessing": preprocessing})
    metadata = metadata.model_copy(update={"provenance": metadata.provenance | {"stored_as": dtype}})
    tensors = {name: value.float() for name, value in checkpoint.tensors.items()}
    return storage.write(target, tensors, metadata, dtype, part_bytes)


def write_metadata(
    path: Path, metadata: Metadata, tensors: Mapping[str, Tensor] | None = None
) -> tuple[Path, ...]:
    """Replace the metadata of weights, and no tensors or some; see ``storage.write_metadata``."""
    return storage.write_metadata(path, metadata, tensors or {})


def load_mae(path: Path) -> tuple[MAE, Metadata]:
    """Load a masked autoencoder that ``save`` wrote, in evaluation mode.

    Raises:
        WeightsError: not a maeface masked autoencoder, damaged, or written by a newer version.
    """
    checkpoint, metadata = _read(path, "mae")
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


def load_model(weights: str | Path | None = None) -> tuple[AUModel, Metadata]:
    """Load an AU model, in evaluation mode.

    Args:
        weights: a file that ``maeface finetune`` wrote, or the name of packaged weights; None for
            the default, "maeface-nano-96".

    Returns:
        The model, and its metadata: AUs, task, thresholds, preprocessing, provenance.

    Raises:
        WeightsError: no such weights, not a maeface AU model, damaged, or written by a newer version.
    """
    path = find(weights)
    checkpoint, metadata = _read(path, "au")
    assert metadata.task is not None
    with torch.device("meta"):
        unlike = metadata.unlike is not None
        model = AUModel(_encoder(path, metadata), metadata.aus, metadata.task, unlike)
    _fill(model, checkpoint)
    return model.eval(), metadata


def read_metadata(path: Path) -> Metadata:
    """Read the metadata of a maeface file of either kind; the tensors are checked, too."""
    return _read(path, None)[1]


def load_encoder(
    weights: str | Path,
    *,
    image_size: int | None = None,
    drop_path: float = 0.0,
    heads: int | None = None,
    interpolate: bool = False,
) -> tuple[ViT, Report]:
    """Load the encoder of a maeface file or of a public checkpoint (``public_checkpoints`` lists them).

    Args:
        weights: the file, or the name of packaged weights.
        image_size: pixels; None for the size that the weights were trained with.
        drop_path: see ``ViT``.
        heads: attention heads, where neither the file nor the table of sizes gives them.
        interpolate: resize the position codes (bicubic) where ``image_size`` asks for another grid.

    Raises:
        WeightsError: see ``load_encoder_into``; or the number of heads is nowhere given.
    """
    path = find(weights)
    checkpoint, _ = storage.read(path)
    sizes = encoder_sizes(checkpoint, heads)
    with torch.device("meta"):
        size = image_size or sizes.image_size
        vit = _vit(path, sizes.shape, size, sizes.patch_size, drop_path, checkpoint.style)
    tensors, report = _select(vit, checkpoint, interpolate)
    _assign(vit, tensors)
    return vit, report


def load_encoder_into(model: ViT | MAE | AUModel, path: Path, *, interpolate: bool = False) -> Report:
    """Load the encoder of a file into a model; into a masked autoencoder also the decoder if it fits.

    Every tensor of the encoder is loaded, or the file is refused. A decoder is loaded as a whole or not at
    all: a file may have none (the public encoder-only weights), or one of other sizes. The head and norm of
    an AU model stay as they are.

    Args:
        model: changed in place.
        path: a maeface file or a public checkpoint (``public_checkpoints`` lists them).
        interpolate: resize the position codes (bicubic) if the file's grid of patches is another.

    Raises:
        WeightsError: unreadable or hostile file, missing or extra encoder tensors, other shapes (all are
            listed), NaN or infinity.
    """
    tensors, report = _select(model, storage.read(path)[0], interpolate)
    parameters = {published_name(name): tensor for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)
    return report


def published_name(name: str) -> str:
    """Return the name on disk of a parameter of ``MAE`` or ``AUModel``."""
    return name.removeprefix("encoder.")


def _read(path: Path, kind: Literal["mae", "au"] | None) -> tuple[Checkpoint, Metadata]:
    """Read weights that maeface wrote, of the kind that is expected (None: of either)."""
    checkpoint, metadata = storage.read(path)
    expected = f"{KINDS[kind]} weights" if kind else "weights"
    if metadata is None:
        raise WeightsError(
            f"expected {expected} of maeface, got {path}, which has no maeface metadata; public checkpoints "
            "can be the init of pretrain and finetune"
        )
    if kind is not None and metadata.kind != kind:
        advice = "fine-tune them first" if kind == "au" else "give those that pretrain wrote"
        raise WeightsError(
            f"expected {expected}, got {metadata.kind} ({KINDS[metadata.kind]}): {path}; {advice}"
        )
    return checkpoint, metadata


def _encoder(path: Path, metadata: Metadata) -> ViT:
    sizes = metadata.encoder
    shape = (sizes.width, sizes.depth, sizes.heads)
    return _vit(path, shape, metadata.preprocessing.image_size, sizes.patch_size, 0.0, sizes.style)


def _vit(path: Path, *arguments: Any) -> ViT:  # noqa: ANN401 - of ViT
    try:
        return ViT(*arguments)
    except ConfigError as error:
        raise WeightsError(f"{path}: {error}") from error


def _fill(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Load the tensors of a file into a model on the meta device; exactly the model's own must be there."""
    path, tensors = checkpoint.path, checkpoint.tensors
    shapes = {published_name(name): tensor.shape for name, tensor in model.state_dict().items()}
    refuse_misfits(path, shapes, tensors, extra=tensors.keys() - shapes.keys())
    refuse_non_finite(tensors, str(path))
    _assign(model, tensors)


def _assign(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    names = {published_name(name): name for name in model.state_dict()}
    # A copy, since the tensors of a file may be a memory map of the file.
    state = {names[name]: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
    model.load_state_dict(state, strict=True, assign=True)


def _select(
    model: ViT | MAE | AUModel, checkpoint: Checkpoint, interpolate: bool
) -> tuple[dict[str, Tensor], Report]:
    """Return the tensors of a file for a model, by published name; refuse an encoder that does not fit."""
    path, tensors = checkpoint.path, dict(checkpoint.tensors)
    vit = model if isinstance(model, ViT) else model.encoder
    if checkpoint.heads not in (None, vit.shape.heads):
        raise WeightsError(f"{path}: expected {vit.shape.heads} attention heads, got {checkpoint.heads}")
    if checkpoint.style != vit.style:
        raise WeightsError(
            f"{path} has an encoder {checkpoint.style}, the model one {vit.style}; `maeface "
            "finetune` can start from either, `maeface pretrain` from MAE's kind only"
        )
    shapes = {published_name(name): tensor.shape for name, tensor in model.state_dict().items()}
    encoder = {name: tensor.shape for name, tensor in vit.state_dict().items()}
    if interpolate and "pos_embed" in tensors:
        tensors["pos_embed"] = resize_positions(tensors["pos_embed"], vit.grid)
    in_file = {name for name in tensors if name.startswith(ENCODER)}
    refuse_misfits(path, encoder, tensors, extra=in_file - encoder.keys())
    names = set(encoder)
    if isinstance(model, MAE):
        norm = {"norm.weight", "norm.bias"}
        decoder = {name for name in shapes if name.startswith("decoder_")} - FIXED | {"mask_token"}
        names |= norm if _fits(norm, shapes, tensors) else set()
        if checkpoint.decoder_heads in (None, model.decoder_shape.heads) and _fits(decoder, shapes, tensors):
            names |= decoder | (FIXED if _fits(FIXED, shapes, tensors) else set())
    selected = {name: tensors[name] for name in sorted(names)}
    refuse_non_finite(selected, str(path))
    missing, unused = shapes.keys() - names - FIXED, tensors.keys() - names - FIXED
    return selected, Report(tuple(selected), tuple(sorted(missing)), tuple(sorted(unused)))


def _fits(names: Iterable[str], shapes: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> bool:
    return all(name in tensors and tensors[name].shape == shapes[name] for name in names)
